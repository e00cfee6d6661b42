"""Goal:   what the mapping called durable is there after a power cut; and the test can see a loss, for it sees the
        one that the no-sync mapping was invented against.
Method: a guest links pages one behind the other and says so through the serial port; the power is cut
        at a random moment. The next boot mounts what is left and follows the links. Through dax and page every acknowledged
        page is there and no link dangles; through a plain shared mapping with the same flushes and
        fences pages must be missing.

usage: powercut_link.py LINK-PROGRAM [FIRST-WORD-OF-A-CASE...]     FL_TEST_SEED repeats a run
"""

import os
import random
import re
import sys

import vm

MIB2 = 2 * 1024 * 1024
# (name, filesystem, mount options, kind, bytes faulted in at once, loses)
CASES = [
    ("ext4-dax-4K", "ext4", "dax=always", "dax", 4096, False),
    ("ext4-plain", "ext4", "dax=always", "plain", 4096, True),
    ("ext4-dax-2M", "ext4", "dax=always", "dax", MIB2, False),
    ("xfs-dax-4K", "xfs", "dax=always", "dax", 4096, False),
    ("xfs-plain", "xfs", "dax=always", "plain", 4096, True),
    ("xfs-dax-2M", "xfs", "dax=always", "dax", MIB2, False),
    ("ext4-page-64K", "ext4", "", "page", 65536, False),
    ("xfs-page-64K", "xfs", "", "page", 65536, False),
]


def run_until_cut(machine, case, rng):
    """The last page that was acknowledged before the cut."""
    _, filesystem, options, kind, block, _ = case
    machine.make_filesystem(filesystem, "/mnt", options)
    machine.begin("/t/powercut_link run %s /mnt/heap %d" % (kind, block))
    pages = rng.randrange(600, 1500)
    acknowledged = -1
    while acknowledged < pages:
        line = machine.read_line()
        if not re.fullmatch(r"\d+", line):
            raise vm.VmError("%s: %s" % (case[0], line))
        acknowledged = int(line)
    machine.cut()
    return acknowledged


def verdict(machine, case, acknowledged):
    name, filesystem, options, _, _, loses = case
    machine.mount(filesystem, "/mnt", options)
    _, output = machine.run("/t/powercut_link check /mnt/heap", check=True)
    machine.run("umount /mnt", check=True)
    match = re.search(r"pages (\d+) links (\d+) dangling (\d+)", output)
    if match is None:
        raise vm.VmError("%s: %s" % (name, output))
    pages, links, dangling = (int(number) for number in match.groups())
    lost = max(0, acknowledged + 1 - pages)
    good = (lost > 0) if loses else (lost == 0 and dangling == 0)
    print("%-14s %4d pages acknowledged, %4d lost, %4d of %4d links dangle: %s"
          % (name, acknowledged + 1, lost, dangling, links,
             "ok" if good else "NO LOSS SEEN" if loses else "LOST"), flush=True)
    return good


def main():
    reason = vm.lacking()
    if reason:
        print("skipped: " + reason)
        return 77
    cases = [case for case in CASES
             if len(sys.argv) < 3 or any(case[0].startswith(name) for name in sys.argv[2:])]
    seed = int(os.environ.get("FL_TEST_SEED", random.randrange(1 << 32)))
    rng = random.Random(seed)
    print("FL_TEST_SEED=%d" % seed)
    failed = 0
    with vm.workspace(seconds=880) as directory:
        machine = vm.Vm(directory, [sys.argv[1]])
        try:
            before = None
            for case in cases + [None]:
                machine.start()
                if before is None:
                    machine.make_namespace()
                else:
                    failed += not verdict(machine, *before)
                if case is not None:
                    before = (case, run_until_cut(machine, case, rng))
        finally:
            machine.cut()
    print("%d passed, %d failed" % (len(cases) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

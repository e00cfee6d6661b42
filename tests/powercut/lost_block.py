"""Goal:   a block that is linked is there after a power cut, if it was faulted through a no-sync mapping; and the test
        can see a loss, for it sees the one that the no-sync mapping was invented against.
Method: guest/lost_block.c in a virtual machine: block 0 durable, grow, fault block 1, link it, flush, next. At the
        first link and at random later ones the machine is stopped and its persistent memory copied, which
        is what a power cut would leave; each copy is mounted (the journal is replayed) and its links are
        followed. What was acknowledged before must be linked and whole, and no link may dangle; through a plain
        mapping blocks must be missing. At the end of each filesystem the power is really cut.

usage: lost_block.py PROGRAM-FOLDER [FIRST-WORD-OF-A-CASE...]     FL_TEST_SEED repeats the moments
       FL_TEST_JUDGE=guest mounts copies in the machine though the host could
"""

import dataclasses
import os
import random
import re
import subprocess
import sys
import time

import vm

KIB64 = 64 * 1024
MIB2 = 2 * 1024 * 1024
COPIES = 3  # of each case
COPIES_CLONE = 12  # about half of them show the loss: XFS leaves every other fault of the kind uncommitted


@dataclasses.dataclass
class Case:
    filesystem: str
    kind: str                # of lost_block.c
    start: str = "hole"
    block: int = 4096
    adversary: str = ""      # of adversary.c, or fork
    loses: bool = False

    @property
    def name(self):
        size = "2M" if self.block == MIB2 else "%dK" % (self.block // 1024)
        start = "" if self.kind in ("dax", "page", "clone") else " " + self.start
        beside = " beside " + self.adversary if self.adversary else ""
        return "%s %s%s %s%s" % (self.filesystem, self.kind, start, size, beside)

    @property
    def options(self):
        return "" if self.kind == "page" else "dax=always"

    @property
    def count(self):
        return 50 if self.block == MIB2 else 300


def cases_of(filesystem):
    """The controls first: they show that the rest could fail."""
    found = [Case(filesystem, "plain", start, block, loses=True)
             for start, block in (("hole", 4096), ("unwritten", 4096), ("hole", MIB2))]
    found.append(Case(filesystem, "write", loses=True))
    found += [Case(filesystem, "sync", start, block)
              for start, block in (("hole", 4096), ("unwritten", 4096), ("hole", MIB2))]
    found += [Case(filesystem, "sync", adversary=beside) for beside in ("touch", "names", "fork")]
    found += [Case(filesystem, "page", block=KIB64), Case(filesystem, "dax", block=MIB2)]
    found += [Case(filesystem, "dax", adversary=beside)
              for beside in ("", "fsync", "read", "copy", "names", "rename", "fill", "fork")]
    return found


def all_cases():
    return {"ext4": cases_of("ext4"), "xfs": cases_of("xfs"),
            "xfs-reflink": [Case("xfs-reflink", "clone", loses=True),
                            Case("xfs-reflink", "sync"), Case("xfs-reflink", "dax")]}


@dataclasses.dataclass
class Lab:
    """What the cases share."""
    machine: vm.Vm
    directory: str
    program: str             # lost_block here
    host_filesystems: list   # of MKFS: those whose copies are mounted here
    rng: random.Random


@dataclasses.dataclass
class Seen:
    """What one image shows."""
    acknowledged: int
    runs: list               # (first, last, whole, hole, stale or unlinked)

    def _count(self, *states):
        return sum(last - first + 1 for first, last, state in self.runs if state in states)

    @property
    def dangling(self):
        return self._count("hole", "stale")

    @property
    def lost(self):
        whole = sum(max(0, min(last, self.acknowledged) - first + 1)
                    for first, last, state in self.runs if state == "whole")
        return self.acknowledged - whole

    def picture(self):
        lines = []
        for first, last, state in self.runs:
            blocks = str(first) if first == last else "%d..%d" % (first, last)
            if state == "whole":
                lines.append("[0]--->[%s]" % blocks)
            elif state != "unlinked":
                lines.append("[0]--x  (%s)  %s" % (state, blocks))
        missing = self.acknowledged - max([last for _, last, _ in self.runs], default=0)
        if missing > 0:
            lines.append("[0]       %d links that were acknowledged are not there" % missing)
        return lines[:4] + (["..."] if len(lines) > 4 else [])


def start_case(machine, case):
    machine.make_filesystem(case.filesystem, "/mnt", case.options)
    if case.adversary not in ("", "fork"):
        machine.run("/t/adversary %s /mnt/heap >/dev/null 2>&1 & echo $! >/tmp/adversary"
                    % case.adversary, check=True)
    machine.begin("/t/lost_block run %s %s /mnt/heap %d %d %s"
                  % (case.kind, case.start, case.block, case.count,
                     case.adversary if case.adversary in ("fork", "fill") else ""))


def follow(machine, case, until):
    """The last link that was acknowledged, at least `until`."""
    acknowledged = 0
    while acknowledged < until:
        line = machine.read_line()
        if not line.isdigit():
            raise vm.VmError("%s: %s" % (case.name, line))
        acknowledged = int(line)
    return acknowledged


CHECK = "cd %s; f=heap; [ -e $f ] || f=heap.2; %s check $f %d"


def seen_by(acknowledged, output):
    return Seen(acknowledged, [(int(first), int(last), state)
                               for first, last, state in re.findall(r"(\d+)-(\d+):(\w+)", output)])


def look_in_guest(machine, case, acknowledged, device):
    """Mount what is left, which replays the journal, and follow the links."""
    machine.mount(case.filesystem, "/look", "" if device == "/dev/vda" else case.options, device)
    _, output = machine.run(CHECK % ("/look", "/t/lost_block", case.block), check=True)
    machine.run("umount /look", check=True)
    return seen_by(acknowledged, output)


def look_at_copy(lab, case, acknowledged, path):
    """The same with a copy: here if this host can mount it, which is quicker."""
    if case.filesystem in lab.host_filesystems:
        with vm.mount_on_host(path, case.filesystem, path + ".mounted") as place:
            done = subprocess.run(["sh", "-c", CHECK % (place, lab.program, case.block)], text=True,
                                  stdout=subprocess.PIPE, timeout=120, check=True)
        return seen_by(acknowledged, done.stdout)
    lab.machine.insert(path)
    return look_in_guest(lab.machine, case, acknowledged, "/dev/vda")


def run_case(lab, case, cut):
    """Copies at the first link and at random ones; at the end all is done, or the power is cut."""
    machine = lab.machine
    copies_max = COPIES_CLONE if case.kind == "clone" else COPIES
    # Not near the end: what is linked while the machine comes to a stop must not be all.
    moments = [1] + sorted(lab.rng.sample(range(2, case.count * 4 // 5), copies_max - 1))
    copies = []
    rest = []
    start_case(machine, case)
    acknowledged = 0
    for moment in moments:
        if acknowledged < moment:
            acknowledged = follow(machine, case, moment)
        path = os.path.join(lab.directory, "copy%d" % len(copies))
        with machine.paused():
            for line in machine.lines_read():
                if line.isdigit():
                    acknowledged = int(line)
                else:
                    rest.append(line)
            machine.copy_image(path)
        copies.append((path, acknowledged))
        if acknowledged >= case.count:
            break
    if cut:
        machine.cut()
        machine.start()
        seen = [look_in_guest(machine, case, acknowledged, "/dev/pmem0")]
    else:
        status, output = machine.finish(seconds=300)
        if status != 0:
            raise vm.VmError("%s: exit status %d\n%s" % (case.name, status, output))
        rest.append(output)
        machine.run("[ ! -e /tmp/adversary ] || kill $(cat /tmp/adversary); rm -f /tmp/adversary")
        seen = []
    for path, told in copies:
        seen.append(look_at_copy(lab, case, told, path))
        os.unlink(path)
    return seen, dict(re.findall(r"(faults|waits) (\d+)", "\n".join(rest)))


def report(case, seen, counts, cut, seconds):
    lost = sum(image.lost for image in seen)
    dangling = sum(image.dangling for image in seen)
    good = (lost > 0) if case.loses else (lost == 0 and dangling == 0)
    verdict = ("lost, as it must" if good else "NOTHING LOST, BUT MUST") if case.loses else (
        "kept" if good else "LOST")
    if case.adversary == "fill" and not cut and int(counts.get("waits", "0")) == 0:
        good, verdict = False, "DISK WAS NEVER FULL"
    print("%-34s %6d %8d %6d %8d %7s  %-16s %4.1f s"
          % (case.name, len(seen), max(image.acknowledged for image in seen), lost, dangling,
             counts.get("faults", ""), verdict, seconds), flush=True)
    if case.loses or not good or (case.kind == "sync" and not case.adversary):
        first = min(seen, key=lambda image: image.acknowledged)
        worst = max(seen, key=lambda image: (image.lost + image.dangling, image.acknowledged))
        for image in [first, worst] if first is not worst else [worst]:
            for line in image.picture():
                print("      %-34s after link %d" % (line, image.acknowledged))
    return good


def run_all(lab, plan):
    failed = 0
    images = 0
    print("%-34s %6s %8s %6s %8s %7s" % ("", "images", "acked", "lost", "dangling", "faults"))
    for number, case in enumerate(plan):
        last = number + 1 == len(plan) or plan[number + 1].filesystem != case.filesystem
        begin = time.monotonic()
        seen, counts = run_case(lab, case, last)
        images += len(seen)
        failed += not report(case, seen, counts, last, time.monotonic() - begin)
    controls = sum(case.loses for case in plan)
    print("%d images of %d cases, %d of them controls that must lose; %d failed"
          % (images, len(plan), controls, failed))
    return failed


def main():
    reason = vm.lacking()
    if reason:
        print("skipped: " + reason)
        return 77
    plan = [case for cases in all_cases().values() for case in cases
            if len(sys.argv) < 3 or any(case.name.startswith(name) for name in sys.argv[2:])]
    seed = int(os.environ.get("FL_TEST_SEED", random.randrange(1 << 32)))
    print("FL_TEST_SEED=%d" % seed)
    programs = [os.path.join(sys.argv[1], name) for name in ("lost_block", "adversary")]
    with vm.workspace(seconds=2640) as directory:
        with vm.Vm(directory, programs, disk=True) as machine:
            machine.make_namespace()
            here = [kind for kind in all_cases() if os.environ.get("FL_TEST_JUDGE") != "guest"
                    and vm.host_mounts(kind, directory)]
            print("copies that are mounted here: %s" % (", ".join(here) or "none"))
            failed = run_all(Lab(machine, directory, os.path.abspath(programs[0]), here,
                                 random.Random(seed)), plan)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

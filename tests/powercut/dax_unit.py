"""Goal:   kind dax does on a real DAX filesystem what its unit tests say, and the other kinds beside it.
Method: the unit tests' own programs, run in a virtual machine with emulated persistent memory on ext4, on XFS without
        reflink, and what reflink changes on XFS with it. Each must exit 0: one that skips itself
        in there fails here.

usage: dax_unit.py DIRECTORY-OF-THE-TEST-PROGRAMS
"""

import os
import re
import sys
import time

import vm

# (filesystem, mount options, program and arguments). /dev/shm of the guest is a tmpfs.
EVERYWHERE = ["test_nosync_kinds_dax dax", "test_nosync_full_dax dax", "test_nosync_dax"]
PLAN = (
    [("ext4", "dax=always", program) for program in
     EVERYWHERE + ["test_nosync_kinds_page page", "test_nosync_kinds_volatile volatile",
                   "test_nosync_sigbus", "test_persist_pm_instructions"]]
    + [("xfs", "dax=always", program) for program in EVERYWHERE]
    + [("xfs-reflink", "dax=always", "test_nosync_dax")]
    + [("ext4", "", "test_nosync_open"), ("ext4", "", "test_nosync_page_faults")]
)


def run_plan(machine):
    mounted = None
    failed = 0
    for kind, options, program in PLAN:
        if (kind, options) != mounted:
            machine.make_filesystem(kind, "/mnt", options)
            mounted = (kind, options)
        environment = ["TMPDIR=/mnt", "FL_TEST_DAX_DIR=/mnt"]
        if kind == "xfs-reflink":
            environment.append("FL_TEST_DAX_REFLINK=1")
        if kind == "ext4":
            environment.append("FL_TEST_DAX_JOURNAL=/proc/fs/jbd2/pmem0-8/info")
        start = time.monotonic()
        status, output = machine.run(" ".join(environment) + " /t/" + program, seconds=240)
        print("%-12s %-11s %-34s %s, %.1f s" % (kind, options, program,
                                              "ok" if status == 0 else "exit status %d" % status,
                                              time.monotonic() - start), flush=True)
        for line in re.findall(r"^(?:granted|10 blocks).*", output, re.MULTILINE):
            print("    " + line)
        if status != 0:
            failed += 1
            print(output)
    return failed


def main():
    reason = vm.lacking()
    if reason:
        print("skipped: " + reason)
        return 77
    programs = sorted({os.path.join(sys.argv[1], program.split()[0]) for _, _, program in PLAN
                       if not program.startswith("test_persist")})
    programs.append(os.path.join(sys.argv[1], "../persist/test_persist_pm_instructions"))
    with vm.workspace(seconds=760) as directory:
        with vm.Vm(directory, programs) as machine:
            machine.make_namespace()
            failed = run_plan(machine)
    print("%d passed, %d failed" % (len(PLAN) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

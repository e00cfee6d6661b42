"""Goal:   ext4 and XFS keep what the contract says they keep, and differ from the model where it says so and nowhere
        else.
Method: the scenarios that the model runs, by contract_guest in a virtual machine with emulated persistent memory. At the
        end of each the machine is paused and its persistent memory copied, which is what a power cut would leave; the
        copy is mounted as a disk, which replays the journal, and the scenario's second half looks at it.
        Answers are judged by contract_report against expectations.c.

usage: kernels.py GUEST-PROGRAM REPORT-PROGRAM [-o FILE] [COLUMN...]
       -o: keep the answers, for contract_report
"""

import argparse
import os
import re
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "powercut"))
import vm  # noqa: E402

SECONDS = 1080
COLUMNS = ["ext4", "xfs", "xfs-reflink"]
# So that nothing is committed that nobody asked for.
OPTIONS = {"ext4": "dax=always,commit=1000", "xfs": "dax=always", "xfs-reflink": "dax=always"}
LATE = "for f in /proc/sys/fs/xfs/xfssyncd_centisecs; do [ -e $f ] && echo 720000 >$f; done; true"
ONLY = {"xfs-reflink": ["clone"]}
LAST = "failed commit"  # shuts the filesystem down


def scenarios(program, column):
    listed = subprocess.run([program, "list"], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = []
    for line in listed.splitlines():
        _, name, verify = line.split("|")
        if column not in ONLY or name in ONLY[column]:
            found.append((name, verify == "verify"))
    return sorted(found, key=lambda scenario: scenario[0] == LAST)


def answers(text):
    return re.findall(r"^(?:fact|broken) .*", text, re.MULTILINE)


def run_scenario(machine, guest, column, name, directory, copy):
    """What was found before the cut; `copy`: a path for what it leaves."""
    machine.run("mkdir %s && sync" % directory, check=True)
    machine.begin("%s run %s '%s' %s 2>&1" % (guest, column, name, directory))
    found = []
    while True:
        line = machine.read_line(seconds=120)
        if line == "cut":
            break
        if line.startswith("done "):
            raise vm.VmError("%s, %s: %s" % (column, name, "\n".join(found)))
        found.append(line)
    if copy:
        with machine.paused():
            machine.copy_image(copy)
    status, output = machine.finish()
    if status != 0:
        raise vm.VmError("%s, %s: exit status %d\n%s" % (column, name, status, output))
    return answers("\n".join(found))


def verify_scenario(machine, guest, column, name, directory, copy):
    machine.insert(copy)
    os.unlink(copy)
    machine.mount(column, "/look", "", "/dev/vda")
    status, output = machine.run("%s verify %s '%s' %s 2>&1"
                                 % (guest, column, name, directory.replace("/mnt", "/look")))
    machine.run("umount /look", check=True)
    if status != 0:
        raise vm.VmError("%s, %s: verify: exit status %d\n%s" % (column, name, status, output))
    return answers(output)


def run_column(machine, program, column, workspace):
    guest = "/t/" + os.path.basename(program)
    begin = time.monotonic()
    found = []
    machine.make_filesystem(column, "/mnt", OPTIONS[column])
    plan = scenarios(program, column)
    for number, (name, verify) in enumerate(plan):
        directory = "/mnt/%d" % number
        copy = os.path.join(workspace, "copy") if verify else None
        found += run_scenario(machine, guest, column, name, directory, copy)
        if name != LAST:
            machine.run("rm -rf %s && sync" % directory, check=True)
        if verify:
            found += verify_scenario(machine, guest, column, name, directory, copy)
    machine.run("umount /mnt", check=True)
    print("%s: %d scenarios, %.0f s" % (column, len(plan), time.monotonic() - begin), flush=True)
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("guest")
    parser.add_argument("report")
    parser.add_argument("-o", dest="keep")
    parser.add_argument("columns", nargs="*", default=COLUMNS)
    args = parser.parse_args()
    reason = vm.lacking()
    if reason:
        print("skipped: " + reason)
        return 77
    found = []
    with vm.workspace(SECONDS) as workspace, \
            vm.Vm(workspace, [args.guest], disk=True) as machine:
        machine.make_namespace()
        machine.run(LATE)
        for column in args.columns:
            found += run_column(machine, args.guest, column, workspace)
    text = "\n".join(found) + "\n"
    if args.keep:
        with open(args.keep, "w", encoding="utf-8") as out:
            out.write(text)
    return subprocess.run([args.report], input=text, text=True, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

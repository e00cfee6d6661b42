#!/usr/bin/env python3
"""Goal:   the storage as it is shipped does to media, between one fence and the next, what its instrumented copy does: what
        the explorer sees is what runs.
Method: recorder B steps over the shipped objects, recorder A records the instrumented ones, the same workload, the same
        randomness; after each fence what is guaranteed to be on media and what loads see must be the same.

test_recorders.py FAULTLINE-CRASH CRASH-STEP WORKLOAD...
"""
import subprocess
import sys


def lines(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=3000).stdout.splitlines()


def main():
    program, stepper, names = sys.argv[1], sys.argv[2], sys.argv[3:]
    for name in names:
        instrumented = lines(program, "record", name, "--digest")
        shipped = lines(stepper, name)
        if len(shipped) < 10:
            sys.exit(f"{name}: recorder B saw next to nothing")
        for number, (a, b) in enumerate(zip(instrumented, shipped)):
            if a != b:
                sys.exit(f"{name}: they part at line {number}:\n{a}\n{b}")
        if len(instrumented) != len(shipped):
            sys.exit(f"{name}: {len(instrumented)} fences and {len(shipped)}")
        print(f"{name}: {len(shipped)} moments, the same in both")


if __name__ == "__main__":
    main()

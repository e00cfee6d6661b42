#!/usr/bin/env python3
"""How many faults are injected and how many inputs fuzzed, by kind: run the tests that count them and add up.

Usage: figures.py BUILD [--nightly]

BUILD is a build folder with the tests in it. Of one of preset "fuzz" it is libFuzzer's executions that count.
Exits 1 if a test failed.
"""

import re
import subprocess
import sys

TESTS = "^(faults_.*|damage.*|fuzz_.*)$"
FAULT = re.compile(r"^\d+: faults: (\S+) injected=(\d+) refused=(\d+) survived=(\d+)$")
SMOKE = re.compile(r"^\d+: (\d+) inputs, (\d+) changed ones$")
UNITS = re.compile(r"^\d+: stat::number_of_executed_units: (\d+)$")
START = re.compile(r"^\s*Start\s+\d+: (\S+)$")


def collect(lines):
    """Figures by kind, and executions by target, from what ctest -V prints."""
    faults, fuzz, name = {}, {}, ""
    for line in lines:
        line = line.rstrip()
        if match := START.match(line):
            name = match.group(1)
        elif match := FAULT.match(line):
            figures = [int(n) for n in match.groups()[1:]]
            before = faults.get(match.group(1), [0, 0, 0])
            faults[match.group(1)] = [a + b for a, b in zip(before, figures)]
        elif match := SMOKE.match(line):
            fuzz[name] = fuzz.get(name, 0) + int(match.group(1)) + int(match.group(2))
        elif match := UNITS.match(line):
            fuzz[name] = fuzz.get(name, 0) + int(match.group(1))
    return faults, fuzz


def main():
    args = sys.argv[1:]
    if not args or args[0] in ("--help", "-h"):
        print(__doc__.strip())
        return 0 if args else 2
    command = ["ctest", "--test-dir", args[0], "-V", "-R", TESTS]
    if "--nightly" not in args:
        command += ["-LE", "nightly"]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, errors="replace", check=False)
    faults, fuzz = collect(result.stdout.splitlines())
    print(f"{'fault':32}{'injected':>10}{'refused':>10}{'survived':>10}")
    for kind, figures in sorted(faults.items()):
        print(f"{kind:32}" + "".join(f"{n:>10}" for n in figures))
    print(f"{'all':32}" + "".join(f"{sum(f[i] for f in faults.values()):>10}" for i in range(3)))
    print(f"\n{'fuzz target':32}{'executions':>10}")
    for target, count in sorted(fuzz.items()):
        print(f"{target:32}{count:>10}")
    print(f"{'all':32}{sum(fuzz.values()):>10}")
    if result.returncode != 0:
        print("\nA test failed:", *[s for s in result.stdout.splitlines() if "***" in s], sep="\n")
    return 1 if result.returncode != 0 else 0


if __name__ == "__main__":
    sys.exit(main())

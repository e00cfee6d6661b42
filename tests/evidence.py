#!/usr/bin/env python3
"""The figures of docs/evidence.md, out of what the last run of the tests printed.

Usage: evidence.py BUILD

BUILD is a build folder in which ctest has run, by ./check say: build/dev. Prints, for each test that is evidence of
durability, whether it passed and the lines with its figures, then the faults and the fuzzed inputs added up. A test
that did not run in there is named as such. Exits 1 if one of them failed, 2 if there is no log.
"""

import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "faults"))
import figures  # noqa: E402

# (what about, tests, lines of theirs)
PLAN = [
    ("Crash states", r"crash_(exhaustive|threads|explore|races|faults)$", r"states|schedules|truncated|violation|^(dax|page)|EXHAUSTIVE"),
    ("Mutants", r"crash_score.*", r"killed|^(automatic|planted)"),
    ("Contract", r"(contract|formal)_.*", r"answers|crash points, |mutants (killed|refuted)"),
    ("Model filesystem", r"modelfs_(fs_.*|fault_times|spin)|model_store", r"states|commits|p50|p99|tries|power cuts|us\b"),
    ("Power cuts of a machine", r"powercut_.*", r"images|lost|lose|violation"),
]
TEST = re.compile(r"^\d+/\d+ Testing: (\S+)\n(.*?)^<end of output>\n(.*?)^\"", re.DOTALL | re.MULTILINE)
OUTPUT = re.compile(r"Output:\n-+\n(.*)", re.DOTALL)


def read(build):
    """Output and outcome of each test."""
    path = os.path.join(build, "Testing", "Temporary", "LastTest.log")
    with open(path, encoding="utf-8", errors="replace") as log:
        text = log.read()
    found = {}
    for name, body, end in TEST.findall(text):
        output = OUTPUT.search(body)
        lines = output.group(1).splitlines() if output else []
        # The log calls a test that skipped itself passed.
        outcome = "FAILED" if "Test Passed." not in end else \
            "skipped" if any(line.startswith("skipped") for line in lines) else "passed"
        found[name] = (outcome, lines)
    return found


def show(found):
    failed = False
    for title, tests, lines in PLAN:
        print(f"{title}\n")
        ran = sorted(name for name in found if re.fullmatch(tests, name))
        for name in ran:
            outcome, output = found[name]
            failed |= outcome == "FAILED"
            print(f"  {name}: {outcome}")
            for line in output:
                if re.search(lines, line) and re.search(r"\d", line):
                    print("    " + line.strip()[:200])
        if not ran:
            print("  none of these tests ran")
        print()
    return failed


def add_up(found):
    """As figures.py does, from the same log."""
    lines = []
    for name, (_, output) in found.items():
        if re.fullmatch(figures.TESTS.strip("^$"), name):
            lines.append(f"  Start 1: {name}")
            lines += ["1: " + line for line in output]
    faults, fuzz = figures.collect(lines)
    print("Faults injected: %d, refused %d, survived %d, of %d kinds" %
          (*(sum(f[i] for f in faults.values()) for i in range(3)), len(faults)))
    print("Inputs fuzzed: %d, by %d targets" % (sum(fuzz.values()), len(fuzz)))


def main():
    args = sys.argv[1:]
    if len(args) != 1 or args[0] in ("--help", "-h"):
        print(__doc__.strip())
        return 0 if args and args[0] in ("--help", "-h") else 2
    try:
        found = read(args[0])
    except OSError as error:
        print("evidence.py: no tests have run there: %s" % error, file=sys.stderr)
        return 2
    failed = show(found)
    add_up(found)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

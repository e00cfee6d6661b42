#!/usr/bin/env python3
"""Check the Promela model of the no-sync contract with spin, and that each of its mutants is refuted.

    tests/formal/check_model.py [--all] [--jobs N]

Prints a line for each run: its switches, what was expected, states, seconds. Exit 1 if one ends otherwise, 77 if spin or
a C compiler is lacking. --all: also the largest state space (a minute more).
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

MODEL = pathlib.Path(__file__).resolve().parent / "nosync.pml"
DEPTH_MAX = 100_000
TIMEOUT_S = 300
EXIT_LACKING = 77

HOLDS = [["DEATH"], ["PUNCH", "DEATH"], ["WRITE", "DEATH"], ["PUNCH", "WRITE"],
         ["THREAD", "PUNCH", "WRITE"]]
HOLDS_LARGE = [["PUNCH", "WRITE", "DEATH"]]
# What is left out or moved, and the assertion that says so (a part of its text).
REFUTED = [
    (["PLAIN"], "acknowledged"),
    (["MUTANT_PTE_BEFORE_COMMIT", "THREAD"], "punch_asked"),
    (["MUTANT_FLAG_APART"], "flag_dur"),
    (["MUTANT_NO_ZAP", "PUNCH"], "acknowledged"),
    (["MUTANT_ZAP_AFTER_FREE", "PUNCH"], "other_dur"),
    (["MUTANT_NO_ACKNOWLEDGEMENT", "PUNCH"], "acknowledged"),
    (["MUTANT_NO_ZERO"], "==4"),
    (["MUTANT_REUSE_BEFORE_COMMIT", "PUNCH"], "==4"),
    (["MUTANT_WRITE_WITHOUT_COMMIT", "WRITE"], "write_returned"),
]


def run(switches):
    """(errors, text of the assertion, states, seconds) of one verification."""
    with tempfile.TemporaryDirectory(prefix="faultline-formal-") as folder:
        began = time.monotonic()
        for argv in (["spin", "-a", *(f"-D{s}" for s in switches), str(MODEL)],
                     ["cc", "-O1", "-w", "-DSAFETY", "-o", "pan", "pan.c"],
                     ["./pan", "-E", f"-m{DEPTH_MAX}"]):
            done = subprocess.run(argv, cwd=folder, capture_output=True, text=True,
                                  timeout=TIMEOUT_S, check=False)
            if done.returncode != 0:
                sys.exit(f"check_model.py: {' '.join(argv)}:\n{done.stdout}{done.stderr}")
        errors = re.search(r"errors: (\d+)", done.stdout)
        states = re.search(r"(\S+) states, stored", done.stdout)
        if errors is None or states is None or "max search depth too small" in done.stdout:
            sys.exit(f"check_model.py: no verdict:\n{done.stdout}")
        said = re.search(r"assertion violated (.*)", done.stdout)
        return (int(errors.group(1)), said.group(1) if said else "", int(float(states.group(1))),
                time.monotonic() - began)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="the largest state space too")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    for tool in ("spin", "cc"):
        if shutil.which(tool) is None:
            print(f"skipped: {tool} is not installed")
            sys.exit(EXIT_LACKING)
    cases = [(s, "") for s in HOLDS + (HOLDS_LARGE if args.all else [])] + REFUTED
    bad = 0
    refuted = 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for (switches, expected), (errors, said, states, seconds) in zip(
                cases, pool.map(lambda case: run(case[0]), cases)):
            right = (errors == 0) if not expected else (errors > 0 and expected in said)
            bad += not right
            refuted += right and expected != ""
            verdict = "holds" if errors == 0 else f"refuted: {said[:60]}"
            print(f"{'ok' if right else 'NOT OK':6} {' '.join(switches):40} {states:9} states "
                  f"{seconds:5.1f} s  {verdict}", flush=True)
    print(f"{len(cases) - bad} of {len(cases)} as expected; mutants refuted: {refuted} of {len(REFUTED)}")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()

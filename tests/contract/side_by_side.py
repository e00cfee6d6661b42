#!/usr/bin/env python3
"""The contract's questions, asked of the model, of the model through its client library, of ext4 and of XFS; the answers
side by side. Two minutes, most of them in a virtual machine; what this machine lacks is left out, and said.

    tests/contract/side_by_side.py BUILD [--markdown]

BUILD is a build folder. Exit 1 if an answer is not as expected.
"""

import argparse
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SKIPPED = 77


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build")
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    programs = os.path.join(args.build, "tests", "contract")
    report = os.path.join(programs, "contract_report")
    files = []
    with tempfile.TemporaryDirectory(prefix="fl-contract-") as folder:
        for name, command in (
                ("model", [os.path.join(programs, "test_contract_model"), "--lines"]),
                ("client", [os.path.join(programs, "test_contract_client"), "--lines"]),
                ("kernels", [sys.executable, "-B", os.path.join(HERE, "kernels.py"),
                             os.path.join(programs, "contract_guest"), report,
                             "-o", os.path.join(folder, "kernels")])):
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, check=False)
            if done.returncode == SKIPPED:
                print("%s: %s" % (name, done.stdout.strip()), file=sys.stderr)
                continue
            path = os.path.join(folder, name)
            if not os.path.exists(path):
                with open(path, "w", encoding="utf-8") as out:
                    out.write(done.stdout)
            files.append(path)
        options = ["--markdown"] if args.markdown else []
        return subprocess.run([report] + options + files, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

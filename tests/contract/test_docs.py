"""Goal:   the table in docs/contract.md is the one that the tests hold the model and the kernels to.
Method: contract_report prints it from expectations.c; the page must contain it, line for line.

usage: test_docs.py REPORT-PROGRAM PAGE      how to mend the page is printed
"""

import subprocess
import sys


def main():
    report, page = sys.argv[1:]
    wanted = subprocess.run([report, "--markdown", "--expected"], stdout=subprocess.PIPE, text=True,
                            check=True).stdout.strip()
    with open(page, encoding="utf-8") as text:
        if wanted in text.read():
            print("%d lines are as expected" % (wanted.count("\n") + 1))
            return 0
    print("%s: not what `contract_report --markdown --expected` prints:\n\n%s" % (page, wanted))
    return 1


if __name__ == "__main__":
    sys.exit(main())

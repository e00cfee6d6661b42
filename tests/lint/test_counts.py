"""Goal:   test_counts, from which ./check makes its closing line, never calls a test passed that didn't.
Method: a ctest project with a test of every fate, run by ctest itself.
"""
import os
import subprocess
import sys
import tempfile
import unittest

import planted

PROJECT = """
cmake_minimum_required(VERSION 3.25)
project(fates NONE)
enable_testing()
add_test(NAME good COMMAND true)
add_test(NAME bad COMMAND false)
add_test(NAME lacking COMMAND sh -c "echo skipped: no such device; exit 77")
add_test(NAME partly COMMAND printf "%s\\n" "[  SKIPPED ] one" "[       OK ] two" "[  SKIPPED ] 1 test(s), listed below:" "[  SKIPPED ] one")
add_test(NAME python COMMAND printf "%s\\n" "Ran 3 tests in 0.1s" "" "OK (skipped=2)")
add_test(NAME slow COMMAND sleep 30)
add_test(NAME gone COMMAND fates-no-such-program)
add_test(NAME off COMMAND true)
set_tests_properties(good bad lacking slow gone PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 1)
set_tests_properties(off PROPERTIES DISABLED 1)
"""
EXPECTED = """3 3 4
failed: dev: bad
skipped: dev: lacking (skipped: no such device)
skipped: dev: partly: one
skipped: dev: python: skipped=2
failed: dev: slow
failed: dev: gone (Unable to find executable)
skipped: dev: off (disabled)
"""


class Counts(unittest.TestCase):
    def test_each_fate_is_counted_as_what_it_is(self):
        with tempfile.TemporaryDirectory() as root:
            with open(os.path.join(root, "CMakeLists.txt"), "w", encoding="utf-8") as file:
                file.write(PROJECT)
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": root}
            subprocess.run(["cmake", "-G", "Ninja", "-S", ".", "-B", "build"], check=True, **quiet)
            subprocess.run(["ctest", "--test-dir", "build", "--output-junit", "junit.xml",
                            "--test-output-size-passed", "1000000"], check=False, **quiet)
            output = subprocess.run(
                [sys.executable, os.path.join(planted.ROOT, "tools/test_counts"), "dev",
                 os.path.join(root, "build/junit.xml")],
                check=True, text=True, stdout=subprocess.PIPE).stdout
        self.assertEqual(output, EXPECTED)


unittest.main()

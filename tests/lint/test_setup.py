"""Goal:   ./run and ./check ask the network only for packages that are missing, never without root, and refuse
        options that they don't know.
Method: tools/setup.sh with stand-ins for dpkg-query, apt-get and id in front of $PATH, which write down how
        they were called; the two scripts themselves for their options.
"""
import os
import subprocess
import tempfile
import unittest

import planted

PACKAGES = """
# a comment
one    run             # why
two    run             # why
three  check           # why
four   check  have=sh  # a command that every machine has
five   check  have=no-such-command  # why
"""
STAND_INS = {
    "dpkg-query": 'echo "installed one one"; echo "config-files two two"; for p in $EXTRA; do echo "installed $p $p"; done',
    "apt-get": 'echo "apt-get $*" >>"$LOG"',
    "id": "echo 1000",
}


class Setup(unittest.TestCase):
    def setup_packages(self, sets, extra=""):
        """Exit code, output, and calls of apt-get, with `one` and the packages of `extra` installed."""
        with tempfile.TemporaryDirectory() as root:
            os.mkdir(f"{root}/bin")
            for name, script in STAND_INS.items():
                with open(f"{root}/bin/{name}", "w", encoding="utf-8") as file:
                    file.write(f"#!/bin/sh\n{script}\n")
                os.chmod(f"{root}/bin/{name}", 0o755)
            with open(f"{planted.ROOT}/tools/setup.sh", encoding="utf-8") as source:
                with open(f"{root}/setup.sh", "w", encoding="utf-8") as file:
                    file.write(source.read())
            with open(f"{root}/packages.txt", "w", encoding="utf-8") as file:
                file.write(PACKAGES)
            env = dict(os.environ, PATH=f"{root}/bin:{os.environ['PATH']}", LOG=f"{root}/log", EXTRA=extra)
            env.pop("FL_NO_SETUP", None)
            result = subprocess.run(
                ["bash", "-euc", f". {root}/setup.sh; setup_packages {sets}"], env=env, check=False,
                text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            calls = ""
            if os.path.exists(f"{root}/log"):
                with open(f"{root}/log", encoding="utf-8") as file:
                    calls = file.read()
        return result.returncode, result.stdout, calls

    def test_nothing_missing_does_nothing(self):
        self.assertEqual(self.setup_packages("run", "two"), (0, "", ""))
        self.assertEqual(self.setup_packages("run check", "two three five"), (0, "", ""))

    def test_missing_without_root_is_named_and_not_installed(self):
        for sets, extra, missing in (("run", "", "two"), ("run check", "two", "three five"), ("check", "three", "five")):
            with self.subTest(sets, extra=extra):
                code, output, calls = self.setup_packages(sets, extra)
                self.assertEqual((code, calls), (1, ""))
                self.assertIn(f"--no-install-recommends {missing}\n", output)

    def test_every_package_of_the_project_has_a_set_and_a_reason(self):
        with open(f"{planted.ROOT}/tools/packages.txt", encoding="utf-8") as file:
            lines = [line for line in file.read().splitlines() if line and line[0] != "#"]
        self.assertTrue(lines)
        for line in lines:
            self.assertRegex(line, r"^[a-z0-9.+-]+ +(run|check) +(have=\S+ +)?# \S")

    def test_scripts_explain_themselves_and_refuse_what_they_do_not_know(self):
        for script in ("run", "check"):
            with self.subTest(script):
                path = os.path.join(planted.ROOT, script)
                quiet = {"check": False, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
                shown = subprocess.run([path, "--help"], **quiet)
                self.assertEqual(shown.returncode, 0)
                self.assertIn(f"Usage: ./{script}", shown.stdout)
                refused = subprocess.run([path, "--no-such-option"], **quiet)
                self.assertEqual(refused.returncode, 2)
                self.assertIn("--no-such-option", refused.stderr)


unittest.main()

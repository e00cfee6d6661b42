"""A small tree with a planted fault, and one lint tool run over it."""
import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SKIP = 77


class PlantedTest(unittest.TestCase):
    """`tool` names the tool under test, `files` the tree that it must find nothing in."""

    tool = ""
    files = {}
    copied = ()  # files of the real tree that the tool reads

    def run_tool(self, planted, *args):
        """Exit code and output of the tool over `files` with `planted` put into it."""
        with tempfile.TemporaryDirectory() as root:
            contents = dict(self.files)
            for path in self.copied:
                with open(os.path.join(ROOT, path), encoding="utf-8") as file:
                    contents[path] = file.read()
            contents.update(planted)
            for path, text in contents.items():
                os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
                with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                    file.write(text)
            command = [sys.executable, os.path.join(ROOT, "tools", self.tool)]
            args = [arg.replace("@ROOT@", root) for arg in args] or [root]
            result = subprocess.run(command + args, check=False, text=True, stdin=subprocess.DEVNULL,
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if result.returncode == SKIP:
                print(result.stdout, end="")
                sys.exit(SKIP)
            return result.returncode, result.stdout

    def assert_clean(self, planted, *args):
        code, output = self.run_tool(planted, *args)
        self.assertEqual((code, output if code else ""), (0, ""))

    def assert_caught(self, planted, where, what, *args):
        code, output = self.run_tool(planted, *args)
        self.assertEqual(code, 1, output)
        self.assertIn(where, output)
        self.assertIn(what, output)

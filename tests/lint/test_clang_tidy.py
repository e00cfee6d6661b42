"""Goal:   check_clang_tidy fails on a finding, in a header too, and looks again once something changed.
Method: a compile database of one file by hand; the file clean, faulty, and clean with a faulty header; run
        twice in one folder with the fault put in between, or in two folders with one memory.
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

import planted

CLEAN = '#include "base/a.h"\nint\nf(int x)\n{\n    return x + 1;\n}\n'
FAULTY = '#include "base/a.h"\nint\nf(int x)\n{\n    return x == x;\n}\n'
FAULTY_HEADER = "static inline int g(int x)\n{\n    return x == x;\n}\n"


def database(root):
    command = f"/usr/bin/ccache gcc -I{root} -Wall -o a.o -c {root}/base/a.c"
    return json.dumps([{"directory": root, "command": command, "file": f"{root}/base/a.c"}])


class ClangTidy(unittest.TestCase):
    def setUp(self):
        self.cache = tempfile.TemporaryDirectory()
        self.addCleanup(self.cache.cleanup)

    def remembered(self):
        return len(os.listdir(os.path.join(self.cache.name, "faultline/clang-tidy")))

    def check(self, *trees):
        """Run the tool over each of the trees in turn, in one folder; the codes and the last output."""
        codes = []
        output = ""
        with tempfile.TemporaryDirectory() as root:
            for folder in ("base", "build", "tests"):
                os.mkdir(os.path.join(root, folder))
            for name in (".clang-tidy", "tests/.clang-tidy"):
                with open(os.path.join(planted.ROOT, name), encoding="utf-8") as source:
                    with open(os.path.join(root, name), "w", encoding="utf-8") as copy:
                        copy.write(source.read())
            for tree in trees:
                for path, text in dict(tree, **{"build/compile_commands.json": database(root)}).items():
                    with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                        file.write(text)
                result = subprocess.run(
                    [sys.executable, os.path.join(planted.ROOT, "tools/check_clang_tidy"),
                     os.path.join(root, "build"), root],
                    env=dict(os.environ, XDG_CACHE_HOME=self.cache.name),
                    check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                if result.returncode == planted.SKIP:
                    print(result.stdout, end="")
                    sys.exit(planted.SKIP)
                codes.append(result.returncode)
                output = result.stdout
        return codes, output

    def test_clean_file_finds_nothing(self):
        self.assertEqual(self.check({"base/a.c": CLEAN, "base/a.h": ""})[0], [0])

    def test_fault_is_caught(self):
        codes, output = self.check({"base/a.c": FAULTY, "base/a.h": ""})
        self.assertEqual(codes, [1])
        self.assertIn("misc-redundant-expression", output)
        self.assertIn("base/a.c:5", output)

    def test_fault_in_a_header_is_caught_after_a_clean_run(self):
        codes, _ = self.check({"base/a.c": CLEAN, "base/a.h": ""}, {"base/a.h": FAULTY_HEADER}, {"base/a.h": ""})
        self.assertEqual(codes, [0, 1, 0])

    def test_a_clean_file_is_known_in_another_folder(self):
        for _ in range(2):
            self.assertEqual(self.check({"base/a.c": CLEAN, "base/a.h": ""})[0], [0])
            self.assertEqual(self.remembered(), 1)

    def test_a_fault_is_never_remembered(self):
        for _ in range(2):
            self.assertEqual(self.check({"base/a.c": FAULTY, "base/a.h": ""})[0], [1])
            self.assertEqual(self.remembered(), 0)

    def test_other_checks_are_another_question(self):
        self.check({"base/a.c": CLEAN, "base/a.h": ""})
        self.check({"base/a.c": CLEAN, "base/a.h": "", "tests/.clang-tidy": "Checks: '-*,bugprone-*'\n"})
        self.assertEqual(self.remembered(), 2)


unittest.main()

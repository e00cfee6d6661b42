"""Goal:   check_format fails on code that clang-format would change, and on nothing else.
Method: a clean file, the same indented wrongly, and the fix applied to it.
"""
import unittest

import planted


class Format(planted.PlantedTest):
    tool = "check_format"
    copied = (".clang-format",)
    files = {"base/a.c": "int\nf(void)\n{\n    return 1;\n}\n"}

    def test_formatted_tree_finds_nothing(self):
        self.assert_clean({})

    def test_wrong_format_is_caught_and_can_be_fixed(self):
        wrong = {"server/b.c": "int f(void) {\n  return 1;\n}\n"}
        self.assert_caught(wrong, "server/b.c:", "clang-format")
        self.assert_clean(wrong, "--fix", "@ROOT@")

    def test_comments_keep_their_lines(self):
        self.assert_clean({"base/b.h": "/* Owner:   " + "a word " * 14 + "\n * Durable: yes */\nint a;\n"})


unittest.main()

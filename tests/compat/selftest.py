#!/usr/bin/env python3
"""Goal:   redis_diff.py finds what differs and nothing else.
Method: two redis-servers of the same build show no difference, in every case and in random commands; one
        that lacks a command is told apart by both; every way of comparing takes what it
        may and refuses what it may not.
"""

import os
import subprocess
import sys
import unittest

import compare
import script
import servers
from generate import Generator
from resp import Error, Status

HERE = os.path.dirname(os.path.abspath(__file__))


def diff(*args):
    done = subprocess.run([sys.executable, os.path.join(HERE, "redis_diff.py"), "--subject", "redis-server", *args],
                          capture_output=True, text=True, timeout=100, check=False)
    return done.returncode, done.stdout + done.stderr


class Servers(unittest.TestCase):
    def test_two_alike_show_no_difference(self):
        code, output = diff("--random", "1500")
        self.assertEqual(code, 0, output)
        self.assertRegex(output, r"[5-9]\d\d\d commands compared in RESP2 and RESP3, 0 differences")

    def test_a_missing_command_is_found(self):
        code, output = diff("--random", "0", "--subject-arg=--rename-command", "--subject-arg=PERSIST",
                            "--subject-arg=")
        self.assertEqual(code, 1, output)
        self.assertIn("command: 1> 'PERSIST' 'a'", output)
        self.assertIn("unknown command", output)

    def test_a_missing_command_is_found_by_random_ones(self):
        code, output = diff("--subject-arg=--rename-command", "--subject-arg=SUBSTR", "--subject-arg=",
                            os.path.join(HERE, "cases", "transactions.txt"))
        self.assertEqual(code, 1, output)
        self.assertIn("repeat with: --seed", output)


def reply(raw, value):
    return raw, value


class Comparing(unittest.TestCase):
    def test_exact_compares_bytes(self):
        self.assertTrue(compare.same(reply(b":1\r\n", 1), reply(b":1\r\n", 1)))
        self.assertFalse(compare.same(reply(b"$-1\r\n", None), reply(b"*-1\r\n", None)))

    def test_sorted_ignores_order_only(self):
        def same(a, b):
            return compare.same(reply(b"*", a), reply(b"*", b), "sorted")

        self.assertTrue(same([b"a", [b"b", b"c"]], [[b"c", b"b"], b"a"]))
        self.assertFalse(same([b"a", b"a"], [b"a"]))
        self.assertFalse(same([b"a", b"a", b"b"], [b"a", b"b", b"b"]))
        self.assertFalse(same([b"1"], [1]))
        self.assertFalse(same([b"OK"], [Status(b"OK")]))

    def test_near_allows_only_the_limit(self):
        def same(a, b):
            return compare.same(reply(b":", a), reply(b":", b), "near", 2)

        self.assertTrue(same(100, 98))
        self.assertFalse(same(100, 97))
        self.assertFalse(same(-1, b"-1"))
        self.assertFalse(same(Error(b"x"), Error(b"y")))
        self.assertTrue(same([1, b"5"], [2, b"6"]))
        self.assertFalse(same([1], [1, 1]))

    def test_shape_compares_kinds(self):
        self.assertTrue(compare.same(reply(b"*", [b"a", 1]), reply(b"*", [b"b", 2]), "shape"))
        self.assertFalse(compare.same(reply(b"*", [b"a"]), reply(b"*", [1]), "shape"))
        self.assertFalse(compare.same(reply(b":1", 1), reply(b"$1", b"1"), "shape"))


class Scripts(unittest.TestCase):
    def test_arguments_are_split_and_unescaped(self):
        self.assertEqual(script.split('SET "a b" "\\x00\\r\\n\\"" {x*3} "" end'),
                         [b"SET", b"a b", b'\x00\r\n"', b"xxx", b"", b"end"])

    def test_random_commands_repeat_by_seed_and_meet_every_command(self):
        first = [line.args for line in Generator(5).lines(3000)]
        self.assertEqual(first, [line.args for line in Generator(5).lines(3000)])
        self.assertNotEqual(first, [line.args for line in Generator(6).lines(3000)])
        words = {args[0].upper() for args in first if args}
        self.assertGreaterEqual(len(words), 45, sorted(words))


if __name__ == "__main__":
    servers.redis().stop()  # or skip the whole
    unittest.main()

#!/usr/bin/env python3
"""Goal:   the commands that Redis lacks, and the limits that it has not, answer as documented: own.py SERVER
Method: FL.RANGE and FL.PREFIX with every option over random binary keys, against a sorted list as oracle; inside a
        transaction; their errors. Keys and values at and over their limits. A store that is full.
"""

import bisect
import os
import random
import sys
import time
import unittest

import servers
from resp import Error

SEED = int(os.environ.get("FL_TEST_SEED", "7"))
KEYS = 600


class Ordered(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = servers.faultline(SERVER)
        cls.db = cls.server.connect()
        rng = random.Random(SEED)
        alphabet = b"\x00ab\xfe\xff"
        cls.pairs = {}
        while len(cls.pairs) < KEYS:
            key = bytes(rng.choice(alphabet) for _ in range(rng.randrange(1, 9)))
            cls.pairs[key] = b"v" * rng.choice([0, 1, 50, 3000]) + key
        cls.pairs[b"ab"] = b"w" * 300000
        cls.keys = sorted(cls.pairs)
        cls.rng = rng
        cls.db.call("FLUSHALL")
        for key, value in cls.pairs.items():
            assert bytes(cls.db.call("SET", key, value)) == b"OK"

    @classmethod
    def tearDownClass(cls):
        cls.db.close()
        cls.server.stop()

    def expected(self, keys, reverse, limit, keys_only):
        keys = keys[::-1] if reverse else keys
        keys = keys if limit is None else keys[:limit]
        return [item for key in keys for item in ([key] if keys_only else [key, self.pairs[key]])]

    def options(self):
        reverse, keys_only = self.rng.random() < 0.5, self.rng.random() < 0.5
        limit = self.rng.choice([None, None, 0, 1, 5, 100000])
        words = [[b"REV"]] * reverse + [[b"KEYSONLY"]] * keys_only
        words += [] if limit is None else [[b"LIMIT", b"%d" % limit]]
        self.rng.shuffle(words)
        return reverse, limit, keys_only, [word for pair in words for word in pair]

    def bound(self):
        return self.rng.choice([b"", self.rng.choice(self.keys), self.rng.choice(self.keys) + b"\x00",
                                self.rng.choice(self.keys)[:-1] or b"b"])

    def test_range_agrees_with_a_sorted_list(self):
        for _ in range(400):
            start, end = self.bound(), self.bound()
            first = bisect.bisect_left(self.keys, start) if start else 0
            last = bisect.bisect_right(self.keys, end) if end else len(self.keys)
            reverse, limit, keys_only, words = self.options()
            reply = self.db.call("FL.RANGE", start, end, *words)
            self.assertEqual(reply, self.expected(self.keys[first:last], reverse, limit, keys_only),
                             (start, end, words))

    def test_prefix_agrees_with_a_sorted_list(self):
        for _ in range(300):
            prefix = self.rng.choice([b"", b"a", b"\xff", b"\xff\xff", b"\x00", b"nothing",
                                      self.rng.choice(self.keys)[:3]])
            keys = [key for key in self.keys if key.startswith(prefix)]
            reverse, limit, keys_only, words = self.options()
            reply = self.db.call("FL.PREFIX", prefix, *words)
            self.assertEqual(reply, self.expected(keys, reverse, limit, keys_only), (prefix, words))

    def test_range_is_an_array_in_resp3_too(self):
        db = self.server.connect()
        db.call("HELLO", "3")
        db.send([b"FL.RANGE", b"", b"", b"LIMIT", b"2"])
        self.assertTrue(db.read()[0].startswith(b"*4\r\n"))
        db.close()

    def test_range_sees_what_its_transaction_wrote(self):
        db = self.server.connect()
        db.call("MULTI")
        for command in ([b"SET", b"zz1", b"1"], [b"SET", b"zz3", b"3"], [b"FL.PREFIX", b"zz"], [b"SET", b"zz2", b"2"],
                        [b"DEL", b"zz3"], [b"FL.PREFIX", b"zz", b"REV"], [b"FL.RANGE", b"zz", b"zz9", b"KEYSONLY"],
                        [b"DEL", b"zz1", b"zz2"], [b"FL.PREFIX", b"zz"]):
            db.call(*command)
        replies = db.call("EXEC")
        db.close()
        self.assertEqual(replies[2], [b"zz1", b"1", b"zz3", b"3"])
        self.assertEqual(replies[5], [b"zz2", b"2", b"zz1", b"1"])
        self.assertEqual(replies[6], [b"zz1", b"zz2"])
        self.assertEqual(replies[8], [])

    def test_malformed_is_refused(self):
        for args in (["FL.RANGE", "a"], ["FL.PREFIX"]):
            self.assertIn(b"wrong number of arguments", self.db.call(*args))
        for args in (["FL.RANGE", "a", "b", "FOO"], ["FL.RANGE", "a", "b", "LIMIT"], ["FL.PREFIX", "a", "REV", "x"]):
            self.assertEqual(self.db.call(*args), Error(b"ERR syntax error"))
        self.assertEqual(self.db.call("FL.RANGE", "a", "b", "LIMIT", "x"),
                         Error(b"ERR value is not an integer or out of range"))
        self.assertEqual(self.db.call("FL.PREFIX", "a", "LIMIT", "-1"), Error(b"ERR LIMIT can't be negative"))

    def test_random_keys_are_ours_and_vary(self):
        found = {self.db.call("RANDOMKEY") for _ in range(200)}
        self.assertLessEqual(found, set(self.keys))
        self.assertGreater(len(found), 50)

    def test_scan_cursor_nobody_was_given_is_an_error(self):
        reply = self.db.call("SCAN", "123456789")
        self.assertIsInstance(reply, Error)
        self.assertIn(b"cursor", reply)

    def test_scan_meets_every_key_that_stays_while_others_come_and_go(self):
        db = self.server.connect()
        cursor, found, turn = b"0", [], 0
        while True:
            cursor, page = db.call("SCAN", cursor, "COUNT", "7")
            found += page
            db.call("SET", b"b\xff-passing-%d" % turn, "x")
            db.call("DEL", b"b\xff-passing-%d" % (turn - 3))
            turn += 1
            if cursor == b"0":
                break
        self.assertLessEqual(set(self.keys), set(found))
        self.assertEqual(len(found), len(set(found)))
        db.call("DEL", *[b"b\xff-passing-%d" % i for i in range(turn)])
        db.close()


class Limits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = servers.faultline(SERVER)
        cls.db = cls.server.connect()

    @classmethod
    def tearDownClass(cls):
        cls.db.close()
        cls.server.stop()

    def test_key_of_64_kib_is_the_longest(self):
        self.db.call("FLUSHALL")
        key = b"k" * 65536
        self.assertEqual(bytes(self.db.call("SET", key, "v")), b"OK")
        self.assertEqual(self.db.call("GET", key), b"v")
        self.assertEqual(self.db.call("FL.PREFIX", b"k" * 65536), [key, b"v"])
        self.assertEqual(self.db.call("SCAN", "0", "COUNT", "1")[1], [key])
        self.assertEqual(bytes(self.db.call("RENAME", key, key[:-1])), b"OK")
        self.assertEqual(self.db.call("DEL", key[:-1]), 1)
        for command in (["SET", key + b"k", "v"], ["INCR", key + b"k"], ["MSET", "a", "1", key + b"k", "2"],
                        ["APPEND", key + b"k", "x"], ["SETNX", key + b"k", "v"]):
            reply = self.db.call(*command)
            self.assertIsInstance(reply, Error, command[0])
            self.assertIn(b"65536", reply)
        self.assertEqual(self.db.call("EXISTS", "a"), 0)  # MSET failed as a whole
        self.assertIsNone(self.db.call("GET", key + b"k"))
        self.assertEqual(self.db.call("DEL", key + b"k"), 0)

    def test_empty_key_can_not_be_written_and_is_never_there(self):
        self.assertIsInstance(self.db.call("SET", "", "v"), Error)
        self.assertIsNone(self.db.call("GET", ""))
        self.assertEqual(self.db.call("EXISTS", ""), 0)
        self.assertEqual(self.db.call("DEL", ""), 0)
        self.db.call("SET", "a", "1")
        self.assertIsInstance(self.db.call("RENAME", "a", ""), Error)
        self.assertEqual(self.db.call("GET", "a"), b"1")
        self.assertIsInstance(self.db.call("COPY", "a", ""), Error)

    def test_failed_command_of_many_keys_changes_nothing(self):
        self.db.call("FLUSHALL")
        self.assertIsInstance(self.db.call("MSET", "a", "1", "b", "2", "", "3"), Error)
        self.assertIsInstance(self.db.call("MSETNX", "a", "1", "b", "2", "", "3"), Error)
        self.assertEqual(self.db.call("DBSIZE"), 0)
        self.assertEqual(bytes(self.db.call("SET", "after", "v")), b"OK")
        self.assertEqual(self.db.call("GET", "after"), b"v")

    def test_config_tells_own_and_redis_parameters(self):
        found = self.db.call("CONFIG", "GET", "save", "appendonly", "databases", "maxclients")
        found = dict(zip(found[::2], found[1::2]))
        self.assertEqual(found[b"save"], b"")
        self.assertEqual(found[b"appendonly"], b"yes")
        self.assertEqual(found[b"databases"], b"1")
        self.assertTrue(found[b"maxclients"].isdigit())
        self.assertEqual(bytes(self.db.call("CONFIG", "SET", "maxclients", "123")), b"OK")
        self.assertEqual(self.db.call("CONFIG", "GET", "maxclients"), [b"maxclients", b"123"])
        self.assertIsInstance(self.db.call("CONFIG", "SET", "maxclients", "124", "port", "1"), Error)
        self.assertEqual(self.db.call("CONFIG", "GET", "maxclients"), [b"maxclients", b"123"])
        self.assertEqual(bytes(self.db.call("CONFIG", "SET", "save", "")), b"OK")
        self.assertIsInstance(self.db.call("CONFIG", "SET", "appendonly", "no"), Error)


class Full(unittest.TestCase):
    """Every write that finds no room fails as a whole; reads go on; deleting makes room again."""

    def test_full_store_refuses_writes_whole_and_recovers(self):
        value = b"x" * 10000
        with servers.faultline(SERVER, extra=["--size-max", "67108864"]) as server:
            db = server.connect()
            count = 0
            while bytes(db.call("SET", "k:%d" % count, value)) == b"OK":
                count += 1
            self.assertGreater(count, 1000)
            pairs = [word for i in range(200) for word in ("m:%d" % i, value)]
            for command in (["SET", "k:more", value], ["MSET", *pairs], ["MSETNX", *pairs],
                            ["APPEND", "k:1", value], ["GETSET", "k:1", value], ["SETRANGE", "k:1", "5", value],
                            ["SET", "k:1", value, "GET"], ["SET", "big", b"b" * 3000000]):
                reply = db.call(*command)
                self.assertIsInstance(reply, Error, command[0])
                self.assertIn(b"no space left", reply)
            db.call("MULTI")
            db.call("SET", "t1", "1" * 60000)
            db.call("SET", "t2", value * 3)
            self.assertTrue(db.call("EXEC").startswith(b"EXECABORT"))
            self.assertEqual(db.call("DBSIZE"), count)
            self.assertEqual(db.call("EXISTS", "m:0", "m:199", "k:more", "big", "t1"), 0)
            self.assertEqual(db.call("GET", "k:1"), value)
            for i in range(0, count, 2):
                self.assertEqual(db.call("DEL", "k:%d" % i), 1)
            until = time.monotonic() + 20
            while isinstance(db.call("SET", "again", value), Error):
                self.assertLess(time.monotonic(), until, "no room though half of the keys are gone")
                time.sleep(0.05)
            self.assertEqual(db.call("GET", "k:1"), value)
            self.assertEqual(db.call("DBSIZE"), count - (count + 1) // 2 + 1)
            self.assertEqual(bytes(db.call("FLUSHALL")), b"OK")
            self.assertEqual(bytes(db.call("MSET", *pairs)), b"OK")
            db.close()


if __name__ == "__main__":
    SERVER = sys.argv.pop(1)
    print("seed %d (FL_TEST_SEED)" % SEED)
    unittest.main()

"""Seeded random commands: mostly sensible ones on few keys, so that they meet, and some malformed ones.

Deadlines are either far away or long past: a key never expires between the same command's arrival at the two
servers. Commands whose replies depend on time or chance carry the mark under which they are compared.
"""

import random

from script import Line

KEYS = [b"k1", b"k2", b"k3", b"user:1", b"user:2", b"a*b", b"\x00\xff"]
VALUES = [b"", b"v", b"10", b"-3", b"9223372036854775807", b"-9223372036854775808", b"3.5", b"1e3", b"abc",
          b" 1", b"007", b"x" * 50, b"y" * 3000, b"\r\n\x00", b"z" * 300000]
INTEGERS = [b"0", b"1", b"-1", b"5", b"100", b"-100", b"9223372036854775807", b"-9223372036854775808",
            b"9223372036854775808", b"abc", b"1.5", b""]
FAR_S = "s"  # a time of its own: two servers may judge equal ones differently, a millisecond apart
FAR_MS = "ms"
FAR_AT_S = [b"33177117420", b"33177117421"]
FAR_AT_MS = [b"33177117420000", b"33177117420999"]
BAD_TIMES = [b"0", b"-1", b"abc", b"9223372036854775807", b"1.5"]


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.times = set()

    def pick(self, items):
        return self.random.choice(items)

    def time(self, times):
        if self.chance(10):
            return self.pick(BAD_TIMES)
        if times not in (FAR_S, FAR_MS):
            return self.pick(times)
        while True:
            seconds = 100000 + 10 * self.random.randrange(1000000)
            if seconds not in self.times:
                self.times.add(seconds)
                return b"%d" % (seconds if times == FAR_S else seconds * 1000)

    def chance(self, percent):
        return self.random.randrange(100) < percent

    def key(self):
        return self.pick(KEYS)

    def value(self):
        return self.pick(VALUES)

    def time_option(self):
        word, times = self.pick([(b"EX", FAR_S), (b"PX", FAR_MS), (b"EXAT", FAR_AT_S), (b"PXAT", FAR_AT_MS),
                                 (b"EXAT", [b"1"]), (b"PXAT", [b"1"])])
        return [word, self.time(times)]

    def set(self):
        args = [b"SET", self.key(), self.value()]
        for _ in range(self.pick([0, 0, 0, 1, 1, 2, 3])):
            args += self.pick([[b"NX"], [b"XX"], [b"GET"], [b"KEEPTTL"], self.time_option(), self.time_option()])
        return args

    def getex(self):
        return [b"GETEX", self.key()] + self.pick([[], [b"PERSIST"], self.time_option(), [b"PERSIST", b"EX", b"9"]])

    def expire(self):
        word, times = self.pick([(b"EXPIRE", FAR_S), (b"PEXPIRE", FAR_MS), (b"EXPIREAT", FAR_AT_S),
                                 (b"PEXPIREAT", FAR_AT_MS), (b"EXPIRE", [b"-1", b"0"]), (b"EXPIREAT", [b"1"])])
        args = [word, self.key(), self.time(times)]
        for _ in range(self.pick([0, 0, 1, 1, 2])):
            args.append(self.pick([b"NX", b"XX", b"GT", b"LT", b"gt", b"FOO"]))
        return args

    def pattern(self):
        parts = [b"*", b"?", b"[a-z]", b"[^k]", b"k", b"user:", b"1", b"\\*", b"[", b"a"]
        return b"".join(self.pick(parts) for _ in range(self.random.randrange(1, 4)))

    def several(self, word, most=4):
        return [word] + [self.key() for _ in range(self.random.randrange(1, most))]

    def pairs(self, word):
        args = [word]
        for _ in range(self.random.randrange(1, 4)):
            args += [self.key(), self.value()]
        return args

    def simple(self):
        word = self.pick([b"GET", b"GETDEL", b"STRLEN", b"INCR", b"DECR", b"TYPE", b"PERSIST", b"OBJECT REFCOUNT"])
        if word.startswith(b"OBJECT"):
            return [b"EXISTS", self.key()]
        return [word, self.key()]

    def two(self):
        word = self.pick([b"GETSET", b"SETNX", b"APPEND"])
        return [word, self.key(), self.value()]

    def number(self):
        word = self.pick([b"INCRBY", b"DECRBY", b"INCRBYFLOAT"])
        floats = [b"0.5", b"-1e2", b"nan", b"inf", b"1e400"] if word == b"INCRBYFLOAT" else []
        return [word, self.key(), self.pick(INTEGERS + floats)]

    def part(self):
        if self.chance(60):
            return [self.pick([b"GETRANGE", b"SUBSTR"]), self.key(), self.pick(INTEGERS), self.pick(INTEGERS)]
        offset = self.pick([b"0", b"3", b"10", b"1000", b"-1", b"abc", b"536870912"])
        return [b"SETRANGE", self.key(), offset, self.pick([b"", b"Q", b"part"])]

    def with_time(self):
        word, times = self.pick([(b"SETEX", FAR_S), (b"PSETEX", FAR_MS)])
        return [word, self.key(), self.time(times), self.value()]

    def two_keys(self):
        word = self.pick([b"RENAME", b"RENAMENX", b"COPY", b"COPY"])
        args = [word, self.key(), self.key()]
        if word == b"COPY" and self.chance(50):
            args += self.pick([[b"REPLACE"], [b"DB", b"0"], [b"DB", b"0", b"REPLACE"], [b"FOO"]])
        return args

    def malformed(self):
        args = self.command()[0]
        change = self.random.randrange(3)
        if change == 0 and len(args) > 1:
            args = args[:-1]
        elif change == 1:
            args = args + [self.pick([b"", b"extra", b"NX", b"10"])]
        else:
            args = [args[0].swapcase()] + args[1:]
        return args

    def command(self):
        """Arguments, and the mark under which the replies are compared."""
        kinds = [(self.set, 14), (self.simple, 20), (self.two, 8), (self.number, 8), (self.part, 8),
                 (self.getex, 5), (self.expire, 10), (self.with_time, 3), (self.two_keys, 8)]
        kinds += [(lambda: self.several(b"MGET"), 4), (lambda: self.several(b"DEL"), 5),
                  (lambda: self.several(b"UNLINK"), 1), (lambda: self.several(b"EXISTS"), 3),
                  (lambda: self.several(b"TOUCH"), 1), (lambda: self.pairs(b"MSET"), 4),
                  (lambda: self.pairs(b"MSETNX"), 3)]
        functions, weights = zip(*kinds)
        roll = self.random.randrange(100)
        if roll < 5:
            return [b"KEYS", self.pattern()], ("sorted", 0)
        if roll < 10:
            word, limit = self.pick([(b"TTL", 2), (b"PTTL", 2000), (b"EXPIRETIME", 2), (b"PEXPIRETIME", 2000)])
            return [word, self.key()], ("near", limit)
        if roll < 11:
            return [self.pick([b"FLUSHALL", b"FLUSHDB"])], ("exact", 0)
        return self.random.choices(functions, weights)[0](), ("exact", 0)

    def lines(self, count):
        """A sequence of `count` commands on two connections, transactions and WATCH among them."""
        open_multi = {1: 0, 2: 0}
        for number in range(count):
            connection = 1 if self.chance(80) else 2
            mode = ("exact", 0)
            if open_multi[connection]:
                open_multi[connection] -= 1
                if open_multi[connection] == 0:
                    args = [self.pick([b"EXEC", b"EXEC", b"EXEC", b"DISCARD"])]
                else:
                    args, mode = self.queued()
            elif self.chance(3):
                args = [b"MULTI"]
                open_multi[connection] = self.random.randrange(1, 8)
            elif self.chance(3):
                args = self.several(b"WATCH") if self.chance(80) else [b"UNWATCH"]
            elif self.chance(8):
                args = self.malformed()
            else:
                args, mode = self.command()
            if args[0].upper() in (b"KEYS", b"SCAN") and mode[0] == "exact":
                mode = ("sorted", 0)
            elif args[0].upper().endswith((b"TTL", b"EXPIRETIME")) and mode[0] == "exact":
                mode = ("near", 2000)
            yield self.line(number, connection, args, mode)
            if self.chance(2) and not any(open_multi.values()):
                # Redis counts keys that were written with a deadline in the past until it meets them.
                yield self.line(number, connection, [b"EXISTS", *KEYS], ("exact", 0))
                yield self.line(number, connection, [b"DBSIZE"], ("exact", 0))

    def line(self, number, connection, args, mode):
        line = Line(args, "command %d" % number)
        line.connection = connection
        line.mode, line.limit = mode
        return line

    def queued(self):
        """What may stand inside MULTI: nothing whose reply depends on order or time."""
        while True:
            args, mode = self.command()
            if mode[0] == "exact":
                return args, mode

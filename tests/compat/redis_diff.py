#!/usr/bin/env python3
"""Run the same commands against a real redis-server and another server, and compare the replies.

    redis_diff.py --subject PROGRAM [--mapping volatile|page] [--seed N] [--random N] [CASES...]

PROGRAM is faultline-server, or redis-server itself for a test of this program (no differences then). Everything is done
in RESP2 and in RESP3. Exit 0: no difference but those in differences.txt. 1: differences, printed.
77: no redis-server 7.0 here.
"""

import argparse
import glob
import os
import sys
import time

import compare
import script
import servers
from generate import Generator

HERE = os.path.dirname(os.path.abspath(__file__))
SHOWN_BYTES = 300
HISTORY = 12
DIFFERENCES_MAX = 25


class Pair:
    """The same connection to both servers."""

    def __init__(self, reference, subject, protocol):
        self.sides = [reference.connect(), subject.connect()]
        if protocol == 3:
            for side in self.sides:
                side.call("HELLO", "3")

    def close(self):
        for side in self.sides:
            side.close()

    def call(self, args):
        """The two replies; of a side that has closed the connection (QUIT) a word that says so."""
        for side in self.sides:
            try:
                side.send(args)
            except ConnectionError:
                pass  # reading will tell
        replies = []
        for side in self.sides:
            try:
                replies.append(side.read())
            except (EOFError, ConnectionError):
                replies.append((b"(connection closed)\r\n", None))
        return replies

    def scan(self, args):
        return [_scan(side, args) for side in self.sides]


def _scan(side, args):
    """A whole iteration: the sorted keys; or what was not a page."""
    cursor = b"0"
    keys = set()
    for _ in range(10000):
        side.send([b"SCAN", cursor] + args)
        raw, value = side.read()
        if not isinstance(value, list) or len(value) != 2:
            return raw, value
        cursor = value[0]
        keys.update(value[1])
        if cursor == b"0":
            break
    return repr(sorted(keys)).encode(), sorted(keys)


class Diff:
    def __init__(self, reference, subject, protocol, accepted):
        self.reference = reference
        self.subject = subject
        self.protocol = protocol
        self.accepted = accepted  # ids of differences.txt; None: nothing may differ
        self.seen = set()
        self.connections = {}
        self.count = 0
        self.found = 0
        self.history = []

    def reset(self):
        for pair in self.connections.values():
            pair.close()
        self.connections = {}
        self.history = []
        self.pair(1).call([b"FLUSHALL"])

    def pair(self, number):
        if number not in self.connections:
            self.connections[number] = Pair(self.reference, self.subject, self.protocol)
        return self.connections[number]

    def report(self, line, replies):
        self.found += 1
        print("difference: RESP%d, %s" % (self.protocol, line.where))
        for old in self.history[-HISTORY:]:
            print("    before:  %d> %s" % (old.connection, old.text()))
        print("    command: %d> %s" % (line.connection, line.text()))
        print("    %-9s %s" % (self.reference.name + ":", _shown(replies[0][0])))
        print("    %-9s %s" % (self.subject.name + ":", _shown(replies[1][0])))
        sys.stdout.flush()

    def run(self, line):
        if line.mode == "wait":
            time.sleep(int(line.args[0]) / 1000)
            return
        pair = self.pair(line.connection)
        self.count += 1
        if line.mode == "scan":
            replies = pair.scan(line.args)
            same = replies[0] == replies[1]
        else:
            replies = pair.call(line.args)
            same = compare.same(replies[0], replies[1], line.mode, line.limit)
        if line.differs is not None and self.accepted is not None:
            same = self.judge_difference(line, replies, same)
        if not same:
            self.report(line, replies)
        self.history.append(line)

    def judge_difference(self, line, replies, same):
        if line.differs not in self.accepted:
            raise ValueError("%s: no reason for %s in differences.txt" % (line.where, line.differs))
        self.seen.add(line.differs)
        if same:
            print("%s: no difference any more, though marked @differs:%s" % (line.where, line.differs))
            return False
        expected = line.expected.get(self.protocol, line.expected[2])
        return replies[1][0].decode("latin1").replace("\r\n", " ").rstrip() == expected.rstrip()


def _shown(raw):
    text = raw.decode("latin1").replace("\r\n", " ")
    return text if len(text) <= SHOWN_BYTES else text[:SHOWN_BYTES] + "... (%d bytes)" % len(raw)


def read_accepted():
    accepted = set()
    with open(os.path.join(HERE, "differences.txt"), encoding="utf-8") as file:
        for text in file:
            if text.strip() and not text.startswith("#"):
                accepted.add(text.split()[0])
    return accepted


def run_cases(diff, paths):
    for path in paths:
        for case in script.read(path):
            diff.reset()
            for line in case:
                diff.run(line)
                if diff.found >= DIFFERENCES_MAX:
                    return


def run_random(diff, seed, count):
    diff.reset()
    for line in Generator(seed).lines(count):
        diff.run(line)
        if diff.found > 0:
            print("repeat with: --seed %d --random %d" % (seed, count))
            return


def all_cases():
    return sorted(glob.glob(os.path.join(HERE, "cases", "*.txt")))


def parse_args():
    parser = argparse.ArgumentParser(description="Compare a server's replies with those of Redis 7.0.")
    parser.add_argument("--subject", required=True, help="faultline-server or redis-server")
    parser.add_argument("--mapping", default="volatile", help="of faultline-server's store")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--random", type=int, default=3000, help="random commands, 0 for none")
    parser.add_argument("--subject-arg", action="append", default=[], help="one more argument for the subject")
    parser.add_argument("cases", nargs="*", default=all_cases())
    return parser.parse_args()


def main():
    options = parse_args()
    accepted = None
    if not os.path.basename(options.subject).startswith("redis-server"):
        accepted = read_accepted()
    found, count, seen = 0, 0, set()
    with servers.redis() as reference, \
            servers.start(options.subject, options.mapping, options.subject_arg) as subject:
        if subject.name == reference.name:
            subject.name = "subject"
        for protocol in (2, 3):
            diff = Diff(reference, subject, protocol, accepted)
            run_cases(diff, options.cases)
            if options.random > 0 and diff.found == 0:
                run_random(diff, options.seed * 10 + protocol, options.random)
            found, count, seen = found + diff.found, count + diff.count, seen | diff.seen
    unseen = (accepted or set()) - seen if options.cases == all_cases() else set()
    for missing in sorted(unseen):
        print("differences.txt: %s is shown by no case" % missing)
        found += 1
    print("%d commands compared in RESP2 and RESP3, %d differences" % (count, found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

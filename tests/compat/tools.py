#!/usr/bin/env python3
"""Goal:   redis-cli and redis-benchmark work unchanged: tools.py SERVER
Method: each of redis-cli's modes that needs more than one command, and every redis-benchmark test for a command that
        Faultline has, against the server given; what they print is judged.
"""

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time

import servers

RUN_S = 60
BENCHMARK_TESTS = "ping_inline,ping_mbulk,set,get,incr,mset"


def check(condition, text, output=""):
    if not condition:
        sys.exit("failed: %s\n%s" % (text, output[-2000:]))


def cli(port, *args, data=None):
    done = subprocess.run(["redis-cli", "-p", str(port), *args], input=data, capture_output=True,
                          timeout=RUN_S, check=False)
    return done.returncode, (done.stdout + done.stderr).decode("latin1")


def one_shot(port):
    check(cli(port, "set", "k", "v") == (0, "OK\n"), "redis-cli set")
    check(cli(port, "-3", "get", "k") == (0, "v\n"), "redis-cli -3 get")
    check(cli(port, "--no-raw", "incr", "n")[1] == "(integer) 1\n", "redis-cli --no-raw")
    check("not an integer" in cli(port, "incr", "k")[1], "redis-cli shows an error")
    check(cli(port, "-x", "set", "binary", data=b"\x00\xff\r\n")[0] == 0, "redis-cli -x")
    check(cli(port, "strlen", "binary")[1] == "4\n", "length of what -x sent")
    code, output = cli(port, "-r", "3", "-i", "0.01", "incr", "loop")
    check(code == 0 and output == "1\n2\n3\n", "redis-cli -r", output)
    code, output = cli(port, "--csv", "mget", "k", "none")
    check(code == 0 and output == '"v",NULL\n', "redis-cli --csv", output)
    code, output = cli(port, "--json", "mget", "k", "none")
    check(code == 0 and output == '["v",null]\n', "redis-cli --json", output)


def pipe(port):
    commands = b"".join(b"*3\r\n$3\r\nSET\r\n$%d\r\npipe:%d\r\n$1\r\nx\r\n" % (5 + len(str(i)), i)
                        for i in range(20000))
    code, output = cli(port, "--pipe", data=commands)
    check(code == 0 and "errors: 0, replies: 20000" in output, "redis-cli --pipe", output)
    code, output = cli(port, "--scan", "--pattern", "pipe:1999*")
    check(code == 0 and len(output.split()) == 11, "redis-cli --scan", output)


def analyses(port):
    cli(port, "set", "the-biggest", "y" * 5000)
    code, output = cli(port, "--bigkeys", "-i", "0")
    check(code == 0 and re.search(r'Biggest string found .*the-biggest.* has 5000 bytes', output),
          "redis-cli --bigkeys", output)
    code, output = cli(port, "--memkeys")
    check(code == 0 and re.search(r'Biggest string found .*the-biggest', output), "redis-cli --memkeys", output)


class Terminal:
    """redis-cli on a terminal of its own: what it prints there is not held back in a buffer."""

    def __init__(self, port, *args):
        self.process_id, self.terminal = pty.fork()
        if self.process_id == 0:
            os.environ["TERM"] = "xterm"
            os.environ["REDISCLI_HISTFILE"] = "/dev/null"
            # Without a size redis-cli would ask the terminal for it, and nobody would answer.
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
            os.execvp("redis-cli", ["redis-cli", "-p", str(port), *args])

    def __enter__(self):
        return self

    def type(self, text):
        os.write(self.terminal, text)

    def read_until(self, wanted, seconds=10):
        """What was shown until the pattern `wanted` matched."""
        shown = b""
        until = time.monotonic() + seconds
        while not re.search(wanted, shown) and time.monotonic() < until:
            if select.select([self.terminal], [], [], 0.1)[0]:
                shown += os.read(self.terminal, 65536)
        check(re.search(wanted, shown), "the terminal shows %r" % wanted, shown.decode("latin1"))
        return shown

    def __exit__(self, *unused):
        os.kill(self.process_id, signal.SIGTERM)
        os.waitpid(self.process_id, 0)
        os.close(self.terminal)


def stat(port):
    with Terminal(port, "--stat", "-i", "0.05") as terminal:
        terminal.read_until(rb"(\n2\d{4} +\S+ +\d+ +\d+ +\d+ \(\+\d+\).*\s+){2}")


def latency(port):
    with Terminal(port, "--latency") as terminal:
        terminal.read_until(rb"min: \d+, max: \d+, avg: \d+\.\d+ \(\d+ samples\)")


def prompt(port):
    """The prompt asks COMMAND DOCS for the hints that it shows while one types."""
    with Terminal(port) as terminal:
        # What is typed before the prompt is there again is thrown away.
        terminal.read_until(rb"\d> ")
        terminal.type(b"SET key ")
        terminal.read_until(b"value")  # the hint for the next argument
        terminal.type(b"typed\r")
        terminal.read_until(rb"OK[^>]*\d> ")
        terminal.type(b"help getdel\r")
        terminal.read_until(rb"group:[^>]*\d> ")
        terminal.type(b"multi\r")
        terminal.read_until(rb"OK[^>]*\(TX\)> ")
        terminal.type(b"discard\r")
        terminal.read_until(rb"OK[^>]*\d> ")


def benchmark(port):
    for extra in (["-n", "2000"], ["-n", "20000", "-P", "16", "-r", "1000"], ["-n", "2000", "-d", "20000"]):
        done = subprocess.run(["redis-benchmark", "-p", str(port), "-q", "-t", BENCHMARK_TESTS, *extra],
                              capture_output=True, timeout=RUN_S, check=False)
        output = (done.stdout + done.stderr).decode("latin1")
        check(done.returncode == 0 and "rror" not in output and "WARNING" not in output,
              "redis-benchmark", output)
        check(len(re.findall(r"requests per second", output)) == 6, "every test gave a rate", output)
    done = subprocess.run(["redis-benchmark", "-p", str(port), "-n", "1000", "-t", "set"],
                          capture_output=True, timeout=RUN_S, check=False)
    output = (done.stdout + done.stderr).decode("latin1")
    check("host configuration \"save\"" in output, "redis-benchmark reads save", output)
    done = subprocess.run(["redis-benchmark", "-p", str(port), "-q", "-n", "1000", "getex", "key:__rand_int__"],
                          capture_output=True, timeout=RUN_S, check=False)
    check(done.returncode == 0, "redis-benchmark with a command of its own")


def main():
    for tool in ("redis-cli", "redis-benchmark"):
        if shutil.which(tool) is None:
            servers.skip("no %s on this machine (Debian package redis-tools)" % tool)
    with servers.start(sys.argv[1]) as running:
        for part in (one_shot, pipe, analyses, stat, latency, prompt, benchmark):
            started = time.monotonic()
            part(running.port)
            print("%s: %.1f s" % (part.__name__, time.monotonic() - started))
    return 0


if __name__ == "__main__":
    sys.exit(main())

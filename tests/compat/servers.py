"""Starting and stopping the two kinds of server under comparison: loopback, a free port, bounded in time."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from resp import Connection

SKIP = 77
START_S = 20
STOP_S = 30


def skip(reason):
    print("skipped: " + reason)
    sys.exit(SKIP)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A running server with a folder of its own; both are gone after stop()."""

    def __init__(self, name, command, folder):
        self.name = name
        self.folder = folder
        self.log_path = os.path.join(folder, "log")
        for last in (False, False, True):
            self.port = free_port()
            with open(self.log_path, "wb") as log:
                self.process = subprocess.Popen(
                    [part.replace("{port}", str(self.port)) for part in command],
                    stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=folder)
            if self._answers():
                return
            # Somebody else may have taken the port in between: try another one.
            text = self.log()
            self._end()
            if last:
                shutil.rmtree(folder, ignore_errors=True)
                raise RuntimeError("%s didn't answer within %d s:\n%s" % (name, START_S, text))

    def _answers(self):
        until = time.monotonic() + START_S
        while time.monotonic() < until and self.process.poll() is None:
            try:
                connection = Connection(self.port, timeout_s=5)
                answer = connection.call("PING")
                connection.close()
                if bytes(answer or b"") == b"PONG":
                    return self.process.poll() is None
            except (OSError, EOFError):
                time.sleep(0.02)
        return False

    def _end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def log(self):
        with open(self.log_path, "r", errors="replace") as log:
            return log.read()[-4000:]

    def connect(self):
        return Connection(self.port)


    def stop(self):
        """End it by SIGTERM. Both kinds of server then exit 0; a sanitizer that found something doesn't."""
        running = self.process.poll() is None
        self._end()
        text = self.log()
        shutil.rmtree(self.folder, ignore_errors=True)
        if not running or self.process.returncode != 0:
            raise RuntimeError("%s ended with %d%s:\n%s" % (
                self.name, self.process.returncode, "" if running else ", unasked", text))

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.stop()


def redis(program="redis-server", extra=()):
    path = shutil.which(program)
    if path is None:
        skip("no redis-server on this machine (Debian package redis-server)")
    version = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
    if " v=7.0." not in version:
        skip("the replies compared are those of Redis 7.0; this is " + version.strip())
    folder = tempfile.mkdtemp(prefix="compat-redis-")
    command = [path, "--port", "{port}", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
               "--dir", folder, *extra]
    return Server("redis-server", command, folder)


def faultline(program, mapping="volatile", extra=()):
    """`volatile` keeps the store in memory (tmpfs), `page` in an ordinary file."""
    if not os.path.exists(program):
        raise RuntimeError("no server at " + program)
    parent = "/dev/shm" if mapping == "volatile" and os.access("/dev/shm", os.W_OK) else None
    folder = tempfile.mkdtemp(prefix="compat-faultline-", dir=parent)
    command = [os.path.abspath(program), "--port", "{port}", "--bind", "127.0.0.1",
               "--store", os.path.join(folder, "store"), "--mapping", mapping,
               "--durability-min", "process", *extra]
    return Server("faultline-server", command, folder)


def start(program, mapping="volatile", extra=()):
    """The server at `program`, whichever of the two it is."""
    if os.path.basename(program).startswith("redis-server"):
        return redis(program, extra)
    return faultline(program, mapping, extra)

"""faultline-modelfs and a live application, as subjects of the tests beside this file."""
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import unittest

TIMEOUT_S = 60
SKIP = 77

TOOL = None
MAPPER = None


def run(*args, stdin=b"", code=0):
    """Run the tool; its output. Another exit status than `code` (None: any) is a failure."""
    done = subprocess.run([TOOL, *args], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=TIMEOUT_S, check=False)
    if code is not None and done.returncode != code:
        raise AssertionError("%s: exit status %d, not %d\n%s" % (" ".join(args), done.returncode, code,
                                                                  done.stdout.decode(errors="replace")))
    return done.stdout.decode(errors="replace")


def read_line(process, what):
    """The next line of a process's output, before the time is up."""
    line = b""
    until = time.monotonic() + TIMEOUT_S
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], max(0, until - time.monotonic()))
        byte = os.read(process.stdout.fileno(), 1) if ready else b""
        if byte == b"":
            raise AssertionError("%s said '%s' and no more" % (what, line.decode(errors="replace")))
        line += byte
    return line.decode(errors="replace").rstrip("\n")


class Daemon:
    """serve or mount, until it is told to end."""

    def __init__(self, command, *args):
        self.process = subprocess.Popen([TOOL, command, *args], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.said = read_line(self.process, command)
        self.ready = "ready" in self.said
        while not self.ready and self.process.poll() is None:
            try:
                self.said += "\n" + read_line(self.process, command)
            except AssertionError:
                break
            self.ready = "ready" in self.said

    def end(self, number=signal.SIGTERM):
        """What it said; its exit status is in status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.ended()

    def ended(self):
        """The same, by itself."""
        said, _ = self.process.communicate(timeout=TIMEOUT_S)
        self.status = self.process.returncode
        return said.decode(errors="replace")


class Mapper:
    """The live application."""

    def __init__(self, device, name, size, kind="nosync"):
        self.process = subprocess.Popen([MAPPER, device, name, str(size), kind], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.first = read_line(self.process, "the application")

    def tell(self, command):
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()
        return read_line(self.process, "the application, told to " + command)

    def put(self, off, text):
        """Store, flush and fence: by the contract durable in a no-sync mapping."""
        for command in ("store %d %s" % (off, text), "flush %d %d" % (off, len(text)), "fence"):
            answer = self.tell(command)
            if answer != "ok":
                return answer
        return "ok"

    def load(self, off, length):
        return self.tell("load %d %d" % (off, length))

    def end(self):
        if self.process.poll() is None:
            self.process.stdin.close()
        self.process.wait(timeout=TIMEOUT_S)
        self.process.stdout.close()
        return self.process.returncode


class Case(unittest.TestCase):
    """A folder of its own; what was started in it is ended with it."""

    maxDiff = None

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="fl-modelfs-")
        self.addCleanup(subprocess.run, ["rm", "-rf", "--one-file-system", self.folder], check=False)
        self.device = os.path.join(self.folder, "device")

    def path(self, name):
        return os.path.join(self.folder, name)

    def format(self, *args):
        return run("format", "--size", "8M", *args, self.device)

    def daemon(self, command, *args):
        daemon = Daemon(command, *args)
        self.addCleanup(self.stop, daemon)
        return daemon

    def mapper(self, name, size, kind="nosync"):
        mapper = Mapper(self.device, name, size, kind)
        self.addCleanup(self.stop, mapper)
        return mapper

    @staticmethod
    def stop(subject):
        if subject.process.poll() is None:
            subject.process.kill()
        subject.process.wait()
        for stream in (subject.process.stdin, subject.process.stdout):
            if stream is not None:
                stream.close()

    def write_file(self, name, data):
        with open(self.path(name), "wb") as file:
            file.write(data)
        return self.path(name)

    def read_file(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()


def skip(reason):
    print("skipped: " + reason)
    sys.exit(SKIP)


def main():
    """Called with the tool, and the application if the test needs it."""
    global TOOL, MAPPER
    TOOL = sys.argv[1]
    MAPPER = sys.argv[2] if len(sys.argv) > 2 else None
    unittest.main(argv=sys.argv[:1], verbosity=2)

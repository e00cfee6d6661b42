"""A connection that speaks RESP and keeps every reply's raw bytes.

Nothing here knows what a reply ought to be: the bytes are cut at the reply's end and parsed into
plain Python values only so that two replies can be compared without regard to order.
"""

import socket

AGGREGATES = {b"*": 1, b"~": 1, b">": 1, b"%": 2, b"|": 2}
LINES = b"+-:,#(_"


class Status(bytes):
    """A simple string, so that it never equals a bulk string of the same bytes."""

    def __eq__(self, other):
        return isinstance(other, Status) and bytes(self) == bytes(other)

    __hash__ = bytes.__hash__


class Error(bytes):
    def __eq__(self, other):
        return isinstance(other, Error) and bytes(self) == bytes(other)

    __hash__ = bytes.__hash__


class Connection:
    def __init__(self, port, timeout_s=30):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.at = 0

    def close(self):
        self.socket.close()

    def send(self, args):
        self.socket.sendall(encode(args))

    def send_raw(self, data):
        self.socket.sendall(data)

    def call(self, *args):
        """Send one command and return its reply, parsed."""
        self.send([a if isinstance(a, bytes) else str(a).encode() for a in args])
        return self.read()[1]

    def read(self):
        """The next reply: its raw bytes and its value. An attribute in front of it is kept in the bytes."""
        start = self.at
        value = self._value()
        raw = bytes(self.buffer[start : self.at])
        if self.at > 1 << 20:
            del self.buffer[: self.at]
            self.at = 0
        return raw, value

    def _fill(self):
        data = self.socket.recv(1 << 18)
        if not data:
            raise EOFError("the server closed the connection")
        self.buffer += data

    def _line(self):
        while True:
            end = self.buffer.find(b"\r\n", self.at)
            if end >= 0:
                line = bytes(self.buffer[self.at : end])
                self.at = end + 2
                return line
            self._fill()

    def _bytes(self, count):
        while len(self.buffer) - self.at < count + 2:
            self._fill()
        data = bytes(self.buffer[self.at : self.at + count])
        self.at += count + 2
        return data

    def _value(self):
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return Status(rest)
        if kind == b"-":
            return Error(rest)
        if kind == b":":
            return int(rest)
        if kind in (b"$", b"="):
            return None if rest == b"-1" else self._bytes(int(rest))
        if kind in AGGREGATES:
            if rest == b"-1":
                return None
            items = [self._value() for _ in range(int(rest) * AGGREGATES[kind])]
            return self._value() if kind == b"|" else items
        if kind and kind in LINES:
            return line
        raise ValueError("not a reply: %r" % line[:80])


def encode(args):
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        parts.append(b"$%d\r\n%s\r\n" % (len(arg), arg))
    return b"".join(parts)

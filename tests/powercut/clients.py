"""Clients that write to a server while its machine is stopped, copied and cut off, and know what was acknowledged.

One thread serves all connections without waiting for any, so that every reply that has arrived can be taken in
between the moment the machine stands still and the copy of its memory.
"""

import random
import selectors
import socket
import time
import zlib

from ledger import CLOCKS_S, EARLY_S, Wanted, Writer

DEPTH_MAX = 16           # steps of one writer in flight
KEYS = 120               # of one writer
LONG_MS = 3600 * 1000
POOL = random.Random(1).randbytes(1 << 20)
# (bytes up to, weight): small values, some of a page and more, a few that get blocks of their own.
SIZES = [(64, 40), (512, 30), (4096, 18), (32 * 1024, 10), (400 * 1024, 1)]


NOTHING = object()       # the reply for a key that isn't there


class ClientError(Exception):
    """The server said what no server should, or the connection ended before its time."""


def make_value(key, version, payload_bytes):
    """CRC KEY VERSION LENGTH PAYLOAD: guest/contents.c reads it."""
    at = zlib.crc32(b"%s %d" % (key, version)) % (len(POOL) - payload_bytes)
    payload = POOL[at:at + payload_bytes]
    head = b"%s %d " % (key, version)
    rest = 9 + len(head) + 1 + payload_bytes
    length = next(total for total in range(rest, rest + 20)
                  if rest + len(b"%d" % total) == total)
    body = head + b"%d " % length + payload
    return b"%08x " % zlib.crc32(body) + body


def version_of(key, value):
    """The step that wrote `value`, which is whole. ClientError: it is not."""
    fields = value.split(b" ", 4)
    if (len(fields) != 5 or int(fields[0], 16) != zlib.crc32(value[9:]) or fields[1] != key
            or int(fields[3]) != len(value)):
        raise ClientError("the value of %s is torn: %r" % (key, value[:80]))
    return int(fields[2])


def encode(*args):
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(arg), arg) for arg in args)


def decode(buffer, at):
    """(value, where it ends) of the reply at `at`, or None if it isn't whole yet. An error is a ClientError."""
    end = buffer.find(b"\r\n", at)
    if end < 0:
        return None
    kind, line, at = buffer[at:at + 1], bytes(buffer[at + 1:end]), end + 2
    if kind in (b"+", b":"):
        return line, at
    if kind == b"-":
        return ClientError(line.decode()), at
    if kind == b"$":
        size = int(line)
        if size < 0:
            return NOTHING, at
        return (bytes(buffer[at:at + size]), at + size + 2) if len(buffer) >= at + size + 2 else None
    if kind != b"*":
        raise ClientError("not a reply: %r" % line)
    items = []
    for _ in range(max(0, int(line))):
        item = decode(buffer, at)
        if item is None:
            return None
        items.append(item[0])
        at = item[1]
    return items, at


class Connection:
    """One writer's. Each step is one or more requests; `replies` of them answer it."""

    def __init__(self, port, password, seconds):
        deadline = time.monotonic() + seconds
        while True:
            self.socket = socket.create_connection(("127.0.0.1", port), timeout=seconds)
            self.socket.sendall(encode(b"AUTH", password))
            try:
                if self.socket.recv(64) == b"+OK\r\n":
                    break
            except ConnectionError:
                pass
            self.socket.close()
            if time.monotonic() > deadline:
                raise ClientError("the server doesn't answer")
            time.sleep(0.1)
        self.socket.setblocking(False)
        self.received = bytearray()
        self.to_send = bytearray()
        self.waiting = []        # (number of replies, what to do with them)

    def write(self):
        try:
            while self.to_send:
                del self.to_send[:self.socket.send(self.to_send[:1 << 18])]
        except BlockingIOError:
            pass

    def read(self):
        """Take in what has arrived. False: the other side is gone."""
        alive = True
        try:
            while True:
                data = self.socket.recv(1 << 18)
                if not data:
                    alive = False
                    break
                self.received += data
        except BlockingIOError:
            pass
        except ConnectionError:
            alive = False
        self._answer()
        return alive

    def _answer(self):
        at = 0
        while self.waiting:
            count, done = self.waiting[0]
            replies = []
            end = at
            while len(replies) < count:
                item = decode(self.received, end)
                if item is None:
                    break
                replies.append(item[0])
                end = item[1]
            if len(replies) < count:
                break
            at = end
            self.waiting.pop(0)
            done(replies)
        del self.received[:at]


class Client:
    """Sends a writer's steps, chosen at random, and tells its ledger what comes back."""

    def __init__(self, writer, everybody, connection, rng, clock):
        self.sizes = SIZES
        self.writer = writer
        self.connection = connection
        self.depth = rng.choice([1, 4, DEPTH_MAX])
        self._everybody = everybody
        self._rng = rng
        self._clock = clock

    def fill(self):
        """Send as many steps as it may have in flight."""
        while len(self.connection.waiting) < self.depth:
            self._rng.choices([self._set, self._set_px, self._delete, self._batch, self._mset,
                               self._read_other, self._read_expiring],
                              [50, 10, 8, 14, 8, 7, 3])[0]()
        self.connection.write()

    def _keys(self, count):
        return [b"%s:%d" % (self.writer.name.encode(), number)
                for number in self._rng.sample(range(KEYS), count)]

    def _value(self, key):
        most = self._rng.choices([size for size, _ in self.sizes],
                                 [weight for _, weight in self.sizes])[0]
        return make_value(key, self.writer.sent + 1, self._rng.randrange(most))

    def _send(self, requests, replies, changes):
        """One step. It has failed if its last reply is an error."""
        self.connection.to_send += requests
        self.writer.send(changes)
        self.connection.waiting.append((replies, self._answered))

    def _answered(self, replies):
        last = replies[-1]
        errors = [reply for reply in replies + (last if isinstance(last, list) else [])
                  if isinstance(reply, ClientError)]
        if errors and not (self.writer.may_fail and errors == [last] and "no space" in str(last)):
            raise errors[0]
        self.writer.answer(failed=bool(errors))

    def _wanted(self, expires_ms=0):
        expires_at = self._clock.now() + expires_ms / 1000 if expires_ms else 0.0
        return Wanted(self.writer.sent + 1, expires_at)

    def _set(self):
        key, = self._keys(1)
        self._send(encode(b"SET", key, self._value(key)), 1, {key.decode(): self._wanted()})

    def _set_px(self):
        key, = self._keys(1)
        expires_ms = self._rng.choice([self._rng.randrange(300, 3000),
                                       self._rng.randrange(5000, 20000), LONG_MS])
        self._send(encode(b"SET", key, self._value(key), b"PX", b"%d" % expires_ms), 1,
                   {key.decode(): self._wanted(expires_ms)})

    def _delete(self):
        keys = self._keys(self._rng.randrange(1, 4))
        self._send(encode(b"DEL", *keys), 1, {key.decode(): None for key in keys})

    def _mset(self):
        keys = self._keys(self._rng.randrange(2, 6))
        pairs = [part for key in keys for part in (key, self._value(key))]
        self._send(encode(b"MSET", *pairs), 1, {key.decode(): self._wanted() for key in keys})

    def _batch(self):
        keys = self._keys(self._rng.randrange(2, 8))
        requests = [encode(b"MULTI")]
        changes = {}
        for key in keys:
            if self._rng.random() < 0.3:
                requests.append(encode(b"DEL", key))
                changes[key.decode()] = None
            else:
                requests.append(encode(b"SET", key, self._value(key)))
                changes[key.decode()] = self._wanted()
        requests.append(encode(b"EXEC"))
        self._send(b"".join(requests), len(requests), changes)

    def _read_other(self):
        """What is shown to somebody must survive, acknowledged to its writer or not."""
        other = self._rng.choice(self._everybody)
        key = b"%s:%d" % (other.name.encode(), self._rng.randrange(KEYS))
        quiet = other.quiet(key.decode())

        def seen(replies):
            if isinstance(replies[0], bytes):
                other.seen = max(other.seen, version_of(key, replies[0]))
            elif replies[0] is not NOTHING:
                raise replies[0]
            elif quiet and quiet[1] and not quiet[1].expires_at and quiet == other.quiet(key.decode()):
                raise ClientError("%s of step %d is gone for a reader" % (key, quiet[1].version))

        self.connection.to_send += encode(b"GET", key)
        self.connection.waiting.append((1, seen))

    def _read_expiring(self):
        """A key of its own whose deadline has passed, or nearly. Not there means expired, for ever."""
        now = self._clock.now()
        keys = [key for key, wanted in self.writer.state.items()
                if wanted.expires_at and wanted.expires_at < now + 1]
        if not keys:
            return
        key = self._rng.choice(sorted(keys))

        def told(replies):
            if isinstance(replies[0], ClientError):
                raise replies[0]
            wanted = self.writer.state.get(key)
            if replies[0] is not NOTHING or wanted is None:
                return
            if not wanted.expires_at or wanted.expires_at > self._clock.now() + EARLY_S + CLOCKS_S:
                raise ClientError("%s of step %d is gone" % (key, wanted.version))
            self.writer.expired(key)

        self.connection.to_send += encode(b"GET", key.encode())
        self.connection.waiting.append((1, told))


class Clients:
    """All writers at once."""

    def __init__(self, writers, port, password, rng, clock, seconds=30):
        self._selector = selectors.DefaultSelector()
        self._clients = []
        for writer in writers:
            connection = Connection(port, password, seconds)
            client = Client(writer, writers, connection, rng, clock)
            self._selector.register(connection.socket, selectors.EVENT_READ, client)
            self._clients.append(client)

    def may_be_full(self, allowed):
        for client in self._clients:
            client.writer.may_fail = allowed

    def only_small(self):
        """The log gets on slowly then, so that blocks are seldom made and freed."""
        for client in self._clients:
            client.sizes = SIZES[:2]

    def _take_in(self, wait_s):
        """Whether anything arrived."""
        ready = self._selector.select(wait_s)
        for key, _ in ready:
            if not key.data.connection.read():
                raise ClientError("the server closed a connection")
        return bool(ready)

    def run(self, seconds):
        """Write as fast as the server takes it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for client in self._clients:
                client.fill()
            self._take_in(0.01)

    def drain(self):
        """Take in what was sent before the machine stood still: the last is there when nothing comes any more."""
        while self._take_in(0.03):
            pass

    def settle(self, seconds=60):
        """Wait for all replies."""
        end = time.monotonic() + seconds
        while any(client.connection.waiting for client in self._clients):
            if time.monotonic() > end:
                raise ClientError("no answer for %d s" % seconds)
            for client in self._clients:
                client.connection.write()
            self._take_in(0.05)

    def take_in_last(self):
        """After a power cut: what had arrived here before it."""
        for client in self._clients:
            client.connection.read()

    def close(self):
        self._selector.close()
        for client in self._clients:
            client.connection.socket.close()


def new_writers(count):
    return [Writer("w%d" % number) for number in range(count)]

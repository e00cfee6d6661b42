#!/usr/bin/env python3
"""Goal:   a program written for redis-py (Debian's python3-redis) works unchanged: client_redis_py.py SERVER
Method: the calls that such programs make, on both kinds of connection that it has; each result is asserted.
"""

import os
import sys
import threading

import servers

DEBIAN_PYTHON = "/usr/bin/python3"

try:
    import redis
except ImportError:
    # Another Python may come first on the path than the one that Debian's packages belong to.
    if os.path.exists(DEBIAN_PYTHON) and os.environ.get("COMPAT_PYTHON_TRIED") is None:
        os.environ["COMPAT_PYTHON_TRIED"] = "1"
        os.execv(DEBIAN_PYTHON, [DEBIAN_PYTHON] + sys.argv)
    servers.skip("no Python module redis (Debian package python3-redis)")


def check(condition, text):
    if not condition:
        sys.exit("failed: " + text)


def strings(client):
    check(client.ping() is True, "ping")
    check(client.set("py:k", b"\x00\xff\r\n", ex=100) is True, "set")
    check(client.get("py:k") == b"\x00\xff\r\n", "get")
    check(90 < client.ttl("py:k") <= 100, "ttl")
    check(client.get("py:none") is None, "get of nothing")
    check(client.set("py:k", "v", nx=True) is None, "set nx")
    check(client.set("py:k", "v", xx=True, get=True) == b"\x00\xff\r\n", "set get")
    check(client.incr("py:n", 5) == 5 and client.decr("py:n") == 4, "counters")
    check(client.incrbyfloat("py:f", 1.5) == 1.5, "incrbyfloat")
    check(client.mset({"py:a": 1, "py:b": 2}) is True, "mset")
    check(client.mget("py:a", "py:none", "py:b") == [b"1", None, b"2"], "mget")
    check(client.getrange("py:a", 0, -1) == b"1" and client.append("py:a", "23") == 3, "parts")
    check(client.rename("py:a", "py:c") is True and client.exists("py:a", "py:c") == 1, "rename")
    check(client.type("py:c") == b"string" and client.object("encoding", "py:n") == b"int", "object")
    check(client.getex("py:c", persist=True) == b"123" and client.persist("py:c") is False, "getex")
    big = os.urandom(5 << 20)
    check(client.set("py:big", big) is True and client.get("py:big") == big, "a big value")
    try:
        client.incr("py:k")
        check(False, "incr of text")
    except redis.ResponseError as error:
        check("not an integer" in str(error), "the error's text")


def pipelines(client):
    with client.pipeline(transaction=False) as pipe:
        for i in range(1000):
            pipe.set("py:p:%d" % i, i)
        pipe.get("py:p:500")
        check(pipe.execute()[-1] == b"500", "pipeline")
    with client.pipeline() as pipe:
        pipe.multi()
        pipe.set("py:t", 1)
        pipe.incr("py:t")
        check(pipe.execute() == [True, 2], "transaction")
    with client.pipeline() as pipe:
        pipe.watch("py:t")
        client.set("py:t", "changed")
        pipe.multi()
        pipe.set("py:t", "mine")
        try:
            pipe.execute()
            check(False, "a watched key was changed")
        except redis.WatchError:
            pass
    check(sorted(client.scan_iter("py:p:1?")) == [b"py:p:%d" % i for i in range(10, 20)], "scan_iter")
    check(client.delete(*client.keys("py:p:*")) == 1000, "keys, delete")


def several_threads(client):
    def add():
        for _ in range(200):
            client.incr("py:shared")

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(client.get("py:shared") == b"800", "counters from several threads")


def administration(client):
    info = client.info()
    check(info["redis_version"].startswith("7.") and "mapping_kind" in client.info("faultline"), "info")
    check(client.dbsize() > 0, "dbsize")
    check(client.config_get("save") == {"save": ""}, "config get")
    check(client.client_setname("compat") is True and client.client_getname() == "compat", "client name")
    check(isinstance(client.client_id(), int) and len(client.client_list()) >= 1, "client list")
    check(client.time()[0] > 1600000000, "time")
    check(client.command_count() > 50 and "get" in client.command(), "command")
    check(client.flushall() is True and client.dbsize() == 0, "flushall")


def locks(client):
    with SimpleLock(client):
        check(client.set("py:lock", "x", nx=True) is None, "a lock is held")
    check(client.get("py:lock") is None, "a lock is released")


class SimpleLock:
    """The lock that needs no script: SET NX PX, and a deletion under WATCH."""

    def __init__(self, client):
        self.client = client

    def __enter__(self):
        check(self.client.set("py:lock", "token", nx=True, px=5000) is True, "take a lock")

    def __exit__(self, *unused):
        def release(pipe):
            check(pipe.get("py:lock") == b"token", "the lock is still ours")
            pipe.multi()
            pipe.delete("py:lock")

        self.client.transaction(release, "py:lock")


def main():
    with servers.start(sys.argv[1]) as running:
        client = redis.Redis(port=running.port, socket_timeout=30)
        client.flushall()
        for part in (strings, pipelines, several_threads, locks):
            part(client)
        if running.name == "faultline-server":
            administration(client)
        client.close()
    print("redis-py %s: done" % redis.__version__)
    return 0


if __name__ == "__main__":
    sys.exit(main())

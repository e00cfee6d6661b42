#!/usr/bin/env python3
"""Goal:   a server whose store is on a model device loses nothing that it has answered, however device, host and server
        end; and the checker works there.
Method: faultline-server on a device that it hosts itself, or that `faultline-modelfs` serves or mounts; both killed, the
        power cut, the file copied and damaged through FUSE: test_modelfs_store.py TOOL MAPPER SERVER CHECK. Skipped
        where userfaultfd is refused.
"""
import os
import socket
import subprocess
import sys

import modelfs
from modelfs import run
from test_modelfs_live import check_userfaultfd

SERVER = None
CHECK = None


class Server:
    def __init__(self, store, *flags):
        self.process = subprocess.Popen([SERVER, "--port", "0", "--store", store, "--durability-min", "process",
                                         "--size-max", "32mb", "--block-bytes", "256kb", *flags],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.said = ""
        while "ready on" not in self.said:
            self.said += modelfs.read_line(self.process, "the server, which said " + self.said) + "\n"
        self.socket = socket.create_connection(("127.0.0.1", int(self.said.split(" port ")[1].split()[0])),
                                               timeout=modelfs.TIMEOUT_S)
        self.replies = self.socket.makefile("rb")

    def ask(self, *words):
        """The reply's first line, of a string its bytes; None if the server hung up."""
        try:
            self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w.encode()) for w in words))
            line = self.replies.readline()
            if line.startswith(b"$") and line != b"$-1\r\n":
                return self.replies.read(int(line[1:]) + 2)[:-2].decode()
        except OSError:
            return None
        return line.decode().strip() or None

    def fill(self, first, count):
        """How many of so many SETs were answered by OK."""
        done = 0
        for i in range(first, first + count):
            if self.ask("SET", "key:%d" % i, "value %d " % i + "x" * (i % 2000)) != "+OK":
                break
            done += 1
        return done

    def close(self):
        self.replies.close()
        self.socket.close()


class Stores(modelfs.Case):
    def setUp(self):
        super().setUp()
        run("format", "--size", "64M", "--block", "64K", self.device)
        self.store = "modelfs:" + self.device + "/heap"

    def server(self, *flags):
        server = Server(self.store, *flags)
        self.addCleanup(self.stop, server)
        self.addCleanup(server.close)
        return server

    def kill(self, subject):
        subject.process.kill()
        subject.process.wait()

    def assert_all_there(self, count):
        server = self.server()
        self.assertEqual(server.ask("DBSIZE"), ":%d" % count)
        for i in range(count):
            self.assertEqual(server.ask("GET", "key:%d" % i), "value %d " % i + "x" * (i % 2000))
        self.kill(server)

    def test_the_server_says_what_it_was_granted(self):
        server = self.server()
        self.assertIn("mapping model", server.said)
        self.assertIn("not a power cut", server.said)
        info = server.ask("INFO", "faultline")
        self.assertIn("mapping_kind:model", info)
        self.assertIn("durability_granted:process", info)

    def test_the_default_durability_is_refused_with_the_remedy(self):
        done = subprocess.run([SERVER, "--port", "0", "--store", self.store], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=modelfs.TIMEOUT_S, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(b"--durability-min process", done.stdout)

    def test_power_cut_of_a_server_that_hosts_its_device_loses_nothing(self):
        server = self.server()
        self.assertEqual(server.fill(0, 2000), 2000)
        run("powercut", "--seed", "5", self.device)
        more = server.fill(2000, 3000)
        self.kill(server)
        self.assertLess(more, 3000)
        self.assert_all_there(2000)

    def test_power_cut_of_a_served_device_loses_nothing(self):
        for seed in range(4):
            host = self.daemon("serve", self.device)
            server = self.server()
            self.assertEqual(server.fill(0, 500 + 300 * seed), 500 + 300 * seed)
            run("powercut", "--seed", str(seed), self.device)
            self.assertIsNone(server.ask("PING"))
            host.ended()
            self.assert_all_there(500 + 300 * seed)

    def test_a_killed_host_loses_nothing(self):
        host = self.daemon("serve", self.device)
        server = self.server()
        self.assertEqual(server.fill(0, 1000), 1000)
        self.kill(host)
        more = server.fill(1000, 5000)
        self.kill(server)
        self.assertLess(more, 5000)
        again = self.server()
        self.assertGreaterEqual(int(again.ask("DBSIZE")[1:]), 1000 + more)
        self.kill(again)

    def test_a_second_server_is_refused(self):
        self.server()
        done = subprocess.run([SERVER, "--port", "0", "--store", self.store, "--durability-min", "process"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=modelfs.TIMEOUT_S, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(b"in use by another process", done.stdout)

    def check(self, *flags, code):
        done = subprocess.run([CHECK, *flags, self.store], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=modelfs.TIMEOUT_S, check=False)
        self.assertEqual(done.returncode, code, done.stdout.decode())
        return done.stdout.decode()

    def test_the_checker_finds_damage_and_repairs_it(self):
        server = self.server()
        self.assertEqual(server.fill(0, 1000), 1000)
        self.assertIn("in use", self.check(code=2))
        self.kill(server)
        self.assertIn("clean", self.check(code=0))
        run("cp", self.device + ":heap", self.path("heap"))
        with open(self.path("heap"), "r+b") as file:
            data = file.read()
            file.seek(data.index(b"value 500 ") + 3)
            file.write(b"damage")
        run("cp", self.path("heap"), self.device + ":heap")
        self.assertIn("damaged", self.check(code=1))
        self.assertIn("repaired", self.check("--repair", code=1))
        self.assertIn("clean", self.check(code=0))
        self.assertIn("heap.damaged", run("ls", self.device))
        server = self.server()
        self.assertEqual(server.ask("DBSIZE"), ":999")
        self.assertEqual(server.ask("GET", "key:500"), "$-1")

    def test_the_store_can_be_copied_out_through_fuse_while_it_is_served(self):
        if not os.access("/dev/fuse", os.R_OK | os.W_OK) or "built without" in run("mount", "x", "y", code=None):
            self.skipTest("no FUSE")
        directory = self.path("mnt")
        os.mkdir(directory)
        self.addCleanup(subprocess.run, ["fusermount3", "-uzq", directory], check=False)
        self.daemon("mount", self.device, directory)
        server = self.server()
        self.assertEqual(server.fill(0, 1000), 1000)
        subprocess.run(["cp", os.path.join(directory, "heap"), self.path("copy")], check=True)
        self.assertEqual(server.fill(1000, 1000), 1000)
        # Nothing was written meanwhile: the copy is what a power cut would have left.
        self.store = self.path("copy")
        self.assert_all_there(1000)


if __name__ == "__main__":
    SERVER, CHECK = sys.argv[3:5]
    check_userfaultfd(sys.argv[1])
    modelfs.main()

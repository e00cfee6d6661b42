#!/usr/bin/env python3
"""Goal:   a served device keeps what a live application flushed through a no-sync mapping, over every end of host and
        application; the commands work on files that are mapped; a device has one host.
Method: `faultline-modelfs serve` and an application that maps a file of it (mapper.c) as processes of their own; both are
        stopped, killed, or lose their power: test_modelfs_live.py TOOL MAPPER. Skipped where userfaultfd is refused.
"""
import json
import os
import signal
import subprocess
import tempfile
import time

import modelfs
from modelfs import run

BLOCK = 4096


class Live(modelfs.Case):
    def served(self, *files):
        self.format()
        for name in files:
            run("cp", "-", self.device + ":" + name, stdin=b"")
            run("truncate", self.device + ":" + name, "64K")
        return self.daemon("serve", self.device)

    def after(self, name="f", length=10, off=0):
        """What is in the file once nobody serves it."""
        self.assertIn("clean", run("fsck", self.device))
        run("cp", self.device + ":" + name, self.path("after"))
        return self.read_file("after")[off:off + length].decode()

    def test_serve_says_when_it_is_ready_and_ends_on_a_signal(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            daemon = self.served() if not os.path.exists(self.device) else self.daemon("serve", self.device)
            self.assertTrue(daemon.ready, daemon.said)
            self.assertIn(signal.Signals(number).name, daemon.end(number))
            self.assertEqual(daemon.status, 0)

    def test_flushed_is_durable_stored_is_not(self):
        daemon = self.served("f")
        app = self.mapper("f", 65536)
        self.assertEqual(app.first, "ok")
        self.assertEqual(app.put(0, "flushed"), "ok")
        self.assertEqual(app.tell("store 8192 stored"), "ok")
        app.process.kill()
        app.process.wait()
        daemon.process.kill()
        daemon.process.wait()
        self.assertEqual(self.after(length=7), "flushed")

    def test_powercut_keeps_what_was_fenced_for_every_seed(self):
        for seed in range(8):
            if os.path.exists(self.device):
                os.unlink(self.device)
            daemon = self.served("f")
            app = self.mapper("f", 65536)
            for i in range(8):
                self.assertEqual(app.put(i * BLOCK, "block %d" % i), "ok")
            app.tell("store 36864 unflushed")
            self.assertIn("power cut", run("powercut", "--seed", str(seed), self.device))
            self.assertEqual(app.process.wait(timeout=modelfs.TIMEOUT_S), -signal.SIGKILL)
            self.assertIn("power", daemon.ended())
            self.assertEqual(daemon.status, 0)
            for i in range(8):
                self.assertEqual(self.after(length=7, off=i * BLOCK), "block %d" % i)

    def test_powercut_loses_what_a_plain_mapping_flushed(self):
        daemon = self.served("f")
        app = self.mapper("f", 65536, "plain")
        self.assertEqual(app.put(0, "flushed"), "ok")
        run("powercut", self.device)
        daemon.ended()
        self.assertEqual(self.after(length=7), "\0" * 7)

    def test_a_second_host_is_busy(self):
        self.served()
        out = run("serve", self.device, code=1)
        self.assertIn("FL_BUSY", out)
        self.assertIn("FL_BUSY", run("fsck", self.device, code=2))
        self.assertIn("FL_BUSY", run("format", "--force", self.device, code=1))

    def test_commands_work_on_files_that_are_mapped(self):
        self.served("f", "g")
        app = self.mapper("f", 65536)
        self.assertEqual(app.put(0, "hello"), "ok")
        self.assertEqual(app.put(BLOCK, "world"), "ok")
        self.assertEqual(run("cp", self.device + ":f", "-")[:5], "hello")
        run("punch", self.device + ":f", "0", "4K")
        self.assertEqual(app.load(0, 5), "ok .....")
        self.assertEqual(app.load(BLOCK, 5), "ok world")
        run("collapse", self.device + ":f", "0", "4K")
        self.assertEqual(app.load(0, 5), "ok world")
        run("truncate", self.device + ":f", "4K")
        self.assertEqual(app.load(8192, 1), "sigbus")
        self.assertEqual(app.load(0, 5), "ok world")
        self.assertIn("FL_BUSY", run("rm", self.device + ":f", code=1))
        self.assertIn("FL_BUSY", run("clone", self.device + ":f", "g", code=1))
        run("mv", self.device + ":g", "h")
        self.assertIn(" f\n", run("ls", self.device))
        self.assertIn(" h\n", run("ls", self.device))

    def test_dump_of_a_served_device_shows_the_flag(self):
        self.served("f")
        app = self.mapper("f", 65536)
        app.put(BLOCK, "x")
        dump = json.loads(run("dump", "--json", self.device))
        self.assertTrue(dump["served"])
        flags = [(e["logical"], e["nosync"]) for e in dump["files"][0]["extents"]]
        self.assertEqual(flags, [(1, True)])

    def test_no_nosync_mapping_without_the_feature(self):
        self.format("--without-nosync")
        run("cp", "-", self.device + ":f", stdin=b"x")
        self.daemon("serve", self.device)
        self.assertIn("FL_NOT_SUPPORTED", self.mapper("f", BLOCK).first)
        self.assertEqual(self.mapper("f", BLOCK, "plain").first, "ok")

    def test_an_application_that_dies_leaves_what_it_flushed(self):
        daemon = self.served("f")
        app = self.mapper("f", 65536)
        app.put(0, "flushed")
        app.process.kill()
        app.process.wait()
        again = self.mapper("f", 65536)
        self.assertEqual(again.load(0, 7), "ok flushed")
        self.assertEqual(again.end(), 0)
        daemon.end()
        self.assertEqual(self.after(length=7), "flushed")

    def test_a_stopped_application_holds_up_no_punch(self):
        self.served("f")
        app = self.mapper("f", 65536)
        app.put(0, "old")
        app.tell("spin 4096")
        app.process.send_signal(signal.SIGSTOP)
        run("punch", self.device + ":f", "0", "8K")
        run("cp", self.device + ":f", self.path("out"))
        self.assertEqual(self.read_file("out")[:8192], bytes(8192))
        app.process.send_signal(signal.SIGCONT)
        self.assertRegex(app.tell("stop"), r"^ok [0-9]+$")
        self.assertEqual(app.load(0, 3), "ok ...")

    def test_growth_is_seen_by_every_process_when_it_returns(self):
        self.served("f")
        apps = [self.mapper("f", 65536) for _ in range(3)]
        for _ in range(20):
            run("truncate", self.device + ":f", "4K")
            for app in apps:
                self.assertEqual(app.load(8192, 1), "sigbus")
            run("truncate", self.device + ":f", "64K")
            for app in apps:
                self.assertEqual(app.load(8192, 1), "ok .")

    def test_a_stopped_application_holds_up_no_growth(self):
        self.served("f")
        app = self.mapper("f", 65536)
        run("truncate", self.device + ":f", "4K")
        self.assertEqual(app.load(8192, 1), "sigbus")
        app.process.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        run("truncate", self.device + ":f", "64K")
        self.assertLess(time.monotonic() - begun, modelfs.TIMEOUT_S / 2)
        app.process.send_signal(signal.SIGCONT)
        self.assertEqual(app.tell("populate 8192 4096"), "ok FL_OK")
        self.assertEqual(app.load(8192, 1), "ok .")

    def test_a_full_device_is_sigbus_for_the_toucher_only(self):
        run("format", "--size", "1M", self.device)
        run("cp", "-", self.device + ":f", stdin=b"")
        run("truncate", self.device + ":f", "4M")
        self.daemon("serve", self.device)
        app = self.mapper("f", 4 << 20)
        other = self.mapper("f", 4 << 20)
        count = 0
        while app.put(count * BLOCK, "%07d" % count) == "ok":
            count += 1
            self.assertLess(count, 300)
        self.assertEqual(app.tell("populate %d 8192" % (count * BLOCK)), "error FL_NO_SPACE")
        self.assertEqual(other.load(0, 7), "ok %07d" % 0)
        self.assertEqual(app.put(0, "still there"), "ok")
        run("punch", self.device + ":f", "0", "8K")
        self.assertEqual(app.put(count * BLOCK, "again"), "ok")
        for i in range(2, count):
            self.assertEqual(other.load(i * BLOCK, 7), "ok %07d" % i)

    def test_a_killed_host_is_a_failed_device_for_its_clients(self):
        daemon = self.served("f")
        app = self.mapper("f", 65536)
        app.put(0, "flushed")
        daemon.process.kill()
        daemon.process.wait()
        app.process.stdin.write(b"store 8192 new block\n")
        app.process.stdin.flush()
        app.process.stdin.close()
        app.process.wait(timeout=modelfs.TIMEOUT_S)
        self.assertEqual(self.after(length=7), "flushed")
        again = self.daemon("serve", self.device)
        self.assertTrue(again.ready, again.said)

    def test_demo_on_real_mappings(self):
        text = run("demo", "--mapped", "--cuts", "3")
        self.assertIn("userfaultfd", text)
        self.assertRegex(text, r"links to a block that is lost +3 +0\n")
        self.assertRegex(text, r"lists that are whole +0 +3\n")
        device = self.path("demo")
        run("demo", "--device", device, "--cuts", "1")
        self.assertIn("clean", run("fsck", device))
        self.assertIn("is there", run("demo", "--device", device, code=1))


def check_userfaultfd(tool):
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([tool, "demo", "--device", os.path.join(folder, "device"), "--cuts", "1"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=modelfs.TIMEOUT_S, check=False)
    if b"FL_NOT_SUPPORTED" in done.stdout:
        modelfs.skip(done.stdout.decode(errors="replace").strip())


if __name__ == "__main__":
    import sys

    check_userfaultfd(sys.argv[1])
    modelfs.main()

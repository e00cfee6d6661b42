#!/usr/bin/env python3
"""Goal:   faultline-modelfs makes, fills, checks and shows devices that nobody serves, says what is wrong with bad ones
        and with bad command lines, and shows the lost block.
Method: the program, its output and its exit status: test_modelfs_files.py TOOL
"""
import json
import os
import re
import struct
import subprocess

import modelfs
from modelfs import run

BLOCK = 4096


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


class Devices(modelfs.Case):
    def test_format_makes_a_clean_empty_device(self):
        self.assertIn("8 MiB", self.format())
        self.assertEqual(os.path.getsize(self.device), 8 << 20)
        self.assertEqual(run("ls", self.device), "")
        self.assertRegex(run("fsck", self.device), "clean: 0 findings\n$")
        dump = json.loads(run("dump", "--json", self.device))
        self.assertEqual(dump["files"], [])
        self.assertEqual(dump["superblock"]["copies_valid"], [True, True])
        self.assertEqual(dump["superblock"]["block_bytes"], BLOCK)
        self.assertTrue(dump["superblock"]["nosync"])

    def test_format_takes_blocks_journal_files_and_no_nosync(self):
        run("format", "--size", "64M", "--block", "2M", "--journal", "64K", "--files", "9", "--without-nosync",
            self.device)
        dump = json.loads(run("dump", "--json", self.device))["superblock"]
        self.assertEqual(dump["block_bytes"], 2 << 20)
        self.assertEqual(dump["journal_bytes"], 64 << 10)
        self.assertGreaterEqual(dump["inodes"], 9)
        self.assertFalse(dump["nosync"])

    def test_format_spares_what_is_there_unless_forced(self):
        self.format()
        run("cp", "-", self.device + ":kept", stdin=b"kept")
        self.assertIn("model filesystem already", run("format", "--size", "8M", self.device, code=1))
        self.assertEqual(run("cp", self.device + ":kept", "-"), "kept")
        run("format", "--size", "8M", "--force", self.device)
        self.assertEqual(run("ls", self.device), "")
        other = self.write_file("other", b"not a device")
        self.assertIn("something else", run("format", other, code=1))
        self.assertEqual(self.read_file("other"), b"not a device")

    def test_format_with_wrong_geometry_leaves_no_file(self):
        for args in (["--block", "3K"], ["--block", "4M"], ["--size", "4K"]):
            out = run("format", "--size", "8M", *args, self.device, code=1)
            self.assertRegex(out, "FL_(INVALID|NO_SPACE)")
            self.assertFalse(os.path.exists(self.device), args)

    def test_files_are_copied_in_and_out_as_they_are(self):
        self.format()
        data = os.urandom(BLOCK) + bytes(3 << 20) + os.urandom(777)
        run("cp", self.write_file("in", data), self.device + ":file")
        run("cp", self.device + ":file", self.path("out"))
        self.assertEqual(self.read_file("out"), data)
        extents = json.loads(run("dump", "--json", self.device))["files"][0]["extents"]
        self.assertLess(sum(e["blocks"] for e in extents), 600)
        run("cp", "-", self.device + ":file", stdin=b"shorter")
        self.assertEqual(run("cp", self.device + ":file", "-"), "shorter")
        self.assertIn("clean", run("fsck", self.device))

    def test_names_are_changed_and_removed(self):
        self.format()
        run("cp", "-", self.device + ":a", stdin=b"A")
        run("cp", "-", self.device + ":b", stdin=b"B")
        run("mv", self.device + ":a", "b")
        self.assertEqual(run("cp", self.device + ":b", "-"), "A")
        self.assertEqual(len(run("ls", self.device).splitlines()), 1)
        run("rm", self.device + ":b")
        self.assertEqual(run("ls", self.device), "")
        self.assertIn("FL_NOT_FOUND", run("rm", self.device + ":b", code=1))
        self.assertIn("FL_NOT_FOUND", run("mv", self.device + ":b", "c", code=1))
        self.assertIn("FL_INVALID", run("cp", "-", self.device + ":..", code=1))

    def test_clone_shares_blocks_until_one_is_written(self):
        self.format()
        data = os.urandom(4 * BLOCK)
        run("cp", self.write_file("in", data), self.device + ":a")
        free = self.free()
        run("clone", self.device + ":a", "b")
        self.assertEqual(self.free(), free)
        run("cp", self.device + ":b", self.path("out"))
        self.assertEqual(self.read_file("out"), data)
        run("truncate", self.device + ":b", str(BLOCK + 1))
        run("cp", self.device + ":a", self.path("out"))
        self.assertEqual(self.read_file("out"), data)
        self.assertIn("clean", run("fsck", self.device))

    def free(self):
        return int(re.search("free ([0-9]+)", run("df", self.device))[1])

    def test_ranges_are_allocated_punched_and_collapsed(self):
        self.format()
        data = b"".join(bytes([i]) * BLOCK for i in range(1, 9))
        run("cp", self.write_file("in", data), self.device + ":f")
        free = self.free()
        run("punch", self.device + ":f", "4K", "8K")
        self.assertEqual(self.free(), free + 2)
        run("cp", self.device + ":f", self.path("out"))
        expected = data[:BLOCK] + bytes(2 * BLOCK) + data[3 * BLOCK:]
        self.assertEqual(self.read_file("out"), expected)
        run("collapse", self.device + ":f", "0", "4K")
        run("cp", self.device + ":f", self.path("out"))
        self.assertEqual(self.read_file("out"), expected[BLOCK:])
        run("allocate", self.device + ":f", "64K", "16K")
        run("cp", self.device + ":f", self.path("out"))
        self.assertEqual(self.read_file("out"), expected[BLOCK:] + bytes(80 * 1024 - 7 * BLOCK))
        extents = json.loads(run("dump", "--json", self.device))["files"][0]["extents"]
        self.assertTrue(any(e["unwritten"] and e["logical"] == 16 and e["blocks"] == 4 for e in extents), extents)
        self.assertIn("FL_INVALID", run("collapse", self.device + ":f", "1", "4K", code=1))
        self.assertIn("clean", run("fsck", self.device))

    def test_a_full_device_takes_no_more_and_loses_nothing(self):
        run("format", "--size", "1M", self.device)
        run("cp", "-", self.device + ":kept", stdin=b"kept")
        big = self.write_file("big", os.urandom(2 << 20))
        self.assertIn("FL_NO_SPACE", run("cp", big, self.device + ":big", code=1))
        self.assertIn("FL_NO_SPACE", run("allocate", self.device + ":kept", "0", "2M", code=1))
        self.assertEqual(run("cp", self.device + ":kept", "-"), "kept")
        self.assertIn("clean", run("fsck", self.device))
        run("rm", self.device + ":big")
        run("cp", "-", self.device + ":more", stdin=b"more")
        self.assertEqual(run("cp", self.device + ":more", "-"), "more")

    def test_too_many_files_is_no_space(self):
        run("format", "--size", "8M", "--files", "4", self.device)
        statuses = ["FL_NO_SPACE" in run("cp", "-", self.device + ":f%d" % i, stdin=b"x", code=None)
                    for i in range(100)]
        self.assertFalse(any(statuses[:4]))
        self.assertTrue(statuses[-1])

    def test_commands_at_the_same_time_wait_for_each_other(self):
        self.format()
        started = [subprocess.Popen([modelfs.TOOL, "cp", self.write_file("in%d" % i, b"file %d" % i),
                                     self.device + ":f%d" % i]) for i in range(8)]
        self.assertEqual([process.wait(timeout=modelfs.TIMEOUT_S) for process in started], [0] * 8)
        for i in range(8):
            self.assertEqual(run("cp", self.device + ":f%d" % i, "-"), "file %d" % i)

    def test_dump_shows_files_extents_and_journal_to_people(self):
        self.format()
        run("cp", "-", self.device + ":hello", stdin=b"x" * 5000)
        text = run("dump", self.device)
        for part in ("superblock: first copy valid, second copy valid", "no-sync mappings granted", "journal:",
                     '"hello": inode', "5000 bytes", "block 0, 2 of them, physical "):
            self.assertIn(part, text)


class Damage(modelfs.Case):
    def damage(self, off, data):
        with open(self.device, "r+b") as file:
            file.seek(off)
            file.write(data)

    def filled(self):
        self.format()
        run("cp", "-", self.device + ":file", stdin=b"f" * 9000)
        return json.loads(run("dump", "--json", self.device))["superblock"]

    def refused(self, status, *words):
        for command in (["ls", self.device], ["cp", self.device + ":file", "-"], ["rm", self.device + ":file"],
                        ["serve", self.device]):
            out = run(*command, code=1)
            self.assertIn(status, out)
            for word in words:
                self.assertIn(word, out)

    def test_one_superblock_is_enough_and_is_reported(self):
        self.filled()
        self.damage(40, b"\xff" * 8)
        self.assertRegex(run("fsck", self.device, code=1), "superblock")
        self.assertIn("f" * 9000, run("cp", self.device + ":file", "-"))

    def test_no_superblock_is_no_device(self):
        self.filled()
        self.damage(0, bytes(4096))
        self.refused("FL_INVALID")
        self.assertIn("FL_INVALID", run("fsck", self.device, code=2))
        self.assertIn("FL_INVALID", run("dump", self.device, code=1))

    def test_two_torn_superblocks_are_corrupt(self):
        self.filled()
        self.damage(20, b"\xff" * 8)
        self.damage(2048 + 20, b"\xff" * 8)
        self.refused("FL_CORRUPT")

    def test_a_broken_slot_is_named(self):
        super_block = self.filled()
        used = json.loads(run("dump", "--json", self.device))["files"][0]
        slot = used["ino"] & 0xffffffff
        self.damage(super_block["inodes_off"] + slot * 256 + 8, b"\xff" * 8)
        self.assertRegex(run("fsck", self.device, code=1), "inode slot %d" % slot)
        self.refused("FL_CORRUPT")

    def test_an_extent_out_of_range_is_corrupt(self):
        super_block = self.filled()
        run("truncate", self.device + ":file", "5000")
        self.damage(super_block["extents_off"], b"\xff" * 32 * 4)
        self.assertIn("damaged", run("fsck", self.device, code=1))
        report = json.loads(run("fsck", "--json", self.device, code=1))
        self.assertEqual(report["result"], "damaged")
        self.assertGreater(report["findings_total"], 0)
        self.assertEqual(len(report["findings"]), report["findings_total"])

    def test_a_truncated_image_is_refused(self):
        self.filled()
        for size in (4 << 20, (4 << 20) + 5, 4096, 100):
            os.truncate(self.device, size)
            out = run("ls", self.device, code=1)
            self.assertRegex(out, "FL_(CORRUPT|INVALID)")
            self.assertNotIn("clean", run("fsck", self.device, code=None))

    def test_another_version_is_refused(self):
        self.filled()
        for copy in (0, 2048):
            self.damage(copy + 8, struct.pack("<I", 2))
            # Its CRC fits.
            with open(self.device, "rb") as file:
                file.seek(copy)
                block = file.read(124)
            self.damage(copy + 124, struct.pack("<I", crc32c(block)))
        self.refused("FL_VERSION", "version 2")
        self.assertIn("FL_VERSION", run("fsck", self.device, code=2))
        self.assertIn("FL_VERSION", run("dump", self.device, code=1))

    def test_what_is_no_file_is_refused(self):
        for path, status in ((self.folder, "FL_INVALID"), (self.path("nothing"), "FL_NOT_FOUND"),
                             ("/dev/null", "FL_INVALID")):
            self.assertIn(status, run("ls", path, code=1))
            self.assertIn(status, run("fsck", path, code=2))


class CommandLine(modelfs.Case):
    def test_help_and_version(self):
        text = run("--help")
        names = re.findall(r"^  ([a-z]+) +\S", text, re.MULTILINE)
        self.assertGreater(len(names), 15)
        for name in names:
            self.assertRegex(run(name, "--help"), "^Usage: faultline-modelfs " + name + " ")
        self.assertRegex(run("--version"), r"^faultline-modelfs [0-9]+\.[0-9]+\.[0-9]+\n$")

    def test_wrong_usage_is_exit_status_2(self):
        self.format()
        for args in ([], ["nonsense"], ["format"], ["format", "a", "b"], ["format", "--size", "x", "a"],
                     ["format", "--size", "1Q", "a"], ["format", "--size", "99999999T", "a"],
                     ["format", "--nonsense", "a"], ["format", "--size"], ["ls"], ["fsck"], ["fsck", "--bad", "x"],
                     ["cp", "a"], ["cp", "a", "b"], ["rm"], ["rm", "nothing:x"], ["mv", self.device + ":x"],
                     ["punch", self.device + ":x", "1", "-5"], ["demo", "--cuts", "0"], ["demo", "extra"],
                     ["demo", "--table", "--mapped"], ["powercut"], ["powercut", "--seed", "x", "a"], ["serve"],
                     ["truncate", self.device + ":x", ""]):
            self.assertIn("--help", run(*args, code=2), args)

    def test_powercut_of_what_nobody_serves_says_so(self):
        self.format()
        self.assertIn("nobody serves", run("powercut", self.device, code=1))
        self.assertIn("No such file", run("powercut", self.path("nothing"), code=1))


class Demo(modelfs.Case):
    def test_table_shows_the_lost_block(self):
        text = run("demo", "--table", "--cuts", "5")
        self.assertRegex(text, r"after the power cut and recovery +\[0\]--x  \(hole\) +\[0\]--->\[1\]")
        self.assertRegex(text, r"links to a block that is lost +5 +0\n")
        self.assertRegex(text, r"lists that are whole +0 +5\n")
        self.assertRegex(text, r"a store to block 1 faults: it is allocated +0 +1\n")


if __name__ == "__main__":
    modelfs.main()

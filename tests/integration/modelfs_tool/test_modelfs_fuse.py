#!/usr/bin/env python3
"""Goal:   the system's own programs work on files that a live application has mapped no-sync: they see what it stores, it
        sees what they write, and nothing that it flushed is lost.
Method: `faultline-modelfs mount` and the application (mapper.c); cp, dd, fallocate, truncate, mv, rm, ls, df in the
        mounted directory: test_modelfs_fuse.py TOOL MAPPER. Skipped without /dev/fuse, libfuse3 or userfaultfd.
"""
import errno
import mmap
import os
import signal
import subprocess
import sys

import modelfs
from modelfs import run
from test_modelfs_live import check_userfaultfd

BLOCK = 4096


def sh(*args, code=0):
    done = subprocess.run(args, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                          timeout=modelfs.TIMEOUT_S, check=False)
    if done.returncode != code:
        raise AssertionError("%s: exit status %d\n%s" % (" ".join(args), done.returncode,
                                                         done.stdout.decode(errors="replace")))
    return done.stdout.decode(errors="replace")


class Mounted(modelfs.Case):
    def setUp(self):
        super().setUp()
        self.format()
        self.directory = self.path("mnt")
        os.mkdir(self.directory)
        self.addCleanup(subprocess.run, ["fusermount3", "-uzq", self.directory], check=False)
        self.mount = self.daemon("mount", self.device, self.directory)
        self.assertTrue(self.mount.ready, self.mount.said)

    def inside(self, name):
        return os.path.join(self.directory, name)

    def app(self, name, size):
        with open(self.inside(name), "ab") as file:
            file.truncate(size)
        app = self.mapper(name, size)
        self.assertEqual(app.first, "ok")
        return app

    def test_cp_in_and_out_and_cmp(self):
        data = os.urandom(300000)
        source = self.write_file("source", data)
        sh("cp", source, self.inside("copy"))
        sh("cmp", source, self.inside("copy"))
        sh("cp", "-p", self.inside("copy"), self.inside("again"))
        sh("cp", self.inside("again"), self.path("back"))
        self.assertEqual(self.read_file("back"), data)
        sh("mv", source, self.inside("moved"))
        self.assertFalse(os.path.exists(source))
        self.assertEqual(sorted(os.listdir(self.directory)), ["again", "copy", "moved"])

    def test_cp_sees_what_is_only_stored_and_copies_no_flag(self):
        app = self.app("live", 65536)
        app.tell("store 0 stored only")
        app.put(BLOCK, "flushed")
        sh("cp", self.inside("live"), self.inside("copy"))
        with open(self.inside("copy"), "rb") as file:
            data = file.read()
        self.assertEqual(data[:11], b"stored only")
        self.assertEqual(data[BLOCK:BLOCK + 7], b"flushed")
        self.assertEqual(len(data), 65536)
        sh("sync", self.inside("copy"))
        self.assertNotIn("no-sync", run("dump", self.device).split('"copy"')[1].split("inode")[0])

    def test_dd_into_a_mapped_block_is_seen_and_durable_on_return(self):
        app = self.app("live", 65536)
        app.put(0, "application")
        source = self.write_file("source", b"D" * 64)
        sh("dd", "if=" + source, "of=" + self.inside("live"), "bs=64", "seek=1", "conv=notrunc", "status=none")
        self.assertEqual(app.load(60, 10), "ok ....DDDDDD")
        self.assertEqual(app.load(0, 11), "ok application")
        run("powercut", self.device)
        self.mount.ended()
        run("cp", self.device + ":live", self.path("after"))
        after = self.read_file("after")
        self.assertEqual(after[:11], b"application")
        self.assertEqual(after[64:128], b"D" * 64)

    def test_fallocate_punches_under_a_writer(self):
        app = self.app("live", 65536)
        app.put(8192, "stays")
        app.tell("spin 0")
        for _ in range(20):
            sh("fallocate", "-p", "-o", "0", "-l", "4096", self.inside("live"))
        self.assertRegex(app.tell("stop"), r"^ok [1-9][0-9]*$")
        self.assertEqual(app.load(8192, 5), "ok stays")
        sh("fallocate", "-p", "-o", "0", "-l", "4096", self.inside("live"))
        self.assertEqual(app.load(0, 4), "ok ....")
        sh("fallocate", "-o", "65536", "-l", "65536", self.inside("live"))
        self.assertEqual(os.path.getsize(self.inside("live")), 131072)
        sh("fallocate", "-z", "-o", "8192", "-l", "4096", self.inside("live"))
        self.assertEqual(app.load(8192, 5), "ok .....")

    def test_truncate_ends_the_mapping_and_growing_brings_it_back(self):
        app = self.app("live", 65536)
        app.put(0, "first")
        app.put(8192, "third")
        sh("truncate", "-s", "4096", self.inside("live"))
        self.assertEqual(app.load(8192, 1), "sigbus")
        self.assertEqual(app.load(0, 5), "ok first")
        sh("truncate", "-s", "65536", self.inside("live"))
        self.assertEqual(app.load(8192, 5), "ok .....")
        self.assertEqual(app.put(8192, "anew"), "ok")

    def test_mv_keeps_a_mapping_and_rm_refuses(self):
        app = self.app("live", 65536)
        app.put(0, "before")
        sh("mv", self.inside("live"), self.inside("moved"))
        self.assertEqual(app.put(0, "after."), "ok")
        with open(self.inside("moved"), "rb") as file:
            self.assertEqual(file.read(6), b"after.")
        self.assertIn("busy", sh("rm", self.inside("moved"), code=1))
        self.assertEqual(app.end(), 0)
        sh("rm", self.inside("moved"))
        self.assertEqual(os.listdir(self.directory), [])

    def test_ls_df_and_stat_tell_sizes(self):
        sh("dd", "if=/dev/zero", "of=" + self.inside("f"), "bs=4096", "count=3", "conv=fsync", "status=none")
        self.assertIn(" 12288 ", sh("ls", "-l", self.directory))
        self.assertEqual(os.stat(self.inside("f")).st_blocks, 24)
        st = os.statvfs(self.directory)
        self.assertEqual(st.f_bsize, BLOCK)
        before = st.f_bavail
        os.unlink(self.inside("f"))
        os.sync()
        self.assertGreaterEqual(os.statvfs(self.directory).f_bavail, before)
        self.assertIn("%", sh("df", self.directory))

    def test_errors_are_those_of_a_filesystem(self):
        cases = (
            (errno.EPERM, lambda: os.mkdir(self.inside("d"))),
            (errno.ENAMETOOLONG, lambda: open(self.inside("n" * 200), "wb")),
            (errno.ENOENT, lambda: open(self.inside("nothing"), "rb")),
            (errno.ENOSPC, lambda: self.fill()),
        )
        for number, call in cases:
            with self.assertRaises(OSError) as caught:
                call()
            self.assertEqual(caught.exception.errno, number)

    def fill(self):
        with open(self.inside("big"), "wb", buffering=0) as file:
            for _ in range(100):
                file.write(bytes([1]) * (1 << 20))

    def test_no_shared_mapping_through_fuse(self):
        with open(self.inside("f"), "w+b") as file:
            file.truncate(BLOCK)
            with self.assertRaises(OSError) as caught:
                mmap.mmap(file.fileno(), BLOCK)
            self.assertEqual(caught.exception.errno, errno.ENODEV)

    def test_sparse_files_stay_sparse(self):
        with open(self.inside("f"), "w+b") as file:
            file.seek(1 << 20)
            file.write(b"x")
            file.truncate(2 << 20)
        with open(self.inside("f"), "rb") as file:
            self.assertEqual(os.lseek(file.fileno(), 0, os.SEEK_DATA), 1 << 20)
            self.assertEqual(os.lseek(file.fileno(), 1 << 20, os.SEEK_HOLE), (1 << 20) + BLOCK)
            with self.assertRaises(OSError):
                os.lseek(file.fileno(), (1 << 20) + BLOCK, os.SEEK_DATA)

    def test_umount_and_signals_end_it_and_keep_the_files(self):
        with open(self.inside("f"), "wb") as file:
            file.write(b"written, never synced")
        sh("fusermount3", "-u", self.directory)
        self.mount.ended()
        self.assertEqual(self.mount.status, 0)
        self.assertEqual(run("cp", self.device + ":f", "-"), "written, never synced")
        again = self.daemon("mount", self.device, self.directory)
        self.assertEqual(os.listdir(self.directory), ["f"])
        self.assertIn("SIGINT", again.end(signal.SIGINT))
        self.assertEqual(os.listdir(self.directory), [])
        self.assertIn("clean", run("fsck", self.device))

    def test_killed_host_leaves_what_was_synced(self):
        with open(self.inside("f"), "wb") as file:
            file.write(b"synced")
            file.flush()
            os.fsync(file.fileno())
        self.mount.process.kill()
        self.mount.process.wait()
        sh("fusermount3", "-uz", self.directory)
        self.assertEqual(run("cp", self.device + ":f", "-"), "synced")
        self.assertIn("clean", run("fsck", self.device))

    def test_mountpoint_must_be_a_directory(self):
        self.assertIn("no directory", run("mount", self.device, self.device, code=1))


if __name__ == "__main__":
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        modelfs.skip("no /dev/fuse")
    if "built without libfuse3" in subprocess.run([sys.argv[1], "mount", "x", "y"], stdout=subprocess.PIPE,
                                                  stderr=subprocess.STDOUT, check=False).stdout.decode():
        modelfs.skip("the program was built without libfuse3")
    check_userfaultfd(sys.argv[1])
    modelfs.main()

"""Goal:   whatever the server has acknowledged is there after a power cut, on ext4 and XFS with DAX: nothing missing,
        nothing in part, nothing invented, nothing expired come back; and the test sees losses where there are some.
Method: the server runs in a virtual machine, clients on the host write to it over TCP (clients.py) and keep account
        (ledger.py). At random moments the machine is stopped, what has arrived by then is taken in, and its
        persistent memory is copied; now and then the power is really cut. Each image is mounted, which replays the
        journal, checked by faultline-check before and after recovery, opened by the store, and what it
        holds is held against the account. Beside the server others use the filesystem. Two controls must
        lose: the server made to map plainly, and, on XFS with reflink, a heap that is cloned while it is open.

        With --lines the emulator loses cache lines as well: what was not written back and fenced is in no image
        (host/cache_lines.c; the server is a build that shows its flushes). The shipped server, whose flushes it can't
        see, is the control.

usage: server_cut.py [--nightly] SERVER CHECK PROGRAM-FOLDER [FILESYSTEM...]
       server_cut.py --lines SERVER CHECK PROGRAM-FOLDER CACHE-LINES MARKED-SERVER [FILESYSTEM...]
       FL_TEST_SEED repeats the choices, not their timing; FL_TEST_KEEP names a folder for images that are wrong;
       FL_TEST_JUDGE=guest mounts copies in the machine though the host could; FL_TEST_HOURS for --nightly (2)
"""

import dataclasses
import os
import random
import re
import signal
import subprocess
import sys
import time

import vm
from clients import ClientError, Clients, new_writers
from ledger import Clock, judge, parse_contents

PASSWORD = b"powercut"
PORT = 6379              # in the machine
WRITERS = 6
MIB = 1024 * 1024
CONTROL_LOSSES = 3
SHOWN = ("segment_changes_total", "cleaner_freed_blocks_total")  # of the server's counters


@dataclasses.dataclass
class Session:
    """From a boot to a power cut."""
    adversaries: tuple = ()
    fresh: bool = False      # a new filesystem and store; else what the power cut before has left
    block_bytes: int = 2 * MIB
    size_max: int = 1 << 40
    images: int = 12
    server_recovers: bool = False  # the server is the first to open what was left, not contents
    control: str = ""        # plain or clone: what makes it lose


# A new store in large blocks and one in small ones, which are linked, cleaned and punched all the time; each goes on
# after a power cut. The last is small enough to be full now and then, on a disk that is full now and then.
GATE = [
    Session(fresh=True),
    Session(("names", "fsync"), server_recovers=True),
    Session(("read",), fresh=True, block_bytes=64 * 1024),
    Session(("copy",), server_recovers=True),
    Session(("fill",), fresh=True, block_bytes=16 * 1024, size_max=4 * MIB),
]
# They end when enough was lost; `images` is how long they may take to it.
CONTROLS = {
    "ext4": [Session(fresh=True, block_bytes=64 * 1024, images=8, control="plain")],
    "xfs": [Session(fresh=True, block_bytes=64 * 1024, images=8, control="plain")],
    # Not every image shows it: XFS leaves a fault of the kind uncommitted if nothing else of the file was uncommitted.
    "xfs-reflink": [Session(("clone",), fresh=True, block_bytes=256 * 1024, images=60,
                            control="clone")],
}
LINES = [
    Session(fresh=True, images=12),
    Session(("names",), fresh=True, block_bytes=64 * 1024, images=12),
    Session(("fill",), fresh=True, block_bytes=16 * 1024, size_max=4 * MIB, images=12),
]
LINES_CONTROL = [Session(fresh=True, images=4, control="no flushes")]


def nightly_sessions(rng):
    """Without end: the caller stops when its time is over."""
    others = ["names", "fsync", "read", "copy", "fill"]
    while True:
        block_bytes = rng.choice([4096, 16 * 1024, 64 * 1024, 2 * MIB])
        size_max = rng.choice([1 << 40, max(4 * MIB, 24 * block_bytes)])
        for generation in range(rng.randrange(1, 4)):
            beside = tuple(rng.sample(others, rng.randrange(0, 3)))
            yield Session(beside, generation == 0, block_bytes, size_max, images=15,
                          server_recovers=rng.random() < 0.5)


def look_script(place, temporary, program):
    """Shell that checks the heap in `place`, has the store open and read it, checks again, and prints all that."""
    return ("cd %(place)s; %(check)s heap >%(temporary)s/before 2>&1; a=$?; "
            "%(contents)s heap >%(temporary)s/contents 2>&1; b=$?; "
            "%(check)s heap >%(temporary)s/after 2>&1; c=$?; cd /; "
            "cat %(temporary)s/contents; echo status $a $b $c; "
            "cat %(temporary)s/before %(temporary)s/after"
            % {"place": place, "temporary": temporary, "check": program("faultline-check"),
               "contents": program("contents")})


def run_script(script, seconds):
    """Its output. Whatever happens, nothing that it started is left, which would keep the filesystem mounted."""
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True, errors="replace",
                          start_new_session=True) as shell:
        try:
            return shell.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired as error:
            raise vm.VmError("an image took more than %d s" % seconds) from error
        finally:
            if shell.returncode is None:
                os.killpg(shell.pid, signal.SIGKILL)


class Run:
    """Sessions on one filesystem, on one image of persistent memory."""

    def __init__(self, machine, programs, directory, filesystem, rng):
        self.machine = machine
        self.programs = {os.path.basename(program): os.path.abspath(program) for program in programs}
        self.on_host = (os.environ.get("FL_TEST_JUDGE") != "guest"
                        and vm.host_mounts(filesystem, directory))
        self.directory = directory
        self.left = os.path.join(directory, "left")  # a copy of what the last cut left, for FL_TEST_KEEP
        self.filesystem = filesystem
        self.rng = rng
        self.clock = Clock()
        self.began = time.monotonic()
        self.writers = new_writers(WRITERS)
        self.images = 0
        self.steps = 0
        self.judge_s = 0.0
        self.violations = []

    # ---- the machine ----

    def boot(self, session):
        """For a new filesystem a machine that is running will do; its old data is then in what is free."""
        if session.fresh:
            if not self.machine.running:
                if os.path.exists(self.machine.image):
                    os.unlink(self.machine.image)
                self.machine.start()
                self.machine.make_namespace()
            self.machine.make_filesystem(self.filesystem, "/mnt")
            self.writers = new_writers(WRITERS)
        else:
            if os.environ.get("FL_TEST_KEEP"):  # what is found is recovered in place
                vm.copy_sparse(self.machine.image, self.left)
            self.machine.start()
            self.machine.mount(self.filesystem, "/mnt")
            # The power may have failed while somebody filled the disk: now nobody does.
            self.machine.run("rm -f /mnt/heap.full /mnt/heap.copy; sync", seconds=120, check=True)
        self.clock.restart()

    def start_server(self, session):
        preload = "LD_PRELOAD=/t/libplain_mapping.so " if session.control == "plain" else ""
        self.machine.run(
            "%ssetsid /t/faultline-server --store /mnt/heap --mapping dax --durability-min powercut "
            "--bind 10.0.2.15 --requirepass=%s --block-bytes %d --size-max %d "
            "</dev/null >/tmp/server.log 2>&1 & echo $! >/tmp/server"
            % (preload, PASSWORD.decode(), session.block_bytes, session.size_max), check=True)
        status, _ = self.machine.run(
            "i=0; while ! grep -q ' ready on ' /tmp/server.log; do i=$((i+1)); [ $i -lt 600 ] && "
            "kill -0 $(cat /tmp/server) || exit 1; sleep 0.05; done", seconds=60)
        if status != 0:
            raise vm.VmError("the server doesn't start\n" + self.server_log())

    def stop_server(self, signal_option=""):
        self.machine.run("kill %s $(cat /tmp/server); i=0; while kill -0 $(cat /tmp/server) 2>/dev/null; "
                         "do i=$((i+1)); [ $i -lt 600 ] || exit 1; sleep 0.05; done" % signal_option, check=True)

    def server_log(self):
        return self.machine.run("cat /tmp/server.log")[1]

    def begin_adversaries(self, session):
        for mode in session.adversaries:
            self.machine.run("/t/adversary %s /mnt/heap >/dev/null 2>&1 & echo $! >>/tmp/adversaries"
                             % mode, check=True)

    def hold_adversaries(self, signal):
        """STOP or CONT."""
        self.machine.run("[ ! -e /tmp/adversaries ] || kill -%s $(cat /tmp/adversaries)" % signal,
                         check=True)

    def end_adversaries(self):
        self.machine.run("kill $(cat /tmp/adversaries); rm /tmp/adversaries; sleep 0.2; "
                         "rm -f /mnt/heap.full", check=True)

    # ---- images ----

    def look_in_guest(self, place, device):
        mapping = "dax=always" if device == "/dev/pmem0" else ""
        self.machine.mount(self.filesystem, place, mapping, device)
        _, output = self.machine.run(look_script(place, "/tmp", lambda name: "/t/" + name)
                                     + "; umount %s" % place, seconds=300)
        return output

    def look_at_copy(self, path):
        if self.on_host:
            with vm.mount_on_host(path, self.filesystem, path + ".mounted") as place:
                script = look_script(place, self.directory, self.programs.get)
                return run_script(script, 300)
        self.machine.insert(path)
        self.hold_adversaries("STOP")
        try:
            return self.look_in_guest("/look", "/dev/vda")
        finally:
            self.hold_adversaries("CONT")

    def judge_image(self, marks, now, look, path):
        """Hold an image against what was known. Returns what the writers found in it, if all is well."""
        begin = time.monotonic()
        violations = []
        states = {}
        output = look()
        if re.search(r"^status .*\b12[67]\b", output, re.MULTILINE):  # the shell couldn't run it
            raise vm.VmError("the image could not be judged: " + output[-500:])
        if "status 0 0 0" not in output.split("\n"):
            violations.append("check, open, check: " + "; ".join(
                line for line in output.split("\n")
                if not line.endswith(" ok") and not line.startswith(("clock ", "end ")))[:400])
        else:
            found, states = judge(marks, parse_contents(output, now))
            violations += found
        self.images += 1
        self.judge_s += time.monotonic() - begin
        if violations:
            self.violations.append(violations[0])
            folder = os.environ.get("FL_TEST_KEEP")
            if folder and path:
                vm.copy_sparse(path, os.path.join(folder, "%s-%d.img"
                                                  % (self.filesystem, self.images)))
        return states

    def take_image(self, clients):
        path = os.path.join(self.directory, "copy")
        with self.machine.paused():
            self.clock.pause()
            clients.drain()
            marks = [writer.mark() for writer in self.writers]
            now = self.clock.now()
            self.machine.copy_image(path)
            self.clock.resume()
        clients.settle()
        self.judge_image(marks, now, lambda: self.look_at_copy(path), path)
        os.unlink(path)

    # ---- sessions ----

    def after_cut(self, marks, session):
        """What the power cut before has left, judged; the writers go on from it."""
        if session.server_recovers:
            self.start_server(session)
            log = self.server_log()
            if "with recovery" not in log:
                self.violations.append("the server did not say that it recovered: " + log)
            self.stop_server()
        self.machine.run("umount /mnt", check=True)
        states = self.judge_image(marks, time.monotonic(),
                                  lambda: self.look_in_guest("/mnt", "/dev/pmem0"), self.left)
        self.machine.mount(self.filesystem, "/mnt")
        for writer in self.writers:
            if writer.name not in states:
                raise vm.VmError("can't go on after: " + self.violations[-1])
            writer.restart(states[writer.name])

    def work(self, session, clients):
        full = "fill" in session.adversaries or session.size_max < 1 << 40
        clients.may_be_full(full)
        if session.control == "clone":
            clients.only_small()
        self.begin_adversaries(session)
        for _ in range(session.images):
            clients.run(self.rng.uniform(0.1, 0.7))
            self.take_image(clients)
            if session.control and len(self.violations) >= CONTROL_LOSSES:
                break
        if session.adversaries:
            self.end_adversaries()

    def run_session(self, session, marks):
        """Returns what is known at the power cut at its end."""
        begin = time.monotonic()
        before = (self.images, self.judge_s, sum(writer.sent for writer in self.writers))
        self.boot(session)
        if marks is not None and not session.fresh:
            self.after_cut(marks, session)
            before = before[:2] + (sum(writer.sent for writer in self.writers),)
        elif session.fresh:
            before = before[:2] + (0,)
        self.start_server(session)
        clients = Clients(self.writers, self.machine.host_port, PASSWORD, self.rng, self.clock)
        try:
            self.work(session, clients)
            info = self.information()
            clients.run(self.rng.uniform(0.3, 1.0))
            if session.control:  # enough was seen
                self.stop_server("-9")
            else:
                self.machine.cut()
                clients.take_in_last()
        finally:
            clients.close()
        marks = [writer.mark() for writer in self.writers]
        steps = sum(writer.sent for writer in self.writers) - before[2]
        refused = sum(writer.failed for writer in self.writers)
        self.steps += steps
        print("  %-12s %5d KiB blocks %-12s %-7s %6d steps (%d found no space), %3d images (%.2f s each), "
              "%4d blocks changed, %4d freed, %2d violations, %3.0f s"
              % (self.filesystem, session.block_bytes // 1024, ",".join(session.adversaries) or "-",
                 session.control or ("fresh" if session.fresh else "goes on"), steps, refused,
                 self.images - before[0],
                 (self.judge_s - before[1]) / max(1, self.images - before[0]),
                 *[info.get(name, -1) for name in SHOWN],
                 len(self.violations), time.monotonic() - begin), flush=True)
        return marks

    def information(self):
        """The server's own counters, by its own protocol, from within the machine."""
        found = {}
        for seconds in (0.5, 2, 8):  # for a machine that is slow to answer
            _, text = self.machine.run(
                "(printf 'AUTH %s\\r\\nINFO faultline\\r\\n'; sleep %s) | nc 10.0.2.15 %d"
                % (PASSWORD.decode(), seconds, PORT), seconds=120)
            found = {name: int(value)
                     for name, value in re.findall(r"^(\w+):(\d+)\r?$", text, re.MULTILINE)}
            if all(name in found for name in SHOWN):
                break
        return found

    def judge_last(self, marks):
        """The power cut at the end of the last session. The machine goes on."""
        self.boot(Session())
        self.after_cut(marks, Session())


def print_sum(run):
    print("%s: %d crash images of %d steps, %d violations, %.0f s"
          % (run.filesystem, run.images, run.steps, len(run.violations),
             time.monotonic() - run.began), flush=True)
    for violation in run.violations[:5]:
        print("  VIOLATION: " + violation)


def run_filesystem(run, sessions, until):
    """Sessions until there are no more or the time is over. Returns whether all images were right."""
    marks = None
    try:
        for session in sessions:
            if session.fresh and marks is not None:
                run.judge_last(marks)
                marks = None
            if until and time.monotonic() > until:
                break
            marks = run.run_session(session, marks)
        if marks is not None:
            run.judge_last(marks)
    finally:
        print_sum(run)
    return not run.violations


def run_controls(run, sessions):
    """Each must lose something."""
    good = True
    for session in sessions:
        before = len(run.violations), run.images
        try:
            run.run_session(session, None)
        except (vm.VmError, ClientError) as error:
            if len(run.violations) == before[0]:
                raise
            print("  ended by: %s" % str(error).split("\n", maxsplit=1)[0])
            run.machine.cut()
        lost = len(run.violations) - before[0]
        print("%s, control %s: %d of %d crash images show a loss%s"
              % (run.filesystem, session.control, lost, run.images - before[1],
                 "" if lost else ": NONE, BUT IT MUST: the test can't see losses"), flush=True)
        for violation in run.violations[before[0]:before[0] + 2]:
            print("    " + violation[:240])
        good = good and lost > 0
    return good


def run_one(filesystem, programs, rng, hours):
    """Controls, then sessions; whether all is as it must be. hours 0: the gate's sessions."""
    with vm.workspace(seconds=int(hours * 3600) + 1180) as directory:
        machine = vm.Vm(directory, programs, guest_port=PORT, disk=True)
        try:
            run = Run(machine, programs, directory, filesystem, rng)
            print("%s: copies are mounted %s" % (filesystem, "here" if run.on_host else "in the machine"))
            good = run_controls(run, CONTROLS[filesystem])
            if filesystem == "xfs-reflink":
                return good
            run = Run(machine, programs, directory, filesystem, rng)
            if hours:
                until = time.monotonic() + hours * 3600
                return run_filesystem(run, nightly_sessions(rng), until) and good
            return run_filesystem(run, GATE, 0) and good
        finally:
            machine.cut()


def run_lines(filesystem, programs, plugin, shipped, rng):
    """Every session is on a new store: what opens an image in the machine does not show its flushes."""
    with vm.workspace(seconds=1180) as directory:
        machine = vm.Vm(directory, [shipped] + programs[1:], guest_port=PORT, disk=True,
                        cache_lines=plugin)
        try:
            run = Run(machine, programs, directory, filesystem, rng)
            good = run_controls(run, LINES_CONTROL)
            machine.cut()
            machine = vm.Vm(directory, programs, guest_port=PORT, disk=True, cache_lines=plugin)
            run = Run(machine, programs, directory, filesystem, rng)
            try:
                for session in LINES:
                    run.run_session(session, None)
            finally:
                print_sum(run)
            return good and not run.violations
        finally:
            machine.cut()


def main_lines(server, check, folder, plugin, marked, *filesystems):
    seed = int(os.environ.get("FL_TEST_SEED", random.randrange(1 << 32)))
    print("FL_TEST_SEED=%d" % seed)
    programs = [marked, check] + [os.path.join(folder, name) for name in ("contents", "adversary")]
    failed = sum(not run_lines(filesystem, programs, plugin, server,
                               random.Random("%d %s" % (seed, filesystem)))
                 for filesystem in filesystems or ("ext4", "xfs"))
    print("failed" if failed else "passed")
    return 1 if failed else 0


def main():
    arguments = sys.argv[1:]
    reason = vm.lacking()
    if reason:
        print("skipped: " + reason)
        return 77
    if arguments[:1] == ["--lines"]:
        reason = vm.lacking_for_lines()
        if reason:
            print("skipped: " + reason)
            return 77
        return main_lines(*arguments[1:])
    nightly = arguments[:1] == ["--nightly"]
    server, check, folder = arguments[nightly:nightly + 3]
    filesystems = arguments[nightly + 3:] or list(CONTROLS)
    seed = int(os.environ.get("FL_TEST_SEED", random.randrange(1 << 32)))
    hours = float(os.environ.get("FL_TEST_HOURS", "2")) / 2 if nightly else 0
    print("FL_TEST_SEED=%d" % seed)
    programs = [server, check] + [os.path.join(folder, name) for name in
                                  ("contents", "adversary", "libplain_mapping.so")]
    failed = sum(not run_one(filesystem, programs, random.Random("%d %s" % (seed, filesystem)), hours)
                 for filesystem in filesystems)
    print("failed" if failed else "passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

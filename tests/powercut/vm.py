"""A virtual machine with emulated persistent memory, for tests that need DAX or a power cut.

The machine is QEMU with an NVDIMM whose content is a file of the host, and what initramfs.py builds. A command line of
the guest is run through a serial port; killing QEMU is the power cut, and the file is what survived.

    with vm.workspace() as directory, vm.Vm(directory, programs=[path]) as machine:
        machine.make_namespace()
        machine.make_filesystem("ext4", "/mnt")
        status, output = machine.run("/t/program /mnt/file")
        with machine.paused():            # what a power cut at this moment would leave,
            machine.copy_image(copy)      # and the machine goes on afterwards
        machine.cut()                     # the power cut
        machine.start()                   # the next boot, from what survived
        machine.mount("ext4", "/mnt")     # the filesystem recovers

A copy is looked into without a boot: Vm(disk=True) has an ordinary disk besides, and insert() puts a copy into it
while the machine runs. mount_on_host() mounts one here, where this kernel has the filesystem and we
may mount.

Software emulation, so that it is the same on every machine; FL_VM_ACCEL=kvm is faster where nesting works.
What is asked of this file stays: contract tests and power cuts share it.
"""

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from initramfs import TOOLS, build_initramfs, find_kernel, which

QEMU = "qemu-system-x86_64"
PACKAGES = "qemu-system-x86 linux-image-cloud-amd64 busybox-static ndctl e2fsprogs xfsprogs"
NVDIMM_BYTES = 1 << 30
# make_namespace() keeps so much of the NVDIMM for itself; /dev/pmem0 begins behind it.
NAMESPACE_BYTES = 2 * 1024 * 1024
# XFS of fsdax needs 2 MiB stripes to place extents so that huge faults work.
MKFS = {
    "ext4": "mkfs.ext4 -q -F -b 4096 -m 0 -E stride=512,stripe_width=512 %s",
    "xfs": "mkfs.xfs -q -f -m reflink=0 -d su=2m,sw=1 %s",
    "xfs-reflink": "mkfs.xfs -q -f -m reflink=1 -d su=2m,sw=1 %s",
}


class VmError(Exception):
    """The machine did not do what any machine must."""


def _die_with_parent():
    """A test that is killed leaves no machine behind."""
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def lacking():
    """Why no machine can be started here, or None."""
    missing = [tool for tool in [QEMU, "busybox"] + TOOLS if which(tool) is None]
    if missing:
        return "%s not installed (packages: %s)" % (", ".join(missing), PACKAGES)
    if find_kernel() is None:
        return "no kernel image with its modules in /boot (package linux-image-cloud-amd64)"
    return None


def lacking_for_lines():
    """Why host/cache_lines.c can't be used here, or None: its declarations are those of one version."""
    version = subprocess.run([which(QEMU), "--version"], stdout=subprocess.PIPE, text=True,
                             check=True).stdout.split("\n", maxsplit=1)[0]
    return None if "version 7." in version else "%s: the plugin is written for version 7" % version


def _out_of_time(number, _):
    raise VmError("out of time" if number == signal.SIGALRM else "ended by a signal")


@contextlib.contextmanager
def workspace(seconds=0, room_bytes=4 << 30):
    """A directory for images, in memory if `room_bytes` are free there, gone afterwards whatever happens.

    seconds  then VmError is raised out of whatever the test is at: before ctest loses its patience and kills it,
             which would leave the directory behind. 0: no limit. Main thread only.
    """
    shm = "/dev/shm"
    free = shutil.disk_usage(shm).free if os.access(shm, os.W_OK) else 0
    before = [(number, signal.signal(number, _out_of_time))
              for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGHUP)]
    signal.alarm(seconds)
    try:
        with tempfile.TemporaryDirectory(prefix="fl-vm-",
                                         dir=shm if free >= room_bytes else None) as directory:
            yield directory
    finally:
        signal.alarm(0)
        for number, handler in before:
            signal.signal(number, handler)


def free_port():
    """A TCP port of 127.0.0.1 that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_sparse(path):
    with open(path, "wb") as image:
        image.truncate(NVDIMM_BYTES)


def copy_sparse(source, target):
    subprocess.run(["cp", "--sparse=always", source, target], check=True)


def mount_options(filesystem, options):
    """A copy has its original's UUID, which XFS takes only once unless it is told not to mind."""
    wanted = [options] if options else []
    if filesystem.startswith("xfs"):
        wanted.append("nouuid")
    return "-o " + ",".join(wanted) if wanted else ""


@contextlib.contextmanager
def mount_on_host(image, filesystem, mount_point):
    """Mount an image's /dev/pmem0 on this host. VmError: it has no such filesystem, or we may not."""
    kind = filesystem.split("-")[0]
    options = ["loop,offset=%d" % NAMESPACE_BYTES] + (["nouuid"] if kind == "xfs" else [])
    os.makedirs(mount_point, exist_ok=True)
    done = subprocess.run(["mount", "-t", kind, "-o", ",".join(options), image, mount_point],
                          stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise VmError("mount %s on the host: %s" % (filesystem, done.stderr.strip()))
    try:
        yield mount_point
    finally:
        # Again if a program that was killed is still about to let go of it.
        subprocess.run(["sh", "-c", 'umount "$0" || { sleep 2; umount "$0"; }', mount_point],
                       check=True)


def host_mounts(filesystem, directory):
    """Whether mount_on_host() works here for a key of MKFS: tried with an empty one."""
    image = os.path.join(directory, "try.img")
    make_sparse(image)
    script = "loop=$(losetup -f --show -o %d %s) && { %s; made=$?; losetup -d $loop; exit $made; }"
    try:
        subprocess.run(["sh", "-c", script % (NAMESPACE_BYTES, image, MKFS[filesystem] % "$loop")],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        with mount_on_host(image, filesystem, image + ".mounted"):
            return True
    except (OSError, VmError, subprocess.CalledProcessError):
        return False
    finally:
        os.unlink(image)


class Qmp:
    """QEMU's control socket."""

    def __init__(self, path, seconds):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(seconds)
        self._socket.connect(path)
        self._lines = self._socket.makefile("r", encoding="utf-8")
        self._lines.readline()
        self.execute("qmp_capabilities")

    def execute(self, command, **arguments):
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        for line in self._lines:
            answer = json.loads(line)
            if "error" in answer:
                raise VmError("%s: %s" % (command, answer["error"]["desc"]))
            if "return" in answer:
                return answer["return"]
        raise VmError(command + ": QEMU closed its control socket")

    def close(self):
        self._lines.close()
        self._socket.close()


class Vm:
    """One machine. Everything it makes is in `directory`, which the caller removes.

    programs        paths of the host; each is /t/<its name> in the guest
    image           the NVDIMM's content; made, sparse, if it is not there
    guest_port      a TCP port of the guest: `host_port` of 127.0.0.1, another one with each boot, leads to it;
                    0: no network
    boot_seconds    how long the guest may take to be ready
    disk            whether there is a disk, /dev/vda, for insert()
    cache_lines     host/cache_lines.c, built: copies and power cuts lose the lines that were not written back
    """

    def __init__(self, directory, programs=(), image=None, guest_port=0, boot_seconds=120,
                 memory_mib=1024, disk=False, cache_lines=None):
        self.directory = directory
        self.image = image or os.path.join(directory, "nvdimm.img")
        self.console = os.path.join(directory, "console.txt")
        self.qmp = None
        self._programs = list(programs)
        self.host_port = 0
        self._guest_port = guest_port
        self._boot_seconds = boot_seconds
        self._memory_mib = memory_mib
        self._disk = disk
        self._cache_lines = cache_lines
        self._media = os.path.join(directory, "media.img")
        self._inserted = 0
        self._process = None
        self._serial = None
        self._buffer = b""
        self._count = 0

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.cut()

    @property
    def running(self):
        """Whether it was started and not cut off since."""
        return self._process is not None

    def start(self):
        """Boot, for the first time or after cut()."""
        serial = os.path.join(self.directory, "serial")
        control = os.path.join(self.directory, "qmp")
        if not os.path.exists(self.image):
            make_sparse(self.image)
        for path in (serial, control):
            if os.path.exists(path):
                os.unlink(path)
        self._process = subprocess.Popen(self._command(serial, control), stdin=subprocess.DEVNULL,
                                         preexec_fn=_die_with_parent)
        self._buffer = b""
        deadline = time.monotonic() + self._boot_seconds
        while not (os.path.exists(serial) and os.path.exists(control)):
            self._check_alive(deadline)
            time.sleep(0.02)
        self.qmp = Qmp(control, self._boot_seconds)
        if self._cache_lines:
            self._tell_place()
            self.qmp.execute("cont")
        self._serial = socket.socket(socket.AF_UNIX)
        self._serial.connect(serial)
        self._read_until(rb"guest is ready\r?\n", deadline)

    def _tell_place(self):
        """For the plugin: where the NVDIMM's memory begins in QEMU's own count and in the machine's."""
        blocks = self.qmp.execute("human-monitor-command", **{"command-line": "info ramblock"})
        place = re.search(r"^\s*pm\s+\S+ \S+\s+(0x[0-9a-f]+)", blocks, re.MULTILINE)
        if place is None:
            raise VmError("QEMU has no memory called pm:\n" + blocks)
        nvdimm, = self.qmp.execute("query-memory-devices")
        with open(self._media + ".place", "w", encoding="ascii") as out:
            out.write("%d %d\n" % (int(place.group(1), 16), nvdimm["data"]["addr"]))

    def _command(self, serial, control):
        initramfs = os.path.join(self.directory, "initramfs.cpio")
        kernel = build_initramfs(initramfs, self._programs)
        network = ["-nic", "none"]
        disk = []
        if self._guest_port:
            self.host_port = free_port()
            network = ["-nic", "user,model=virtio-net-pci,restrict=on,hostfwd=tcp:127.0.0.1:%d-:%d"
                       % (self.host_port, self._guest_port)]
        if self._disk:
            nothing = os.path.join(self.directory, "nothing.img")
            make_sparse(nothing)
            self._inserted = 0
            disk = ["-blockdev", "driver=file,node-name=file0,filename=" + nothing,
                    "-blockdev", "driver=raw,node-name=disk,file=file0,offset=%d" % NAMESPACE_BYTES,
                    "-device", "virtio-blk-pci,drive=disk"]
        processors = ["-smp", "2"]
        if self._cache_lines:
            copy_sparse(self.image, self._media)
            processors = ["-smp", "1", "-S", "-plugin", "%s,image=%s,media=%s,place=%s.place"
                          % (self._cache_lines, self.image, self._media, self._media)]
        return [which(QEMU), "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
                "-machine", "pc,nvdimm=on", "-accel", os.environ.get("FL_VM_ACCEL", "tcg"),
                "-cpu", "max", "-m", "%d,slots=2,maxmem=8G" % self._memory_mib,
                "-object", "memory-backend-file,id=pm,share=on,mem-path=%s,size=%d"
                % (self.image, NVDIMM_BYTES),
                "-device", "nvdimm,id=nv,memdev=pm",
                "-kernel", kernel, "-initrd", initramfs,
                "-append", "console=ttyS0 quiet panic=-1" + (" nokaslr no5lvl" if self._cache_lines else ""),
                "-serial", "file:" + self.console,
                "-serial", "unix:%s,server=on,wait=off" % serial,
                "-qmp", "unix:%s,server=on,wait=off" % control] + processors + network + disk

    def _check_alive(self, deadline):
        if self._process.poll() is not None:
            raise VmError("QEMU ended with %d\n%s" % (self._process.returncode, self.log()))
        if time.monotonic() > deadline:
            raise VmError("the guest took too long\n%s\n%s"
                          % (self._buffer.decode(errors="replace"), self.log()))

    def _read_until(self, pattern, deadline):
        """What comes before a match of `pattern`, and the match."""
        while True:
            match = re.search(pattern, self._buffer)
            if match:
                before = self._buffer[:match.start()]
                self._buffer = self._buffer[match.end():]
                return before, match
            self._check_alive(deadline)
            self._serial.settimeout(min(1.0, max(0.01, deadline - time.monotonic())))
            try:
                received = self._serial.recv(65536)
            except socket.timeout:
                continue
            if not received:
                raise VmError("the guest's serial port was closed\n" + self.log())
            self._buffer += received

    def run(self, command, seconds=60, check=False):
        """Run one line of shell in the guest: (exit status, output). `check`: VmError unless it is 0.
        What is to go on running, `command &`, must write somewhere else than here."""
        self._send(command)
        status, text = self.finish(seconds)
        if check and status != 0:
            raise VmError("%s: exit status %d\n%s" % (command, status, text))
        return status, text

    def _send(self, command):
        if "\n" in command:
            raise ValueError("one line only")
        self._count += 1
        self._serial.settimeout(30)
        self._serial.sendall(b"%d %s\n" % (self._count, command.encode()))

    def begin(self, command):
        """Start a command whose end is not waited for now: finish() does, or a power cut comes first."""
        self._send(command)

    def finish(self, seconds=60):
        """Wait for the end of a command that was begun: (exit status, what of its output was not read yet)."""
        output, match = self._read_until(rb"(?:^|\r?\n)done %d (\d+)\r?\n" % self._count,
                                         time.monotonic() + seconds)
        return int(match.group(1)), output.decode(errors="replace").replace("\r\n", "\n")

    def read_line(self, seconds=60):
        """The next line of output of a command that was begun."""
        before, _ = self._read_until(rb"\r?\n", time.monotonic() + seconds)
        return before.decode(errors="replace")

    def lines_read(self):
        """Whole lines of a command that was begun that have arrived by now. Also while paused. That it has ended
        is left for finish()."""
        self._serial.settimeout(0.05)
        with contextlib.suppress(socket.timeout):
            while True:
                received = self._serial.recv(65536)
                if not received:
                    break
                self._buffer += received
        end = self._buffer.rfind(b"\n") + 1
        done = re.search(rb"^done %d " % self._count, self._buffer[:end], re.MULTILINE)
        end = done.start() if done else end
        whole, self._buffer = self._buffer[:end], self._buffer[end:]
        return whole.decode(errors="replace").replace("\r", "").split("\n")[:-1]

    def make_namespace(self):
        """Turn the NVDIMM into /dev/pmem0, a block device that DAX works on."""
        self.run("ndctl create-namespace -f -e namespace0.0 -m fsdax -M mem", check=True)
        self.run("while [ ! -e /dev/pmem0 ]; do sleep 0.05; done", check=True)
        if self._cache_lines:  # the kernel writes what describes it through a mapping that the plugin doesn't see
            with open(self.image, "rb") as image, open(self._media, "r+b") as media:
                media.write(image.read(NAMESPACE_BYTES))

    def make_filesystem(self, kind, mount_point, options="dax=always"):
        """A fresh filesystem (a key of MKFS) of /dev/pmem0, mounted. Options "" for one without DAX."""
        self.run("umount %s 2>/dev/null; true" % mount_point)
        self.run(MKFS[kind] % "/dev/pmem0", seconds=120, check=True)
        self.mount(kind, mount_point, options)

    def mount(self, kind, mount_point, options="dax=always", device="/dev/pmem0"):
        """Mount /dev/pmem0; the filesystem recovers if it was cut off."""
        if kind.startswith("xfs"):
            self.run("load xfs", check=True)
        self.run("mkdir -p %s && mount -t %s %s %s %s"
                 % (mount_point, kind.split("-")[0], mount_options(kind, options), device,
                    mount_point), seconds=120, check=True)

    @contextlib.contextmanager
    def paused(self):
        """Between two instructions of the guest; QEMU itself goes on, and hands over what the guest has sent."""
        self.qmp.execute("stop")
        try:
            yield
        finally:
            self.qmp.execute("cont")

    def copy_image(self, path):
        """What a power cut would leave. Meant for within paused(): else it is of no one moment."""
        copy_sparse(self._media if self._cache_lines else self.image, path)

    def insert(self, image):
        """Put a copy of the NVDIMM into the disk, where its /dev/pmem0 is /dev/vda. That may not be mounted now."""
        old = "file%d" % self._inserted
        self._inserted += 1
        new = "file%d" % self._inserted
        self.qmp.execute("blockdev-add", **{"driver": "file", "node-name": new, "filename": image})
        self.qmp.execute("blockdev-reopen", options=[
            {"driver": "raw", "node-name": "disk", "file": new, "offset": NAMESPACE_BYTES}])
        self.qmp.execute("blockdev-del", **{"node-name": old})

    def log(self):
        """The end of the kernel's console."""
        try:
            with open(self.console, encoding="utf-8", errors="replace") as console:
                return "console: " + "".join(console.readlines()[-30:])
        except OSError:
            return "console: nothing"

    def cut(self):
        """Cut the power. The image stays."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            if self._cache_lines:
                os.replace(self._media, self.image)
        for connection in (self._serial, self.qmp):
            if connection is not None:
                connection.close()
        self._serial = None
        self.qmp = None

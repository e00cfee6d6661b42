"""A virtual machine with emulated persistent memory, for tests that need DAX or a power cut.

The machine is QEMU with an NVDIMM whose content is a file of the host; it starts a Debian kernel with an
initramfs that is built here: busybox, ndctl, mkfs, and whatever programs of ours a test names, each with the
shared libraries it needs. A command line of the guest is run through a serial port; killing QEMU
is the power cut, and the file is what survived.

    with Vm(directory, programs=[path]) as vm:
        vm.run("mkfs.ext4 -q /dev/pmem0", check=True)
        status, output = vm.run("/t/program")
        vm.cut()

Software emulation, so that it is the same on every machine; FL_VM_ACCEL=kvm is faster where nesting works.
"""

import ctypes
import glob
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import time

QEMU = "qemu-system-x86_64"
TOOLS = ["ndctl", "mkfs.ext4", "mkfs.xfs"]
PACKAGES = "qemu-system-x86 linux-image-cloud-amd64 busybox-static ndctl e2fsprogs xfsprogs"
# In an order that insmod can take them in once their dependencies are put before them.
MODULES = ["nfit", "nd_pmem", "xfs", "virtio_pci", "virtio_net"]
SBIN = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NVDIMM_BYTES = 1 << 30
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


def _which(tool):
    return shutil.which(tool, path=SBIN)


def _kernel():
    """The newest Debian kernel whose modules are there: (image, module directory), or None."""
    found = []
    for image in glob.glob("/boot/vmlinuz-*-cloud-amd64") + glob.glob("/boot/vmlinuz-*-amd64"):
        modules = "/lib/modules/" + os.path.basename(image)[len("vmlinuz-"):]
        if os.path.exists(os.path.join(modules, "modules.dep")):
            found.append((os.path.getmtime(image), image, modules))
    return max(found)[1:] if found else None


def lacking():
    """Why no machine can be started here, or None."""
    missing = [tool for tool in [QEMU, "busybox"] + TOOLS if _which(tool) is None]
    if missing:
        return "%s not installed (packages: %s)" % (", ".join(missing), PACKAGES)
    if _kernel() is None:
        return "no kernel image with its modules in /boot (package linux-image-cloud-amd64)"
    return None


class Initramfs:
    """A cpio archive in the format that the kernel unpacks."""

    def __init__(self):
        self._members = {}

    def directory(self, path):
        path = path.strip("/")
        if path and path not in self._members:
            self.directory(os.path.dirname(path))
            self._members[path] = (stat.S_IFDIR | 0o755, b"")

    def file(self, path, content, mode=0o755):
        self.directory(os.path.dirname(path))
        self._members[path.strip("/")] = (stat.S_IFREG | mode, content)

    def copy(self, source, path):
        with open(source, "rb") as content:
            self.file(path, content.read())

    def link(self, path, target):
        self.directory(os.path.dirname(path))
        self._members[path.strip("/")] = (stat.S_IFLNK | 0o777, target.encode())

    def program(self, source, path):
        """A program and every shared library that its loader would load."""
        self.copy(source, path)
        listing = subprocess.run(["ldd", source], stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL, text=True, check=False).stdout
        for library in re.findall(r"(/\S+) \(0x", listing):
            self.copy(library, library)

    def write(self, path):
        with open(path, "wb") as out:
            members = list(self._members.items()) + [("TRAILER!!!", (0, b""))]
            for number, (name, (mode, content)) in enumerate(members, 1):
                encoded = name.encode() + b"\0"
                fields = [number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0]
                out.write(b"070701" + b"".join(b"%08X" % field for field in fields))
                out.write(encoded)
                out.write(b"\0" * (-out.tell() % 4))
                out.write(content)
                out.write(b"\0" * (-out.tell() % 4))


INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/sbin:/usr/sbin:/bin:/usr/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /dev/pts /mnt
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t devpts devpts /dev/pts
ulimit -c 0
for module in $(cat /modules); do insmod "$module" || echo "insmod $module failed"; done
ip link set lo up
if [ -e /sys/class/net/eth0 ]; then
    ip link set eth0 up
    ip addr add 10.0.2.15/24 dev eth0
fi
stty -F /dev/ttyS1 raw -echo
exec </dev/ttyS1 >/dev/ttyS1 2>&1
echo "guest is ready"
while IFS= read -r line; do
    ( eval "${line#* }" ) </dev/null
    status=$?
    echo
    echo "done ${line%% *} $status"
done
"""


def build_initramfs(path, programs):
    """`programs`: paths of the host; each is /t/<its name> in the guest."""
    image, modules = _kernel()
    archive = Initramfs()
    for directory in ["proc", "sys", "dev", "tmp", "mnt", "t", "bin", "run"]:
        archive.directory(directory)
    archive.copy(_which("busybox"), "/bin/busybox")
    archive.link("/bin/sh", "busybox")
    for tool in TOOLS:
        archive.program(_which(tool), "/usr/sbin/" + tool)
    archive.copy("/etc/mke2fs.conf", "/etc/mke2fs.conf")
    for program in programs:
        archive.program(program, "/t/" + os.path.basename(program))

    depends = {}
    with open(os.path.join(modules, "modules.dep"), encoding="utf-8") as listing:
        for line in listing:
            module, _, rest = line.partition(":")
            depends[module] = rest.split()
    names = {re.sub(r"\.ko.*", "", os.path.basename(module)): module for module in depends}
    order = []
    for name in MODULES:
        if name in names:  # else it is built in
            for module in reversed(depends[names[name]]):
                order.append(module)
            order.append(names[name])
    order = list(dict.fromkeys(order))
    for module in order:
        archive.copy(os.path.join(modules, module), "/lib/modules/" + os.path.basename(module))
    archive.file("/modules", "".join("/lib/modules/%s\n" % os.path.basename(module)
                                     for module in order).encode(), 0o644)
    archive.file("/init", INIT.encode())
    archive.write(path)
    return image


class Vm:
    """One machine. Everything it makes is in `directory`, which the caller removes.

    image           the NVDIMM's content; made, sparse, if it is not there
    host_port       a TCP port of 127.0.0.1 that is passed on to `guest_port`; 0: no network
    boot_seconds    how long the guest may take to be ready
    """

    def __init__(self, directory, programs=(), image=None, host_port=0, guest_port=6379,
                 boot_seconds=120, memory_mib=1024):
        self.directory = directory
        self.image = image or os.path.join(directory, "nvdimm.img")
        self.console = os.path.join(directory, "console.txt")
        self._programs = list(programs)
        self._host_port = host_port
        self._guest_port = guest_port
        self._boot_seconds = boot_seconds
        self._memory_mib = memory_mib
        self._process = None
        self._serial = None
        self._buffer = b""
        self._count = 0

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.cut()

    def start(self):
        """Boot, for the first time or after cut()."""
        initramfs = os.path.join(self.directory, "initramfs.cpio")
        serial = os.path.join(self.directory, "serial")
        kernel = build_initramfs(initramfs, self._programs)
        if not os.path.exists(self.image):
            with open(self.image, "wb") as image:
                image.truncate(NVDIMM_BYTES)
        if os.path.exists(serial):
            os.unlink(serial)
        network = ["-nic", "none"]
        if self._host_port:
            network = ["-nic", "user,model=virtio-net-pci,restrict=on,hostfwd=tcp:127.0.0.1:%d-:%d"
                       % (self._host_port, self._guest_port)]
        self._process = subprocess.Popen(
            [_which(QEMU), "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
             "-machine", "pc,nvdimm=on", "-accel", os.environ.get("FL_VM_ACCEL", "tcg"), "-cpu", "max",
             "-smp", "2", "-m", "%d,slots=2,maxmem=8G" % self._memory_mib,
             "-object", "memory-backend-file,id=pm,share=on,mem-path=%s,size=%d"
             % (self.image, NVDIMM_BYTES),
             "-device", "nvdimm,id=nv,memdev=pm",
             "-kernel", kernel, "-initrd", initramfs,
             "-append", "console=ttyS0 quiet panic=-1",
             "-serial", "file:" + self.console,
             "-serial", "unix:%s,server=on,wait=off" % serial] + network,
            stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent)
        self._buffer = b""
        deadline = time.monotonic() + self._boot_seconds
        while not os.path.exists(serial):
            self._check_alive(deadline)
            time.sleep(0.02)
        self._serial = socket.socket(socket.AF_UNIX)
        self._serial.connect(serial)
        self._read_until(rb"guest is ready\r?\n", deadline)

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
        """Run one line of shell in the guest: (exit status, output). `check`: VmError unless it is 0."""
        self._send(command)
        output, match = self._read_until(rb"\r?\ndone %d (\d+)\r?\n" % self._count,
                                         time.monotonic() + seconds)
        status = int(match.group(1))
        text = output.decode(errors="replace").replace("\r\n", "\n")
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
        """Start a command whose end is not waited for: a power cut will come first."""
        self._send(command)

    def read_line(self, seconds=60):
        """The next line of output of a command that was begun."""
        before, _ = self._read_until(rb"\r?\n", time.monotonic() + seconds)
        return before.decode(errors="replace")

    def make_namespace(self):
        """Turn the NVDIMM into /dev/pmem0, a block device that DAX works on."""
        self.run("ndctl create-namespace -f -e namespace0.0 -m fsdax -M mem", check=True)
        self.run("while [ ! -e /dev/pmem0 ]; do sleep 0.05; done", check=True)

    def make_filesystem(self, kind, mount_point, options="dax=always"):
        """A fresh filesystem (a key of MKFS) of /dev/pmem0, mounted. Options "" for one without DAX."""
        self.run("umount %s 2>/dev/null; true" % mount_point)
        self.run(MKFS[kind] % "/dev/pmem0", seconds=120, check=True)
        self.mount(kind, mount_point, options)

    def mount(self, kind, mount_point, options="dax=always"):
        """Mount /dev/pmem0; the filesystem recovers if it was cut off."""
        self.run("mkdir -p %s && mount -t %s %s /dev/pmem0 %s"
                 % (mount_point, kind.split("-")[0], "-o " + options if options else "",
                    mount_point), check=True)

    def log(self):
        """The end of the kernel's console."""
        try:
            with open(self.console, encoding="utf-8", errors="replace") as console:
                return "console: " + "".join(console.readlines()[-30:])
        except OSError:
            return "console: nothing"

    def cut(self):
        """Cut the power. The image stays."""
        if self._serial is not None:
            self._serial.close()
            self._serial = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

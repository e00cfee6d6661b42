"""What the virtual machine starts: a Debian kernel of this host and an initramfs that is built here.

The initramfs holds busybox, ndctl, mkfs, the kernel modules that persistent memory, disks and the network need, and
whatever programs of ours a test names, each with the shared libraries it needs. Its init runs what comes
in through the second serial port: one line of shell after the other.
"""

import glob
import os
import re
import shutil
import stat
import subprocess

TOOLS = ["ndctl", "mkfs.ext4", "mkfs.xfs"]
# In an order that insmod can take them in once their dependencies are put before them.
MODULES = ["nfit", "nd_pmem", "virtio_pci", "virtio_net", "virtio_blk"]
# Loaded by `load NAME` in the guest when it is first needed: that of XFS takes a fifth of the time of a boot.
LATER = ["xfs"]
SBIN = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def which(tool):
    return shutil.which(tool, path=SBIN)


def find_kernel():
    """The newest Debian kernel whose modules are there: (image, module directory), or None."""
    found = []
    for image in glob.glob("/boot/vmlinuz-*-cloud-amd64") + glob.glob("/boot/vmlinuz-*-amd64"):
        modules = "/lib/modules/" + os.path.basename(image)[len("vmlinuz-"):]
        if os.path.exists(os.path.join(modules, "modules.dep")):
            found.append((os.path.getmtime(image), image, modules))
    return max(found)[1:] if found else None


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
load boot
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

LOAD = """#!/bin/sh
# load NAME: the modules that /modules/NAME lists, in its order, unless that was done before
[ ! -e "/run/loaded.$1" ] || exit 0
for module in $(cat "/modules/$1"); do insmod "$module" || { echo "insmod $module failed"; exit 1; }; done
touch "/run/loaded.$1"
"""


def module_dependencies(modules):
    """Of each module file, those that it needs, the first that is needed last."""
    depends = {}
    with open(os.path.join(modules, "modules.dep"), encoding="utf-8") as listing:
        for line in listing:
            module, _, rest = line.partition(":")
            depends[module] = rest.split()
    return depends


def load_order(wanted, depends):
    """The files for the modules called so, each after what it needs. One that is built in has none."""
    names = {re.sub(r"\.ko.*", "", os.path.basename(module)): module for module in depends}
    files = [names[name] for name in wanted if name in names]
    return list(dict.fromkeys(file for module in files
                              for file in list(reversed(depends[module])) + [module]))


def build_initramfs(path, programs):
    """`programs`: paths of the host; each is /t/<its name> in the guest."""
    image, modules = find_kernel()
    archive = Initramfs()
    for directory in ["proc", "sys", "dev", "tmp", "mnt", "t", "bin", "run"]:
        archive.directory(directory)
    archive.copy(which("busybox"), "/bin/busybox")
    archive.link("/bin/sh", "busybox")
    for tool in TOOLS:
        archive.program(which(tool), "/usr/sbin/" + tool)
    archive.copy("/etc/mke2fs.conf", "/etc/mke2fs.conf")
    for program in programs:
        archive.program(program, "/t/" + os.path.basename(program))

    depends = module_dependencies(modules)
    there = []
    for name, wanted in [("boot", MODULES)] + [(name, [name]) for name in LATER]:
        order = [module for module in load_order(wanted, depends) if module not in there]
        there += order
        archive.file("/modules/" + name, "".join("/lib/modules/%s\n" % os.path.basename(module)
                                                 for module in order).encode(), 0o644)
    for module in there:
        archive.copy(os.path.join(modules, module), "/lib/modules/" + os.path.basename(module))
    archive.file("/sbin/load", LOAD.encode())
    archive.file("/init", INIT.encode())
    archive.write(path)
    return image

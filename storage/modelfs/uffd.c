#include "storage/modelfs/uffd.h"

#include "base/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than Debian 12's header. */
#ifndef UFFDIO_CONTINUE_MODE_WP
#define UFFDIO_CONTINUE_MODE_WP ((__u64)1 << 1)
#endif

static const uint64_t modes_all =
    UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP;

/* By the system call, which root may always use; by the device, which an administrator can give to users; last for
 * faults of this process's own instructions only. */
static int
open_any(unsigned *lacks)
{
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

    if (fd >= 0) {
        return fd;
    }
    if (errno == EPERM) {
        const int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
        if (device >= 0) {
            fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
            (void)close(device);
            if (fd >= 0) {
                return fd;
            }
        }
        fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
        if (fd >= 0) {
            *lacks |= UFFD_LACKS_KERNEL_ACCESS;
        }
    }
    return fd;
}

static fl_status
enable(int fd)
{
    /* EVENT_REMAP is what lets a registration move with mremap(). */
    const uint64_t features = UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_MISSING_SHMEM |
                              UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_PAGEFAULT_FLAG_WP |
                              UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
    struct uffdio_api api = {.api = UFFD_API, .features = features};

    if (ioctl(fd, UFFDIO_API, &api) != 0) {
        return FL_FAIL_ERRNO(FL_NOT_SUPPORTED,
                             "userfaultfd of this kernel can't write-protect shared "
                             "memory: Linux 5.19 or newer is needed");
    }
    return FL_OK;
}

/* A page of a file in memory is mapped protected, if the kernel can. */
static fl_status
try_out(int fd, unsigned *lacks)
{
    const int file = memfd_create("modelfs-try", MFD_CLOEXEC);
    void *page = MAP_FAILED;

    if (file < 0 || fallocate(file, 0, 0, UFFD_PAGE_BYTES) != 0 ||
        (page = mmap(NULL, UFFD_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)) ==
            MAP_FAILED) {
        const fl_status status = FL_FAIL_ERRNO(FL_NO_MEMORY, "map a page of a memory file");
        if (file >= 0) {
            (void)close(file);
        }
        return status;
    }
    (void)close(file);
    fl_status status = uffd_register(fd, (uintptr_t)page, UFFD_PAGE_BYTES);
    if (status == FL_OK) {
        struct uffdio_continue args = {.range = {(uintptr_t)page, UFFD_PAGE_BYTES},
                                       .mode =
                                           UFFDIO_CONTINUE_MODE_DONTWAKE | UFFDIO_CONTINUE_MODE_WP};
        if (ioctl(fd, UFFDIO_CONTINUE, &args) != 0) {
            *lacks |= UFFD_LACKS_CONTINUE_PROTECTED;
            status = uffd_map(fd, (uintptr_t)page, UFFD_PAGE_BYTES, false);
        }
    }
    (void)munmap(page, UFFD_PAGE_BYTES);
    return status;
}

fl_status
uffd_open(int *out, unsigned *lacks)
{
    *lacks = 0;
    const int fd = open_any(lacks);
    if (fd < 0) {
        return errno == EPERM ? FL_FAIL_ERRNO(FL_NOT_SUPPORTED,
                                              "userfaultfd is not permitted: run as root, or "
                                              "sysctl vm.unprivileged_userfaultfd=1")
                              : FL_FAIL_ERRNO(FL_NOT_SUPPORTED, "no userfaultfd on this kernel");
    }
    fl_status status = enable(fd);
    if (status == FL_OK) {
        status = try_out(fd, lacks);
    }
    if (status != FL_OK) {
        (void)close(fd);
        return status;
    }
    *out = fd;
    return FL_OK;
}

static fl_status
failed(const char *what, uintptr_t address, size_t len)
{
    switch (errno) {
    case EAGAIN:
        return FL_AGAIN;
    case ESRCH:
        return FL_CLOSED;
    case ENOENT:
        return FL_NOT_FOUND;
    default:
        return FL_FAIL_ERRNO(FL_IO, "%s %zu bytes at %#" PRIxPTR, what, len, address);
    }
}

fl_status
uffd_register(int fd, uintptr_t address, size_t len)
{
    struct uffdio_register args = {.range = {address, len}, .mode = modes_all};

    if (ioctl(fd, UFFDIO_REGISTER, &args) != 0) {
        return FL_FAIL_ERRNO(errno == ENOMEM ? FL_NO_MEMORY : FL_NOT_SUPPORTED,
                             "register %zu bytes with userfaultfd", len);
    }
    return FL_OK;
}

fl_status
uffd_map(int fd, uintptr_t address, size_t len, bool protected_)
{
    size_t done = 0;

    while (done < len) {
        struct uffdio_continue args = {.range = {address + done, len - done},
                                       .mode = UFFDIO_CONTINUE_MODE_DONTWAKE};
        if (protected_) {
            args.mode |= UFFDIO_CONTINUE_MODE_WP;
        }
        if (ioctl(fd, UFFDIO_CONTINUE, &args) == 0) {
            return FL_OK;
        }
        const int error = errno;
        if (args.mapped > 0) {
            done += (size_t)args.mapped;
        } else if (error == EEXIST) {
            done += UFFD_PAGE_BYTES;
        } else if (error == EFAULT) {
            return FL_INVALID;
        } else if (error != EINTR) {
            errno = error;
            return failed("map", address + done, len - done);
        }
    }
    return FL_OK;
}

fl_status
uffd_map_zeros(int fd, uintptr_t address, size_t len)
{
    static const uint8_t zeros[UFFD_ZEROS_BYTES_MAX];
    size_t done = 0;

    while (done < len) {
        struct uffdio_copy args = {.dst = address + done,
                                   .src = (uintptr_t)zeros,
                                   .len = len - done,
                                   .mode = UFFDIO_COPY_MODE_DONTWAKE | UFFDIO_COPY_MODE_WP};
        if (ioctl(fd, UFFDIO_COPY, &args) == 0) {
            return FL_OK;
        }
        const int error = errno;
        if (args.copy > 0) {
            done += (size_t)args.copy;
        } else if (error == EEXIST) {
            return FL_EXISTS;
        } else if (error == ENOMEM || error == ENOSPC) {
            return FL_NO_MEMORY;
        } else if (error != EINTR) {
            errno = error;
            return failed("map zeros over", address + done, len - done);
        }
    }
    return FL_OK;
}

fl_status
uffd_protect(int fd, uintptr_t address, size_t len, bool on)
{
    struct uffdio_writeprotect args = {.range = {address, len}};

    /* Lifting it with DONTWAKE is refused with EINVAL only together with MODE_WP. */
    args.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : UFFDIO_WRITEPROTECT_MODE_DONTWAKE;
    while (ioctl(fd, UFFDIO_WRITEPROTECT, &args) != 0) {
        if (errno != EINTR) {
            return failed("write-protect", address, len);
        }
    }
    return FL_OK;
}

void
uffd_wake(int fd, uintptr_t address, size_t len)
{
    struct uffdio_range args = {address, len};

    (void)ioctl(fd, UFFDIO_WAKE, &args); /* fails for who is dead only */
}

bool
uffd_next(int fd, struct uffd_event *out)
{
    struct uffd_msg message;

    if (read(fd, &message, sizeof(message)) != (ssize_t)sizeof(message)) {
        return false;
    }
    *out = (struct uffd_event){.kind = UFFD_OTHER};
    if (message.event == UFFD_EVENT_PAGEFAULT) {
        const uint64_t flags = message.arg.pagefault.flags;
        out->kind = UFFD_FAULT;
        out->present = (flags & UFFD_PAGEFAULT_FLAG_WP) != 0;
        out->write = out->present || (flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0;
        out->address = (uintptr_t)message.arg.pagefault.address & ~(uintptr_t)(UFFD_PAGE_BYTES - 1);
    } else if (message.event == UFFD_EVENT_REMAP) {
        out->kind = UFFD_MOVED;
        out->address = (uintptr_t)message.arg.remap.from;
        out->to = (uintptr_t)message.arg.remap.to;
        out->len = (size_t)message.arg.remap.len;
    }
    return true;
}

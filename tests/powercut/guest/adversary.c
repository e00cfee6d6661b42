/* What goes on beside a program whose power will be cut, so that the filesystem's journal is never at rest.
 *
 *   adversary MODE HEAP
 *     fsync   fsync of the heap, again and again
 *     read    a second, plain mapping of the heap: every page is read
 *     touch   a second, plain mapping: pages are faulted in for writing, ahead of who writes them
 *     copy    the heap is copied by read and write, the copy is removed
 *     names   files beside it: created, extended, truncated, punched, renamed over each other, unlinked
 *     rename  the heap itself changes its name to HEAP.2 and back, while it is open
 *     fill    the disk is filled until nothing is left, then emptied
 *     clone   the heap is cloned (reflink), again and again
 *
 * Until it is killed. What it can't do now (no space, no file yet) it tries again later.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PAGE = 4096,
    MIB = 1024 * 1024,
    PATH_BYTES_MAX = 300,
    STALL_US = 30 * 1000,
    STALL_LOOKS_MAX = 200
};

static void
sync_heap(const char *heap)
{
    const int fd = open(heap, O_RDWR | O_CLOEXEC);

    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
}

static void
map_plain(const char *heap, bool touch)
{
    const int fd = open(heap, O_RDWR | O_CLOEXEC);
    struct stat seen;

    if (fd < 0 || fstat(fd, &seen) != 0 || seen.st_size == 0) {
        (void)usleep(1000);
        return;
    }
    const size_t bytes = (size_t)seen.st_size;
    uint8_t *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    (void)close(fd);
    if (base == MAP_FAILED) {
        return;
    }
    for (size_t off = 0; off < bytes; off += PAGE) {
        _Atomic uint64_t *word = (_Atomic uint64_t *)(void *)(base + off);

        if (touch) {
            (void)atomic_fetch_or(word, 0); /* a write fault that changes nothing */
        } else {
            (void)atomic_load(word);
        }
    }
    (void)munmap(base, bytes);
}

static void
copy_heap(const char *heap)
{
    static uint8_t buffer[MIB];
    char path[PATH_BYTES_MAX];
    ssize_t len;

    (void)snprintf(path, sizeof(path), "%s.copy", heap);
    const int from = open(heap, O_RDONLY | O_CLOEXEC);
    const int to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    while (from >= 0 && to >= 0 && (len = read(from, buffer, sizeof(buffer))) > 0) {
        if (write(to, buffer, (size_t)len) != len) {
            break;
        }
    }
    (void)close(from);
    (void)close(to);
    (void)unlink(path);
}

static void
change_names(const char *heap, unsigned turn)
{
    static const uint8_t bytes[8 * PAGE] = {1};
    char path[PATH_BYTES_MAX];
    char other[PATH_BYTES_MAX];

    (void)snprintf(path, sizeof(path), "%s.%u", heap, turn % 8 + 10);
    (void)snprintf(other, sizeof(other), "%s.%u", heap, (turn + 3) % 8 + 10);
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd < 0) {
        return;
    }
    (void)!write(fd, bytes, sizeof(bytes));
    (void)!ftruncate(fd, PAGE + 17);
    (void)!ftruncate(fd, 64 * PAGE);
    (void)!pwrite(fd, bytes, sizeof(bytes), 32 * PAGE);
    (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 34 * PAGE, 4 * PAGE);
    (void)close(fd);
    (void)rename(path, other);
    if (turn % 3 == 0) {
        (void)unlink(other);
    }
}

static void
rename_heap(const char *heap)
{
    char other[PATH_BYTES_MAX];
    struct stat seen;

    (void)snprintf(other, sizeof(other), "%s.2", heap);
    /* Not while it is being opened: who opens a file by its name and finds the name gone makes another. */
    if (stat(heap, &seen) == 0 && seen.st_size > 0 && rename(heap, other) == 0) {
        (void)usleep(500);
        (void)renameat2(AT_FDCWD, other, AT_FDCWD, heap, RENAME_NOREPLACE);
    }
    (void)usleep(500);
}

/* Until the heap doesn't grow any more: its owner waits for space, or needs none. On XFS it may have some left of the
 * stripe that it was given last. */
static void
await_stall(const char *heap)
{
    struct stat seen = {0};
    off_t len;
    unsigned looks = 0;

    do {
        len = seen.st_size;
        (void)usleep(STALL_US);
    } while (stat(heap, &seen) == 0 && seen.st_size != len && looks++ < STALL_LOOKS_MAX);
}

static void
fill_disk(const char *heap)
{
    static const uint8_t bytes[MIB] = {1};
    char path[PATH_BYTES_MAX];
    size_t piece = sizeof(bytes);

    (void)snprintf(path, sizeof(path), "%s.full", heap);
    const int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    if (fd < 0) {
        return;
    }
    /* Most of it at once, then to the last page. */
    for (off_t len = (off_t)512 * MIB; len >= MIB; len /= 2) {
        struct stat seen;

        (void)!(fstat(fd, &seen) == 0 && fallocate(fd, 0, seen.st_size, len) == 0);
    }
    while (piece >= PAGE) {
        if (write(fd, bytes, piece) <= 0) {
            piece /= 2;
        }
    }
    /* XFS rounds what a write at the end needs up to a stripe, and refuses it though some hundred blocks are left. */
    struct stat filled = {0};

    (void)fstat(fd, &filled);
    while (fallocate(fd, 0, filled.st_size, PAGE) == 0) {
        filled.st_size += PAGE;
    }
    await_stall(heap);
    (void)unlink(path);
    (void)close(fd);
    (void)usleep(150 * 1000);
}

static void
clone_heap(const char *heap)
{
    char path[PATH_BYTES_MAX];

    (void)snprintf(path, sizeof(path), "%s.clone", heap);
    const int from = open(heap, O_RDONLY | O_CLOEXEC);
    const int to = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (from >= 0 && to >= 0) {
        (void)ioctl(to, FICLONE, from); /* no fsync: that would make everything durable */
    }
    (void)close(from);
    (void)close(to);
    (void)usleep(300 * 1000);
}

static bool
act(const char *mode, const char *heap, unsigned turn)
{
    if (strcmp(mode, "fsync") == 0) {
        sync_heap(heap);
    } else if (strcmp(mode, "read") == 0 || strcmp(mode, "touch") == 0) {
        map_plain(heap, mode[0] == 't');
    } else if (strcmp(mode, "copy") == 0) {
        copy_heap(heap);
    } else if (strcmp(mode, "names") == 0) {
        change_names(heap, turn);
    } else if (strcmp(mode, "rename") == 0) {
        rename_heap(heap);
    } else if (strcmp(mode, "fill") == 0) {
        fill_disk(heap);
    } else if (strcmp(mode, "clone") == 0) {
        clone_heap(heap);
    } else {
        return false;
    }
    return true;
}

int
main(int argc, char **argv)
{
    unsigned turn = 0;

    if (argc != 3) {
        (void)fprintf(stderr, "usage: see the head of adversary.c\n");
        return 2;
    }
    while (act(argv[1], argv[2], turn)) {
        turn++;
    }
    (void)fprintf(stderr, "no mode is called %s\n", argv[1]);
    return 2;
}

/* What runs in the virtual machine when its power is cut: the loss that the no-sync mapping was invented against.
 * Block 0 is durable and holds links. Again and again: the file grows by a block, the block is written and flushed,
 * then linked from block 0; the link is flushed and acknowledged. A link that leads to no block is the loss.
 *
 *   lost_block run KIND START PATH BLOCK COUNT [fork|fill]
 *              Prints the number of each block once its link is durable, at the end "faults N waits N": page
 *              faults taken, times that a link had to wait because the disk was full.
 *     KIND     dax, page  through the store's own mapping, BLOCK bytes faulted in at a time
 *              sync       through a bare MAP_SYNC mapping
 *              plain      through an ordinary shared mapping, with the same flushes and fences
 *              write      blocks by write(2), links through a MAP_SYNC page that is writable already
 *              clone      as sync, over blocks that are durable, after the file was cloned
 *     START    hole or unwritten: what stands where blocks will be (not for dax and page)
 *     fork     children come and go meanwhile
 *     fill     somebody fills the disk now and then: go on behind COUNT until a link had to wait for that
 *   lost_block check PATH BLOCK
 *              Prints what the links in block 0 lead to: "links" and runs such as 1-80:whole 81-83:hole.
 */
#include "storage/nosync/nosync.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    PAGE = 4096,
    WORDS = PAGE / 8,
    LINKS_MAX = 4096,
    HEAD_BYTES = 2 * 1024 * 1024,
    FILL_MORE = 3000
};

enum kind { DAX, PAGE_KIND, SYNC, PLAIN, WRITE, CLONE, KINDS };

static const char *const kind_names[KINDS] = {"dax", "page", "sync", "plain", "write", "clone"};

struct run {
    enum kind kind;
    bool unwritten;
    bool forks;
    const char *path;
    uint64_t block; /* bytes */
    uint64_t count;
    uint64_t count_max;     /* so many if none had to wait before */
    uint64_t waits;         /* times that the disk was full */
    struct nosync_map *map; /* dax and page */
    int fd;                 /* the others */
    struct pm_media media;  /* theirs */
    struct pm pm;
};

static void
stop(const char *what)
{
    (void)fprintf(stderr, "%s: %s, %s\n", what, strerror(errno), fl_last_error());
    exit(1);
}

/* Block 0 is HEAD_BYTES long, so that the others are aligned to their size. */
static uint64_t
block_off(uint64_t number, uint64_t block)
{
    return HEAD_BYTES + (number - 1) * block;
}

static void
fill_page(uint64_t words[WORDS], uint64_t number, uint64_t generation)
{
    for (uint64_t word = 0; word < WORDS; word++) {
        words[word] = (number * 2 + generation) * UINT64_C(0x9e3779b97f4a7c15) ^ (word << 48);
    }
}

static void
write_page(struct run *run, uint64_t off, const uint64_t words[WORDS])
{
    if (run->kind == WRITE) {
        if (pwrite(run->fd, words, PAGE, (off_t)off) != PAGE) {
            stop("pwrite");
        }
        return;
    }
    pm_write_nofence(&run->pm, off, words, PAGE);
}

/* The first page of a block and its last: a block mapped as a whole takes one fault, else it takes two. */
static void
write_block(struct run *run, uint64_t number)
{
    const uint64_t off = block_off(number, run->block);
    uint64_t words[WORDS];

    fill_page(words, number, 0);
    write_page(run, off, words);
    if (run->block > PAGE) {
        write_page(run, off + run->block - PAGE, words);
    }
}

static void
drain(struct run *run)
{
    if (pm_drain(&run->pm) != FL_OK) {
        stop("drain");
    }
}

static void
fork_one(void)
{
    const pid_t child = fork();

    if (child == 0) {
        (void)usleep(2000);
        _exit(0);
    }
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}

/* Make the blocks of a range, as often as somebody has filled the disk up, until that one empties it again. */
static void
fault_in(struct run *run, uint64_t off, uint64_t len)
{
    fl_status status;

    while ((status = nosync_fault_in(run->map, off, len)) == FL_NO_SPACE) {
        run->waits++;
        (void)usleep(5000);
    }
    if (status != FL_OK) {
        stop("fault_in");
    }
}

static void
make_room(struct run *run, uint64_t number)
{
    if (run->map != NULL) { /* else the store itself faults the block in */
        fault_in(run, block_off(number, run->block), run->block);
    }
}

static void
link_blocks(struct run *run)
{
    struct rusage before;
    struct rusage after;

    (void)getrusage(RUSAGE_SELF, &before);
    for (uint64_t number = 1; number <= run->count || (number <= run->count_max && run->waits == 0);
         number++) {
        if (run->forks && number % 16 == 0) {
            fork_one();
        }
        make_room(run, number);
        write_block(run, number);
        /* order: the block before the link to it. */
        drain(run);
        pm_store_u64_nofence(&run->pm, number * 8, number);
        /* order: the link before its acknowledgement. */
        drain(run);
        (void)printf("%" PRIu64 "\n", number);
        (void)fflush(stdout);
    }
    (void)getrusage(RUSAGE_SELF, &after);
    (void)printf("faults %ld waits %" PRIu64 "\n",
                 after.ru_minflt + after.ru_majflt - before.ru_minflt - before.ru_majflt,
                 run->waits);
}

static void
open_store_mapping(struct run *run)
{
    const struct nosync_request request = {
        .path = run->path,
        .mapping = run->kind == DAX ? FL_MAPPING_DAX : FL_MAPPING_PAGE,
        .durability_min = FL_DURABILITY_POWERCUT,
        .create = true,
        .size_bytes_max = block_off(run->count_max + 1, run->block),
        .map_align = HEAD_BYTES,
    };

    fl_status status;

    while ((status = nosync_open(&request, &run->map)) == FL_NO_SPACE) {
        (void)usleep(5000);
    }
    if (status != FL_OK) {
        stop(run->path);
    }
    fault_in(run, 0, HEAD_BYTES);
    run->waits = 0; /* those count that a link had to wait for */
    pm_init(&run->pm, &run->map->media);
}

/* For clone: every block is there and durable, with what it held before. */
static void
write_old_blocks(const struct run *run)
{
    uint64_t words[WORDS];

    for (uint64_t number = 1; number <= run->count; number++) {
        fill_page(words, number, 1);
        for (uint64_t off = 0; off < run->block; off += PAGE) {
            if (pwrite(run->fd, words, PAGE, (off_t)(block_off(number, run->block) + off)) !=
                PAGE) {
                stop("pwrite");
            }
        }
    }
}

static void
clone_file(const struct run *run)
{
    char path[256];

    (void)snprintf(path, sizeof(path), "%s.clone", run->path);
    const int clone = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (clone < 0 || ioctl(clone, FICLONE, run->fd) != 0 || fsync(clone) != 0) {
        stop("clone");
    }
    (void)close(clone);
}

/* A file whose block 0 is written and durable, mapped. */
static void
open_bare_mapping(struct run *run)
{
    const uint64_t end = block_off(run->count + 1, run->block);
    const int flags = run->kind == PLAIN ? MAP_SHARED : MAP_SHARED_VALIDATE | MAP_SYNC;
    char directory[256];

    run->fd = open(run->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (run->fd < 0 || ftruncate(run->fd, (off_t)end) != 0 ||
        (run->unwritten && fallocate(run->fd, 0, HEAD_BYTES, (off_t)(end - HEAD_BYTES)) != 0)) {
        stop(run->path);
    }
    /* An address that isn't congruent to the offset, or the kernel would map small blocks 2 MiB at a time. */
    uint8_t *room = mmap(NULL, end + 2 * HEAD_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t *base =
        room + (HEAD_BYTES - (uintptr_t)room % HEAD_BYTES) + (run->block < HEAD_BYTES ? PAGE : 0);

    if (room == MAP_FAILED ||
        mmap(base, end, PROT_READ | PROT_WRITE, flags | MAP_FIXED, run->fd, 0) == MAP_FAILED) {
        stop("map");
    }
    memset(base, 0, LINKS_MAX * 8);
    if (run->kind == CLONE) {
        write_old_blocks(run);
    }
    (void)snprintf(directory, sizeof(directory), "%s", run->path);
    *strrchr(directory, '/') = '\0';
    const int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fsync(run->fd) != 0 || fsync(fd) != 0) {
        stop("fsync");
    }
    (void)close(fd);
    if (run->kind == CLONE) {
        clone_file(run);
    }
    memset(base, 0, LINKS_MAX * 8); /* writable again: the fsync has write-protected it */
    run->media = (struct pm_media){
        .base = base, .base_store = base, .size_bytes_max = end, .mode = PM_DIRECT};
    pm_init(&run->pm, &run->media);
}

/* 'w' whole, 'h' hole, 's' something else, '-' no link. */
static char
look_at(int fd, uint64_t number, uint64_t link, uint64_t block)
{
    static const uint64_t zeros[WORDS];
    const uint64_t offs[2] = {block_off(number, block), block_off(number + 1, block) - PAGE};
    uint64_t wanted[WORDS];
    uint64_t found[WORDS];
    char state = 'w';

    if (link == 0) {
        return '-';
    }
    fill_page(wanted, number, 0);
    for (size_t i = 0; i < 2; i++) {
        memset(found, 0, sizeof(found));
        (void)!pread(fd, found, PAGE, (off_t)offs[i]);
        if (memcmp(found, wanted, PAGE) != 0) {
            state = memcmp(found, zeros, PAGE) == 0 && state != 's' ? 'h' : 's';
        }
    }
    return link == number ? state : 's';
}

static const char *
state_name(char state)
{
    return state == 'w' ? "whole" : state == 'h' ? "hole" : state == 's' ? "stale" : "unlinked";
}

static int
check(const char *path, uint64_t block)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t links[LINKS_MAX];
    uint64_t first = 1;
    uint64_t last = 0;

    if (fd < 0 || pread(fd, links, sizeof(links), 0) != sizeof(links)) {
        stop(path);
    }
    for (uint64_t number = 1; number < LINKS_MAX; number++) {
        last = links[number] != 0 ? number : last;
    }
    (void)printf("links");
    while (first <= last) {
        const char state = look_at(fd, first, links[first], block);
        uint64_t next = first + 1;

        while (next <= last && look_at(fd, next, links[next], block) == state) {
            next++;
        }
        (void)printf(" %" PRIu64 "-%" PRIu64 ":%s", first, next - 1, state_name(state));
        first = next;
    }
    (void)printf("\n");
    return 0;
}

int
main(int argc, char **argv)
{
    struct run run = {.kind = KINDS};

    if (argc == 4 && strcmp(argv[1], "check") == 0) {
        return check(argv[2], strtoull(argv[3], NULL, 10));
    }
    for (int kind = 0; argc >= 7 && kind < KINDS; kind++) {
        if (strcmp(argv[2], kind_names[kind]) == 0) {
            run.kind = (enum kind)kind;
        }
    }
    if (run.kind == KINDS || strcmp(argv[1], "run") != 0) {
        (void)fprintf(stderr, "usage: see the head of lost_block.c\n");
        return 2;
    }
    run.unwritten = strcmp(argv[3], "unwritten") == 0;
    run.path = argv[4];
    run.block = strtoull(argv[5], NULL, 10);
    run.count = strtoull(argv[6], NULL, 10);
    run.forks = argc == 8 && strcmp(argv[7], "fork") == 0;
    run.count_max = argc == 8 && strcmp(argv[7], "fill") == 0 ? run.count + FILL_MORE : run.count;
    if (run.count_max >= LINKS_MAX) {
        stop("COUNT is too large");
    }
    if (run.kind <= PAGE_KIND) {
        open_store_mapping(&run);
    } else {
        open_bare_mapping(&run);
    }
    link_blocks(&run);
    nosync_close(run.map);
    return 0;
}

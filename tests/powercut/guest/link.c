/* What runs in the virtual machine when its power is cut: pages are linked one behind the other, each link an
 * acknowledgement that the page behind it is there.
 *
 *   link run KIND PATH BLOCK   KIND dax or page: through the mapping, BLOCK bytes faulted in at a time.
 *                              KIND plain: through an ordinary shared mapping with the same flushes and
 *                              fences, which is what the no-sync mapping exists to replace.
 *                              Prints the number of each page once its link is durable.
 *   link check PATH            Prints "pages P links L dangling D": P pages from the first on by following
 *                              the links; of L links found in whole pages D lead to no whole page.
 */
#include "storage/nosync/nosync.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096, WORDS = PAGE / 8, PAGES_MAX = 16384 };

/* A page: its number and its link in the first line, then words that follow from the number. */
static uint64_t
pattern(uint64_t page, uint64_t word)
{
    return (page + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ (word << 48);
}

static bool
is_whole(const uint64_t *words, uint64_t page)
{
    if (words[0] != pattern(page, 0)) {
        return false;
    }
    for (uint64_t word = 8; word < WORDS; word++) {
        if (words[word] != pattern(page, word)) {
            return false;
        }
    }
    return true;
}

static void
stop(const char *what)
{
    (void)fprintf(stderr, "%s: %s\n", what, fl_last_error());
    exit(1);
}

static void
append(struct pm *pm, uint64_t page)
{
    uint64_t words[WORDS] = {0};

    words[0] = pattern(page, 0);
    for (uint64_t word = 8; word < WORDS; word++) {
        words[word] = pattern(page, word);
    }
    pm_write_nofence(pm, page * PAGE, words, sizeof(words));
    /* order: the page before the link to it. */
    if (pm_drain(pm) != FL_OK) {
        stop("drain");
    }
    if (page > 0) {
        pm_store_u64_nofence(pm, (page - 1) * PAGE + 8, page);
        /* order: the link before its acknowledgement. */
        if (pm_drain(pm) != FL_OK) {
            stop("drain");
        }
    }
    (void)printf("%" PRIu64 "\n", page);
    (void)fflush(stdout);
}

static int
run_mapping(enum fl_mapping mapping, const char *path, uint64_t block)
{
    const struct nosync_request request = {
        .path = path,
        .mapping = mapping,
        .durability_min = FL_DURABILITY_POWERCUT,
        .create = true,
        .size_bytes_max = (uint64_t)PAGES_MAX * PAGE,
        .map_align = 2 * 1024 * 1024,
    };
    struct nosync_map *map;
    struct pm pm;

    if (nosync_open(&request, &map) != FL_OK) {
        stop("open");
    }
    pm_init(&pm, &map->media);
    for (uint64_t page = 0; page < PAGES_MAX; page++) {
        if (page * PAGE % block == 0 && nosync_fault_in(map, page * PAGE, block) != FL_OK) {
            stop("fault_in");
        }
        append(&pm, page);
    }
    nosync_close(map);
    return 0;
}

static int
run_plain(const char *path)
{
    const size_t bytes = (size_t)PAGES_MAX * PAGE;
    const int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0 || fsync(fd) != 0) {
        stop(path);
    }
    uint8_t *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    const int directory = open("/mnt", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const struct pm_media media = {
        .base = base, .base_store = base, .size_bytes_max = bytes, .mode = PM_DIRECT};
    struct pm pm;

    if (base == MAP_FAILED || fsync(directory) != 0) {
        stop("map");
    }
    pm_init(&pm, &media);
    for (uint64_t page = 0; page < PAGES_MAX; page++) {
        append(&pm, page); /* the store itself faults the page in */
    }
    return 0;
}

static int
check(const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t *links = calloc(PAGES_MAX, sizeof(*links));
    bool *whole = calloc(PAGES_MAX, sizeof(*whole));
    uint64_t words[WORDS];
    uint64_t count = 0;
    uint64_t dangling = 0;
    uint64_t chain = 0;

    if (fd < 0 || links == NULL || whole == NULL) {
        stop(path);
    }
    for (uint64_t page = 0; page < PAGES_MAX; page++) {
        if (pread(fd, words, sizeof(words), (off_t)(page * PAGE)) != sizeof(words)) {
            break;
        }
        whole[page] = is_whole(words, page);
        links[page] = words[1];
    }
    for (uint64_t page = 0; page < PAGES_MAX; page++) {
        if (whole[page] && links[page] != 0) {
            count++;
            dangling += links[page] != page + 1 || page + 1 >= PAGES_MAX || !whole[page + 1];
        }
    }
    while (chain < PAGES_MAX && whole[chain] && (chain == 0 || links[chain - 1] == chain)) {
        chain++;
    }
    (void)printf("pages %" PRIu64 " links %" PRIu64 " dangling %" PRIu64 "\n", chain, count,
                 dangling);
    return 0;
}

int
main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "check") == 0) {
        return check(argv[2]);
    }
    if (argc == 5 && strcmp(argv[1], "run") == 0) {
        if (strcmp(argv[2], "plain") == 0) {
            return run_plain(argv[3]);
        }
        return run_mapping(strcmp(argv[2], "dax") == 0 ? FL_MAPPING_DAX : FL_MAPPING_PAGE, argv[3],
                           strtoull(argv[4], NULL, 10));
    }
    (void)fprintf(stderr, "usage: see the head of link.c\n");
    return 2;
}

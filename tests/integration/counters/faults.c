#include "tests/integration/counters/faults.h"

#include "tests/lib/die.h"

#include <inttypes.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    RING_PAGES = 256, /* a power of two; one more for the head */
    ADDRESSES_MAX = 4 << 20,
    LINE_BYTES = 1024,
    RECORD_BYTES = 64,
};

struct sample {
    struct perf_event_header header;
    uint64_t address;
};

static size_t
page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

bool
faults_open(struct faults *faults, pid_t tid)
{
    struct perf_event_attr attr = {
        .type = PERF_TYPE_SOFTWARE,
        .size = sizeof(attr),
        .config = PERF_COUNT_SW_PAGE_FAULTS,
        .sample_period = 1,
        .sample_type = PERF_SAMPLE_ADDR,
    };

    memset(faults, 0, sizeof(*faults));
    faults->fd = (int)syscall(SYS_perf_event_open, &attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
    if (faults->fd < 0) {
        attr.exclude_kernel =
            1; /* what perf_event_paranoid 2 allows; stores to the heap are in user space */
        faults->fd = (int)syscall(SYS_perf_event_open, &attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
    }
    if (faults->fd < 0) {
        return false;
    }
    faults->ring = mmap(NULL, (RING_PAGES + 1) * page_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED,
                        faults->fd, 0);
    if (faults->ring == MAP_FAILED) {
        close(faults->fd);
        return false;
    }
    faults->addresses = malloc(ADDRESSES_MAX * sizeof(uint64_t));
    if (faults->addresses == NULL) {
        die("out of memory");
    }
    return true;
}

void
faults_close(struct faults *faults)
{
    munmap(faults->ring, (RING_PAGES + 1) * page_bytes());
    close(faults->fd);
    free(faults->addresses);
}

static void
take_record(struct faults *faults, const struct perf_event_header *header)
{
    if (header->type == PERF_RECORD_SAMPLE) {
        if (faults->count < ADDRESSES_MAX) {
            faults->addresses[faults->count++] =
                ((const struct sample *)(const void *)header)->address;
        } else {
            faults->lost++;
        }
    } else if (header->type == PERF_RECORD_LOST) {
        const uint64_t *words = (const uint64_t *)(const void *)(header + 1);

        faults->lost += words[1]; /* id, then how many */
    }
}

void
faults_take(struct faults *faults)
{
    struct perf_event_mmap_page *head = faults->ring;
    const char *data = (const char *)faults->ring + page_bytes();
    const uint64_t size = RING_PAGES * page_bytes();
    const uint64_t end = __atomic_load_n(&head->data_head, __ATOMIC_ACQUIRE);
    uint64_t at = head->data_tail;

    while (at < end) {
        union {
            struct perf_event_header header;
            char bytes[RECORD_BYTES];
        } record;
        struct perf_event_header header;

        for (size_t i = 0; i < sizeof(header); i++) {
            ((char *)&header)[i] = data[(at + i) % size];
        }
        for (size_t i = 0; i < sizeof(record) && i < header.size; i++) {
            record.bytes[i] = data[(at + i) % size];
        }
        take_record(faults, &record.header);
        at += header.size;
    }
    __atomic_store_n(&head->data_tail, at, __ATOMIC_RELEASE);
}

uint64_t
faults_inside(const struct faults *faults, pid_t pid, const char *path, uint64_t *bytes)
{
    char line[LINE_BYTES];
    uint64_t inside = 0;

    *bytes = 0;
    snprintf(line, sizeof(line), "/proc/%d/maps", (int)pid);
    FILE *file = fopen(line, "re");

    if (file == NULL) {
        die_errno("%s", line);
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        uint64_t begin;
        uint64_t end;

        if (strstr(line, path) == NULL || sscanf(line, "%" SCNx64 "-%" SCNx64, &begin, &end) != 2) {
            continue;
        }
        *bytes += end - begin;
        for (size_t i = 0; i < faults->count; i++) {
            inside += faults->addresses[i] >= begin && faults->addresses[i] < end;
        }
    }
    fclose(file);
    return inside;
}

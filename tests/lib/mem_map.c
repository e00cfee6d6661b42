#include "tests/lib/mem_map.h"

#include "base/bytes.h"
#include "base/fail.h"
#include "tests/lib/die.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096 };

struct mem_map {
    struct nosync_map map; /* what mem_map_open() returns */
    struct mem_map_options options;
    uint8_t *bytes; /* size_bytes_max of them, private and anonymous */
    bool open;

    pthread_mutex_t lock; /* for what is below */
    atomic_bool *pages;   /* which exist; also read without the lock by the checks of stores */
    uint64_t pages_existing;
    uint64_t size_bytes;
    uint64_t space_bytes;
    struct mem_map_failure failures[MEM_MAP_CALLS];
    uint64_t calls[MEM_MAP_CALLS];
    bool failed; /* sticky */
};

static struct mem_map *
mem_of(struct nosync_map *map)
{
    return (struct mem_map *)map->media.context;
}

static void
lock(struct mem_map *mem)
{
    if (pthread_mutex_lock(&mem->lock) != 0) {
        die("mem_map: lock");
    }
}

static void
unlock(struct mem_map *mem)
{
    if (pthread_mutex_unlock(&mem->lock) != 0) {
        die("mem_map: unlock");
    }
}

static void
tell(struct mem_map *mem, const struct mem_map_event *event)
{
    if (mem->options.recorder != NULL) {
        mem->options.recorder(mem->options.recorder_context, event);
    }
}

/* Count a call and decide whether it fails. *applied: it takes effect although it fails. */
static fl_status
judge(struct mem_map *mem, enum mem_map_call call, bool *applied)
{
    struct mem_map_failure *failure = &mem->failures[call];
    fl_status status = FL_OK;

    *applied = true;
    lock(mem);
    mem->calls[call]++;
    if (mem->failed) {
        *applied = false;
        status = FL_FAIL(FL_IO, "mem_map: a sync has failed before");
    } else if (failure->nth > 0 && --failure->nth == 0) {
        *applied = failure->applied;
        mem->failed = failure->sticky;
        status = FL_FAIL(failure->status, "mem_map: planned failure");
    }
    unlock(mem);
    return status;
}

static void
check_exists(struct mem_map *mem, uint64_t off, uint64_t len)
{
    if (off > mem->options.size_bytes_max || len > mem->options.size_bytes_max - off) {
        die("mem_map: store at %" PRIu64 "+%" PRIu64 " is outside the file", off, len);
    }
    for (uint64_t page = off / PAGE; page * PAGE < off + len; page++) {
        if (!atomic_load_explicit(&mem->pages[page], memory_order_relaxed)) {
            die("mem_map: store at %" PRIu64 "+%" PRIu64 ": no block was faulted in there", off,
                len);
        }
    }
}

static void
protect(struct mem_map *mem, uint64_t off, uint64_t len, int protection)
{
    if (mem->options.guard && mprotect(mem->bytes + off, (size_t)len, protection) != 0) {
        die_errno("mem_map: mprotect");
    }
}

/* ---- media ---- */

static void
media_store(void *context, uint64_t off, const void *src, size_t len, bool atomic)
{
    struct mem_map *mem = context;
    const struct mem_map_event event = {MEM_MAP_STORE, atomic, false, off, len, src};

    check_exists(mem, off, len);
    tell(mem, &event);
    if (atomic) {
        uint64_t word;

        memcpy(&word, src, sizeof(word));
        __atomic_store_n((uint64_t *)(void *)(mem->bytes + off), word, __ATOMIC_RELEASE);
    } else {
        memcpy(mem->bytes + off, src, len);
    }
}

static void
media_flush(void *context, uint64_t off, size_t len)
{
    const struct mem_map_event event = {MEM_MAP_FLUSH, false, false, off, len, NULL};

    tell(context, &event);
}

static void
media_fence(void *context)
{
    const struct mem_map_event event = {MEM_MAP_FENCE, false, false, 0, 0, NULL};

    tell(context, &event);
}

static void
write_range(struct mem_map *mem, uint64_t off, const void *src, size_t len)
{
    const struct mem_map_event event = {MEM_MAP_WRITE, false, false, off, len, src};

    check_exists(mem, off, len);
    tell(mem, &event);
    memcpy(mem->bytes + off, src, len);
}

static fl_status
media_write_durable(void *context, const struct pm_range *ranges, size_t count, bool all)
{
    struct mem_map *mem = context;
    const struct mem_map_event sync = {MEM_MAP_SYNC, false, all, 0, count, NULL};
    bool applied;
    const fl_status status = judge(mem, MEM_MAP_CALL_WRITE_DURABLE, &applied);

    if (applied) {
        for (size_t i = 0; i < count; i++) {
            write_range(mem, ranges[i].off, ranges[i].src, ranges[i].len);
        }
    }
    if (status == FL_OK) {
        tell(mem, &sync);
    }
    return status;
}

static fl_status
media_write_through(void *context, uint64_t off, const void *src, size_t len)
{
    struct mem_map *mem = context;
    bool applied;
    const fl_status status = judge(mem, MEM_MAP_CALL_WRITE_THROUGH, &applied);

    if (applied) {
        write_range(mem, off, src, len);
    }
    return status;
}

static const struct pm_media_ops media_ops = {
    .write_durable = media_write_durable,
    .write_through = media_write_through,
    .store = media_store,
    .flush = media_flush,
    .fence = media_fence,
};

/* ---- mapping ---- */

static uint64_t
pages_missing(const struct mem_map *mem, uint64_t off, uint64_t len)
{
    uint64_t count = 0;

    for (uint64_t page = off / PAGE; page < (off + len) / PAGE; page++) {
        count += !atomic_load_explicit(&mem->pages[page], memory_order_relaxed);
    }
    return count;
}

static void
set_pages(struct mem_map *mem, uint64_t off, uint64_t len, bool exist)
{
    const uint64_t missing = pages_missing(mem, off, len);

    mem->pages_existing += exist ? missing : missing - len / PAGE;
    for (uint64_t page = off / PAGE; page < (off + len) / PAGE; page++) {
        atomic_store_explicit(&mem->pages[page], exist, memory_order_relaxed);
    }
}

static void
check_pages(struct mem_map *mem, const char *call, uint64_t off, uint64_t len)
{
    if (off % PAGE != 0 || len % PAGE != 0 || off > mem->options.size_bytes_max ||
        len > mem->options.size_bytes_max - off) {
        die("mem_map: %s of %" PRIu64 "+%" PRIu64, call, off, len);
    }
}

static fl_status
mem_fault_in(struct nosync_map *map, uint64_t off, uint64_t len)
{
    struct mem_map *mem = mem_of(map);
    const struct mem_map_event event = {MEM_MAP_FAULT_IN, false, false, off, len, NULL};
    bool applied;
    fl_status status = judge(mem, MEM_MAP_CALL_FAULT_IN, &applied);

    check_pages(mem, "fault_in", off, len);
    if (!applied) {
        return status;
    }
    lock(mem);
    const uint64_t end = off + len;
    const uint64_t missing = pages_missing(mem, off, len);

    if (mem->space_bytes > 0 && (mem->pages_existing + missing) * PAGE > mem->space_bytes) {
        unlock(mem);
        return FL_FAIL(FL_NO_SPACE, "mem_map: no space for %" PRIu64 " bytes", missing * PAGE);
    }
    tell(mem, &event);
    protect(mem, off, len, PROT_READ | PROT_WRITE);
    memset(mem->bytes + off, 0, (size_t)len);
    set_pages(mem, off, len, true);
    if (mem->size_bytes < end) {
        protect(mem, mem->size_bytes, off > mem->size_bytes ? off - mem->size_bytes : 0, PROT_READ);
        mem->size_bytes = end;
    }
    unlock(mem);
    return status;
}

static fl_status
mem_punch(struct nosync_map *map, uint64_t off, uint64_t len)
{
    struct mem_map *mem = mem_of(map);
    const struct mem_map_event event = {MEM_MAP_PUNCH, false, false, off, len, NULL};
    bool applied;
    const fl_status status = judge(mem, MEM_MAP_CALL_PUNCH, &applied);

    check_pages(mem, "punch", off, len);
    if (!applied) {
        return status;
    }
    lock(mem);
    tell(mem, &event);
    if (madvise(mem->bytes + off, (size_t)len, MADV_DONTNEED) != 0) {
        die_errno("mem_map: MADV_DONTNEED");
    }
    protect(mem, off, len, PROT_READ);
    set_pages(mem, off, len, false);
    unlock(mem);
    return status;
}

static fl_status
mem_sync_file(struct nosync_map *map)
{
    struct mem_map *mem = mem_of(map);
    const struct mem_map_event event = {MEM_MAP_SYNC_FILE, false, true, 0, 0, NULL};
    bool applied;
    const fl_status status = judge(mem, MEM_MAP_CALL_SYNC_FILE, &applied);

    if (status == FL_OK) {
        tell(mem, &event);
    }
    return status;
}

static uint64_t
mem_size_bytes(struct nosync_map *map)
{
    struct mem_map *mem = mem_of(map);

    lock(mem);
    const uint64_t size_bytes = mem->size_bytes;

    unlock(mem);
    return size_bytes;
}

static uint64_t
mem_file_bytes(struct nosync_map *map)
{
    struct mem_map *mem = mem_of(map);

    lock(mem);
    const uint64_t bytes = mem->pages_existing * PAGE;

    unlock(mem);
    return bytes;
}

static void
mem_close(struct nosync_map *map)
{
    mem_of(map)->open = false;
}

static const struct nosync_ops map_ops = {
    .fault_in = mem_fault_in,
    .punch = mem_punch,
    .sync_file = mem_sync_file,
    .size_bytes = mem_size_bytes,
    .file_bytes = mem_file_bytes,
    .close = mem_close,
};

struct mem_map *
mem_map_create(const struct mem_map_options *options)
{
    struct mem_map *mem = calloc(1, sizeof(*mem));

    if (mem == NULL || options->size_bytes_max % PAGE != 0 || options->size_bytes_max == 0) {
        die("mem_map_create: %s", mem == NULL ? "no memory" : "size_bytes_max");
    }
    mem->options = *options;
    mem->options.guard = options->guard && options->mode == PM_DIRECT;
    mem->space_bytes = options->space_bytes;
    mem->pages = calloc(options->size_bytes_max / PAGE, sizeof(*mem->pages));

    void *bytes = mmap(NULL, (size_t)options->size_bytes_max,
                       mem->options.guard ? PROT_NONE : PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (mem->pages == NULL || bytes == MAP_FAILED || pthread_mutex_init(&mem->lock, NULL) != 0) {
        die("mem_map_create: no memory");
    }
    mem->bytes = bytes;
    return mem;
}

void
mem_map_destroy(struct mem_map *mem)
{
    if (mem == NULL) {
        return;
    }
    if (mem->open) {
        die("mem_map_destroy: the mapping is still open");
    }
    if (munmap(mem->bytes, (size_t)mem->options.size_bytes_max) != 0) {
        die_errno("mem_map: munmap");
    }
    pthread_mutex_destroy(&mem->lock);
    free(mem->pages);
    free(mem);
}

struct nosync_map *
mem_map_open(struct mem_map *mem)
{
    static const enum fl_mapping mappings[] = {
        [PM_DIRECT] = FL_MAPPING_VOLATILE,
        [PM_STAGED] = FL_MAPPING_PAGE,
        [PM_HOOKED] = FL_MAPPING_MODEL,
    };
    const enum pm_mode mode = mem->options.mode;

    if (mem->open) {
        die("mem_map_open: it is open already");
    }
    mem->open = true;
    mem->map = (struct nosync_map){
        .ops = &map_ops,
        .media =
            {
                .base = mem->bytes,
                .base_store = mode == PM_STAGED ? NULL : mem->bytes,
                .size_bytes_max = mem->options.size_bytes_max,
                .mode = mode,
                .eadr = mem->options.eadr,
                .ops = &media_ops,
                .context = mem,
            },
        .grant =
            {
                .mapping = mappings[mode],
                .durability = mode == PM_DIRECT ? FL_DURABILITY_PROCESS : FL_DURABILITY_POWERCUT,
                .created = mem->size_bytes == 0,
            },
    };
    (void)snprintf(mem->map.grant.detail, sizeof(mem->map.grant.detail), "memory of a test");
    return &mem->map;
}

void
mem_map_record(struct mem_map *mem, mem_map_recorder recorder, void *context)
{
    mem->options.recorder = recorder;
    mem->options.recorder_context = context;
}

void
mem_map_load(struct mem_map *mem, const void *image, uint64_t len)
{
    const uint64_t end = bytes_align_up(len, PAGE);

    if (mem->open || end > mem->options.size_bytes_max) {
        die("mem_map_load: %s", mem->open ? "the mapping is open" : "the image is too long");
    }
    protect(mem, 0, mem->options.size_bytes_max, PROT_NONE);
    if (madvise(mem->bytes, (size_t)mem->options.size_bytes_max, MADV_DONTNEED) != 0) {
        die_errno("mem_map: MADV_DONTNEED");
    }
    set_pages(mem, 0, mem->options.size_bytes_max, false);
    protect(mem, 0, end, PROT_READ | PROT_WRITE);
    if (len > 0) {
        memcpy(mem->bytes, image, (size_t)len);
    }
    set_pages(mem, 0, end, true);
    mem->size_bytes = end;
    mem->failed = false;
}

void *
mem_map_copy(const struct mem_map *mem, uint64_t *len)
{
    void *copy = malloc(mem->size_bytes > 0 ? (size_t)mem->size_bytes : 1);

    if (copy == NULL) {
        die("mem_map_copy: no memory");
    }
    if (mem->size_bytes > 0) {
        memcpy(copy, mem->bytes, (size_t)mem->size_bytes);
    }
    *len = mem->size_bytes;
    return copy;
}

uint8_t *
mem_map_bytes(struct mem_map *mem)
{
    return mem->bytes;
}

uint64_t
mem_map_size_bytes(const struct mem_map *mem)
{
    return mem->size_bytes;
}

void
mem_map_fail(struct mem_map *mem, const struct mem_map_failure *failure)
{
    if (failure->call >= MEM_MAP_CALLS) {
        die("mem_map_fail: no such call");
    }
    lock(mem);
    mem->failures[failure->call] = *failure;
    unlock(mem);
}

void
mem_map_set_space(struct mem_map *mem, uint64_t space_bytes)
{
    lock(mem);
    mem->space_bytes = space_bytes;
    unlock(mem);
}

uint64_t
mem_map_calls(struct mem_map *mem, enum mem_map_call call)
{
    lock(mem);
    const uint64_t calls = mem->calls[call];

    unlock(mem);
    return calls;
}

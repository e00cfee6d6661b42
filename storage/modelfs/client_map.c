#include "storage/modelfs/client.h"

#include "base/bytes.h"
#include "base/fail.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- contexts ---- */

static struct mfs_cpu *
make_cpu(struct fl_modelfs *fs, _Atomic(struct client_cpu *) *bucket)
{
    struct client_cpu *own = mem_alloc_zero(sizeof(*own));

    if (own == NULL || mfs_cpu_create(fs->media, &own->cpu) != FL_OK) {
        mem_free(own);
        return NULL;
    }
    own->thread = pthread_self();
    own->next = atomic_load_explicit(bucket, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(bucket, &own->next, own, memory_order_release,
                                                  memory_order_relaxed)) {
    }
    return own->cpu;
}

/* This thread's context. With media_lock held for reading, and media there. */
static struct mfs_cpu *
own_cpu(struct fl_modelfs *fs)
{
    const pthread_t self = pthread_self();
    /* Thread numbers are addresses of aligned memory: the low bits say nothing. */
    _Atomic(struct client_cpu *) *bucket =
        &fs->cpus[((uint64_t)self >> 12 ^ (uint64_t)self >> 21) % CLIENT_CPU_BUCKETS];

    for (struct client_cpu *cpu = atomic_load_explicit(bucket, memory_order_acquire); cpu != NULL;
         cpu = cpu->next) {
        if (pthread_equal(cpu->thread, self)) {
            return cpu->cpu;
        }
    }
    struct mfs_cpu *cpu = make_cpu(fs, bucket);
    FL_ASSERT(cpu != NULL); /* a flush can't report that it did nothing */
    return cpu;
}

void
client_media_close(struct fl_modelfs *fs)
{
    (void)pthread_rwlock_wrlock(&fs->media_lock);
    struct mfs_media *media = fs->media;
    fs->media = NULL;
    for (size_t i = 0; i < CLIENT_CPU_BUCKETS; i++) {
        struct client_cpu *cpu = atomic_exchange(&fs->cpus[i], NULL);
        while (cpu != NULL) {
            struct client_cpu *next = cpu->next;
            mfs_cpu_destroy(cpu->cpu);
            mem_free(cpu);
            cpu = next;
        }
    }
    if (media != NULL) {
        mfs_media_close(media);
    }
    (void)pthread_rwlock_unlock(&fs->media_lock);
}

/* ---- flush and fence ---- */

/* Fault, if it must. What is loaded isn't looked at, so that no store of another thread races with it: not a matter for
 * a race detector. */
__attribute__((noinline, no_sanitize("thread"))) static void
touch(const volatile uint8_t *address)
{
    (void)*address;
}

/* The lines of one block: those of the physical block that the page table leads to, as clwb finds it. They are taken
 * from the live image, not through the mapping: between a look into the table and a load through the mapping the
 * block may have come to lead elsewhere. */
static void
flush_block(struct fl_modelfs *fs, const struct fl_modelfs_map *map, size_t off, size_t len)
{
    touch(map->address + off); /* with no lock of ours held */
    (void)pthread_rwlock_rdlock(&fs->media_lock);
    const uint32_t led =
        atomic_load_explicit(&map->table[off / fs->block_bytes], memory_order_acquire);
    if (fs->media != NULL && led >= CLIENT_LED_TO_PHYS) {
        const uint64_t place = fs->data_off +
                               (uint64_t)(led - CLIENT_LED_TO_PHYS) * fs->block_bytes +
                               off % fs->block_bytes;
        struct mfs_cpu *cpu = own_cpu(fs);
        if (mfs_cpu_flush(cpu, place, len) != FL_OK) {
            /* No memory to remember it: publish what is remembered, as a processor may at any time. */
            const fl_status fenced = mfs_cpu_fence(cpu);
            FL_ASSERT(fenced == FL_OK && mfs_cpu_flush(cpu, place, len) == FL_OK);
        }
    }
    (void)pthread_rwlock_unlock(&fs->media_lock);
}

void
fl_modelfs_flush(struct fl_modelfs_map *map, const void *address, size_t len)
{
    struct fl_modelfs *fs = map->fs;
    const size_t off = (size_t)((const uint8_t *)address - map->address);

    if (fs->pid != getpid()) {
        return;
    }
    FL_ASSERT(off <= map->len && len <= map->len - off);
    for (size_t done = 0; done < len;) {
        const size_t rest = fs->block_bytes - (off + done) % fs->block_bytes;
        const size_t piece = len - done < rest ? len - done : rest;
        flush_block(fs, map, off + done, piece);
        done += piece;
    }
}

void
fl_modelfs_fence(struct fl_modelfs *fs)
{
    if (fs->pid != getpid()) {
        return;
    }
    (void)pthread_rwlock_rdlock(&fs->media_lock);
    if (fs->media != NULL) {
        (void)!mfs_cpu_fence(own_cpu(fs)); /* only a hook makes one fail: the host has those */
    }
    (void)pthread_rwlock_unlock(&fs->media_lock);
}

/* ---- mapping ---- */

/* Address space at a multiple of the block, leading to the void file. */
static fl_status
reserve(struct fl_modelfs_map *map)
{
    struct fl_modelfs *fs = map->fs;
    const size_t slack = fs->block_bytes;
    uint8_t *start =
        mmap(NULL, map->len + slack, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    void *ptr = NULL;

    if (start == MAP_FAILED) {
        return FL_FAIL_ERRNO(FL_NO_MEMORY, "reserve %zu bytes of address space", map->len);
    }
    uint8_t *address = start + (slack - (uintptr_t)start % slack) % slack;
    if (address > start) {
        (void)munmap(start, (size_t)(address - start));
    }
    const size_t behind = slack - (size_t)(address - start);
    if (behind > 0) {
        (void)munmap(address + map->len, behind);
    }
    const fl_status status = client_map_registered(fs, address, map->void_fd, 0, map->len, &ptr);
    if (status != FL_OK) {
        (void)munmap(address, map->len);
        return status;
    }
    map->address = address;
    return FL_OK;
}

static void
release(struct fl_modelfs_map *map)
{
    if (map->address != NULL) {
        (void)munmap(map->address, map->len);
    }
    if (map->table != NULL) {
        (void)munmap(map->table, map->blocks_count * sizeof(*map->table));
    }
    if (map->void_fd >= 0) {
        (void)close(map->void_fd);
    }
    mem_free(map);
}

static fl_status
create(struct fl_modelfs *fs, size_t len, struct fl_modelfs_map **out)
{
    struct fl_modelfs_map *map = mem_alloc_zero(sizeof(*map));

    if (map == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory for a mapping");
    }
    map->fs = fs;
    map->len = len;
    map->blocks_count = (uint32_t)(len / fs->block_bytes);
    map->void_fd = memfd_create("modelfs-void", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    void *table = mmap(NULL, map->blocks_count * sizeof(*map->table), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    map->table = table == MAP_FAILED ? NULL : table;
    const bool ready =
        map->table != NULL && map->void_fd >= 0 && ftruncate(map->void_fd, (off_t)len) == 0;
    const fl_status status =
        ready ? reserve(map) : FL_FAIL_ERRNO(FL_NO_MEMORY, "no memory for a mapping");
    if (status != FL_OK) {
        release(map);
        return status;
    }
    *out = map;
    return FL_OK;
}

static void
unlink_map(struct fl_modelfs *fs, struct fl_modelfs_map *map)
{
    (void)pthread_mutex_lock(&fs->lock);
    struct fl_modelfs_map **link = &fs->maps;
    while (*link != map) {
        link = &(*link)->next;
    }
    *link = map->next;
    (void)pthread_mutex_unlock(&fs->lock);
}

fl_status
fl_modelfs_mmap(struct fl_modelfs *fs, const char *name, uint64_t off, uint64_t len,
                enum fl_modelfs_kind kind, struct fl_modelfs_map **out, void **address)
{
    struct wire_call call = {.kind = WIRE_MAP, .flags = kind, .off = off, .len = len};
    struct fl_modelfs_map *map;

    fl_status status = client_check(fs);
    if (status == FL_OK) {
        status = client_name(call.name, name);
    }
    if (status != FL_OK) {
        return status;
    }
    if ((kind != FL_MODELFS_PLAIN && kind != FL_MODELFS_NOSYNC) || len == 0 ||
        off % fs->block_bytes != 0 || len % fs->block_bytes != 0 || len > (uint64_t)1 << 46 ||
        len / fs->block_bytes >= UINT32_MAX) {
        return FL_FAIL(FL_INVALID, "map %" PRIu64 " bytes at %" PRIu64 ": not whole blocks of %u",
                       len, off, fs->block_bytes);
    }
    status = create(fs, (size_t)len, &map);
    if (status != FL_OK) {
        return status;
    }
    (void)pthread_mutex_lock(&fs->lock);
    map->id = ++fs->map_ids;
    map->next = fs->maps;
    fs->maps = map;
    (void)pthread_mutex_unlock(&fs->lock);
    call.map = map->id;
    call.address = (uintptr_t)map->address;
    status = client_call(fs, &call, NULL, map->void_fd, NULL, NULL);
    if (status != FL_OK) {
        unlink_map(fs, map);
        release(map);
        return status;
    }
    *address = map->address;
    *out = map;
    return FL_OK;
}

void
fl_modelfs_unmap(struct fl_modelfs_map *map)
{
    struct fl_modelfs *fs = map->fs;
    struct wire_call call = {.kind = WIRE_UNMAP, .map = map->id};

    if (fs->pid != getpid()) {
        return; /* the child has no such mapping */
    }
    /* The host first: it takes our entries away and flushes what they dirtied. Where it is gone, so are they. */
    (void)!client_call(fs, &call, NULL, -1, NULL, NULL);
    unlink_map(fs, map);
    release(map);
}

void
client_unmap_all(struct fl_modelfs *fs)
{
    while (fs->maps != NULL) {
        fl_modelfs_unmap(fs->maps);
    }
}

fl_status
fl_modelfs_populate(struct fl_modelfs_map *map, uint64_t off, uint64_t len)
{
    fl_status status = FL_OK;

    if (off > map->len || len > map->len - off) {
        return FL_FAIL(FL_INVALID, "populate %" PRIu64 " bytes at %" PRIu64 " of %zu", len, off,
                       map->len);
    }
    const uint64_t end = off + len;
    while (off < end && status == FL_OK) {
        /* Pieces end where blocks do, so that none is asked for twice. */
        uint64_t next = bytes_align_down(off + WIRE_POPULATE_BYTES_MAX, map->fs->block_bytes);
        next = next < end ? next : end;
        struct wire_call call = {
            .kind = WIRE_POPULATE, .map = map->id, .off = off, .len = next - off};
        status = client_call(map->fs, &call, NULL, -1, NULL, NULL);
        off = next;
    }
    return status;
}

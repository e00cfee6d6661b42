/* Finding and making the heap's fixed parts: probe and format. */
#include "storage/heap/heap_internal.h"

#include "base/bytes.h"
#include "base/fail.h"

#include <inttypes.h>
#include <string.h>

/* Where the second copy is when the first is gone and so block_bytes is not known: every power of two. */
static fl_status
probe_second_copy(struct nosync_map *map, uint64_t size, struct heap_geometry *geometry)
{
    for (uint64_t block = HEAP_BLOCK_BYTES_MIN; block <= HEAP_BLOCK_BYTES_MAX && block <= size;
         block *= 2) {
        const struct heap_super_media *copy =
            (const struct heap_super_media *)(map->media.base + block / 2);

        const fl_status status = super_decode(copy, geometry);

        /* Of a later version nothing is known but that it is one. */
        if (status == FL_VERSION || (status == FL_OK && geometry->block_bytes == block)) {
            return status;
        }
    }
    return FL_CORRUPT;
}

/* Is the second copy as good as the first, or as a crash may leave it while the size is raised: larger or smaller, or
 * half written and marked so? The larger size holds: it was durable once before anything could rely on it. */
static bool
second_copy_judge(const struct nosync_map *map, uint64_t size, struct heap_geometry *geometry)
{
    const struct heap_super_media *first = (const struct heap_super_media *)map->media.base;
    const struct heap_super_media *second =
        (const struct heap_super_media *)(map->media.base + geometry->block_bytes / 2);
    struct heap_geometry other = {0};

    if (size < geometry->block_bytes / 2 + HEAP_SUPER_BYTES) {
        return false;
    }
    if (super_rewriting(second)) {
        return true;
    }
    if (super_decode(second, &other) != FL_OK || !super_same_but_size(first, second)) {
        return false;
    }
    if (other.size_bytes_max > geometry->size_bytes_max) {
        geometry->size_bytes_max = other.size_bytes_max;
    }
    return true;
}

static bool
all_zero(const uint8_t *bytes, uint64_t from, uint64_t to)
{
    return from >= to || bytes_are_zero(bytes + from, (size_t)(to - from));
}

/* Did a crash interrupt heap_format() in its last step? Then the first copy is what got there of the second one, and
 * the store was never opened for writing: that writes the second root. */
static bool
format_unfinished(const uint8_t *base, uint32_t block_bytes)
{
    const uint64_t second = heap_half_off(block_bytes, 1, 0);

    for (uint64_t at = 0; at < HEAP_SUPER_BYTES; at += sizeof(uint64_t)) {
        if (!bytes_are_zero(base + at, sizeof(uint64_t)) &&
            memcmp(base + at, base + second + at, sizeof(uint64_t)) != 0) {
            return false;
        }
    }
    return all_zero(base, second + HEAP_ROOT_OFF, second + HEAP_ROOT_OFF + HEAP_ROOT_BYTES);
}

/* Did a crash interrupt heap_format()? Then the file is zeros as far as its growth had come, or two blocks that are
 * zero but for what format writes before the first superblock. Anything else is somebody's data and is never
 * written over. */
static bool
format_interrupted(const uint8_t *base, uint64_t size)
{
    const uint64_t block = size / 2;
    const uint64_t half = block / HEAP_HALVES;

    if (size <= UINT64_C(2) * HEAP_BLOCK_BYTES_MAX && all_zero(base, 0, size)) {
        return true;
    }
    return (block & (block - 1)) == 0 && block >= HEAP_BLOCK_BYTES_MIN && size == 2 * block &&
           block <= HEAP_BLOCK_BYTES_MAX && all_zero(base, 0, HEAP_CLOCK_OFF) &&
           all_zero(base, HEAP_CLOCK_OFF + sizeof(uint64_t), HEAP_ROOT_OFF) &&
           all_zero(base, HEAP_ROOT_OFF + HEAP_ROOT_BYTES, half) &&
           all_zero(base, half + HEAP_SUPER_BYTES, half + HEAP_CLOCK_OFF) &&
           all_zero(base, half + HEAP_CLOCK_OFF + sizeof(uint64_t), block) &&
           all_zero(base, block + (uint64_t)2 * HEAP_ENTRY_BYTES, size);
}

static fl_status
probe(struct nosync_map *map, struct heap_geometry *geometry, const struct heap_report *report)
{
    const uint64_t size = nosync_size_bytes(map);
    const struct heap_super_media *first = (const struct heap_super_media *)map->media.base;

    memset(geometry, 0, sizeof(*geometry));
    if (size == 0) {
        return FL_NOT_FOUND;
    }
    if (size < HEAP_BLOCK_BYTES_MIN) {
        return FL_FAIL(FL_CORRUPT,
                       "the file has %" PRIu64 " bytes: too short for a store, and not empty",
                       size);
    }
    fl_status status = super_decode(first, geometry);

    if (status == FL_OK) {
        if (!second_copy_judge(map, size, geometry)) {
            heap_report_finding(report, "superblock", geometry->block_bytes / 2, HEAP_SUPER_BYTES,
                                "the second superblock is damaged; the first is used");
        }
        return FL_OK;
    }
    if (status == FL_VERSION) {
        return status;
    }
    status = probe_second_copy(map, size, geometry);
    if (status == FL_VERSION) {
        return status;
    }
    if (status == FL_OK) {
        if (!super_rewriting(first) && !format_unfinished(map->media.base, geometry->block_bytes)) {
            heap_report_finding(report, "superblock", 0, HEAP_SUPER_BYTES,
                                "the first superblock is damaged; the second is used");
        }
        return FL_OK;
    }
    /* What can't be read looks as empty as what was never written. */
    if (format_interrupted(map->media.base, size) && nosync_bad_pages(map) == 0) {
        return FL_NOT_FOUND;
    }
    return FL_FAIL(FL_CORRUPT, "no superblock validates: not a store, or its first block is lost; "
                               "the file is left as it is");
}

fl_status
heap_probe(struct nosync_map *map, struct heap_geometry *geometry, const struct heap_report *report)
{
    nosync_shield_begin();
    const fl_status status = probe(map, geometry, report);

    nosync_shield_end();
    return status;
}

fl_status
heap_format(struct nosync_map *map, struct heap_geometry *geometry)
{
    const struct heap_root root = {.sequence = 1, .flags = HEAP_ROOT_CLEAN, .lsn_next = 4096};
    struct heap_super_media super;
    struct heap_root_media root_media;
    struct pm pm;

    fl_status status = super_geometry_check(geometry);

    if (status == FL_OK) {
        status = super_uuid_make(geometry->uuid);
    }
    if (status == FL_OK) {
        status = nosync_fault_in(map, 0, UINT64_C(2) * geometry->block_bytes);
    }
    if (status != FL_OK) {
        return status;
    }
    super_encode(geometry, &super);
    super_root_encode(geometry, &root, &root_media);
    pm_init(&pm, &map->media);
    for (uint32_t block = 0; block < 2; block++) {
        const struct heap_entry meta = {.state = HEAP_META, .generation = 1};

        pm_store_u64_nofence(&pm, geometry->block_bytes + (uint64_t)block * HEAP_ENTRY_BYTES,
                             super_entry_encode(geometry, block, meta));
    }
    for (unsigned half = 0; half < HEAP_HALVES; half++) {
        pm_store_u64_nofence(&pm, heap_half_off(geometry->block_bytes, half, HEAP_CLOCK_OFF),
                             super_clock_encode(geometry, half, 0));
    }
    pm_write_nofence(&pm, HEAP_ROOT_OFF, &root_media, sizeof(root_media));
    /* order: everything else before a superblock. Either one's presence says that the heap is whole. */
    status = pm_drain(&pm);
    if (status != FL_OK) {
        return status;
    }
    pm_write_nofence(&pm, geometry->block_bytes / 2, &super, sizeof(super));
    /* order: the second superblock before the first: a part of the first alone would be taken for other data. */
    status = pm_drain(&pm);
    if (status != FL_OK) {
        return status;
    }
    pm_write_nofence(&pm, 0, &super, sizeof(super));
    /* order: the first superblock before return. The caller tells its user that the store exists. */
    return pm_drain(&pm);
}

/* Replace a copy while the other one is whole. Whatever a crash leaves of it is marked, so that it isn't taken for
 * damage. */
static fl_status
copy_rewrite(struct nosync_map *map, uint64_t off, const struct heap_super_media *super)
{
    const size_t rest_off = sizeof(super->magic);
    struct pm pm;

    pm_init(&pm, &map->media);
    pm_store_u64_nofence(&pm, off, HEAP_MAGIC_REWRITING);
    /* order: the mark before the bytes. Half of them without it would be damage. */
    fl_status status = pm_drain(&pm);

    if (status == FL_OK) {
        pm_write_nofence(&pm, off + rest_off, (const uint8_t *)super + rest_off,
                         sizeof(*super) - rest_off);
        /* order: the bytes before the mark goes, for the same reason. */
        status = pm_drain(&pm);
    }
    if (status == FL_OK) {
        pm_store_u64_nofence(&pm, off, HEAP_MAGIC);
        /* order: this copy before the other one is touched: one of the two is whole at any time. And before
         * return: the caller grows over the old size. */
        status = pm_drain(&pm);
    }
    return status;
}

fl_status
super_heal(struct nosync_map *map, const struct heap_geometry *geometry)
{
    const uint64_t offs[2] = {0, geometry->block_bytes / 2};
    struct heap_super_media found[2];
    struct heap_geometry decoded;
    struct pm pm;

    for (int i = 0; i < 2; i++) {
        memcpy(&found[i], map->media.base + offs[i], sizeof(found[i]));
    }
    const bool first_valid = super_decode(&found[0], &decoded) == FL_OK;

    if (!first_valid && super_decode(&found[1], &decoded) != FL_OK) {
        return FL_FAIL(FL_CORRUPT, "both superblocks were damaged while the store was opened");
    }
    struct heap_super_media target = found[first_valid ? 0 : 1]; /* feature bits and all */

    super_size_set(&target, geometry->size_bytes_max);
    if (memcmp(&found[0], &target, sizeof(target)) == 0 &&
        memcmp(&found[1], &target, sizeof(target)) == 0) {
        return FL_OK;
    }
    pm_init(&pm, &map->media);
    pm_write_nofence(&pm, offs[0], &found[0], sizeof(found[0]));
    pm_write_nofence(&pm, offs[1], &found[1], sizeof(found[1]));
    /* order: what was read before either is touched. A process that died may have written it and not drained. */
    fl_status status = pm_drain(&pm);

    /* The second copy first, unless it is the only one that is whole. */
    for (int i = 0; i < 2 && status == FL_OK; i++) {
        const int copy = first_valid ? 1 - i : i;

        if (memcmp(&found[copy], &target, sizeof(target)) != 0) {
            status = copy_rewrite(map, offs[copy], &target);
        }
    }
    return status;
}

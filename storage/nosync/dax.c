/* Kind dax: MAP_SYNC through libpmem2. The only file of the storage code that knows libpmem2.
 *
 * What is granted is verified, not believed: MAP_SHARED_VALIDATE|MAP_SYNC must be accepted by the kernel when we ask it
 * ourselves, then libpmem2 must grant cache-line granularity, and an override of that by its environment
 * variable is reported.
 */
#include "storage/nosync/file.h"

#include "storage/nosync/shared_extents.h"

#include "base/bytes.h"
#include "base/fail.h"

#include <errno.h>
#include <inttypes.h>
#include <libpmem2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* What is mapped doubles, so that libpmem2 is asked a few times only: each time costs every page-table entry of
 * the file (see map_next_chunk). */
enum { CHUNK_BYTES_MIN = 64 * 1024 * 1024, CHUNKS_MAX = 64 };

struct dax {
    struct pmem2_source *source;
    struct pmem2_vm_reservation *reservation;
    struct pmem2_map *maps[CHUNKS_MAX];
    size_t maps_count;
    uint64_t base_off; /* of the file's offset 0 within the reservation */
    uint64_t mapped_bytes;
    bool byte_granularity;
};

static const char *
forced(void)
{
    const char *value = getenv("PMEM2_FORCE_GRANULARITY");

    return value != NULL && value[0] != '\0' ? value : NULL;
}

static fl_status
fail_pmem2(const struct nosync_file *file, const char *call, int result)
{
    const char *override = forced();
    fl_status status = FL_IO;

    if (result == PMEM2_E_GRANULARITY_NOT_SUPPORTED || result == PMEM2_E_NOSUPP) {
        status = FL_NOT_GRANTED;
    } else if (result > PMEM2_E_UNKNOWN) {
        status = file_status(-result);
    }
    return FL_FAIL(
        status, "%s on %s: %s%s%s", call, file->path, pmem2_errormsg(),
        override == NULL ? "" : "; PMEM2_FORCE_GRANULARITY=", override == NULL ? "" : override);
}

/* Ask the kernel itself: MAP_SHARED_VALIDATE makes it refuse a flag that it would otherwise ignore. */
static fl_status
probe_map_sync(const struct nosync_file *file)
{
    const size_t page = (size_t)getpagesize();
    void *probe = mmap(NULL, page, file->read_only ? PROT_READ : PROT_READ | PROT_WRITE,
                       MAP_SHARED_VALIDATE | MAP_SYNC, file->fd, 0);

    if (probe != MAP_FAILED) {
        (void)munmap(probe, page);
        return FL_OK;
    }
    if (errno == EOPNOTSUPP || errno == EINVAL || errno == ENODEV) {
        return FL_FAIL_ERRNO(FL_NOT_GRANTED,
                             "%s is not on DAX: %s refuses MAP_SYNC, so that cache flushes alone "
                             "make nothing durable there",
                             file->path, file->trust.text);
    }
    return FL_FAIL_ERRNO(file_status(errno), "map %s with MAP_SYNC", file->path);
}

static fl_status
reserve(struct nosync_file *file)
{
    struct dax *dax = file->dax;
    /* Room to align in: libpmem2 takes an address of ours only if more than it asks for is free there. */
    const uint64_t bytes = file->size_bytes_max + file->map_align;
    const int result = pmem2_vm_reservation_new(&dax->reservation, NULL, (size_t)bytes);

    if (result != 0) {
        return fail_pmem2(file, "pmem2_vm_reservation_new", result);
    }
    uint8_t *start = pmem2_vm_reservation_get_address(dax->reservation);

    file->base = (uint8_t *)(uintptr_t)bytes_align_up((uintptr_t)start, file->map_align);
    file->reserved_bytes = file->size_bytes_max;
    dax->base_off = (uint64_t)(file->base - start);
    return FL_OK;
}

static fl_status
map_chunk(struct nosync_file *file, uint64_t len)
{
    struct dax *dax = file->dax;
    struct pmem2_config *config;
    struct pmem2_map *map = NULL;
    int result = pmem2_config_new(&config);

    if (result != 0) {
        return fail_pmem2(file, "pmem2_config_new", result);
    }
    result = pmem2_config_set_required_store_granularity(config, PMEM2_GRANULARITY_CACHE_LINE);
    if (result == 0) {
        result = pmem2_config_set_sharing(config, PMEM2_SHARED);
    }
    if (result == 0) {
        result = pmem2_config_set_protection(config, PMEM2_PROT_READ | PMEM2_PROT_WRITE);
    }
    if (result == 0) {
        result = pmem2_config_set_offset(config, (size_t)dax->mapped_bytes);
    }
    if (result == 0) {
        result = pmem2_config_set_length(config, (size_t)len);
    }
    if (result == 0) {
        result =
            pmem2_config_set_vm_reservation(config, dax->reservation, (size_t)dax->mapped_bytes);
    }
    if (result == 0) {
        result = pmem2_map_new(&map, config, dax->source);
    }
    (void)pmem2_config_delete(&config);
    if (result != 0) {
        return fail_pmem2(file, "pmem2_map_new", result);
    }
    dax->byte_granularity = pmem2_map_get_store_granularity(map) == PMEM2_GRANULARITY_BYTE;
    dax->maps[dax->maps_count++] = map;
    file_forbid_fork(file->base + dax->mapped_bytes, len);
    dax->mapped_bytes += len;
    return FL_OK;
}

/* libpmem2 maps nothing beyond the end of the file, though the kernel would: so the end is moved for the
 * moment. A crash in between leaves a longer file whose end is a hole. */
static fl_status
map_next_chunk(struct nosync_file *file, uint64_t end_wanted)
{
    struct dax *dax = file->dax;
    uint64_t end = 0;
    const uint64_t chunk_min =
        dax->mapped_bytes > CHUNK_BYTES_MIN ? dax->mapped_bytes : CHUNK_BYTES_MIN;
    const uint64_t wanted = end_wanted - dax->mapped_bytes;
    const uint64_t left = file->size_bytes_max - dax->mapped_bytes;
    const uint64_t chunk = bytes_align_up(wanted > chunk_min ? wanted : chunk_min, file->map_align);
    const uint64_t len = left < chunk ? left : chunk;

    FL_ASSERT(dax->maps_count < CHUNKS_MAX);
    fl_status status = file_size(file, &end);

    if (status != FL_OK) {
        return status;
    }
    status = file_extend(file, dax->mapped_bytes + len);
    if (status == FL_OK) {
        status = map_chunk(file, len);
    }
    if (end < file_end(file)) {
        (void)!ftruncate(file->fd, (off_t)end);
    }
    return status;
}

fl_status
dax_grow(struct nosync_file *file, uint64_t end, bool *zapped)
{
    *zapped = file->dax->mapped_bytes < end;
    return *zapped ? map_next_chunk(file, end) : FL_OK;
}

void
dax_unmap(struct nosync_file *file)
{
    struct dax *dax = file->dax;

    for (size_t i = 0; i < dax->maps_count; i++) {
        (void)pmem2_map_delete(&dax->maps[i]);
    }
    if (dax->reservation != NULL) {
        (void)pmem2_vm_reservation_delete(&dax->reservation);
    }
    if (dax->source != NULL) {
        (void)pmem2_source_delete(&dax->source);
    }
    free(dax);
    file->dax = NULL;
    file->base = NULL;
}

static fl_status
dax_create(struct nosync_file *file)
{
    struct dax *dax = calloc(1, sizeof(*dax));

    if (dax == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "map %s", file->path);
    }
    file->dax = dax;
    const int result = pmem2_source_from_fd(&dax->source, file->fd);

    if (result != 0) {
        return fail_pmem2(file, "pmem2_source_from_fd", result);
    }
    const fl_status status = reserve(file);

    if (status != FL_OK) {
        return status;
    }
    /* At least one chunk, so that the granularity is known. */
    const uint64_t end = file_end(file);

    return map_next_chunk(file, end > 0 ? end : 1);
}

static void
describe(struct nosync_file *file, bool eadr, bool reflink)
{
    struct nosync_grant *grant = &file->map.grant;
    const char *override = forced();

    grant->mapping = FL_MAPPING_DAX;
    grant->durability = FL_DURABILITY_POWERCUT;
    if (file->read_only) {
        file_describe(file, "read-only on %s", file->trust.text);
    } else if (override != NULL) {
        /* Forced to BYTE we would flush nothing, and nobody has said that the caches survive. */
        grant->durability = eadr ? FL_DURABILITY_POWERCUT_UNVERIFIED : FL_DURABILITY_POWERCUT;
        file_describe(file, "%s on %s, forced by PMEM2_FORCE_GRANULARITY=%.10s",
                      pm_instructions(eadr), file->trust.text, override);
    } else if (reflink) {
        /* A clone made while the file is open can lose blocks that were flushed; mkfs can rule it out. */
        grant->durability = FL_DURABILITY_POWERCUT_UNVERIFIED;
        file_describe(file, "%s on %s with reflink: never clone the file while open",
                      pm_instructions(eadr), file->trust.text);
    } else {
        file_describe(file, "%s on %s", pm_instructions(eadr), file->trust.text);
    }
}

/* A reader asks libpmem2 for nothing: it stores nothing, and no clone takes away what it reads. */
static fl_status
map_any(struct nosync_file *file)
{
    fl_status status;

    if (file->read_only) {
        return file_map_whole(file, false);
    }
    status = shared_extents_refuse(file->fd, file->path);
    if (status == FL_OK) {
        status = dax_create(file);
    }
    if (status != FL_OK && file->dax != NULL) {
        dax_unmap(file);
    }
    return status;
}

fl_status
dax_map(struct nosync_file *file)
{
    fl_status status = probe_map_sync(file);

    if (status == FL_OK) {
        status = map_any(file);
    }
    if (status != FL_OK) {
        return status;
    }
    const bool eadr = file->dax != NULL && file->dax->byte_granularity;

    file->map.ops = &dax_ops;
    file->map.media = (struct pm_media){
        .base = file->base,
        .base_store = file->read_only ? NULL : file->base,
        .size_bytes_max = file->size_bytes_max,
        .mode = PM_DIRECT,
        .eadr = eadr,
        .context = file,
    };
    describe(file, eadr, shared_extents_possible(file->fd));
    return FL_OK;
}

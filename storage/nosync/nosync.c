#include "storage/nosync/nosync.h"

#include "storage/nosync/file.h"
#include "storage/nosync/model.h"

#include "base/fail.h"

#include <inttypes.h>
#include <unistd.h>

static fl_status
check_request(const struct nosync_request *request)
{
    const uint32_t align = request->map_align;

    if (request->path == NULL || request->path[0] == '\0') {
        return FL_FAIL(FL_INVALID, "no path");
    }
    if (request->size_bytes_max == 0 || request->size_bytes_max > (UINT64_C(1) << 46)) {
        return FL_FAIL(FL_INVALID, "size_bytes_max %" PRIu64 " of %s", request->size_bytes_max,
                       request->path);
    }
    if (align < (uint32_t)getpagesize() || (align & (align - 1)) != 0) {
        return FL_FAIL(FL_INVALID, "map_align %" PRIu32 " of %s", align, request->path);
    }
    return FL_OK;
}

/* The strongest that the file grants. Only "not granted" goes on to the next kind: a DAX file that we must
 * refuse is refused, not used in another way. */
static fl_status
map_auto(struct nosync_file *file)
{
    if (file->trust.memory) {
        return volatile_map(file);
    }
    const fl_status status = dax_map(file);

    return status == FL_NOT_GRANTED ? page_map(file) : status;
}

static fl_status
map_kind(struct nosync_file *file, enum fl_mapping mapping)
{
    switch (mapping) {
    case FL_MAPPING_AUTO:
        return map_auto(file);
    case FL_MAPPING_DAX:
        return dax_map(file);
    case FL_MAPPING_PAGE:
        return page_map(file);
    case FL_MAPPING_VOLATILE:
        return volatile_map(file);
    case FL_MAPPING_MODEL:
        break; /* has paths of its own */
    }
    return FL_FAIL(FL_INVALID, "mapping %d", (int)mapping);
}

/* POWERCUT lets UNVERIFIED through: whether the filesystem keeps its word is not ours to refuse, only to show. */
static fl_status
check_granted(const struct nosync_file *file, enum fl_durability durability_min)
{
    const struct nosync_grant *grant = &file->map.grant;

    if (durability_min <= FL_DURABILITY_PROCESS || grant->durability > FL_DURABILITY_PROCESS) {
        return FL_OK;
    }
    return FL_FAIL(FL_NOT_GRANTED,
                   "%s is on %s: this mapping (%s) survives a crash of the process, not a power "
                   "cut; if that is enough, say --durability-min process",
                   file->path, file->trust.text,
                   grant->mapping == FL_MAPPING_PAGE ? "page" : "volatile");
}

static fl_status
open_file(struct nosync_file *file, const struct nosync_request *request)
{
    const uint64_t end = file_end(file);

    if (end > file->size_bytes_max) {
        return FL_FAIL(FL_INVALID, "%s has %" PRIu64 " bytes, more than the limit of %" PRIu64,
                       file->path, end, file->size_bytes_max);
    }
    fl_status status = map_kind(file, request->mapping);

    if (status == FL_OK) {
        status = check_granted(file, request->durability_min);
    }
    if (status == FL_OK && request->sigbus) {
        status = sigbus_add(file->base, file->reserved_bytes, &file->map.bad);
        file->sigbus = status == FL_OK;
    }
    return status;
}

fl_status
nosync_open(const struct nosync_request *request, struct nosync_map **out)
{
    struct nosync_file *file;
    fl_status status = check_request(request);

    if (status == FL_OK && model_path(request->path)) {
        return model_open(request, out);
    }
    if (status == FL_OK && request->mapping == FL_MAPPING_MODEL) {
        status = FL_FAIL(FL_INVALID, "%s: mapping 'model' goes with a path modelfs:DEVICE/NAME",
                         request->path);
    }
    if (status == FL_OK) {
        status = file_open(request, &file);
    }
    if (status != FL_OK) {
        return status;
    }
    status = open_file(file, request);
    if (status != FL_OK) {
        file_uncreate(file);
        file_close(file);
        return status;
    }
    *out = &file->map;
    return FL_OK;
}

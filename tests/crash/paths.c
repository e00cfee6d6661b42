#include "tests/crash/paths.h"

#include "base/fail.h"

#include <inttypes.h>

static struct paths_source now;

struct paths_source
paths_set(struct paths_source source)
{
    const struct paths_source before = now;

    now = source;
    return before;
}

fl_status __wrap_nosync_open(const struct nosync_request *request, struct nosync_map **out);

fl_status
__wrap_nosync_open(const struct nosync_request *request, struct nosync_map **out)
{
    *out = NULL;
    if (now.open == NULL) {
        return FL_FAIL(FL_NOT_SUPPORTED, "%s: there are no files here but the recorder's",
                       request->path);
    }
    struct nosync_map *map = now.open(now.context);

    if (request->size_bytes_max > map->media.size_bytes_max) {
        const uint64_t most = map->media.size_bytes_max;

        nosync_close(map);
        return FL_FAIL(FL_INVALID,
                       "size_bytes_max: this workload's file has at most %" PRIu64
                       " bytes: see crash_options()",
                       most);
    }
    *out = map;
    return FL_OK;
}

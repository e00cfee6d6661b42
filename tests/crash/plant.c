#include "tests/crash/plant.h"

#include "tests/crash/bugs.h"

#include "storage/engine/engine.h"
#include "storage/log/log_layout.h"
#include "tests/lib/rng.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { SITES_MAX = 256 };

unsigned crash_bug_now;
static struct rng random_bytes = {1};
static const void *sites[SITES_MAX];
static uint16_t sites_count;
static _Thread_local uint16_t site_now;
static uint32_t calls_count;
static void (*around_enter)(void);
static void (*around_leave)(void);

ssize_t __wrap_getrandom(void *dst, size_t len, unsigned flags);
void __real_pm_write_nofence(struct pm *pm, uint64_t off, const void *src, size_t len);
void __wrap_pm_write_nofence(struct pm *pm, uint64_t off, const void *src, size_t len);
void __real_pm_store_u64_nofence(struct pm *pm, uint64_t off, uint64_t value);
void __wrap_pm_store_u64_nofence(struct pm *pm, uint64_t off, uint64_t value);
void __real_pm_store_words_nofence(struct pm *pm, uint64_t off, const uint64_t *values,
                                   size_t words);
void __wrap_pm_store_words_nofence(struct pm *pm, uint64_t off, const uint64_t *values,
                                   size_t words);
fl_status __real_pm_write_through_nofence(struct pm *pm, uint64_t off, const void *src, size_t len);
fl_status __wrap_pm_write_through_nofence(struct pm *pm, uint64_t off, const void *src, size_t len);
fl_status __real_pm_drain(struct pm *pm);
fl_status __wrap_pm_drain(struct pm *pm);
fl_status __real_pm_drain_all(struct pm *pm);
fl_status __wrap_pm_drain_all(struct pm *pm);
void __real_pm_handoff(struct pm *pm);
void __wrap_pm_handoff(struct pm *pm);

void
plant_random_seed(uint64_t seed)
{
    random_bytes.state = seed;
}

ssize_t
__wrap_getrandom(void *dst, size_t len, unsigned flags)
{
    (void)flags;
    rng_fill(&random_bytes, dst, len);
    return (ssize_t)len;
}

/* ---- sites ---- */

void
plant_around(void (*enter)(void), void (*leave)(void))
{
    around_enter = enter;
    around_leave = leave;
}

static void
site_enter(const void *address)
{
    uint16_t site = 0;

    calls_count++;
    while (site < sites_count && sites[site] != address) {
        site++;
    }
    if (site == sites_count && sites_count < SITES_MAX) {
        sites[sites_count++] = address;
    }
    site_now = (uint16_t)(site + 1);
    if (around_enter != NULL) {
        around_enter();
    }
}

static void
site_leave(void)
{
    if (around_leave != NULL) {
        around_leave();
    }
    site_now = 0;
}

uint16_t
plant_site(void)
{
    return site_now;
}

uint32_t
plant_call(void)
{
    return calls_count;
}

uint16_t
plant_sites(void)
{
    return sites_count;
}

/* ---- bugs ---- */

enum { BLOCK_MIN = 4096, ROOT_OFF = 1024, ROOT_STRIDE = 2048, SEAL_OFF = 64, LINK_OFF = 72 };

static enum plant_bug bug_now;
static bool skip_drain;          /* the fence that is asked for now is left out */
static uint8_t late_bytes[4096]; /* a write that waits for the next drain to have been made */
static uint64_t late_off;
static size_t late_len;

void
plant_bug_set(enum plant_bug bug)
{
    bug_now = bug;
    late_len = 0;
}

const char *
plant_bug_name(enum plant_bug bug)
{
    static const char *const names[] = {
        "none",
        "tombstones-forgotten",
        "copies-younger",
        "copies-not-drained",
        "commit-late",
        "punch-before-free",
        "seal-skipped",
        "link-skipped",
        "link-torn",
        "table-torn",
        "root-in-place",
        "clock-forgotten",
        "blob-not-held",
        "frame-unverified",
        "frame-half",
        "delete-not-logged",
        "header-late",
        "free-late",
        "blob-table-late",
    };

    _Static_assert(sizeof(names) / sizeof(names[0]) == PLANT_BUGS, "a name for each");
    return (unsigned)bug < PLANT_BUGS ? names[bug] : "?";
}

const char *
plant_bug_workload(enum plant_bug bug)
{
    static const char *const names[PLANT_BUGS] = {
        [PLANT_TOMBSTONES_FORGOTTEN] = "tombstones",
        [PLANT_COPIES_YOUNGER] = "segments",
        [PLANT_COPIES_NOT_DRAINED] = "tombstones",
        [PLANT_PUNCH_BEFORE_FREE] = "blobs",
        [PLANT_CLOCK_FORGOTTEN] = "expiry",
        [PLANT_BLOB_NOT_HELD] = "blobs",
        [PLANT_FREE_LATE] = "blobs",
        [PLANT_BLOB_TABLE_LATE] = "blobs",
    };

    return (unsigned)bug < PLANT_BUGS && names[bug] != NULL ? names[bug] : "points";
}

/* Keep a write back until the fence after it has been made. */
static bool
keep_back(uint64_t off, const void *src, size_t len)
{
    if (len > sizeof(late_bytes) || late_len > 0) {
        return false;
    }
    memcpy(late_bytes, src, len);
    late_off = off;
    late_len = len;
    return true;
}

static void
write_late(struct pm *pm)
{
    const size_t len = late_len;

    late_len = 0;
    if (len > 0) {
        __real_pm_write_nofence(pm, late_off, late_bytes, len);
    }
}

static bool
in_table(const struct pm *pm, uint64_t off)
{
    (void)pm;
    return off >= BLOCK_MIN && off < 2 * (uint64_t)BLOCK_MIN;
}

/* True: the store was made otherwise, or not at all. */
static bool
store_bent(struct pm *pm, uint64_t off, uint64_t value)
{
    const bool in_segment = off >= 2 * (uint64_t)BLOCK_MIN;
    const bool link = in_segment && off % BLOCK_MIN == LINK_OFF;
    static uint32_t halves[2];

    if ((bug_now == PLANT_SEAL_SKIPPED && in_segment && off % BLOCK_MIN == SEAL_OFF) ||
        (bug_now == PLANT_LINK_SKIPPED && link)) {
        return true;
    }
    if ((bug_now == PLANT_LINK_TORN && link) ||
        (bug_now == PLANT_TABLE_TORN && in_table(pm, off))) {
        memcpy(halves, &value, sizeof(value));
        /* The upper half first: of the lower alone recovery makes a link to what was freed long ago. */
        __real_pm_write_nofence(pm, off + sizeof(halves[0]), &halves[1], sizeof(halves[1]));
        __real_pm_write_nofence(pm, off, &halves[0], sizeof(halves[0]));
        return true;
    }
    return false;
}

static bool
write_bent(struct pm *pm, uint64_t off, const void *src, size_t len)
{
    if (bug_now == PLANT_ROOT_IN_PLACE && off == ROOT_OFF + ROOT_STRIDE) {
        __real_pm_write_nofence(pm, ROOT_OFF, src, len);
        return true;
    }
    if (bug_now == PLANT_HEADER_LATE && off >= 2 * (uint64_t)BLOCK_MIN && off % BLOCK_MIN == 0) {
        return keep_back(off, src, len);
    }
    if (bug_now == PLANT_FRAME_HALF && off >= 2 * (uint64_t)BLOCK_MIN && off % BLOCK_MIN >= 128 &&
        len > PM_LINE_BYTES) {
        const size_t first = len - PM_LINE_BYTES;

        if (keep_back(off + first, (const uint8_t *)src + first, PM_LINE_BYTES)) {
            __real_pm_write_nofence(pm, off, src, first);
            return true;
        }
    }
    return false;
}

/* Each call is told to the recorder inside it, where plant_site() names it. */
void
__wrap_pm_write_nofence(struct pm *pm, uint64_t off, const void *src, size_t len)
{
    site_enter(__builtin_return_address(0));
    if (!write_bent(pm, off, src, len)) {
        __real_pm_write_nofence(pm, off, src, len);
    }
    site_leave();
}

void
__wrap_pm_store_u64_nofence(struct pm *pm, uint64_t off, uint64_t value)
{
    site_enter(__builtin_return_address(0));
    if (!store_bent(pm, off, value)) {
        __real_pm_store_u64_nofence(pm, off, value);
    }
    site_leave();
}

void
__wrap_pm_store_words_nofence(struct pm *pm, uint64_t off, const uint64_t *values, size_t words)
{
    site_enter(__builtin_return_address(0));
    __real_pm_store_words_nofence(pm, off, values, words);
    site_leave();
}

fl_status
__wrap_pm_write_through_nofence(struct pm *pm, uint64_t off, const void *src, size_t len)
{
    site_enter(__builtin_return_address(0));
    const bool kept =
        bug_now == PLANT_BLOB_TABLE_LATE && off % BLOCK_MIN == 128 && keep_back(off, src, len);
    const fl_status status = kept ? pm->failed : __real_pm_write_through_nofence(pm, off, src, len);

    site_leave();
    return status;
}

fl_status
__wrap_pm_drain(struct pm *pm)
{
    site_enter(__builtin_return_address(0));
    const fl_status status = skip_drain ? pm->failed : __real_pm_drain(pm);

    write_late(pm);
    site_leave();
    return status;
}

fl_status
__wrap_pm_drain_all(struct pm *pm)
{
    site_enter(__builtin_return_address(0));
    const fl_status status = skip_drain ? pm->failed : __real_pm_drain_all(pm);

    site_leave();
    return status;
}

void
__wrap_pm_handoff(struct pm *pm)
{
    site_enter(__builtin_return_address(0));
    __real_pm_handoff(pm);
    site_leave();
}

/* ---- calls between the modules ---- */

uint64_t __real_log_open_lsn_min(const struct log *log, uint32_t except, uint64_t *next);
uint64_t __wrap_log_open_lsn_min(const struct log *log, uint32_t except, uint64_t *next);
uint64_t __real_log_frame_add(struct log *log, enum log_head_id id, struct log_record *record,
                              uint64_t *lsn);
uint64_t __wrap_log_frame_add(struct log *log, enum log_head_id id, struct log_record *record,
                              uint64_t *lsn);
fl_status __real_log_frame_commit(struct log *log, enum log_head_id id, bool all);
fl_status __wrap_log_frame_commit(struct log *log, enum log_head_id id, bool all);
fl_status __real_log_segment_free(struct log *log, struct pm *pm, uint32_t block);
fl_status __wrap_log_segment_free(struct log *log, struct pm *pm, uint32_t block);
fl_status __real_heap_clock_put(struct heap *heap, struct pm *pm, uint64_t ms);
fl_status __wrap_heap_clock_put(struct heap *heap, struct pm *pm, uint64_t ms);
bool __real_engine_blob_hold(struct engine *engine, const struct log_blob_ref *ref);
bool __wrap_engine_blob_hold(struct engine *engine, const struct log_blob_ref *ref);
size_t __real_log_frame_decode(const uint8_t *src, size_t cap, struct log_seed seed,
                               struct log_batch *batch);
size_t __wrap_log_frame_decode(const uint8_t *src, size_t cap, struct log_seed seed,
                               struct log_batch *batch);

uint64_t
__wrap_log_open_lsn_min(const struct log *log, uint32_t except, uint64_t *next)
{
    const uint64_t lsn = __real_log_open_lsn_min(log, except, next);

    if (bug_now != PLANT_TOMBSTONES_FORGOTTEN) {
        return lsn;
    }
    if (next != NULL) {
        *next = UINT64_MAX;
    }
    return UINT64_MAX;
}

static bool delete_now; /* the frame being built has a delete */

uint64_t
__wrap_log_frame_add(struct log *log, enum log_head_id id, struct log_record *record, uint64_t *lsn)
{
    if (bug_now == PLANT_COPIES_YOUNGER && id == LOG_HEAD_CLEANER) {
        record->lsn_explicit = false;
    }
    delete_now = record->kind == LOG_KIND_DELETE;
    return __real_log_frame_add(log, id, record, lsn);
}

fl_status
__wrap_log_frame_commit(struct log *log, enum log_head_id id, bool all)
{
    skip_drain = (bug_now == PLANT_COPIES_NOT_DRAINED && id == LOG_HEAD_CLEANER) ||
                 (bug_now == PLANT_COMMIT_LATE && id == LOG_HEAD_MAIN) ||
                 (bug_now == PLANT_DELETE_NOT_LOGGED && delete_now);
    const fl_status status = __real_log_frame_commit(log, id, all);

    skip_drain = false;
    return status;
}

fl_status
__wrap_log_segment_free(struct log *log, struct pm *pm, uint32_t block)
{
    struct heap *heap = log_heap(log);
    const uint64_t block_bytes = heap_geometry(heap)->block_bytes;

    if (bug_now == PLANT_PUNCH_BEFORE_FREE) {
        (void)!nosync_punch(heap_map(heap), block * block_bytes,
                            log_segment_of(log, block)->blocks * block_bytes);
    }
    skip_drain = bug_now == PLANT_FREE_LATE;
    const fl_status status = __real_log_segment_free(log, pm, block);

    skip_drain = false;
    return status;
}

fl_status
__wrap_heap_clock_put(struct heap *heap, struct pm *pm, uint64_t ms)
{
    return bug_now == PLANT_CLOCK_FORGOTTEN ? FL_OK : __real_heap_clock_put(heap, pm, ms);
}

bool
__wrap_engine_blob_hold(struct engine *engine, const struct log_blob_ref *ref)
{
    return bug_now == PLANT_BLOB_NOT_HELD || __real_engine_blob_hold(engine, ref);
}

size_t
__wrap_log_frame_decode(const uint8_t *src, size_t cap, struct log_seed seed,
                        struct log_batch *batch)
{
    struct log_record record;

    if (bug_now == PLANT_FRAME_UNVERIFIED && cap >= LOG_RECORD_BYTES &&
        src[5] >> 4 != LOG_KIND_BATCH) {
        *batch = (struct log_batch){0, 0};
        return log_record_decode(src, cap, seed, false, &record) && !record.batched ? record.bytes
                                                                                    : 0;
    }
    return __real_log_frame_decode(src, cap, seed, batch);
}

static void (*before_copying)(void *context);
static void *before_copying_context;

fl_status __real_log_frame_begin(struct log *log, enum log_head_id id, uint32_t count, size_t bytes,
                                 enum heap_claim claim);
fl_status __wrap_log_frame_begin(struct log *log, enum log_head_id id, uint32_t count, size_t bytes,
                                 enum heap_claim claim);

void
plant_before_copying(void (*call)(void *context), void *context)
{
    before_copying = call;
    before_copying_context = context;
}

fl_status
__wrap_log_frame_begin(struct log *log, enum log_head_id id, uint32_t count, size_t bytes,
                       enum heap_claim claim)
{
    if (id == LOG_HEAD_CLEANER && before_copying != NULL) {
        before_copying(before_copying_context);
    }
    return __real_log_frame_begin(log, id, count, bytes, claim);
}

void
plant_site_text(uint16_t site, char *text, size_t size)
{
    char command[200];
    char function[80] = "";
    char place[200] = "";

    if (site == 0 || site > sites_count) {
        (void)snprintf(text, size, "no site");
        return;
    }
    /* The call itself is just before the return address. */
    (void)snprintf(command, sizeof(command),
                   "addr2line -f -i -e /proc/%d/exe %#" PRIxPTR " 2>/dev/null", (int)getpid(),
                   (uintptr_t)sites[site - 1] - 1);
    FILE *pipe = popen(command, "r");

    /* Inlined calls come first; the last function is the one that was called. */
    (void)snprintf(text, size, "%p", sites[site - 1]);
    for (size_t used = 0; pipe != NULL && fgets(function, sizeof(function), pipe) != NULL &&
                          fgets(place, sizeof(place), pipe) != NULL && used < size;) {
        const char *slash = strrchr(place, '/');

        function[strcspn(function, "\n")] = '\0';
        place[strcspn(place, " \n")] = '\0';
        used += (size_t)snprintf(text + used, size - used, "%s%s %s", used > 0 ? " < " : "",
                                 function, slash != NULL ? slash + 1 : place);
    }
    if (pipe != NULL) {
        (void)pclose(pipe);
    }
}

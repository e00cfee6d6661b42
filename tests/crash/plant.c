#include "tests/crash/plant.h"

#include "storage/log/log.h"
#include "tests/lib/rng.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { SITES_MAX = 256 };

static struct rng random_bytes = {1};
static const void *sites[SITES_MAX];
static uint16_t sites_count;
static _Thread_local uint16_t site_now;

ssize_t __wrap_getrandom(void *dst, size_t len, unsigned flags);
void __real_pm_write_nofence(struct pm *pm, uint64_t off, const void *src, size_t len);
void __wrap_pm_write_nofence(struct pm *pm, uint64_t off, const void *src, size_t len);
void __real_pm_store_u64_nofence(struct pm *pm, uint64_t off, uint64_t value);
void __wrap_pm_store_u64_nofence(struct pm *pm, uint64_t off, uint64_t value);
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

static void
site_enter(const void *address)
{
    for (uint16_t i = 0; i < sites_count; i++) {
        if (sites[i] == address) {
            site_now = (uint16_t)(i + 1);
            return;
        }
    }
    if (sites_count < SITES_MAX) {
        sites[sites_count++] = address;
        site_now = sites_count;
    }
}

uint16_t
plant_site(void)
{
    return site_now;
}

uint16_t
plant_sites(void)
{
    return sites_count;
}

/* Each call is told to the recorder inside it, where plant_site() names it. */
void
__wrap_pm_write_nofence(struct pm *pm, uint64_t off, const void *src, size_t len)
{
    site_enter(__builtin_return_address(0));
    __real_pm_write_nofence(pm, off, src, len);
    site_now = 0;
}

void
__wrap_pm_store_u64_nofence(struct pm *pm, uint64_t off, uint64_t value)
{
    site_enter(__builtin_return_address(0));
    __real_pm_store_u64_nofence(pm, off, value);
    site_now = 0;
}

fl_status
__wrap_pm_write_through_nofence(struct pm *pm, uint64_t off, const void *src, size_t len)
{
    site_enter(__builtin_return_address(0));
    const fl_status status = __real_pm_write_through_nofence(pm, off, src, len);

    site_now = 0;
    return status;
}

fl_status
__wrap_pm_drain(struct pm *pm)
{
    site_enter(__builtin_return_address(0));
    const fl_status status = __real_pm_drain(pm);

    site_now = 0;
    return status;
}

fl_status
__wrap_pm_drain_all(struct pm *pm)
{
    site_enter(__builtin_return_address(0));
    const fl_status status = __real_pm_drain_all(pm);

    site_now = 0;
    return status;
}

void
__wrap_pm_handoff(struct pm *pm)
{
    site_enter(__builtin_return_address(0));
    __real_pm_handoff(pm);
    site_now = 0;
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

    if (pipe == NULL || fgets(function, sizeof(function), pipe) == NULL ||
        fgets(place, sizeof(place), pipe) == NULL) {
        (void)snprintf(text, size, "%p", sites[site - 1]);
    } else {
        const char *slash = strrchr(place, '/');

        function[strcspn(function, "\n")] = '\0';
        place[strcspn(place, "\n")] = '\0';
        (void)snprintf(text, size, "%s %s", function, slash != NULL ? slash + 1 : place);
    }
    if (pipe != NULL) {
        (void)pclose(pipe);
    }
}

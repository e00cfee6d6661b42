#include "tests/crash/user.h"

#include "tests/crash/paths.h"
#include "tests/crash/plant.h"
#include "tests/lib/die.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

/* Steps of the run that is being recorded, if one is. */
static struct {
    struct record *record;
    uint64_t acknowledged, begun;
} running;

static const char store_path[] = "store.faultline";

EXPORT void
crash_options(struct fl_options *options, uint64_t size_bytes_max)
{
    enum { BLOCK_BYTES = 4096 };

    fl_options_init(options);
    options->flags = FL_OPEN_CREATE;
    options->durability_min = FL_DURABILITY_PROCESS;
    options->block_bytes = BLOCK_BYTES;
    options->size_bytes_max = size_bytes_max;
    options->blocks_ahead = 1;
    options->threads_open = 1;
    options->background = false;
}

static void
steps_mark(void)
{
    char text[64];
    struct record *record = running.record;

    (void)snprintf(text, sizeof(text), "step %" PRIu64 " acknowledged, %" PRIu64 " begun",
                   running.acknowledged, running.begun);
    char *kept = mempool_take(&record->mempool, strlen(text) + 1);
    const struct contents **may = mempool_take(&record->mempool, sizeof(may[0]));

    memcpy(kept, text, strlen(text) + 1);
    may[0] = contents_empty(&record->mempool);
    const struct trace_mark mark = {
        .may = may,
        .may_count = 1,
        .op = (uint32_t)running.begun,
        .acknowledged = running.acknowledged,
        .begun = running.begun,
        .text = kept,
    };

    trace_mark(&record->trace, &mark);
}

EXPORT void
crash_begin(uint64_t step)
{
    if (running.record != NULL) {
        running.begun = step > running.begun ? step : running.begun;
        steps_mark();
    }
}

EXPORT void
crash_acknowledge(uint64_t step)
{
    const uint64_t off = watch_check();

    if (running.record == NULL) {
        return;
    }
    running.acknowledged = step > running.acknowledged ? step : running.acknowledged;
    steps_mark();
    if (off != UINT64_MAX) {
        running.record->wrong = true;
        (void)snprintf(running.record->why, sizeof(running.record->why),
                       "the byte at %" PRIu64 " has changed, and the recorder has not seen how",
                       off);
    }
}

const struct crash_workload *
user_load(const char *file, char *why, size_t why_size)
{
    void *object = dlopen(file, RTLD_NOW | RTLD_LOCAL);

    if (object == NULL) {
        (void)snprintf(why, why_size, "%s", dlerror());
        return NULL;
    }
    const struct crash_workload *workload = dlsym(object, "crash_workload");

    if (workload == NULL) {
        (void)snprintf(why, why_size, "%s defines no crash_workload", file);
    } else if (workload->struct_bytes != sizeof(*workload) || workload->run == NULL ||
               workload->check == NULL || workload->name == NULL) {
        (void)snprintf(why, why_size, "%s: crash_workload is incomplete, or of another version",
                       file);
    } else if (workload->size_bytes_max == 0 || workload->size_bytes_max % IMAGE_PAGE != 0) {
        (void)snprintf(why, why_size, "%s: size_bytes_max is no multiple of %d", file, IMAGE_PAGE);
    } else {
        return workload;
    }
    (void)dlclose(object);
    return NULL;
}

static struct nosync_map *
open_mem(void *context)
{
    return mem_map_open(context);
}

static struct nosync_map *
open_image(void *context)
{
    return image_open(context);
}

void
user_record(struct record *record, const struct crash_workload *workload, enum pm_mode mode,
            uint64_t seed)
{
    const struct mem_map_options options = {
        .mode = mode,
        .size_bytes_max = workload->size_bytes_max,
        .recorder = trace_record,
        .recorder_context = &record->trace,
    };

    memset(record, 0, sizeof(*record));
    struct mem_map *mem = mem_map_create(&options);
    struct watch range =
        watch_shadowed(mem_map_bytes(mem), options.size_bytes_max, &trace_watch, &record->trace);
    const struct watch before = watch_set(range);
    const struct paths_source paths = paths_set((struct paths_source){open_mem, mem});

    record->trace.site = plant_site;
    record->trace.call = plant_call;
    plant_random_seed(seed);
    running.record = record;
    running.acknowledged = 0;
    running.begun = 0;
    steps_mark();
    const int failed = workload->run(store_path);

    steps_mark();
    running.record = NULL;
    if (failed != 0 && !record->wrong) {
        record->wrong = true;
        (void)snprintf(record->why, sizeof(record->why),
                       "run() returned %d; the store says: %.150s", failed, fl_last_error());
    }
    (void)paths_set(paths);
    (void)watch_set(before);
    watch_shadow_free(&range);
    mem_map_destroy(mem);
}

bool
user_check(const struct crash_workload *workload, struct image *image,
           const struct trace_mark *mark, char *why, size_t why_size)
{
    const struct paths_source paths = paths_set((struct paths_source){open_image, image});

    plant_random_seed(7);
    const char *wrong = workload->check(store_path, mark->acknowledged, mark->begun);

    (void)paths_set(paths);
    if (wrong != NULL) {
        (void)snprintf(why, why_size, "after \"%s\": %s", mark->text, wrong);
        return false;
    }
    if (image->fault_off != UINT64_MAX) {
        (void)snprintf(why, why_size, "a store at %" PRIu64 " where no block is", image->fault_off);
        return false;
    }
    return true;
}

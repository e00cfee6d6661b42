#include "tests/crash/record.h"

#include "tests/crash/plant.h"
#include "tests/crash/step.h"

#include <stdio.h>
#include <string.h>

static struct nosync_map *
open_mem(void *context)
{
    return mem_map_open(context);
}

void
record_workload(struct record *record, const struct workload *workload, enum pm_mode mode,
                uint64_t seed, const struct record_options *given)
{
    const struct mem_map_options options = {
        .mode = mode,
        .size_bytes_max = (uint64_t)workload->geometry.blocks_max * workload->geometry.block_bytes,
        .recorder = trace_record,
        .recorder_context = &record->trace,
    };
    const struct mem_map_failure *failure = given != NULL ? given->failure : NULL;
    struct mem_map *mem = mem_map_create(&options);
    struct driver driver;

    memset(record, 0, sizeof(*record));
    record->trace.site = plant_site;
    record->trace.call = plant_call;
    plant_random_seed(seed);
    if (failure != NULL) {
        mem_map_fail(mem, failure);
    }
    struct watch range =
        watch_shadowed(mem_map_bytes(mem), options.size_bytes_max, &trace_watch, &record->trace);
    const struct watch before = watch_set(range);

    driver_init(&driver, &workload->geometry, &record->mempool, &record->trace);
    driver.open_map = open_mem;
    driver.open_context = mem;
    driver.may_refuse = failure != NULL;
    driver.left_out = given != NULL ? given->left_out : NULL;
    if (given != NULL && given->stepped) {
        step_begin();
    }
    if (driver_open(&driver) == FL_OK) {
        workload->run(&driver, seed);
    }
    if (driver.store != NULL) {
        driver_close(&driver);
    }
    record->wrong = driver.wrong;
    memcpy(record->why, driver.why, sizeof(record->why));
    if (record->trace.outside > 0 && !record->wrong) {
        record->wrong = true;
        (void)snprintf(record->why, sizeof(record->why),
                       "%llu stores to media came from outside the persist layer",
                       (unsigned long long)record->trace.outside);
    }
    record->no_space = driver.no_space;
    record->steps = driver.steps;
    record->switches = driver.switches;
    record->copied_bytes = driver.copied_bytes;
    record->freed_blocks = driver.freed_blocks;
    record->segment_changes = driver.segment_changes;
    record->expired = driver.expired;
    if (given != NULL && given->stepped) {
        step_end();
    }
    (void)watch_set(before);
    watch_shadow_free(&range);
    for (int call = 0; call < MEM_MAP_CALLS; call++) {
        record->calls[call] = mem_map_calls(mem, (enum mem_map_call)call);
    }
    mem_map_destroy(mem);
}

void
record_deinit(struct record *record)
{
    trace_deinit(&record->trace);
    mempool_free(&record->mempool);
}

#include "tests/crash/digest.h"
#include "tests/crash/request.h"
#include "tests/crash/user.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void
events_print(FILE *file, const struct trace *trace)
{
    enum { TEXT = 400 };

    for (size_t i = 0; i < trace->count; i++) {
        const struct trace_event *event = &trace->events[i];
        char text[TEXT];

        trace_event_text(trace, i, text, sizeof(text));
        (void)fprintf(file, "%6zu  thread %u  %s\n", i, event->thread, text);
    }
    for (uint16_t site = 1; site <= plant_sites(); site++) {
        char text[TEXT];

        plant_site_text(site, text, sizeof(text));
        (void)fprintf(file, "site %u: %s\n", site, text);
    }
}

static void
summary_print(const struct record *record)
{
    uint64_t kinds[MEM_MAP_SYNC_FILE + 1] = {0};

    for (size_t i = 0; i < record->trace.count; i++) {
        if (!record->trace.events[i].is_mark) {
            kinds[record->trace.events[i].kind]++;
        }
    }
    (void)printf(
        "%" PRIu64 " stores, %" PRIu64 " flushes, %" PRIu64 " fences, %" PRIu64 " writes, %" PRIu64
        " syncs, %" PRIu64 " blocks faulted in, %" PRIu64 " punches, %u marks\n"
        "%u segment changes, %" PRIu64 " bytes copied and %" PRIu64
        " blocks freed by the cleaner, %" PRIu64 " expired, %u times full\n"
        "every byte that changed was seen to change; %" PRIu64
        " stores from outside the persist layer\n",
        kinds[MEM_MAP_STORE], kinds[MEM_MAP_FLUSH], kinds[MEM_MAP_FENCE], kinds[MEM_MAP_WRITE],
        kinds[MEM_MAP_SYNC], kinds[MEM_MAP_FAULT_IN], kinds[MEM_MAP_PUNCH],
        record->trace.marks_count, (unsigned)record->segment_changes, record->copied_bytes,
        record->freed_blocks, record->expired, record->no_space, record->trace.outside);
}

int
cmd_record(const struct request *request)
{
    struct request_target targets[REQUEST_NAMES_MAX];
    struct record record;
    const enum pm_mode mode = request->kinds == REQUEST_PAGE_KIND ? PM_STAGED : PM_DIRECT;
    const unsigned count = request_targets(request, targets);
    FILE *file = stdout;

    if (count != 1) {
        (void)fprintf(stderr, "faultline-crash: record takes one workload\n");
        return EXIT_USAGE;
    }
    if (request->output != NULL && (file = fopen(request->output, "w")) == NULL) {
        (void)fprintf(stderr, "faultline-crash: %s: %s\n", request->output, strerror(errno));
        return EXIT_USAGE;
    }
    if (targets[0].workload != NULL) {
        record_workload(&record, targets[0].workload, mode, request->seed, NULL);
    } else {
        user_record(&record, targets[0].user, mode, request->seed);
    }
    if (request->digest && targets[0].workload != NULL) {
        digest_print(file, targets[0].workload, &record.trace);
    } else {
        events_print(file, &record.trace);
    }
    if (file != stdout) {
        (void)fclose(file);
    }
    if (record.wrong) {
        (void)fprintf(stderr, "faultline-crash: the run itself went wrong: %s\n", record.why);
    } else if (!request->digest) {
        summary_print(&record);
    }
    const int status = record.wrong ? EXIT_VIOLATION : EXIT_GOOD;

    record_deinit(&record);
    return status;
}

int
cmd_report(const struct request *request)
{
    struct results results = {.runs = NULL};
    char why[RESULTS_TEXT];

    if (request->names_count == 0) {
        (void)fprintf(stderr, "faultline-crash: report which files? explore and score write them "
                              "with --save\n");
        return EXIT_USAGE;
    }
    for (unsigned i = 0; i < request->names_count; i++) {
        if (!results_load(&results, request->names[i], why, sizeof(why))) {
            (void)fprintf(stderr, "faultline-crash: %s\n", why);
            results_deinit(&results);
            return EXIT_USAGE;
        }
    }
    const int status = request_report(request, &results, NULL);

    results_deinit(&results);
    return status;
}

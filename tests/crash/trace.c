#include "tests/crash/trace.h"

#include "tests/lib/die.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *
grown(void *at, size_t *cap, size_t needed, size_t unit)
{
    if (needed <= *cap) {
        return at;
    }
    while (*cap < needed) {
        *cap = *cap == 0 ? 256 : *cap * 2;
    }
    at = realloc(at, *cap * unit);
    if (at == NULL) {
        die("trace: no memory");
    }
    return at;
}

void
trace_deinit(struct trace *trace)
{
    free(trace->events);
    free(trace->bytes);
    free(trace->marks);
    memset(trace, 0, sizeof(*trace));
}

bool
trace_event_same(const struct trace_event *a, const struct trace_event *b)
{
    return a->kind == b->kind && a->atomic == b->atomic && a->all == b->all &&
           a->is_mark == b->is_mark && a->thread == b->thread && a->site == b->site &&
           a->off == b->off && a->len == b->len && a->data == b->data && a->mark == b->mark;
}

/* Threads are numbered as they come. */
static uint8_t
thread_number(void)
{
    static _Atomic(unsigned) next = 1;
    static _Thread_local unsigned mine;

    if (mine == 0) {
        mine = atomic_fetch_add(&next, 1);
    }
    return (uint8_t)mine;
}

static struct trace_event *
event_add(struct trace *trace)
{
    trace->events = grown(trace->events, &trace->cap, trace->count + 1, sizeof(trace->events[0]));
    struct trace_event *event = &trace->events[trace->count++];

    memset(event, 0, sizeof(*event));
    return event;
}

void
trace_record(void *context, const struct mem_map_event *event)
{
    struct trace *trace = context;
    struct trace_event *copy = event_add(trace);

    copy->kind = event->kind;
    copy->atomic = event->atomic;
    copy->all = event->all;
    copy->off = event->off;
    copy->len = event->len;
    copy->thread = thread_number();
    copy->site = trace->site != NULL ? trace->site() : 0;
    if (event->src != NULL) {
        copy->data = trace->bytes_count;
        trace->bytes =
            grown(trace->bytes, &trace->bytes_cap, trace->bytes_count + (size_t)event->len, 1);
        memcpy(trace->bytes + copy->data, event->src, (size_t)event->len);
        trace->bytes_count += (size_t)event->len;
    }
}

void
trace_mark(struct trace *trace, const struct trace_mark *mark)
{
    size_t cap = trace->marks_cap;

    trace->marks = grown(trace->marks, &cap, trace->marks_count + 1, sizeof(trace->marks[0]));
    trace->marks_cap = (uint32_t)cap;
    trace->marks[trace->marks_count] = *mark;
    struct trace_event *event = event_add(trace);

    event->is_mark = true;
    event->mark = trace->marks_count++;
}

void
trace_event_text(const struct trace *trace, size_t at, char *text, size_t size)
{
    static const char *const names[] = {
        [MEM_MAP_STORE] = "store", [MEM_MAP_FLUSH] = "flush",
        [MEM_MAP_FENCE] = "fence", [MEM_MAP_WRITE] = "write",
        [MEM_MAP_SYNC] = "sync",   [MEM_MAP_FAULT_IN] = "fault_in",
        [MEM_MAP_PUNCH] = "punch", [MEM_MAP_SYNC_FILE] = "sync_file",
    };
    const struct trace_event *event = &trace->events[at];

    if (at >= trace->count) {
        snprintf(text, size, "the end");
    } else if (event->is_mark) {
        snprintf(text, size, "mark: %s", trace->marks[event->mark].text);
    } else {
        snprintf(text, size, "%s%s of %" PRIu64 "+%" PRIu64 ", site %u",
                 event->atomic ? "8-byte " : "", names[event->kind], event->off, event->len,
                 event->site);
    }
}

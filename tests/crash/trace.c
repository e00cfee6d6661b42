#include "tests/crash/trace.h"

#include "tests/crash/baton.h"
#include "tests/lib/die.h"

#include <inttypes.h>
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
    return a->kind == b->kind && a->flags == b->flags && a->all == b->all &&
           a->is_mark == b->is_mark && a->thread == b->thread && a->site == b->site &&
           a->off == b->off && a->len == b->len && a->data == b->data && a->mark == b->mark;
}

static struct trace_event *
event_add(struct trace *trace)
{
    trace->events = grown(trace->events, &trace->cap, trace->count + 1, sizeof(trace->events[0]));
    struct trace_event *event = &trace->events[trace->count++];

    memset(event, 0, sizeof(*event));
    return event;
}

static struct trace_event *
event_here(struct trace *trace, enum mem_map_event_kind kind, uint64_t off, uint64_t len)
{
    struct trace_event *event = event_add(trace);

    event->kind = kind;
    event->off = off;
    event->len = len;
    event->thread = (uint8_t)baton_number();
    event->site = trace->site != NULL ? trace->site() : 0;
    event->call = trace->call != NULL ? trace->call() : 0;
    return event;
}

static size_t
bytes_add(struct trace *trace, const void *src, uint64_t len)
{
    const size_t at = trace->bytes_count;

    trace->bytes = grown(trace->bytes, &trace->bytes_cap, at + (size_t)len, 1);
    memcpy(trace->bytes + at, src, (size_t)len);
    trace->bytes_count += (size_t)len;
    return at;
}

void
trace_record(void *context, const struct mem_map_event *event)
{
    struct trace *trace = context;

    watch_settle();
    struct trace_event *copy = event_here(trace, event->kind, event->off, event->len);

    copy->all = event->all;
    if (event->kind == MEM_MAP_FAULT_IN || event->kind == MEM_MAP_PUNCH ||
        event->kind == MEM_MAP_WRITE) {
        watch_expect(event->off, event->len, event->src);
    }
    if (event->src != NULL) {
        copy->data = bytes_add(trace, event->src, event->len);
    }
}

static void
on_store(void *context, uint64_t off, uint64_t len, unsigned flags)
{
    struct trace *trace = context;
    struct trace_event *event = event_here(trace, MEM_MAP_STORE, off, len);

    event->flags = (uint8_t)flags;
    event->data = bytes_add(trace, watch_range.base + off, len);
    trace->outside += trace->site != NULL && event->site == 0;
}

static void
on_flush(void *context, uint64_t off, uint64_t len)
{
    (void)event_here(context, MEM_MAP_FLUSH, off, len);
}

static void
on_fence(void *context)
{
    (void)event_here(context, MEM_MAP_FENCE, 0, 0);
}

const struct watch_ops trace_watch = {.store = on_store, .flush = on_flush, .fence = on_fence};

void
trace_mark(struct trace *trace, const struct trace_mark *mark)
{
    size_t cap = trace->marks_cap;

    watch_settle();
    trace->marks = grown(trace->marks, &cap, trace->marks_count + 1, sizeof(trace->marks[0]));
    trace->marks_cap = (uint32_t)cap;
    trace->marks[trace->marks_count] = *mark;
    struct trace_event *event = event_add(trace);

    event->is_mark = true;
    event->thread = (uint8_t)baton_number();
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
                 event->flags & WATCH_PAST_CACHE ? "NT " : "", names[event->kind], event->off,
                 event->len, event->site);
    }
}

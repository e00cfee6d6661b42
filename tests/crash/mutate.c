#include "tests/crash/mutate.h"

#include "tests/lib/die.h"

#include <stdlib.h>
#include <string.h>

const char *
mutation_name(enum mutation mutation)
{
    static const char *const names[] = {
        "none", "drop-flush", "first-line", "sink-flush", "drop-fence", "hoist-store", "sync-part",
    };

    return (unsigned)mutation < MUTATIONS ? names[mutation] : "?";
}

static bool
is(const struct trace_event *event, enum mem_map_event_kind kind)
{
    return !event->is_mark && event->kind == kind;
}

static void
move_event(struct trace *trace, size_t from, size_t to)
{
    const struct trace_event event = trace->events[from];

    if (to > from) {
        memmove(&trace->events[from], &trace->events[from + 1], (to - from) * sizeof(event));
    } else {
        memmove(&trace->events[to + 1], &trace->events[to], (from - to) * sizeof(event));
    }
    trace->events[to] = event;
}

static void
drop_event(struct trace *trace, size_t at)
{
    trace->count--;
    memmove(&trace->events[at], &trace->events[at + 1],
            (trace->count - at) * sizeof(trace->events[0]));
}

static void
insert_event(struct trace *trace, size_t at, const struct trace_event *event)
{
    if (trace->count == trace->cap) {
        trace->cap = trace->cap * 2 + 64;
        trace->events = realloc(trace->events, trace->cap * sizeof(trace->events[0]));
        if (trace->events == NULL) {
            die("mutate: no memory");
        }
    }
    memmove(&trace->events[at + 1], &trace->events[at], (trace->count - at) * sizeof(*event));
    trace->events[at] = *event;
    trace->count++;
}

static bool
past_cache(const struct trace_event *event)
{
    return is(event, MEM_MAP_STORE) && (event->flags & WATCH_PAST_CACHE) != 0;
}

/* An NT store becomes one that nobody flushes; a flush goes. */
static bool
drop_flush(struct trace *trace, size_t at)
{
    struct trace_event *event = &trace->events[at];

    if (past_cache(event)) {
        event->flags &= (uint8_t)~WATCH_PAST_CACHE;
        return true;
    }
    if (is(event, MEM_MAP_FLUSH)) {
        drop_event(trace, at);
        return true;
    }
    return false;
}

static bool
flushed_before_in_call(const struct trace *trace, size_t at)
{
    for (size_t i = at; i-- > 0 && trace->events[i].call == trace->events[at].call;) {
        if (is(&trace->events[i], MEM_MAP_FLUSH) || past_cache(&trace->events[i])) {
            return true;
        }
    }
    return false;
}

/* Of what the call writes only the first line is flushed. */
static bool
first_line(struct trace *trace, size_t at)
{
    struct trace_event *event = &trace->events[at];

    if (!past_cache(event) && !is(event, MEM_MAP_FLUSH)) {
        return false;
    }
    if (flushed_before_in_call(trace, at)) {
        return drop_flush(trace, at);
    }
    if (!past_cache(event) || event->len <= PM_LINE_BYTES) {
        return false;
    }
    struct trace_event rest = *event;

    event->len = PM_LINE_BYTES;
    rest.off += PM_LINE_BYTES;
    rest.len -= PM_LINE_BYTES;
    rest.data += PM_LINE_BYTES;
    rest.flags &= (uint8_t)~WATCH_PAST_CACHE;
    insert_event(trace, at + 1, &rest);
    return true;
}

/* The flush of what is written at `at` comes behind the thread's next fence; the operation's acknowledgement may stand
 * between. */
static bool
sink(struct trace *trace, size_t at)
{
    const struct trace_event event = trace->events[at];
    size_t i = at + 1;

    if (!past_cache(&event) && !is(&event, MEM_MAP_FLUSH)) {
        return false;
    }
    while (i < trace->count &&
           !(is(&trace->events[i], MEM_MAP_FENCE) && trace->events[i].thread == event.thread)) {
        i++;
    }
    if (i == trace->count) {
        return false;
    }
    struct trace_event flush = event;

    flush.kind = MEM_MAP_FLUSH;
    flush.flags = 0;
    insert_event(trace, i + 1, &flush);
    return drop_flush(trace, at);
}

/* Put the store at `at`, and its flush, before the fence before it: within the operation, and not before its block. */
static bool
hoist(struct trace *trace, size_t at)
{
    for (size_t i = at; i-- > 0;) {
        const struct trace_event *event = &trace->events[i];

        if (event->is_mark || event->kind == MEM_MAP_FAULT_IN || event->kind == MEM_MAP_PUNCH ||
            event->kind == MEM_MAP_SYNC_FILE) {
            return false;
        }
        if (event->kind == MEM_MAP_FENCE && event->thread == trace->events[at].thread) {
            move_event(trace, at, i);
            if (at + 1 < trace->count && is(&trace->events[at + 1], MEM_MAP_FLUSH)) {
                move_event(trace, at + 1, i + 1);
            }
            return true;
        }
    }
    return false;
}

static void
mutate_at(struct trace *trace, size_t at, enum mutation mutation, size_t *changed)
{
    struct trace_event *event = &trace->events[at];

    switch (mutation) {
    case MUTATION_DROP_FLUSH:
        *changed += drop_flush(trace, at);
        break;
    case MUTATION_FIRST_LINE:
        *changed += first_line(trace, at);
        break;
    case MUTATION_SINK_FLUSH:
        *changed += sink(trace, at);
        break;
    case MUTATION_DROP_FENCE:
        if (is(event, MEM_MAP_FENCE) || is(event, MEM_MAP_SYNC)) {
            drop_event(trace, at);
            (*changed)++;
        }
        break;
    case MUTATION_HOIST_STORE:
        *changed += is(event, MEM_MAP_STORE) && hoist(trace, at);
        break;
    case MUTATION_SYNC_PART:
        if (is(event, MEM_MAP_SYNC) && event->all) {
            event->all = false;
            (*changed)++;
        }
        break;
    case MUTATION_NONE:
    case MUTATIONS:
        break;
    }
}

struct trace
mutation_apply(const struct trace *trace, enum mutation mutation, uint16_t site, size_t *changed)
{
    struct trace copy = *trace;

    *changed = 0;
    copy.events = malloc((trace->count + 1) * sizeof(copy.events[0]));
    if (copy.events == NULL) {
        die("mutate: no memory");
    }
    memcpy(copy.events, trace->events, trace->count * sizeof(copy.events[0]));
    copy.cap = trace->count;
    const bool forwards = mutation == MUTATION_HOIST_STORE;

    /* So that nothing that moves is met twice. */
    for (size_t n = 0, count = copy.count; n < count; n++) {
        const size_t i = forwards ? n : count - 1 - n;

        if (!copy.events[i].is_mark && copy.events[i].site == site) {
            mutate_at(&copy, i, mutation, changed);
        }
    }
    return copy;
}

/* What happened to a file, step by step, with marks of what had been promised by then. */
#ifndef FL_TESTS_CRASH_TRACE_H
#define FL_TESTS_CRASH_TRACE_H

#include "tests/crash/contents.h"
#include "tests/crash/watch.h"
#include "tests/lib/mem_map.h"

/* What recovery may show from a mark on: one of `may`. */
struct trace_mark {
    const struct contents *const *may; /* may_count of them; [0]: without what is in flight */
    uint32_t may_count;
    uint32_t op;                  /* the operation's number */
    uint64_t acknowledged, begun; /* steps of a user's workload */
    uint64_t lsn_max;             /* no version acknowledged was above it; 0: not known */
    uint64_t wall_ms;             /* the wall clock */
    uint64_t
        seen_ms; /* deadlines up to here were judged over, and an acknowledged read showed it */
    const char *text; /* "put 3 acknowledged" */
};

struct trace_event {
    enum mem_map_event_kind kind;
    bool all;
    uint8_t flags;  /* STORE: watch_flag */
    bool is_mark;   /* `mark` counts, not `kind` */
    uint8_t thread; /* baton_number() */
    uint32_t call;  /* number of the call into persist/ */
    uint16_t site;  /* the call site of persist/ that caused it; 0: none */
    uint64_t off;
    uint64_t len;
    size_t data; /* STORE, WRITE: place in trace.bytes */
    uint32_t mark;
};

struct trace {
    struct trace_event *events;
    size_t count, cap;
    uint8_t *bytes;
    size_t bytes_count, bytes_cap;
    struct trace_mark *marks;
    uint32_t marks_count, marks_cap;
    uint16_t (*site)(void); /* NULL: no sites */
    uint32_t (*call)(void);
    uint64_t outside; /* stores to media that came from no call into persist/ */
};

void trace_deinit(struct trace *trace);

bool trace_event_same(const struct trace_event *a, const struct trace_event *b);

/* A mem_map_recorder; `context` is the trace. One thread at a time. */
void trace_record(void *context, const struct mem_map_event *event);
/* For watch_set(): stores, flushes and fences of instrumented code; `context` is the trace. */
extern const struct watch_ops trace_watch;

void trace_mark(struct trace *trace, const struct trace_mark *mark);

/* The event's name and place in one line, for reports. */
void trace_event_text(const struct trace *trace, size_t at, char *text, size_t size);

#endif

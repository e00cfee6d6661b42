#include "tests/crash/history.h"

#include "tests/crash/baton.h"
#include "tests/lib/die.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLIGHT_MAX = BATON_THREADS_MAX, CONFIGS_MAX = 4096, END = UINT32_C(1) << 31 };

/* What the store holds if these of the operations in flight have happened, with these answers. */
struct config {
    const struct contents *contents;
    uint32_t happened; /* a bit each place in flight */
    fl_status answers[FLIGHT_MAX];
};

struct resolver {
    struct history *history;
    const struct history_op *flight[FLIGHT_MAX]; /* NULL: free */
    struct config *configs;
    uint32_t count;
};

void
history_init(struct history *history, struct trace *trace, struct mempool *mempool,
             const struct contents *before, uint64_t wall_ms, uint64_t seen_ms)
{
    memset(history, 0, sizeof(*history));
    history->trace = trace;
    history->mempool = mempool;
    history->before = before;
    history->marks_first = trace->marks_count;
    history->wall_ms = wall_ms;
    history->seen_ms = seen_ms;
}

static void
mark_add(struct history *history, uint32_t op, const char *what, const struct history_op *of)
{
    char text[96];

    (void)snprintf(text, sizeof(text), "thread %u: %.60s %s", of->thread, of->text, what);
    char *kept = mempool_take(history->mempool, strlen(text) + 1);

    memcpy(kept, text, strlen(text) + 1);
    const struct trace_mark mark = {
        .op = op, .wall_ms = history->wall_ms, .seen_ms = history->seen_ms, .text = kept};

    trace_mark(history->trace, &mark);
}

struct history_op *
history_begin(struct history *history, const struct history_op *op)
{
    if (history->ops_count == HISTORY_OPS_MAX) {
        die("history: too many operations");
    }
    struct history_op *kept = &history->ops[history->ops_count];

    *kept = *op;
    mark_add(history, history->ops_count++, "begun", kept);
    return kept;
}

void
history_end(struct history *history, struct history_op *op)
{
    char text[40];

    (void)snprintf(text, sizeof(text), "answered %s", fl_status_name(op->status));
    mark_add(history, (uint32_t)(op - history->ops) | END, text, op);
}

/* ---- what an operation does ---- */

static bool
is_there(const struct contents *contents, const struct contents_item *item)
{
    return contents_find(contents, item->space, item->key, item->key_len) != NULL;
}

static fl_status
happen(struct mempool *mempool, const struct history_op *op, const struct contents **contents)
{
    const struct contents_item *first = &op->changes[0].item;
    const bool there = is_there(*contents, first);

    switch (op->kind) {
    case HISTORY_GET: {
        const struct contents_item *found =
            contents_find(*contents, first->space, first->key, first->key_len);

        if ((found != NULL) != (first->value != NULL)) {
            return FL_CONFLICT; /* not what was read */
        }
        if (found == NULL) {
            return FL_NOT_FOUND;
        }
        return found->len == first->len && memcmp(found->value, first->value, found->len) == 0
                   ? FL_OK
                   : FL_CONFLICT;
    }
    case HISTORY_PUT_ABSENT:
        if (there) {
            return FL_EXISTS;
        }
        break;
    case HISTORY_DELETE:
        if (!there) {
            return FL_NOT_FOUND;
        }
        break;
    case HISTORY_PUT:
    case HISTORY_BATCH:
        break;
    }
    for (unsigned i = 0; i < op->count; i++) {
        *contents = contents_with(mempool, *contents, &op->changes[i].item);
    }
    return FL_OK;
}

/* ---- configurations ---- */

static void
config_add(struct resolver *r, const struct config *config)
{
    for (uint32_t i = 0; i < r->count; i++) {
        const struct config *other = &r->configs[i];

        if (other->happened == config->happened &&
            other->contents->hash == config->contents->hash &&
            other->contents->count == config->contents->count &&
            memcmp(other->answers, config->answers, sizeof(config->answers)) == 0) {
            return;
        }
    }
    if (r->count == CONFIGS_MAX) {
        die("history: too many orders to tell apart");
    }
    r->configs[r->count++] = *config;
}

/* With whatever more can have happened. */
static void
close_under_happening(struct resolver *r)
{
    for (uint32_t i = 0; i < r->count; i++) {
        for (unsigned place = 0; place < FLIGHT_MAX; place++) {
            struct config config = r->configs[i];

            if (r->flight[place] == NULL || config.happened >> place & 1) {
                continue;
            }
            config.answers[place] = happen(r->history->mempool, r->flight[place], &config.contents);
            config.happened |= UINT32_C(1) << place;
            config_add(r, &config);
        }
    }
}

/* The operation has been answered: it has happened, and so. */
static bool
answer(struct resolver *r, const struct history_op *op)
{
    unsigned place = 0;
    uint32_t kept = 0;

    while (r->flight[place] != op) {
        place++;
    }
    for (uint32_t i = 0; i < r->count; i++) {
        struct config config = r->configs[i];
        const bool refused = op->status != FL_OK && op->status != FL_NOT_FOUND &&
                             op->status != FL_EXISTS; /* no space: nothing has happened */

        if (refused ? (config.happened >> place & 1) != 0
                    : !(config.happened >> place & 1) || config.answers[place] != op->status) {
            continue;
        }
        config.happened &= ~(UINT32_C(1) << place);
        config.answers[place] = FL_OK;
        r->configs[kept++] = config;
    }
    r->flight[place] = NULL;
    r->count = 0;
    for (uint32_t i = 0; i < kept; i++) { /* some have become the same */
        const struct config config = r->configs[i];

        config_add(r, &config);
    }
    return kept > 0;
}

static void
begin(struct resolver *r, const struct history_op *op)
{
    unsigned place = 0;

    while (place < FLIGHT_MAX && r->flight[place] != NULL) {
        place++;
    }
    if (place == FLIGHT_MAX) {
        die("history: too much in flight");
    }
    r->flight[place] = op;
}

static void
mark_fill(struct resolver *r, struct trace_mark *mark)
{
    const struct contents **may = mempool_take(r->history->mempool, r->count * sizeof(may[0]));
    uint32_t count = 0;

    for (uint32_t i = 0; i < r->count; i++) {
        uint32_t same = 0;

        while (same < count && may[same]->hash != r->configs[i].contents->hash) {
            same++;
        }
        if (same == count) {
            may[count++] = r->configs[i].contents;
        }
    }
    mark->may = may;
    mark->may_count = count;
}

bool
history_resolve(struct history *history, const struct trace_mark **last, char *why, size_t why_size)
{
    struct resolver r = {.history = history};
    bool explained = true;

    r.configs = calloc(CONFIGS_MAX, sizeof(r.configs[0]));
    if (r.configs == NULL) {
        die("history: no memory");
    }
    r.configs[0].contents = history->before;
    r.count = 1;
    for (uint32_t i = history->marks_first; i < history->trace->marks_count && explained; i++) {
        struct trace_mark *mark = &history->trace->marks[i];
        const struct history_op *op = &history->ops[mark->op & ~END];

        if (mark->op & END) {
            explained = answer(&r, op);
            if (!explained) {
                (void)snprintf(why, why_size,
                               "no order of the operations explains the answer of: %s", mark->text);
            }
        } else {
            begin(&r, op);
        }
        close_under_happening(&r);
        mark_fill(&r, mark);
        *last = mark;
    }
    free(r.configs);
    return explained;
}

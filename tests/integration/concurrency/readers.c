/* The threads that only read, and judge what they read. */
#include "tests/integration/concurrency/field.h"

#include "tests/lib/die.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { VIEWS = 12, SNAPSHOT_POINTS = 50, HOLD_MS = 20 };

static void
hand_free(struct field_hand *hand)
{
    free(hand->value);
    free(hand);
}

static void
pause_ms(uint64_t ms)
{
    const struct timespec pause = {.tv_nsec = (long)ms * 1000000L};

    nanosleep(&pause, NULL);
}

void *
field_reader(void *arg)
{
    struct field_hand *hand = arg;
    static _Thread_local uint64_t last[FIELD_WRITERS][FIELD_KEYS];
    uint8_t *got = malloc((size_t)FIELD_VALUE_BYTES_MAX);

    while (!field_stopped(hand) && got != NULL) {
        const unsigned writer = (unsigned)rng_below(&hand->rng, FIELD_WRITERS);
        const unsigned i = (unsigned)rng_below(&hand->rng, FIELD_KEYS);
        char name[FIELD_KEY_BYTES + 1];
        size_t len = 0;
        const fl_status status = fl_get(hand->field->store, field_key(FIELD_OWNED, writer, i, name),
                                        got, (size_t)FIELD_VALUE_BYTES_MAX, &len);

        field_count(&hand->field->gets);
        if (status == FL_NOT_FOUND) {
            continue;
        }
        field_must(status, "fl_get");
        const uint64_t version =
            field_version(hand->field, FIELD_OWNED, writer, i, fl_bytes(got, len), hand->value);

        if (version < last[writer][i]) {
            die("key %u of writer %u went back from version %" PRIu64 " to %" PRIu64, i, writer,
                last[writer][i], version);
        }
        last[writer][i] = version;
    }
    free(got);
    hand_free(hand);
    return NULL;
}

struct held {
    struct fl_view view;
    enum field_kind kind;
    unsigned writer;
    unsigned i;
    uint64_t version;
    bool there;
};

static void
hold_one(struct field_hand *hand, struct held *held)
{
    char name[FIELD_KEY_BYTES + 1];

    held->kind = rng_below(&hand->rng, 4) == 0 ? FIELD_MORTAL : FIELD_OWNED;
    held->writer = (unsigned)rng_below(&hand->rng, FIELD_WRITERS);
    held->i =
        (unsigned)rng_below(&hand->rng, held->kind == FIELD_MORTAL ? FIELD_MORTALS : FIELD_KEYS);
    const fl_status status = fl_get_view(
        hand->field->store, field_key(held->kind, held->writer, held->i, name), &held->view);

    held->there = status == FL_OK;
    if (held->there) {
        held->version = field_version(hand->field, held->kind, held->writer, held->i,
                                      held->view.value, hand->value);
    } else if (status != FL_NOT_FOUND) {
        field_must(status, "fl_get_view");
    }
}

/* Several views at a time; after a while each still holds the same bytes. */
void *
field_holder(void *arg)
{
    struct field_hand *hand = arg;
    struct held held[VIEWS];

    while (!field_stopped(hand)) {
        for (unsigned n = 0; n < VIEWS; n++) {
            hold_one(hand, &held[n]);
        }
        pause_ms(rng_below(&hand->rng, HOLD_MS));
        for (unsigned n = 0; n < VIEWS; n++) {
            if (!held[n].there) {
                continue;
            }
            if (field_version(hand->field, held[n].kind, held[n].writer, held[n].i,
                              held[n].view.value, hand->value) != held[n].version) {
                die("a view changed while it was held");
            }
            fl_view_release(&held[n].view);
            field_count(&hand->field->views);
        }
    }
    hand_free(hand);
    return NULL;
}

/* ---- in order ---- */

struct pass {
    uint64_t owned[FIELD_WRITERS][FIELD_KEYS]; /* versions met, 0: not met */
    bool accounts[FIELD_ACCOUNTS];
    bool counters[FIELD_COUNTERS];
    unsigned accounts_met;
    unsigned counters_met;
    int64_t sum;
    char last[FIELD_KEY_BYTES];
    bool any;
};

static void
pass_meet(struct field_hand *hand, struct pass *pass, struct fl_cursor *cursor, bool forwards,
          bool live)
{
    const struct fl_bytes key = fl_cursor_key(cursor);
    enum field_kind kind;
    unsigned writer;
    unsigned i;
    struct fl_view view;

    field_key_parse(key, &kind, &writer, &i);
    if (pass->any && (memcmp(key.ptr, pass->last, FIELD_KEY_BYTES) > 0) != forwards) {
        die("%.7s comes %s %.7s", (const char *)key.ptr, forwards ? "behind" : "before",
            pass->last);
    }
    memcpy(pass->last, key.ptr, FIELD_KEY_BYTES);
    pass->any = true;
    const fl_status status = fl_cursor_view(cursor, &view);

    if (status == FL_NOT_FOUND && (live || kind == FIELD_MORTAL)) {
        return; /* gone since: deleted, or its deadline has passed */
    }
    field_must(status, "fl_cursor_view");
    if (kind == FIELD_ACCOUNT && i < FIELD_ACCOUNTS) {
        pass->sum += field_number(view.value);
        pass->accounts_met += !pass->accounts[i];
        pass->accounts[i] = true;
    } else if (kind == FIELD_COUNTER && i < FIELD_COUNTERS) {
        pass->counters_met += !pass->counters[i];
        pass->counters[i] = true;
    } else {
        const uint64_t version =
            field_version(hand->field, kind, writer, i, view.value, hand->value);

        if (kind == FIELD_OWNED) {
            pass->owned[writer][i] = version;
        }
    }
}

/* What holds of one consistent state. */
static void
pass_judge(const struct pass *pass, const char *what)
{
    if (pass->sum != (int64_t)FIELD_ACCOUNTS * FIELD_ACCOUNT_START) {
        die("%s: the accounts sum up to %" PRId64, what, pass->sum);
    }
    for (unsigned writer = 0; writer < FIELD_WRITERS; writer++) {
        for (unsigned i = 0; i < FIELD_TWINS; i += 2) {
            if (pass->owned[writer][i] != pass->owned[writer][i + 1]) {
                die("%s: half a batch: writer %u, keys %u and %u are of versions %" PRIu64
                    " and %" PRIu64,
                    what, writer, i, i + 1, pass->owned[writer][i], pass->owned[writer][i + 1]);
            }
        }
    }
}

static void
pass_run(struct field_hand *hand, struct pass *pass, const struct fl_cursor_options *options,
         bool forwards)
{
    const bool live = options->live;
    struct fl_cursor *cursor = NULL;

    memset(pass, 0, sizeof(*pass));
    field_must(fl_cursor_open(hand->field->store, options, &cursor), "fl_cursor_open");
    fl_status status = forwards ? fl_cursor_first(cursor) : fl_cursor_last(cursor);

    while (status == FL_OK) {
        pass_meet(hand, pass, cursor, forwards, live);
        status = forwards ? fl_cursor_next(cursor) : fl_cursor_prev(cursor);
    }
    if (status != FL_END) {
        field_must(status, "moving a cursor");
    }
    fl_cursor_close(cursor);
    if (pass->accounts_met != FIELD_ACCOUNTS || pass->counters_met != FIELD_COUNTERS) {
        die("a pass met %u accounts and %u counters", pass->accounts_met, pass->counters_met);
    }
    if (!live) {
        pass_judge(pass, options->snapshot != NULL ? "snapshot" : "cursor");
    }
    field_count(&hand->field->passes);
}

/* From a random key on, a few steps back and forth: the same keys in a consistent cursor. */
static void
walk_about(struct field_hand *hand)
{
    struct fl_cursor *cursor = NULL;
    char name[FIELD_KEY_BYTES + 1];
    char met[FIELD_KEY_BYTES];
    const struct fl_key key = field_key(FIELD_OWNED, (unsigned)rng_below(&hand->rng, FIELD_WRITERS),
                                        (unsigned)rng_below(&hand->rng, FIELD_KEYS), name);

    field_must(fl_cursor_open(hand->field->store, NULL, &cursor), "fl_cursor_open");
    if (fl_cursor_seek(cursor, fl_bytes(key.ptr, key.len)) == FL_OK) {
        if (memcmp(fl_cursor_key(cursor).ptr, name, FIELD_KEY_BYTES) < 0) {
            die("a seek to %s ends at %.7s", name, (const char *)fl_cursor_key(cursor).ptr);
        }
        memcpy(met, fl_cursor_key(cursor).ptr, sizeof(met));
        if (fl_cursor_prev(cursor) == FL_OK) {
            field_must(fl_cursor_next(cursor), "fl_cursor_next");
            if (memcmp(fl_cursor_key(cursor).ptr, met, sizeof(met)) != 0) {
                die("back and forth from %.7s ends at %.7s", met,
                    (const char *)fl_cursor_key(cursor).ptr);
            }
        }
    }
    fl_cursor_close(cursor);
}

void *
field_walker(void *arg)
{
    struct field_hand *hand = arg;
    struct pass *pass = malloc(sizeof(*pass));

    while (!field_stopped(hand) && pass != NULL) {
        const struct fl_cursor_options options = {.live = rng_below(&hand->rng, 3) == 0};

        pass_run(hand, pass, &options, rng_below(&hand->rng, 2) == 0);
        walk_about(hand);
    }
    free(pass);
    hand_free(hand);
    return NULL;
}

static void
snapshot_points(struct field_hand *hand, struct fl_snapshot *snapshot, const struct pass *pass)
{
    for (unsigned n = 0; n < SNAPSHOT_POINTS; n++) {
        const unsigned writer = (unsigned)rng_below(&hand->rng, FIELD_WRITERS);
        const unsigned i = (unsigned)rng_below(&hand->rng, FIELD_KEYS);
        char name[FIELD_KEY_BYTES + 1];
        struct fl_view view;
        uint64_t version = 0;
        const fl_status status =
            fl_snapshot_get_view(snapshot, field_key(FIELD_OWNED, writer, i, name), &view);

        if (status == FL_OK) {
            version = field_version(hand->field, FIELD_OWNED, writer, i, view.value, hand->value);
            fl_view_release(&view);
        } else if (status != FL_NOT_FOUND) {
            field_must(status, "fl_snapshot_get_view");
        }
        if (version != pass->owned[writer][i]) {
            die("a snapshot has version %" PRIu64 " of writer %u's key %u in order, %" PRIu64
                " by point",
                pass->owned[writer][i], writer, i, version);
        }
    }
}

/* A snapshot looks the same forwards, backwards and by point, however old it gets. */
void *
field_historian(void *arg)
{
    struct field_hand *hand = arg;
    struct pass *passes = malloc(2 * sizeof(*passes));

    while (!field_stopped(hand) && passes != NULL) {
        struct fl_snapshot *snapshot = NULL;

        field_must(fl_snapshot_create(hand->field->store, &snapshot), "fl_snapshot_create");
        const struct fl_cursor_options options = {.snapshot = snapshot};

        pass_run(hand, &passes[0], &options, true);
        pause_ms(rng_below(&hand->rng, HOLD_MS));
        snapshot_points(hand, snapshot, &passes[0]);
        pass_run(hand, &passes[1], &options, false);
        if (memcmp(passes[0].owned, passes[1].owned, sizeof(passes[0].owned)) != 0) {
            die("a snapshot changed while it was held");
        }
        fl_snapshot_release(snapshot);
        field_count(&hand->field->snapshots);
    }
    free(passes);
    hand_free(hand);
    return NULL;
}

void *
field_statistician(void *arg)
{
    struct field_hand *hand = arg;
    struct fl_stats before = {.struct_bytes = sizeof(before)};

    fl_stats(hand->field->store, &before);
    while (!field_stopped(hand)) {
        struct fl_stats now = {.struct_bytes = sizeof(now)};
        char name[FIELD_KEY_BYTES + 1];
        size_t len = 0;

        fl_stats(hand->field->store, &now);
        if (now.commits_total < before.commits_total || now.fences_total < before.fences_total ||
            now.records_total < before.records_total || now.put_path_faults_total != 0) {
            die("figures went back, or a put took a fault");
        }
        before = now;
        if (fl_count(hand->field->store, 0) < FIELD_ACCOUNTS + FIELD_COUNTERS) {
            die("fl_count is too low");
        }
        field_must(fl_random_key(hand->field->store, 0, name, sizeof(name), &len), "fl_random_key");
        field_must(fl_sync(hand->field->store), "fl_sync");
        pause_ms(1);
    }
    hand_free(hand);
    return NULL;
}

/* The threads that change the store. */
#include "tests/integration/concurrency/field.h"

#include "tests/lib/die.h"

#include <inttypes.h>
#include <stdlib.h>

enum { BATCH_TWINS = 4, MORTAL_MS = 30 };

static void
hand_free(struct field_hand *hand)
{
    free(hand->value);
    free(hand);
}

static void
put_owned(struct field_hand *hand, unsigned i, uint64_t version)
{
    char name[FIELD_KEY_BYTES + 1];
    const struct fl_key key = field_key(FIELD_OWNED, hand->number, i, name);
    const size_t len = field_value(hand->field, FIELD_OWNED, hand->number, i, version, hand->value);

    field_must(fl_put(hand->field->store, key, fl_bytes(hand->value, len), NULL), "fl_put");
    hand->field->owned[hand->number][i] = version;
    field_count(&hand->field->puts);
}

static void
delete_owned(struct field_hand *hand, unsigned i)
{
    char name[FIELD_KEY_BYTES + 1];
    const fl_status status =
        fl_delete(hand->field->store, field_key(FIELD_OWNED, hand->number, i, name));
    const bool there = hand->field->owned[hand->number][i] != 0;

    if (status != (there ? FL_OK : FL_NOT_FOUND)) {
        die("fl_delete of a key that is%s there: status %d: %s", there ? "" : "n't", (int)status,
            fl_last_error());
    }
    hand->field->owned[hand->number][i] = 0;
    field_count(&hand->field->deletes);
}

/* What this thread wrote last is what it reads: the put was durable on return. */
static void
read_back(struct field_hand *hand, unsigned i)
{
    const uint64_t expected = hand->field->owned[hand->number][i];
    char name[FIELD_KEY_BYTES + 1];
    struct fl_view view;
    uint64_t version = 0;
    const fl_status status =
        fl_get_view(hand->field->store, field_key(FIELD_OWNED, hand->number, i, name), &view);

    if (status == FL_OK) {
        version = field_version(hand->field, FIELD_OWNED, hand->number, i, view.value, hand->value);
        fl_view_release(&view);
    }
    if (version != expected) {
        die("writer %u wrote version %" PRIu64 " and reads %" PRIu64 " (status %d)", hand->number,
            expected, version, (int)status);
    }
}

static void
put_mortal(struct field_hand *hand, unsigned i, uint64_t version)
{
    const struct fl_put_options options = {.deadline_ms = fl_now_ms(hand->field->store) + 1 +
                                                          rng_below(&hand->rng, MORTAL_MS)};
    char name[FIELD_KEY_BYTES + 1];
    const struct fl_key key = field_key(FIELD_MORTAL, hand->number, i, name);
    const size_t len =
        field_value(hand->field, FIELD_MORTAL, hand->number, i, version, hand->value);

    field_must(fl_put(hand->field->store, key, fl_bytes(hand->value, len), &options), "fl_put");
}

/* Change a twin pair in the batch: both get `version`, or both go. */
static void
change_twins(struct field_hand *hand, struct fl_batch *batch, unsigned pair, uint64_t version)
{
    const bool deletes = rng_below(&hand->rng, 5) == 0;
    char name[FIELD_KEY_BYTES + 1];

    for (unsigned i = 2 * pair; i < 2 * pair + 2; i++) {
        const struct fl_key key = field_key(FIELD_OWNED, hand->number, i, name);
        uint64_t *known = &hand->field->owned[hand->number][i];

        if (!deletes) {
            const size_t len =
                field_value(hand->field, FIELD_OWNED, hand->number, i, version, hand->value);

            field_must(fl_batch_put(batch, key, fl_bytes(hand->value, len), NULL), "fl_batch_put");
            *known = version;
        } else if (*known != 0) {
            field_must(fl_batch_delete(batch, key), "fl_batch_delete");
            *known = 0;
        }
    }
}

/* The batch sees what was submitted before it, durable or not. */
static void
read_through_batch(struct field_hand *hand, struct fl_batch *batch, unsigned i)
{
    char name[FIELD_KEY_BYTES + 1];
    struct fl_view view;
    uint64_t version = 0;
    const fl_status status =
        fl_batch_get_view(batch, field_key(FIELD_OWNED, hand->number, i, name), &view);

    if (status == FL_OK) {
        version = field_version(hand->field, FIELD_OWNED, hand->number, i, view.value, hand->value);
        fl_view_release(&view);
    }
    if (version != hand->field->owned[hand->number][i]) {
        die("writer %u's batch reads version %" PRIu64 " of key %u instead of %" PRIu64,
            hand->number, version, i, hand->field->owned[hand->number][i]);
    }
}

/* Odd writers commit and wait; even ones submit and go on. */
static void
write_batch(struct field_hand *hand, struct fl_batch *batch, uint64_t version, uint64_t *ticket)
{
    const unsigned pairs = 1 + (unsigned)rng_below(&hand->rng, BATCH_TWINS);

    for (unsigned n = 0; n < pairs; n++) {
        change_twins(hand, batch, (unsigned)rng_below(&hand->rng, FIELD_TWINS / 2), version);
    }
    read_through_batch(hand, batch, (unsigned)rng_below(&hand->rng, FIELD_TWINS));
    if (hand->number % 2 == 1) {
        field_must(fl_batch_commit(batch), "fl_batch_commit");
    } else {
        field_must(fl_batch_submit(batch, ticket), "fl_batch_submit");
        read_through_batch(hand, batch, (unsigned)rng_below(&hand->rng, FIELD_TWINS));
    }
    field_count(&hand->field->batches);
}

void *
field_writer(void *arg)
{
    struct field_hand *hand = arg;
    struct fl_batch *batch = NULL;
    uint64_t ticket = 0;

    field_must(fl_batch_create(hand->field->store, &batch), "fl_batch_create");
    for (uint64_t version = 1; !field_stopped(hand); version++) {
        const unsigned single =
            FIELD_TWINS + (unsigned)rng_below(&hand->rng, FIELD_KEYS - FIELD_TWINS);
        const uint64_t dice = rng_below(&hand->rng, 100);

        if (dice < 55) {
            put_owned(hand, single, version);
        } else if (dice < 65) {
            delete_owned(hand, single);
        } else if (dice < 70) {
            read_back(hand, single);
        } else if (dice < 80) {
            put_mortal(hand, (unsigned)rng_below(&hand->rng, FIELD_MORTALS), version);
        } else {
            write_batch(hand, batch, version, &ticket);
            if (dice < 84) {
                field_must(fl_wait(hand->field->store, ticket), "fl_wait");
            }
        }
    }
    field_must(fl_wait(hand->field->store, ticket), "fl_wait");
    fl_batch_destroy(batch);
    hand_free(hand);
    return NULL;
}

static int64_t
get_number(struct field_hand *hand, struct fl_key key, uint64_t *lsn)
{
    struct fl_view view;

    field_must(fl_get_view(hand->field->store, key, &view), "fl_get_view of a number");
    const int64_t number = field_number(view.value);

    *lsn = view.lsn;
    fl_view_release(&view);
    return number;
}

void *
field_banker(void *arg)
{
    struct field_hand *hand = arg;
    struct fl_batch *batch = NULL;

    field_must(fl_batch_create(hand->field->store, &batch), "fl_batch_create");
    while (!field_stopped(hand)) {
        const unsigned from = (unsigned)rng_below(&hand->rng, FIELD_ACCOUNTS);
        const unsigned to =
            (from + 1 + (unsigned)rng_below(&hand->rng, FIELD_ACCOUNTS - 1)) % FIELD_ACCOUNTS;
        const int64_t amount = (int64_t)rng_below(&hand->rng, 100);
        char names[2][FIELD_KEY_BYTES + 1];
        const struct fl_key keys[] = {field_key(FIELD_ACCOUNT, 0, from, names[0]),
                                      field_key(FIELD_ACCOUNT, 0, to, names[1])};
        uint64_t lsns[2];
        int64_t balances[] = {get_number(hand, keys[0], &lsns[0]) - amount,
                              get_number(hand, keys[1], &lsns[1]) + amount};

        for (unsigned i = 0; i < 2; i++) {
            field_must(fl_batch_require(batch, keys[i], lsns[i]), "fl_batch_require");
            field_must(fl_batch_put(batch, keys[i], fl_bytes(&balances[i], 8), NULL),
                       "fl_batch_put");
        }
        const fl_status status = fl_batch_commit(batch);

        if (status == FL_CONFLICT) {
            field_count(&hand->field->conflicts);
        } else {
            field_must(status, "fl_batch_commit of a transfer");
            field_count(&hand->field->batches);
        }
    }
    fl_batch_destroy(batch);
    hand_free(hand);
    return NULL;
}

void *
field_counter(void *arg)
{
    struct field_hand *hand = arg;

    while (!field_stopped(hand)) {
        const unsigned i = (unsigned)rng_below(&hand->rng, FIELD_COUNTERS);
        struct fl_put_options options = {.condition = FL_IF_LSN};
        char name[FIELD_KEY_BYTES + 1];
        const struct fl_key key = field_key(FIELD_COUNTER, 0, i, name);
        const int64_t number = get_number(hand, key, &options.lsn) + 1;
        const fl_status status =
            fl_put(hand->field->store, key, fl_bytes(&number, sizeof(number)), &options);

        if (status == FL_CONFLICT) {
            field_count(&hand->field->conflicts);
        } else {
            field_must(status, "fl_put of a counter");
            field_count(&hand->field->counted[i]);
        }
    }
    hand_free(hand);
    return NULL;
}

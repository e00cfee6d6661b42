#include "script.h"

#include <faultline/batch.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_BYTES = 16, VALUE_BYTES_MAX = 400 * 1024, BATCH_KEYS = 8 };

static uint64_t
mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t
draw(uint64_t seed, uint64_t step, unsigned what)
{
    return mix(mix(seed + 1) + step * 16 + what);
}

enum action { ACTION_PUT, ACTION_DELETE, ACTION_BATCH };

static enum action
action_of(uint64_t seed, uint64_t step)
{
    const uint64_t dice = draw(seed, step, 0) % 20;

    return dice < 2 ? ACTION_DELETE : dice < 5 ? ACTION_BATCH : ACTION_PUT;
}

static unsigned
key_of(uint64_t seed, uint64_t step, unsigned nth)
{
    return (unsigned)((draw(seed, step, 1) + nth) % SCRIPT_KEYS);
}

/* Mostly short; now and then one that needs blocks of its own. */
static size_t
value_bytes(uint64_t seed, uint64_t step, unsigned key)
{
    const uint64_t drawn = draw(seed, step * SCRIPT_KEYS + key, 2);

    return drawn % 64 == 0 ? (size_t)(drawn >> 8) % VALUE_BYTES_MAX : (size_t)(drawn >> 8) % 3000;
}

static void
fill_value(uint64_t seed, uint64_t step, unsigned key, uint8_t *to, size_t len)
{
    uint64_t word = draw(seed, step * SCRIPT_KEYS + key, 3);

    for (size_t i = 0; i < len; i++) {
        if (i % sizeof(word) == 0) {
            word = mix(word + 1);
        }
        to[i] = (uint8_t)(word >> (8 * (i % sizeof(word))));
    }
}

static struct fl_key
name_key(unsigned key, char name[KEY_BYTES])
{
    snprintf(name, KEY_BYTES, "key-%05u", key);
    return fl_key(name, strlen(name));
}

static fl_status
do_batch(struct fl_store *store, uint64_t seed, uint64_t step, uint8_t *value)
{
    struct fl_batch *batch = NULL;
    fl_status status = fl_batch_create(store, &batch);

    for (unsigned i = 0; i < BATCH_KEYS && status == FL_OK; i++) {
        char name[KEY_BYTES];
        const unsigned key = key_of(seed, step, i);
        const size_t len = value_bytes(seed, step, key) % 3000;

        fill_value(seed, step, key, value, len);
        status = fl_batch_put(batch, name_key(key, name), fl_bytes(value, len), NULL);
    }
    if (status == FL_OK) {
        status = fl_batch_commit(batch);
    }
    if (batch != NULL) {
        fl_batch_destroy(batch);
    }
    return status;
}

fl_status
script_do(struct fl_store *store, uint64_t seed, uint64_t step)
{
    char name[KEY_BYTES];
    const unsigned key = key_of(seed, step, 0);
    uint8_t *value = malloc(VALUE_BYTES_MAX);
    const size_t len = value_bytes(seed, step, key);
    fl_status status = FL_NO_MEMORY;

    if (value == NULL) {
        return status;
    }
    switch (action_of(seed, step)) {
    case ACTION_PUT:
        fill_value(seed, step, key, value, len);
        status = fl_put(store, name_key(key, name), fl_bytes(value, len), NULL);
        break;
    case ACTION_DELETE:
        status = fl_delete(store, name_key(key, name));
        status = status == FL_NOT_FOUND ? FL_OK : status;
        break;
    case ACTION_BATCH:
        status = do_batch(store, seed, step, value);
        break;
    }
    free(value);
    return status;
}

void
script_expect(struct script_state *state, uint64_t seed, uint64_t step)
{
    const enum action action = action_of(seed, step);
    const unsigned keys = action == ACTION_BATCH ? BATCH_KEYS : 1;

    for (unsigned i = 0; i < keys; i++) {
        state->step[key_of(seed, step, i)] = action == ACTION_DELETE ? 0 : step;
    }
}

static fl_status
compare_key(struct fl_store *store, uint64_t seed, uint64_t step, unsigned key, uint8_t *expected,
            bool *same)
{
    char name[KEY_BYTES];
    struct fl_view view;
    const fl_status status = fl_get_view(store, name_key(key, name), &view);

    if (status != FL_OK) {
        *same = status == FL_NOT_FOUND && step == 0;
        return status == FL_NOT_FOUND ? FL_OK : status;
    }
    size_t len = step == 0 ? 0 : value_bytes(seed, step, key);

    if (step != 0 && action_of(seed, step) == ACTION_BATCH) {
        len %= 3000;
    }
    fill_value(seed, step, key, expected, len);
    *same = step != 0 && view.value.len == len && memcmp(view.value.ptr, expected, len) == 0;
    fl_view_release(&view);
    return FL_OK;
}

fl_status
script_compare(struct fl_store *store, uint64_t seed, const struct script_state *state, bool *same,
               unsigned *key)
{
    uint8_t *expected = malloc(VALUE_BYTES_MAX);
    fl_status status = expected == NULL ? FL_NO_MEMORY : FL_OK;

    *same = true;
    for (unsigned i = 0; i < SCRIPT_KEYS && status == FL_OK && *same; i++) {
        status = compare_key(store, seed, state->step[i], i, expected, same);
        *key = i;
    }
    free(expected);
    return status;
}

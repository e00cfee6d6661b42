#include "tests/golden/contents.h"

#include "storage/api/store.h"
#include "tests/lib/die.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAINTAIN_STEPS_MAX = 10000 };

static uint64_t
contents_now(void *context)
{
    return ((const struct contents *)context)->now_ms;
}

void
contents_options(struct contents *contents, struct fl_options *options)
{
    fl_options_init(options);
    options->durability_min = FL_DURABILITY_PROCESS;
    options->block_bytes = CONTENTS_BLOCK_BYTES;
    options->size_bytes_max = CONTENTS_SIZE_MAX;
    options->blocks_ahead = 1;
    options->threads_open = 1;
    options->background = false;
    options->now_ms = contents_now;
    options->context = contents;
}

struct fl_key
contents_key(unsigned space, unsigned i, uint8_t buf[512])
{
    const size_t len = i % 11 == 3 ? 300 : i % 5 == 1 ? 40 : 7;

    memset(buf, 'k', len);
    snprintf((char *)buf, 8, "key:%03u", i);
    buf[7 % len] = i % 3 == 0 ? 0 : 0xfe;
    return fl_key_in((uint8_t)space, buf, len);
}

static uint8_t
value_byte(unsigned space, const struct contents_entry *entry, size_t at)
{
    return (uint8_t)(space * 89 + entry->pattern * 31 + entry->version * 7 + at + at / 251);
}

static bool
value_is(struct fl_bytes value, unsigned space, const struct contents_entry *entry)
{
    const uint8_t *bytes = value.ptr;

    if (value.len != entry->len) {
        return false;
    }
    for (size_t at = 0; at < value.len; at++) {
        if (bytes[at] != value_byte(space, entry, at)) {
            return false;
        }
    }
    return true;
}

bool
contents_alive(const struct contents_entry *entry, uint64_t now_ms)
{
    return entry->there && (entry->deadline_ms == 0 || entry->deadline_ms > now_ms);
}

static void
must(const char *what, fl_status status)
{
    if (status != FL_OK) {
        die("%s: %s: %s", what, fl_status_name(status), fl_last_error());
    }
}

/* Note the put, and do it: in the batch, or alone. */
static void
put(struct contents *c, struct fl_batch *batch, unsigned space, unsigned i,
    struct contents_entry entry)
{
    static _Thread_local uint8_t value[CONTENTS_VALUE_MAX];
    const struct fl_put_options options = {.deadline_ms = entry.deadline_ms, .type = entry.type};
    uint8_t buf[512];

    entry.there = true;
    entry.version = ++c->version;
    entry.pattern = i;
    c->entries[space][i] = entry;
    if (c->store == NULL) {
        return;
    }
    for (uint32_t at = 0; at < entry.len; at++) {
        value[at] = value_byte(space, &entry, at);
    }
    const struct fl_key key = contents_key(space, i, buf);

    must("put", batch != NULL ? fl_batch_put(batch, key, fl_bytes(value, entry.len), &options)
                              : fl_put(c->store, key, fl_bytes(value, entry.len), &options));
}

void
contents_maintain(struct fl_store *store)
{
    for (int steps = 0; fl_maintain(store) == FL_OK; steps++) {
        if (steps == MAINTAIN_STEPS_MAX) {
            die("the store's background work has no end");
        }
    }
}

void
contents_put(struct contents *c, unsigned space, unsigned i, uint32_t len)
{
    put(c, NULL, space, i, (struct contents_entry){.len = len});
}

static void
erase(struct contents *c, unsigned space, unsigned i)
{
    uint8_t buf[512];

    c->entries[space][i].there = false;
    if (c->store != NULL) {
        must("delete", fl_delete(c->store, contents_key(space, i, buf)));
    }
}

static void
write_simple(struct contents *c)
{
    for (unsigned i = 0; i < CONTENTS_KEYS; i++) {
        contents_put(c, 0, i, (uint32_t)(i * 5));
    }
    for (unsigned i = 0; i < CONTENTS_KEYS; i += 3) {
        contents_put(c, 0, i, (uint32_t)(150 - i));
    }
    for (unsigned i = 1; i < CONTENTS_KEYS; i += 6) {
        erase(c, 0, i);
    }
}

static void
write_batches(struct contents *c)
{
    struct fl_batch *batch = NULL;

    if (c->store != NULL) {
        must("batch", fl_batch_create(c->store, &batch));
    }
    for (unsigned from = 0; from < CONTENTS_KEYS; from += 16) {
        for (unsigned i = from; i < from + 16; i++) {
            struct contents_entry entry = {.len = i * 3, .type = (uint8_t)(i % 16)};

            if (i % 4 == 1) {
                entry.deadline_ms = i % 8 == 1 ? CONTENTS_SOON_MS : CONTENTS_LATE_MS;
            }
            put(c, batch, 1, i, entry);
        }
        if (batch != NULL) {
            must("commit", fl_batch_commit(batch));
        }
    }
    for (unsigned i = 40; i < 44; i++) { /* inline, and together longer than a block */
        for (unsigned n = 0; n < 3; n++) {
            put(c, batch, 1, i + n, (struct contents_entry){.len = 500});
        }
    }
    if (batch != NULL) {
        must("commit", fl_batch_commit(batch));
    }
    fl_batch_destroy(batch);
}

static void
rename_key(struct contents *c, unsigned from, unsigned to)
{
    struct fl_batch *batch = NULL;
    uint8_t buf[2][512];

    if (c->store != NULL) {
        const struct fl_key key = contents_key(2, from, buf[0]);

        must("batch", fl_batch_create(c->store, &batch));
        must("put_from", fl_batch_put_from(batch, contents_key(2, to, buf[1]), key, NULL));
        must("delete", fl_batch_delete(batch, key));
        must("commit", fl_batch_commit(batch));
        fl_batch_destroy(batch);
    }
    c->entries[2][to] = c->entries[2][from];
    c->entries[2][from].there = false;
}

static void
write_blobs(struct contents *c)
{
    static const uint32_t lens[] = {513, 4096, 5000, 20000, CONTENTS_VALUE_MAX};

    for (unsigned i = 0; i < 10; i++) {
        contents_put(c, 2, i, lens[i % 5]);
    }
    contents_put(c, 2, 1, 30);    /* a big value that goes */
    contents_put(c, 2, 10, 6000); /* one that comes where it was */
    erase(c, 2, 4);
    rename_key(c, 0, 24);
}

static void
write_range(struct contents *c)
{
    for (unsigned i = 0; i < CONTENTS_KEYS; i++) {
        contents_put(c, 3, i, 20);
    }
    for (unsigned i = 0; i < CONTENTS_KEYS; i++) {
        c->entries[3][i].there = false;
    }
    if (c->store != NULL) {
        must("delete_spaces", fl_delete_spaces(c->store, 3, 3));
    }
    for (unsigned i = 5; i < 12; i++) {
        contents_put(c, 3, i, 33);
    }
}

static void
write_cleaned(struct contents *c)
{
    for (unsigned round = 0; round < 12; round++) {
        for (unsigned n = 0; n < 40; n++) {
            /* The first keys of a space stay as they are: it is those that the cleaner has to copy. */
            const unsigned space = (unsigned)rng_below(&c->rng, 2);
            const unsigned i = 12 + (unsigned)rng_below(&c->rng, CONTENTS_KEYS - 12);

            contents_put(c, space, i, (uint32_t)rng_below(&c->rng, 400));
        }
        if (c->store != NULL) {
            contents_maintain(c->store);
        }
    }
}

void
contents_write(struct contents *c, unsigned parts, uint64_t seed)
{
    c->rng.state = seed;
    if (parts & CONTENTS_SIMPLE) {
        write_simple(c);
    }
    if (parts & CONTENTS_BATCHES) {
        write_batches(c);
    }
    if (parts & CONTENTS_BLOBS) {
        write_blobs(c);
    }
    if (parts & CONTENTS_RANGE) {
        write_range(c);
    }
    if (parts & CONTENTS_CLEANED) {
        write_cleaned(c);
    }
    if (parts & CONTENTS_TAIL) {
        c->before_tail = c->entries[0][CONTENTS_TAIL_KEY];
        contents_put(c, 0, CONTENTS_TAIL_KEY, 77);
    }
}

void *
contents_image(struct contents *c, unsigned parts, uint64_t seed, bool closed, uint64_t *len)
{
    const struct mem_map_options options = {.mode = PM_DIRECT, .size_bytes_max = CONTENTS_SIZE_MAX};
    struct mem_map *mem = mem_map_create(&options);
    struct fl_options open;
    void *image = NULL;

    memset(c, 0, sizeof(*c));
    c->now_ms = CONTENTS_BEGIN_MS;
    contents_options(c, &open);
    must("open", store_open_map(mem_map_open(mem), &open, &c->store));
    contents_write(c, parts, seed);
    if (!closed) {
        image = mem_map_copy(mem, len);
    }
    must("close", fl_close(c->store));
    if (closed) {
        image = mem_map_copy(mem, len);
    }
    c->store = NULL;
    mem_map_destroy(mem);
    return image;
}

enum contents_answer
contents_ask(struct fl_store *store, unsigned space, unsigned i, const struct contents_entry *entry,
             uint64_t now_ms)
{
    uint8_t buf[512];
    struct fl_view view;
    const fl_status status = fl_get_view(store, contents_key(space, i, buf), &view);

    if (status == FL_CORRUPT) {
        return CONTENTS_CORRUPT;
    }
    if (status != FL_OK) {
        return status != FL_NOT_FOUND          ? CONTENTS_WRONG
               : contents_alive(entry, now_ms) ? CONTENTS_MISSING
                                               : CONTENTS_RIGHT;
    }
    const bool right = contents_alive(entry, now_ms) && view.deadline_ms == entry->deadline_ms &&
                       view.type == entry->type && value_is(view.value, space, entry);

    fl_view_release(&view);
    return right ? CONTENTS_RIGHT : CONTENTS_WRONG;
}

/* Goal:   no bytes in a store's file make an open, a read, a check or a write of it crash, hang, read outside of it
 *         or fail an assertion.
 * Method: the input is a byte of choices and an image of a few 4 KiB blocks. It is opened from memory for reading,
 *         for salvage and for writing; what opens is walked forwards and backwards, verified, and, for writing,
 *         changed, cleaned and
 *         opened again. Choice 1: CRCs are made right first, so that changed fields are judged by what they say. */
#include <faultline/batch.h>
#include <faultline/cursor.h>

#include "storage/api/store.h"
#include "tests/fuzz/image/mend.h"
#include "tests/lib/die.h"
#include "tests/lib/fuzz/fuzz.h"
#include "tests/lib/mem_map.h"

#include <stdlib.h>
#include <string.h>

enum {
    CHOICE_MEND = 1,
    SIZE_MAX_BYTES = 64 * 4096,
    IMAGE_MAX_BYTES = SIZE_MAX_BYTES / 2,
    STEPS_MAX = 1000,
};

static uint64_t
fixed_now(void *context)
{
    (void)context;
    return UINT64_C(1700000000000);
}

static fl_status
open_as(struct mem_map *mem, unsigned flags, struct fl_store **store)
{
    struct fl_options options;

    fl_options_init(&options);
    options.flags = flags;
    options.durability_min = FL_DURABILITY_PROCESS;
    options.size_bytes_max = SIZE_MAX_BYTES;
    options.block_bytes = 4096;
    options.threads_open = 1;
    options.background = false;
    options.now_ms = fixed_now;
    return store_open_map(mem_map_open(mem), &options, store);
}

/* Touch every byte that a reader gets. */
static void
read_all(struct fl_bytes bytes)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < bytes.len; i++) {
        sum ^= ((const uint8_t *)bytes.ptr)[i];
    }
    __asm__ volatile("" : : "r"(sum)); /* so that the reads stay */
}

static void
walk(struct fl_cursor *cursor, bool forward)
{
    fl_status status = forward ? fl_cursor_first(cursor) : fl_cursor_last(cursor);

    for (int steps = 0; status == FL_OK && steps < STEPS_MAX; steps++) {
        struct fl_view view;

        read_all(fl_cursor_key(cursor));
        if (fl_cursor_view(cursor, &view) == FL_OK) {
            read_all(view.value);
        }
        status = forward ? fl_cursor_next(cursor) : fl_cursor_prev(cursor);
    }
}

static void
use_space(struct fl_store *store, unsigned space)
{
    const struct fl_cursor_options options = {.space = (uint8_t)space};
    static uint8_t key[FL_KEY_BYTES_MAX];
    struct fl_cursor *cursor = NULL;
    struct fl_view view;
    size_t len = 0;

    if (fl_count(store, (uint8_t)space) == 0) {
        return;
    }
    if (fl_cursor_open(store, &options, &cursor) == FL_OK) {
        walk(cursor, true);
        walk(cursor, false);
        fl_cursor_close(cursor);
    }
    if (fl_random_key(store, (uint8_t)space, key, sizeof(key), &len) == FL_OK &&
        fl_get_view(store, fl_key_in((uint8_t)space, key, len), &view) == FL_OK) {
        read_all(view.value);
        fl_view_release(&view);
    }
}

static void
on_finding(void *context, const char *rule, uint64_t off, uint64_t len, const char *text)
{
    (void)context;
    (void)off;
    (void)len;
    if (rule[0] == '\0' || text[0] == '\0') {
        die("a finding without a rule or a text");
    }
}

static void
use(struct fl_store *store)
{
    const struct heap_report report = {NULL, on_finding};
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};

    for (unsigned space = 0; space < 256; space++) {
        use_space(store, space);
    }
    fl_stats(store, &stats);
    (void)!engine_verify(store->engine, &report);
}

static void
change(struct fl_store *store)
{
    struct fl_batch *batch = NULL;
    char value[3000];

    memset(value, 'v', sizeof(value));
    for (int i = 0; i < 6; i++) {
        const struct fl_put_options options = {.deadline_ms = i == 2 ? fixed_now(NULL) + 5 : 0};
        char key[2] = {'k', (char)('0' + i)};

        (void)!fl_put(store, fl_key(key, 2), fl_bytes(value, (size_t)i * 500), &options);
    }
    (void)!fl_delete(store, fl_key("k1", 2));
    if (fl_batch_create(store, &batch) == FL_OK) {
        (void)!fl_batch_put(batch, fl_key("b1", 2), fl_bytes("v", 1), NULL);
        (void)!fl_batch_put_from(batch, fl_key("b2", 2), fl_key("k5", 2), NULL);
        (void)!fl_batch_commit(batch);
        fl_batch_destroy(batch);
    }
    (void)!fl_delete_spaces(store, 3, 200);
    for (int steps = 0; steps < STEPS_MAX && fl_maintain(store) == FL_OK; steps++) {
    }
}

/* A refusal must be one that a user can act on. */
static bool
opened(fl_status status)
{
    static const fl_status refusals[] = {
        FL_CORRUPT,  FL_VERSION, FL_NOT_FOUND, /* empty, or zeros: not formatted yet */
        FL_NO_SPACE, FL_INVALID,               /* it may grow over what was mapped */
    };

    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        if (status == refusals[i]) {
            return false;
        }
    }
    if (status != FL_OK) {
        die("open: %s: %s", fl_status_name(status), fl_last_error());
    }
    return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct mem_map_options options = {.mode = PM_DIRECT, .size_bytes_max = SIZE_MAX_BYTES};
    struct fl_store *store = NULL;

    if (size < 1 || size - 1 > IMAGE_MAX_BYTES) {
        return 0;
    }
    const size_t len = size - 1;
    uint8_t *image = malloc(len + 1);
    struct mem_map *mem = mem_map_create(&options);

    if (image == NULL) {
        die_errno("malloc");
    }
    memcpy(image, data + 1, len);
    if (data[0] & CHOICE_MEND) {
        mend_image(image, len);
    }
    mem_map_load(mem, image, len);
    if (opened(open_as(mem, FL_OPEN_READ_ONLY, &store))) {
        use(store);
        (void)!fl_close(store);
    }
    if (opened(open_as(mem, FL_OPEN_READ_ONLY | FL_OPEN_SALVAGE, &store))) {
        use(store);
        (void)!fl_close(store);
    }
    if (opened(open_as(mem, FL_OPEN_CREATE, &store))) {
        use(store);
        change(store);
        use(store);
        (void)!fl_close(store);
        if (opened(open_as(mem, FL_OPEN_READ_ONLY, &store))) {
            use(store);
            (void)!fl_close(store);
        }
    }
    mem_map_destroy(mem);
    free(image);
    return 0;
}

/* Goal:   stores written by earlier builds open for ever: every golden image has the contents that it had when it was made,
 *         without a finding, and can be written to.
 * Method: the images in images/ were made by generate.c and are never made anew to fit the code. What must be in them comes
 *         from the same seeds, run over a table instead of a store. A scan shows that they hold the kinds of record that
 *         they are there for. */
#include "tests/golden/golden.h"

#include "storage/api/store.h"
#include "tests/lib/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *folder;

struct image {
    const struct golden *golden;
    struct mem_map *mem;
    struct contents contents;
};

static uint8_t *
image_read(const char *name, uint64_t *len)
{
    uint8_t *bytes = malloc(CONTENTS_SIZE_MAX);
    char command[4096];

    snprintf(command, sizeof(command), "gzip -dc '%s/%s.img.gz'", folder, name);
    FILE *pipe = popen(command, "re");

    if (bytes == NULL || pipe == NULL) {
        die_errno("%s", command);
    }
    *len = fread(bytes, 1, CONTENTS_SIZE_MAX, pipe);
    if (pclose(pipe) != 0 || *len == 0) {
        die("%s failed", command);
    }
    return bytes;
}

static void
image_load(struct image *image, const struct golden *golden)
{
    const struct mem_map_options options = {.mode = PM_DIRECT, .size_bytes_max = CONTENTS_SIZE_MAX};
    uint64_t len = 0;
    uint8_t *bytes = image_read(golden->name, &len);

    memset(image, 0, sizeof(*image));
    image->golden = golden;
    image->mem = mem_map_create(&options);
    mem_map_load(image->mem, bytes, len);
    free(bytes);
    image->contents.now_ms = CONTENTS_BEGIN_MS;
    contents_write(&image->contents, golden->parts, golden->seed);
    if (golden->torn) {
        image->contents.entries[0][CONTENTS_TAIL_KEY] = image->contents.before_tail;
    }
}

static struct fl_store *
image_open(struct image *image, unsigned flags)
{
    struct fl_options options;
    struct fl_store *store = NULL;

    contents_options(&image->contents, &options);
    options.flags = flags;
    const fl_status status = store_open_map(mem_map_open(image->mem), &options, &store);

    if (status != FL_OK) {
        fail_msg("%s: %s: %s", image->golden->name, fl_status_name(status), fl_last_error());
    }
    return store;
}

static void
compare(struct image *image, struct fl_store *store)
{
    for (unsigned space = 0; space < CONTENTS_SPACES; space++) {
        for (unsigned i = 0; i < CONTENTS_KEYS; i++) {
            const enum contents_answer answer = contents_ask(
                store, space, i, &image->contents.entries[space][i], image->contents.now_ms);

            if (answer != CONTENTS_RIGHT) {
                fail_msg("%s: key %u/%u: %d", image->golden->name, space, i, (int)answer);
            }
        }
    }
}

static void
note(void *context, const char *rule, uint64_t off, uint64_t len, const char *text)
{
    const struct image *image = context;

    fail_msg("%s: %s at %llu, %llu bytes: %s", image->golden->name, rule, (unsigned long long)off,
             (unsigned long long)len, text);
}

static void
golden_images_have_their_contents(void **state)
{
    static struct image image;

    (void)state;
    for (size_t i = 0; i < golden_count; i++) {
        image_load(&image, &golden_list[i]);
        struct fl_store *store = image_open(&image, FL_OPEN_READ_ONLY);

        compare(&image, store);
        image.contents.now_ms = CONTENTS_SOON_MS + 1;
        compare(&image, store);
        assert_int_equal(fl_close(store), FL_OK);
        store = image_open(&image, FL_OPEN_READ_ONLY);
        compare(&image, store);
        assert_int_equal(fl_close(store), FL_OK);
        mem_map_destroy(image.mem);
    }
}

static void
golden_images_have_no_findings(void **state)
{
    static struct image image;

    (void)state;
    for (size_t i = 0; i < golden_count; i++) {
        const struct heap_report report = {&image, note};
        struct fl_options options;
        struct engine *engine = NULL;

        image_load(&image, &golden_list[i]);
        contents_options(&image.contents, &options);
        const struct engine_options engine_options = {&options, &report, true, true};

        assert_int_equal(engine_open(mem_map_open(image.mem), &engine_options, &engine), FL_OK);
        assert_int_equal(engine_verify(engine, &report), FL_OK);
        assert_int_equal(engine_close(engine), FL_OK);
        mem_map_destroy(image.mem);
    }
}

static void
golden_images_can_be_written_to(void **state)
{
    static struct image image;

    (void)state;
    for (size_t i = 0; i < golden_count; i++) {
        image_load(&image, &golden_list[i]);
        image.contents.store = image_open(&image, 0);
        for (unsigned n = 0; n < 30; n++) {
            contents_put(&image.contents, n % CONTENTS_SPACES, 7 * n % CONTENTS_KEYS, 40 * n);
        }
        contents_maintain(image.contents.store);
        compare(&image, image.contents.store);
        assert_int_equal(fl_close(image.contents.store), FL_OK);
        struct fl_store *store = image_open(&image, FL_OPEN_READ_ONLY);

        compare(&image, store);
        assert_int_equal(fl_close(store), FL_OK);
        mem_map_destroy(image.mem);
    }
}

struct seen {
    unsigned kinds[16];
    unsigned batched, deadlines, lsns, spaces;
};

static fl_status
see(void *context, uint32_t block, uint64_t off, const struct log_record *record)
{
    struct seen *seen = context;

    (void)block;
    (void)off;
    seen->kinds[record->kind]++;
    seen->batched += record->batched;
    seen->deadlines += record->deadline_ms != 0;
    seen->lsns += record->lsn_explicit;
    seen->spaces |= 1u << (record->space % 32);
    return FL_OK;
}

static void
golden_images_hold_every_kind_of_record(void **state)
{
    static struct image image;
    struct seen all = {.batched = 0};
    unsigned open_segments = 0;

    (void)state;
    for (size_t i = 0; i < golden_count; i++) {
        const struct log_scan scan = {&all, see, NULL, false};

        image_load(&image, &golden_list[i]);
        struct fl_store *store = image_open(&image, FL_OPEN_READ_ONLY);
        struct log *log = engine_log(store->engine);

        for (uint32_t block = 2; block < heap_blocks_total(log_heap(log)); block++) {
            const struct log_segment *segment = log_segment_of(log, block);
            struct log_scan_result result;

            if (segment->use == LOG_USE_LOG) {
                const uint8_t *seal = mem_map_bytes(image.mem) +
                                      (uint64_t)block * CONTENTS_BLOCK_BYTES + LOG_SEAL_OFF;

                open_segments += memcmp(seal, "\0\0\0\0\0\0\0\0", 8) == 0;
                assert_int_equal(log_segment_scan(log, block, &scan, &result), FL_OK);
            }
        }
        assert_int_equal(fl_close(store), FL_OK);
        mem_map_destroy(image.mem);
    }
    assert_true(all.kinds[LOG_KIND_PUT] > 0);
    assert_true(all.kinds[LOG_KIND_DELETE] > 0);
    assert_true(all.kinds[LOG_KIND_RANGE_DELETE] > 0);
    assert_true(all.kinds[LOG_KIND_PUT_BLOB] > 0);
    assert_true(all.batched > 0);
    assert_true(all.deadlines > 0);
    assert_true(all.lsns > 0);
    assert_int_equal(all.spaces, 15);
    assert_true(open_segments > 0);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_images_have_their_contents),
        cmocka_unit_test(golden_images_have_no_findings),
        cmocka_unit_test(golden_images_can_be_written_to),
        cmocka_unit_test(golden_images_hold_every_kind_of_record),
    };

    if (argc != 2) {
        die("usage: %s FOLDER-OF-IMAGES", argv[0]);
    }
    folder = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Goal:   what is known of a key without its value is right wherever the key is found, and the value isn't read
 *         for it; a part of a value is right, and no more of the value is read; and a cursor says where the damage is
 *         that it has passed over.
 * Method: a store with values in the log and in blocks of their own, looked at when they are pending, submitted
 *         and durable; then the bytes of the big one are damaged in the file: only who reads them finds out. */
#include <faultline/batch.h>
#include <faultline/cursor.h>

#include "tests/lib/tmpdir.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { SMALL_BYTES = 100, BIG_BYTES = 3 << 20, CHUNK_BYTES = 65536, TYPE = 3 };

static const uint64_t deadline_ms = UINT64_C(4000000000000);

struct scene {
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    struct fl_store *store;
    uint8_t *value; /* BIG_BYTES that are nowhere else in the file */
};

static void
open_store(struct scene *scene)
{
    struct fl_options options;

    fl_options_init(&options);
    options.durability_min = FL_DURABILITY_PROCESS;
    options.size_bytes_max = (uint64_t)16 << 30; /* A sanitizer leaves too little room for more. */
    assert_int_equal(fl_open(scene->path, &options, &scene->store), FL_OK);
}

static void
begin(struct scene *scene)
{
    tmpdir_create(&scene->dir);
    tmpdir_join(&scene->dir, "data", scene->path);
    scene->value = malloc(BIG_BYTES);
    assert_non_null(scene->value);
    for (uint32_t i = 0; i < BIG_BYTES; i++) {
        scene->value[i] = (uint8_t)((i * UINT32_C(2654435761)) >> 13);
    }
    open_store(scene);
}

static void
end(struct scene *scene)
{
    assert_int_equal(fl_close(scene->store), FL_OK);
    free(scene->value);
    tmpdir_destroy(&scene->dir);
}

static struct fl_key
key_of(const char *name)
{
    return fl_key(name, strlen(name));
}

static void
add(const struct scene *scene, struct fl_batch *batch, const char *name, size_t len)
{
    const struct fl_put_options options = {.deadline_ms = deadline_ms, .type = TYPE};

    assert_int_equal(fl_batch_put(batch, key_of(name), fl_bytes(scene->value, len), &options),
                     FL_OK);
}

static void
assert_info(const struct fl_info *info, uint64_t value_bytes)
{
    assert_int_equal(info->value_bytes, value_bytes);
    assert_int_equal(info->deadline_ms, deadline_ms);
    assert_int_equal(info->type, TYPE);
}

static void
assert_pending(struct fl_batch *batch, const char *name, uint64_t value_bytes)
{
    struct fl_info info;

    assert_int_equal(fl_batch_get_info(batch, key_of(name), &info), FL_OK);
    assert_info(&info, value_bytes);
    assert_int_equal(info.ticket, UINT64_MAX);
    assert_int_equal(info.lsn, 0);
}

/* As a view of it says. */
static void
assert_durable(struct scene *scene, struct fl_batch *batch, const char *name, uint64_t value_bytes)
{
    struct fl_info info;
    struct fl_view view;

    assert_int_equal(fl_get_view(scene->store, key_of(name), &view), FL_OK);
    assert_int_equal(view.value.len, value_bytes);
    assert_int_equal(fl_get_info(scene->store, key_of(name), &info), FL_OK);
    assert_info(&info, value_bytes);
    assert_true(info.lsn == view.lsn && info.lsn != 0 && info.ticket == 0);
    assert_int_equal(fl_batch_get_info(batch, key_of(name), &info), FL_OK);
    assert_info(&info, value_bytes);
    assert_true(info.lsn == view.lsn && info.ticket == 0);
    fl_view_release(&view);
}

static void
info_is_right_pending_submitted_and_durable(void **state)
{
    struct scene scene;
    struct fl_batch *batch = NULL;
    struct fl_info info;
    uint64_t ticket = 0;

    (void)state;
    begin(&scene);
    assert_int_equal(fl_batch_create(scene.store, &batch), FL_OK);
    add(&scene, batch, "small", SMALL_BYTES);
    add(&scene, batch, "big", BIG_BYTES);
    assert_pending(batch, "small", SMALL_BYTES);
    assert_pending(batch, "big", BIG_BYTES);
    assert_int_equal(fl_get_info(scene.store, key_of("big"), &info), FL_NOT_FOUND);
    assert_int_equal(fl_batch_submit(batch, &ticket), FL_OK);
    assert_int_equal(fl_batch_get_info(batch, key_of("big"), &info), FL_OK);
    assert_info(&info, BIG_BYTES);
    assert_true(info.ticket == 0 || info.ticket == ticket);
    assert_int_equal(fl_wait(scene.store, ticket), FL_OK);
    assert_durable(&scene, batch, "small", SMALL_BYTES);
    assert_durable(&scene, batch, "big", BIG_BYTES);

    assert_int_equal(fl_batch_delete(batch, key_of("small")), FL_OK);
    assert_int_equal(fl_batch_get_info(batch, key_of("small"), &info), FL_NOT_FOUND);
    assert_int_equal(info.ticket, UINT64_MAX);
    assert_int_equal(fl_get_info(scene.store, fl_key("", 0), &info), FL_INVALID);
    fl_batch_destroy(batch);
    end(&scene);
}

/* Flip a bit in the middle of the value, in the file. */
static void
damage(const struct scene *scene, size_t len)
{
    struct stat st;
    const int fd = open(scene->path, O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    uint8_t *file = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    assert_true(file != MAP_FAILED);
    uint8_t *at = memmem(file, (size_t)st.st_size, scene->value, len);

    assert_non_null(at);
    at[len / 2] ^= 1;
    munmap(file, (size_t)st.st_size);
    close(fd);
}

static void
damaged_big_value_shows_only_where_it_is_read(void **state)
{
    const struct fl_put_options absent = {.condition = FL_IF_ABSENT};
    struct scene scene;
    struct fl_batch *batch = NULL;
    struct fl_info info;
    struct fl_view view;

    (void)state;
    begin(&scene);
    assert_int_equal(fl_batch_create(scene.store, &batch), FL_OK);
    add(&scene, batch, "big", BIG_BYTES);
    assert_int_equal(fl_batch_commit(batch), FL_OK);
    fl_batch_destroy(batch);
    assert_int_equal(fl_close(scene.store), FL_OK);
    damage(&scene, BIG_BYTES);
    open_store(&scene);
    assert_int_equal(fl_batch_create(scene.store, &batch), FL_OK);

    assert_int_equal(fl_get_info(scene.store, key_of("big"), &info), FL_OK);
    assert_info(&info, BIG_BYTES);
    assert_int_equal(fl_batch_put(batch, key_of("big"), fl_bytes("x", 1), &absent), FL_EXISTS);
    assert_int_equal(fl_batch_put_from(batch, key_of("other"), key_of("big"), NULL), FL_OK);
    assert_int_equal(fl_batch_delete(batch, key_of("big")), FL_OK);
    assert_int_equal(fl_batch_commit(batch), FL_OK);
    assert_int_equal(fl_get_info(scene.store, key_of("other"), &info), FL_OK);
    assert_info(&info, BIG_BYTES);
    assert_int_equal(fl_get_view(scene.store, key_of("other"), &view), FL_CORRUPT);
    fl_batch_destroy(batch);
    end(&scene);
}

static void
assert_part_view(const struct scene *scene, struct fl_view *view, size_t off, size_t bytes)
{
    assert_int_equal(view->value.len, bytes);
    assert_true(bytes == 0 || memcmp(view->value.ptr, scene->value + off, bytes) == 0);
    assert_int_equal(view->type, TYPE);
    assert_int_equal(view->deadline_ms, deadline_ms);
    fl_view_release(view);
}

/* `len` bytes from `off` on of what add() put, which has `value_bytes`. */
static void
assert_part(const struct scene *scene, struct fl_batch *batch, const char *name, size_t value_bytes,
            size_t off, size_t len)
{
    const size_t left = off < value_bytes ? value_bytes - off : 0;
    struct fl_view view;

    assert_int_equal(fl_batch_get_range(batch, key_of(name), off, len, &view), FL_OK);
    const bool durable = view.ticket == 0;

    assert_part_view(scene, &view, off, len < left ? len : left);
    if (durable) {
        assert_int_equal(fl_get_range(scene->store, key_of(name), off, len, &view), FL_OK);
        assert_part_view(scene, &view, off, len < left ? len : left);
    }
}

/* Of "small" and "big". */
static void
assert_parts(const struct scene *scene, struct fl_batch *batch)
{
    const struct {
        const char *name;
        size_t bytes;
    } values[] = {{"small", SMALL_BYTES}, {"big", BIG_BYTES}};

    for (size_t i = 0; i < 2; i++) {
        const size_t bytes = values[i].bytes;
        const size_t offs[] = {0, 1, bytes / 3, bytes - 1, bytes, bytes + 1, SIZE_MAX};
        const size_t lens[] = {0, 1, bytes / 2, bytes, bytes + 1, SIZE_MAX};

        for (size_t o = 0; o < sizeof(offs) / sizeof(offs[0]); o++) {
            for (size_t l = 0; l < sizeof(lens) / sizeof(lens[0]); l++) {
                assert_part(scene, batch, values[i].name, bytes, offs[o], lens[l]);
            }
        }
    }
}

static void
part_is_right_pending_submitted_and_durable(void **state)
{
    struct fl_batch *batch = NULL;
    struct scene scene;
    struct fl_view view;
    uint64_t ticket = 0;

    (void)state;
    begin(&scene);
    assert_int_equal(fl_batch_create(scene.store, &batch), FL_OK);
    add(&scene, batch, "small", SMALL_BYTES);
    add(&scene, batch, "big", BIG_BYTES);
    assert_parts(&scene, batch);
    assert_int_equal(fl_batch_submit(batch, &ticket), FL_OK);
    assert_parts(&scene, batch);
    assert_int_equal(fl_wait(scene.store, ticket), FL_OK);
    assert_parts(&scene, batch);
    assert_int_equal(fl_get_range(scene.store, key_of("none"), 0, 1, &view), FL_NOT_FOUND);
    assert_int_equal(fl_get_range(scene.store, fl_key("", 0), 0, 1, &view), FL_INVALID);

    /* A view of what isn't pending in the batch outlives the batch's changes. */
    assert_int_equal(fl_batch_get_range(batch, key_of("big"), 1, 9, &view), FL_OK);
    assert_int_equal(fl_batch_delete(batch, key_of("big")), FL_OK);
    assert_int_equal(fl_batch_commit(batch), FL_OK);
    assert_memory_equal(view.value.ptr, scene.value + 1, 9);
    fl_view_release(&view);
    fl_batch_destroy(batch);
    end(&scene);
}

static void
damage_shows_only_in_parts_that_touch_it(void **state)
{
    const size_t middle = BIG_BYTES / 2;
    struct fl_batch *batch = NULL;
    struct scene scene;
    struct fl_view view;

    (void)state;
    begin(&scene);
    assert_int_equal(fl_batch_create(scene.store, &batch), FL_OK);
    add(&scene, batch, "big", BIG_BYTES);
    assert_int_equal(fl_batch_commit(batch), FL_OK);
    damage(&scene, BIG_BYTES);
    assert_part(&scene, batch, "big", BIG_BYTES, 0, middle - CHUNK_BYTES);
    assert_part(&scene, batch, "big", BIG_BYTES, middle + CHUNK_BYTES, SIZE_MAX);
    assert_part(&scene, batch, "big", BIG_BYTES, middle, 0);
    for (unsigned i = 0; i < 3; i++) {
        const size_t off = i == 0 ? 0 : i == 1 ? middle : middle - 1;
        const size_t len = i == 0 ? middle + 1 : i == 1 ? 1 : SIZE_MAX;

        assert_int_equal(fl_get_range(scene.store, key_of("big"), off, len, &view), FL_CORRUPT);
        assert_non_null(strstr(fl_last_error(), "file offset "));
        assert_int_equal(fl_batch_get_range(batch, key_of("big"), off, len, &view), FL_CORRUPT);
    }
    assert_int_equal(fl_get_view(scene.store, key_of("big"), &view), FL_CORRUPT);
    fl_batch_destroy(batch);
    end(&scene);
}

static void
cursor_tells_where_it_passed_over_damage(void **state)
{
    const char *const names[] = {"a", "b", "c"};
    struct fl_cursor *cursor = NULL;
    struct scene scene;
    unsigned met = 0;

    (void)state;
    begin(&scene);
    for (size_t i = 0; i < 3; i++) {
        const struct fl_bytes value = i == 1 ? fl_bytes(scene.value, SMALL_BYTES) : fl_bytes("", 0);

        assert_int_equal(fl_put(scene.store, key_of(names[i]), value, NULL), FL_OK);
    }
    damage(&scene, SMALL_BYTES);
    assert_int_equal(fl_cursor_open(scene.store, NULL, &cursor), FL_OK);
    fl_status status = fl_cursor_first(cursor);

    for (; status == FL_OK; status = fl_cursor_next(cursor)) {
        met++;
    }
    assert_int_equal(status, FL_CORRUPT);
    assert_int_equal(met, 2);
    assert_non_null(strstr(fl_last_error(), "the first at file offset "));
    assert_int_equal(fl_cursor_damage(cursor), FL_OK); /* it has been told */
    assert_int_equal(fl_cursor_first(cursor), FL_OK);
    assert_int_equal(fl_cursor_next(cursor), FL_OK);
    assert_int_equal(fl_cursor_damage(cursor), FL_CORRUPT);
    assert_non_null(strstr(fl_last_error(), "the first at file offset "));
    assert_non_null(strstr(fl_last_error(), "faultline-check --repair"));
    assert_int_equal(fl_cursor_damage(cursor), FL_OK);
    assert_int_equal(fl_cursor_next(cursor), FL_END);
    assert_int_equal(fl_cursor_next(cursor), FL_INVALID);
    fl_cursor_close(cursor);
    end(&scene);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(info_is_right_pending_submitted_and_durable),
        cmocka_unit_test(damaged_big_value_shows_only_where_it_is_read),
        cmocka_unit_test(part_is_right_pending_submitted_and_durable),
        cmocka_unit_test(damage_shows_only_in_parts_that_touch_it),
        cmocka_unit_test(cursor_tells_where_it_passed_over_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Goal:   no memory is a status of the calls that may say so, leaves the index as it was, and never meets a put
 *         that room was made for.
 * Method: the n-th allocation and all after it fail, for n from 1 on until the call succeeds; after index_reserve()
 *         every allocation fails while the puts come.
 */
#include "base/mem.h"
#include "tests/lib/rng.h"
#include "tests/unit/index/media.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { KEY_ROOM = 24, RECORDS = 200000 };

struct fixture {
    struct media media;
    struct index_media calls;
    struct epoch *epoch;
    struct index *index;
    uint64_t lsn;
};

static void
fixture_init(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    media_init(&f->media, RECORDS, &f->calls);
    assert_int_equal(epoch_create(&f->epoch), FL_OK);
    assert_int_equal(index_create(&f->calls, f->epoch, &f->index), FL_OK);
}

static void
fixture_deinit(struct fixture *f)
{
    mem_fail_from(0);
    index_destroy(f->index);
    epoch_destroy(f->epoch);
    media_deinit(&f->media);
}

static struct fl_key
numbered(uint64_t i, char *bytes)
{
    return fl_key(bytes, (size_t)sprintf(bytes, "k%016lu", i * UINT64_C(0x9E3779B97F4A7C15) >> 8));
}

static void
put(struct fixture *f, uint64_t i, uint64_t flags)
{
    char bytes[KEY_ROOM];
    const struct fl_key key = numbered(i, bytes);
    const index_loc loc = media_write(&f->media, key, ++f->lsn, flags);

    (void)index_put(f->index, index_hash(f->index, key), key, loc, f->lsn);
}

static void
assert_holds(struct fixture *f, uint64_t keys)
{
    mem_fail_from(0);
    assert_int_equal(index_count(f->index, 0), keys);
    for (uint64_t i = 0; i < keys; i++) {
        char bytes[KEY_ROOM];
        const struct fl_key key = numbered(i, bytes);
        index_loc loc;

        assert_true(index_find(f->index, index_hash(f->index, key), key, INDEX_LSN_LATEST, &loc));
    }
    if (index_verify(f->index) != FL_OK) {
        fail_msg("%s", fl_last_error());
    }
}

static void
create_without_memory_fails_cleanly(void **state)
{
    struct media media;
    struct index_media calls;
    struct epoch *epoch;
    struct index *index = NULL;
    unsigned long n = 1;

    (void)state;
    media_init(&media, 1, &calls);
    assert_int_equal(epoch_create(&epoch), FL_OK);
    for (;; n++) {
        mem_fail_from(n);
        const fl_status status = index_create(&calls, epoch, &index);

        mem_fail_from(0);
        if (status == FL_OK) {
            break;
        }
        assert_int_equal(status, FL_NO_MEMORY);
    }
    assert_true(n > 5);
    index_destroy(index);
    epoch_destroy(epoch);
    media_deinit(&media);
}

static void
reserve_without_memory_changes_nothing(void **state)
{
    struct fixture f;
    uint64_t keys = 0;
    unsigned long failures = 0;

    (void)state;
    fixture_init(&f);
    for (uint64_t count = 1; count < 60000; count *= 7) {
        for (unsigned long n = 1;; n++) {
            mem_fail_from(n);
            const fl_status status = index_reserve(f.index, count);

            mem_fail_from(0);
            if (status == FL_OK) {
                break;
            }
            assert_int_equal(status, FL_NO_MEMORY);
            failures++;
        }
        for (uint64_t i = 0; i < count; i++) {
            put(&f, keys++, 0);
        }
        assert_holds(&f, keys);
    }
    assert_true(failures >= 3);
    fixture_deinit(&f);
}

static void
put_after_reserve_needs_no_memory(void **state)
{
    struct fixture f;
    uint64_t keys = 0;

    (void)state;
    fixture_init(&f);
    for (uint64_t count = 1; count < 100000; count = count * 3 + 1) {
        assert_int_equal(index_reserve(f.index, count), FL_OK);
        mem_fail_from(1);
        for (uint64_t i = 0; i < count; i++) {
            put(&f, keys++, 0);
        }
        assert_holds(&f, keys);
    }
    /* Deletes and puts of the same ones. */
    assert_int_equal(index_reserve(f.index, keys), FL_OK);
    mem_fail_from(1);
    for (uint64_t i = 0; i < keys / 2; i++) {
        put(&f, keys - 1 - i, INDEX_LOC_TOMBSTONE);
    }
    assert_holds(&f, keys - keys / 2);
    fixture_deinit(&f);
}

/* The reserve may come before the pin or behind it. */
static void
pinned_put_after_reserve(bool pin_first)
{
    enum { KEYS = 3000 };
    struct fixture f;
    uint64_t kept;

    fixture_init(&f);
    assert_int_equal(index_reserve(f.index, KEYS), FL_OK);
    for (uint64_t i = 0; i < KEYS; i++) {
        put(&f, i, 0);
    }
    const uint64_t lsn = f.lsn;

    if (pin_first) {
        assert_int_equal(index_pin(f.index, lsn), FL_OK);
        assert_int_equal(index_reserve(f.index, 20 * KEYS), FL_OK);
    } else {
        assert_int_equal(index_reserve(f.index, 20 * KEYS), FL_OK);
        unsigned long failures = 0;

        for (unsigned long n = 1;; n++) {
            mem_fail_from(n);
            const fl_status status = index_pin(f.index, lsn);

            mem_fail_from(0);
            if (status == FL_OK) {
                break;
            }
            assert_int_equal(status, FL_NO_MEMORY);
            assert_int_equal(index_pins(f.index, &kept), 0);
            failures++;
        }
        assert_true(failures > 0);
    }
    mem_fail_from(1);
    for (uint64_t i = 0; i < 20 * KEYS; i++) {
        put(&f, i % KEYS, i % 40 == 39 ? INDEX_LOC_TOMBSTONE : 0);
    }
    mem_fail_from(0);
    for (uint64_t i = 0; i < KEYS; i++) {
        char bytes[KEY_ROOM];
        const struct fl_key key = numbered(i, bytes);
        index_loc loc;

        assert_true(index_find(f.index, index_hash(f.index, key), key, lsn, &loc));
        assert_int_equal(media_at(&f.media, loc)->lsn, i + 1);
    }
    assert_int_equal(index_pins(f.index, &kept), 1);
    assert_int_equal(kept, KEYS);
    index_unpin(f.index, lsn);
    assert_int_equal(index_pins(f.index, &kept), 0);
    assert_int_equal(kept, 0);
    assert_int_equal(index_verify(f.index), FL_OK);
    fixture_deinit(&f);
}

static void
pinned_put_after_reserve_needs_no_memory(void **state)
{
    (void)state;
    pinned_put_after_reserve(true);
    pinned_put_after_reserve(false);
}

static void
expire_under_pin_without_memory_does_nothing(void **state)
{
    struct fixture f;
    char bytes[KEY_ROOM];
    index_loc loc;

    (void)state;
    fixture_init(&f);
    const struct fl_key key = numbered(0, bytes);
    const uint64_t hash = index_hash(f.index, key);

    assert_int_equal(index_reserve(f.index, 1), FL_OK);
    assert_int_equal(index_pin(f.index, 1), FL_OK);
    put(&f, 0, 0);
    assert_true(index_find(f.index, hash, key, INDEX_LSN_LATEST, &loc));
    /* Use up what was reserved, so that it has to ask for more. */
    assert_int_equal(index_reserve(f.index, 1000000), FL_OK);
    mem_fail_from(1);
    assert_false(index_expire(f.index, hash, key, loc));
    assert_true(index_find(f.index, hash, key, INDEX_LSN_LATEST, &loc));
    mem_fail_from(0);
    assert_true(index_expire(f.index, hash, key, loc));
    assert_false(index_find(f.index, hash, key, INDEX_LSN_LATEST, &loc));
    assert_int_equal(index_count(f.index, 0), 0);
    index_unpin(f.index, 1);
    assert_int_equal(index_verify(f.index), FL_OK);
    fixture_deinit(&f);
}

/* Keys that two pins see. Some of what the puts were promised is still to come. */
static void
clear_under_pins_needs_no_memory_but_what_it_asks_for(void **state)
{
    enum { KEYS = 30000, LEFT = 2000 };
    struct fixture f;
    unsigned long failures = 0;
    uint64_t kept;

    (void)state;
    fixture_init(&f);
    assert_int_equal(index_reserve(f.index, KEYS), FL_OK);
    for (uint64_t i = 0; i < KEYS; i++) {
        put(&f, i, 0);
    }
    const uint64_t lsn = f.lsn;

    assert_int_equal(index_pin(f.index, lsn / 2), FL_OK);
    assert_int_equal(index_pin(f.index, lsn), FL_OK);
    assert_int_equal(index_reserve(f.index, LEFT), FL_OK);
    for (unsigned long n = 1;; n++) {
        mem_fail_from(n);
        const fl_status status = index_reserve_clear(f.index, 0, 255);

        mem_fail_from(0);
        if (status == FL_OK) {
            break;
        }
        assert_int_equal(status, FL_NO_MEMORY);
        assert_holds(&f, KEYS);
        failures++;
    }
    assert_true(failures > 0);
    mem_fail_from(1);
    assert_false(index_clear_spaces(f.index, 0, 255, ++f.lsn));
    assert_int_equal(index_count(f.index, 0), 0);
    for (uint64_t i = 0; i < LEFT; i++) {
        put(&f, i, 0);
    }
    assert_holds(&f, LEFT);
    assert_int_equal(index_pins(f.index, &kept), 2);
    assert_int_equal(kept, KEYS);
    index_unpin(f.index, lsn);
    index_unpin(f.index, lsn / 2);
    assert_int_equal(index_pins(f.index, &kept), 0);
    assert_int_equal(kept, 0);
    assert_holds(&f, LEFT);
    fixture_deinit(&f);
}

static fl_status
load(struct fixture *f, uint64_t keys)
{
    fl_status status = index_load_begin(f->index, 4);

    for (uint64_t i = 0; status == FL_OK && i < keys; i++) {
        char bytes[KEY_ROOM];
        const struct fl_key key = numbered(i, bytes);
        const index_loc loc = media_write(&f->media, key, i + 1, 0);

        status = index_load_put(f->index, index_hash(f->index, key), key, loc, i + 1);
    }
    return status == FL_OK ? index_load_finish(f->index, 1, NULL) : status;
}

static void
load_without_memory_fails_cleanly(void **state)
{
    enum { KEYS = 20000 };

    (void)state;
    for (unsigned long n = 1;; n++) {
        struct fixture f;

        fixture_init(&f);
        mem_fail_from(n);
        const fl_status status = load(&f, KEYS);

        mem_fail_from(0);
        if (status == FL_OK) {
            assert_holds(&f, KEYS);
            fixture_deinit(&f);
            assert_true(n > 10);
            return;
        }
        assert_int_equal(status, FL_NO_MEMORY);
        fixture_deinit(&f);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_without_memory_fails_cleanly),
        cmocka_unit_test(reserve_without_memory_changes_nothing),
        cmocka_unit_test(put_after_reserve_needs_no_memory),
        cmocka_unit_test(pinned_put_after_reserve_needs_no_memory),
        cmocka_unit_test(expire_under_pin_without_memory_does_nothing),
        cmocka_unit_test(clear_under_pins_needs_no_memory_but_what_it_asks_for),
        cmocka_unit_test(load_without_memory_fails_cleanly),
    };

    return cmocka_run_group_tests_name("index memory", tests, NULL, NULL);
}

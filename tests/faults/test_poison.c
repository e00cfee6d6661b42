/* Goal:   media that can't be read, wherever it is, ends no call and no process: an open refuses with the place,
 *         or serves what it doesn't hit; a salvage serves the rest; a store that is open while a page goes bad
 *         answers each key rightly or with an error, takes new values for the keys that lived there, and if it
 *         can't write, says so and is read-only. No wrong value, ever.
 * Method: a small store with every kind of record, in a file on tmpfs, mapped for real and with the SIGBUS handler.
 *         Each page of it in turn is replaced by one of an empty file, so that every access there is a real SIGBUS:
 *         before the open, for salvage and for writing; and under the open store, which is then read, scanned,
 *         overwritten, deleted from, cleaned and closed. */
#include <faultline/cursor.h>

#include "storage/api/store.h"
#include "tests/faults/tally.h"
#include "tests/golden/contents.h"
#include "tests/lib/sanitized.h"
#include "tests/lib/tmpdir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { ALL = 63, SEED = 7, PAGE = 4096, VALUE = 100 };

struct subject {
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    struct contents contents;
    enum fl_mapping mapping;
    uint8_t *image;
    uint64_t len;
    uint64_t page; /* the bad one */
    const uint8_t *base;
    bool changed[CONTENTS_SPACES][CONTENTS_KEYS]; /* overwritten with value_new, or deleted */
    bool gone[CONTENTS_SPACES][CONTENTS_KEYS];
};

static struct tally tallies[] = {
    {.kind = "poison-open"}, {.kind = "poison-open-salvage"}, {.kind = "poison-while-open"}};
enum { AT_OPEN, AT_SALVAGE, WHILE_OPEN };

static const uint8_t value_new[VALUE] = "new";

static void
poison(const struct subject *s, const uint8_t *base)
{
    const int fd = memfd_create("nothing", MFD_CLOEXEC);
    const int protection = PROT_READ | (s->mapping == FL_MAPPING_PAGE ? 0 : PROT_WRITE);
    void *page = (void *)(uintptr_t)(base + s->page);

    assert_true(fd >= 0);
    assert_ptr_equal(mmap(page, PAGE, protection, MAP_SHARED | MAP_FIXED, fd, 0), page);
    close(fd);
}

static void
subject_create(struct subject *s, enum fl_mapping mapping, bool closed)
{
    memset(s, 0, sizeof(*s));
    tmpdir_create_in(&s->dir, "/dev/shm");
    (void)tmpdir_join(&s->dir, "store", s->path);
    s->mapping = mapping;
    s->image = contents_image(&s->contents, ALL, SEED, closed, &s->len);
}

static void
subject_destroy(struct subject *s)
{
    free(s->image);
    tmpdir_destroy(&s->dir);
}

static void
file_write(const struct subject *s)
{
    FILE *file = fopen(s->path, "we");

    assert_non_null(file);
    assert_int_equal(fwrite(s->image, 1, s->len, file), s->len);
    assert_int_equal(fclose(file), 0);
}

static fl_status
open_store(struct subject *s, uint32_t flags, bool poisoned, struct fl_store **store)
{
    struct nosync_map *map = NULL;
    struct fl_options options;

    contents_options(&s->contents, &options);
    options.flags = flags | FL_OPEN_SIGBUS;
    options.mapping = s->mapping;
    options.durability_min = FL_DURABILITY_PROCESS;
    assert_int_equal(store_map_open(s->path, &options, &map), FL_OK);
    s->base = map->media.base;
    if (poisoned) {
        poison(s, map->media.base);
    }
    return store_open_map(map, &options, store);
}

/* Every answer is right, or an error. Returns the errors. */
static unsigned
ask_all(struct subject *s, struct fl_store *store, const char *when, bool may_lack)
{
    unsigned errors = 0;

    for (unsigned space = 0; space < CONTENTS_SPACES; space++) {
        for (unsigned i = 0; i < CONTENTS_KEYS; i++) {
            uint8_t buf[512];
            uint8_t got[VALUE];
            size_t len = 0;
            const struct fl_key key = contents_key(space, i, buf);
            const fl_status status = fl_get(store, key, got, sizeof(got), &len);

            if (status == FL_IO || status == FL_CORRUPT) {
                errors++;
                continue;
            }
            const bool mine = s->changed[space][i]
                                  ? (s->gone[space][i] ? status == FL_NOT_FOUND
                                                       : status == FL_OK && len == VALUE &&
                                                             memcmp(got, value_new, VALUE) == 0)
                                  : contents_ask(store, space, i, &s->contents.entries[space][i],
                                                 s->contents.now_ms) == CONTENTS_RIGHT;

            if (!mine && !may_lack) {
                fail_msg("page %llu, %s: key %u/%u: %s, %zu bytes",
                         (unsigned long long)(s->page / PAGE), when, space, i,
                         fl_status_name(status), len);
            }
        }
    }
    return errors;
}

static void
check_open(struct subject *s)
{
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};
    struct fl_store *store = NULL;
    fl_status status = open_store(s, 0, true, &store);

    tally_add(&tallies[AT_OPEN], 1, status != FL_OK);
    if (status == FL_OK) { /* an open doesn't read there */
        (void)ask_all(s, store, "opened", false);
        (void)fl_close(store);
    } else {
        assert_int_equal(status, FL_CORRUPT);
        assert_non_null(strstr(fl_last_error(), "SIGBUS"));
    }
    file_write(s);
    status = open_store(s, FL_OPEN_READ_ONLY | FL_OPEN_SALVAGE, true, &store);
    tally_add(&tallies[AT_SALVAGE], 1, status != FL_OK);
    if (status == FL_OK) {
        fl_stats(store, &stats);
        (void)ask_all(s, store, "salvaged", stats.lost_ranges > 0);
        assert_int_equal(fl_close(store), FL_OK);
    } else {
        assert_int_equal(status, FL_CORRUPT);
    }
}

static void
bad_page_refuses_an_open_or_costs_what_it_holds(void **state)
{
    static struct subject s;

    (void)state;
    for (int closed = 0; closed < 2; closed++) {
        subject_create(&s, closed ? FL_MAPPING_VOLATILE : FL_MAPPING_PAGE, closed);
        for (s.page = 0; s.page < s.len; s.page += PAGE) {
            file_write(&s);
            check_open(&s);
        }
        subject_destroy(&s);
    }
}

/* Both ways; damage may be told at the end. */
static void
scan_all(struct fl_store *store)
{
    for (unsigned space = 0; space < CONTENTS_SPACES; space++) {
        const struct fl_cursor_options options = {.space = (uint8_t)space, .live = true};
        struct fl_cursor *cursor = NULL;
        fl_status status;

        assert_int_equal(fl_cursor_open(store, &options, &cursor), FL_OK);
        for (status = fl_cursor_first(cursor); status == FL_OK; status = fl_cursor_next(cursor)) {
        }
        assert_true(status == FL_END || status == FL_CORRUPT);
        for (status = fl_cursor_last(cursor); status == FL_OK; status = fl_cursor_prev(cursor)) {
        }
        assert_true(status == FL_END || status == FL_CORRUPT);
        fl_cursor_close(cursor);
    }
}

/* Overwrite or delete the key; nothing else is returned than that this was done, or why not. */
static void
change(struct subject *s, struct fl_store *store, unsigned space, unsigned i)
{
    uint8_t buf[512];
    const struct fl_key key = contents_key(space, i, buf);
    const bool delete = (space + i) % 3 == 0;
    const fl_status status =
        delete ? fl_delete(store, key) : fl_put(store, key, fl_bytes(value_new, VALUE), NULL);

    if (status == FL_OK) {
        s->changed[space][i] = true;
        s->gone[space][i] = delete;
    } else if (status != FL_IO && status != FL_CORRUPT && status != FL_READ_ONLY &&
               !(delete &&status == FL_NOT_FOUND)) {
        fail_msg("page %llu: change of key %u/%u: %s", (unsigned long long)(s->page / PAGE), space,
                 i, fl_status_name(status));
    }
}

static void
change_all(struct subject *s, struct fl_store *store, unsigned seed)
{
    for (unsigned n = 0; n < CONTENTS_KEYS; n++) {
        for (unsigned space = 0; space < CONTENTS_SPACES; space++) {
            change(s, store, space, (n * 7 + seed) % CONTENTS_KEYS);
        }
    }
}

static void
check_while_open(struct subject *s)
{
    struct fl_snapshot *snapshot = NULL;
    struct fl_store *store = NULL;
    unsigned errors;

    memset(s->changed, 0, sizeof(s->changed));
    file_write(s);
    assert_int_equal(open_store(s, 0, false, &store), FL_OK);
    if (s->page / PAGE % 2 == 0) {
        assert_int_equal(fl_snapshot_create(store, &snapshot), FL_OK);
    }
    poison(s, s->base);
    errors = ask_all(s, store, "gone bad", false);
    change_all(s, store, 0);
    scan_all(store);
    contents_maintain(store);
    fl_snapshot_release(snapshot);
    change_all(s, store, 1);
    contents_maintain(store);
    errors += ask_all(s, store, "changed", false);
    scan_all(store);
    const fl_status closed = fl_close(store);

    assert_true(closed == FL_OK || closed == FL_IO);
    tally_add(&tallies[WHILE_OPEN], 1, errors > 0 || closed != FL_OK);
    /* The page is as good as before again: what was acknowledged is there. */
    assert_int_equal(open_store(s, 0, false, &store), FL_OK);
    errors = ask_all(s, store, "opened again", false);
    assert_int_equal(errors, 0);
    assert_int_equal(fl_close(store), FL_OK);
}

static void
page_that_goes_bad_costs_what_it_holds(void **state)
{
    static struct subject s;

    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        subject_create(&s, kind == 0 ? FL_MAPPING_VOLATILE : FL_MAPPING_PAGE, true);
        for (s.page = 0; s.page < s.len; s.page += PAGE) {
            check_while_open(&s);
        }
        subject_destroy(&s);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_page_refuses_an_open_or_costs_what_it_holds),
        cmocka_unit_test(page_that_goes_bad_costs_what_it_holds),
    };
    /* Its runtime makes the program's atomic accesses, with a lock of its own held: a SIGBUS there waits for itself. */
#if SANITIZED_THREAD
    puts("skipped: ThreadSanitizer does not bear a SIGBUS in an atomic access");
    return 77;
#endif
    const int failed = cmocka_run_group_tests_name("faults poison", tests, NULL, NULL);

    for (size_t i = 0; i < sizeof(tallies) / sizeof(tallies[0]); i++) {
        tally_print(&tallies[i]);
    }
    return failed;
}

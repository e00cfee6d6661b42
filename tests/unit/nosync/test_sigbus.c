/* Goal:   the SIGBUS backstop ends a guarded access that the kernel can't serve, gives a shielded load zeros and notes
 *         the page, and does only that: other signals and other addresses go where they went before, and nothing of it
 *         is left after the last close.
 * Method: a real SIGBUS, by cutting the file short under its mapping; handlers of the program's own before and
 *         beside ours; a child process where the end of the program is the expected outcome.
 */
#include "place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    struct nosync_request request;
    struct nosync_map *map;
};

static volatile sig_atomic_t earlier_calls;
static sigjmp_buf earlier_exit;

static void
earlier_handler(int signal_number)
{
    (void)signal_number;
    earlier_calls++;
    siglongjmp(earlier_exit, 1);
}

/* From within the test: cmocka puts a handler of its own in place after a fixture's set-up. */
static void
begin(struct fixture *f)
{
    tmpdir_create(&f->dir);
    f->request =
        place_request(tmpdir_join(&f->dir, "heap", f->path), FL_MAPPING_VOLATILE, 16 * PLACE_BLOCK);
    f->request.sigbus = true;
    f->map = place_open(&f->request);
    assert_int_equal(nosync_fault_in(f->map, 0, 2 * PLACE_BLOCK), FL_OK);
    assert_int_equal(truncate(f->path, PLACE_BLOCK), 0);
}

static void
end(struct fixture *f)
{
    nosync_close(f->map);
    tmpdir_destroy(&f->dir);
}

struct access {
    const volatile uint8_t *at;
    unsigned value;
    bool inner;
};

static void
load(void *context)
{
    struct access *access = context;

    access->value = 1000u + *access->at;
}

static void
load_twice(void *context)
{
    struct access *access = context;

    access->inner = nosync_guard(load, context);
    access->at -= PLACE_BLOCK;
    load(context);
}

static void
guarded_access_to_a_missing_block_returns_false(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    struct access good = {f.map->media.base, 0, false};
    struct access bad = {f.map->media.base + PLACE_BLOCK, 0, false};

    for (int i = 0; i < 100; i++) { /* more than once: no mask, no guard is left behind */
        assert_true(nosync_guard(load, &good));
        assert_int_equal(good.value, 1000);
        assert_false(nosync_guard(load, &bad));
        assert_int_equal(bad.value, 0);
    }
    end(&f);
}

static void
inner_guard_leaves_the_outer_armed(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    struct access bad = {f.map->media.base + PLACE_BLOCK, 0, true};

    assert_true(nosync_guard(load_twice, &bad));
    assert_false(bad.inner);
    assert_int_equal(bad.value, 1000);
    bad.at = f.map->media.base + 2 * PLACE_BLOCK; /* the second access fails as well */
    assert_false(nosync_guard(load_twice, &bad));
    end(&f);
}

static uint8_t *
bytes_of(const struct fixture *f)
{
    return (uint8_t *)(uintptr_t)f->map->media.base;
}

static unsigned
shielded_load(const struct fixture *f, uint64_t off)
{
    nosync_shield_begin();
    const unsigned value = *(const volatile uint8_t *)(f->map->media.base + off);

    nosync_shield_end();
    return value;
}

static void
shielded_load_of_a_missing_page_finds_zeros_and_tells(void **state)
{
    struct fixture f;
    uint64_t off = 0;
    uint64_t len = 0;

    (void)state;
    begin(&f);
    memset(bytes_of(&f), 7, PLACE_BLOCK);
    for (int i = 0; i < 200; i++) { /* more often than there are slots */
        assert_int_equal(shielded_load(&f, 5), 7);
        assert_int_equal(nosync_bad_pages(f.map), i > 0);
        assert_int_equal(shielded_load(&f, PLACE_BLOCK + 5), 0);
    }
    assert_false(nosync_is_bad(f.map, 0, PLACE_BLOCK));
    assert_true(nosync_is_bad(f.map, 0, PLACE_BLOCK + 1));
    assert_true(nosync_bad_next(f.map, &off, 2 * PLACE_BLOCK, &len));
    assert_int_equal(off, PLACE_BLOCK);
    assert_int_equal(len, (uint64_t)getpagesize());
    /* Behind the shield it is as before. */
    struct access bad = {f.map->media.base + PLACE_BLOCK, 0, false};

    assert_false(nosync_guard(load, &bad));
    /* The file has the page again: the same mapping shows it. */
    assert_int_equal(truncate(f.path, 2 * PLACE_BLOCK), 0);
    bytes_of(&f)[PLACE_BLOCK + 5] = 9;
    assert_int_equal(shielded_load(&f, PLACE_BLOCK + 5), 9);
    assert_true(nosync_is_bad(f.map, PLACE_BLOCK, 1)); /* until it is made anew */
    nosync_bad_forget(f.map, PLACE_BLOCK, PLACE_BLOCK);
    assert_int_equal(nosync_bad_pages(f.map), 0);
    end(&f);
}

static void
shield_holds_for_any_number_of_pages_and_depths(void **state)
{
    const uint64_t page = (uint64_t)getpagesize();
    struct fixture f;
    uint64_t off = 0;
    uint64_t len = 0;

    (void)state;
    begin(&f);
    nosync_shield_begin();
    for (int round = 0; round < 3; round++) {
        for (uint64_t n = 0; n < PLACE_BLOCK / page; n++) {
            nosync_shield_begin();
            assert_int_equal(
                *(const volatile uint8_t *)(f.map->media.base + PLACE_BLOCK + n * page), 0);
            nosync_shield_end();
        }
    }
    nosync_shield_end();
    assert_true(nosync_bad_next(f.map, &off, 2 * PLACE_BLOCK, &len));
    assert_int_equal(off, PLACE_BLOCK);
    assert_int_equal(len, PLACE_BLOCK);
    off += len;
    assert_false(nosync_bad_next(f.map, &off, 2 * PLACE_BLOCK, &len));
    end(&f);
}

static void *
load_many(void *context)
{
    const struct fixture *f = context;
    uint64_t wrong = 0;

    for (uint64_t i = 0; i < 2000; i++) {
        const uint64_t off = i % 8 * (uint64_t)getpagesize();

        nosync_shield_begin();
        wrong += *(const volatile uint8_t *)(f->map->media.base + PLACE_BLOCK + off) != 0;
        wrong += *(const volatile uint8_t *)(f->map->media.base + off) != 7;
        nosync_shield_end();
    }
    return (void *)(uintptr_t)wrong;
}

static void
threads_shielded_from_the_same_pages_find_zeros(void **state)
{
    struct fixture f;
    pthread_t threads[4];

    (void)state;
    begin(&f);
    memset(bytes_of(&f), 7, PLACE_BLOCK);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, load_many, &f), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        void *wrong;

        assert_int_equal(pthread_join(threads[i], &wrong), 0);
        assert_null(wrong);
    }
    struct access bad = {f.map->media.base + PLACE_BLOCK, 0, false};

    assert_false(nosync_guard(load, &bad));
    end(&f);
}

static void
store(void *context)
{
    const struct access *access = context;

    *(volatile uint8_t *)(uintptr_t)access->at = 1;
}

static void
stores_are_not_shielded(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    struct access bad = {f.map->media.base + PLACE_BLOCK, 0, false};

    nosync_shield_begin();
    assert_false(nosync_guard(store, &bad));
    nosync_shield_end();
    assert_int_equal(nosync_bad_pages(f.map), 0);
    end(&f);
}

static void *
guard_in_thread(void *context)
{
    return (void *)(uintptr_t)nosync_guard(load, context);
}

static void
each_thread_has_its_own_guard(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    struct access bad[4];
    pthread_t threads[4];

    for (size_t i = 0; i < 4; i++) {
        bad[i] = (struct access){f.map->media.base + PLACE_BLOCK, 0, false};
        assert_int_equal(pthread_create(&threads[i], NULL, guard_in_thread, &bad[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        void *served;

        assert_int_equal(pthread_join(threads[i], &served), 0);
        assert_null(served);
    }
    end(&f);
}

/* Run in a child with the default action, and return what signal ended it. */
static int
signal_of_child(void (*body)(void *context), void *context)
{
    int status = 0;
    const pid_t child = fork();

    if (child == 0) {
        const struct rlimit no_core = {0, 0};

        (void)setrlimit(RLIMIT_CORE, &no_core);
        body(context);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* A mapping that is none of ours, with SIGBUS in it. Inherited by a child. */
static uint8_t *
map_foreign(const struct tmpdir *dir)
{
    char path[TMPDIR_PATH_BYTES];
    FILE *file = fopen(tmpdir_join(dir, "foreign", path), "we+");

    assert_non_null(file);
    uint8_t *foreign = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fileno(file), 0);

    assert_ptr_not_equal(foreign, MAP_FAILED);
    assert_int_equal(fclose(file), 0);
    return foreign;
}

static void
guarded_load(void *context)
{
    (void)nosync_guard(load, context);
}

static void
raise_sigbus(void *context)
{
    (void)context;
    (void)raise(SIGBUS);
}

static void
guarded_raise(void *context)
{
    (void)nosync_guard(raise_sigbus, context);
}

static void
what_is_not_ours_ends_the_program_as_before(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    uint8_t *foreign = map_foreign(&f.dir);
    struct access access = {foreign, 0, false};

    (void)signal(SIGBUS, SIG_DFL); /* before ours: cmocka has one of its own */
    nosync_close(f.map);
    f.map = place_open(&f.request);

    assert_int_equal(signal_of_child(load, &access), SIGBUS);
    assert_int_equal(signal_of_child(guarded_load, &access), SIGBUS);
    assert_int_equal(signal_of_child(guarded_raise, NULL), SIGBUS);
    assert_int_equal(munmap(foreign, 4096), 0);
    end(&f);
}

static void
earlier_handler_gets_what_is_not_ours(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    uint8_t *foreign = map_foreign(&f.dir);
    struct access access = {foreign, 0, false};
    struct access bad;
    struct sigaction now;

    nosync_close(f.map);
    assert_ptr_not_equal(signal(SIGBUS, earlier_handler), SIG_ERR);
    f.map = place_open(&f.request);
    earlier_calls = 0;
    if (sigsetjmp(earlier_exit, 1) == 0) {
        load(&access);
        fail();
    }
    assert_int_equal(earlier_calls, 1);
    bad = (struct access){f.map->media.base + PLACE_BLOCK, 0, false};
    assert_false(nosync_guard(load, &bad));
    assert_int_equal(earlier_calls, 1);

    nosync_close(f.map);
    assert_int_equal(sigaction(SIGBUS, NULL, &now), 0);
    assert_ptr_equal(now.sa_handler, earlier_handler);
    (void)signal(SIGBUS, SIG_DFL);
    f.map = place_open(&f.request);
    assert_int_equal(munmap(foreign, 4096), 0);
    end(&f);
}

static void
handler_stays_until_the_last_store_closes(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    struct nosync_request request = f.request;
    char path[TMPDIR_PATH_BYTES];
    struct access bad = {f.map->media.base + PLACE_BLOCK, 0, false};

    request.path = tmpdir_join(&f.dir, "second", path);
    nosync_close(place_open(&request));
    assert_false(nosync_guard(load, &bad));
    end(&f);
}

static void
without_the_option_no_handler_is_installed(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    struct sigaction before;
    struct sigaction after;
    struct access good;

    nosync_close(f.map);
    f.request.sigbus = false;
    assert_int_equal(sigaction(SIGBUS, NULL, &before), 0);
    f.map = place_open(&f.request);
    assert_int_equal(sigaction(SIGBUS, NULL, &after), 0);
    assert_ptr_equal(before.sa_handler, after.sa_handler);
    good = (struct access){f.map->media.base, 0, false};
    assert_true(nosync_guard(load, &good));
    assert_int_equal(good.value, 1000);
    end(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guarded_access_to_a_missing_block_returns_false),
        cmocka_unit_test(inner_guard_leaves_the_outer_armed),
        cmocka_unit_test(each_thread_has_its_own_guard),
        cmocka_unit_test(shielded_load_of_a_missing_page_finds_zeros_and_tells),
        cmocka_unit_test(shield_holds_for_any_number_of_pages_and_depths),
        cmocka_unit_test(threads_shielded_from_the_same_pages_find_zeros),
        cmocka_unit_test(stores_are_not_shielded),
        cmocka_unit_test(what_is_not_ours_ends_the_program_as_before),
        cmocka_unit_test(earlier_handler_gets_what_is_not_ours),
        cmocka_unit_test(handler_stays_until_the_last_store_closes),
        cmocka_unit_test(without_the_option_no_handler_is_installed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

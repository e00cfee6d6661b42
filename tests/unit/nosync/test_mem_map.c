/* Goal:   the mapping that storage tests stand on tells the truth: it keeps the vtable's contract, fails
 *         exactly when it was told to, records every step before it happens, and ends a program that stores
 *         to a block it does not have.
 * Method: its own calls in each mode; what must end the program does so in a child process.
 */
#include "tests/lib/mem_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK UINT64_C(8192)
#define FILE_BYTES (16 * BLOCK)

enum { EVENTS_MAX = 64 };

static const enum pm_mode modes[] = {PM_DIRECT, PM_HOOKED, PM_STAGED};
enum { MODES = sizeof(modes) / sizeof(modes[0]) };

struct fixture {
    struct mem_map *mem;
    struct nosync_map *map;
    struct pm pm;
    struct mem_map_event events[EVENTS_MAX];
    uint8_t before[EVENTS_MAX]; /* the first byte that the event is about to change */
    size_t events_count;
};

static void
record(void *context, const struct mem_map_event *event)
{
    struct fixture *f = context;

    assert_true(f->events_count < EVENTS_MAX);
    f->before[f->events_count] = mem_map_bytes(f->mem)[event->off];
    f->events[f->events_count++] = *event;
}

static void
begin(struct fixture *f, enum pm_mode mode)
{
    const struct mem_map_options options = {
        .mode = mode, .size_bytes_max = FILE_BYTES, .guard = true};

    memset(f, 0, sizeof(*f));
    f->mem = mem_map_create(&options);
    f->map = mem_map_open(f->mem);
    pm_init(&f->pm, &f->map->media);
}

static void
end(struct fixture *f)
{
    nosync_close(f->map);
    mem_map_destroy(f->mem);
}

static void
put(struct fixture *f, uint64_t off, const char *text)
{
    pm_write_nofence(&f->pm, off, text, strlen(text));
    assert_int_equal(pm_drain(&f->pm), FL_OK);
}

static void
file_outlives_its_mappings(void **state)
{
    (void)state;
    for (size_t i = 0; i < MODES; i++) {
        struct fixture f;

        begin(&f, modes[i]);
        assert_true(f.map->grant.created);
        assert_int_equal(nosync_fault_in(f.map, 0, BLOCK), FL_OK);
        put(&f, 10, "kept");
        nosync_close(f.map);
        f.map = mem_map_open(f.mem);
        assert_false(f.map->grant.created);
        assert_memory_equal(f.map->media.base + 10, "kept", 4);
        assert_int_equal(nosync_size_bytes(f.map), BLOCK);
        end(&f);
    }
}

static void
fault_in_and_punch_keep_the_contract(void **state)
{
    (void)state;
    for (size_t i = 0; i < MODES; i++) {
        struct fixture f;

        begin(&f, modes[i]);
        assert_int_equal(nosync_fault_in(f.map, 2 * BLOCK, BLOCK), FL_OK);
        assert_int_equal(nosync_size_bytes(f.map), 3 * BLOCK);
        assert_int_equal(nosync_file_bytes(f.map), BLOCK);
        assert_int_equal(f.map->media.base[0], 0); /* a hole reads as zeros */
        put(&f, 2 * BLOCK, "old");
        assert_int_equal(nosync_fault_in(f.map, 2 * BLOCK, BLOCK), FL_OK);
        assert_int_equal(f.map->media.base[2 * BLOCK], 0);
        put(&f, 2 * BLOCK, "old");
        assert_int_equal(nosync_punch(f.map, 2 * BLOCK, BLOCK), FL_OK);
        assert_int_equal(f.map->media.base[2 * BLOCK], 0);
        assert_int_equal(nosync_file_bytes(f.map), 0);
        assert_int_equal(nosync_size_bytes(f.map), 3 * BLOCK);
        assert_int_equal(nosync_fault_in(f.map, 2 * BLOCK, BLOCK), FL_OK);
        put(&f, 2 * BLOCK, "new");
        end(&f);
    }
}

static void
image_goes_out_and_in(void **state)
{
    (void)state;
    for (size_t i = 0; i < MODES; i++) {
        struct fixture f;
        uint64_t len;

        begin(&f, modes[i]);
        assert_int_equal(nosync_fault_in(f.map, 0, 2 * BLOCK), FL_OK);
        put(&f, BLOCK, "image");
        char *image = mem_map_copy(f.mem, &len);

        assert_int_equal(len, 2 * BLOCK);
        put(&f, BLOCK, "later");
        nosync_close(f.map);
        memcpy(image, "crash", 5);
        mem_map_load(f.mem, image, len - 5000);
        free(image);
        f.map = mem_map_open(f.mem);
        pm_init(&f.pm, &f.map->media);
        assert_int_equal(nosync_size_bytes(f.map), BLOCK + 4096); /* whole pages */
        assert_memory_equal(f.map->media.base, "crash", 5);
        assert_memory_equal(f.map->media.base + BLOCK, "image", 5);
        put(&f, 0, "written");
        end(&f);
    }
}

static void
planned_call_fails_once_and_changes_nothing(void **state)
{
    static const struct mem_map_failure fault_in = {MEM_MAP_CALL_FAULT_IN, 2, FL_NO_SPACE, false,
                                                    false};
    static const struct mem_map_failure punch = {MEM_MAP_CALL_PUNCH, 1, FL_NOT_SUPPORTED, true,
                                                 false};
    struct fixture f;

    (void)state;
    begin(&f, PM_HOOKED);
    mem_map_fail(f.mem, &fault_in);
    mem_map_fail(f.mem, &punch);
    assert_int_equal(nosync_fault_in(f.map, 0, BLOCK), FL_OK);
    assert_int_equal(nosync_fault_in(f.map, BLOCK, BLOCK), FL_NO_SPACE);
    assert_int_equal(nosync_size_bytes(f.map), BLOCK);
    assert_int_equal(nosync_fault_in(f.map, BLOCK, BLOCK), FL_OK);
    put(&f, BLOCK, "old");
    assert_int_equal(nosync_punch(f.map, BLOCK, BLOCK), FL_NOT_SUPPORTED);
    assert_int_equal(f.map->media.base[BLOCK], 0); /* applied all the same */
    assert_int_equal(nosync_punch(f.map, 0, BLOCK), FL_OK);
    assert_int_equal(mem_map_calls(f.mem, MEM_MAP_CALL_FAULT_IN), 3);
    assert_int_equal(mem_map_calls(f.mem, MEM_MAP_CALL_PUNCH), 2);
    end(&f);
}

static void
failed_sync_is_sticky_if_planned_so(void **state)
{
    static const struct mem_map_failure failure = {MEM_MAP_CALL_WRITE_DURABLE, 1, FL_IO, true,
                                                   true};
    struct fixture f;
    struct pm other;

    (void)state;
    begin(&f, PM_STAGED);
    assert_int_equal(nosync_fault_in(f.map, 0, BLOCK), FL_OK);
    mem_map_fail(f.mem, &failure);
    pm_write_nofence(&f.pm, 0, "unknown", 7);
    assert_int_equal(pm_drain(&f.pm), FL_IO);
    assert_memory_equal(f.map->media.base, "unknown", 7);
    pm_init(&other, &f.map->media);
    pm_write_nofence(&other, 0, "never", 5);
    assert_int_equal(pm_drain(&other), FL_IO);
    assert_memory_equal(f.map->media.base, "unknown", 7);
    assert_int_equal(nosync_fault_in(f.map, BLOCK, BLOCK), FL_IO);
    assert_int_equal(nosync_sync_file(f.map), FL_IO);
    end(&f);
}

static void
space_runs_out_and_comes_back(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, PM_DIRECT);
    mem_map_set_space(f.mem, 3 * BLOCK);
    assert_int_equal(nosync_fault_in(f.map, 0, 2 * BLOCK), FL_OK);
    assert_int_equal(nosync_fault_in(f.map, 2 * BLOCK, 2 * BLOCK), FL_NO_SPACE);
    assert_int_equal(nosync_size_bytes(f.map), 2 * BLOCK);
    assert_int_equal(nosync_fault_in(f.map, 2 * BLOCK, BLOCK), FL_OK);
    assert_int_equal(nosync_fault_in(f.map, 2 * BLOCK, BLOCK), FL_OK); /* it has it already */
    assert_int_equal(nosync_fault_in(f.map, 3 * BLOCK, BLOCK), FL_NO_SPACE);
    assert_int_equal(nosync_punch(f.map, 0, BLOCK), FL_OK);
    assert_int_equal(nosync_fault_in(f.map, 3 * BLOCK, BLOCK), FL_OK);
    mem_map_set_space(f.mem, 0);
    assert_int_equal(nosync_fault_in(f.map, 0, FILE_BYTES), FL_OK);
    end(&f);
}

static void
expect(const struct fixture *f, size_t i, enum mem_map_event_kind kind, uint64_t off, uint64_t len)
{
    assert_true(i < f->events_count);
    assert_int_equal(f->events[i].kind, kind);
    assert_int_equal(f->events[i].off, off);
    assert_int_equal(f->events[i].len, len);
}

static void
recorder_is_told_of_hooked_steps_before_they_happen(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, PM_HOOKED);
    mem_map_record(f.mem, record, &f);
    assert_int_equal(nosync_fault_in(f.map, 0, BLOCK), FL_OK);
    put(&f, 100, "one");
    put(&f, 100, "two");
    pm_store_u64_nofence(&f.pm, 8, 5);
    assert_int_equal(pm_drain(&f.pm), FL_OK);
    assert_int_equal(nosync_punch(f.map, 0, BLOCK), FL_OK);
    assert_int_equal(nosync_sync_file(f.map), FL_OK);
    mem_map_record(f.mem, NULL, NULL);
    assert_int_equal(nosync_fault_in(f.map, 0, BLOCK), FL_OK);

    assert_int_equal(f.events_count, 12);
    expect(&f, 0, MEM_MAP_FAULT_IN, 0, BLOCK);
    expect(&f, 1, MEM_MAP_STORE, 100, 3);
    assert_false(f.events[1].atomic);
    assert_int_equal(f.before[1], 0);
    expect(&f, 2, MEM_MAP_FLUSH, 100, 3);
    expect(&f, 3, MEM_MAP_FENCE, 0, 0);
    expect(&f, 4, MEM_MAP_STORE, 100, 3);
    assert_int_equal(f.before[4], 'o');
    expect(&f, 7, MEM_MAP_STORE, 8, 8);
    assert_true(f.events[7].atomic);
    expect(&f, 8, MEM_MAP_FLUSH, 8, 8);
    expect(&f, 9, MEM_MAP_FENCE, 0, 0);
    expect(&f, 10, MEM_MAP_PUNCH, 0, BLOCK);
    expect(&f, 11, MEM_MAP_SYNC_FILE, 0, 0);
    end(&f);
}

static void
recorder_is_told_which_staged_writes_a_sync_covers(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, PM_STAGED);
    assert_int_equal(nosync_fault_in(f.map, 0, BLOCK), FL_OK);
    mem_map_record(f.mem, record, &f);
    pm_write_nofence(&f.pm, 0, "a", 1);
    pm_write_nofence(&f.pm, 600, "b", 1);
    assert_int_equal(pm_drain(&f.pm), FL_OK);
    assert_int_equal(pm_write_through_nofence(&f.pm, 700, "c", 1), FL_OK);
    assert_int_equal(pm_drain(&f.pm), FL_OK);

    assert_int_equal(f.events_count, 5);
    expect(&f, 0, MEM_MAP_WRITE, 0, 1);
    expect(&f, 1, MEM_MAP_WRITE, 600, 1);
    expect(&f, 2, MEM_MAP_SYNC, 0, 2);
    assert_false(f.events[2].all);
    expect(&f, 3, MEM_MAP_WRITE, 700, 1);
    expect(&f, 4, MEM_MAP_SYNC, 0, 0);
    assert_true(f.events[4].all);
    mem_map_record(f.mem, NULL, NULL);
    end(&f);
}

static void
store_without_a_block_ends_the_program(void **state)
{
    (void)state;
    for (size_t i = 0; i < (size_t)2 * MODES; i++) {
        const bool punched = i >= MODES;
        struct fixture f;
        int status = 0;

        begin(&f, modes[i % MODES]);
        assert_int_equal(nosync_fault_in(f.map, 0, 3 * BLOCK), FL_OK);
        assert_int_equal(nosync_punch(f.map, BLOCK, BLOCK), FL_OK);
        const pid_t child = fork();

        if (child == 0) {
            const struct rlimit no_core = {0, 0};

            (void)setrlimit(RLIMIT_CORE, &no_core);
            (void)signal(SIGSEGV, SIG_DFL);
            (void)fclose(stderr);
            pm_write_nofence(&f.pm, punched ? BLOCK + 100 : 3 * BLOCK, "x", 1);
            _exit(pm_drain(&f.pm) == FL_OK ? 0 : 1);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), modes[i % MODES] == PM_DIRECT ? SIGSEGV : SIGABRT);
        end(&f);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_outlives_its_mappings),
        cmocka_unit_test(fault_in_and_punch_keep_the_contract),
        cmocka_unit_test(image_goes_out_and_in),
        cmocka_unit_test(planned_call_fails_once_and_changes_nothing),
        cmocka_unit_test(failed_sync_is_sticky_if_planned_so),
        cmocka_unit_test(space_runs_out_and_comes_back),
        cmocka_unit_test(recorder_is_told_of_hooked_steps_before_they_happen),
        cmocka_unit_test(recorder_is_told_which_staged_writes_a_sync_covers),
        cmocka_unit_test(store_without_a_block_ends_the_program),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

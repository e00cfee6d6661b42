/* Goal:   what was retired is released once every reader that was inside has left, and not before; nothing is lost.
 * Method: single-threaded for the rules; then readers that hold pointers which a writer swaps and retires, poisoned
 *         on release, so that an early release is seen (and is a race for the thread sanitizer).
 */
#include "base/epoch.h"
#include "base/mem.h"
#include "tests/lib/rng.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

enum { READERS = 3, SWAPS = 4000, RETIRED_MANY = 2000 };

static void
count_release(void *context, uint64_t arg)
{
    *(uint64_t *)context += arg;
}

static void
sleep_us(long us)
{
    const struct timespec pause = {0, us * 1000};

    nanosleep(&pause, NULL);
}

static void
epoch_reclaim_without_readers_releases_all(void **state)
{
    struct epoch *epoch;
    uint64_t sum = 0;

    (void)state;
    assert_int_equal(epoch_create(&epoch), FL_OK);
    assert_int_equal(epoch_reclaim(epoch), 0);
    for (uint64_t i = 1; i <= RETIRED_MANY; i++) {
        epoch_retire(epoch, count_release, &sum, i);
    }
    assert_int_equal(sum, 0);
    assert_int_equal(epoch_reclaim(epoch), RETIRED_MANY);
    assert_int_equal(sum, RETIRED_MANY * (RETIRED_MANY + 1) / 2);
    assert_int_equal(epoch_reclaim(epoch), 0);
    epoch_destroy(epoch);
}

static void
epoch_destroy_releases_what_is_left(void **state)
{
    struct epoch *epoch;
    uint64_t sum = 0;

    (void)state;
    epoch_destroy(NULL);
    assert_int_equal(epoch_create(&epoch), FL_OK);
    for (int i = 0; i < RETIRED_MANY; i++) {
        epoch_retire(epoch, count_release, &sum, 1);
    }
    epoch_destroy(epoch);
    assert_int_equal(sum, RETIRED_MANY);
}

struct chain {
    struct epoch *epoch;
    uint64_t released;
};

static void
retire_again(void *context, uint64_t arg)
{
    struct chain *chain = context;

    chain->released++;
    if (arg > 0) {
        epoch_retire(chain->epoch, retire_again, chain, arg - 1);
    }
}

static void
epoch_release_may_retire_more(void **state)
{
    struct chain chain = {0};

    (void)state;
    assert_int_equal(epoch_create(&chain.epoch), FL_OK);
    epoch_retire(chain.epoch, retire_again, &chain, 3);
    assert_int_equal(epoch_reclaim(chain.epoch), 1);
    assert_int_equal(epoch_reclaim(chain.epoch), 1);
    assert_int_equal(chain.released, 2);
    epoch_destroy(chain.epoch);
    assert_int_equal(chain.released, 4);
}

struct waiter {
    struct epoch *epoch;
    _Atomic int done;
    uint64_t released;
};

static void *
reclaim_run(void *arg)
{
    struct waiter *waiter = arg;

    waiter->released = epoch_reclaim(waiter->epoch);
    atomic_store(&waiter->done, 1);
    return NULL;
}

static void
epoch_reclaim_waits_for_readers_inside(void **state)
{
    struct waiter waiter = {0};
    pthread_t thread;
    uint64_t sum = 0;

    (void)state;
    assert_int_equal(epoch_create(&waiter.epoch), FL_OK);
    const uint32_t outer = epoch_enter(waiter.epoch);
    const uint32_t inner = epoch_enter(waiter.epoch);

    epoch_retire(waiter.epoch, count_release, &sum, 1);
    assert_int_equal(pthread_create(&thread, NULL, reclaim_run, &waiter), 0);
    sleep_us(20000);
    assert_int_equal(atomic_load(&waiter.done), 0);
    epoch_exit(waiter.epoch, inner);
    sleep_us(20000);
    assert_int_equal(atomic_load(&waiter.done), 0);
    epoch_exit(waiter.epoch, outer);
    pthread_join(thread, NULL);
    assert_int_equal(waiter.released, 1);
    assert_int_equal(sum, 1);
    epoch_destroy(waiter.epoch);
}

struct token {
    struct epoch *epoch;
    uint32_t token;
};

static void *
exit_run(void *arg)
{
    const struct token *token = arg;

    epoch_exit(token->epoch, token->token);
    return NULL;
}

static void
epoch_exit_by_another_thread_ends_the_section(void **state)
{
    struct token token;
    pthread_t thread;

    (void)state;
    assert_int_equal(epoch_create(&token.epoch), FL_OK);
    token.token = epoch_enter(token.epoch);
    assert_int_equal(pthread_create(&thread, NULL, exit_run, &token), 0);
    pthread_join(thread, NULL);
    epoch_synchronize(token.epoch); /* would never return */
    epoch_destroy(token.epoch);
}

/* Readers that are always inside, in turns. */
struct crowd {
    struct epoch *epoch;
    _Atomic int stop;
};

static void *
crowd_run(void *arg)
{
    struct crowd *crowd = arg;
    uint32_t token = epoch_enter(crowd->epoch);

    while (atomic_load(&crowd->stop) == 0) {
        const uint32_t next = epoch_enter(crowd->epoch);

        epoch_exit(crowd->epoch, token);
        token = next;
    }
    epoch_exit(crowd->epoch, token);
    return NULL;
}

static void
epoch_synchronize_ends_though_new_readers_come(void **state)
{
    struct crowd crowd = {0};
    pthread_t threads[2];

    (void)state;
    assert_int_equal(epoch_create(&crowd.epoch), FL_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, crowd_run, &crowd), 0);
    }
    for (int i = 0; i < 50; i++) {
        epoch_synchronize(crowd.epoch);
    }
    atomic_store(&crowd.stop, 1);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    epoch_destroy(crowd.epoch);
}

static void
epoch_retire_without_memory_releases_at_once(void **state)
{
    struct epoch *epoch;
    uint64_t sum = 0;
    uint64_t retired = 0;

    (void)state;
    mem_fail_from(1);
    assert_int_equal(epoch_create(&epoch), FL_NO_MEMORY);
    mem_fail_from(0);
    assert_int_equal(epoch_create(&epoch), FL_OK);
    mem_fail_from(1);
    epoch_retire(epoch, count_release, &sum, 1);
    assert_int_equal(sum, 1);
    mem_fail_from(0);
    /* With a spare block in hand it goes on for a good while. */
    epoch_retire(epoch, count_release, &sum, 1);
    mem_fail_from(1);
    for (retired = 1; sum == 1; retired++) {
        epoch_retire(epoch, count_release, &sum, 1);
    }
    mem_fail_from(0);
    assert_true(retired > 100);
    assert_int_equal(epoch_reclaim(epoch), retired - 1);
    assert_int_equal(sum, 1 + retired);
    epoch_destroy(epoch);
}

/* ---- pointers under readers' feet ---- */

struct object {
    uint64_t value; /* even while alive */
};

struct stage {
    struct epoch *epoch;
    _Atomic(struct object *) objects[4];
    _Atomic int stop;
    _Atomic int reclaiming;
    uint64_t released;
};

static void
object_release(void *context, uint64_t arg)
{
    struct stage *stage = context;
    struct object *object = (struct object *)(uintptr_t)arg;

    object->value = 1;
    free(object);
    stage->released++;
}

static struct object *
object_make(void)
{
    struct object *object = malloc(sizeof(*object));

    if (object == NULL) {
        abort();
    }
    object->value = 2;
    return object;
}

static void *
stage_reader_run(void *arg)
{
    struct stage *stage = arg;
    uint64_t i = 0;

    while (atomic_load_explicit(&stage->stop, memory_order_relaxed) == 0) {
        const uint32_t token = epoch_enter(stage->epoch);

        for (int n = 0; n < 8; n++) {
            const struct object *object =
                atomic_load_explicit(&stage->objects[i++ & 3], memory_order_acquire);

            if (object->value != 2) {
                fprintf(stderr, "test_epoch: released while a reader was inside\n");
                abort();
            }
        }
        epoch_exit(stage->epoch, token);
    }
    return NULL;
}

static void *
stage_reclaim_run(void *arg)
{
    struct stage *stage = arg;

    while (atomic_load(&stage->reclaiming) != 0) {
        if (epoch_reclaim(stage->epoch) == 0) {
            sleep_us(100);
        }
    }
    return NULL;
}

static void
epoch_under_readers_releases_late_and_all(void **state)
{
    struct stage stage = {0};
    pthread_t readers[READERS];
    pthread_t reclaimer;

    (void)state;
    assert_int_equal(epoch_create(&stage.epoch), FL_OK);
    for (int i = 0; i < 4; i++) {
        atomic_store(&stage.objects[i], object_make());
    }
    atomic_store(&stage.reclaiming, 1);
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(pthread_create(&readers[i], NULL, stage_reader_run, &stage), 0);
    }
    assert_int_equal(pthread_create(&reclaimer, NULL, stage_reclaim_run, &stage), 0);
    for (int i = 0; i < SWAPS; i++) {
        struct object *old = atomic_exchange(&stage.objects[i & 3], object_make());

        epoch_retire(stage.epoch, object_release, &stage, (uint64_t)(uintptr_t)old);
        if (i % 100 == 99) {
            sleep_us(50);
        }
    }
    atomic_store(&stage.stop, 1);
    atomic_store(&stage.reclaiming, 0);
    for (int i = 0; i < READERS; i++) {
        pthread_join(readers[i], NULL);
    }
    pthread_join(reclaimer, NULL);
    epoch_destroy(stage.epoch);
    assert_int_equal(stage.released, SWAPS);
    for (int i = 0; i < 4; i++) {
        free(atomic_load(&stage.objects[i]));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(epoch_reclaim_without_readers_releases_all),
        cmocka_unit_test(epoch_destroy_releases_what_is_left),
        cmocka_unit_test(epoch_release_may_retire_more),
        cmocka_unit_test(epoch_reclaim_waits_for_readers_inside),
        cmocka_unit_test(epoch_exit_by_another_thread_ends_the_section),
        cmocka_unit_test(epoch_synchronize_ends_though_new_readers_come),
        cmocka_unit_test(epoch_retire_without_memory_releases_at_once),
        cmocka_unit_test(epoch_under_readers_releases_late_and_all),
    };

    return cmocka_run_group_tests_name("epoch", tests, NULL, NULL);
}

/* Goal:   kill -9 of a program that has the store embedded, at any moment, loses nothing that a call had
 *         reported as durable and tears no batch; nor does it leave a file that can't be opened when it hits
 *         the creation.
 * Method: this program starts itself as the writer: threads put, delete, commit batches and submit batches,
 *         and report the number of each step through a pipe once it is durable. It is killed after a random
 *         time; the store is opened here, and points and both orders are compared with the steps that were
 *         reported. On a real disk (page mapping) and in memory (volatile), with large and small blocks. */
#include "tests/integration/kill9/ledger.h"
#include "tests/integration/support/place.h"
#include "tests/lib/child.h"
#include "tests/lib/die.h"
#include "tests/lib/rng.h"

#include <faultline/batch.h>
#include <faultline/check.h>
#include <faultline/cursor.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    WRITERS = 4,
    ROUNDS_DEFAULT = 16,
    CREATIONS = 12,
    LIFE_MS_MIN = 5,
    LIFE_MS_SPAN = 150,
    READY_MS = 60000,
    SUBMITS_MAX = 8, /* batches in flight of the writer that submits */
    ARGS = 8,
    NUMBER_BYTES = 24,
};

struct settings {
    char *program;
    unsigned rounds;
};

static struct settings settings = {.rounds = ROUNDS_DEFAULT};

static struct fl_options
options_of(enum fl_mapping mapping, uint32_t block_bytes)
{
    struct fl_options options;

    fl_options_init(&options);
    options.mapping = mapping;
    options.durability_min =
        mapping == FL_MAPPING_VOLATILE ? FL_DURABILITY_PROCESS : FL_DURABILITY_POWERCUT;
    options.block_bytes = block_bytes;
    options.size_bytes_max = (uint64_t)4 << 30;
    return options;
}

/* ---- the program that is killed ---- */

struct report {
    uint32_t writer;
    uint32_t sent; /* 1: the step may happen from now on; 0: it is durable */
    uint64_t number;
};

struct worker {
    struct fl_store *store;
    uint64_t seed;
    unsigned writer;
    uint64_t number;
    struct fl_batch *batch;
    uint64_t tickets[SUBMITS_MAX];
    uint8_t *value;
    pthread_t thread;
};

static void
must(fl_status status, const char *what)
{
    if (status != FL_OK) {
        die("%s: %s", what, fl_last_error());
    }
}

/* One write() of few bytes to a pipe is whole or not there. */
static void
report(const struct worker *worker, bool sent, uint64_t number)
{
    const struct report report = {worker->writer, sent, number};

    if (write(STDOUT_FILENO, &report, sizeof(report)) != (ssize_t)sizeof(report)) {
        _exit(1);
    }
}

static struct fl_key
key_of(unsigned writer, unsigned i, char name[LEDGER_KEY_BYTES + 1])
{
    ledger_key(writer, i, name);
    return fl_key(name, LEDGER_KEY_BYTES);
}

static void
fill_batch(struct worker *worker, const struct ledger_step *step)
{
    char name[LEDGER_KEY_BYTES + 1];

    for (unsigned i = step->first; i < step->first + step->count; i++) {
        const struct fl_key key = key_of(worker->writer, i, name);

        if (step->kind == LEDGER_DELETE || step->kind == LEDGER_GROUP_DELETE) {
            const fl_status status = fl_batch_delete(worker->batch, key);

            if (status != FL_NOT_FOUND) {
                must(status, "fl_batch_delete");
            }
        } else {
            const size_t len =
                ledger_value(worker->seed, worker->writer, i, step->number, worker->value);

            must(fl_batch_put(worker->batch, key, fl_bytes(worker->value, len), NULL),
                 "fl_batch_put");
        }
    }
}

static void
do_step(struct worker *worker, const struct ledger_step *step)
{
    char name[LEDGER_KEY_BYTES + 1];
    const struct fl_key key = key_of(worker->writer, step->first, name);

    if (step->count > 1) {
        fill_batch(worker, step);
        must(fl_batch_commit(worker->batch), "fl_batch_commit");
    } else if (step->kind == LEDGER_DELETE) {
        const fl_status status = fl_delete(worker->store, key);

        if (status != FL_NOT_FOUND) {
            must(status, "fl_delete");
        }
    } else {
        const size_t len =
            ledger_value(worker->seed, worker->writer, step->first, step->number, worker->value);

        must(fl_put(worker->store, key, fl_bytes(worker->value, len), NULL), "fl_put");
    }
}

static void *
worker_main(void *arg)
{
    struct worker *worker = arg;

    for (uint64_t number = worker->number + 1;; number++) {
        const struct ledger_step step = ledger_step(worker->seed, worker->writer, number);

        report(worker, true, number);
        do_step(worker, &step);
        report(worker, false, number);
    }
    return NULL;
}

/* Writer 0 submits without waiting, some batches ahead, and waits for the oldest. */
static void *
submitter_main(void *arg)
{
    struct worker *worker = arg;

    for (uint64_t number = worker->number + 1;; number++) {
        const struct ledger_step step = ledger_step(worker->seed, worker->writer, number);
        uint64_t *ticket = &worker->tickets[number % SUBMITS_MAX];

        if (number - worker->number > SUBMITS_MAX) {
            must(fl_wait(worker->store, *ticket), "fl_wait");
            report(worker, false, number - SUBMITS_MAX);
        }
        report(worker, true, number);
        fill_batch(worker, &step);
        must(fl_batch_submit(worker->batch, ticket), "fl_batch_submit");
    }
    return NULL;
}

/* --write PATH MAPPING BLOCK SEED LIFE */
static int
write_until_killed(char **argv)
{
    const struct fl_options options = options_of((enum fl_mapping)strtoul(argv[1], NULL, 10),
                                                 (uint32_t)strtoul(argv[2], NULL, 10));
    static struct worker workers[WRITERS];
    struct fl_store *store = NULL;

    must(fl_open(argv[0], &options, &store), argv[0]);
    for (unsigned i = 0; i < WRITERS; i++) {
        workers[i] = (struct worker){.store = store,
                                     .seed = strtoull(argv[3], NULL, 10),
                                     .writer = i,
                                     .number = strtoull(argv[4], NULL, 10) << 32,
                                     .value = malloc((size_t)LEDGER_VALUE_BYTES_MAX)};
        must(fl_batch_create(store, &workers[i].batch), "fl_batch_create");
        if (pthread_create(&workers[i].thread, NULL, i == 0 ? submitter_main : worker_main,
                           &workers[i]) != 0) {
            die("no thread");
        }
    }
    pthread_join(workers[0].thread, NULL);
    return 1;
}

/* ---- the test ---- */

struct game {
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    struct fl_options options;
    struct rng rng;
    uint64_t seed;
    uint32_t life;
    struct ledger ledgers[WRITERS];
    struct ledger_faults faults;
    uint64_t acked;
    uint8_t scratch[LEDGER_VALUE_BYTES_MAX];
};

static void
game_launch(struct game *game, struct child *child)
{
    char numbers[4][NUMBER_BYTES];
    char *argv[ARGS] = {settings.program, (char *)(uintptr_t) "--write", game->path};

    snprintf(numbers[0], NUMBER_BYTES, "%d", (int)game->options.mapping);
    snprintf(numbers[1], NUMBER_BYTES, "%u", game->options.block_bytes);
    snprintf(numbers[2], NUMBER_BYTES, "%lu", (unsigned long)game->seed);
    snprintf(numbers[3], NUMBER_BYTES, "%u", game->life);
    for (unsigned i = 0; i < 4; i++) {
        argv[3 + i] = numbers[i];
    }
    child_start(child, argv);
}

/* The writer's last words come through the same pipe. */
static _Noreturn void
die_of_words(const struct child *child, const struct report *report)
{
    char rest[1024] = "";
    const ssize_t n = read(child->out_fd, rest, sizeof(rest) - 1);

    (void)n;
    die("the writer said something else than reports: %.16s%s", (const char *)report, rest);
}

static void
take_report(struct game *game, const struct child *child, const struct report *report)
{
    if (report->writer >= WRITERS || report->sent > 1 || report->number >> 32 != game->life) {
        die_of_words(child, report);
    }
    struct ledger *ledger = &game->ledgers[report->writer];

    if (report->sent != 0) {
        ledger->sent = report->number;
    } else {
        ledger->acked = report->number;
        game->acked++;
    }
}

/* Take reports until the pipe ends; kill the writer `life_ms` after the first one. */
static void
game_listen(struct game *game, struct child *child, uint64_t life_ms)
{
    struct timespec until = {0};
    struct timespec now;
    struct report report;
    bool killed = false;
    size_t have = 0;

    for (;;) {
        const ssize_t n = read(child->out_fd, (char *)&report + have, sizeof(report) - have);

        if (n <= 0) {
            break;
        }
        have += (size_t)n;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (until.tv_sec == 0) {
            until = now;
            until.tv_nsec += (long)life_ms * 1000000L;
            until.tv_sec += until.tv_nsec / 1000000000L;
            until.tv_nsec %= 1000000000L;
        }
        if (!killed && (now.tv_sec > until.tv_sec ||
                        (now.tv_sec == until.tv_sec && now.tv_nsec >= until.tv_nsec))) {
            child_signal(child, SIGKILL);
            killed = true;
        }
        if (have == sizeof(report)) {
            take_report(game, child, &report);
            have = 0;
        }
    }
    if (!killed) {
        die("the writer ended by itself");
    }
    child_kill(child);
}

static uint64_t
identify(struct game *game, unsigned writer, unsigned i, struct fl_view *view)
{
    const uint64_t number =
        ledger_identify(game->seed, writer, i, view->value.ptr, view->value.len, game->scratch);

    if (number == 0) {
        fail_msg("writer %u's key %u has wrong bytes", writer, i);
    }
    return number;
}

static void
observe(struct game *game, struct fl_store *store, uint64_t observed[WRITERS][LEDGER_KEYS])
{
    char name[LEDGER_KEY_BYTES + 1];
    struct fl_view view;

    for (unsigned w = 0; w < WRITERS; w++) {
        for (unsigned i = 0; i < LEDGER_KEYS; i++) {
            const fl_status status = fl_get_view(store, key_of(w, i, name), &view);

            observed[w][i] = 0;
            if (status == FL_OK) {
                observed[w][i] = identify(game, w, i, &view);
                fl_view_release(&view);
            } else {
                assert_int_equal(status, FL_NOT_FOUND);
            }
        }
    }
}

/* Every key that is there, once, in order; backwards the same. */
static void
check_order(struct game *game, struct fl_store *store, uint64_t observed[WRITERS][LEDGER_KEYS],
            bool forwards)
{
    struct fl_cursor *cursor = NULL;
    char name[LEDGER_KEY_BYTES + 1];
    struct fl_view view;
    uint64_t met = 0;

    assert_int_equal(fl_cursor_open(store, NULL, &cursor), FL_OK);
    fl_status status = forwards ? fl_cursor_first(cursor) : fl_cursor_last(cursor);

    for (unsigned at = 0; at < WRITERS * LEDGER_KEYS; at++) {
        const unsigned place = forwards ? at : WRITERS * LEDGER_KEYS - 1 - at;
        const unsigned w = place / LEDGER_KEYS;
        const unsigned i = place % LEDGER_KEYS;

        if (observed[w][i] == 0) {
            continue;
        }
        assert_int_equal(status, FL_OK);
        ledger_key(w, i, name);
        assert_int_equal(fl_cursor_key(cursor).len, LEDGER_KEY_BYTES);
        assert_memory_equal(fl_cursor_key(cursor).ptr, name, LEDGER_KEY_BYTES);
        assert_int_equal(fl_cursor_view(cursor, &view), FL_OK);
        assert_int_equal(identify(game, w, i, &view), observed[w][i]);
        status = forwards ? fl_cursor_next(cursor) : fl_cursor_prev(cursor);
        met++;
    }
    assert_int_equal(status, FL_END);
    assert_int_equal(fl_count(store, 0), met);
    fl_cursor_close(cursor);
}

static void
game_verify(struct game *game)
{
    static uint64_t observed[WRITERS][LEDGER_KEYS];
    const struct fl_check_options check_options = {.struct_bytes = sizeof(check_options)};
    struct fl_check_report check_report = {0};
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};
    struct fl_store *store = NULL;

    assert_int_equal(fl_check(game->path, &check_options, &check_report), FL_OK);
    assert_int_equal(check_report.findings, 0);
    assert_int_equal(fl_open(game->path, &game->options, &store), FL_OK);
    fl_stats(store, &stats);
    assert_true(stats.recovered);
    assert_int_equal(stats.mapping, game->options.mapping);
    observe(game, store, observed);
    check_order(game, store, observed, true);
    check_order(game, store, observed, false);
    assert_int_equal(fl_close(store), FL_OK);
    for (unsigned w = 0; w < WRITERS; w++) {
        ledger_settle(&game->ledgers[w], observed[w], &game->faults);
    }
    assert_int_equal(game->faults.lost, 0);
    assert_int_equal(game->faults.torn, 0);
    assert_int_equal(game->faults.disorder, 0);
}

static void
game_begin(struct game *game, enum fl_mapping mapping, uint64_t seed)
{
    const uint64_t room = (uint64_t)1 << 30;

    memset(game, 0, sizeof(*game));
    if (!(mapping == FL_MAPPING_VOLATILE ? place_in_memory(&game->dir, room)
                                         : place_on_disk(&game->dir, room))) {
        print_message("skipped: no filesystem %s with 1 GiB free\n",
                      mapping == FL_MAPPING_VOLATILE ? "in memory" : "on disk");
        skip();
    }
    game->rng = rng_seeded(seed);
    game->seed = rng_u64(&game->rng);
    for (unsigned w = 0; w < WRITERS; w++) {
        ledger_init(&game->ledgers[w], game->seed, w);
    }
}

static void
play(enum fl_mapping mapping, uint64_t seed)
{
    static const uint32_t block_bytes[] = {2 << 20, 16 << 10};
    static struct game game;
    uint64_t acked = 0;

    for (unsigned g = 0; g < 2; g++) {
        game_begin(&game, mapping, seed + g);
        game.options = options_of(mapping, block_bytes[g]);
        tmpdir_join(&game.dir, "store", game.path);
        for (unsigned round = 0; round < (settings.rounds + g) / 2; round++) {
            struct child child;

            game.life++;
            for (unsigned w = 0; w < WRITERS; w++) {
                ledger_begin(&game.ledgers[w], game.life);
            }
            game_launch(&game, &child);
            game_listen(&game, &child, LIFE_MS_MIN + rng_below(&game.rng, LIFE_MS_SPAN));
            game_verify(&game);
        }
        acked += game.acked;
        tmpdir_destroy(&game.dir);
    }
    print_message("%u rounds on %s: %lu steps acknowledged; 0 lost, 0 torn\n", settings.rounds,
                  fl_mapping_name(mapping), (unsigned long)acked);
    assert_true(acked > settings.rounds);
}

static void
program_killed_on_the_page_mapping_keeps_what_was_durable(void **state)
{
    (void)state;
    play(FL_MAPPING_PAGE, 7001);
}

static void
program_killed_on_the_volatile_mapping_keeps_what_was_durable(void **state)
{
    (void)state;
    play(FL_MAPPING_VOLATILE, 7002);
}

/* Nothing was ever acknowledged, so the file may be empty; but the next open must make a store of it. */
static void
program_killed_while_it_creates_the_store_leaves_one_that_opens(void **state)
{
    static struct game game;
    char name[NUMBER_BYTES];

    (void)state;
    game_begin(&game, FL_MAPPING_PAGE, 7003);
    game.options = options_of(FL_MAPPING_PAGE, 2 << 20);
    for (unsigned i = 0; i < CREATIONS; i++) {
        struct fl_store *store = NULL;
        struct child child;

        snprintf(name, sizeof(name), "created-%u", i);
        tmpdir_join(&game.dir, name, game.path);
        game_launch(&game, &child);
        usleep((useconds_t)rng_below(&game.rng, 15000));
        child_kill(&child);
        const fl_status status = fl_open(game.path, &game.options, &store);

        if (status != FL_OK) {
            fail_msg("creation %u: %s", i, fl_last_error());
        }
        assert_int_equal(fl_put(store, fl_key("k", 1), fl_bytes("v", 1), NULL), FL_OK);
        assert_int_equal(fl_close(store), FL_OK);
        unlink(game.path);
    }
    tmpdir_destroy(&game.dir);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(program_killed_on_the_page_mapping_keeps_what_was_durable),
        cmocka_unit_test(program_killed_on_the_volatile_mapping_keeps_what_was_durable),
        cmocka_unit_test(program_killed_while_it_creates_the_store_leaves_one_that_opens),
    };

    settings.program = argv[0];
    if (argc == 7 && strcmp(argv[1], "--write") == 0) {
        return write_until_killed(argv + 2);
    }
    if (argc == 3 && strcmp(argv[1], "--rounds") == 0) {
        settings.rounds = (unsigned)strtoul(argv[2], NULL, 10);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

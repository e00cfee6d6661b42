/* Goal:   kill -9 of the server at any moment loses nothing that was acknowledged, tears no MSET, MULTI/EXEC
 *         or DEL of several keys, and leaves points, order and counts in agreement; on a real disk (page
 *         mapping), in memory (volatile) and on a model device that dies with the server, with blocks of 2 MiB and
 *         small ones.
 * Method: 8 writers pipeline SET, DEL, MSET and MULTI/EXEC over TCP beside a reader; after a random time the
 *         server gets SIGKILL. It is started again on the same file (now and then killed in the middle of
 *         that) and all that it holds is compared with what the writers had sent, and had heard back. The
 *         store lives on from round to round; every few rounds the verifier reads the file as the kill left
 *         it. `--rounds N` for more; `--mapping page|volatile|model`. */
#include "tests/integration/kill9/clients.h"
#include "tests/integration/support/place.h"
#include "tests/lib/die.h"
#include "tests/lib/rng.h"
#include "tests/unit/nosync/place.h"

#include <faultline/check.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    SEED = 20260801,
    READY_MS = 60000,
    PIPELINES_MAX = 24,
    LIFE_MS_MIN = 10,
    LIFE_MS_SPAN = 240,
    STARTING_MS_SPAN = 40,
    CHECK_EVERY = 4,
};

struct settings {
    const char *program;
    unsigned rounds;
    const char *mapping;
    bool in_memory; /* a promise for processes only */
    bool model;
};

static struct settings settings = {.rounds = 50, .mapping = "page"};

struct game {
    struct tmpdir dir;
    char file[TMPDIR_PATH_BYTES]; /* of the store, or of its device */
    char store[TMPDIR_PATH_BYTES + 16];
    const char *flags[16];
    struct rng rng;
    uint64_t seed;
    uint32_t life;
    struct ledger ledgers[CLIENTS_WRITERS];
    struct ledger_faults faults;
    uint64_t execs; /* transactions counted in the store when it was last looked at */
    uint64_t acked, sent, reads, starts_killed, checks;
    struct subject subject;
    struct clients clients;
};

static void
sleep_ms(uint64_t ms)
{
    const struct timespec pause = {.tv_sec = (time_t)(ms / 1000),
                                   .tv_nsec = (long)(ms % 1000) * 1000000L};

    nanosleep(&pause, NULL);
}

static void
game_begin(struct game *game, const char *block_bytes)
{
    const char *const flags[] = {"--store",
                                 game->store,
                                 "--mapping",
                                 settings.mapping,
                                 "--durability-min",
                                 settings.in_memory ? "process" : "powercut",
                                 "--block-bytes",
                                 block_bytes,
                                 "--size-max",
                                 settings.model ? "256mb" : "4gb",
                                 NULL};

    tmpdir_join(&game->dir, block_bytes, game->file);
    snprintf(game->store, sizeof(game->store), settings.model ? "modelfs:%s/heap" : "%s",
             game->file);
    memcpy(game->flags, flags, sizeof(flags));
    game->execs = 0;
    for (unsigned i = 0; i < CLIENTS_WRITERS; i++) {
        ledger_init(&game->ledgers[i], game->seed, i);
    }
}

/* The server holds what it must, `recovered` says how the last run ended. */
static void
game_verify(struct game *game, bool recovered)
{
    static uint64_t observed[CLIENTS_WRITERS][LEDGER_KEYS];
    uint64_t execs = 0;
    uint64_t execs_min = game->execs;
    uint64_t execs_max = game->execs;
    struct fl_client *client = subject_connect(&game->subject, READY_MS);

    assert_int_equal(subject_info(client, "recovered"), recovered);
    assert_int_equal(subject_info(client, "put_path_faults_total"), 0);
    fl_client_close(client);
    clients_observe(&game->subject, game->seed, observed, &execs);
    for (unsigned i = 0; i < CLIENTS_WRITERS; i++) {
        ledger_settle(&game->ledgers[i], observed[i], &game->faults);
        execs_min += game->ledgers[i].execs_min;
        execs_max += game->ledgers[i].execs_max;
    }
    if (execs < execs_min || execs > execs_max) {
        fprintf(stderr, "TORN: transactions counted %lu, there are %lu to %lu\n",
                (unsigned long)execs, (unsigned long)execs_min, (unsigned long)execs_max);
        game->faults.torn++;
    }
    game->execs = execs;
    assert_int_equal(game->faults.lost, 0);
    assert_int_equal(game->faults.torn, 0);
    assert_int_equal(game->faults.disorder, 0);
}

static void
print_finding(void *context, const struct fl_check_finding *finding)
{
    (void)context;
    fprintf(stderr, "check: %s at %lu: %s\n", finding->rule, (unsigned long)finding->off,
            finding->text);
}

static void
game_check_file(struct game *game)
{
    const struct fl_check_options options = {.struct_bytes = sizeof(options),
                                             .finding = print_finding};
    struct fl_check_report report = {0};

    assert_int_equal(fl_check(game->store, &options, &report), FL_OK);
    assert_int_equal(report.findings, 0);
    game->checks++;
}

/* A start that is killed before it is over. */
static void
game_kill_a_start(struct game *game)
{
    subject_launch(&game->subject, settings.program, game->flags);
    sleep_ms(rng_below(&game->rng, STARTING_MS_SPAN));
    subject_kill(&game->subject);
    game->starts_killed++;
}

static void
game_round(struct game *game, bool first)
{
    if (rng_below(&game->rng, 4) == 0) {
        game_kill_a_start(game);
    }
    subject_start(&game->subject, settings.program, game->flags, READY_MS);
    if (!first) {
        game_verify(game, true);
    }
    game->life++;
    for (unsigned i = 0; i < CLIENTS_WRITERS; i++) {
        ledger_begin(&game->ledgers[i], game->life);
    }
    clients_start(&game->clients, &game->subject, game->ledgers, game->seed, PIPELINES_MAX);
    sleep_ms(LIFE_MS_MIN + rng_below(&game->rng, LIFE_MS_SPAN));
    atomic_store(&game->clients.killed, true);
    subject_kill(&game->subject);
    if (!clients_join(&game->clients)) {
        fail_msg("%s", game->clients.error);
    }
    for (unsigned i = 0; i < CLIENTS_WRITERS; i++) {
        game->acked += game->ledgers[i].acked - game->ledgers[i].settled;
        game->sent += game->ledgers[i].sent - game->ledgers[i].settled;
    }
    game->reads += game->clients.reads;
    if (game->life % CHECK_EVERY == 0) {
        game_check_file(game);
    }
}

/* The last recovery, then an ordinary end: nothing changes by it. */
static void
game_end(struct game *game)
{
    subject_start(&game->subject, settings.program, game->flags, READY_MS);
    game_verify(game, true);
    game->life++;
    for (unsigned i = 0; i < CLIENTS_WRITERS; i++) {
        ledger_begin(&game->ledgers[i], game->life);
    }
    subject_stop(&game->subject, READY_MS);
    game_check_file(game);
    subject_start(&game->subject, settings.program, game->flags, READY_MS);
    game_verify(game, false);
    subject_stop(&game->subject, READY_MS);
    unlink(game->file);
}

static void
server_killed_at_random_keeps_what_it_acknowledged(void **state)
{
    static const char *const geometries[] = {"2097152", "65536"};
    static struct game game;

    (void)state;
    if (!(settings.in_memory ? place_in_memory(&game.dir, (uint64_t)1 << 30)
                             : place_on_disk(&game.dir, (uint64_t)1 << 30))) {
        die_skip("no filesystem %s with 1 GiB free", settings.in_memory ? "in memory" : "on disk");
    }
    game.rng = rng_seeded(SEED);
    game.seed = rng_u64(&game.rng);
    for (unsigned g = 0; g < 2; g++) {
        const unsigned rounds = g == 0 ? (settings.rounds + 1) / 2 : settings.rounds / 2;

        game_begin(&game, geometries[g]);
        for (unsigned round = 0; round < rounds; round++) {
            game_round(&game, round == 0);
        }
        if (rounds > 0) {
            game_end(&game);
        }
    }
    printf("%u rounds on %s: %lu steps sent, %lu acknowledged, %lu values read meanwhile, %lu "
           "starts killed, "
           "%lu files checked; lost %lu, torn %lu\n",
           settings.rounds, settings.mapping, (unsigned long)game.sent, (unsigned long)game.acked,
           (unsigned long)game.reads, (unsigned long)game.starts_killed, (unsigned long)game.checks,
           (unsigned long)game.faults.lost, (unsigned long)game.faults.torn);
    assert_true(game.acked > settings.rounds);
    tmpdir_destroy(&game.dir);
}

/* Of these steps two are transactions over keys that were absent, and the third deletes those again. */
static void
account_allows_for_transactions_that_leave_no_trace(void **state)
{
    enum { WRITER = 5, LIFE = 4, BEFORE = 634, AFTER = 637 };
    struct rng rng = rng_seeded(SEED);
    const uint64_t seed = rng_u64(&rng);
    struct ledger_faults faults = {0};
    struct ledger ledger;
    uint64_t observed[LEDGER_KEYS] = {0};

    (void)state;
    ledger_init(&ledger, seed, WRITER);
    ledger_begin(&ledger, LIFE);
    for (uint64_t number = 1; number <= AFTER; number++) {
        const struct ledger_step step = ledger_step(seed, WRITER, ledger.settled + number);
        const bool sets = step.kind != LEDGER_DELETE && step.kind != LEDGER_GROUP_DELETE;

        for (unsigned i = 0; i < step.count; i++) {
            observed[step.first + i] = sets ? step.number : 0;
        }
    }
    ledger.acked = ledger.settled + BEFORE;
    ledger.sent = ledger.settled + AFTER;
    ledger_settle(&ledger, observed, &faults);
    assert_int_equal(faults.lost + faults.torn + faults.disorder, 0);
    assert_int_equal(ledger.execs_max - ledger.execs_min, 2);
    ledger_begin(&ledger, LIFE + 1);
    ledger_settle(&ledger, observed, &faults);
    assert_int_equal(ledger.execs_max, 0);
    observed[0]++;
    ledger_settle(&ledger, observed, &faults);
    assert_int_equal(faults.lost, 1);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(account_allows_for_transactions_that_leave_no_trace),
        cmocka_unit_test(server_killed_at_random_keeps_what_it_acknowledged),
    };

    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--server") == 0) {
            settings.program = argv[i + 1];
        } else if (strcmp(argv[i], "--rounds") == 0) {
            settings.rounds = (unsigned)strtoul(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--mapping") == 0) {
            settings.mapping = argv[i + 1];
        }
    }
    settings.model = strcmp(settings.mapping, "model") == 0;
    settings.in_memory = settings.model || strcmp(settings.mapping, "volatile") == 0;
    if (settings.program == NULL) {
        die("usage: %s --server PROGRAM [--mapping page|volatile|model] [--rounds N]", argv[0]);
    }
    if (settings.model) {
        place_need_userfaultfd();
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

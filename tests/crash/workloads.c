#include "tests/crash/workloads.h"

#include "tests/lib/rng.h"

#include <stdio.h>
#include <string.h>

static void
reopen(struct driver *d)
{
    driver_close(d);
    (void)driver_open(d);
}

static void
run_points(struct driver *d, uint64_t seed)
{
    static const char *const first[] = {"+a", "-b", "+d"};
    static const char *const second[] = {"+d", "+e", "-d"};

    (void)seed;
    driver_put(d, 0, "a", 8);
    driver_put(d, 0, "b", 5);
    driver_put(d, 0, "a", 7);
    driver_put(d, 0, "c", 0);
    driver_delete(d, 0, "c");
    driver_delete(d, 0, "nothing");
    driver_batch(d, 4, first, 3);
    driver_put(d, 1, "a", 3);
    driver_batch(d, 6, second, 3);
    driver_delete(d, 0, "a");
    driver_put(d, 0, "a", 2);
    reopen(d);
    driver_put(d, 0, "f", 4);
    driver_delete(d, 0, "e");
    driver_close(d);
}

static void
run_values(struct driver *d, uint64_t seed)
{
    static const uint32_t lens[] = {100, 40, 200, 512, 1, 400, 116};

    (void)seed;
    for (unsigned i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        driver_put(d, 0, i % 2 == 0 ? "v" : "w", lens[i]);
    }
    driver_close(d);
}

/* Frames of nine to thirteen words: as many as can be gone through without leaving a state out. */
static void
run_frames(struct driver *d, uint64_t seed)
{
    static const char *const changes[] = {"+a", "+f", "-a"};

    (void)seed;
    for (unsigned i = 0; i < 18; i++) {
        driver_put(d, 0, i % 2 == 0 ? "f" : "g", 56 + 4 * (i % 9));
        if (i % 6 == 5) {
            driver_batch(d, 2, changes, 3);
            driver_delete(d, 0, "g");
        }
    }
    driver_close(d);
}

static void
run_segments(struct driver *d, uint64_t seed)
{
    (void)seed;
    for (unsigned i = 0; i < 30; i++) {
        char key[8];

        (void)snprintf(key, sizeof(key), "s%u", i % 9);
        driver_put(d, 0, key, i % 3 == 0 ? 20 : 500);
        if (i % 8 == 7) {
            driver_maintain(d, 1);
        }
    }
    driver_close(d);
}

static void
run_batches(struct driver *d, uint64_t seed)
{
    static const char *const small[] = {"+a", "+b", "+c"};
    static const char *const mixed[] = {"-a", "+b", "+d", "-c", "d>e"};
    static const char *const large[] = {"+a", "+b", "+c", "+d", "+e", "+f", "+g", "+h", "+i", "+j"};

    (void)seed;
    driver_batch(d, 3, small, 3);
    driver_batch(d, 5, mixed, 5);
    driver_batch(d, 450, large, 10); /* two blocks */
    driver_batch(d, 9, small, 3);
    driver_batch(d, 480, large, 10);
    driver_maintain(d, 0);
    reopen(d);
    driver_batch(d, 470, large, 10);
    driver_put(d, 0, "k", 6);
    driver_maintain(d, 0);
    driver_close(d);
}

static void
run_blobs(struct driver *d, uint64_t seed)
{
    static const char *const rename[] = {"a>c", "+d"};
    static const char *const both[] = {"+e", "+f", "-d"};

    (void)seed;
    driver_put(d, 0, "a", 600);
    driver_put(d, 0, "b", 9000);
    driver_batch(d, 10, rename, 2);
    driver_put(d, 0, "b", 30);
    driver_maintain(d, 0);
    driver_batch(d, 5000, both, 3);
    driver_delete(d, 0, "e");
    driver_maintain(d, 0);
    driver_put(d, 0, "c", 4096);
    reopen(d);
    driver_maintain(d, 0);
    driver_put(d, 0, "c", 700);
    driver_close(d);
}

/* Overwrites until segments are cleaned, freed, punched and used again; tombstones that lose what they hid. What
 * stays is spread thinly, so that it is copied. */
static void
run_cleaner(struct driver *d, uint64_t seed)
{
    (void)seed;
    driver_put(d, 0, "gone", 8);
    for (unsigned i = 0; i < 40; i++) {
        char key[8];

        if (i % 8 == 0) {
            (void)snprintf(key, sizeof(key), "stays%u", i / 8);
            driver_put(d, 0, key, 12);
        }
        if (i == 9) {
            driver_delete(d, 0, "gone");
        }
        driver_put(d, 0, i % 2 == 0 ? "even" : "odd", 490);
        if (i % 13 == 12) {
            driver_maintain(d, 3);
        }
    }
    driver_maintain(d, 0);
    driver_delete(d, 0, "stays1");
    reopen(d);
    for (unsigned i = 0; i < 20; i++) {
        driver_put(d, 0, "even", 490);
    }
    driver_maintain(d, 0);
    driver_put(d, 0, "gone", 12);
    driver_close(d);
}

/* A tombstone's segment is cleaned long before the segment of what it hides. */
static void
run_tombstones(struct driver *d, uint64_t seed)
{
    char key[8];

    (void)seed;
    driver_put(d, 0, "gone", 8);
    for (unsigned i = 0; i < 7; i++) {
        (void)snprintf(key, sizeof(key), "s%u", i);
        driver_put(d, 0, key, 490);
    }
    driver_put(d, 0, "even", 490);
    driver_delete(d, 0, "gone");
    for (unsigned i = 0; i < 32; i++) {
        driver_put(d, 0, i % 2 == 0 ? "even" : "odd", 490);
    }
    driver_maintain(d, 0);
    reopen(d);
    driver_maintain(d, 0);
    driver_close(d);
}

/* The same with what hides a whole space, and with a deadline that has passed. */
static void
run_masks(struct driver *d, uint64_t seed)
{
    const uint64_t t = d->wall_ms;
    char key[8];

    (void)seed;
    driver_put(d, 1, "gone", 8);
    driver_put(d, 0, "old", 8);
    for (unsigned i = 0; i < 7; i++) {
        (void)snprintf(key, sizeof(key), "s%u", i);
        driver_put(d, 0, key, 490);
    }
    driver_put(d, 0, "even", 490);
    driver_delete_spaces(d, 1, 1);
    driver_put_deadline(d, 0, "old", 9, t + 50);
    driver_clock(d, t + 2000);
    for (unsigned i = 0; i < 32; i++) {
        driver_put(d, 0, i % 2 == 0 ? "even" : "odd", 490);
    }
    driver_maintain(d, 0);
    reopen(d);
    driver_maintain(d, 0);
    driver_close(d);
}

static void
run_spaces(struct driver *d, uint64_t seed)
{
    (void)seed;
    driver_put(d, 0, "a", 20);
    driver_put(d, 1, "a", 20);
    driver_put(d, 2, "a", 20);
    driver_put(d, 2, "b", 3000);
    driver_delete_spaces(d, 1, 2);
    driver_put(d, 2, "a", 7);
    driver_maintain(d, 0);
    driver_delete_spaces(d, 0, 255);
    driver_put(d, 1, "c", 9);
    driver_maintain(d, 0);
    for (unsigned i = 0; i < 40; i++) {
        driver_put(d, 0, i % 2 == 0 ? "x" : "y", 490);
        if (i % 10 == 9) {
            driver_maintain(d, 0);
        }
    }
    reopen(d);
    driver_delete_spaces(d, 0, 0);
    driver_maintain(d, 0);
    driver_close(d);
}

static void
run_expiry(struct driver *d, uint64_t seed)
{
    const uint64_t t = d->wall_ms;

    (void)seed;
    driver_put(d, 0, "old", 8);
    driver_put_deadline(d, 0, "old", 8, t + 50000);
    driver_put_deadline(d, 0, "soon", 8, t + 100);
    driver_put_deadline(d, 0, "late", 6, t + 900000);
    driver_clock(d, t + 150);
    driver_maintain(d, 0);
    driver_put_deadline(d, 0, "blob", 700, t + 10000);
    driver_clock(d, t + 20000);
    driver_maintain(d, 0);
    reopen(d);
    driver_clock(d, t + 60000);
    driver_maintain(d, 0);
    for (unsigned i = 0; i < 40; i++) {
        driver_put(d, 0, "x", 490);
        if (i % 10 == 9) {
            driver_maintain(d, 0);
        }
    }
    reopen(d);
    driver_maintain(d, 0);
    driver_close(d);
}

/* All deadlines have passed when the store is opened: what a reader then misses stays away, whatever the clock says
 * later. */
static void
run_expired(struct driver *d, uint64_t seed)
{
    const uint64_t t = d->wall_ms;

    (void)seed;
    driver_put(d, 0, "old", 8);
    driver_put_deadline(d, 0, "old", 8, t + 50000);
    driver_close(d);
    driver_clock(d, t + 100000);
    (void)driver_open(d);
    driver_put(d, 0, "a", 8);
    reopen(d);
    driver_put(d, 0, "a", 9);
    driver_close(d);
}

/* The wall clock is set back while the store is open, behind deadlines by which keys were dropped and a big value was
 * freed; then what masks the older version is cleaned. */
static void
run_set_back(struct driver *d, uint64_t seed)
{
    const uint64_t t = d->wall_ms;

    (void)seed;
    driver_put(d, 0, "old", 8);
    driver_put_deadline(d, 0, "blob", 700, t + 1500);
    for (unsigned i = 0; i < 9; i++) {
        if (i == 7) {
            driver_put_deadline(d, 0, "old", 9, t + 1500);
        }
        driver_put(d, 0, i % 2 == 0 ? "x" : "y", 490);
    }
    for (unsigned step = 1; step <= 2; step++) {
        driver_clock(d, t + 900 * step);
        driver_maintain(d, 0);
    }
    driver_clock(d, t + 100);
    for (unsigned i = 0; i < 14; i++) {
        driver_put(d, 0, "x", 490);
        if (i % 7 == 6) {
            driver_maintain(d, 0);
        }
    }
    reopen(d);
    driver_put(d, 0, "a", 8);
    driver_maintain(d, 0);
    driver_close(d);
}

/* Until nothing fits; deletes still do, and make room. */
static void
run_full(struct driver *d, uint64_t seed)
{
    char key[8];

    (void)seed;
    for (unsigned i = 0; i < 60 && d->no_space < 2; i++) {
        (void)snprintf(key, sizeof(key), "f%u", i);
        driver_put(d, 0, key, i % 5 == 4 ? 2000 : 500);
        driver_maintain(d, 1);
    }
    for (unsigned i = 0; i < 12; i++) {
        (void)snprintf(key, sizeof(key), "f%u", i);
        driver_delete(d, 0, key);
        driver_maintain(d, 2);
    }
    driver_maintain(d, 0);
    for (unsigned i = 0; i < 6; i++) {
        (void)snprintf(key, sizeof(key), "n%u", i);
        driver_put(d, 0, key, 500);
    }
    driver_close(d);
}

/* Full, then opened with a larger size, into which it goes on. */
static void
run_raise(struct driver *d, uint64_t seed)
{
    char key[8];

    (void)seed;
    for (unsigned i = 0; i < 60 && d->no_space == 0; i++) {
        (void)snprintf(key, sizeof(key), "r%u", i);
        driver_put(d, 0, key, 500);
    }
    driver_close(d);
    driver_raise(d);
    (void)driver_open(d);
    for (unsigned i = 0; i < 10; i++) {
        (void)snprintf(key, sizeof(key), "r%u", i);
        driver_put(d, 1, key, i == 4 ? 5000 : 500);
    }
    reopen(d);
    driver_put(d, 0, "a", 8);
    driver_close(d);
}

static void
run_reopen(struct driver *d, uint64_t seed)
{
    (void)seed;
    for (unsigned i = 0; i < 5; i++) {
        driver_put(d, 0, i % 2 == 0 ? "p" : "q", 8 + i);
        reopen(d);
        if (i == 2) {
            driver_maintain(d, 0);
        }
    }
    driver_close(d);
}

/* Over the first table block's group. */
static void
run_groups(struct driver *d, uint64_t seed)
{
    (void)seed;
    driver_put(d, 0, "g1", 260000);
    driver_put(d, 0, "g2", 240000);
    driver_put(d, 0, "g1", 100000);
    driver_maintain(d, 0);
    driver_put(d, 0, "a", 8);
    reopen(d);
    driver_delete(d, 0, "g2");
    driver_maintain(d, 0);
    driver_close(d);
}

static void
run_random(struct driver *d, uint64_t seed)
{
    struct rng rng = {seed};

    for (unsigned i = 0; i < 60; i++) {
        static const uint32_t lens[] = {1, 8, 30, 100, 500, 500, 600, 4500};
        static const char *const batches[][4] = {{"+k0", "+k1", "-k2", "+k3"},
                                                 {"-k4", "+k5", "+k4", "+k6"},
                                                 {"+k7", "-k7", "+k0", "-k1"}};
        char key[8];

        (void)snprintf(key, sizeof(key), "k%u", (unsigned)rng_below(&rng, 8));
        const uint32_t len = lens[rng_below(&rng, sizeof(lens) / sizeof(lens[0]))];

        switch (rng_below(&rng, 12)) {
        case 0:
        case 1:
            driver_delete(d, 0, key);
            break;
        case 2:
            driver_batch(d, len, batches[rng_below(&rng, 3)], 4);
            break;
        case 3:
        case 4:
            driver_maintain(d, 3);
            break;
        case 5:
            driver_put_deadline(d, 0, key, len, d->wall_ms + rng_below(&rng, 20000));
            break;
        case 6:
            driver_clock(d, d->wall_ms + rng_below(&rng, 5000));
            break;
        case 7:
            if (rng_below(&rng, 4) == 0) {
                reopen(d);
            } else if (rng_below(&rng, 4) == 0) {
                driver_delete_spaces(d, 0, 1);
            }
            break;
        default:
            driver_put(d, (uint8_t)rng_below(&rng, 2), key, len);
            break;
        }
    }
    driver_close(d);
}

/* As the server does it: commands of all clients go into one batch, and read what it holds; replies wait for the
 * commit, and count from when they are queued. */
static void
run_server(struct driver *d, uint64_t seed)
{
    static const char *const first[] = {"+a", "?a", "+b", "-a", "?a"};
    static const char *const second[] = {"?b", "+c", "b>d", "?d", "?b"};
    static const char *const third[] = {"-c", "+a", "+a", "?c", "?a"};

    (void)seed;
    driver_tick(d, 8, first, 5);
    driver_tick(d, 4, second, 5);
    driver_tick(d, 9, third, 5);
    driver_maintain(d, 2);
    reopen(d);
    driver_tick(d, 480, second, 5);
    driver_tick(d, 3, first, 5);
    driver_close(d);
}

const struct workload workloads[] = {
    {"points", {4096, 16, 1, 0}, run_points, false, "puts, overwrites, deletes, small batches"},
    {"values", {4096, 16, 1, 0}, run_values, false, "values of many sizes"},
    {"frames", {4096, 16, 1, 0}, run_frames, false, "frames of nine to thirteen words"},
    {"segments", {4096, 24, 1, 0}, run_segments, false, "segments change"},
    {"batches", {4096, 32, 1, 0}, run_batches, false, "batches, up to two blocks"},
    {"server", {4096, 24, 1, 0}, run_server, false, "batches of commands, answered together"},
    {"blobs", {4096, 32, 1, 0}, run_blobs, false, "values in blocks of their own"},
    {"blobs8k", {8192, 32, 1, 0}, run_blobs, false, "the same, blocks of 8 KiB"},
    {"cleaner", {4096, 24, 1, 0}, run_cleaner, false, "cleaning, punching, using again"},
    {"tombstones",
     {4096, 24, 1, 0},
     run_tombstones,
     false,
     "deletes cleaned before what they hide"},
    {"masks",
     {4096, 24, 1, 0},
     run_masks,
     false,
     "what hides older versions is cleaned before them"},
    {"spaces", {4096, 32, 1, 0}, run_spaces, false, "whole spaces deleted"},
    {"expiry", {4096, 32, 1, 0}, run_expiry, false, "deadlines pass"},
    {"expired", {4096, 16, 1, 0}, run_expired, false, "deadlines have passed at an open"},
    {"full", {4096, 12, 1, 0}, run_full, false, "until nothing fits; deletes make room"},
    {"reopen", {4096, 16, 0, 0}, run_reopen, false, "closed and opened again and again"},
    {"groups", {4096, 256, 1, 0}, run_groups, false, "over the first table block's group"},
    {"random", {4096, 40, 1, 0}, run_random, false, "operations by the seed"},
    {"raise", {4096, 20, 1, 9}, run_raise, false, "full, then given a larger size"},
    {"set-back", {4096, 32, 1, 0}, run_set_back, false, "the wall clock goes back"},
    {"writers", {4096, 16, 1, 0}, run_writers, true, "three threads write the same keys"},
    {"readers", {4096, 16, 1, 0}, run_readers, true, "reads beside writers"},
    {"beside-cleaner", {4096, 20, 1, 0}, run_beside_cleaner, true, "a cleaner beside writers"},
    {"blobs-beside", {4096, 40, 1, 0}, run_blobs_beside, true, "big values beside one another"},
    {"segments-beside",
     {4096, 24, 1, 0},
     run_segments_beside,
     true,
     "segments change beside writers"},
};
const unsigned workloads_count = sizeof(workloads) / sizeof(workloads[0]);

const struct workload *
workload_find(const char *name)
{
    for (unsigned i = 0; i < workloads_count; i++) {
        if (strcmp(workloads[i].name, name) == 0) {
            return &workloads[i];
        }
    }
    return NULL;
}

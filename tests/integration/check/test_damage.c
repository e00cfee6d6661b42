/* Goal:   whatever is damaged, nothing wrong is served: an open refuses with the place and the remedy, or every key has
 *         its last value or says FL_CORRUPT - no other value, no older one, no nil for a key that is there. A
 *         salvage open serves everything that the damage did not hit, and says what it lost.
 * Method: stores with every kind of record, closed cleanly and not. Each line, sector, page and block of the image is
 *         zeroed in turn, bytes and bits of it are flipped at random, and it is cut at every block. Each
 *         damaged image is opened for reading, for salvage and for writing; all keys are compared. What a key's
 *         place on media is, is asked of the undamaged store. The last commit of a store that was not closed may
 *         be taken for a torn one: a key apart stands for it. By day a part of the places, with --all each. Of a
 *         store with a few records each byte that says something is flipped, and with --all each byte. */
#include "tests/integration/check/damage_subject.h"

#include <faultline/cursor.h>

#include "storage/heap/heap_layout.h"
#include "tests/faults/tally.h"
#include "tests/lib/sanitized.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What is left out by day: most zero bytes, and with a sanitizer, which takes minutes, two thirds of the rest. */
enum { EVERY_ZERO = 64, THINNER = SANITIZED ? 3 : 1 };

static bool thorough; /* --all: every place, minutes long */

static struct {
    const char *what;
    struct tally tally;
} tallies[] = {
    {"zeroed", {.kind = "media-zeroed"}},
    {"table word zeroed", {.kind = "media-word-zeroed"}},
    {"flipped", {.kind = "media-flipped"}},
    {"cut", {.kind = "media-cut"}},
    {"flipped under way", {.kind = "media-flipped-while-open"}},
};

static void
blame(const struct subject *s, struct harm harm, const char *opened, unsigned space, unsigned i,
      enum contents_answer answer)
{
    static const char *const names[] = {"right", "corrupt", "missing", "wrong"};
    const struct place *place = &s->places[space][i];

    print_error("%s at %llu, %llu bytes, %s: key %u/%u in frame %llu to %llu, big value %llu to "
                "%llu: %s\n",
                harm.what, (unsigned long long)harm.off, (unsigned long long)harm.len, opened,
                space, i, (unsigned long long)place->from, (unsigned long long)place->to,
                (unsigned long long)place->blob_from, (unsigned long long)place->blob_to,
                names[answer]);
    fail();
}

/* The last commit of a store that wasn't closed can't be told from a torn one; nor can what one harm hits together
 * with it. */
static bool
is_torn_tail(const struct subject *s, struct harm harm, unsigned space, unsigned i)
{
    const struct place *tail = &s->places[0][CONTENTS_TAIL_KEY];

    return !s->closed && harm_overlaps(harm, tail->from, tail->to) &&
           harm_hits(harm, &s->places[space][i]);
}

/* An open that succeeded: every key has its value, or says that it is damaged. */
static void
compare_served(struct subject *s, struct fl_store *store, struct harm harm, const char *opened)
{
    for (unsigned space = 0; space < CONTENTS_SPACES; space++) {
        for (unsigned i = 0; i < CONTENTS_KEYS; i++) {
            const struct contents_entry *entry = &s->contents.entries[space][i];
            enum contents_answer answer = contents_ask(store, space, i, entry, s->contents.now_ms);

            if (is_torn_tail(s, harm, space, i)) {
                const bool lone = space == 0 && i == CONTENTS_TAIL_KEY && answer != CONTENTS_RIGHT;

                answer = lone ? contents_ask(store, space, i, &s->contents.before_tail,
                                             s->contents.now_ms)
                              : CONTENTS_RIGHT;
            }
            if (answer != CONTENTS_RIGHT &&
                (answer != CONTENTS_CORRUPT || !harm_hits(harm, &s->places[space][i]))) {
                blame(s, harm, opened, space, i, answer);
            }
        }
    }
}

/* A salvage: what was not hit is right; the rest may be older or gone if the store says that it lost something. */
static void
compare_salvaged(struct subject *s, struct fl_store *store, struct harm harm)
{
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};

    fl_stats(store, &stats);
    for (unsigned space = 0; space < CONTENTS_SPACES; space++) {
        for (unsigned i = 0; i < CONTENTS_KEYS; i++) {
            const struct contents_entry *entry = &s->contents.entries[space][i];
            const enum contents_answer answer =
                contents_ask(store, space, i, entry, s->contents.now_ms);
            const bool may =
                is_torn_tail(s, harm, space, i) ||
                (stats.lost_ranges > 0 && (harm_hits_bytes(harm, &s->places[space][i]) ||
                                           !contents_alive(entry, s->contents.now_ms)));

            if (answer != CONTENTS_RIGHT && !may &&
                (answer != CONTENTS_CORRUPT || !harm_hits_bytes(harm, &s->places[space][i]))) {
                blame(s, harm, "salvage", space, i, answer);
            }
        }
    }
}

static void
count_finding(void *context, const char *rule, uint64_t off, uint64_t len, const char *text)
{
    unsigned *findings = context;

    (void)rule;
    (void)off;
    (void)len;
    (void)text;
    ++*findings;
}

/* What refuses to open isn't clean to a check. */
static void
check_is_told(struct subject *s, struct harm harm)
{
    unsigned findings = 0;
    const struct heap_report report = {&findings, count_finding};
    struct fl_options options;
    struct engine *engine = NULL;

    contents_options(&s->contents, &options);
    const struct engine_options engine_options = {&options, &report, true, true};

    if (engine_open(mem_map_open(s->mem), &engine_options, &engine) == FL_OK) {
        assert_int_equal(engine_verify(engine, &report), FL_OK);
        assert_int_equal(engine_close(engine), FL_OK);
        if (findings == 0) {
            fail_msg("%s at %llu, %llu bytes: refused, and a check finds nothing", harm.what,
                     (unsigned long long)harm.off, (unsigned long long)harm.len);
        }
    }
}

/* Open for writing. One that refuses has changed nothing: neither a byte nor what a punch would take. */
static fl_status
open_for_writing(struct subject *s, struct harm harm, struct fl_store **store)
{
    const uint64_t punches = mem_map_calls(s->mem, MEM_MAP_CALL_PUNCH);
    uint64_t len = 0;
    uint64_t len_after = 0;
    uint8_t *before = mem_map_copy(s->mem, &len);
    const fl_status status = subject_open(s, 0, store);

    if (status != FL_OK) {
        uint8_t *after = mem_map_copy(s->mem, &len_after);

        if (len_after != len || memcmp(before, after, len) != 0 ||
            mem_map_calls(s->mem, MEM_MAP_CALL_PUNCH) != punches) {
            fail_msg("%s at %llu, %llu bytes: refused, and the file is another", harm.what,
                     (unsigned long long)harm.off, (unsigned long long)harm.len);
        }
        free(after);
    }
    free(before);
    return status;
}

static void
check_refusal(struct subject *s, fl_status status, struct harm harm)
{
    s->refused++;
    if (status != FL_CORRUPT) {
        print_error("%s at %llu, %llu bytes: %s: %s\n", harm.what, (unsigned long long)harm.off,
                    (unsigned long long)harm.len, fl_status_name(status), fl_last_error());
    }
    assert_int_equal(status, FL_CORRUPT);
    assert_true(strpbrk(fl_last_error(), "0123456789") != NULL ||
                strstr(fl_last_error(), "superblock") != NULL);
}

static void
tally_harm(struct harm harm, bool refused)
{
    for (size_t i = 0; i < sizeof(tallies) / sizeof(tallies[0]); i++) {
        if (strcmp(tallies[i].what, harm.what) == 0) {
            tally_add(&tallies[i].tally, 1, refused);
        }
    }
}

/* The damaged image is in place: open it in the three ways. Opening for writing comes last: it changes the image. */
static void
check_opens(struct subject *s, struct harm harm)
{
    const uint64_t refused = s->refused;

    struct fl_store *store = NULL;
    fl_status status = subject_open(s, FL_OPEN_READ_ONLY, &store);

    if (status == FL_OK) {
        compare_served(s, store, harm, "read-only");
        assert_int_equal(fl_close(store), FL_OK);
    } else {
        check_refusal(s, status, harm);
    }
    status = subject_open(s, FL_OPEN_READ_ONLY | FL_OPEN_SALVAGE, &store);
    if (status == FL_OK) {
        compare_salvaged(s, store, harm);
        assert_int_equal(fl_close(store), FL_OK);
    } else {
        check_refusal(s, status, harm);
    }
    status = open_for_writing(s, harm, &store);
    if (status != FL_OK) {
        check_refusal(s, status, harm);
        check_is_told(s, harm);
        tally_harm(harm, true);
        return;
    }
    tally_harm(harm, s->refused > refused);
    compare_served(s, store, harm, "read-write");
    contents_maintain(store);
    assert_int_equal(fl_close(store), FL_OK);
    assert_int_equal(subject_open(s, FL_OPEN_READ_ONLY, &store), FL_OK);
    compare_served(s, store, harm, "reopened");
    assert_int_equal(fl_close(store), FL_OK);
}

/* ---- the harms ---- */

static void
check_zeroed(struct subject *s, uint64_t unit, uint64_t every)
{
    for (uint64_t n = 0; n * unit < s->len; n += every) {
        const struct harm harm = {n * unit, unit, "zeroed"};
        uint8_t *bytes = mem_map_bytes(s->mem);

        mem_map_load(s->mem, s->image, s->len);
        memset(bytes + harm.off, 0, unit);
        check_opens(s, harm);
    }
}

/* Each word of the table, as if its block had never been used. */
static void
check_words_zeroed(struct subject *s)
{
    for (uint64_t n = 0; n * PAGE < s->len; n++) {
        const struct harm harm = {PAGE + n * 32, 8, "table word zeroed"};

        mem_map_load(s->mem, s->image, s->len);
        memset(mem_map_bytes(s->mem) + harm.off, 0, harm.len);
        check_opens(s, harm);
    }
}

static void
check_flipped(struct subject *s, unsigned rounds)
{
    struct rng rng = rng_seeded(11);

    for (unsigned round = 0; round < rounds; round++) {
        const struct harm harm = {rng_below(&rng, s->len), 1, "flipped"};
        uint8_t *bytes = mem_map_bytes(s->mem);

        mem_map_load(s->mem, s->image, s->len);
        bytes[harm.off] ^=
            (uint8_t)(round % 3 == 0 ? 1 + rng_below(&rng, 255) : 1u << rng_below(&rng, 8));
        check_opens(s, harm);
    }
}

static void
check_cut(struct subject *s)
{
    for (uint64_t end = PAGE; end < s->len; end += PAGE) {
        const struct harm harm = {end, s->len - end, "cut"};

        mem_map_load(s->mem, s->image, end);
        check_opens(s, harm);
    }
}

static void
check_all(struct subject *s, unsigned parts, bool closed)
{
    subject_create(s, parts, closed);
    /* Odd steps meet every place of a block as the blocks go by. */
    check_zeroed(s, LINE, thorough ? 1 : 9 * THINNER);
    check_zeroed(s, SECTOR, thorough ? 1 : 3 * THINNER);
    check_zeroed(s, PAGE, 1);
    check_words_zeroed(s);
    check_flipped(s, thorough ? 10000 : 300 / THINNER);
    check_cut(s);
    print_message("%llu bytes, %llu opens, %llu refused\n", (unsigned long long)s->len,
                  (unsigned long long)s->opens, (unsigned long long)s->refused);
    subject_destroy(s);
}

static void
damage_of_a_closed_store_serves_nothing_wrong(void **state)
{
    static struct subject subject;

    (void)state;
    check_all(&subject, ALL, true);
}

static void
damage_of_a_killed_store_serves_nothing_wrong(void **state)
{
    static struct subject subject;

    (void)state;
    check_all(&subject, ALL, false);
}

/* Each byte, in one bit and, with --all, in all of them. Most are zeros that nobody reads: of those a few. */
static void
check_each_flipped(struct subject *s)
{
    for (uint64_t off = 0; off < s->len; off++) {
        const struct harm harm = {off, 1, "flipped"};

        const unsigned every = s->image[off] == 0 ? EVERY_ZERO : THINNER;

        if (!thorough && off % every != every / 2) {
            continue;
        }
        mem_map_load(s->mem, s->image, s->len);
        mem_map_bytes(s->mem)[off] ^= (uint8_t)(1u << (off % 8));
        check_opens(s, harm);
        if (thorough) {
            mem_map_load(s->mem, s->image, s->len);
            mem_map_bytes(s->mem)[off] ^= 0xff;
            check_opens(s, harm);
        }
    }
    print_message("%llu bytes, %llu opens, %llu refused\n", (unsigned long long)s->len,
                  (unsigned long long)s->opens, (unsigned long long)s->refused);
}

static void
each_flipped_byte_serves_nothing_wrong(void **state)
{
    static struct subject s;

    (void)state;
    for (int closed = 0; closed < 2; closed++) {
        subject_create_tiny(&s, closed);
        check_each_flipped(&s);
        subject_destroy(&s);
    }
}

/* Media goes bad under an open store: the key that lives there says so, the others are served. */
static void
damage_while_serving_is_told_by_the_key_that_it_hit(void **state)
{
    static struct subject s;
    struct fl_store *store = NULL;
    uint8_t *bytes = NULL;

    (void)state;
    subject_create(&s, ALL, true);
    assert_int_equal(subject_open(&s, 0, &store), FL_OK);
    bytes = mem_map_bytes(s.mem);
    for (unsigned space = 0; space < CONTENTS_SPACES; space++) {
        for (unsigned i = 0; i < CONTENTS_KEYS; i++) {
            const struct contents_entry *entry = &s.contents.entries[space][i];
            const struct place *place = &s.places[space][i];

            for (uint64_t off = place->from; off < place->to; off += off % 7 + 1) {
                const struct harm harm = {off, 1, "flipped under way"};

                bytes[off] ^= 0x24;
                tally_harm(harm, true);
                const enum contents_answer answer =
                    contents_ask(store, space, i, entry, s.contents.now_ms);

                if (answer != CONTENTS_CORRUPT) {
                    blame(&s, harm, "open", space, i, answer);
                }
                bytes[off] ^= 0x24;
            }
        }
    }
    compare_served(&s, store, (struct harm){0, 0, "none"}, "open");
    assert_int_equal(fl_close(store), FL_OK);
    subject_destroy(&s);
}

enum { SAID_BYTES = 4096, LEVEL_WARNING = 2 };

static void
on_log(void *context, int level, const char *text)
{
    char *said = context;

    if (level == LEVEL_WARNING) {
        snprintf(said + strlen(said), SAID_BYTES - strlen(said), "%s\n", text);
    }
}

/* Damage that costs nothing but what it hit doesn't keep a store from opening, but isn't passed over in silence. */
static void
damage_that_an_open_can_do_without_is_told(void **state)
{
    static struct subject s;
    static char said[SAID_BYTES];
    struct fl_store *store = NULL;
    struct fl_options options;

    (void)state;
    subject_create(&s, ALL, true);
    s.image[4] ^= 1;
    s.image[HEAP_CLOCK_OFF + 2] ^= 1;
    s.image[heap_half_off(PAGE, 1, HEAP_CLOCK_OFF) + 1] ^= 1;
    mem_map_load(s.mem, s.image, s.len);
    contents_options(&s.contents, &options);
    options.flags = 0;
    options.log = on_log;
    options.now_ms = NULL;
    options.context = said;
    assert_int_equal(store_open_map(mem_map_open(s.mem), &options, &store), FL_OK);
    assert_non_null(strstr(said, "(superblock) at file offset 0,"));
    assert_non_null(strstr(said, "(clock) at file offset 512,"));
    assert_non_null(strstr(said, "(clock) at file offset 2560,"));
    assert_int_equal(fl_close(store), FL_OK);
    subject_destroy(&s);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damage_of_a_closed_store_serves_nothing_wrong),
        cmocka_unit_test(damage_of_a_killed_store_serves_nothing_wrong),
        cmocka_unit_test(each_flipped_byte_serves_nothing_wrong),
        cmocka_unit_test(damage_while_serving_is_told_by_the_key_that_it_hit),
        cmocka_unit_test(damage_that_an_open_can_do_without_is_told),
    };

    thorough = argc == 2 && strcmp(argv[1], "--all") == 0;
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);

    for (size_t i = 0; i < sizeof(tallies) / sizeof(tallies[0]); i++) {
        tally_print(&tallies[i].tally);
    }
    return failed;
}

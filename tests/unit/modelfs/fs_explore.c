#include "tests/unit/modelfs/fs_explore.h"

#include "storage/modelfs/image.h"
#include "tests/lib/rng.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { STEPS_MAX = 4096, CHOICES_MAX = 4096, STATES_PER_STEP_MAX = 1024, MIXTURES = 3 };

/* ---- what recovery finds ---- */

static void __attribute__((format(printf, 2, 3))) say(struct seen *seen, const char *format, ...)
{
    const size_t used = strlen(seen->text);
    va_list args;

    va_start(args, format);
    vsnprintf(seen->text + used, sizeof(seen->text) - used, format, args);
    va_end(args);
}

/* The flags that are on media: a mount clears them. */
static void
say_extents(struct seen *seen, const struct mfs_image *image, uint64_t ino)
{
    const struct mfs_geometry *g = &image->geometry;

    for (uint32_t block = 0; block < 64; block++) {
        for (uint32_t slot = 0; slot < g->extents; slot++) {
            struct mfs_extent_state e;

            assert_true(
                mfs_extent_decode(image->extents + slot * sizeof(struct mfs_extent_rec), &e));
            if (e.ino == ino && e.logical <= block && block - e.logical < e.blocks) {
                say(seen, " %" PRIu32 "%s%s", block, e.flags & MFS_EXTENT_UNWRITTEN ? "u" : "",
                    e.flags & MFS_EXTENT_NOSYNC ? "f" : "");
            }
        }
    }
}

static void
say_contents(struct seen *seen, struct mfs *fs, const struct mfs_stat *stat)
{
    uint8_t block[BLOCK];

    for (uint64_t off = 0; off < stat->size_bytes; off += BLOCK) {
        uint64_t sum = 0;
        size_t done = 0;

        assert_int_equal(mfs_read(fs, stat->ino, off, block, sizeof(block), &done), FL_OK);
        for (size_t i = 0; i < done; i++) {
            sum = sum * 31 + block[i];
        }
        say(seen, "%s%" PRIx64, off == 0 ? " = " : ",", sum);
    }
}

fl_status
see_media(struct mfs_media *media, struct seen *seen)
{
    const struct mfs_mount_options options = {.read_only = true};
    const uint8_t *persisted = mfs_media_persisted(media);
    const uint64_t size_bytes = mfs_media_size_bytes(media);
    struct mfs_image image;
    struct mfs_stat stat;
    struct mfs *fs = NULL;
    uint32_t slot = 0;

    seen->text[0] = '\0';
    const fl_status status = mfs_mount(media, &options, &fs);

    if (status != FL_OK) {
        say(seen, "no mount: %s", fl_last_error());
        return status;
    }
    assert_int_equal(mfs_image_init(&image, persisted, size_bytes, NULL, NULL), FL_OK);
    say(seen, "free %" PRIu64, mfs_statfs(fs).blocks_free);
    while (mfs_next(fs, &slot, &stat) == FL_OK) {
        say(seen, "; %s %" PRIu64 ":", stat.name, stat.size_bytes);
        say_extents(seen, &image, stat.ino);
        say_contents(seen, fs, &stat);
    }
    mfs_image_deinit(&image);
    mfs_abandon(fs);
    return FL_OK;
}

/* It mounts, and the check finds nothing. */
static bool
see_good(struct mfs_media *media, struct seen *seen)
{
    return see_media(media, seen) == FL_OK &&
           check_image(mfs_media_persisted(media), mfs_media_size_bytes(media)) == 0;
}

static struct mfs_media *
copy_of(struct mfs_media *media)
{
    const struct mfs_media_source source = {.size_bytes = mfs_media_size_bytes(media)};
    struct mfs_media *copy = NULL;
    struct mfs_cpu *cpu = NULL;

    assert_int_equal(mfs_media_open(&source, &copy), FL_OK);
    assert_int_equal(mfs_cpu_create(copy, &cpu), FL_OK);
    mfs_media_store(copy, 0, mfs_media_persisted(media), source.size_bytes);
    assert_int_equal(mfs_cpu_persist_dirty(cpu, 0, source.size_bytes), FL_OK);
    mfs_cpu_destroy(cpu);
    return copy;
}

void
see(struct fixture *f, struct seen *out)
{
    struct mfs_media *copy = copy_of(f->media);

    (void)see_media(copy, out);
    mfs_media_close(copy);
}

/* ---- the steps ---- */

struct recording {
    struct explore *x;
    struct mfs_saved *saved[STEPS_MAX];
    uint64_t count;
};

static fl_status
take(void *context, enum mfs_step step, uint64_t off, uint64_t len)
{
    struct recording *r = context;

    (void)step;
    (void)off;
    (void)len;
    if (r->x->step_bad != NULL && r->x->step_bad(r->x->f, r->x->args)) {
        r->x->bad_steps++;
    }
    assert_true(r->count < STEPS_MAX);
    assert_int_equal(mfs_media_save(r->x->f->media, &r->saved[r->count]), FL_OK);
    r->count++;
    return FL_OK;
}

/* A whole mount, and what it has written: the same is found again. */
static bool
recovers_twice(struct mfs_media *media, const struct seen *first)
{
    const struct mfs_mount_options options = {.mutant = MFS_MUTANT_NONE};
    struct seen second;
    struct mfs *fs = NULL;

    if (mfs_mount(media, &options, &fs) != FL_OK) {
        return false;
    }
    mfs_abandon(fs);
    assert_int_equal(mfs_media_cut_random(media, 0), FL_OK);
    if (!see_good(media, &second)) {
        return false;
    }
    /* All but the flags, which are cleared. */
    const char *one = first->text;
    const char *two = second.text;

    for (; *one != '\0'; one++) {
        if (*one == 'f' && one > first->text && one[-1] >= '0' && one[-1] <= '9' &&
            (one[1] == ' ' || one[1] == ';' || one[1] == '\0') && *two != 'f') {
            continue;
        }
        if (*one != *two++) {
            return false;
        }
    }
    return *two == '\0';
}

static void
judge(struct explore *x, bool last)
{
    struct seen seen;
    const bool good = see_good(x->f->media, &seen);
    const bool after = strcmp(seen.text, x->after.text) == 0;

    x->states++;
    if (!good || !recovers_twice(x->f->media, &seen)) {
        x->bad++;
        x->other = seen;
    }
    if (!after && strcmp(seen.text, x->before.text) != 0) {
        x->others++;
        x->other = seen;
    }
    if (last && x->durable && !after) {
        x->lost++;
        x->other = seen;
    }
}

/* The next combination of the tables' and the journal's lines. False: that was all. */
static bool
next(const struct mfs_choices *choices, unsigned *picked, uint64_t data_off)
{
    for (size_t i = 0; i < choices->count; i++) {
        if (choices->list[i].off >= data_off) {
            continue;
        }
        if (++picked[i] < choices->list[i].count) {
            return true;
        }
        picked[i] = 0;
    }
    return false;
}

static void
pick_data(const struct mfs_choices *choices, unsigned *picked, uint64_t data_off, int mixture,
          struct rng *rng)
{
    for (size_t i = 0; i < choices->count; i++) {
        const struct mfs_choice *choice = &choices->list[i];

        if (choice->off >= data_off) {
            picked[i] = mixture == 0   ? 0
                        : mixture == 1 ? choice->count - 1
                                       : (unsigned)rng_below(rng, choice->count);
        }
    }
}

static void
try_state(struct explore *x, const struct mfs_saved *saved, bool last, struct rng *rng)
{
    const uint64_t data_off = mfs_data_off(x->f->fs);
    unsigned picked[CHOICES_MAX] = {0};
    struct mfs_choices choices;
    double combinations = 1;
    bool data = false;
    bool more = true;

    mfs_media_restore(x->f->media, saved);
    assert_int_equal(mfs_media_choices(x->f->media, &choices), FL_OK);
    assert_true(choices.count <= CHOICES_MAX);
    for (size_t i = 0; i < choices.count; i++) {
        combinations *= choices.list[i].off < data_off ? choices.list[i].count : 1;
        data = data || choices.list[i].off >= data_off;
    }
    const bool all = combinations <= STATES_PER_STEP_MAX;

    for (unsigned n = 0; more && n < STATES_PER_STEP_MAX; n++) {
        for (int mixture = 0; mixture < (data ? MIXTURES : 1); mixture++) {
            pick_data(&choices, picked, data_off, mixture, rng);
            mfs_media_restore(x->f->media, saved);
            assert_int_equal(mfs_media_cut(x->f->media, &choices, picked), FL_OK);
            judge(x, last);
            x->sampled += all ? 0 : 1;
        }
        if (all) {
            more = next(&choices, picked, data_off);
        } else {
            for (size_t i = 0; i < choices.count; i++) {
                picked[i] = (unsigned)rng_below(rng, choices.list[i].count);
            }
        }
    }
    mfs_choices_free(&choices);
}

void
explore(struct explore *x)
{
    static const struct mfs_hooks none;
    struct recording *r = calloc(1, sizeof(*r));
    const struct mfs_hooks hooks = {take, r};
    struct rng rng = rng_seeded(1);
    struct mfs_saved *end = NULL;

    assert_non_null(r);
    r->x = x;
    see(x->f, &x->before);
    mfs_media_set_hooks(x->f->media, &hooks);
    x->run(x->f, x->args);
    mfs_media_set_hooks(x->f->media, &none);
    see(x->f, &x->after);
    assert_int_equal(mfs_media_save(x->f->media, &end), FL_OK);
    for (uint64_t i = 0; i < r->count; i++) {
        try_state(x, r->saved[i], false, &rng);
        mfs_saved_free(r->saved[i]);
    }
    try_state(x, end, true, &rng);
    mfs_media_restore(x->f->media, end);
    mfs_saved_free(end);
    x->steps += r->count;
    free(r);
}

#include "tests/crash/explore.h"

#include "tests/crash/explore_internal.h"
#include "tests/crash/hash.h"
#include "tests/crash/memo.h"
#include "tests/crash/user.h"
#include "tests/lib/die.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { PROGRESS_EVERY = 512, CLOCK_EVERY = 64 };

void
explore_counts_add(struct explore_counts *sum, const struct explore_counts *counts)
{
    sum->states += counts->states;
    sum->states_sampled += counts->states_sampled;
    sum->states_within += counts->states_within;
    sum->images += counts->images;
    sum->recoveries += counts->recoveries;
    sum->usable += counts->usable;
    sum->again += counts->again;
    sum->points += counts->points;
    sum->points_truncated += counts->points_truncated;
    sum->points_known += counts->points_known;
    sum->points_unreached += counts->points_unreached;
    sum->coarse += counts->coarse;
}

/* ---- where we are ---- */

static struct explorer *exploring; /* for the signal handler */
static struct explore_result *shared_result;

void
explore_share_place(struct explore_result *shared)
{
    shared_result = shared;
}

static void
places_note(struct explorer *x)
{
    for (unsigned depth = 0; depth <= x->depth; depth++) {
        const struct level *level = x->levels[depth];
        const struct state *state = &level->state;
        struct explore_place *place = &x->result->place[depth];

        place->point = level->media.at;
        place->policy = level->policy;
        place->salt = level->salt;
        place->lost_count = 0;
        place->path_len = state->depth < state->path_len ? state->depth : state->path_len;
        memcpy(place->path, state->choices, place->path_len);
    }
    x->result->depth = x->depth + 1;
}

/* The process ends here in any case. Where it was is worth telling, even from a handler. */
static void
caught(int number)
{
    if (exploring != NULL && shared_result != NULL) {
        places_note(exploring);
        *shared_result = *exploring->result;
        shared_result->failed = true;
        /* NOLINTNEXTLINE(bugprone-signal-handler) */
        (void)snprintf(shared_result->why, sizeof(shared_result->why),
                       number == SIGALRM ? "no end is seen" : "the store died of signal %d",
                       number);
    }
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

void
explore_catch_signals(void)
{
    static const int numbers[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM};

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        (void)signal(numbers[i], caught);
    }
}

void
explore_settle_process(void)
{
    /* A store is opened and closed many thousand times a second: memory must not go back to the kernel each time, nor
     * come in huge pages. */
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 30);
    (void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
    (void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
}

static void
tell_failure(struct explorer *x, struct level *level)
{
    struct state_lost *lost = calloc(level->media.active_count + 1, sizeof(*lost));
    struct explore_failure failure = {
        .result = x->result, .trace = level->trace, .media = &level->media, .mark = level->mark};

    if (lost == NULL) {
        die("explore: no memory");
    }
    state_freeze(&level->state, &level->frozen, STATE_ALL, 0);
    failure.lost = lost;
    failure.lost_count = state_lost_list(&level->state, lost, level->media.active_count);
    failure.bytes = level->frozen.bytes;
    failure.exists = level->frozen.exists;
    failure.size_bytes = level->frozen.size_bytes;
    x->calls->failure(x->calls->context, &failure);
    free(lost);
}

bool
explore_violation(struct explorer *x, struct level *level, const char *why)
{
    char event[160];

    trace_event_text(level->trace, level->media.at, event, sizeof(event));
    x->result->failed = true;
    (void)snprintf(x->result->why, sizeof(x->result->why), "%s [before %s]", why, event);
    places_note(x);
    if (x->calls->failure != NULL) {
        tell_failure(x, level);
    }
    return false;
}

static uint64_t
mark_hash(const struct trace_mark *mark)
{
    uint64_t hash = hash_mix(mark->wall_ms, mark->seen_ms);

    for (uint32_t i = 0; i < mark->may_count; i++) {
        hash += hash_mix(mark->may[i]->hash, i > 0);
    }
    return hash_mix(hash_mix(hash, mark->may_count), hash_mix(mark->acknowledged, mark->begun));
}

/* ---- a state ---- */

static bool
selected(uint64_t hash, uint64_t every)
{
    return every != 0 && (hash >> 20) % every == 0;
}

static struct watch
watch_of(struct image *image, const struct watch_ops *ops, void *context)
{
    return (struct watch){image->bytes, image->size_bytes_max, NULL, ops, context};
}

static void
frozen_reset(struct level *level)
{
    state_freeze(&level->state, &level->frozen, STATE_RANDOM, level->salt_rest);
}

static bool
recover(struct explorer *x, struct level *level, struct image *image)
{
    return x->config->user != NULL
               ? user_check(x->config->user, image, level->mark, x->check.why, sizeof(x->check.why))
               : check_recover(&x->check, image, level->mark, level->wall_ms, false);
}

/* The whole image is looked at, and used. */
static bool
judge_whole(struct explorer *x, struct level *level)
{
    struct check *check = &x->check;

    x->result->counts.usable++;
    if (x->config->user != NULL) { /* recovering twice is no different from recovering once */
        const bool once = recover(x, level, &level->frozen);

        return once && recover(x, level, &level->frozen);
    }
    return check_read_only(check, &level->frozen, level->mark) &&
           check_recover(check, &level->frozen, level->mark, level->wall_ms, true) &&
           check_usable(check, &level->frozen, level->mark, level->wall_ms);
}

static bool
judge_more(struct explorer *x, struct level *level, uint64_t hash)
{
    const struct explore_config *config = x->config;
    const bool replaying = x->replay_count > 0;
    const bool whole = replaying || selected(hash, config->usable_every);
    const bool deeper = x->depth < config->depth_max &&
                        (replaying ? x->depth + 1 < x->replay_count
                                   : selected(hash_mix(hash, 3), config->again_every));
    const struct contents *found = x->check.found;
    const uint64_t lsn_max = x->check.lsn_max;

    if (!whole && !deeper) {
        return true;
    }
    level->salt_rest = hash;
    frozen_reset(level);
    if (whole) {
        const struct watch before =
            watch_set(watch_of(&level->frozen, &image_watch, &level->frozen));
        const bool good = judge_whole(x, level);

        (void)watch_set(before);
        if (!good) {
            return explore_violation(x, level, x->check.why);
        }
        x->check.found = found;
        x->check.lsn_max = lsn_max;
        frozen_reset(level);
    }
    return !deeper || explore_again(x, level, hash);
}

static bool
over_budget(const struct explore_config *config, const struct explore_counts *counts)
{
    struct timespec now;

    if (config->budget > 0 && counts->recoveries >= config->budget) {
        return true;
    }
    if (config->deadline <= 0 || counts->recoveries % CLOCK_EVERY != 0) {
        return false;
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9 >= config->deadline;
}

static uint64_t
path_hash(const struct state *state)
{
    uint64_t hash = hash_mix(state->policy, state->salt);

    for (uint32_t i = 0; i < state->depth && i < state->path_len; i++) {
        hash = hash_mix(hash, state->choices[i] + 1);
    }
    return hash;
}

static void
state_count(struct explorer *x, struct level *level, double covers)
{
    struct explore_counts *counts = &x->result->counts;

    counts->states++;
    counts->states_within += x->depth > 0;
    counts->recoveries++;
    counts->images += covers;
    level->states++;
    level->images += covers;
}

/* Recover from the state that the policy, or the path, leads to. */
static bool
state_run(struct explorer *x, struct level *level, enum state_policy policy, uint64_t salt)
{
    struct explore_counts *counts = &x->result->counts;
    struct state *state = &level->state;
    const struct mempool_point kept = mempool_save(&x->mempool);

    /* Of each state anew: how long all of them take says nothing about the store. */
    if (x->config->hang_seconds > 0) {
        (void)alarm(x->config->hang_seconds);
    }
    level->policy = policy;
    level->salt = salt;
    state->policy = policy;
    state->salt = salt;
    state->image = &level->image;
    image_reset(&level->image, level->media.base, level->media.exists, level->media.size_bytes);
    state_begin(state);
    const struct watch before = watch_set(watch_of(&level->image, &state_watch, state));
    bool good = recover(x, level, &level->image);

    (void)watch_set(before);
    const uint64_t hash = hash_mix(level->signature, path_hash(state));

    state_count(x, level, policy == STATE_PATH ? state_covers(state) : 1);
    good = good ? judge_more(x, level, hash) : explore_violation(x, level, x->check.why);
    state_end(state);
    mempool_restore(&x->mempool, kept);
    if (x->calls->progress != NULL && counts->recoveries % PROGRESS_EVERY == 0) {
        x->calls->progress(x->calls->context, counts);
    }
    x->result->stopped |= over_budget(x->config, counts);
    return good && !x->result->stopped;
}

/* ---- a moment ---- */

/* All or nothing; one line alone or left out; the first lines or the last; and chance. */
static bool
point_sample(struct explorer *x, struct level *level, uint64_t max)
{
    static const enum state_policy by_line[] = {STATE_LINE_ALONE, STATE_LINE_MISSING,
                                                STATE_LINES_FIRST, STATE_LINES_LAST};
    const uint64_t lines = level->media.active_count;
    const uint64_t step = 1 + 4 * lines / (max + 1); /* of many lines only some */

    if (!state_run(x, level, STATE_ALL, 0) || !state_run(x, level, STATE_NONE, 0)) {
        return false;
    }
    for (uint64_t line = 0; line < lines; line += step) {
        for (unsigned i = 0; i < sizeof(by_line) / sizeof(by_line[0]); i++) {
            if (!state_run(x, level, by_line[i], line)) {
                return false;
            }
        }
    }
    for (uint64_t i = 0; i < max; i++) {
        const uint64_t salt = hash_mix(level->signature, x->config->seed) & ~UINT64_C(3);

        if (!state_run(x, level, STATE_RANDOM, salt + 4 * i + i % 4)) {
            return false;
        }
    }
    return true;
}

static uint64_t
states_max(const struct explorer *x)
{
    return x->depth == 0 ? x->config->states_max : x->config->states_max / 4 + 1;
}

static bool
point_states(struct explorer *x, struct level *level)
{
    const uint64_t max = states_max(x);
    uint64_t n = 0;

    if (x->config->style == EXPLORE_KILLS) {
        return state_run(x, level, STATE_ALL, 0);
    }
    level->state.path_len = 0;
    do {
        if (!state_run(x, level, STATE_PATH, 0)) {
            return false;
        }
        if (!state_path_next(&level->state)) {
            return true;
        }
    } while (++n < max && !level->state.too_deep);
    level->state.too_deep = false;
    x->result->counts.points_truncated++;
    const bool good = point_sample(x, level, max / 2);

    x->result->counts.states_sampled += level->states;
    return good;
}

static bool
point_replay(struct explorer *x, struct level *level)
{
    const struct explore_place *place = &x->replay[x->depth];
    struct state *state = &level->state;

    if (place->point != level->media.at) {
        return true;
    }
    state->path_len = place->path_len;
    memcpy(state->choices, place->path, place->path_len);
    state->lost = place->lost;
    state->lost_count = place->lost_count;
    return state_run(x, level, place->policy, place->salt);
}

static bool
point_explore(struct explorer *x, struct level *level)
{
    const uint64_t listed = media_list(&level->media);
    struct explore_counts *counts = &x->result->counts;
    struct explore_counts known;
    const uint64_t truncated = counts->points_truncated;

    /* Every other time the clock has been set back. */
    level->signature = hash_mix(listed, mark_hash(level->mark));
    level->wall_ms = level->signature & 64 ? level->mark->wall_ms : 1000;
    level->states = 0;
    level->images = 0;
    counts->points++;
    if (x->replay_count == 0 || x->depth >= x->replay_count) {
        if (memo_find(x->memo, level->signature, &known)) {
            known.states_within = x->depth > 0 ? known.states : 0;
            explore_counts_add(counts, &known);
            return true;
        }
    } else if (x->replay[x->depth].point != level->media.at) {
        return true;
    }
    image_load(&level->image, level->media.base, level->media.exists, level->media.size_bytes);
    if (x->replay_count > 0 && x->depth < x->replay_count) {
        return point_replay(x, level);
    }
    if (!point_states(x, level)) {
        if (x->result->stopped && !x->result->failed && counts->points_truncated == truncated) {
            /* It was to be exhausted, and wasn't. */
            counts->points--;
            counts->points_unreached++;
            counts->states_sampled += level->states;
        }
        return false;
    }
    const struct explore_counts done = {
        .states = level->states,
        .states_sampled = counts->points_truncated > truncated ? level->states : 0,
        .images = level->images,
    };

    memo_add(x->memo, level->signature, &done);
    return true;
}

/* ---- a level ---- */

/* A crash just before it can show what no crash at another moment can. */
static bool
is_moment(const struct trace *trace, size_t at)
{
    return at == trace->count || trace->events[at].is_mark ||
           (trace->events[at].kind != MEM_MAP_STORE && trace->events[at].kind != MEM_MAP_FLUSH &&
            trace->events[at].kind != MEM_MAP_WRITE);
}

/* Does the event make another moment of what follows? */
static bool
event_changes(struct level *level, size_t at)
{
    const struct trace *trace = level->trace;

    if (!trace->events[at].is_mark) {
        return true;
    }
    const struct trace_mark *mark = &trace->marks[trace->events[at].mark];
    const bool changes = level->mark == NULL || mark_hash(mark) != mark_hash(level->mark);

    level->mark = mark;
    return changes;
}

static bool
level_walk(struct explorer *x, struct level *level)
{
    const struct trace *trace = level->trace;
    bool changed = true; /* since the last moment */
    bool reached = true; /* false: the rest is only counted */

    for (size_t at = 0; at <= trace->count; at++) {
        if (level->mark != NULL && changed && at >= level->from && is_moment(trace, at)) {
            if (!reached) {
                x->result->counts.points_unreached++;
            } else if (!point_explore(x, level)) {
                if (x->result->failed || x->replay_count > 0) {
                    return false;
                }
                reached = false;
            }
            changed = false;
        }
        if (at == trace->count) {
            break;
        }
        changed |= event_changes(level, at);
        if (!reached) {
            continue;
        }
        media_step(&level->media);
        if (level->media.stray > 0 && level->mark != NULL) {
            return explore_violation(x, level, "a store where no block is");
        }
    }
    return reached;
}

static void
sites_note(struct explore_result *result, const struct trace *trace)
{
    for (size_t i = 0; i < trace->count; i++) {
        const struct trace_event *event = &trace->events[i];

        if (!event->is_mark && event->site < EXPLORE_SITES_MAX) {
            result->met[event->site] |=
                (uint16_t)(1u << event->kind | (event->all ? EXPLORE_MET_ALL : 0));
        }
    }
}

/* The first event in which two traces differ. */
static size_t
first_difference(const struct trace *a, const struct trace *b)
{
    size_t i = 0;

    while (i < a->count && i < b->count && trace_event_same(&a->events[i], &b->events[i])) {
        i++;
    }
    return i;
}

static uint64_t
explore_size_bytes(const struct explore_config *config)
{
    return config->user != NULL
               ? config->user->size_bytes_max
               : (uint64_t)config->geometry.blocks_max * config->geometry.block_bytes;
}

bool
explore_level(struct explorer *x, const struct trace *trace, const uint8_t *bytes,
              const uint8_t *exists, uint64_t size_bytes)
{
    const struct explore_config *config = x->config;
    const struct media_options options = {
        .mode = config->mode,
        .size_bytes_max = explore_size_bytes(config),
        .plain = config->plain,
        .weak = config->weak,
    };
    struct level *level = calloc(1, sizeof(*level));
    struct level *outer = x->levels[x->depth];
    size_t changed = 0;
    const struct trace mutated = mutation_apply(trace, config->mutation, config->site, &changed);

    if (level == NULL) {
        die("explore: no memory");
    }
    level->trace = &mutated;
    level->from = config->mutated_only && changed > 0 ? first_difference(trace, &mutated) : 0;
    x->levels[x->depth] = level;
    x->result->mutated += changed;
    sites_note(x->result, trace);
    media_init(&level->media, &mutated, &options, bytes, exists, size_bytes);
    image_init(&level->image, config->mode, options.size_bytes_max);
    image_init(&level->frozen, config->mode, options.size_bytes_max);
    state_init(&level->state, &level->media, &level->image);
    const bool good = level_walk(x, level);

    x->result->counts.coarse += level->media.coarse;
    x->levels[x->depth] = outer;
    image_deinit(&level->image);
    image_deinit(&level->frozen);
    media_deinit(&level->media);
    free(mutated.events);
    free(level);
    return good;
}

void
explore_trace(const struct explore_config *config, const struct trace *trace,
              const struct explore_place *replay, unsigned replay_count,
              const struct explore_calls *calls, struct explore_result *result)
{
    static const struct explore_calls no_calls;
    const size_t bytes = (size_t)explore_size_bytes(config);
    struct explorer x = {.config = config,
                         .replay = replay,
                         .replay_count = replay_count,
                         .calls = calls != NULL ? calls : &no_calls,
                         .result = result};
    uint8_t *nothing = calloc(1, bytes + bytes / IMAGE_PAGE);

    if (nothing == NULL) {
        die("explore: no memory");
    }
    memset(result, 0, sizeof(*result));
    x.memo = x.calls->memo != NULL ? x.calls->memo : explore_memo_create();
    x.check.geometry = config->geometry;
    x.check.mempool = &x.mempool;
    exploring = &x;
    (void)explore_level(&x, trace, nothing, nothing + bytes, 0);
    exploring = NULL;
    free(nothing);
    if (x.calls->memo == NULL) {
        explore_memo_destroy(x.memo);
    }
    mempool_free(&x.mempool);
}

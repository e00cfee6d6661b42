#include "tests/crash/explore.h"

#include "tests/crash/plant.h"
#include "tests/lib/die.h"
#include "tests/lib/rng.h"

#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

struct explorer {
    const struct explore_config *config;
    struct explore_result *result;
    const struct explore_place *replay;
    unsigned replay_count;
    struct explore_place place[EXPLORE_DEPTH_MAX];
    unsigned depth;
    struct mempool mempool;
    struct check check;
    uint64_t *seen; /* hashes of images with what was promised; open addressing, 0 free */
    size_t seen_count, seen_cap;
};

/* One level: a trace and the file that it began on. */
struct level {
    struct explorer *x;
    const struct trace *trace;
    struct model model;
    struct image image;
    const struct trace_mark *mark;
    uint32_t *picks;
    uint32_t picks_cap;
    size_t from; /* points before it are left out */
};

/* ---- where we are ---- */

static const struct explorer *exploring; /* for the signal handler */

/* The signal handler calls it too. The process ends there in any case: a place told in most cases is worth a
 * deadlock in a few. */
static void
place_text(const struct explorer *x, char *text, size_t size)
{
    size_t used = 0;

    for (unsigned i = 0; i <= x->depth && used < size; i++) {
        /* NOLINTNEXTLINE(bugprone-signal-handler) */
        const int n = snprintf(text + used, size - used, "%s%zu:%" PRIu64, i == 0 ? "" : "/",
                               x->place[i].point, x->place[i].state);

        used += n > 0 ? (size_t)n : 0;
    }
}

static void
replay_text(const struct explorer *x, char *text, size_t size)
{
    char place[120];

    place_text(x, place, sizeof(place));
    (void)snprintf(text, size, "%s --seed %" PRIu64 " --states %" PRIu64 " --at %s",
                   x->config->name, x->config->seed, x->config->states_max, place);
}

static void
caught(int number)
{
    char place[160] = "?";
    char text[300];

    if (exploring != NULL) {
        replay_text(exploring, place, sizeof(place));
    }
    const int n = snprintf(text, sizeof(text), "signal %d; replay: %s\n", number, place);

    if (write(STDERR_FILENO, text, n > 0 ? (size_t)n : 0) < 0) {
        _exit(4);
    }
    (void)signal(number, SIG_DFL);
    (void)raise(number);
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

void
explore_catch_signals(void)
{
    static const int numbers[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGALRM};

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        (void)signal(numbers[i], caught);
    }
}

static bool
violation(struct explorer *x, const struct level *level, const char *why)
{
    char event[160];

    trace_event_text(level->trace, level->model.at, event, sizeof(event));
    x->result->failed = true;
    (void)snprintf(x->result->why, sizeof(x->result->why), "%s [before %s]", why, event);
    replay_text(x, x->result->replay, sizeof(x->result->replay));
    return false;
}

/* ---- seen before ---- */

static bool
seen_insert(uint64_t *seen, size_t cap, uint64_t hash)
{
    size_t i = (size_t)hash & (cap - 1);

    while (seen[i] != 0 && seen[i] != hash) {
        i = (i + 1) & (cap - 1);
    }
    if (seen[i] == hash) {
        return false;
    }
    seen[i] = hash;
    return true;
}

/* False: an image like this was judged by the same promises before. */
static bool
is_new(struct explorer *x, uint64_t hash)
{
    if (2 * (x->seen_count + 1) > x->seen_cap) {
        const size_t cap = x->seen_cap == 0 ? 4096 : x->seen_cap * 2;
        uint64_t *seen = calloc(cap, sizeof(*seen));

        if (seen == NULL) {
            die("explore: no memory");
        }
        for (size_t i = 0; i < x->seen_cap; i++) {
            if (x->seen[i] != 0) {
                (void)seen_insert(seen, cap, x->seen[i]);
            }
        }
        free(x->seen);
        x->seen = seen;
        x->seen_cap = cap;
    }
    const bool fresh = seen_insert(x->seen, x->seen_cap, hash | 1);

    x->seen_count += fresh;
    return fresh;
}

static uint64_t
mark_hash(const struct trace_mark *mark)
{
    uint64_t hash =
        model_mix(mark->may[0]->id, mark->may[1] != NULL ? (uint64_t)mark->may[1]->id : 0);

    hash = model_mix(hash, mark->wall_ms);
    return model_mix(hash, mark->seen_ms);
}

/* ---- choices ---- */

/* All or nothing; one line alone or left out; the first lines or the last. */
static uint64_t
structured_count(const struct model *model)
{
    return 2 + 2 * (uint64_t)model->lines + (model->lines > 1 ? 2 * (model->lines - 1) : 0);
}

/* How many states the point has here; *sampled: not all of them. */
static uint64_t
states_count(const struct level *level, bool *sampled)
{
    const uint64_t max =
        level->x->depth == 0 ? level->x->config->states_max : level->x->config->states_max / 4 + 1;

    *sampled = level->model.states > max;
    if (!*sampled) {
        return level->model.states;
    }
    return structured_count(&level->model) + max;
}

static void
picks_all(struct level *level, bool max)
{
    for (uint32_t i = 0; i < level->model.items_count; i++) {
        level->picks[i] = max ? level->model.items[i].choices - 1 : 0;
    }
}

/* The lines from `first` up to `end` are there and the others aren't, or the other way round. */
static void
picks_lines(struct level *level, uint64_t first, uint64_t end, bool there)
{
    uint64_t line = 0;

    for (uint32_t i = 0; i < level->model.items_count; i++) {
        const struct model_item *item = &level->model.items[i];

        line += i > 0 && item->line != level->model.items[i - 1].line;
        level->picks[i] = (line >= first && line < end) == there ? item->choices - 1 : 0;
    }
}

static void
picks_random(struct level *level, uint64_t n)
{
    static const unsigned in_16[] = {8, 2, 14, 0};
    const uint64_t seed = model_mix(level->x->config->seed, level->model.at);
    struct rng rng = {model_mix(seed, n)};
    const unsigned density = in_16[n % 4];
    bool line_in = false;

    for (uint32_t i = 0; i < level->model.items_count; i++) {
        const struct model_item *item = &level->model.items[i];

        if (i == 0 || item->line != level->model.items[i - 1].line) {
            line_in = rng_below(&rng, 2) == 0;
        }
        const bool in = density == 0 ? line_in : rng_below(&rng, 16) < density;

        level->picks[i] = in ? 1 + (uint32_t)rng_below(&rng, item->choices - 1) : 0;
    }
}

/* The n-th of the point's states. */
static void
picks_make(struct level *level, uint64_t n, bool sampled)
{
    const struct model *model = &level->model;

    if (!sampled) {
        for (uint32_t i = 0; i < model->items_count; i++) {
            level->picks[i] = (uint32_t)(n % model->items[i].choices);
            n /= model->items[i].choices;
        }
        return;
    }
    if (n < 2) {
        picks_all(level, n == 1);
        return;
    }
    n -= 2;
    if (n < 2 * (uint64_t)model->lines) {
        picks_lines(level, n / 2, n / 2 + 1, n % 2 == 0);
        return;
    }
    n -= 2 * (uint64_t)model->lines;
    const uint64_t by_line = model->lines > 1 ? 2 * (model->lines - 1) : 0;

    if (n < by_line) {
        picks_lines(level, 0, 1 + n / 2, n % 2 == 0);
    } else {
        picks_random(level, n - by_line);
    }
}

/* ---- a state ---- */

static bool level_explore(struct explorer *x, const struct trace *trace, const uint8_t *bytes,
                          const uint8_t *exists, uint64_t size_bytes);

static struct nosync_map *
open_image(void *context)
{
    return image_open(context);
}

/* Go on after recovery, differently from one state to another. */
static void
go_on(struct driver *driver, uint64_t hash)
{
    static const char *const changes[] = {"+g1", "+g2", "+a"};

    if (hash & 1) {
        driver_put(driver, 0, "g0", 8);
    } else {
        driver_put(driver, 0, "g0", 700);
    }
    driver_maintain(driver, hash & 2 ? 1 : 4);
    driver_batch(driver, 10, changes, 3);
    driver_delete(driver, 0, hash & 4 ? "a" : "g1");
    if (hash & 8) {
        driver_put(driver, 0, "b", 480);
        driver_put(driver, 0, "b", 470);
    }
    if (hash & 16) {
        driver_maintain(driver, 0);
    }
    if (hash & 32) {
        driver_close(driver);
        (void)driver_open(driver);
    }
    driver_put(driver, 0, "g0", 12);
    driver_close(driver);
}

/* Record recovery from this image and work after it, and explore that. */
static bool
again(struct explorer *x, struct level *level, const struct trace_mark *mark, uint64_t wall_ms,
      uint64_t hash)
{
    const struct image *from = &level->image;
    const size_t bytes = (size_t)from->size_bytes_max;
    uint8_t *start = malloc(bytes + bytes / IMAGE_PAGE);
    struct trace trace = {.site = plant_site};
    struct driver driver;
    struct image image;
    bool good = true;

    if (start == NULL) {
        die("explore: no memory");
    }
    memcpy(start, from->bytes, bytes);
    memcpy(start + bytes, from->exists, bytes / IMAGE_PAGE);
    const uint64_t size_bytes = from->size_bytes;

    image_init(&image, from->mode, from->size_bytes_max);
    image_load(&image, start, start + bytes, size_bytes);
    image.recorder = trace_record;
    image.recorder_context = &trace;
    driver_init(&driver, &x->check.geometry, &x->mempool, &trace);
    driver_raise(&driver); /* a raise cut short is gone on with, or one is new */
    driver.open_map = open_image;
    driver.open_context = &image;
    driver.wall_ms = wall_ms > mark->wall_ms ? wall_ms : mark->wall_ms;
    driver.seen_ms = mark->seen_ms;
    driver.op = (x->depth + 1) * 1000;
    driver.now = mark->may[0];
    driver.maybe = mark->may[1];
    if (driver_open(&driver) == FL_OK) {
        driver.now = x->check.found;
        driver.maybe = NULL;
        go_on(&driver, hash);
    }
    if (driver.wrong) {
        char why[400];

        (void)snprintf(why, sizeof(why), "going on after recovery: %s", driver.why);
        good = violation(x, level, why);
    } else {
        x->result->again++;
        x->depth++;
        good = level_explore(x, &trace, start, start + bytes, size_bytes);
        x->depth--;
    }
    if (driver.store != NULL) {
        driver_close(&driver);
    }
    image_deinit(&image);
    trace_deinit(&trace);
    free(start);
    return good;
}

static bool
at_replay(const struct explorer *x, size_t point, uint64_t state, bool any_state)
{
    return x->replay_count == 0 || x->depth >= x->replay_count ||
           (x->replay[x->depth].point == point &&
            (any_state || x->replay[x->depth].state == state));
}

static bool
selected(uint64_t hash, uint64_t every)
{
    return every != 0 && (hash >> 20) % every == 0;
}

static void
image_make(struct level *level)
{
    image_reset(&level->image, level->model.base, level->model.exists, level->model.size_bytes);
    (void)model_apply(&level->model, level->picks, &level->image);
}

static bool
state_judge(struct explorer *x, struct level *level, uint64_t hash)
{
    const struct trace_mark *mark = level->mark;
    const bool replaying = x->replay_count > 0;
    const bool full = replaying || selected(hash, x->config->usable_every);
    /* Every other time the clock has been set back. */
    const uint64_t wall_ms = hash & 64 ? mark->wall_ms : 1000;
    const bool deeper =
        x->depth < x->config->depth_max &&
        (replaying ? x->depth + 1 < x->replay_count : selected(hash >> 3, x->config->again_every));

    if (full && !check_read_only(&x->check, &level->image, mark)) {
        return violation(x, level, x->check.why);
    }
    if (!check_recover(&x->check, &level->image, mark, wall_ms, full || (hash >> 40) % 64 == 0)) {
        return violation(x, level, x->check.why);
    }
    if (full) {
        x->result->usable++;
        const struct contents *found = x->check.found;

        if (!check_usable(&x->check, &level->image, mark, wall_ms)) {
            return violation(x, level, x->check.why);
        }
        x->check.found = found;
    }
    if (!deeper) {
        return true;
    }
    image_make(level);
    return again(x, level, mark, wall_ms, hash);
}

static bool
state_explore(struct explorer *x, struct level *level, uint64_t n, bool sampled)
{
    x->result->states++;
    x->result->states_sampled += sampled;
    x->result->states_within += x->depth > 0;
    x->place[x->depth].state = n;
    picks_make(level, n, sampled);
    image_reset(&level->image, level->model.base, level->model.exists, level->model.size_bytes);
    const uint64_t hash =
        model_mix(model_apply(&level->model, level->picks, &level->image), mark_hash(level->mark));

    if (x->replay_count == 0 && !is_new(x, hash)) {
        return true;
    }
    x->result->images++;
    const struct mempool_point kept = mempool_save(&x->mempool);
    const bool good = state_judge(x, level, model_mix(hash, x->config->seed));

    mempool_restore(&x->mempool, kept);
    return good;
}

/* ---- a level ---- */

static bool
point_explore(struct explorer *x, struct level *level)
{
    bool sampled = false;

    model_list(&level->model);
    if (level->model.items_count > level->picks_cap) {
        level->picks_cap = level->model.items_count * 2;
        free(level->picks);
        level->picks = calloc(level->picks_cap, sizeof(level->picks[0]));
        if (level->picks == NULL) {
            die("explore: no memory");
        }
    }
    const uint64_t count = states_count(level, &sampled);

    x->place[x->depth].point = level->model.at;
    if (!at_replay(x, level->model.at, 0, true)) {
        return true;
    }
    x->result->points++;
    x->result->points_truncated += sampled;
    image_load(&level->image, level->model.base, level->model.exists, level->model.size_bytes);
    for (uint64_t n = 0; n < count; n++) {
        if (x->config->budget > 0 && x->result->states >= x->config->budget) {
            x->result->stopped = true;
            return false;
        }
        if (at_replay(x, level->model.at, n, false) && !state_explore(x, level, n, sampled)) {
            return false;
        }
    }
    return true;
}

/* A crash just before it can show what no crash at another moment can. */
static bool
is_moment(const struct trace *trace, size_t at)
{
    return at == trace->count || trace->events[at].is_mark ||
           (trace->events[at].kind != MEM_MAP_STORE && trace->events[at].kind != MEM_MAP_FLUSH &&
            trace->events[at].kind != MEM_MAP_WRITE);
}

static bool
level_walk(struct explorer *x, struct level *level)
{
    const struct trace *trace = level->trace;
    bool changed = true; /* since the last moment */

    for (size_t at = 0; at <= trace->count; at++) {
        if (level->mark != NULL && changed && at >= level->from && is_moment(trace, at)) {
            if (!point_explore(x, level)) {
                return false;
            }
            changed = false;
        }
        if (at == trace->count) {
            break;
        }
        if (trace->events[at].is_mark) {
            const struct trace_mark *mark = &trace->marks[trace->events[at].mark];

            changed |= level->mark == NULL || mark_hash(mark) != mark_hash(level->mark);
            level->mark = mark;
        } else {
            changed = true;
        }
        model_step(&level->model);
    }
    return true;
}

static void
sites_note(struct explore_result *result, const struct trace *trace)
{
    for (size_t i = 0; i < trace->count; i++) {
        const struct trace_event *event = &trace->events[i];

        if (!event->is_mark && event->site < EXPLORE_SITES_MAX) {
            result->met[event->site] |= (uint16_t)(1u << event->kind);
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

static bool
level_explore(struct explorer *x, const struct trace *trace, const uint8_t *bytes,
              const uint8_t *exists, uint64_t size_bytes)
{
    const struct explore_config *config = x->config;
    const uint64_t size_bytes_max =
        (uint64_t)config->geometry.blocks_max * config->geometry.block_bytes;
    struct level level = {.x = x};
    size_t changed = 0;
    const struct trace mutated = mutation_apply(trace, config->mutation, config->site, &changed);

    level.trace = &mutated;
    level.from = config->mutated_only && changed > 0 ? first_difference(trace, &mutated) : 0;
    x->result->mutated += changed;
    sites_note(x->result, trace);
    model_init(&level.model, &mutated, config->mode, size_bytes_max, config->plain);
    model_start(&level.model, bytes, exists, size_bytes);
    image_init(&level.image, config->mode, size_bytes_max);
    const bool good = level_walk(x, &level);

    image_deinit(&level.image);
    model_deinit(&level.model);
    free(level.picks);
    free(mutated.events);
    return good;
}

void
explore_trace(const struct explore_config *config, const struct trace *trace,
              const struct explore_place *replay, unsigned replay_count,
              struct explore_result *result)
{
    const size_t bytes = (size_t)config->geometry.blocks_max * config->geometry.block_bytes;
    struct explorer x = {.config = config, .replay = replay, .replay_count = replay_count};
    uint8_t *nothing = calloc(1, bytes + bytes / IMAGE_PAGE);

    if (nothing == NULL) {
        die("explore: no memory");
    }
    memset(result, 0, sizeof(*result));
    x.result = result;
    x.check.geometry = config->geometry;
    x.check.mempool = &x.mempool;
    exploring = &x;
    (void)level_explore(&x, trace, nothing, nothing + bytes, 0);
    exploring = NULL;
    free(nothing);
    free(x.seen);
    mempool_free(&x.mempool);
}

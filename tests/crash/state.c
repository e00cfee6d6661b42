#include "tests/crash/state.h"

#include "tests/crash/hash.h"

#include <string.h>

static const uint64_t all_words = UINT64_MAX;

enum { FAULTS_MAX = 200 };

void
state_init(struct state *state, const struct media *media, struct image *image)
{
    memset(state, 0, sizeof(*state));
    state->media = media;
    state->image = image;
}

/* ---- choosing ---- */

static uint32_t
by_line(const struct state *state, uint64_t line, uint32_t options)
{
    const bool here = state->policy == STATE_LINE_ALONE || state->policy == STATE_LINE_MISSING
                          ? line == state->salt
                      : state->policy == STATE_LINES_FIRST ? line <= state->salt
                                                           : line > state->salt;

    return here == (state->policy != STATE_LINE_MISSING) ? options - 1 : 0;
}

static uint32_t
by_chance(const struct state *state, uint64_t line, uint64_t what, uint32_t options)
{
    static const unsigned in_16[] = {8, 2, 14, 0};
    const unsigned density = in_16[state->salt % 4];
    const uint64_t random = hash_mix(state->salt, what);
    const bool in = density == 0 ? hash_mix(state->salt, line + 77) & 1 : random % 16 < density;

    return in ? 1 + (uint32_t)((random >> 8) % (options - 1)) : 0;
}

/* One of `options` possibilities, 0 being the least on media. */
static uint32_t
choose(struct state *state, uint64_t line, uint64_t what, uint32_t options)
{
    if (options == 1) {
        return 0;
    }
    switch (state->policy) {
    case STATE_PATH:
        break;
    case STATE_RANDOM:
        return by_chance(state, line, what, options);
    case STATE_LOST:
    case STATE_ALL:
        return options - 1;
    case STATE_NONE:
        return 0;
    case STATE_LINE_ALONE:
    case STATE_LINE_MISSING:
    case STATE_LINES_FIRST:
    case STATE_LINES_LAST:
        return by_line(state, line, options);
    }
    if (state->depth == STATE_PATH_MAX) {
        state->too_deep = true;
        return 0;
    }
    const uint32_t at = state->depth++;

    if (at >= state->path_len) {
        state->choices[at] = 0;
        state->path_len = at + 1;
    }
    state->options[at] = (uint8_t)options;
    return state->choices[at] < options ? state->choices[at] : options - 1;
}

bool
state_path_next(struct state *state)
{
    uint32_t len = state->depth < state->path_len ? state->depth : state->path_len;

    while (len > 0 && state->choices[len - 1] + 1 >= state->options[len - 1]) {
        len--;
    }
    if (len > 0) {
        state->choices[len - 1]++;
    }
    state->path_len = len;
    return len > 0;
}

/* ---- deciding ---- */

/* Entries that must be on media, and must not be, if the first `count` of the word's entries are. */
struct option {
    uint64_t in, out;
    uint32_t count;
};

static uint32_t
options_of(const struct media_cell *cell, const uint32_t *entries, uint32_t count,
           struct option *options)
{
    uint32_t n = 0;

    for (uint32_t taken = 0; taken <= count; taken++) {
        uint64_t in = cell->in;
        uint64_t out = cell->out;

        if (taken > 0) {
            const uint32_t last = entries[taken - 1];

            in |= UINT64_C(1) << last | cell->before[last];
        }
        if (taken < count) {
            const uint32_t next = entries[taken];

            out |= UINT64_C(1) << next | cell->after[next];
        }
        if ((in & out) == 0) {
            options[n++] = (struct option){in, out, taken};
        }
    }
    return n;
}

static const struct state_lost *
lost_of(const struct state *state, uint64_t off)
{
    for (uint32_t i = 0; i < state->lost_count; i++) {
        if (state->lost[i].off == off) {
            return &state->lost[i];
        }
    }
    return NULL;
}

static void
word_decide(struct state *state, struct media_cell *cell, uint32_t word)
{
    const struct media *media = state->media;
    uint32_t entries[MEDIA_ENTRIES_MAX];
    struct option options[MEDIA_ENTRIES_MAX + 1];
    uint32_t count = 0;

    for (uint32_t i = 0; i < cell->count; i++) {
        if (cell->entries[i].word == word) {
            entries[count++] = i;
        }
    }
    cell->decided |= UINT64_C(1) << word;
    cell->chosen |= UINT64_C(1) << word;
    if (count == 0) {
        return;
    }
    uint32_t n = options_of(cell, entries, count, options);

    if (state->policy == STATE_LOST) {
        const struct state_lost *lost = lost_of(state, cell->off);

        while (lost != NULL && n > 1 && (options[n - 1].in & lost->entries) != 0) {
            n--;
        }
    }
    const uint64_t off = cell->off + (uint64_t)word * media->word_bytes;
    const struct option *option = &options[choose(state, cell->rank, off, n)];

    cell->in = option->in;
    cell->out = option->out;
    if (option->count > 0) {
        image_poke(state->image, off, cell->entries[entries[option->count - 1]].value,
                   media->word_bytes);
    }
}

static void
cells_settle(const struct media *media, uint64_t off, uint64_t len)
{
    for (uint64_t at = off; at < off + len; at += media->cell_bytes) {
        struct media_cell *cell = media_cell_at(media, at);

        if (cell != NULL) {
            cell->decided = all_words;
            cell->chosen = all_words;
        }
    }
}

static void
page_decide(struct state *state, uint64_t page)
{
    struct image *image = state->image;

    if (image->undecided == NULL || !image->undecided[page]) {
        return;
    }
    image->undecided[page] = 0;
    if (choose(state, UINT32_MAX - 1, page, 2) == 0) {
        return;
    }
    image->holes[page] = 1;
    image_poke_hole(image, page);
    cells_settle(state->media, page * IMAGE_PAGE, IMAGE_PAGE);
}

static void
range_decide(struct state *state, uint64_t off, uint64_t len, bool overwritten)
{
    const uint64_t unit = state->media->word_bytes;
    const uint64_t end = off + len;

    if (state->image->undecided != NULL) {
        for (uint64_t page = off / IMAGE_PAGE; page * IMAGE_PAGE < end; page++) {
            page_decide(state, page);
        }
    }
    for (uint64_t at = off - off % unit; at < end; at += unit) {
        struct media_cell *cell = media_cell_at(state->media, at);
        const uint32_t word = (uint32_t)(at % state->media->cell_bytes / unit);

        if (cell == NULL || cell->decided >> word & 1) {
            continue;
        }
        if (overwritten && at >= off && at + unit <= end) {
            cell->decided |= UINT64_C(1) << word;
        } else {
            word_decide(state, cell, word);
        }
    }
}

static void
on_load(void *context, uint64_t off, uint64_t len)
{
    struct state *state = context;

    state->loads++;
    range_decide(state, off, len, false);
}

void
state_change(struct state *state, uint64_t off, uint64_t len)
{
    state->changes++;
    range_decide(state, off, len, true);
    image_touch(state->image, off, len);
}

static void
on_change(void *context, uint64_t off, uint64_t len)
{
    state_change(context, off, len);
}

const struct watch_ops state_watch = {.load = on_load, .change = on_change};

/* ---- a state ---- */

static void
faults_lose(struct state *state)
{
    const struct media *media = state->media;

    for (uint32_t i = media->faults_count; i > state->faults_kept; i--) {
        const struct media_fault *fault = &media->faults[i - 1];

        for (uint64_t off = fault->off; off < fault->off + fault->len; off += IMAGE_PAGE) {
            image_poke_hole(state->image, off / IMAGE_PAGE);
        }
        cells_settle(media, fault->off, fault->len);
        state->image->size_bytes = fault->size_before;
    }
}

void
state_begin(struct state *state)
{
    const struct media *media = state->media;
    struct image *image = state->image;

    state->depth = 0;
    state->loads = 0;
    state->changes = 0;
    if (media->punched_count > 0) {
        memcpy(image->undecided_pages, media->punched, media->pages);
        memset(image->holes, 0, media->pages);
        image->undecided = image->undecided_pages;
    } else {
        image->undecided = NULL;
    }
    image->state = state;
    state->faults_kept = 0;
    if (media->faults_count > 0) {
        const uint32_t most = media->faults_count < FAULTS_MAX ? media->faults_count : FAULTS_MAX;

        state->faults_kept =
            media->faults_count - most + choose(state, UINT32_MAX, UINT64_MAX, most + 1);
        faults_lose(state);
    }
}

static void
cell_freeze(struct state *state, struct media_cell *cell)
{
    const struct media *media = state->media;
    const uint32_t words = media->cell_bytes / media->word_bytes;

    for (uint32_t i = 0; i < cell->count; i++) {
        const struct media_entry *entry = &cell->entries[i];

        if (cell->in >> i & 1 && cell->chosen >> entry->word & 1) {
            image_poke(state->image, cell->off + (uint64_t)entry->word * media->word_bytes,
                       entry->value, media->word_bytes);
        }
    }
    for (uint32_t word = 0; word < words; word++) {
        if (!(cell->chosen >> word & 1)) {
            word_decide(state, cell, word);
        }
    }
}

void
state_freeze(struct state *state, struct image *image, enum state_policy policy, uint64_t salt)
{
    const struct media *media = state->media;
    const struct image *from = state->image;

    image_load(image, media->base, media->exists, media->size_bytes);
    memcpy(image->undecided_pages, from->undecided_pages, media->pages);
    memcpy(image->holes, from->holes, media->pages);
    image->undecided = from->undecided != NULL ? image->undecided_pages : NULL;
    state->image = image;
    state->policy = policy;
    state->salt = salt;
    for (uint64_t page = 0; image->undecided != NULL && page < media->pages; page++) {
        if (media->punched[page] && image->holes[page]) {
            image_poke_hole(image, page);
        }
        page_decide(state, page);
    }
    faults_lose(state);
    for (uint32_t i = 0; i < media->active_count; i++) {
        cell_freeze(state, media->active[i]);
    }
    image->undecided = NULL;
}

uint32_t
state_lost_list(const struct state *state, struct state_lost *lost, uint32_t max)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < state->media->active_count && n < max; i++) {
        const struct media_cell *cell = state->media->active[i];

        const uint64_t out = ~cell->in & (all_words >> (MEDIA_ENTRIES_MAX - cell->count));

        if (out != 0) {
            lost[n++] = (struct state_lost){cell->off, out};
        }
    }
    return n;
}

/* Of what is undecided each word has a first version and those that stores have left; what the order among words of a
 * line forbids is made up for by counting such a line as a prefix. */
double
state_covers(const struct state *state)
{
    const struct media *media = state->media;
    double covers = 1;

    for (uint64_t page = 0; state->image->undecided != NULL && page < media->pages; page++) {
        covers *= state->image->undecided[page] ? 2 : 1;
    }
    for (uint32_t i = 0; i < media->active_count; i++) {
        const struct media_cell *cell = media->active[i];
        uint32_t prefix = 0;
        uint32_t left = 0;

        for (uint32_t e = 0; e < cell->count; e++) {
            const bool open = !(cell->decided >> cell->entries[e].word & 1);
            const bool alone = cell->before[e] == 0 && cell->after[e] == 0;

            covers *= open && alone ? 2 : 1;
            left += open && !alone;
        }
        prefix = cell->decided == 0 ? left : 0;
        covers *= 1 + prefix;
    }
    return covers;
}

void
state_end(struct state *state)
{
    for (uint32_t i = 0; i < state->media->active_count; i++) {
        struct media_cell *cell = state->media->active[i];

        cell->decided = 0;
        cell->chosen = 0;
        cell->in = 0;
        cell->out = 0;
    }
    state->image->undecided = NULL;
    state->image->state = NULL;
}

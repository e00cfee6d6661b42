#include "tests/contract/cuts.h"

#include "tests/lib/die.h"

#include <faultline/status.h>
#include <stdlib.h>
#include <string.h>

enum { STATES_MAX = 1 << 15, GROUPED = 4, WORDS = MFS_LINE_BYTES / 8, MIXTURES = 1 << WORDS };

static bool
is_data(const struct cuts *cuts, const struct mfs_choice *choice)
{
    return choice->off >= cuts->area.data_off;
}

static bool
is_torn(const struct cuts *cuts, const struct mfs_choice *choice)
{
    return choice->off >= cuts->area.torn_off && choice->off < cuts->area.torn_end;
}

/* Of all lines that are not data, or of all. */
static uint64_t
combinations(const struct cuts *cuts, bool data_too)
{
    uint64_t count = 1;

    for (size_t i = 0; i < cuts->choices.count && count <= STATES_MAX; i++) {
        if (data_too || !is_data(cuts, &cuts->choices.list[i])) {
            count *= cuts->choices.list[i].count;
        }
    }
    return count;
}

void
cuts_begin(struct cuts *cuts, struct mfs_media *media, const struct cuts_area *area)
{
    *cuts = (struct cuts){.media = media, .area = *area};
    if (mfs_media_choices(media, &cuts->choices) != FL_OK ||
        mfs_media_save(media, &cuts->saved) != FL_OK) {
        die("choices: %s", fl_last_error());
    }
    cuts->picked = calloc(cuts->choices.count + 1, sizeof(*cuts->picked));
    if (cuts->picked == NULL) {
        die("no memory for choices");
    }
    cuts->whole = combinations(cuts, true);
    cuts->grouped = cuts->whole > STATES_MAX / 8;
    if (cuts->grouped) {
        cuts->whole = combinations(cuts, false) * GROUPED;
    }
    if (cuts->whole > STATES_MAX) {
        die("%zu lines that may be lost or not: too many to try", cuts->choices.count);
    }
    for (size_t i = 0; i < cuts->choices.count; i++) {
        cuts->torn += is_torn(cuts, &cuts->choices.list[i]) ? MIXTURES : 0;
    }
}

/* Numbers in a mixed base: every combination once, from nothing to everything. */
static void
pick_whole(struct cuts *cuts)
{
    uint64_t n = cuts->grouped ? cuts->next / GROUPED : cuts->next;
    const uint64_t group = cuts->next % GROUPED;
    /* Old, every other one, the others, new. */
    const bool even = group == 1 || group == 3;
    const bool odd = group == 2 || group == 3;

    for (size_t i = 0; i < cuts->choices.count; i++) {
        const struct mfs_choice *choice = &cuts->choices.list[i];
        if (cuts->grouped && is_data(cuts, choice)) {
            cuts->picked[i] = (i % 2 == 0 ? even : odd) ? choice->count - 1 : 0;
        } else {
            cuts->picked[i] = (unsigned)(n % choice->count);
            n /= choice->count;
        }
    }
}

/* The words of a line that `mixture` has a bit for are new. */
static void
cut_torn(struct cuts *cuts, uint64_t n)
{
    uint8_t values[2][MFS_LINE_BYTES];
    size_t line = 0;

    for (;; line++) {
        if (is_torn(cuts, &cuts->choices.list[line])) {
            if (n < MIXTURES) {
                break;
            }
            n -= MIXTURES;
        }
    }
    for (size_t i = 0; i < cuts->choices.count; i++) {
        cuts->picked[i] = cuts->choices.list[i].count - 1;
    }
    struct mfs_choice *choice = &cuts->choices.list[line];
    const struct mfs_choice kept = *choice;
    memcpy(values[0], kept.values[0], MFS_LINE_BYTES);
    for (size_t word = 0; word < WORDS; word++) {
        const size_t from = (n >> word & 1) != 0 ? kept.count - 1 : 0;
        memcpy(values[1] + word * 8, kept.values[from] + word * 8, 8);
    }
    *choice = (struct mfs_choice){
        .off = kept.off, .count = 2, .values = (const uint8_t(*)[MFS_LINE_BYTES])values};
    cuts->picked[line] = 1;
    if (mfs_media_cut(cuts->media, &cuts->choices, cuts->picked) != FL_OK) {
        die("power cut: %s", fl_last_error());
    }
    *choice = kept;
}

bool
cuts_next(struct cuts *cuts)
{
    mfs_media_restore(cuts->media, cuts->saved);
    if (cuts->next == cuts->whole + cuts->torn) {
        return false;
    }
    if (cuts->next >= cuts->whole) {
        cut_torn(cuts, cuts->next - cuts->whole);
    } else {
        pick_whole(cuts);
        if (mfs_media_cut(cuts->media, &cuts->choices, cuts->picked) != FL_OK) {
            die("power cut: %s", fl_last_error());
        }
    }
    cuts->next++;
    return true;
}

void
cuts_end(struct cuts *cuts)
{
    free(cuts->picked);
    mfs_saved_free(cuts->saved);
    mfs_choices_free(&cuts->choices);
}

/* One crash state, chosen while it is looked at: what the code under test loads is decided then, what it never loads
 * is never decided and stands for every way that it could have gone.
 *
 * A state is laid over an image that holds media->base. Invariants: between state_begin() and state_end() each word
 * that has been loaded, or overwritten in part, is decided, once; the entries in and out of every cell stay such that
 * media.h allows them. state_end() leaves no choice behind; the image is put back by image_reset().
 */
#ifndef FL_TESTS_CRASH_STATE_H
#define FL_TESTS_CRASH_STATE_H

#include "tests/crash/media.h"

enum { STATE_PATH_MAX = 512 };

/* How choices are made. */
enum state_policy {
    STATE_PATH,   /* as the path says; from its end on the first possibility, and the path grows */
    STATE_RANDOM, /* some; `salt` */
    STATE_LOST,   /* everything is on media but the entries in `lost` and what comes after them */
    STATE_ALL,    /* the rest: of everything, nothing; all but one line ... `salt`: which */
    STATE_NONE,
    STATE_LINE_ALONE,
    STATE_LINE_MISSING,
    STATE_LINES_FIRST,
    STATE_LINES_LAST,
};

/* Entries of one cell that are not on media. */
struct state_lost {
    uint64_t off;
    uint64_t entries;
};

struct state {
    const struct media *media;
    struct image *image;
    enum state_policy policy;
    uint64_t salt;
    const struct state_lost *lost;
    uint32_t lost_count;
    uint8_t choices[STATE_PATH_MAX], options[STATE_PATH_MAX];
    uint32_t path_len;
    uint32_t depth; /* choices made in this state */
    uint32_t faults_kept;
    bool too_deep; /* the path had no room: what is over it was left out */
    uint64_t loads;
    uint64_t changes; /* stores by the code under test */
};

void state_init(struct state *state, const struct media *media, struct image *image);

/* The image holds media->base. Choose how many faults of a plain mapping are lost, and watch the rest. */
void state_begin(struct state *state);
/* The same state in another image, as it was before the code under test changed anything, with whatever is left decided
 * by `policy`. */
void state_freeze(struct state *state, struct image *image, enum state_policy policy,
                  uint64_t salt);
/* Of a frozen state: which entries of the cells are not on media. Returns how many cells that concerns. */
uint32_t state_lost_list(const struct state *state, struct state_lost *lost, uint32_t max);
/* The number of different images that this state stands for, at least. */
double state_covers(const struct state *state);
void state_end(struct state *state);

/* The next path in depth-first order. False: that was the last one. */
bool state_path_next(struct state *state);

extern const struct watch_ops state_watch; /* `context` is the state */
/* What an image tells: bytes that are about to be rewritten as a whole. */
void state_change(struct state *state, uint64_t off, uint64_t len);

#endif

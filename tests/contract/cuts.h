/* Every state that a power cut may leave now. */
#ifndef FL_TESTS_CONTRACT_CUTS_H
#define FL_TESTS_CONTRACT_CUTS_H

#include "storage/modelfs/media.h"

/* Lines from here on are data: each is believed or not by itself, whatever its neighbours hold. Where there are many of
 * them, it is enough to take all of them old, all new, and every other one both ways, with each choice of the
 * other lines. */
struct cuts_area {
    uint64_t data_off;
    /* Lines of which a power cut may also leave any mixture of words; then all other lines are new. */
    uint64_t torn_off;
    uint64_t torn_end;
};

struct cuts {
    struct mfs_media *media;
    struct cuts_area area;
    struct mfs_choices choices;
    struct mfs_saved *saved;
    unsigned *picked;
    uint64_t next;
    uint64_t whole; /* states of whole lines */
    uint64_t torn;  /* and of torn ones, behind them */
    bool grouped;
};

/* What a power cut may leave now, to be tried later: other things may be done to the device in between. Aborts if the
 * lines that are no data can't all be tried: that is a test made too large. */
void cuts_begin(struct cuts *cuts, struct mfs_media *media, const struct cuts_area *area);
/* With nothing mounted: put the device back and cut its power in the next way; false: that was the last. The first
 * takes no line that could be lost, the last of the whole ones takes every line. */
bool cuts_next(struct cuts *cuts);
void cuts_end(struct cuts *cuts);

#endif

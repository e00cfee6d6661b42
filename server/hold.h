/* Replies held back until what they depend on is durable.
 *
 * A mark says: the bytes of a connection's output from `start` on depend on `ticket`. Bytes
 * leave in order, so they leave up to the first mark whose ticket is not yet durable. Positions
 * are those of resp_out.
 */
#ifndef FL_SERVER_HOLD_H
#define FL_SERVER_HOLD_H

#include <stdbool.h>
#include <stdint.h>

/* Depends on the batch that is being filled: the ticket that fl_batch_get_view() gives for it. */
#define HOLD_PENDING UINT64_MAX

enum { HOLD_MARKS_MAX = 8 };

struct hold_mark {
    uint64_t start;
    uint64_t ticket;
};

/* Marks are in order of both start and ticket. Zeroed: nothing is held. */
struct hold {
    unsigned count;
    struct hold_mark marks[HOLD_MARKS_MAX];
};

/* The bytes from `start` (not before the last mark's) depend on `ticket`; 0 holds nothing. When
 * there are too many marks the last one takes the new ticket: its bytes leave later than they
 * might, never earlier. */
void hold_add(struct hold *hold, uint64_t start, uint64_t ticket);

/* What was pending has been submitted under `ticket` (0: it is durable already). */
void hold_submitted(struct hold *hold, uint64_t ticket);

/* Everything up to `ticket` is durable. */
void hold_durable(struct hold *hold, uint64_t ticket);

/* Where the bytes that may leave end; `end` is where they end if nothing is held. */
static inline uint64_t
hold_limit(const struct hold *hold, uint64_t end)
{
    return hold->count > 0 ? hold->marks[0].start : end;
}

#endif

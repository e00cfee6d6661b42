#include "server/hold.h"

#include "base/fail.h"

#include <stddef.h>

void
hold_add(struct hold *hold, uint64_t start, uint64_t ticket)
{
    struct hold_mark *last = hold->count > 0 ? &hold->marks[hold->count - 1] : NULL;

    if (ticket == 0 || (last != NULL && last->ticket >= ticket)) {
        return; /* What comes before it holds it back as long. */
    }
    if (last != NULL && (last->start == start || hold->count == HOLD_MARKS_MAX)) {
        last->ticket = ticket;
        return;
    }
    FL_ASSERT(last == NULL || last->start < start);
    hold->marks[hold->count++] = (struct hold_mark){.start = start, .ticket = ticket};
}

void
hold_submitted(struct hold *hold, uint64_t ticket)
{
    if (hold->count > 0 && hold->marks[hold->count - 1].ticket == HOLD_PENDING) {
        struct hold_mark *last = &hold->marks[hold->count - 1];

        last->ticket = ticket;
        if (ticket == 0 || (hold->count > 1 && last[-1].ticket >= ticket)) {
            hold->count--;
        }
    }
}

void
hold_durable(struct hold *hold, uint64_t ticket)
{
    unsigned done = 0;

    while (done < hold->count && hold->marks[done].ticket <= ticket) {
        done++;
    }
    if (done > 0) {
        hold->count -= done;
        for (unsigned i = 0; i < hold->count; i++) {
            hold->marks[i] = hold->marks[i + done];
        }
    }
}

#include "tests/crash/memo.h"

#include "tests/lib/die.h"

#include <stdlib.h>
#include <string.h>

struct known {
    uint64_t hash; /* 0: free */
    uint64_t states;
    double images;
    bool sampled;
};

/* Open addressing, at most half full. */
struct explore_memo {
    struct known *known;
    size_t count, cap;
};

struct explore_memo *
explore_memo_create(void)
{
    struct explore_memo *memo = calloc(1, sizeof(*memo));

    if (memo == NULL) {
        die("memo: no memory");
    }
    return memo;
}

void
explore_memo_destroy(struct explore_memo *memo)
{
    if (memo != NULL) {
        free(memo->known);
        free(memo);
    }
}

static struct known *
slot_of(struct known *known, size_t cap, uint64_t hash)
{
    size_t i = (size_t)hash & (cap - 1);

    while (known[i].hash != 0 && known[i].hash != hash) {
        i = (i + 1) & (cap - 1);
    }
    return &known[i];
}

bool
memo_find(const struct explore_memo *memo, uint64_t hash, struct explore_counts *counts)
{
    if (memo->cap == 0) {
        return false;
    }
    const struct known *known = slot_of(memo->known, memo->cap, hash | 1);

    if (known->hash == 0) {
        return false;
    }
    memset(counts, 0, sizeof(*counts));
    counts->states = known->states;
    counts->states_sampled = known->sampled ? known->states : 0;
    counts->images = known->images;
    counts->points_known = 1;
    return true;
}

static void
grow(struct explore_memo *memo)
{
    const size_t cap = memo->cap == 0 ? 1024 : memo->cap * 2;
    struct known *known = calloc(cap, sizeof(*known));

    if (known == NULL) {
        die("memo: no memory");
    }
    for (size_t i = 0; i < memo->cap; i++) {
        if (memo->known[i].hash != 0) {
            *slot_of(known, cap, memo->known[i].hash) = memo->known[i];
        }
    }
    free(memo->known);
    memo->known = known;
    memo->cap = cap;
}

void
memo_add(struct explore_memo *memo, uint64_t hash, const struct explore_counts *counts)
{
    if (2 * (memo->count + 1) > memo->cap) {
        grow(memo);
    }
    struct known *known = slot_of(memo->known, memo->cap, hash | 1);

    memo->count += known->hash == 0;
    *known = (struct known){hash | 1, counts->states, counts->images, counts->states_sampled > 0};
}

/* What explore.c and again.c share. */
#ifndef FL_TESTS_CRASH_EXPLORE_INTERNAL_H
#define FL_TESTS_CRASH_EXPLORE_INTERNAL_H

#include "tests/crash/explore.h"

/* One level: a trace and the file that it began on. */
struct level {
    const struct trace *trace;
    struct media media;
    struct image image;  /* states are laid over it */
    struct image frozen; /* a state of which all is decided */
    struct state state;
    const struct trace_mark *mark;
    size_t from; /* points before it are left out */
    uint64_t signature;
    uint64_t wall_ms;
    enum state_policy policy;
    uint64_t salt, salt_rest;
    uint64_t states; /* of this moment */
    double images;
};

struct explorer {
    const struct explore_config *config;
    struct explore_result *result;
    const struct explore_place *replay;
    unsigned replay_count;
    const struct explore_calls *calls;
    struct explore_memo *memo;
    struct level *levels[EXPLORE_DEPTH_MAX];
    unsigned depth;
    struct mempool mempool;
    struct check check;
};

/* False, with the result filled in. */
bool explore_violation(struct explorer *x, struct level *level, const char *why);

/* A trace that began on this file, at x->depth. */
bool explore_level(struct explorer *x, const struct trace *trace, const uint8_t *bytes,
                   const uint8_t *exists, uint64_t size_bytes);

/* Record recovery from level->frozen and work after it, and explore that. */
bool explore_again(struct explorer *x, struct level *level, uint64_t hash);

#endif

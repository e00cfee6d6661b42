#include "tests/contract/contract.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LINE = 64, TAGS_MAX = 20 };

const struct scenario *
contract_scenario(unsigned n)
{
    const struct scenario *const parts[] = {scenarios_fault, scenarios_calls, scenarios_free,
                                            scenarios_life};

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        for (const struct scenario *s = parts[i]; s->name != NULL; s++) {
            if (n-- == 0) {
                return s;
            }
        }
    }
    return NULL;
}

const struct scenario *
contract_find(const char *name)
{
    const struct scenario *s;

    for (unsigned n = 0; (s = contract_scenario(n)) != NULL; n++) {
        if (strcmp(s->name, name) == 0) {
            return s;
        }
    }
    return NULL;
}

/* ---- saying ---- */

void
need(struct contract *t, bool condition, const char *format, ...)
{
    char text[200];
    va_list args;

    if (!condition) {
        va_start(args, format);
        (void)vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        t->broken(t, text);
    }
}

void
need_ok(struct contract *t, fl_status status, const char *what)
{
    need(t, status == FL_OK, "%s: %s, %s", what, fl_status_name(status), fl_last_error());
}

void
fact(struct contract *t, const char *name, const char *value)
{
    t->fact(t, name, value);
}

void
fact_bool(struct contract *t, const char *name, bool value)
{
    t->fact(t, name, value ? "yes" : "no");
}

void
fact_number(struct contract *t, const char *name, uint64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRIu64, value);
    t->fact(t, name, text);
}

void
fact_which(struct contract *t, const char *name, const char *found, const char *kept,
           const char *lost)
{
    const bool is_kept = strcmp(found, kept) == 0;

    need(t, is_kept || strcmp(found, lost) == 0, "found %s, neither %s nor %s", found, kept, lost);
    fact_bool(t, name, is_kept);
}

/* ---- doing ---- */

void
make_file(struct contract *t, const char *name, uint32_t blocks)
{
    const struct adapter_ops *ops = t->a->ops;

    need_ok(t, ops->create(t->a, name), "create");
    need_ok(t, ops->truncate(t->a, name, (uint64_t)blocks * BLOCK), "set the size");
    need_ok(t, ops->sync(t->a, name), "sync");
}

struct mapping *
map_file(struct contract *t, const char *name, uint32_t blocks, bool nosync)
{
    struct mapping *map = NULL;

    need_ok(t, t->a->ops->map(t->a, name, blocks, nosync, &map), "map");
    return map;
}

fl_status
try_put(struct contract *t, struct mapping *map, uint32_t block, char tag)
{
    char line[LINE];

    if (map == NULL) {
        return FL_INVALID;
    }
    memset(line, tag, sizeof(line));
    return t->a->ops->store(t->a, map, (uint64_t)block * BLOCK, line, sizeof(line));
}

void
put(struct contract *t, struct mapping *map, uint32_t block, char tag)
{
    need_ok(t, try_put(t, map, block, tag), "store");
}

void
flush(struct contract *t, struct mapping *map, uint32_t block)
{
    if (map != NULL) {
        need_ok(t, t->a->ops->flush(t->a, map, (uint64_t)block * BLOCK, LINE), "flush");
    }
    need_ok(t, t->a->ops->fence(t->a), "fence");
}

void
put_durably(struct contract *t, struct mapping *map, uint32_t block, char tag)
{
    put(t, map, block, tag);
    flush(t, map, block);
}

/* A line of one tag, or of zeros. */
static char
tag_of(const char *line)
{
    for (size_t i = 1; i < LINE; i++) {
        if (line[i] != line[0]) {
            return TORN;
        }
    }
    return line[0] == 0 ? NOTHING : line[0];
}

char
load_tag(struct contract *t, struct mapping *map, uint32_t block)
{
    char line[LINE] = {0};

    if (map == NULL ||
        t->a->ops->load(t->a, map, (uint64_t)block * BLOCK, line, sizeof(line)) != FL_OK) {
        return ABSENT;
    }
    return tag_of(line);
}

struct mapping *
make_mapped(struct contract *t, const char *name, uint32_t blocks)
{
    make_file(t, name, blocks);
    struct mapping *map = map_file(t, name, blocks, true);
    for (uint32_t i = 0; i < blocks; i++) {
        put_durably(t, map, i, (char)('A' + (int)i));
    }
    return map;
}

char
block_tag(struct contract *t, const char *name, uint32_t block)
{
    static const char zeros[BLOCK];
    char bytes[BLOCK] = {0};
    size_t done = 0;

    const fl_status status =
        t->a->ops->read(t->a, name, (uint64_t)block * BLOCK, bytes, sizeof(bytes), &done);
    if (status == FL_NOT_FOUND || (status == FL_OK && done < LINE)) {
        return ABSENT;
    }
    need_ok(t, status, "read");
    return memcmp(bytes + LINE, zeros, BLOCK - LINE) == 0 ? tag_of(bytes) : TORN;
}

const char *
tags(struct contract *t, const char *name, uint32_t blocks)
{
    static _Thread_local char text[4][TAGS_MAX + 1];
    static _Thread_local unsigned next;
    char *out = text[next++ % 4];

    for (uint32_t i = 0; i < blocks && i < TAGS_MAX; i++) {
        out[i] = block_tag(t, name, i);
        out[i + 1] = 0;
    }
    return out;
}

uint64_t
commits(struct contract *t)
{
    return t->a->ops->commits(t->a);
}

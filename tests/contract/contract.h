/* The contract's rules as code: each scenario runs up to a power cut, and looks afterwards at what is left.
 *
 * What a scenario finds is said in two ways. A need must hold everywhere: contents that nobody wrote, a neighbour
 * destroyed. A fact is a question that filesystems answer differently by design; facts.c says which answer each must
 * give, and why. A need that breaks and a fact that is not as written there both fail the test: also if Linux changes.
 */
#ifndef FL_TESTS_CONTRACT_CONTRACT_H
#define FL_TESTS_CONTRACT_CONTRACT_H

#include "tests/contract/adapter.h"

struct contract {
    struct adapter *a;
    const char *scenario;
    /* Where needs that broke and facts go. */
    void (*broken)(struct contract *t, const char *text);
    void (*fact)(struct contract *t, const char *name, const char *value);
    void *context;
};

struct scenario {
    const char *rule;
    const char *name;
    void (*run)(struct contract *t);
    void (*verify)(struct contract *t); /* after the power cut; NULL: none is needed */
};

/* All, ended by one without a name. */
extern const struct scenario scenarios_fault[];
extern const struct scenario scenarios_calls[];
extern const struct scenario scenarios_free[];
extern const struct scenario scenarios_life[];

/* The n-th of all of them, NULL behind the last. */
const struct scenario *contract_scenario(unsigned n);
const struct scenario *contract_find(const char *name);

/* What another process of a scenario does. NULL: no such body. */
struct contract_body {
    const char *name;
    int (*run)(struct adapter *a, struct mapping *inherited);
};
const struct contract_body *contract_body(const char *name);

/* ---- saying ---- */

void need(struct contract *t, bool condition, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void need_ok(struct contract *t, fl_status status, const char *what);
void fact(struct contract *t, const char *name, const char *value);
void fact_bool(struct contract *t, const char *name, bool value);
void fact_number(struct contract *t, const char *name, uint64_t value);

/* ---- doing ---- */

/* A file of `blocks` blocks that are all holes; durable, name and size. */
void make_file(struct contract *t, const char *name, uint32_t blocks);
struct mapping *map_file(struct contract *t, const char *name, uint32_t blocks, bool nosync);
/* One line of `tag` at the start of a block; flushed and fenced. */
void put(struct contract *t, struct mapping *map, uint32_t block, char tag);
void flush(struct contract *t, struct mapping *map, uint32_t block);
void put_durably(struct contract *t, struct mapping *map, uint32_t block, char tag);
fl_status try_put(struct contract *t, struct mapping *map, uint32_t block, char tag);
char load_tag(struct contract *t, struct mapping *map, uint32_t block);

/* A file whose blocks are 'A', 'B', ... through a no-sync mapping, which is returned; all durable. */
struct mapping *make_mapped(struct contract *t, const char *name, uint32_t blocks);

/* What a block begins with: a tag, NOTHING (zeros), ABSENT (no such file, or behind its end), or TORN, which is
 * neither one tag nor zeros all over the block behind its first line. */
enum { NOTHING = '0', ABSENT = '-', TORN = '?' };
char block_tag(struct contract *t, const char *name, uint32_t block);
/* The same for a number of blocks, as a string. Owner: static memory of this thread. */
const char *tags(struct contract *t, const char *name, uint32_t blocks);

uint64_t commits(struct contract *t);

/* "yes" if `tags` is `kept`, "no" if it is `lost`; else a need breaks. */
void fact_which(struct contract *t, const char *name, const char *found, const char *kept,
                const char *lost);

#endif

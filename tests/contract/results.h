/* What was found, column by column, against what each filesystem must answer. */
#ifndef FL_TESTS_CONTRACT_RESULTS_H
#define FL_TESTS_CONTRACT_RESULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum column { COLUMN_MODEL, COLUMN_CLIENT, COLUMN_EXT4, COLUMN_XFS, COLUMN_REFLINK, COLUMNS };
extern const char *const column_names[COLUMNS];

/* One question. NULL: not asked of this filesystem. */
struct expectation {
    const char *scenario;
    const char *fact;
    const char *model; /* in this process, and through the client library */
    const char *ext4;
    const char *xfs;
    const char *reflink; /* XFS with -m reflink=1 */
    const char *why;     /* where Linux differs by design, what it does instead */
    bool processes;      /* needs several: not asked of the model in this process */
};
extern const struct expectation expectations[]; /* ended by one without a scenario */

struct result {
    enum column column;
    char scenario[48];
    char fact[64];
    char values[3][32]; /* that were seen, in different states after a power cut */
    unsigned count;
};

struct results {
    struct result *list;
    size_t count;
    size_t capacity;
    unsigned broken; /* needs */
    bool ran[COLUMNS];
};

void results_fact(struct results *results, enum column column, const char *scenario,
                  const char *fact, const char *value);
/* Prints the text at once, up to a limit. */
void results_broken(struct results *results, enum column column, const char *scenario,
                    const char *text);
void results_free(struct results *results);

/* One line each: "fact COLUMN|SCENARIO|FACT|VALUE" or "broken COLUMN|SCENARIO|TEXT". Others are ignored. */
void results_read(struct results *results, FILE *in);
void results_write(const struct results *results, FILE *out);

/* As if every filesystem had been asked and given the answer that is expected of it. */
void results_expected(struct results *results);

/* A table of all questions, columns side by side, then what Linux does otherwise and why. */
void results_print(const struct results *results, bool markdown, FILE *out);

/* Answers that are missing, or not as expected, and facts that no question is about; each is printed to `out`. Of one
 * scenario, or with NULL of all. */
unsigned results_judge(const struct results *results, const char *scenario, FILE *out);

#endif

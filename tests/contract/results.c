#include "tests/contract/results.h"

#include "tests/contract/contract.h"
#include "tests/lib/die.h"

#include <stdlib.h>
#include <string.h>

enum { BROKEN_PRINTED_MAX = 20 };

const char *const column_names[COLUMNS] = {"model", "client", "ext4", "xfs", "xfs-reflink"};

static struct result *
find(const struct results *results, enum column column, const char *scenario, const char *fact)
{
    for (size_t i = 0; i < results->count; i++) {
        struct result *r = &results->list[i];
        if (r->column == column && strcmp(r->scenario, scenario) == 0 &&
            strcmp(r->fact, fact) == 0) {
            return r;
        }
    }
    return NULL;
}

static struct result *
add(struct results *results, enum column column, const char *scenario, const char *fact)
{
    if (results->count == results->capacity) {
        results->capacity = results->capacity == 0 ? 64 : results->capacity * 2;
        results->list = realloc(results->list, results->capacity * sizeof(*results->list));
        if (results->list == NULL) {
            die("no memory for results");
        }
    }
    struct result *r = &results->list[results->count++];
    *r = (struct result){.column = column};
    (void)snprintf(r->scenario, sizeof(r->scenario), "%s", scenario);
    (void)snprintf(r->fact, sizeof(r->fact), "%s", fact);
    return r;
}

void
results_fact(struct results *results, enum column column, const char *scenario, const char *fact,
             const char *value)
{
    struct result *r = find(results, column, scenario, fact);

    if (r == NULL) {
        r = add(results, column, scenario, fact);
    }
    results->ran[column] = true;
    for (unsigned i = 0; i < r->count; i++) {
        if (strcmp(r->values[i], value) == 0) {
            return;
        }
    }
    if (r->count < sizeof(r->values) / sizeof(r->values[0])) {
        (void)snprintf(r->values[r->count++], sizeof(r->values[0]), "%s", value);
    }
}

void
results_broken(struct results *results, enum column column, const char *scenario, const char *text)
{
    results->ran[column] = true;
    if (results->broken++ < BROKEN_PRINTED_MAX) {
        (void)printf("BROKEN %s, %s: %s\n", column_names[column], scenario, text);
    }
}

void
results_free(struct results *results)
{
    free(results->list);
    *results = (struct results){0};
}

/* ---- lines ---- */

static bool
column_of(const char *name, enum column *column)
{
    for (int i = 0; i < COLUMNS; i++) {
        if (strcmp(column_names[i], name) == 0) {
            *column = (enum column)i;
            return true;
        }
    }
    return false;
}

void
results_read(struct results *results, FILE *in)
{
    char line[512];

    while (fgets(line, sizeof(line), in) != NULL) {
        char kind[8];
        char name[16];
        char scenario[48];
        char rest[256];
        enum column column;
        line[strcspn(line, "\r\n")] = 0;
        if (sscanf(line, "%7s %15[^|]|%47[^|]|%255[^\n]", kind, name, scenario, rest) != 4 ||
            !column_of(name, &column)) {
            continue;
        }
        char *value = strchr(rest, '|');
        if (strcmp(kind, "broken") == 0) {
            results_broken(results, column, scenario, rest);
        } else if (strcmp(kind, "fact") == 0 && value != NULL) {
            *value++ = 0;
            results_fact(results, column, scenario, rest, value);
        }
    }
}

void
results_write(const struct results *results, FILE *out)
{
    for (size_t i = 0; i < results->count; i++) {
        const struct result *r = &results->list[i];
        for (unsigned v = 0; v < r->count; v++) {
            (void)fprintf(out, "fact %s|%s|%s|%s\n", column_names[r->column], r->scenario, r->fact,
                          r->values[v]);
        }
    }
}

/* ---- judging ---- */

static const char *
expected(const struct expectation *e, enum column column)
{
    switch (column) {
    case COLUMN_MODEL:
        return e->processes ? NULL : e->model;
    case COLUMN_CLIENT:
        return e->model;
    case COLUMN_EXT4:
        return e->ext4;
    case COLUMN_XFS:
        return e->xfs;
    case COLUMN_REFLINK:
        return e->reflink;
    case COLUMNS:
    default:
        return NULL;
    }
}

void
results_expected(struct results *results)
{
    for (const struct expectation *e = expectations; e->scenario != NULL; e++) {
        for (int c = 0; c < COLUMNS; c++) {
            const char *wanted = expected(e, (enum column)c);
            if (wanted != NULL) {
                results_fact(results, (enum column)c, e->scenario, e->fact, wanted);
            }
        }
    }
}

/* What was seen, as one word or two; "" if nothing. */
static const char *
seen(const struct results *results, enum column column, const struct expectation *e, char *text,
     size_t size)
{
    const struct result *r = find(results, column, e->scenario, e->fact);

    text[0] = 0;
    for (unsigned i = 0; r != NULL && i < r->count; i++) {
        const size_t used = strlen(text);
        (void)snprintf(text + used, size - used, "%s%s", i > 0 ? " or " : "", r->values[i]);
    }
    return text;
}

static bool
is_right(const char *wanted, const char *found)
{
    const bool both = strcmp(found, "yes or no") == 0 || strcmp(found, "no or yes") == 0;

    return wanted == NULL || strcmp(wanted, found) == 0 || (strcmp(wanted, "either") == 0 && both);
}

static const struct expectation *
expectation_of(const struct result *r)
{
    for (const struct expectation *e = expectations; e->scenario != NULL; e++) {
        if (strcmp(e->scenario, r->scenario) == 0 && strcmp(e->fact, r->fact) == 0) {
            return e;
        }
    }
    return NULL;
}

unsigned
results_judge(const struct results *results, const char *scenario, FILE *out)
{
    unsigned wrong = results->broken;
    char text[128];

    for (const struct expectation *e = expectations; e->scenario != NULL; e++) {
        for (int c = 0; c < COLUMNS; c++) {
            const char *wanted = expected(e, (enum column)c);
            const char *found = seen(results, (enum column)c, e, text, sizeof(text));
            if (results->ran[c] && (scenario == NULL || strcmp(scenario, e->scenario) == 0) &&
                !is_right(wanted, found)) {
                (void)fprintf(out, "WRONG %s, %s, %s: %s, not %s\n", column_names[c], e->scenario,
                              e->fact, found[0] != 0 ? found : "not found", wanted);
                wrong++;
            }
        }
    }
    for (size_t i = 0; i < results->count; i++) {
        const struct result *r = &results->list[i];
        const struct expectation *e = expectation_of(r);
        if (e == NULL || expected(e, r->column) == NULL) {
            (void)fprintf(out, "WRONG %s, %s, %s: %s, and nothing is expected\n",
                          column_names[r->column], r->scenario, r->fact, r->values[0]);
            wrong++;
        }
    }
    return wrong;
}

/* ---- the table ---- */

static const char *
rule_of(const char *scenario)
{
    const struct scenario *s = contract_find(scenario);

    return s != NULL ? s->rule : "?";
}

/* The column's text, with a mark if it is not as expected. */
static void
cell(const struct results *results, const struct expectation *e, enum column column, char *out,
     size_t size)
{
    char text[128];
    const char *found = seen(results, column, e, text, sizeof(text));
    const bool wrong = results->ran[column] && !is_right(expected(e, column), found);

    (void)snprintf(out, size, "%s%s", found[0] != 0 ? found : "-", wrong ? " (!)" : "");
}

static void
print_row(const struct results *results, const struct expectation *e, bool markdown, FILE *out)
{
    char text[COLUMNS][160];

    for (int c = 0; c < COLUMNS; c++) {
        cell(results, e, (enum column)c, text[c], sizeof(text[c]));
    }
    if (markdown) {
        (void)fprintf(out, "| %s | %s: %s |", rule_of(e->scenario), e->scenario, e->fact);
    } else {
        char question[128];
        (void)snprintf(question, sizeof(question), "%s: %s", e->scenario, e->fact);
        (void)fprintf(out, "%-4s %-74s", rule_of(e->scenario), question);
    }
    for (int c = 0; c < COLUMNS; c++) {
        if (results->ran[c]) {
            (void)fprintf(out, markdown ? " %s |" : " %-16s", text[c]);
        }
    }
    (void)fprintf(out, "\n");
}

static void
print_head(const struct results *results, bool markdown, FILE *out)
{
    (void)fprintf(out, markdown ? "| rule | question |" : "%-4s %-74s", "rule", "question");
    for (int c = 0; c < COLUMNS; c++) {
        if (results->ran[c]) {
            (void)fprintf(out, markdown ? " %s |" : " %-16s", column_names[c]);
        }
    }
    (void)fprintf(out, "\n");
    if (markdown) {
        (void)fprintf(out, "|---|---|");
        for (int c = 0; c < COLUMNS; c++) {
            (void)fprintf(out, "%s", results->ran[c] ? "---|" : "");
        }
        (void)fprintf(out, "\n");
    }
}

void
results_print(const struct results *results, bool markdown, FILE *out)
{
    print_head(results, markdown, out);
    for (const struct expectation *e = expectations; e->scenario != NULL; e++) {
        print_row(results, e, markdown, out);
    }
    (void)fprintf(out, "\nWhere Linux differs by design:\n\n");
    for (const struct expectation *e = expectations; e->scenario != NULL; e++) {
        if (e->why != NULL) {
            (void)fprintf(out, "%s%s, %s: %s. %s\n", markdown ? "- " : "  ", rule_of(e->scenario),
                          e->scenario, e->fact, e->why);
        }
    }
}

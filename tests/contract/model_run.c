#include "tests/contract/model_run.h"

#include "tests/contract/contract.h"
#include "tests/contract/cuts.h"
#include "tests/contract/model_adapter.h"

#include <stdio.h>

enum { BLOCKS = 48 };

static void
on_broken(struct contract *t, const char *text)
{
    results_broken(t->context, COLUMN_MODEL, t->scenario, text);
}

static void
on_fact(struct contract *t, const char *name, const char *value)
{
    results_fact(t->context, COLUMN_MODEL, t->scenario, name, value);
}

static void
count_finding(void *context, const char *text)
{
    struct contract *t = context;

    t->broken(t, text);
}

/* What is left must mount, claim nothing contradictory, and answer. */
static void
verify(struct contract *t, const struct scenario *scenario, struct model *m)
{
    uint64_t findings = 0;

    if (model_mount(m) != FL_OK) {
        need(t, false, "mount after the power cut: %s", fl_last_error());
        return;
    }
    const fl_status status = mfs_check(mfs_media_persisted(m->media),
                                       mfs_media_size_bytes(m->media), count_finding, t, &findings);
    need(t, status == FL_OK, "check: %s", fl_last_error());
    scenario->verify(t);
    model_abandon(m);
}

void
model_run(struct results *results, const struct scenario *scenario, enum mfs_mutant mutant,
          struct model_figures *figures)
{
    struct model m;
    struct cuts cuts;

    model_create(&m, BLOCKS, mutant);
    struct contract t = {.a = &m.adapter,
                         .scenario = scenario->name,
                         .broken = on_broken,
                         .fact = on_fact,
                         .context = results};
    results->ran[COLUMN_MODEL] = true;
    scenario->run(&t);
    figures->scenarios++;
    const struct cuts_area area = {.data_off = mfs_data_off(m.fs)};
    model_abandon(&m);
    if (scenario->verify != NULL) {
        cuts_begin(&cuts, m.media, &area);
        while (cuts_next(&cuts)) {
            figures->states++;
            verify(&t, scenario, &m);
        }
        cuts_end(&cuts);
    }
    model_destroy(&m);
}

#include "tests/crash/results.h"

#include <inttypes.h>
#include <string.h>

enum { MODES_MAX = 24 };

/* Runs of one mode, or mutants of one group, together. */
struct sum {
    const char *name;
    struct explore_counts counts;
    uint64_t runs, rounds, failed;
    double seconds;
    unsigned mutants, killed, killed_by_kills, explained;
};

static struct sum *
sum_of(struct sum *sums, unsigned *count, const char *name)
{
    for (unsigned i = 0; i < *count; i++) {
        if (strcmp(sums[i].name, name) == 0) {
            return &sums[i];
        }
    }
    if (*count == MODES_MAX) {
        return &sums[MODES_MAX - 1];
    }
    memset(&sums[*count], 0, sizeof(sums[0]));
    sums[*count].name = name;
    return &sums[(*count)++];
}

static unsigned
runs_sum(const struct results *results, struct sum *sums)
{
    unsigned count = 0;

    for (size_t i = 0; i < results->runs_count; i++) {
        const struct results_run *run = &results->runs[i];
        struct sum *sum = sum_of(sums, &count, run->mode);

        explore_counts_add(&sum->counts, &run->counts);
        sum->runs++;
        sum->rounds += run->rounds;
        sum->failed += run->failed;
        sum->seconds += run->seconds;
    }
    return count;
}

static unsigned
mutants_sum(const struct results *results, struct sum *sums)
{
    unsigned count = 0;

    for (size_t i = 0; i < results->mutants_count; i++) {
        const struct results_mutant *mutant = &results->mutants[i];
        struct sum *sum = sum_of(sums, &count, mutant->group);

        sum->mutants++;
        sum->killed += mutant->killed;
        sum->killed_by_kills += mutant->killed_by_kills;
        sum->explained += !mutant->killed && mutant->why[0] != '\0';
    }
    return count;
}

/* ---- text ---- */

static void
runs_text(const struct results *results, struct page *page)
{
    struct sum sums[MODES_MAX];
    const unsigned count = runs_sum(results, sums);

    page_add(page, "%-22s %9s %11s %11s %11s %10s %9s %10s %11s %10s\n", "crash states", "runs",
             "exhaustive", "sampled", "in recovery", "recoveries", "moments", "truncated",
             "not reached", "violations");
    for (unsigned i = 0; i < count; i++) {
        const struct explore_counts *c = &sums[i].counts;

        page_add(page,
                 "%-22s %9" PRIu64 " %11" PRIu64 " %11" PRIu64 " %11" PRIu64 " %10" PRIu64
                 " %9" PRIu64 " %10" PRIu64 " %11" PRIu64 " %10" PRIu64 "\n",
                 sums[i].name, sums[i].rounds, c->states - c->states_sampled, c->states_sampled,
                 c->states_within, c->recoveries, c->points, c->points_truncated,
                 c->points_unreached, sums[i].failed);
    }
}

static void
mutants_text(const struct results *results, struct page *page)
{
    struct sum sums[MODES_MAX];
    const unsigned count = mutants_sum(results, sums);

    page_add(page, "%-22s %9s %11s %11s %11s %10s\n", "mutants", "all", "killed", "explained",
             "survived", "by kills");
    for (unsigned i = 0; i < count; i++) {
        page_add(page, "%-22s %9u %11u %11u %11u %10u\n", sums[i].name, sums[i].mutants,
                 sums[i].killed, sums[i].explained,
                 sums[i].mutants - sums[i].killed - sums[i].explained, sums[i].killed_by_kills);
    }
}

static void
left_out_text(const struct results_run *run, struct page *page)
{
    const struct explore_counts *c = &run->counts;

    page_add(page,
             ", %s: %" PRIu64 " moments truncated, %" PRIu64 " not reached, %" PRIu64
             " stores taken together",
             run->mode, c->points_truncated, c->points_unreached, c->coarse);
}

void
results_text(const struct results *results, struct page *page)
{
    if (results->runs_count > 0) {
        runs_text(results, page);
    }
    if (results->mutants_count > 0) {
        mutants_text(results, page);
    }
    for (size_t i = 0; i < results->runs_count; i++) {
        const struct results_run *run = &results->runs[i];

        if (results_left_out(run)) {
            page_add(page, "NOT EXHAUSTIVE %s", run->name);
            left_out_text(run, page);
            page_add(page, "\n");
        }
        if (run->failed) {
            page_add(page, "VIOLATION %s, %s, seed %" PRIu64 ": %s\n", run->name, run->mode,
                     run->seed, run->why);
            if (run->replay[0] != '\0') {
                page_add(page, "  again: faultline-crash replay %s\n", run->replay);
            }
        }
    }
    for (size_t i = 0; i < results->mutants_count; i++) {
        const struct results_mutant *mutant = &results->mutants[i];

        if (!mutant->killed) {
            page_add(page, "survived: %s %s %s: %s\n", mutant->group, mutant->name, mutant->where,
                     mutant->why[0] != '\0' ? mutant->why : "NO REASON IS KNOWN");
        }
    }
}

/* ---- JSON ---- */

static void
json_text(struct page *page, const char *name, const char *value, const char *behind)
{
    page_add(page, "\"%s\": ", name);
    page_add_json(page, value);
    page_add(page, "%s", behind);
}

static void
run_json(const struct results_run *run, struct page *page)
{
    const struct explore_counts *c = &run->counts;

    page_add(page, "    {");
    json_text(page, "workload", run->name, ", ");
    json_text(page, "mode", run->mode, ", ");
    page_add(page,
             "\"seed\": %" PRIu64 ", \"rounds\": %" PRIu64 ", \"thread_switches\": %" PRIu64
             ", \"states\": %" PRIu64 ", \"states_sampled\": %" PRIu64
             ", \"states_in_recovery\": %" PRIu64 ", \"images_covered\": %.6g"
             ", \"recoveries\": %" PRIu64 ", \"used_on\": %" PRIu64 ", \"gone_on_from\": %" PRIu64
             ", \"moments\": %" PRIu64 ", \"moments_truncated\": %" PRIu64
             ", \"moments_known\": %" PRIu64 ", \"moments_not_reached\": %" PRIu64
             ", \"coarse\": %" PRIu64
             ", \"seconds\": %.3f, \"to_be_exhaustive\": %s, \"violation\": %s, ",
             run->seed, run->rounds, run->switches, c->states, c->states_sampled, c->states_within,
             c->images, c->recoveries, c->usable, c->again, c->points, c->points_truncated,
             c->points_known, c->points_unreached, c->coarse, run->seconds,
             run->exhaustive ? "true" : "false", run->failed ? "true" : "false");
    json_text(page, "why", run->why, ", ");
    json_text(page, "replay", run->replay, "}");
}

static void
mutant_json(const struct results_mutant *mutant, struct page *page)
{
    page_add(page, "    {");
    json_text(page, "group", mutant->group, ", ");
    json_text(page, "name", mutant->name, ", ");
    json_text(page, "where", mutant->where, ", ");
    page_add(page, "\"killed\": %s, \"killed_by_kills\": %s, ", mutant->killed ? "true" : "false",
             mutant->killed_by_kills ? "true" : "false");
    json_text(page, "why", mutant->why, "}");
}

void
results_json(const struct results *results, struct page *page)
{
    page_add(page, "{\n  \"version\": 1,\n  \"runs\": [\n");
    for (size_t i = 0; i < results->runs_count; i++) {
        run_json(&results->runs[i], page);
        page_add(page, "%s\n", i + 1 < results->runs_count ? "," : "");
    }
    page_add(page, "  ],\n  \"mutants\": [\n");
    for (size_t i = 0; i < results->mutants_count; i++) {
        mutant_json(&results->mutants[i], page);
        page_add(page, "%s\n", i + 1 < results->mutants_count ? "," : "");
    }
    page_add(page, "  ]\n}\n");
}

/* ---- HTML ---- */

static const char html_head[] =
    "<!doctype html><html lang=en><meta charset=utf-8><title>faultline-crash</title><style>"
    "body{font:14px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;"
    "color:#222;background:#fff}"
    "table{border-collapse:collapse;margin:.6rem 0}td,th{padding:.15rem .7rem;text-align:left;"
    "border-bottom:1px solid #ddd}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}"
    "tr.mark{background:#eef3fb}tr.cut td{background:#c62828;color:#fff;text-align:center}"
    "code,pre{font:12px/1.4 ui-monospace,monospace}pre{white-space:pre-wrap}"
    ".bad{color:#c62828;font-weight:600}.good{color:#2e7d32}"
    ".block{border:1px solid #bbb;border-radius:4px;padding:.4rem .6rem;margin:.4rem 0}"
    ".lines{display:grid;grid-template-columns:repeat(auto-fill,11px);gap:2px;margin:.3rem 0}"
    "i{display:inline-block;width:11px;height:11px;border-radius:2px;background:#eee}"
    "i.z{background:#eee}i.d{background:#90a4ae}i.k{background:#43a047}"
    "i.p{background:linear-gradient(135deg,#43a047 50%,#c62828 50%)}i.l{background:#c62828}"
    ".frames{font:12px/1.4 ui-monospace,monospace}.torn{color:#c62828}"
    "@media(prefers-color-scheme:dark){body{background:#151a1f;color:#dde}"
    "td,th{border-color:#333}tr.mark{background:#1d2a3a}i,i.z{background:#2a3138}"
    ".block{border-color:#444}}"
    "</style><h1>Crash states of Faultline</h1>\n"
    "<p>Explored exhaustively, or sampled where the table says so, under a stated model of x86 and "
    "of "
    "synchronous writes. It is no proof.</p>\n";

static void
runs_html(const struct results *results, struct page *page)
{
    struct sum sums[MODES_MAX];
    const unsigned count = runs_sum(results, sums);

    page_add(page, "<h2>Crash states</h2><table><tr><th>mode<th class=n>runs<th class=n>exhaustive"
                   "<th class=n>sampled<th class=n>in recovery<th class=n>recoveries"
                   "<th class=n>moments<th class=n>truncated<th class=n>not reached"
                   "<th class=n>violations</tr>\n");
    for (unsigned i = 0; i < count; i++) {
        const struct explore_counts *c = &sums[i].counts;

        page_add(page,
                 "<tr><td>%s<td class=n>%" PRIu64 "<td class=n>%" PRIu64 "<td class=n>%" PRIu64
                 "<td class=n>%" PRIu64 "<td class=n>%" PRIu64 "<td class=n>%" PRIu64
                 "<td class=n>%" PRIu64 "<td class=n>%" PRIu64 "<td class='n %s'>%" PRIu64
                 "</tr>\n",
                 sums[i].name, sums[i].rounds, c->states - c->states_sampled, c->states_sampled,
                 c->states_within, c->recoveries, c->points, c->points_truncated,
                 c->points_unreached, sums[i].failed > 0 ? "bad" : "good", sums[i].failed);
    }
    page_add(page, "</table>\n");
}

static void
violations_html(const struct results *results, const char *drawing, struct page *page)
{
    for (size_t i = 0; i < results->runs_count; i++) {
        const struct results_run *run = &results->runs[i];

        if (results_left_out(run)) {
            page_add(page, "<p class=bad>Not exhaustive: ");
            page_add_escaped(page, run->name);
            left_out_text(run, page);
            page_add(page, "</p>\n");
        }
        if (!run->failed) {
            continue;
        }
        page_add(page, "<h2 class=bad>Violation: ");
        page_add_escaped(page, run->name);
        page_add(page, ", %s, seed %" PRIu64 "</h2><p>", run->mode, run->seed);
        page_add_escaped(page, run->why);
        page_add(page, "</p><p>Again: <code>faultline-crash replay ");
        page_add_escaped(page, run->replay);
        page_add(page, "</code></p>\n");
    }
    if (drawing != NULL) {
        page_add(page, "%s", drawing);
    }
}

static void
mutants_html(const struct results *results, struct page *page)
{
    struct sum sums[MODES_MAX];
    const unsigned count = mutants_sum(results, sums);

    page_add(page, "<h2>Mutants</h2><table><tr><th>group<th class=n>all<th class=n>killed"
                   "<th class=n>explained<th class=n>survived<th class=n>by kills</tr>\n");
    for (unsigned i = 0; i < count; i++) {
        page_add(page,
                 "<tr><td>%s<td class=n>%u<td class=n>%u<td class=n>%u<td class=n>%u"
                 "<td class=n>%u</tr>\n",
                 sums[i].name, sums[i].mutants, sums[i].killed, sums[i].explained,
                 sums[i].mutants - sums[i].killed - sums[i].explained, sums[i].killed_by_kills);
    }
    page_add(page, "</table><table><tr><th>mutant<th>where<th>explorer<th>kills<th>why</tr>\n");
    for (size_t i = 0; i < results->mutants_count; i++) {
        const struct results_mutant *m = &results->mutants[i];

        page_add(page, "<tr><td>%s<td><code>", m->name);
        page_add_escaped(page, m->where);
        page_add(page, "</code><td class=%s>%s<td>%s<td>", m->killed ? "good" : "bad",
                 m->killed ? "killed" : "survived", m->killed_by_kills ? "killed" : "");
        page_add_escaped(page, m->why);
        page_add(page, "</tr>\n");
    }
    page_add(page, "</table>\n");
}

void
results_html(const struct results *results, const char *drawing, struct page *page)
{
    page_add(page, "%s", html_head);
    if (results->runs_count > 0) {
        runs_html(results, page);
    }
    violations_html(results, drawing, page);
    if (results->mutants_count > 0) {
        mutants_html(results, page);
    }
    page_add(page, "</html>\n");
}

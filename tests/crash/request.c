#include "tests/crash/request.h"

#include "tests/crash/user.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPT_KIND = 256,
    OPT_PLAIN,
    OPT_WEAK,
    OPT_EXHAUSTIVE,
    OPT_QUICK,
    OPT_DIGEST,
    OPT_PLANTED,
    OPT_AUTOMATIC,
    OPT_SEED,
    OPT_STATES,
    OPT_USABLE,
    OPT_AGAIN,
    OPT_DEPTH,
    OPT_ROUNDS,
    OPT_BUDGET,
    OPT_SECONDS,
    OPT_AT,
    OPT_WITHOUT,
    OPT_ONLY,
    OPT_SAVE,
    OPT_JSON,
    OPT_HTML,
};

static const struct option long_options[] = {
    {"kind", required_argument, NULL, OPT_KIND},
    {"plain", no_argument, NULL, OPT_PLAIN},
    {"weak", no_argument, NULL, OPT_WEAK},
    {"exhaustive", no_argument, NULL, OPT_EXHAUSTIVE},
    {"quick", no_argument, NULL, OPT_QUICK},
    {"digest", no_argument, NULL, OPT_DIGEST},
    {"planted", no_argument, NULL, OPT_PLANTED},
    {"automatic", no_argument, NULL, OPT_AUTOMATIC},
    {"seed", required_argument, NULL, OPT_SEED},
    {"states", required_argument, NULL, OPT_STATES},
    {"usable", required_argument, NULL, OPT_USABLE},
    {"again", required_argument, NULL, OPT_AGAIN},
    {"depth", required_argument, NULL, OPT_DEPTH},
    {"rounds", required_argument, NULL, OPT_ROUNDS},
    {"budget", required_argument, NULL, OPT_BUDGET},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"at", required_argument, NULL, OPT_AT},
    {"without", required_argument, NULL, OPT_WITHOUT},
    {"only", required_argument, NULL, OPT_ONLY},
    {"save", required_argument, NULL, OPT_SAVE},
    {"json", required_argument, NULL, OPT_JSON},
    {"html", required_argument, NULL, OPT_HTML},
    {"output", required_argument, NULL, 'o'},
    {"quiet", no_argument, NULL, 'q'},
    {NULL, 0, NULL, 0},
};

static bool
number(const char *name, const char *text, uint64_t most, uint64_t *to)
{
    char *end = NULL;

    errno = 0;
    *to = strtoull(text, &end, 10);
    if (errno == 0 && end != text && *end == '\0' && text[0] != '-' && *to <= most) {
        return true;
    }
    (void)fprintf(stderr, "faultline-crash: --%s: \"%s\" is no number from 0 to %" PRIu64 "\n",
                  name, text, most);
    return false;
}

static bool
kind_parse(struct request *request, const char *text)
{
    if (strcmp(text, "dax") == 0) {
        request->kinds = REQUEST_DAX;
    } else if (strcmp(text, "page") == 0) {
        request->kinds = REQUEST_PAGE_KIND;
    } else if (strcmp(text, "both") == 0) {
        request->kinds = REQUEST_DAX | REQUEST_PAGE_KIND;
    } else {
        (void)fprintf(stderr, "faultline-crash: --kind is dax, page or both, not \"%s\"\n", text);
        return false;
    }
    return true;
}

static bool
numeric_option(struct request *request, int option, const char *text)
{
    enum { SECONDS_MAX = 7 * 24 * 3600 };
    uint64_t value = 0;

    switch (option) {
    case OPT_SEED:
        return number("seed", text, UINT64_MAX, &request->seed);
    case OPT_STATES:
        return number("states", text, UINT32_MAX, &request->states);
    case OPT_USABLE:
        return number("usable", text, UINT32_MAX, &request->usable);
    case OPT_AGAIN:
        return number("again", text, UINT32_MAX, &request->again);
    case OPT_ROUNDS:
        return number("rounds", text, UINT32_MAX, &request->rounds);
    case OPT_BUDGET:
        return number("budget", text, UINT64_MAX, &request->budget);
    case OPT_DEPTH:
        if (!number("depth", text, EXPLORE_DEPTH_MAX - 1, &value)) {
            return false;
        }
        request->depth = (unsigned)value;
        return true;
    default:
        if (!number("seconds", text, SECONDS_MAX, &value)) {
            return false;
        }
        request->seconds = (unsigned)value;
        return true;
    }
}

static bool
option_take(struct request *request, int option)
{
    switch (option) {
    case OPT_KIND:
        return kind_parse(request, optarg);
    case OPT_PLAIN:
        request->plain = true;
        return true;
    case OPT_WEAK:
        request->weak = true;
        return true;
    case OPT_EXHAUSTIVE:
        request->exhaustive = true;
        return true;
    case OPT_QUICK:
        request->quick = true;
        return true;
    case OPT_DIGEST:
        request->digest = true;
        return true;
    case OPT_PLANTED:
        request->planted_only = true;
        return true;
    case OPT_AUTOMATIC:
        request->automatic_only = true;
        return true;
    case OPT_AT:
        request->at = optarg;
        return true;
    case OPT_WITHOUT:
        request->left_out = optarg;
        return true;
    case OPT_ONLY:
        request->only = optarg;
        return true;
    case OPT_SAVE:
        request->save = optarg;
        return true;
    case OPT_JSON:
        request->json = optarg;
        return true;
    case OPT_HTML:
        request->html = optarg;
        return true;
    case 'o':
        request->output = optarg;
        return true;
    case 'q':
        request->quiet = true;
        return true;
    case '?':
        (void)fprintf(stderr, "faultline-crash: --help tells what there is\n");
        return false;
    default:
        return numeric_option(request, option, optarg);
    }
}

bool
request_parse(struct request *request, int argc, char **argv)
{
    int option;

    *request = (struct request){.kinds = REQUEST_DAX,
                                .seed = 1,
                                .states = 256,
                                .usable = 48,
                                .again = 600,
                                .depth = 1,
                                .rounds = 1};
    while ((option = getopt_long(argc, argv, "o:q", long_options, NULL)) != -1) {
        if (!option_take(request, option)) {
            return false;
        }
    }
    for (; optind < argc; optind++) {
        if (request->names_count == REQUEST_NAMES_MAX) {
            (void)fprintf(stderr, "faultline-crash: more than %d names\n", REQUEST_NAMES_MAX);
            return false;
        }
        request->names[request->names_count++] = argv[optind];
    }
    return true;
}

/* ---- workloads ---- */

unsigned
request_targets(const struct request *request, struct request_target *targets)
{
    unsigned count = 0;

    if (request->names_count == 0) {
        for (unsigned i = 0; i < workloads_count && count < REQUEST_NAMES_MAX; i++) {
            targets[count++] = (struct request_target){&workloads[i], NULL, workloads[i].name};
        }
        return count;
    }
    for (unsigned i = 0; i < request->names_count; i++) {
        const char *name = request->names[i];
        struct request_target target = {workload_find(name), NULL, name};

        if (target.workload == NULL && strchr(name, '/') == NULL && strstr(name, ".so") == NULL) {
            (void)fprintf(stderr,
                          "faultline-crash: there is no workload \"%s\"; --help names those that "
                          "there are, and one of yours is a shared object: ./%s.so\n",
                          name, name);
            return 0;
        }
        if (target.workload == NULL) {
            char why[RESULTS_TEXT];

            target.user = user_load(name, why, sizeof(why));
            if (target.user == NULL) {
                (void)fprintf(stderr, "faultline-crash: %s\n", why);
                return 0;
            }
        }
        targets[count++] = target;
    }
    return count;
}

void
request_job(const struct request *request, const struct request_target *target,
            enum request_kind kind, struct apart_job *job)
{
    enum { HANG_SECONDS = 60, EXHAUSTIVE_STATES = 1 << 20 };

    memset(job, 0, sizeof(*job));
    job->config = (struct explore_config){
        .name = target->name,
        .user = target->user,
        .mode = kind == REQUEST_PAGE_KIND ? PM_STAGED : PM_DIRECT,
        .plain = request->plain,
        .weak = request->weak,
        .seed = request->seed,
        .states_max = request->exhaustive ? EXHAUSTIVE_STATES : request->states,
        .usable_every = request->usable,
        .again_every = request->exhaustive ? 0 : request->again,
        .depth_max = request->depth,
    };
    if (target->workload != NULL) {
        job->config.geometry = target->workload->geometry;
    }
    job->workload = target->workload;
    job->rounds = request->rounds;
    job->budget = request->budget;
    job->seconds = request->seconds;
    job->hang_seconds = HANG_SECONDS;
    job->loud = true;
}

const char *
request_mode(const struct request *request, const struct request_target *target,
             enum request_kind kind)
{
    const bool threads = target->workload != NULL && target->workload->threads;

    if (kind == REQUEST_PAGE_KIND) {
        return threads ? "page, threads" : request->exhaustive ? "page, exhaustive" : "page";
    }
    if (request->plain) {
        return "dax, plain mapping";
    }
    if (threads) {
        return request->weak ? "dax, weak, threads" : "dax, threads";
    }
    if (request->weak) {
        return request->exhaustive ? "dax, weak, exhaustive" : "dax, weak";
    }
    return request->exhaustive ? "dax, exhaustive" : "dax";
}

void
request_replay(const struct request *request, const struct request_target *target,
               enum request_kind kind, const struct apart_outcome *outcome, char *text, size_t size)
{
    char place[RESULTS_PLACE];

    explore_place_text(outcome->result.place, outcome->result.depth, place, sizeof(place));
    (void)snprintf(text, size, "%s%s%s%s --seed %" PRIu64 " --at '%s'", target->name,
                   kind == REQUEST_PAGE_KIND ? " --kind page" : "", request->weak ? " --weak" : "",
                   request->plain ? " --plain" : "", outcome->seed, place);
}

/* ---- reports ---- */

static bool
page_write(const struct page *page, const char *name)
{
    FILE *file = strcmp(name, "-") == 0 ? stdout : fopen(name, "w");

    if (file == NULL || fwrite(page->text, 1, page->used, file) != page->used ||
        (file == stdout ? fflush(file) : fclose(file)) != 0) {
        (void)fprintf(stderr, "faultline-crash: %s: %s\n", name, strerror(errno));
        return false;
    }
    return true;
}

static bool
wants_stdout(const char *name)
{
    return name != NULL && strcmp(name, "-") == 0;
}

int
request_report(const struct request *request, const struct results *results, const char *drawing)
{
    struct page *page = page_create(REQUEST_PAGE_BYTES);
    char why[RESULTS_TEXT];
    bool good = true;

    if (request->save != NULL && !results_save(results, request->save, why, sizeof(why))) {
        (void)fprintf(stderr, "faultline-crash: %s\n", why);
        good = false;
    }
    if (request->json != NULL) {
        results_json(results, page);
        good &= page_write(page, request->json);
        page->used = 0;
    }
    if (request->html != NULL) {
        results_html(results, drawing, page);
        good &= page_write(page, request->html);
        page->used = 0;
    }
    if (!wants_stdout(request->json) && !wants_stdout(request->html)) {
        results_text(results, page);
        good &= page_write(page, "-");
    }
    page_destroy(page);
    if (!good) {
        return EXIT_USAGE;
    }
    return results_wrong(results) > 0 ? EXIT_VIOLATION : EXIT_GOOD;
}

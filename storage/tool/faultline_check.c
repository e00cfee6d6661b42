/* faultline-check: reads a store, says what is wrong with it, and on request saves what validates.
 *
 * JSON is written by hand: the output is one flat object and a list, told as it is found, so that a file with
 * millions of findings needs no memory, and the tool for bad days depends on nothing but the store's library. */
#include <faultline/check.h>

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_CLEAN = 0, EXIT_DAMAGED = 1, EXIT_UNCHECKED = 2 };
enum { PROGRESS_FIRST_MS = 1000, PROGRESS_STEP_MS = 200 };
enum { OPT_REPAIR = 256, OPT_JSON };

struct tool {
    const char *path;
    bool repair, json, quiet;
    uint64_t findings_told;
    uint64_t begin_ms, progress_ms;
    bool progress_tty, progress_shown;
};

static const struct option long_options[] = {
    {"repair", no_argument, NULL, OPT_REPAIR}, {"json", no_argument, NULL, OPT_JSON},
    {"quiet", no_argument, NULL, 'q'},         {"version", no_argument, NULL, 'V'},
    {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0},
};

static const char help_text[] =
    "Usage: faultline-check [OPTION]... PATH\n"
    "\n"
    "Reads the whole store in the file PATH and reports every broken invariant, one a line: rule,\n"
    "offset and length in bytes, what it means and what to do. Writes nothing without --repair.\n"
    "The store must not be open elsewhere. PATH may be modelfs:DEVICE/NAME.\n"
    "\n"
    "      --repair   if there is damage, copy every key that can be read into a new file and put\n"
    "                 that in PATH's place; the damaged file stays as PATH.damaged\n"
    "      --json     report as one JSON object\n"
    "  -q, --quiet    report by the exit status alone\n"
    "  -V, --version  print the version\n"
    "  -h, --help     print this text\n"
    "\n"
    "Exit status: 0 clean, 1 damaged (with --repair: repaired), 2 could not check or repair: in "
    "use,\n"
    "no such file, not a store, made by a newer version, disk full, wrong usage.\n";

static uint64_t
mono_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* `text` as a JSON string. A path may hold any bytes: what isn't printable ASCII is written as \u00XX. */
static void
json_string(const char *text)
{
    putchar('"');
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\') {
            printf("\\%c", *p);
        } else if (*p < 0x20 || *p >= 0x7f) {
            printf("\\u%04x", *p);
        } else {
            putchar(*p);
        }
    }
    putchar('"');
}

static void
progress_clear(struct tool *tool)
{
    if (tool->progress_shown) {
        fputs("\r\033[K", stderr);
        tool->progress_shown = false;
    }
}

static void
on_progress(void *context, uint64_t done, uint64_t total)
{
    struct tool *tool = context;
    const uint64_t now = mono_ms();

    if (!tool->progress_tty || total == 0 || now - tool->begin_ms < PROGRESS_FIRST_MS ||
        now - tool->progress_ms < PROGRESS_STEP_MS) {
        return;
    }
    tool->progress_ms = now;
    tool->progress_shown = true;
    fprintf(stderr, "\rchecking: %" PRIu64 " of %" PRIu64 " MiB, %" PRIu64 " %%\033[K", done >> 20,
            total >> 20, (uint64_t)((double)done * 100.0 / (double)total));
}

static void
on_finding(void *context, const struct fl_check_finding *finding)
{
    struct tool *tool = context;

    if (tool->quiet) {
        return;
    }
    progress_clear(tool);
    if (!tool->json) {
        printf("%s at %" PRIu64 ", %" PRIu64 " bytes: %s\n", finding->rule, finding->off,
               finding->len, finding->text);
        return;
    }
    printf("%s{\"rule\":", tool->findings_told++ > 0 ? "," : "");
    json_string(finding->rule);
    printf(",\"off\":%" PRIu64 ",\"len\":%" PRIu64 ",\"text\":", finding->off, finding->len);
    json_string(finding->text);
    putchar('}');
}

/* How it ended, in words. */
static const char *
result_of(const struct tool *tool, fl_status status, const struct fl_check_report *report)
{
    if (status != FL_OK) {
        return report->findings > 0 ? "damaged, not repaired" : "not checked";
    }
    return report->findings == 0 ? "clean" : tool->repair ? "repaired" : "damaged";
}

static void
tell_json(const struct tool *tool, fl_status status, const struct fl_check_report *report)
{
    printf("],\"result\":\"%s\",\"findings_total\":%" PRIu64, result_of(tool, status, report),
           report->findings);
    if (status != FL_OK) {
        printf(",\"status\":\"%s\",\"error\":", fl_status_name(status));
        json_string(fl_last_error());
    }
    printf(",\"blocks\":%" PRIu64 ",\"records\":%" PRIu64 ",\"keys\":%" PRIu64
           ",\"bytes_checked\":%" PRIu64 "}\n",
           report->segments, report->records, report->keys, report->bytes_checked);
}

static void
tell_text(const struct tool *tool, fl_status status, const struct fl_check_report *report)
{
    if (status != FL_OK) {
        fprintf(stderr, "faultline-check: %s: %s: %s: %s\n", tool->path,
                result_of(tool, status, report), fl_status_name(status), fl_last_error());
        return;
    }
    if (tool->quiet) {
        return;
    }
    printf("%s: %s: %" PRIu64 " finding%s; %" PRIu64 " keys, %" PRIu64 " records, %" PRIu64
           " blocks in use, %" PRIu64 " bytes read\n",
           tool->path, result_of(tool, status, report), report->findings,
           report->findings == 1 ? "" : "s", report->keys, report->records, report->segments,
           report->bytes_checked);
    if (report->findings > 0 && tool->repair) {
        printf("%s holds what could be read; the damaged file is %s.damaged\n", tool->path,
               tool->path);
    } else if (report->findings > 0) {
        printf("faultline-check --repair %s saves what can be read\n", tool->path);
    }
}

static int
check(struct tool *tool)
{
    const struct fl_check_options options = {
        .struct_bytes = sizeof(options),
        .flags = FL_OPEN_SIGBUS,
        .finding = on_finding,
        .progress = on_progress,
        .context = tool,
    };
    struct fl_check_report report = {0};

    tool->begin_ms = mono_ms();
    tool->progress_tty = !tool->quiet && isatty(STDERR_FILENO);
    if (tool->json && !tool->quiet) {
        printf("{\"path\":");
        json_string(tool->path);
        printf(",\"findings\":[");
    }
    const fl_status status = tool->repair ? fl_check_repair(tool->path, &options, &report)
                                          : fl_check(tool->path, &options, &report);

    progress_clear(tool);
    if (tool->json && !tool->quiet) {
        tell_json(tool, status, &report);
    } else {
        tell_text(tool, status, &report);
    }
    if (fflush(stdout) != 0) {
        perror("faultline-check: writing the report");
        return EXIT_UNCHECKED;
    }
    if (status != FL_OK) {
        return EXIT_UNCHECKED;
    }
    return report.findings == 0 ? EXIT_CLEAN : EXIT_DAMAGED;
}

int
main(int argc, char **argv)
{
    struct tool tool = {0};

    for (int option; (option = getopt_long(argc, argv, "hqV", long_options, NULL)) != -1;) {
        switch (option) {
        case OPT_REPAIR:
            tool.repair = true;
            break;
        case OPT_JSON:
            tool.json = true;
            break;
        case 'q':
            tool.quiet = true;
            break;
        case 'V':
            printf("faultline-check %s\n", fl_version());
            return EXIT_CLEAN;
        case 'h':
            fputs(help_text, stdout);
            return EXIT_CLEAN;
        default:
            fputs("Try: faultline-check --help\n", stderr);
            return EXIT_UNCHECKED;
        }
    }
    if (argc - optind != 1) {
        fputs("faultline-check: name one file\nTry: faultline-check --help\n", stderr);
        return EXIT_UNCHECKED;
    }
    /* A repair exchanges files: what a link leads to, not the link. The names told are then those it makes. */
    char *real = tool.repair ? realpath(argv[optind], NULL) : NULL;

    tool.path = real != NULL ? real : argv[optind];
    const int result = check(&tool);

    free(real);
    return result;
}

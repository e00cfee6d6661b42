/* faultline-crash: what a power cut at any moment leaves of a store, and whether the store copes.
 *
 * Recording, the model of the media and the choice of states are described in docs/crash-testing.md. */
#include "tests/crash/request.h"
#include "tests/crash/user.h"

#include <stdio.h>
#include <string.h>

static const char help_text[] =
    "Usage: faultline-crash COMMAND [OPTION]... [WORKLOAD]...\n"
    "\n"
    "Runs a workload on a store while every store, flush and fence is recorded, then recovers from "
    "each\n"
    "state of the file that a power cut at any moment could have left, and checks what recovery "
    "shows.\n"
    "\n"
    "  explore [WORKLOAD]...  all crash states, or a sample of them where there are too many; all\n"
    "                         workloads if none is named. A failure is made smaller and printed "
    "as\n"
    "                         arguments of replay\n"
    "  replay WORKLOAD --at PLACE   one state again: what was lost, the events before it, the "
    "verdict\n"
    "  record WORKLOAD        what the workload does to the file, event by event (-o FILE); "
    "--digest: what\n"
    "                         is guaranteed after each fence\n"
    "  score [WORKLOAD]...    mutants: every flush and fence missing or out of place, and bugs "
    "planted by\n"
    "                         hand; who is found by exploring, and who by killing the process\n"
    "  report FILE...         add up what --save kept, and print it\n"
    "\n"
    "A WORKLOAD is one of those below, or a shared object of yours: ./mine.so, see "
    "crash_workload.h.\n"
    "\n"
    "  --kind KIND      dax (default: lines and fences), page (sectors and syncs), both\n"
    "  --weak           stores to one line have no order either, as a compiler may have it\n"
    "  --plain          a mapping without the no-sync promise: must lose a block\n"
    "  --exhaustive     leave no state out, however many there are; exit 1 if one was\n"
    "  --states N       states to try at one moment before it is sampled (256)\n"
    "  --usable N       on one in N states go on: check, fill, empty, check again (48)\n"
    "  --again N        from one in N states record recovery and work after it, and explore that "
    "(600)\n"
    "  --depth N        of such recordings within one another, up to 3 (1)\n"
    "  --seed N         of what is random, threads' schedules too (1)\n"
    "  --rounds N       go through so many seeds (1)\n"
    "  --budget N       stop a workload after so many recoveries\n"
    "  --seconds N      stop a workload after so long\n"
    "  --quick          score: missing flushes and fences only, and not where it is known to be "
    "harmless\n"
    "  --automatic, --planted   score: only these mutants\n"
    "  --only NAME      score: only the mutants of this name\n"
    "  --at PLACE, --without SET    replay: as explore prints them\n"
    "  --save FILE      append the results to FILE, for report\n"
    "  --json FILE, --html FILE     reports; - is standard output\n"
    "  -q, --quiet      no progress\n"
    "\n"
    "Exit status: 0 all is well, 1 a crash state broke a promise or a mutant survived without a "
    "known\n"
    "reason, 2 it could not be done.\n"
    "\n"
    "Workloads:\n";

static void
help(void)
{
    (void)fputs(help_text, stdout);
    for (unsigned i = 0; i < workloads_count; i++) {
        (void)printf("  %-16s %s\n", workloads[i].name, workloads[i].what);
    }
}

static const struct {
    const char *name;
    int (*run)(const struct request *request);
} commands[] = {
    {"explore", cmd_explore}, {"replay", cmd_replay}, {"record", cmd_record},
    {"score", cmd_score},     {"report", cmd_report},
};

int
main(int argc, char **argv)
{
    struct request request;

    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        help();
        return argc < 2 ? EXIT_USAGE : EXIT_GOOD;
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)printf("faultline-crash %s\n", fl_version());
        return EXIT_GOOD;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            if (argc > 2 && strcmp(argv[2], "--help") == 0) {
                help();
                return EXIT_GOOD;
            }
            if (!request_parse(&request, argc - 1, argv + 1)) {
                return EXIT_USAGE;
            }
            explore_settle_process();
            return commands[i].run(&request);
        }
    }
    (void)fprintf(stderr, "faultline-crash: no command \"%s\"; --help tells what there is\n",
                  argv[1]);
    return EXIT_USAGE;
}

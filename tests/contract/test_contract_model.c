/* Goal:   the model filesystem keeps rules C1 to C17, whatever lines a power cut takes.
 * Method: each scenario runs on a fresh device with page tables in memory; then the power is cut in every way that the
 *         media model allows, each time what is left is mounted, checked, and asked. Answers are compared
 *         with expectations.c. With a name, only that scenario.
 *
 *         test_contract_model [--lines] [SCENARIO]     --lines: for contract_report
 */
#include "tests/contract/contract.h"
#include "tests/contract/model_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool
is_wanted(const struct scenario *s, int argc, char **argv)
{
    return argc == 1 || argv[argc - 1][0] == '-' || strcmp(argv[argc - 1], s->name) == 0;
}

int
main(int argc, char **argv)
{
    struct results results = {0};
    struct model_figures figures = {0};
    const struct scenario *s;

    for (unsigned n = 0; (s = contract_scenario(n)) != NULL; n++) {
        if (is_wanted(s, argc, argv)) {
            model_run(&results, s, MFS_MUTANT_NONE, &figures);
        }
    }
    const bool lines = argc > 1 && strcmp(argv[1], "--lines") == 0;
    if (lines) {
        results_write(&results, stdout);
    } else {
        results_print(&results, false, stdout);
    }
    const bool one = argc > 1 && argv[argc - 1][0] != '-';
    const unsigned wrong = results_judge(&results, one ? argv[argc - 1] : NULL, stderr);
    (void)printf("%" PRIu64 " scenarios, %" PRIu64
                 " states after a power cut: all there are; %u answers wrong\n",
                 figures.scenarios, figures.states, wrong);
    results_free(&results);
    return wrong == 0 ? 0 : 1;
}

/* Goal:   the model filesystem keeps rules C1 to C17, whatever lines a power cut takes.
 * Method: each scenario runs on a fresh device with page tables in memory; then the power is cut in every way that the
 *         media model allows, each time what is left is mounted, checked, and asked. Answers are compared
 *         with expectations.c. With arguments, only the scenarios named run, and all answers are printed.
 *
 *         test_contract_model [--lines] [SCENARIO...]     --lines: for contract_report
 */
#include "tests/contract/contract.h"
#include "tests/contract/model_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool
is_wanted(const struct scenario *s, int argc, char **argv)
{
    bool named = false;

    for (int i = 1; i < argc; i++) {
        named |= argv[i][0] != '-';
        if (strcmp(argv[i], s->name) == 0) {
            return true;
        }
    }
    return !named;
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
    const unsigned wrong = results_judge(&results, stderr);
    (void)printf("%" PRIu64 " scenarios, %" PRIu64
                 " states after a power cut: all there are; %u answers wrong\n",
                 figures.scenarios, figures.states, wrong);
    results_free(&results);
    return wrong == 0 ? 0 : 1;
}

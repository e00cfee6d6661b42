/* The table of answers, columns side by side, from what tests printed: contract_report [--markdown] [FILE...], standard
 * input without one. Exit 1: an answer is not as expected. */
#include "tests/contract/results.h"
#include "tests/lib/die.h"

#include <string.h>

int
main(int argc, char **argv)
{
    struct results results = {0};
    const bool markdown = argc > 1 && strcmp(argv[1], "--markdown") == 0;
    const int first = markdown ? 2 : 1;

    for (int i = first; i < argc; i++) {
        FILE *in = fopen(argv[i], "re");
        if (in == NULL) {
            die_errno("open %s", argv[i]);
        }
        results_read(&results, in);
        (void)fclose(in);
    }
    if (first == argc) {
        results_read(&results, stdin);
    }
    results_print(&results, markdown, stdout);
    (void)fflush(stdout);
    const unsigned wrong = results_judge(&results, NULL, stderr);
    (void)printf("\n%zu answers, %u wrong\n", results.count, wrong);
    results_free(&results);
    return wrong == 0 ? 0 : 1;
}

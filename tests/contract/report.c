/* The table of answers, columns side by side. Exit 1: an answer is not as expected.
 *
 *   contract_report [--markdown] [FILE...]     from what tests printed; standard input without a file
 *   contract_report [--markdown] --expected    what they must print
 */
#include "tests/contract/results.h"
#include "tests/lib/die.h"

#include <string.h>

static void
read_file(struct results *results, const char *path)
{
    FILE *in = fopen(path, "re");

    if (in == NULL) {
        die_errno("open %s", path);
    }
    results_read(results, in);
    (void)fclose(in);
}

int
main(int argc, char **argv)
{
    struct results results = {0};
    const bool markdown = argc > 1 && strcmp(argv[1], "--markdown") == 0;
    const int first = markdown ? 2 : 1;
    const bool wanted = argc > first && strcmp(argv[first], "--expected") == 0;

    if (wanted) {
        results_expected(&results);
    } else if (first == argc) {
        results_read(&results, stdin);
    }
    for (int i = first; i < argc && !wanted; i++) {
        read_file(&results, argv[i]);
    }
    results_print(&results, markdown, stdout);
    (void)fflush(stdout);
    const unsigned wrong = results_judge(&results, NULL, stderr);
    if (!wanted) {
        (void)printf("\n%zu answers, %u wrong\n", results.count, wrong);
    }
    results_free(&results);
    return wrong == 0 ? 0 : 1;
}

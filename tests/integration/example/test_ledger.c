/* Goal:   the example of docs/embedding.md works as it stands, and goes on where it was when run again.
 * Method: the program is built from docs/ and run three times on one store; its output is compared. */
#include "tests/lib/child.h"
#include "tests/lib/tmpdir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char *program;

static void
ledger_run_again_goes_on(void **state)
{
    char path[TMPDIR_PATH_BYTES];
    struct tmpdir dir;

    (void)state;
    tmpdir_create(&dir);
    tmpdir_join(&dir, "ledger.store", path);
    for (int run = 1; run <= 3; run++) {
        char *argv[] = {program, path, NULL};
        char out[4096];
        char want[64];
        struct child child;

        child_start(&child, argv);
        assert_true(child_wait(&child, 20000, out, sizeof(out)));
        assert_true(child_exited(&child, 0));
        snprintf(want, sizeof(want), "alice      %8d\nbank       %8d\nbob        %8d\n", 70 * run,
                 -100 * run, 30 * run);
        assert_non_null(strstr(out, "survives powercut"));
        assert_non_null(strstr(out, want));
    }
    tmpdir_destroy(&dir);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ledger_run_again_goes_on)};

    if (argc != 2) {
        return 2;
    }
    program = argv[1];
    return cmocka_run_group_tests_name("example_ledger", tests, NULL, NULL);
}

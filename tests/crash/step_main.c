/* crash_step WORKLOAD...: record with recorder B, and print what media was guaranteed to hold, and what loads saw,
 * after each fence: the same lines as `faultline-crash record --digest` prints of recorder A. */
#include "tests/crash/digest.h"
#include "tests/crash/record.h"
#include "tests/crash/step.h"
#include "tests/lib/die.h"

#include <inttypes.h>
#include <stdio.h>

int
main(int argc, char **argv)
{
    const struct record_options options = {.stepped = true};

    for (int i = 1; i < argc; i++) {
        const struct workload *workload = workload_find(argv[i]);
        struct record record;

        if (workload == NULL || workload->threads) {
            die("no workload of one thread: %s", argv[i]);
        }
        record_workload(&record, workload, PM_DIRECT, 1, &options);
        if (record.wrong) {
            die("%s: %s", argv[i], record.why);
        }
        digest_print(stdout, workload, &record.trace);
        (void)fprintf(stderr, "%s: %" PRIu64 " stores stepped over\n", argv[i], step_stores());
        record_deinit(&record);
    }
    return 0;
}

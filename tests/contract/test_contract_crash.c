/* Goal:   wherever the power is cut in an operation of the model filesystem, recovery finds the state before or the one
 *         after, and nothing that was promised is lost: crash points 1 to 8 of the contract, and their like elsewhere.
 * Method: each operation runs again and again, up to its first step (a store, a flush or a fence of its), its second,
 *         and so on. At each the power is cut in every way: every choice of lines, and every mixture of words of each
 *         line of the journal. Each time the image is read without a mount, then mounted, checked, read, and recovered
 *         once more. Earlier owners' bytes are all over the device. With a name, only that operation.
 */
#include "tests/contract/crash.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const point_texts[CRASH_POINTS + 1] = {
    NULL,
    "after reserve or zeroing",
    "journal body written, no commit record",
    "torn commit record, or one that may be lost",
    "after commit, before the first store",
    "after the store, before the fence",
    "after flush and fence",
    "in a punch, after the zap, before the commit",
    "after the punch's commit",
};

int
main(int argc, char **argv)
{
    struct crash_figures all = {0};
    unsigned broken = 0;

    (void)printf("%-34s %8s %10s\n", "operation", "points", "states");
    for (const struct crash_op *op = crash_ops; op->name != NULL; op++) {
        struct crash_figures figures = {0};
        if (argc > 1 && strcmp(argv[1], op->name) != 0) {
            continue;
        }
        broken += crash_run(op, MFS_MUTANT_NONE, &figures);
        (void)printf("%-34s %8" PRIu64 " %10" PRIu64 "\n", op->name, figures.steps, figures.states);
        (void)fflush(stdout);
        all.steps += figures.steps;
        all.states += figures.states;
        for (int i = 1; i <= CRASH_POINTS; i++) {
            all.point_steps[i] += figures.point_steps[i];
            all.point_states[i] += figures.point_states[i];
        }
    }
    (void)printf("\n%-46s %8s %10s\n", "crash point", "points", "states");
    for (int i = 1; i <= CRASH_POINTS; i++) {
        (void)printf("%d %-44s %8" PRIu64 " %10" PRIu64 "\n", i, point_texts[i], all.point_steps[i],
                     all.point_states[i]);
        if (argc == 1 && all.point_steps[i] == 0) {
            (void)printf("BROKEN crash point %d was never met\n", i);
            broken++;
        }
    }
    (void)printf("\n%" PRIu64 " crash points, %" PRIu64 " states tried: all there are; %u broken\n",
                 all.steps, all.states, broken);
    return broken == 0 ? 0 : 1;
}

/* One scenario on a Linux filesystem, in a virtual machine.
 *
 *   contract_guest list                               name and whether there is something to verify, line by line
 *   contract_guest run COLUMN SCENARIO DIRECTORY      prints what was found, then "cut"; waits a moment, so that the
 *                                                     power can be cut while everything is still mapped
 *   contract_guest verify COLUMN SCENARIO DIRECTORY   after the next mount
 *
 * Lines "fact COLUMN|SCENARIO|FACT|VALUE" and "broken COLUMN|SCENARIO|TEXT" are for contract_report.
 */
#include "tests/contract/contract.h"
#include "tests/contract/kernel_adapter.h"
#include "tests/lib/die.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void
on_broken(struct contract *t, const char *text)
{
    (void)printf("broken %s|%s|%s\n", (const char *)t->context, t->scenario, text);
}

static void
on_fact(struct contract *t, const char *name, const char *value)
{
    (void)printf("fact %s|%s|%s|%s\n", (const char *)t->context, t->scenario, name, value);
}

static int
list(void)
{
    const struct scenario *s;

    for (unsigned n = 0; (s = contract_scenario(n)) != NULL; n++) {
        (void)printf("%s|%s|%s\n", s->rule, s->name, s->verify != NULL ? "verify" : "");
    }
    return 0;
}

int
main(int argc, char **argv)
{
    struct kernel kernel;

    if (argc == 2 && strcmp(argv[1], "list") == 0) {
        return list();
    }
    const struct scenario *scenario = argc == 5 ? contract_find(argv[3]) : NULL;
    const bool run = argc == 5 && strcmp(argv[1], "run") == 0;
    if (scenario == NULL || (!run && strcmp(argv[1], "verify") != 0)) {
        die("usage: contract_guest list | run|verify COLUMN SCENARIO DIRECTORY");
    }
    kernel_open(&kernel, argv[4]);
    struct contract t = {.a = &kernel.adapter,
                         .scenario = scenario->name,
                         .broken = on_broken,
                         .fact = on_fact,
                         .context = argv[2]};
    if (!run) {
        scenario->verify(&t);
        return 0;
    }
    scenario->run(&t);
    (void)printf("cut\n");
    (void)fflush(stdout);
    (void)nanosleep(&(struct timespec){.tv_nsec = 300 * 1000 * 1000}, NULL);
    _exit(0); /* what is mapped goes with the process */
}

/* Goal:   the rules hold through real page faults and from several processes: the model behind its client library.
 * Method: each scenario on a fresh device, hosted here, mapped by userfaultfd; then the power is cut, lines being lost
 *         by several seeds, and the device is hosted again. Answers are compared with expectations.c.
 *
 *         test_contract_client [--lines]     --lines: for contract_report
 */
#include "storage/modelfs/uffd.h"
#include "tests/contract/client_adapter.h"
#include "tests/contract/contract.h"
#include "tests/contract/results.h"
#include "tests/lib/die.h"
#include "tests/lib/tmpdir.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Nothing that can be lost is kept, everything is, and mixtures. */
static const uint64_t seeds[] = {0, UINT64_MAX, 1, 2};

static void
on_broken(struct contract *t, const char *text)
{
    results_broken(t->context, COLUMN_CLIENT, t->scenario, text);
}

static void
on_fact(struct contract *t, const char *name, const char *value)
{
    results_fact(t->context, COLUMN_CLIENT, t->scenario, name, value);
}

static void
run(struct results *results, const struct scenario *scenario, const char *path, uint64_t seed)
{
    struct client c;

    client_host(&c, path);
    struct contract t = {.a = &c.adapter,
                         .scenario = scenario->name,
                         .broken = on_broken,
                         .fact = on_fact,
                         .context = results};
    scenario->run(&t);
    client_cut(&c, seed);
    if (scenario->verify != NULL) {
        client_host(&c, path);
        scenario->verify(&t);
        client_end(&c);
    }
    (void)unlink(path);
}

int
main(int argc, char **argv)
{
    struct results results = {0};
    const struct scenario *s;
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    unsigned lacks;
    int fd;
    uint64_t runs = 0;

    client_body(argc, argv);
    if (uffd_open(&fd, &lacks) != FL_OK) {
        die_skip("%s", fl_last_error());
    }
    (void)close(fd);
    tmpdir_create(&dir);
    (void)tmpdir_join(&dir, "device", path);
    for (unsigned n = 0; (s = contract_scenario(n)) != NULL; n++) {
        for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++, runs++) {
            run(&results, s, path, seeds[i]);
        }
    }
    tmpdir_destroy(&dir);
    if (argc > 1 && strcmp(argv[1], "--lines") == 0) {
        results_write(&results, stdout);
    } else {
        results_print(&results, false, stdout);
    }
    const unsigned wrong = results_judge(&results, NULL, stderr);
    (void)printf("%" PRIu64 " runs, each with a power cut; %u answers wrong\n", runs, wrong);
    results_free(&results);
    return wrong == 0 ? 0 : 1;
}

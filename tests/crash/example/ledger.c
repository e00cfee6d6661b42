/* An example of a workload for faultline-crash: money moves between accounts, and whatever the power cut leaves, none
 * is made or lost, and no transfer that was acknowledged is undone.
 *
 * With LEDGER_TORN a transfer is two puts instead of a batch; faultline-crash then shows the moment between them. */
#include <faultline/batch.h>

#include "tests/crash/crash_workload.h"

#include <stdio.h>
#include <stdlib.h>

enum { ACCOUNTS = 4, TRANSFERS = 6, OPENING_BALANCE = 100, TEXT_MAX = 48 };

#define FILE_BYTES (UINT64_C(64) * 4096)

static struct fl_key
account_key(unsigned account, char *text)
{
    const int len = snprintf(text, TEXT_MAX, "account:%u", account);

    return fl_key(text, (size_t)len);
}

/* "balance after-transfer". An account that is not there has what it opened with. */
static void
account_get(struct fl_store *store, unsigned account, long *balance, unsigned long *transfer)
{
    char key[TEXT_MAX];
    char value[TEXT_MAX] = "";
    size_t len = 0;

    *balance = OPENING_BALANCE;
    *transfer = 0;
    if (fl_get(store, account_key(account, key), value, sizeof(value) - 1, &len) == FL_OK) {
        char *end = NULL;

        *balance = strtol(value, &end, 10);
        *transfer = strtoul(end, NULL, 10);
    }
}

static int
account_put(struct fl_store *store, struct fl_batch *batch, unsigned account, long balance,
            unsigned transfer)
{
    char key[TEXT_MAX];
    char value[TEXT_MAX];
    const int len = snprintf(value, sizeof(value), "%ld %u", balance, transfer);
    const struct fl_bytes bytes = fl_bytes(value, (size_t)len);

    return (batch != NULL ? fl_batch_put(batch, account_key(account, key), bytes, NULL)
                          : fl_put(store, account_key(account, key), bytes, NULL)) == FL_OK
               ? 0
               : 1;
}

static int
transfer(struct fl_store *store, unsigned number)
{
    const unsigned from = number % ACCOUNTS;
    const unsigned to = (number + 1) % ACCOUNTS;
    long from_balance;
    long to_balance;
    unsigned long unused;
    struct fl_batch *batch = NULL;
    int failed = 0;

    account_get(store, from, &from_balance, &unused);
    account_get(store, to, &to_balance, &unused);
#ifndef LEDGER_TORN
    failed = fl_batch_create(store, &batch) != FL_OK;
#endif
    failed = failed || account_put(store, batch, from, from_balance - 10, number) != 0 ||
             account_put(store, batch, to, to_balance + 10, number) != 0;
    if (batch != NULL) {
        failed = failed || fl_batch_commit(batch) != FL_OK;
        fl_batch_destroy(batch);
    }
    return failed;
}

static int
run(const char *path)
{
    struct fl_options options;
    struct fl_store *store = NULL;

    crash_options(&options, FILE_BYTES);
    if (fl_open(path, &options, &store) != FL_OK) {
        return 1;
    }
    for (unsigned number = 1; number <= TRANSFERS; number++) {
        crash_begin(number);
        if (transfer(store, number) != 0) {
            return 1;
        }
        crash_acknowledge(number);
    }
    return fl_close(store) == FL_OK ? 0 : 1;
}

static const char *
balances_check(struct fl_store *store, uint64_t acknowledged, uint64_t begun)
{
    static char why[TEXT_MAX * 2];
    unsigned long newest = 0;
    long sum = 0;

    for (unsigned account = 0; account < ACCOUNTS; account++) {
        long balance;
        unsigned long number;

        account_get(store, account, &balance, &number);
        sum += balance;
        newest = number > newest ? number : newest;
    }
    if (sum != (long)ACCOUNTS * OPENING_BALANCE) {
        (void)snprintf(why, sizeof(why), "the accounts hold %ld, not %d", sum,
                       ACCOUNTS * OPENING_BALANCE);
        return why;
    }
    if (newest < acknowledged || newest > begun) {
        (void)snprintf(why, sizeof(why), "transfer %lu is the newest", newest);
        return why;
    }
    return NULL;
}

static const char *
check(const char *path, uint64_t acknowledged, uint64_t begun)
{
    struct fl_options options;
    struct fl_store *store = NULL;

    crash_options(&options, FILE_BYTES);
    if (fl_open(path, &options, &store) != FL_OK) {
        return fl_last_error();
    }
    const char *wrong = balances_check(store, acknowledged, begun);

    return fl_close(store) == FL_OK ? wrong : "the store does not close";
}

extern const struct crash_workload crash_workload;
__attribute__((visibility("default"))) const struct crash_workload crash_workload = {
    .struct_bytes = sizeof(crash_workload),
    .name = "ledger",
    .size_bytes_max = FILE_BYTES,
    .run = run,
    .check = check,
};

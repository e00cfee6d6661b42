/* A small ledger: accounts that are changed together or not at all, read in order, and kept through any crash.
 *
 *   cc ledger.c $(pkg-config --cflags --libs faultline) -o ledger && ./ledger ledger.store
 *
 * Run it again on the same file: it goes on from where it was. */
#include <faultline/batch.h>
#include <faultline/cursor.h>
#include <faultline/faultline.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
check(fl_status status, const char *what)
{
    if (status != FL_OK) {
        fprintf(stderr, "ledger: %s: %s: %s\n", what, fl_status_name(status), fl_last_error());
        exit(1);
    }
}

static struct fl_key
account(const char *name)
{
    return fl_key(name, strlen(name));
}

/* The balance, and in *lsn the version that was read (0: no such account yet). */
static int64_t
balance(struct fl_store *store, const char *name, uint64_t *lsn)
{
    struct fl_view view;
    const fl_status status = fl_get_view(store, account(name), &view);
    int64_t amount = 0;

    *lsn = 0;
    if (status == FL_OK) {
        memcpy(&amount, view.value.ptr, sizeof(amount));
        *lsn = view.lsn;
        fl_view_release(&view);
    } else if (status != FL_NOT_FOUND) {
        check(status, name);
    }
    return amount;
}

/* Both accounts change in one atomic, durable commit. Should another thread have changed one of them since it was
 * read, the commit is refused and the transfer is tried again. */
static void
transfer(struct fl_store *store, const char *from, const char *to, int64_t amount)
{
    struct fl_batch *batch = NULL;
    fl_status status;

    check(fl_batch_create(store, &batch), "batch");
    do {
        uint64_t from_lsn = 0;
        uint64_t to_lsn = 0;
        const int64_t from_new = balance(store, from, &from_lsn) - amount;
        const int64_t to_new = balance(store, to, &to_lsn) + amount;

        check(fl_batch_require(batch, account(from), from_lsn), "require");
        check(fl_batch_require(batch, account(to), to_lsn), "require");
        check(fl_batch_put(batch, account(from), fl_bytes(&from_new, sizeof(from_new)), NULL),
              from);
        check(fl_batch_put(batch, account(to), fl_bytes(&to_new, sizeof(to_new)), NULL), to);
        status = fl_batch_commit(batch);
    } while (status == FL_CONFLICT);
    check(status, "transfer");
    fl_batch_destroy(batch);
}

/* Every account in order, as of one moment. */
static int64_t
print_accounts(struct fl_store *store)
{
    struct fl_cursor *cursor = NULL;
    int64_t total = 0;

    check(fl_cursor_open(store, NULL, &cursor), "cursor");
    fl_status status = fl_cursor_first(cursor);

    for (; status == FL_OK; status = fl_cursor_next(cursor)) {
        const struct fl_bytes key = fl_cursor_key(cursor);
        struct fl_view view;
        int64_t amount = 0;

        check(fl_cursor_view(cursor, &view), "value");
        memcpy(&amount, view.value.ptr, sizeof(amount));
        printf("%-10.*s %8" PRId64 "\n", (int)key.len, (const char *)key.ptr, amount);
        total += amount;
    }
    if (status != FL_END) {
        check(status, "cursor");
    }
    fl_cursor_close(cursor);
    return total;
}

int
main(int argc, char **argv)
{
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};
    struct fl_options options;
    struct fl_store *store = NULL;

    if (argc != 2) {
        fprintf(stderr, "usage: ledger STORE\n");
        return 2;
    }
    fl_options_init(&options); /* survives a power cut, or refuses to open */
    check(fl_open(argv[1], &options, &store), argv[1]);
    fl_stats(store, &stats);
    printf("mapping %s, survives %s\n", fl_mapping_name(stats.mapping),
           fl_durability_name(stats.durability));

    transfer(store, "bank", "alice", 100);
    transfer(store, "alice", "bob", 30);
    const int64_t total = print_accounts(store);

    check(fl_close(store), "close");
    if (total != 0) {
        fprintf(stderr, "ledger: the books don't balance: %" PRId64 "\n", total);
        return 1;
    }
    return 0;
}

/* Goal:   a handler whose Nth call to the store fails answers exactly one well-formed reply, says that it failed,
 *         changes nothing and gives back what it has taken; without a failure it answers what Redis does.
 * Method: handlers over a store in memory that fails on demand and ends views as early as the contract
 *         allows (run this under a sanitizer). Every line of a table of commands is run with a failure of
 *         each kind at every place where one can happen. What Redis answers is compared in tests/compat; here
 *         stands only what needs no server.
 */
#include "server/cmd.h"
#include "server/scan_cursor.h"
#include "server/server.h"
#include "tests/unit/server_commands/fake_store.h"

#include "proto/resp_reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ARGS_MAX = 16, NOW_MS = 1000000, INLINE_BYTES_MAX = 64, CALLS_MAX = 60 };

static const struct {
    const char *name;
    command_fn *fn;
} handlers[] = {
    {"append", cmd_append},
    {"copy", cmd_copy},
    {"dbsize", cmd_dbsize},
    {"decr", cmd_decr},
    {"decrby", cmd_decrby},
    {"del", cmd_del},
    {"exists", cmd_exists},
    {"expire", cmd_expire},
    {"expireat", cmd_expireat},
    {"expiretime", cmd_expiretime},
    {"fl.prefix", cmd_fl_prefix},
    {"fl.range", cmd_fl_range},
    {"flushall", cmd_flush},
    {"get", cmd_get},
    {"getdel", cmd_getdel},
    {"getex", cmd_getex},
    {"getrange", cmd_getrange},
    {"getset", cmd_getset},
    {"incr", cmd_incr},
    {"incrby", cmd_incrby},
    {"incrbyfloat", cmd_incrbyfloat},
    {"keys", cmd_keys},
    {"memory|usage", cmd_memory_usage},
    {"mget", cmd_mget},
    {"mset", cmd_mset},
    {"msetnx", cmd_msetnx},
    {"object|encoding", cmd_object_encoding},
    {"object|freq", cmd_object_freq},
    {"object|idletime", cmd_object_idletime},
    {"object|refcount", cmd_object_refcount},
    {"persist", cmd_persist},
    {"pexpire", cmd_pexpire},
    {"pexpireat", cmd_pexpireat},
    {"pexpiretime", cmd_pexpiretime},
    {"psetex", cmd_psetex},
    {"pttl", cmd_pttl},
    {"randomkey", cmd_randomkey},
    {"rename", cmd_rename},
    {"renamenx", cmd_renamenx},
    {"scan", cmd_scan},
    {"set", cmd_set},
    {"setex", cmd_setex},
    {"setnx", cmd_setnx},
    {"setrange", cmd_setrange},
    {"strlen", cmd_strlen},
    {"ttl", cmd_ttl},
    {"type", cmd_type},
};

/* One line for each way through a handler. "long" holds more than INLINE_BYTES_MAX, "timed" has a deadline, "other" is
 * of another type than string. */
static const char *const lines[] = {
    "append new x",
    "append k x",
    "append long x",
    "append timed x",
    "copy k new",
    "copy k k2",
    "copy k k2 replace",
    "copy none k2",
    "copy timed new db 0",
    "dbsize",
    "decr n",
    "decrby n 7",
    "del k k2 none",
    "del none",
    "exists k none k2 k",
    "expire k 100",
    "expire timed 100 gt",
    "expire k -1",
    "expire none 5",
    "expire k 100 xx",
    "expireat k 1",
    "expiretime timed",
    "fl.prefix k",
    "fl.prefix l rev limit 5",
    "fl.prefix none",
    "fl.range a z",
    "fl.range k n rev keysonly",
    "fl.range a z limit 2",
    "flushall",
    "get k",
    "get none",
    "get long",
    "getdel k",
    "getdel long",
    "getdel none",
    "getex k",
    "getex k ex 100",
    "getex timed persist",
    "getex long pxat 1",
    "getex none ex 5",
    "getrange k 0 -1",
    "getrange long 3 70",
    "getrange none 0 1",
    "getset k new",
    "getset none new",
    "getset long new",
    "incr n",
    "incr none",
    "incrby n 5",
    "incrbyfloat n 1.5",
    "incrbyfloat none 1",
    "keys *",
    "keys k*",
    "keys none*",
    "memory|usage k",
    "mget k none long k2",
    "mset k 1 new 2 k2 3",
    "msetnx a 1 b 2 c 3",
    "msetnx a 1 k 2",
    "object|encoding k",
    "object|freq k",
    "object|idletime k",
    "object|refcount k",
    "persist timed",
    "persist k",
    "persist none",
    "pexpire k 5000",
    "pexpireat timed 2000000 lt",
    "pexpiretime k",
    "psetex k 100 v",
    "pttl timed",
    "randomkey",
    "rename k new",
    "rename k k2",
    "rename k k",
    "rename none x",
    "rename timed k",
    "renamenx k new",
    "renamenx k k2",
    "scan 0",
    "scan 0 count 2",
    "scan 0 match k* count 1",
    "scan 0 type string",
    "scan 0 count 100 type string",
    "set k v",
    "set new v nx",
    "set k v nx",
    "set k v xx",
    "set none v xx",
    "set k v get",
    "set long v get",
    "set none v get",
    "set timed v keepttl",
    "set k v ex 100",
    "set k v pxat 1",
    "set k v get exat 1",
    "set k v nx get",
    "set none v xx pxat 1",
    "setex k 10 v",
    "setnx k v",
    "setnx new v",
    "setrange k 2 xx",
    "setrange long 100 xx",
    "setrange none 5 x",
    "setrange none 90 x",
    "setrange timed 0 x",
    "append huge x",
    "getdel huge",
    "getset huge v",
    "set huge v xx get",
    "getex huge pxat 1",
    "setrange huge 50000 end",
    "mget huge k",
    "strlen long",
    "ttl timed",
    "ttl none",
    "type k",
    "type none",
};

static struct server *server;
static struct resp_out out;
static struct resp_reader reader;
static char reply[256 * 1024];
static char
    huge[RESP_REFERENCE_BYTES_MIN + 1000]; /* kept in memory of its own by GETSET and its kin */

static void
seed_keys(void)
{
    fake_reset();
    fake_put("k", "value", 0, 0);
    fake_put("k2", "second", 0, 0);
    memset(huge, 'h', sizeof(huge) - 1);
    fake_put("huge", huge, 0, 0);
    fake_put("n", "41", 0, 0);
    fake_put("timed", "t", NOW_MS + 50000, 0);
    fake_put("long", "0123456789012345678901234567890123456789012345678901234567890123456789", 0,
             0);
}

/* What is queued, as one text. */
static size_t
take_output(void)
{
    struct iovec iov[16];
    size_t len = 0;

    while (resp_out_pending(&out) > 0) {
        const unsigned count = resp_out_iov(&out, resp_out_position(&out), iov, 16);
        size_t part = 0;

        for (unsigned i = 0; i < count; i++) {
            assert_true(len + iov[i].iov_len < sizeof(reply));
            memcpy(reply + len, iov[i].iov_base, iov[i].iov_len);
            len += iov[i].iov_len;
            part += iov[i].iov_len;
        }
        resp_out_sent(&out, part);
    }
    reply[len] = '\0';
    return len;
}

/* Run one line and check that its output is exactly one reply; it is left in `reply`. */
static void
run(const char *line)
{
    char text[256];
    char *at = text;
    struct fl_bytes argv[ARGS_MAX];
    unsigned argc = 0;
    const struct command *command = NULL;
    command_fn *fn = NULL;

    snprintf(text, sizeof(text), "%s", line);
    for (char *word = strsep(&at, " "); word != NULL; word = strsep(&at, " ")) {
        char *bar = argc == 0 ? strchr(word, '|') : NULL;

        argv[argc++] = fl_bytes(word, strlen(word));
        if (bar != NULL) {
            argv[argc++] = fl_bytes(bar + 1, strlen(bar + 1));
        }
    }
    for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
        if (strcmp(handlers[i].name, argv[0].ptr) == 0) {
            fn = handlers[i].fn;
        }
    }
    command = command_find_full(&server->commands, argv[0].ptr, argv[0].len);
    assert_non_null(command);
    assert_non_null(fn);
    struct call call = {.server = server,
                        .command = command,
                        .argv = argv,
                        .argc = argc,
                        .out = &out,
                        .now_ms = NOW_MS};

    fake_begin(&call);
    fn(&call);
    fake_end(&call);
    const size_t len = take_output();

    if (resp_read(&reader, reply, len) != FL_OK || reader.used != len) {
        fail_msg("%s: not one reply: %s", line, reply);
    }
    if (fake_leaks() != 0) {
        fail_msg("%s: %d views, blobs or iterators were not given back", line, fake_leaks());
    }
}

static bool
has_error(void)
{
    for (uint32_t i = 0; i < reader.nodes_count; i++) {
        if (reader.nodes[i].type == RESP_ERROR) {
            return true;
        }
    }
    return false;
}

/* Returns the number of places at which a failure was met. */
static int
fail_everywhere(const char *line, fl_status status)
{
    for (int n = 0; n < CALLS_MAX; n++) {
        seed_keys();
        char *before = fake_dump();

        fake_fail_at(n, status);
        run(line);
        if (!fake_has_failed()) {
            free(before);
            return n;
        }
        if (!has_error()) {
            fail_msg("%s: %s at call %d was not told: %s", line, fl_status_name(status), n, reply);
        }
        char *after = fake_dump();

        if (strcmp(before, after) != 0) {
            fail_msg("%s: %s at call %d left %s", line, fl_status_name(status), n, after);
        }
        free(before);
        free(after);
    }
    fail_msg("%s: never ends", line);
    return 0;
}

static void
handler_failing_anywhere_answers_once_and_changes_nothing(void **state)
{
    static const fl_status failures[] = {FL_NO_SPACE, FL_NO_MEMORY, FL_CORRUPT, FL_IO,
                                         FL_READ_ONLY};
    int places = 0;
    (void)state;

    for (uint8_t protocol = 2; protocol <= 3; protocol++) {
        out.protocol = protocol;
        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
            for (size_t f = 0; f < sizeof(failures) / sizeof(failures[0]); f++) {
                places += fail_everywhere(lines[i], failures[f]);
            }
        }
    }
    out.protocol = 2;
    assert_true(places > 1500); /* or nothing was tested */
}

static void
assert_reply(const char *line, const char *expected)
{
    run(line);
    if (strcmp(reply, expected) != 0) {
        fail_msg("%s: %s instead of %s", line, reply, expected);
    }
}

static void
damaged_value_is_an_error_in_its_place(void **state)
{
    (void)state;

    seed_keys();
    fake_fail_at(1, FL_CORRUPT);
    assert_reply("mget k n k2", "*3\r\n$5\r\nvalue\r\n-ERR FL_CORRUPT\r\n$6\r\nsecond\r\n");
    fake_fail_at(2, FL_CORRUPT);
    assert_reply("fl.prefix k", "*4\r\n$1\r\nk\r\n-ERR FL_CORRUPT\r\n$2\r\nk2\r\n$6\r\nsecond\r\n");
}

static void
value_of_another_type_is_no_string(void **state)
{
    static const char *const refused[] = {
        "get other",    "getdel other",        "getex other",        "getset other v",
        "strlen other", "append other x",      "setrange other 0 x", "getrange other 0 1",
        "incr other",   "incrbyfloat other 1", "set other v get"};
    (void)state;

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        seed_keys();
        fake_put("other", "x", 0, 3);
        assert_reply(refused[i],
                     "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
    }
    assert_reply("mget other", "*1\r\n$-1\r\n");
    assert_reply("exists other", ":1\r\n");
    assert_reply("scan 0 match other type string", "*2\r\n$1\r\n0\r\n*0\r\n");
    assert_reply("rename other k", "+OK\r\n");
    assert_reply("expire k 100", ":1\r\n");
    assert_reply("get k", "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n");
    assert_reply("set k v", "+OK\r\n");
    assert_reply("get k", "$1\r\nv\r\n");
}

static void
deadline_exactly_now_has_passed(void **state)
{
    (void)state;

    seed_keys();
    assert_reply("pexpireat k 1000000", ":1\r\n");
    assert_reply("exists k", ":0\r\n");
    assert_reply("pexpireat k2 1000001", ":1\r\n");
    assert_reply("pttl k2", ":1\r\n");
    assert_reply("set k2 v pxat 1000000", "+OK\r\n");
    assert_reply("exists k2", ":0\r\n");
}

static void
scan_page_by_page_meets_each_key_once(void **state)
{
    char line[64] = "scan 0 count 2";
    int pages = 0;
    int keys = 0;
    (void)state;

    seed_keys();
    do {
        run(line);
        const uint32_t cursor = resp_first(&reader, reader.root);
        const uint32_t page = resp_after(&reader, cursor);

        snprintf(line, sizeof(line), "scan %.*s count 2", (int)reader.nodes[cursor].len,
                 reply + reader.nodes[cursor].off);
        keys += (int)reader.nodes[page].count;
        pages++;
    } while (strncmp(line, "scan 0 ", 7) != 0);
    assert_int_equal(keys, 6);
    assert_int_equal(pages, 3);
    run("scan 77777");
    assert_int_equal(reply[0], '-');
}

static int
set_up(void **state)
{
    (void)state;
    server = calloc(1, sizeof(*server));
    assert_non_null(server);
    server->options.proto_max_bulk_len = FL_VALUE_BYTES_MAX;
    server->inline_bytes_max = INLINE_BYTES_MAX;
    command_table_init(&server->commands);
    assert_int_equal(scan_cursors_create(SCAN_CURSORS_DEFAULT, &server->scan_cursors), FL_OK);
    resp_out_init(&out, NULL);
    out.protocol = 2;
    resp_reader_init(&reader, sizeof(reply));
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    fake_reset();
    resp_reader_deinit(&reader);
    resp_out_deinit(&out);
    scan_cursors_destroy(server->scan_cursors);
    free(server);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handler_failing_anywhere_answers_once_and_changes_nothing),
        cmocka_unit_test(damaged_value_is_an_error_in_its_place),
        cmocka_unit_test(value_of_another_type_is_no_string),
        cmocka_unit_test(deadline_exactly_now_has_passed),
        cmocka_unit_test(scan_page_by_page_meets_each_key_once),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}

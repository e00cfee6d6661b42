/* Goal:   replies look as people know them from redis-cli, are JSON that other programs can read,
 *         and the server's words about its commands become hints and completions.
 * Method: replies given as bytes, their text in all three forms written out; JSON of random bytes
 *         is parsed again; a COMMAND DOCS reply of both protocols.
 */
#include "client/cli/docs.h"
#include "client/cli/output.h"
#include "proto/resp_write.h"

#include "tests/lib/rng.h"
#include "tests/unit/client/wire.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct fl_client_reply *
read_bytes(const char *bytes, size_t len)
{
    struct wire wire;
    struct fl_client_reply *reply = NULL;

    wire_init(&wire, bytes, len);
    struct fl_client *client = wire_client(&wire, NULL);

    assert_int_equal(fl_client_read(client, &reply), FL_OK);
    fl_client_close(client);
    wire_deinit(&wire);
    return reply;
}

/* The caller frees the text. */
static char *
shown(const struct fl_client_reply *reply, enum output_format format, bool is_page)
{
    char *text = NULL;
    size_t len;
    FILE *file = open_memstream(&text, &len);

    output_reply(file, format, reply, is_page);
    fclose(file);
    return text;
}

static const struct {
    const char *bytes;
    const char *human;
    const char *raw;
    const char *json;
} samples[] = {
    {"+OK\r\n", "OK\n", "OK\n", "\"OK\"\n"},
    {"-ERR x\r\n", "(error) ERR x\n", "ERR x\n", "{\"error\":\"ERR x\"}\n"},
    {":-5\r\n", "(integer) -5\n", "-5\n", "-5\n"},
    {"$-1\r\n", "(nil)\n", "\n", "null\n"},
    {"$0\r\n\r\n", "\"\"\n", "\n", "\"\"\n"},
    {"$6\r\na\"\\\n\x01\xff\r\n", "\"a\\\"\\\\\\n\\x01\\xff\"\n", "a\"\\\n\x01\xff\n",
     "\"a\\\"\\\\\\n\\u0001\\\\xff\"\n"},
    {"$2\r\n\xc3\xa9\r\n", "\"\\xc3\\xa9\"\n", "\xc3\xa9\n", "\"\xc3\xa9\"\n"},
    {"*0\r\n", "(empty array)\n", "\n", "[]\n"},
    {"*2\r\n*2\r\n:1\r\n$1\r\na\r\n_\r\n", "1) 1) (integer) 1\n   2) \"a\"\n2) (nil)\n", "1\na\n\n",
     "[[1,\"a\"],null]\n"},
    {"%2\r\n+a\r\n:1\r\n+b\r\n*2\r\n:2\r\n:3\r\n",
     "1# a => (integer) 1\n2# b => \n   1) (integer) 2\n   2) (integer) 3\n", "a 1\nb 2\n3\n",
     "{\"a\":1,\"b\":[2,3]}\n"},
    {"%1\r\n:1\r\n*1\r\n:2\r\n", "1# (integer) 1 => 1) (integer) 2\n", "1 2\n", "{\"1\":[2]}\n"},
    {"%1\r\n+a\r\n*1\r\n*2\r\n:1\r\n:2\r\n",
     "1# a => \n   1) 1) (integer) 1\n      2) (integer) 2\n", "a 1\n2\n", "{\"a\":[[1,2]]}\n"},
    {"%0\r\n", "(empty hash)\n", "\n", "{}\n"},
    {"~1\r\n+x\r\n", "1~ x\n", "x\n", "[\"x\"]\n"},
    {">1\r\n+x\r\n", NULL, NULL, NULL}, /* a push is no reply: see below */
    {",3.14\r\n", "(double) 3.14\n", "3.14\n", "3.14\n"},
    {",0.1\r\n", "(double) 0.1\n", "0.1\n", "0.1\n"},
    {",-inf\r\n", "(double) -inf\n", "-inf\n", "\"-inf\"\n"},
    {"#t\r\n", "(true)\n", "(true)\n", "true\n"},
    {"(-12345678901234567890123\r\n", "-12345678901234567890123\n", "-12345678901234567890123\n",
     "-12345678901234567890123\n"},
    {"=9\r\ntxt:a\nb\n\n\r\n", "a\nb\n\n", "a\nb\n\n\n", "\"a\\nb\\n\\n\"\n"},
};

static void
reply_is_shown_in_each_form(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        if (samples[i].human == NULL) {
            continue;
        }
        struct fl_client_reply *reply = read_bytes(samples[i].bytes, strlen(samples[i].bytes));
        char *human = shown(reply, OUTPUT_HUMAN, false);
        char *raw = shown(reply, OUTPUT_RAW, false);
        char *json = shown(reply, OUTPUT_JSON, false);

        assert_string_equal(human, samples[i].human);
        assert_string_equal(raw, samples[i].raw);
        assert_string_equal(json, samples[i].json);
        free(human);
        free(raw);
        free(json);
        fl_client_reply_destroy(reply);
    }
}

static void
list_of_ten_is_aligned(void **state)
{
    static const char bytes[] = "*10\r\n:1\r\n:2\r\n:3\r\n:4\r\n:5\r\n:6\r\n:7\r\n:8\r\n:9\r\n"
                                "*2\r\n:0\r\n:1\r\n";
    struct fl_client_reply *reply = read_bytes(bytes, sizeof(bytes) - 1);
    char *human = shown(reply, OUTPUT_HUMAN, false);

    (void)state;
    assert_non_null(strstr(human, "\n 9) (integer) 9\n10) 1) (integer) 0\n    2) (integer) 1\n"));
    free(human);
    fl_client_reply_destroy(reply);
}

static void
page_is_shown_as_it_is(void **state)
{
    struct fl_client_reply *reply = read_bytes("$10\r\n# A\r\na:1\r\n\r\n", 17);
    char *human = shown(reply, OUTPUT_HUMAN, true);

    (void)state;
    assert_string_equal(human, "# A\r\na:1\r\n");
    free(human);
    fl_client_reply_destroy(reply);
}

/* Whatever the bytes are: one JSON text, and UTF-8. */
static void
json_of_random_bytes_can_be_parsed(void **state)
{
    struct rng rng = rng_seeded(7);

    (void)state;
    for (int round = 0; round < 2000; round++) {
        char value[24];
        char *json = NULL;
        size_t len;
        FILE *file = open_memstream(&json, &len);
        const size_t value_len = rng_below(&rng, sizeof(value));

        rng_fill(&rng, value, value_len);
        for (size_t i = 0; i < value_len; i++) {
            /* Often the bytes that begin or go on with a sequence. */
            if (rng_below(&rng, 3) == 0) {
                value[i] = (char)(0x80 | (value[i] & 0x3f));
            } else if (rng_below(&rng, 3) == 0) {
                value[i] = (char)(0xe0 | (value[i] & 0x1f));
            }
        }
        output_json_text(file, value, value_len);
        fclose(file);

        json_t *parsed = json_loadb(json, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);

        assert_non_null(parsed);
        assert_true(json_is_string(parsed));
        json_decref(parsed);
        free(json);
    }
}

/* ---- COMMAND DOCS ---- */

/* One argument; `nested` arguments of its own follow if that isn't 0. */
static void
put_argument(struct resp_out *out, const char *name, const char *type, const char *token,
             const char *flag, unsigned nested)
{
    resp_write_map(out, 2u + (token != NULL) + (flag != NULL) + (nested > 0));
    resp_write_bulk_text(out, "name");
    resp_write_bulk_text(out, name);
    resp_write_bulk_text(out, "type");
    resp_write_bulk_text(out, type);
    if (token != NULL) {
        resp_write_bulk_text(out, "token");
        resp_write_bulk_text(out, token);
    }
    if (flag != NULL) {
        resp_write_bulk_text(out, "flags");
        resp_write_set(out, 1);
        resp_write_simple(out, flag);
    }
    if (nested > 0) {
        resp_write_bulk_text(out, "arguments");
        resp_write_array(out, nested);
    }
}

/* COMMAND DOCS of a server that knows SETNEW, CONFIG, CONFIG GET and SET, in this order. The
 * caller frees the bytes. */
static char *
docs_bytes(uint8_t protocol, size_t *len)
{
    struct resp_out out;
    struct iovec iov;

    resp_out_init(&out, NULL);
    out.protocol = protocol;
    resp_write_map(&out, 3);
    resp_write_bulk_text(&out, "setnew");
    resp_write_map(&out, 1);
    resp_write_bulk_text(&out, "since");
    resp_write_bulk_text(&out, "1.0.0");

    resp_write_bulk_text(&out, "config");
    resp_write_map(&out, 2);
    resp_write_bulk_text(&out, "summary");
    resp_write_bulk_text(&out, "a container");
    resp_write_bulk_text(&out, "subcommands");
    resp_write_map(&out, 1);
    resp_write_bulk_text(&out, "config|get");
    resp_write_map(&out, 1);
    resp_write_bulk_text(&out, "arguments");
    resp_write_array(&out, 1);
    put_argument(&out, "parameter", "string", NULL, "multiple", 0);

    resp_write_bulk_text(&out, "set");
    resp_write_map(&out, 2);
    resp_write_bulk_text(&out, "summary");
    resp_write_bulk_text(&out, "set a key");
    resp_write_bulk_text(&out, "arguments");
    resp_write_array(&out, 4);
    put_argument(&out, "key", "key", NULL, NULL, 0);
    put_argument(&out, "value", "string", NULL, NULL, 0);
    put_argument(&out, "condition", "oneof", NULL, "optional", 2);
    put_argument(&out, "nx", "pure-token", "NX", NULL, 0);
    put_argument(&out, "xx", "pure-token", "XX", NULL, 0);
    put_argument(&out, "limit", "block", "LIMIT", NULL, 2);
    put_argument(&out, "offset", "integer", NULL, NULL, 0);
    put_argument(&out, "unit", "oneof", NULL, NULL, 2);
    put_argument(&out, "m", "pure-token", "M", NULL, 0);
    put_argument(&out, "seconds", "integer", "EX", NULL, 0);

    assert_false(resp_out_failed(&out));
    *len = resp_out_pending(&out);
    assert_int_equal(resp_out_iov(&out, resp_out_position(&out), &iov, 1), 1);
    assert_int_equal(iov.iov_len, *len);
    char *bytes = malloc(*len);

    memcpy(bytes, iov.iov_base, *len);
    resp_out_deinit(&out);
    return bytes;
}

static void
check_docs(const struct docs *docs)
{
    static const char *const lines[][2] = {
        {"set ", "SET"},        {"SET k v", "SET"},   {" config  get x", "CONFIG GET"},
        {"config x", "CONFIG"}, {"setnew", "SETNEW"}, {"setn", NULL},
        {"nothing here", NULL}, {"", NULL},
    };
    struct docs_completion completion;

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        const struct docs_command *found = docs_find(docs, lines[i][0], strlen(lines[i][0]));

        if (lines[i][1] == NULL) {
            assert_null(found);
        } else {
            assert_non_null(found);
            assert_string_equal(found->name, lines[i][1]);
        }
    }
    assert_string_equal(docs_find(docs, "config get", 10)->syntax, "parameter [parameter ...]");
    assert_string_equal(docs_find(docs, "set", 3)->syntax,
                        "key value [NX | XX] LIMIT offset <M | EX seconds>");
    assert_string_equal(docs_find(docs, "set", 3)->summary, "set a key");
    assert_string_equal(docs_find(docs, "setnew", 6)->since, "1.0.0");

    docs_complete(docs, "se", 2, &completion);
    assert_int_equal(completion.count, 2);
    assert_int_equal(completion.typed, 2);
    assert_int_equal(completion.shared, 1);
    docs_complete(docs, "con", 3, &completion);
    assert_int_equal(completion.count, 1);
    assert_int_equal(completion.shared, 3);
    docs_complete(docs, "CONFIG ", 7, &completion);
    assert_int_equal(completion.count, 1);
    assert_string_equal(completion.candidates[0]->name, "CONFIG GET");
    assert_int_equal(completion.typed, 7);
    docs_complete(docs, "", 0, &completion);
    assert_int_equal(completion.count, 0);
    docs_complete(docs, "set k", 5, &completion);
    assert_int_equal(completion.count, 0);
}

static void
docs_of_both_protocols_give_the_same_help(void **state)
{
    (void)state;
    for (uint8_t protocol = 2; protocol <= 3; protocol++) {
        size_t len;
        char *bytes = docs_bytes(protocol, &len);
        struct fl_client_reply *reply = read_bytes(bytes, len);
        struct docs docs;

        docs_read(reply, &docs);
        fl_client_reply_destroy(reply);
        assert_int_equal(docs.commands_count, 4);
        check_docs(&docs);
        docs_deinit(&docs);
        free(bytes);
    }
}

static void
docs_that_make_no_sense_are_left_out(void **state)
{
    static const char *const odd[] = {
        ":1\r\n",
        "*3\r\n+a\r\n+b\r\n+c\r\n",
        "%1\r\n+get\r\n:7\r\n",
        "%1\r\n:1\r\n%0\r\n",
        "%1\r\n+x\r\n%1\r\n+arguments\r\n*1\r\n:1\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        struct fl_client_reply *reply = read_bytes(odd[i], strlen(odd[i]));
        struct docs docs;

        docs_read(reply, &docs);
        assert_true(docs.commands_count <= 1);
        docs_deinit(&docs);
        fl_client_reply_destroy(reply);
    }
}

/* A server that knows no DOCS, and one that knows nothing. */
static void
docs_fall_back_to_names_alone(void **state)
{
    static const char list[] = "-ERR unknown subcommand\r\n*2\r\n+set\r\n+get\r\n";
    static const char none[] = "-ERR no\r\n-ERR no\r\n";
    struct docs docs;
    struct wire wire;

    (void)state;
    wire_init(&wire, list, sizeof(list) - 1);
    struct fl_client *client = wire_client(&wire, NULL);

    docs_load(client, &docs);
    assert_int_equal(docs.commands_count, 2);
    assert_string_equal(docs.commands[0].name, "GET");
    docs_deinit(&docs);
    wire_feed(&wire, none, sizeof(none) - 1);
    docs_load(client, &docs);
    assert_int_equal(docs.commands_count, 0);
    docs_deinit(&docs);
    fl_client_close(client);
    wire_deinit(&wire);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reply_is_shown_in_each_form),
        cmocka_unit_test(list_of_ten_is_aligned),
        cmocka_unit_test(page_is_shown_as_it_is),
        cmocka_unit_test(json_of_random_bytes_can_be_parsed),
        cmocka_unit_test(docs_of_both_protocols_give_the_same_help),
        cmocka_unit_test(docs_that_make_no_sense_are_left_out),
        cmocka_unit_test(docs_fall_back_to_names_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Goal:   a reply is the same tree of values however the network cuts it up.
 * Method: a collection of replies of every type of RESP2 and RESP3, nested too, is read whole,
 *         split at each of its bytes, and byte by byte; a dump of all that the accessors say must
 * not differ.
 */
#include "tests/unit/client/wire.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct sample {
    const char *bytes;
    const char *dump;
};

/* As dump() below writes them. */
static const struct sample samples[] = {
    {"+OK\r\n", "status<OK>"},
    {"+\r\n", "status<>"},
    {"-ERR no\r\n", "error<ERR no>"},
    {"!6\r\nERR\r\nx\r\n", "error<ERR\r\nx>"},
    {":0\r\n", "integer 0"},
    {":-9223372036854775808\r\n", "integer -9223372036854775808"},
    {"$0\r\n\r\n", "string<>"},
    {"$5\r\na\r\nbc\r\n", "string<a\r\nbc>"},
    {"$?\r\n;4\r\nabcd\r\n;2\r\nef\r\n;0\r\n", "string<abcdef>"},
    {"$-1\r\n", "nil"},
    {"*-1\r\n", "nil"},
    {"_\r\n", "nil"},
    {"*0\r\n", "array[]"},
    {"*3\r\n:1\r\n$1\r\na\r\n*1\r\n+x\r\n", "array[integer 1,string<a>,array[status<x>,],]"},
    {",3.25\r\n", "double 3.25<3.25>"},
    {",-inf\r\n", "double -inf<-inf>"},
    {"#t\r\n", "bool 1"},
    {"#f\r\n", "bool 0"},
    {"(-12345678901234567890\r\n", "big number<-12345678901234567890>"},
    {"=8\r\ntxt:a\nbc\r\n", "verbatim txt<a\nbc>"},
    {"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n_\r\n", "map[status<a>=integer 1,status<b>=array[nil,],]"},
    {"~2\r\n+a\r\n+b\r\n", "set[status<a>,status<b>,]"},
    {"|1\r\n+ttl\r\n:3\r\n+OK\r\n", "status<OK>"},
    {"*2\r\n|1\r\n+ttl\r\n:3\r\n:1\r\n:2\r\n", "array[integer 1,integer 2,]"},
    {"*?\r\n:1\r\n*0\r\n.\r\n", "array[integer 1,array[],]"},
    {"%1\r\n%1\r\n:1\r\n:2\r\n~1\r\n#t\r\n", "map[map[integer 1=integer 2,]=set[bool 1,],]"},
};

static void
dump(FILE *file, const struct fl_client_reply *reply)
{
    const enum fl_client_type type = fl_client_reply_type(reply);
    size_t len;
    const char *text = fl_client_reply_text(reply, &len);
    char format[4];

    fl_client_reply_format(reply, format);
    fputs(fl_client_type_name(type), file);
    if (type == FL_CLIENT_INTEGER || type == FL_CLIENT_BOOL) {
        fprintf(file, " %lld", (long long)fl_client_reply_integer(reply));
    }
    if (type == FL_CLIENT_DOUBLE) {
        fprintf(file, " %g", fl_client_reply_double(reply));
    }
    fprintf(file, "%s%s", format[0] != '\0' ? " " : "", format);
    if (text != NULL) {
        assert_int_equal(text[len], '\0');
        fputc('<', file);
        fwrite(text, 1, len, file);
        fputc('>', file);
    }
    if (type == FL_CLIENT_ARRAY || type == FL_CLIENT_MAP || type == FL_CLIENT_SET) {
        fputc('[', file);
        for (size_t i = 0; i < fl_client_reply_count(reply); i++) {
            if (type == FL_CLIENT_MAP) {
                dump(file, fl_client_reply_key(reply, i));
                fputc('=', file);
            }
            dump(file, fl_client_reply_item(reply, i));
            fputc(',', file);
        }
        fputc(']', file);
    }
}

/* Read one reply of a wire that is set up, and compare it. */
static void
check(struct wire *wire, const char *expected)
{
    struct fl_client *client = wire_client(wire, NULL);
    struct fl_client_reply *reply = NULL;
    char *text = NULL;
    size_t len;
    FILE *file = open_memstream(&text, &len);

    assert_int_equal(fl_client_read(client, &reply), FL_OK);
    /* The reply owes nothing to the client. */
    fl_client_close(client);
    dump(file, reply);
    fclose(file);
    assert_string_equal(text, expected);
    free(text);
    fl_client_reply_destroy(reply);
    assert_int_equal(wire->closes, 1);
    wire_deinit(wire);
}

static void
reply_in_one_piece_has_its_value(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        struct wire wire;

        wire_init(&wire, samples[i].bytes, strlen(samples[i].bytes));
        check(&wire, samples[i].dump);
    }
}

static void
reply_split_at_any_byte_has_the_same_value(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        const size_t len = strlen(samples[i].bytes);

        for (size_t split = 1; split < len; split++) {
            struct wire wire;

            wire_init(&wire, samples[i].bytes, len);
            wire.split = split;
            check(&wire, samples[i].dump);
        }
    }
}

static void
reply_byte_by_byte_has_the_same_value(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        struct wire wire;

        wire_init(&wire, samples[i].bytes, strlen(samples[i].bytes));
        wire.read_max = 1;
        check(&wire, samples[i].dump);
    }
}

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

static void
text_with_zero_bytes_keeps_its_length(void **state)
{
    static const char bytes[] = "$5\r\na\0b\0c\r\n";
    struct fl_client_reply *reply = read_bytes(bytes, sizeof(bytes) - 1);
    size_t len;
    const char *text = fl_client_reply_text(reply, &len);

    (void)state;
    assert_int_equal(len, 5);
    assert_memory_equal(text, "a\0b\0c", 6);
    fl_client_reply_destroy(reply);
}

static void
field_is_found_in_a_map_and_in_an_array_of_pairs(void **state)
{
    static const char *const both[] = {
        "%3\r\n+proto\r\n:3\r\n:7\r\n+x\r\n$2\r\nid\r\n:12\r\n",
        "*6\r\n+proto\r\n:3\r\n:7\r\n+x\r\n$2\r\nid\r\n:12\r\n",
    };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct fl_client_reply *reply = read_bytes(both[i], strlen(both[i]));

        assert_int_equal(fl_client_reply_integer(fl_client_reply_find(reply, "proto")), 3);
        assert_int_equal(fl_client_reply_integer(fl_client_reply_find(reply, "id")), 12);
        /* a value is no key, nor is the beginning of one */
        assert_null(fl_client_reply_find(reply, "x"));
        assert_null(fl_client_reply_find(reply, "prot"));
        fl_client_reply_destroy(reply);
    }
}

static void
accessor_of_another_type_says_nothing(void **state)
{
    struct fl_client_reply *reply = read_bytes("+5\r\n", 4);
    size_t len = 7;

    (void)state;
    assert_int_equal(fl_client_reply_integer(reply), 0);
    assert_true(fl_client_reply_double(reply) == 0);
    assert_int_equal(fl_client_reply_count(reply), 0);
    assert_null(fl_client_reply_item(reply, 0));
    assert_null(fl_client_reply_key(reply, 0));
    assert_null(fl_client_reply_find(reply, "5"));
    fl_client_reply_destroy(reply);

    reply = read_bytes("*1\r\n:5\r\n", 8);
    assert_null(fl_client_reply_text(reply, &len));
    assert_int_equal(len, 0);
    assert_null(fl_client_reply_item(reply, 1));
    assert_null(fl_client_reply_key(reply, 0));
    assert_true(fl_client_reply_double(fl_client_reply_item(reply, 0)) == 5);
    fl_client_reply_destroy(reply);
    fl_client_reply_destroy(NULL);
}

static void
double_that_is_no_number_is_read(void **state)
{
    struct fl_client_reply *reply = read_bytes(",nan\r\n", 6);

    (void)state;
    assert_true(isnan(fl_client_reply_double(reply)));
    fl_client_reply_destroy(reply);
}

static void
item_of_a_long_array_is_the_right_one(void **state)
{
    enum { ITEMS = 5000 };
    char *bytes = NULL;
    size_t len;
    FILE *file = open_memstream(&bytes, &len);

    (void)state;
    fprintf(file, "*%d\r\n", ITEMS);
    for (int i = 0; i < ITEMS; i++) {
        /* Nested items, so that nodes and items are numbered differently. */
        fprintf(file, "*2\r\n:%d\r\n*1\r\n:%d\r\n", i, -i);
    }
    fclose(file);

    struct fl_client_reply *reply = read_bytes(bytes, len);

    assert_int_equal(fl_client_reply_count(reply), ITEMS);
    for (int i = 0; i < ITEMS; i++) {
        const struct fl_client_reply *item = fl_client_reply_item(reply, (size_t)i);
        const struct fl_client_reply *inner = fl_client_reply_item(item, 1);

        assert_int_equal(fl_client_reply_integer(fl_client_reply_item(item, 0)), i);
        assert_int_equal(fl_client_reply_integer(fl_client_reply_item(inner, 0)), -i);
    }
    fl_client_reply_destroy(reply);
    free(bytes);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reply_in_one_piece_has_its_value),
        cmocka_unit_test(reply_split_at_any_byte_has_the_same_value),
        cmocka_unit_test(reply_byte_by_byte_has_the_same_value),
        cmocka_unit_test(text_with_zero_bytes_keeps_its_length),
        cmocka_unit_test(field_is_found_in_a_map_and_in_an_array_of_pairs),
        cmocka_unit_test(accessor_of_another_type_says_nothing),
        cmocka_unit_test(double_that_is_no_number_is_read),
        cmocka_unit_test(item_of_a_long_array_is_the_right_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

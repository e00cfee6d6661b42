/* Goal:   wherever memory runs out, a call says FL_NO_MEMORY, nothing is lost or used twice, and
 *         the connection can be closed.
 * Method: the linker puts this file's allocator in front of the real one; the same exchange is
 *         run over and over, with its first allocation failing, then its second, until it gets
 * through.
 */
#include "tests/unit/client/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Names that -Wl,--wrap gives. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

static unsigned allocations_left; /* 0: none fails; 1: the next one does */
static bool failed;

static bool
fails_now(void)
{
    if (allocations_left == 0 || --allocations_left > 0) {
        return false;
    }
    failed = true;
    return true;
}

void *
__wrap_malloc(size_t size)
{
    return fails_now() ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
    return fails_now() ? NULL : __real_calloc(count, size);
}

void *
__wrap_realloc(void *old, size_t size)
{
    return fails_now() ? NULL : __real_realloc(old, size);
}

enum { BIG = 200 * 1000 };

/* Connect, one command with a nested reply, a pipeline with a big one, and close. */
static fl_status
exchange(const char *in, size_t in_len)
{
    static const char *const command[] = {"GET", "k"};
    struct fl_client_options options;
    struct fl_client *client = NULL;
    struct fl_client_reply *first = NULL;
    struct fl_client_reply *second = NULL;
    struct wire wire;

    wire_init(&wire, in, in_len);
    wire.forgetful = true;
    const struct fl_client_transport transport = wire_transport(&wire);

    fl_client_options_init(&options);
    options.io_timeout_ms = 1000;
    fl_status status = fl_client_connect_over(&options, &transport, &client);

    if (status == FL_OK) {
        status = fl_client_command(client, 2, command, NULL, &first);
    }
    for (int i = 0; i < 2 && status == FL_OK; i++) {
        status = fl_client_append(client, 2, command, NULL);
    }
    if (status == FL_OK) {
        status = fl_client_read(client, NULL);
    }
    if (status == FL_OK) {
        status = fl_client_read(client, &second);
    }
    if (status == FL_OK) {
        assert_int_equal(fl_client_reply_count(first), 3);
        assert_string_equal(fl_client_reply_text(second, NULL), "end");
    } else if (client != NULL) {
        /* Out of memory is out of step: nothing goes on, whatever comes. */
        assert_int_equal(fl_client_command(client, 2, command, NULL, NULL), FL_CLOSED);
        assert_non_null(strstr(fl_client_error(client), "memory"));
    }
    fl_client_reply_destroy(first);
    fl_client_reply_destroy(second);
    fl_client_close(client);
    assert_int_equal(wire.closes, 1);
    return status;
}

static void
allocation_that_fails_is_reported_wherever_it_is(void **state)
{
    static const char head[] = "*3\r\n:1\r\n*1\r\n$1\r\na\r\n%1\r\n+k\r\n+v\r\n$200000\r\n";
    static const char tail[] = "\r\n+end\r\n";
    const size_t in_len = sizeof(head) - 1 + BIG + sizeof(tail) - 1;
    char *in = __real_malloc(in_len);
    unsigned nth = 0;

    (void)state;
    memcpy(in, head, sizeof(head) - 1);
    memset(in + sizeof(head) - 1, 'x', BIG);
    memcpy(in + sizeof(head) - 1 + BIG, tail, sizeof(tail) - 1);
    do {
        failed = false;
        allocations_left = ++nth;
        const fl_status status = exchange(in, in_len);

        allocations_left = 0;
        assert_int_equal(status, failed ? FL_NO_MEMORY : FL_OK);
    } while (failed);
    /* client, output, input and its growth, nodes, two parts of each reply: it was more than one
     * run */
    assert_true(nth > 10);
    free(in);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocation_that_fails_is_reported_wherever_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

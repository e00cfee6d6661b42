/* Goal:   what is larger than one durable frame is done whole or not at all.
 * Method: transactions and commands over 64 MiB of records, to the real server over plain sockets. */
#include "tests/integration/support/talk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { STOP_MS = 20000, VALUES = 1000, VALUE_BYTES = 70000 };

#define OVER "$70000\r\n" /* VALUE_BYTES */
#define REASON "a batch of over 67108864 bytes"

static const char *program;

struct scene {
    struct subject subject;
    struct tmpdir dir;
    int fd;
    char value[VALUE_BYTES + 3]; /* with the line's end behind it */
};

static void
start(struct scene *scene)
{
    talk_start(&scene->subject, program, &scene->dir, (const char *const[]){"--port", "0", NULL});
    scene->fd = talk_connect(&scene->subject);
}

static void
stop(struct scene *scene)
{
    close(scene->fd);
    subject_stop(&scene->subject, STOP_MS);
}

static void
say_key_and_value(const struct scene *scene, int i)
{
    char head[64];

    snprintf(head, sizeof(head), "$5\r\nk:%03d\r\n" OVER, i);
    talk_say(scene->fd, head);
    talk_say(scene->fd, scene->value);
}

static void
assert_refused(const struct scene *scene, const char *code)
{
    char heard[TALK_BYTES];
    char expected[128];

    snprintf(expected, sizeof(expected), "-%s" REASON, code);
    talk_say(scene->fd, "PING\r\n");
    assert_true(talk_hear(scene->fd, "+PONG\r\n", heard));
    assert_non_null(strstr(heard, expected));
    assert_null(strstr(heard, "+OK"));
}

/* Of several hundred that fit in a frame not one may be there, now or after the restart. */
static void
assert_only_the_first(struct scene *scene)
{
    assert_true(talk(scene->fd, "DBSIZE\r\nGET first\r\n", ":1\r\n$1\r\n1\r\n"));
    stop(scene);
    start(scene);
    assert_true(talk(scene->fd, "DBSIZE\r\nGET first\r\n", ":1\r\n$1\r\n1\r\n"));
}

static void
exec_over_a_frame_changes_nothing(void **state)
{
    struct scene *scene = *state;

    assert_true(talk(scene->fd, "SET first 1\r\n", "+OK\r\n"));
    assert_true(talk(scene->fd, "MULTI\r\n", "+OK\r\n"));
    talk_say(scene->fd, "SET first 2\r\n");
    for (int i = 0; i < VALUES; i++) {
        talk_say(scene->fd, "*3\r\n$3\r\nSET\r\n");
        say_key_and_value(scene, i);
    }
    talk_say(scene->fd, "EXEC\r\n");
    assert_refused(scene, "EXECABORT Transaction discarded because of: ");
    assert_only_the_first(scene);
}

static void
mset_over_a_frame_changes_nothing(void **state)
{
    struct scene *scene = *state;
    char head[64];

    snprintf(head, sizeof(head), "*%d\r\n$4\r\nMSET\r\n", 1 + 2 * VALUES);
    talk_say(scene->fd, head);
    for (int i = 0; i < VALUES; i++) {
        say_key_and_value(scene, i);
    }
    assert_refused(scene, "ERR ");
    assert_only_the_first(scene);
}

/* Each alone fits, and is small on the wire: the batch that they share must not overflow. */
static void
pipelined_appends_over_a_frame_are_all_done(void **state)
{
    struct scene *scene = *state;
    static char requests[VALUES * 20 + 1];
    static char answers[VALUES * 8 + 1];
    char heard[TALK_BYTES];

    for (int i = 0; i < VALUES; i++) {
        talk_say(scene->fd, "*3\r\n$3\r\nSET\r\n");
        say_key_and_value(scene, i);
        assert_true(talk_hear(scene->fd, "+OK\r\n", heard));
    }
    for (int i = 0; i < VALUES; i++) {
        snprintf(requests + strlen(requests), 24, "APPEND k:%03d x\r\n", i);
        snprintf(answers + strlen(answers), 9, ":%d\r\n", VALUE_BYTES + 1);
    }
    assert_true(talk(scene->fd, requests, answers));
    assert_true(talk(scene->fd, "STRLEN k:999\r\n", ":70001\r\n"));
}

static int
open_scene(void **state)
{
    static struct scene scene;

    memset(scene.value, 'v', VALUE_BYTES);
    memcpy(scene.value + VALUE_BYTES, "\r\n", 3);
    tmpdir_create(&scene.dir);
    start(&scene);
    *state = &scene;
    return 0;
}

static int
close_scene(void **state)
{
    struct scene *scene = *state;

    stop(scene);
    tmpdir_destroy(&scene->dir);
    return 0;
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exec_over_a_frame_changes_nothing),
        cmocka_unit_test(mset_over_a_frame_changes_nothing),
        cmocka_unit_test(pipelined_appends_over_a_frame_are_all_done),
    };

    if (argc != 2) {
        fprintf(stderr, "usage: %s PROGRAM\n", argv[0]);
        return 2;
    }
    program = argv[1];
    return cmocka_run_group_tests(tests, open_scene, close_scene);
}

/* Goal:   a damaged big value is refused where it is damaged, and served where it is not.
 * Method: a value of several chunks is set in the real server, a bit of it is flipped in the file, and parts of it are
 *         asked for. */
#include "tests/integration/support/talk.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

enum { STOP_MS = 20000, VALUE_BYTES = 300000, CHUNK_BYTES = 65536, DAMAGE_AT = 150000 };

static const char *program;

struct scene {
    struct subject subject;
    struct tmpdir dir;
    int fd;
    char value[VALUE_BYTES + 1]; /* letters that are nowhere else in the file */
};

static int
open_scene(void **state)
{
    static struct scene scene;

    for (uint32_t i = 0; i < VALUE_BYTES; i++) {
        scene.value[i] = (char)('a' + ((i * UINT32_C(2654435761)) >> 13) % 26);
    }
    tmpdir_create(&scene.dir);
    talk_start(&scene.subject, program, &scene.dir, (const char *const[]){"--port", "0", NULL});
    scene.fd = talk_connect(&scene.subject);
    *state = &scene;
    return 0;
}

static int
close_scene(void **state)
{
    struct scene *scene = *state;

    close(scene->fd);
    subject_stop(&scene->subject, STOP_MS);
    tmpdir_destroy(&scene->dir);
    return 0;
}

static void
damage(const struct scene *scene)
{
    char path[TMPDIR_PATH_BYTES];
    struct stat st;
    const int fd = open(tmpdir_join(&scene->dir, "data", path), O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    char *file = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    assert_true(file != MAP_FAILED);
    char *at = memmem(file, (size_t)st.st_size, scene->value, VALUE_BYTES);

    assert_non_null(at);
    at[DAMAGE_AT] ^= 1;
    munmap(file, (size_t)st.st_size);
    close(fd);
}

static void
assert_part(const struct scene *scene, const char *command, unsigned first, unsigned bytes)
{
    char request[64];
    char answer[64 + CHUNK_BYTES];

    snprintf(request, sizeof(request), "%s big %u %u\r\n", command, first, first + bytes - 1);
    snprintf(answer, sizeof(answer), "$%u\r\n%.*s\r\n", bytes, (int)bytes, scene->value + first);
    assert_true(talk(scene->fd, request, answer));
}

static void
assert_damaged(const struct scene *scene, const char *request)
{
    char heard[TALK_BYTES];

    talk_say(scene->fd, request);
    talk_say(scene->fd, "PING\r\n");
    assert_true(talk_hear(scene->fd, "+PONG\r\n", heard));
    assert_int_equal(strncmp(heard, "-ERR ", 5), 0);
    assert_non_null(strstr(heard, "is damaged"));
}

static void
damaged_value_is_served_where_it_is_good(void **state)
{
    struct scene *scene = *state;

    talk_say(scene->fd, "*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$300000\r\n");
    talk_say(scene->fd, scene->value);
    assert_true(talk(scene->fd, "\r\n", "+OK\r\n"));
    assert_part(scene, "GETRANGE", DAMAGE_AT, 10);
    damage(scene);
    assert_part(scene, "GETRANGE", 0, 10);
    assert_part(scene, "SUBSTR", 1000, 60000);
    assert_part(scene, "GETRANGE", 3 * CHUNK_BYTES, 10);
    assert_true(
        talk(scene->fd, "GETRANGE big 300000 -1\r\nSTRLEN big\r\n", "$0\r\n\r\n:300000\r\n"));
    assert_damaged(scene, "GETRANGE big 140000 140009\r\n"); /* in the same chunk */
    assert_damaged(scene, "GETRANGE big 0 -1\r\n");
    assert_damaged(scene, "GET big\r\n");
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(damaged_value_is_served_where_it_is_good, open_scene,
                                        close_scene),
    };

    if (argc != 2) {
        fprintf(stderr, "usage: %s FAULTLINE-SERVER\n", argv[0]);
        return 2;
    }
    program = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}

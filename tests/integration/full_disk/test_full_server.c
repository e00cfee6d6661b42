/* Goal:   a full disk is an -ERR to writes and nothing else: reads go on, DEL and FLUSHALL work, writes work
 *         again after a deletion or once the disk has space again, a failed command has no effect in part,
 *         nothing that was acknowledged is lost, not even by kill -9 and a restart on the full disk, and the
 *         server never exits.
 * Method: a filesystem of some MiB of the test's own, tmpfs (volatile mapping), ext4 on a loop device (page mapping) or
 *         a model device (model mapping) by the first argument, filled over TCP until writes are refused. The test
 *         keeps account of what was acknowledged. */
#include "tests/integration/support/subject.h"
#include "tests/lib/die.h"
#include "tests/unit/nosync/place.h"

#include <faultline/check.h>
#include <faultline/modelfs.h>

#include "base/clock.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    DISK_MIB = 48,
    BALLAST_MIB = 12,
    KEYS_MAX = 200000,
    VALUE_BYTES = 1000,
    PIPELINE = 50,
    READY_MS = 30000,
    DYING_MS = 5000,
    AGAIN_MS = 20000, /* until writes work again once there is room */
    SAID_MS = 5000,
    MEMBERS = 30, /* of an MSET or a transaction that can't fit */
    BIG_BYTES = 1 << 20,
};

struct settings {
    const char *program;
    const char *mapping;
    bool is_model;
    struct tmpdir disk;
};

static struct settings settings;

struct scene {
    struct subject subject;
    struct fl_client *client;
    char file[TMPDIR_PATH_BYTES]; /* the store, or the model device */
    char store[TMPDIR_PATH_BYTES + 16];
    char ballast[TMPDIR_PATH_BYTES];
    uint8_t versions[KEYS_MAX]; /* of what was acknowledged; 0: absent */
    unsigned keys;              /* tried so far */
};

static void
serve(struct scene *scene)
{
    const char *const flags[] = {
        "--store", scene->store,    "--mapping", settings.mapping, "--durability-min",
        "process", "--block-bytes", "256kb",     "--size-max",     "1gb",
        NULL};

    subject_start(&scene->subject, settings.program, flags, READY_MS);
    scene->client = subject_connect(&scene->subject, READY_MS);
}

/* The model device: made here if it isn't there, hosted here if no server does. */
static struct fl_modelfs *
attach_device(const struct scene *scene)
{
    struct fl_modelfs_options options;
    struct fl_modelfs *fs = NULL;

    fl_modelfs_options_init(&options);
    options.flags = FL_MODELFS_HOST | FL_MODELFS_FORMAT;
    options.size_bytes = (uint64_t)DISK_MIB << 20;
    options.block_bytes = 256 * 1024;
    if (fl_modelfs_attach(scene->file, &options, &fs) != FL_OK) {
        die("attach: %s", fl_last_error());
    }
    return fs;
}

static void
put_ballast(struct scene *scene)
{
    if (settings.is_model) {
        struct fl_modelfs *fs = attach_device(scene);

        assert_int_equal(fl_modelfs_create(fs, "ballast"), FL_OK);
        assert_int_equal(fl_modelfs_allocate(fs, "ballast", 0, (uint64_t)BALLAST_MIB << 20, false),
                         FL_OK);
        fl_modelfs_detach(fs);
        return;
    }
    const int fd = open(scene->ballast, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(posix_fallocate(fd, 0, (off_t)BALLAST_MIB << 20), 0);
    close(fd);
}

static void
remove_ballast(struct scene *scene)
{
    if (settings.is_model) {
        struct fl_modelfs *fs = attach_device(scene);

        assert_int_equal(fl_modelfs_unlink(fs, "ballast"), FL_OK);
        fl_modelfs_detach(fs);
        return;
    }
    assert_int_equal(unlink(scene->ballast), 0);
}

static void
open_scene(struct scene *scene)
{
    memset(scene, 0, sizeof(*scene));
    tmpdir_join(&settings.disk, "store", scene->file);
    snprintf(scene->store, sizeof(scene->store), settings.is_model ? "modelfs:%s/heap" : "%s",
             scene->file);
    tmpdir_join(&settings.disk, "ballast", scene->ballast);
    put_ballast(scene);
    serve(scene);
}

static void
close_scene(struct scene *scene)
{
    const struct fl_check_options options = {.struct_bytes = sizeof(options)};
    struct fl_check_report report = {0};

    fl_client_close(scene->client);
    subject_stop(&scene->subject, READY_MS);
    assert_int_equal(fl_check(scene->store, &options, &report), FL_OK);
    assert_int_equal(report.findings, 0);
    unlink(scene->file);
    unlink(scene->ballast);
}

static void
restart_by_force(struct scene *scene)
{
    fl_client_close(scene->client);
    subject_kill(&scene->subject);
    serve(scene);
}

static void
assert_alive(const struct scene *scene)
{
    assert_int_equal(waitpid(scene->subject.child.pid, NULL, WNOHANG), 0);
}

/* ---- what is written and read ---- */

static void
make(unsigned i, unsigned version, char key[16], char value[VALUE_BYTES + 1])
{
    snprintf(key, 16, "key:%06u", i % 1000000);
    memset(value, (int)('a' + (i + version) % 26), VALUE_BYTES);
    value[VALUE_BYTES] = '\0';
    snprintf(value, 20, "%06u.%03u", i % 1000000, version % 1000);
    value[10] = ' ';
}

/* The server hung up: say what it said. The disk is unmounted with the namespace of this process. */
static _Noreturn void
die_of_server(struct scene *scene)
{
    static char said[SUBJECT_LOG_BYTES];
    const bool ended = child_wait(&scene->subject.child, DYING_MS, said, sizeof(said));

    die("the server hung up (%s) and %s, status %#x; it said:\n%s", fl_last_error(),
        ended ? "ended" : "stayed", (unsigned)scene->subject.child.status, said);
}

static struct fl_client_reply *
next_reply(struct scene *scene)
{
    struct fl_client_reply *reply = NULL;

    if (fl_client_read(scene->client, &reply) != FL_OK) {
        die_of_server(scene);
    }
    return reply;
}

static struct fl_client_reply *
ask(struct scene *scene, size_t argc, const char *const *argv)
{
    assert_int_equal(fl_client_append(scene->client, argc, argv, NULL), FL_OK);
    return next_reply(scene);
}

/* Ask for an integer, an "OK" being 0. */
static int64_t
ask_number(struct scene *scene, size_t argc, const char *const *argv)
{
    struct fl_client_reply *reply = ask(scene, argc, argv);
    const int64_t number = fl_client_reply_integer(reply);

    if (fl_client_reply_type(reply) == FL_CLIENT_ERROR) {
        fail_msg("%s: %s", argv[0], fl_client_reply_text(reply, NULL));
    }
    fl_client_reply_destroy(reply);
    return number;
}

static void
assert_no_space(const struct fl_client_reply *reply)
{
    const char *text = fl_client_reply_text(reply, NULL);

    assert_int_equal(fl_client_reply_type(reply), FL_CLIENT_ERROR);
    if (strncmp(text, "ERR no space left", 17) != 0) {
        fail_msg("an error of another kind: %s", text);
    }
}

/* SET `count` keys from `first` on in a pipeline; keeps account; returns how many were refused. */
static unsigned
set_some(struct scene *scene, unsigned first, unsigned count)
{
    char key[16];
    char value[VALUE_BYTES + 1];
    const char *const argv[] = {"SET", key, value};
    unsigned refused = 0;

    for (unsigned i = first; i < first + count; i++) {
        make(i, scene->versions[i] + 1U, key, value);
        assert_int_equal(fl_client_append(scene->client, 3, argv, NULL), FL_OK);
    }
    for (unsigned i = first; i < first + count; i++) {
        struct fl_client_reply *reply = next_reply(scene);

        if (fl_client_reply_type(reply) == FL_CLIENT_STATUS) {
            scene->versions[i]++;
        } else {
            assert_no_space(reply);
            refused++;
        }
        fl_client_reply_destroy(reply);
    }
    return refused;
}

/* Until whole pipelines are refused, again after a moment: the cleaner may find something. */
static void
fill(struct scene *scene)
{
    const struct timespec pause = {.tv_nsec = 100000000};
    unsigned refused_in_a_row = 0;
    const unsigned before = scene->keys;

    while (refused_in_a_row < 5) {
        assert_true(scene->keys + PIPELINE <= KEYS_MAX);
        if (set_some(scene, scene->keys, PIPELINE) == PIPELINE) {
            refused_in_a_row++;
            nanosleep(&pause, NULL);
        } else {
            refused_in_a_row = 0;
        }
        scene->keys += PIPELINE;
    }
    print_message("full after %u more keys, %lu KiB in the file\n", scene->keys - before,
                  (unsigned long)(subject_info(scene->client, "file_bytes") >> 10));
}

/* Every key has what was acknowledged. */
static void
verify(struct scene *scene)
{
    char key[16];
    char value[VALUE_BYTES + 1];
    const char *const argv[] = {"GET", key};
    uint64_t there = 0;

    for (unsigned first = 0; first < scene->keys; first += PIPELINE) {
        for (unsigned i = first; i < first + PIPELINE; i++) {
            make(i, 0, key, value);
            assert_int_equal(fl_client_append(scene->client, 2, argv, NULL), FL_OK);
        }
        for (unsigned i = first; i < first + PIPELINE; i++) {
            struct fl_client_reply *reply = next_reply(scene);

            if (scene->versions[i] == 0) {
                assert_int_equal(fl_client_reply_type(reply), FL_CLIENT_NIL);
            } else {
                make(i, scene->versions[i], key, value);
                assert_int_equal(fl_client_reply_type(reply), FL_CLIENT_STRING);
                assert_string_equal(fl_client_reply_text(reply, NULL), value);
                there++;
            }
            fl_client_reply_destroy(reply);
        }
    }
    assert_int_equal(ask_number(scene, 1, (const char *const[]){"DBSIZE"}), there);
}

static void
delete_pipeline(struct scene *scene, const unsigned *which, unsigned count)
{
    char key[16];
    char value[VALUE_BYTES + 1];
    const char *const argv[] = {"DEL", key};

    for (unsigned n = 0; n < count; n++) {
        make(which[n], 0, key, value);
        assert_int_equal(fl_client_append(scene->client, 2, argv, NULL), FL_OK);
    }
    for (unsigned n = 0; n < count; n++) {
        struct fl_client_reply *reply = next_reply(scene);

        if (fl_client_reply_integer(reply) != 1) {
            fail_msg("DEL: %s", fl_client_reply_text(reply, NULL));
        }
        fl_client_reply_destroy(reply);
        scene->versions[which[n]] = 0;
    }
}

/* All keys that are there but every `every`-th. */
static void
delete_some(struct scene *scene, unsigned every)
{
    unsigned which[PIPELINE];
    unsigned count = 0;

    for (unsigned i = 0; i < scene->keys; i++) {
        if (i % every != 0 && scene->versions[i] != 0) {
            which[count++] = i;
        }
        if (count == PIPELINE || i + 1 == scene->keys) {
            delete_pipeline(scene, which, count);
            count = 0;
        }
    }
}

/* Within AGAIN_MS `count` new keys can be set. */
static void
assert_writes_work_again(struct scene *scene, unsigned count)
{
    const uint64_t begin_ns = clock_mono_ns();
    const struct timespec pause = {.tv_nsec = 20000000};
    unsigned done = 0;

    while (done < count) {
        const unsigned refused = set_some(scene, scene->keys, PIPELINE);

        scene->keys += PIPELINE;
        done += PIPELINE - refused;
        if (refused > 0) {
            nanosleep(&pause, NULL);
        }
        if (clock_mono_ns() - begin_ns > (uint64_t)AGAIN_MS * CLOCK_NS_PER_MS) {
            fail_msg("%u of %u writes in %d ms", done, count, AGAIN_MS);
        }
    }
    print_message("%u writes worked again, within %lu ms\n", done,
                  (unsigned long)((clock_mono_ns() - begin_ns) / CLOCK_NS_PER_MS));
}

/* ---- what a full disk refuses ---- */

/* An MSET and a transaction larger than what is left: refused whole. */
static void
refuse_whole(struct scene *scene)
{
    static char value[BIG_BYTES / 8];
    const char *argv[1 + 2 * MEMBERS] = {"MSET"};
    char names[MEMBERS][16];

    memset(value, 'x', sizeof(value) - 1);
    for (unsigned i = 0; i < MEMBERS; i++) {
        snprintf(names[i], sizeof(names[i]), "m:%02u", i);
        argv[1 + 2 * i] = names[i];
        argv[2 + 2 * i] = value;
    }
    struct fl_client_reply *reply = ask(scene, 1 + 2 * (size_t)MEMBERS, argv);

    assert_no_space(reply);
    fl_client_reply_destroy(reply);

    fl_client_reply_destroy(ask(scene, 1, (const char *const[]){"MULTI"}));
    for (unsigned i = 0; i < MEMBERS; i++) {
        fl_client_reply_destroy(ask(scene, 3, (const char *const[]){"SET", names[i], value}));
    }
    reply = ask(scene, 1, (const char *const[]){"EXEC"});
    assert_true(fl_client_reply_type(reply) == FL_CLIENT_ERROR);
    fl_client_reply_destroy(reply);
    for (unsigned i = 0; i < MEMBERS; i++) {
        assert_int_equal(ask_number(scene, 2, (const char *const[]){"EXISTS", names[i]}), 0);
    }
}

static void
refuse_big(struct scene *scene)
{
    static char value[BIG_BYTES * 4];

    memset(value, 'y', sizeof(value) - 1);
    struct fl_client_reply *reply = ask(scene, 3, (const char *const[]){"SET", "big", value});

    assert_no_space(reply);
    fl_client_reply_destroy(reply);
    assert_int_equal(ask_number(scene, 2, (const char *const[]){"EXISTS", "big"}), 0);
}

/* ---- tests ---- */

static struct scene scene;

static void
assert_said(struct scene *s, const char *words)
{
    static char said[SUBJECT_LOG_BYTES];

    if (!child_expect(&s->subject.child, words, SAID_MS, said, sizeof(said))) {
        fail_msg("the server didn't say \"%s\" but:\n%s", words, said);
    }
}

static void
full_disk_refuses_writes_and_serves_the_rest(void **state)
{
    (void)state;
    open_scene(&scene);
    fill(&scene);
    assert_said(&scene, "the file can't grow");
    verify(&scene);
    refuse_whole(&scene);
    refuse_big(&scene);
    verify(&scene);
    assert_alive(&scene);

    delete_some(&scene, 3);
    assert_writes_work_again(&scene, scene.keys / 4);
    assert_said(&scene, "the file has room again");
    verify(&scene);
    restart_by_force(&scene);
    verify(&scene);
    close_scene(&scene);
}

static void
flushall_on_a_full_disk_makes_room(void **state)
{
    (void)state;
    open_scene(&scene);
    fill(&scene);
    assert_int_equal(ask_number(&scene, 1, (const char *const[]){"FLUSHALL"}), 0);
    memset(scene.versions, 0, sizeof(scene.versions));
    assert_int_equal(ask_number(&scene, 1, (const char *const[]){"DBSIZE"}), 0);
    assert_writes_work_again(&scene, scene.keys / 2);
    verify(&scene);
    close_scene(&scene);
}

static void
space_given_back_to_the_disk_lets_writes_go_on(void **state)
{
    (void)state;
    open_scene(&scene);
    fill(&scene);
    remove_ballast(&scene);
    assert_writes_work_again(&scene, ((BALLAST_MIB - 4) << 20) / (VALUE_BYTES + 64));
    verify(&scene);
    close_scene(&scene);
}

static void
server_killed_on_a_full_disk_starts_again_and_can_delete(void **state)
{
    (void)state;
    open_scene(&scene);
    fill(&scene);
    restart_by_force(&scene);
    verify(&scene);
    restart_by_force(&scene);
    delete_some(&scene, 2);
    assert_writes_work_again(&scene, scene.keys / 4);
    verify(&scene);
    close_scene(&scene);
}

/* Filled and emptied again and again, killed in between: no space leaks away. */
static void
full_disk_emptied_again_and_again_takes_as_much_each_time(void **state)
{
    unsigned first = 0;

    (void)state;
    open_scene(&scene);
    for (unsigned round = 0; round < 4; round++) {
        const unsigned before = scene.keys;

        fill(&scene);
        const unsigned took = scene.keys - before;

        first = round == 0 ? took : first;
        assert_true(took * 10 >= first * 8);
        delete_some(&scene, KEYS_MAX);
        restart_by_force(&scene);
    }
    verify(&scene);
    close_scene(&scene);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_disk_refuses_writes_and_serves_the_rest),
        cmocka_unit_test(flushall_on_a_full_disk_makes_room),
        cmocka_unit_test(space_given_back_to_the_disk_lets_writes_go_on),
        cmocka_unit_test(server_killed_on_a_full_disk_starts_again_and_can_delete),
        cmocka_unit_test(full_disk_emptied_again_and_again_takes_as_much_each_time),
    };

    if (argc != 3) {
        die("usage: %s tmpfs|ext4|model SERVER", argv[0]);
    }
    settings.program = argv[2];
    settings.is_model = strcmp(argv[1], "model") == 0;
    if (settings.is_model) {
        settings.mapping = "model";
        place_need_userfaultfd();
        tmpdir_create(&settings.disk);
    } else if (strcmp(argv[1], "ext4") == 0) {
        settings.mapping = "page";
        place_ext4(&settings.disk, (uint64_t)DISK_MIB << 20, NULL);
    } else {
        settings.mapping = "volatile";
        place_tmpfs(&settings.disk, (uint64_t)DISK_MIB << 20);
    }
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);

    if (settings.is_model) {
        tmpdir_destroy(&settings.disk);
    } else {
        place_remove(&settings.disk);
    }
    return failed;
}

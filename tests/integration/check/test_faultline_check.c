/* Goal:   faultline-check says of every file what it is: clean (0), damaged (1), not to be checked (2); names each
 *         kind of damage with its place; and with --repair leaves a store that holds all that was not hit, beside
 *         the damaged file.
 * Method: the program, run on stores made here through the public API (contents of every kind, 4 KiB blocks),
 *         damaged by hand; on files that are none; while somebody has the store open; with too little room for the
 *         repair. */
#include <faultline/check.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "storage/heap/heap_layout.h"
#include "storage/log/log_layout.h"
#include "tests/golden/contents.h"
#include "tests/lib/child.h"
#include "tests/lib/die.h"
#include "tests/lib/tmpdir.h"

#include <jansson.h>

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { ALL = 63, SEED = 9, OUT_BYTES = 65536, TIMEOUT_MS = 20000, BLOCK = CONTENTS_BLOCK_BYTES };

static char *program;

struct subject {
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    char damaged[TMPDIR_PATH_BYTES + 16];
    char repaired[TMPDIR_PATH_BYTES + 16];
    struct contents contents;
    uint8_t *bytes; /* the file as it was */
    size_t len;
    char out[OUT_BYTES]; /* of the last run, stdout and stderr */
};

static struct subject s;

static uint8_t *
file_read(const char *path, size_t *len)
{
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) != 0) {
        die_errno("open %s", path);
    }
    uint8_t *bytes = malloc((size_t)st.st_size + 1);

    *len = (size_t)st.st_size;
    if (bytes == NULL || pread(fd, bytes, *len, 0) != (ssize_t)*len) {
        die("read %s", path);
    }
    close(fd);
    return bytes;
}

static void
file_write(const char *path, const void *bytes, size_t len)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0 || write(fd, bytes, len) != (ssize_t)len || close(fd) != 0) {
        die_errno("write %s", path);
    }
}

static bool
exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static fl_status
open_store(unsigned flags, struct fl_store **store)
{
    struct fl_options options;

    contents_options(&s.contents, &options);
    options.flags = flags;
    return fl_open(s.path, &options, store);
}

static int
setup(void **state)
{
    (void)state;
    memset(&s, 0, sizeof(s));
    tmpdir_create(&s.dir);
    tmpdir_join(&s.dir, "store.fl", s.path);
    snprintf(s.damaged, sizeof(s.damaged), "%s.damaged", s.path);
    snprintf(s.repaired, sizeof(s.repaired), "%s.repaired", s.path);
    s.contents.now_ms = CONTENTS_BEGIN_MS;
    assert_int_equal(open_store(FL_OPEN_CREATE, &s.contents.store), FL_OK);
    contents_write(&s.contents, ALL, SEED);
    assert_int_equal(fl_close(s.contents.store), FL_OK);
    s.bytes = file_read(s.path, &s.len);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    free(s.bytes);
    tmpdir_destroy(&s.dir);
    return 0;
}

/* Run with up to two options and a path; returns the exit status, -1 if it didn't end by itself. */
static int
run(const char *option, const char *option2, const char *path)
{
    char *argv[5] = {program};
    struct child child;
    int argc = 1;

    for (int i = 0; i < 3; i++) {
        const char *arg = i == 0 ? option : i == 1 ? option2 : path;

        if (arg != NULL) {
            argv[argc++] = strdup(arg);
        }
    }
    child_start(&child, argv);
    const bool ended = child_wait(&child, TIMEOUT_MS, s.out, sizeof(s.out));

    for (int i = 1; i < argc; i++) {
        free(argv[i]);
    }
    for (int code = 0; ended && code < 126; code++) {
        if (child_exited(&child, code)) {
            return code;
        }
    }
    return -1;
}

static void
expect(int code, const char *text)
{
    const int got = run(NULL, NULL, s.path);

    if (got != code || strstr(s.out, text) == NULL) {
        fail_msg("exit %d with %s, expected %d with %s", got, s.out, code, text);
    }
}

/* The first block that the table gives this state and that has something in it; 0: none. */
static uint32_t
block_in_state(unsigned wanted)
{
    for (uint32_t block = 2; (block + 1) * BLOCK <= s.len && block < BLOCK / 32; block++) {
        const uint64_t word = bytes_get_le64(s.bytes + BLOCK + (size_t)block * 32);

        if (((word >> 32) & 15) == wanted) {
            return block;
        }
    }
    fail_msg("no block in state %u", wanted);
    return 0;
}

static void
file_put(uint64_t off, const void *bytes, size_t len)
{
    const int fd = open(s.path, O_WRONLY | O_CLOEXEC);

    if (fd < 0 || pwrite(fd, bytes, len, (off_t)off) != (ssize_t)len || close(fd) != 0) {
        die_errno("write %s", s.path);
    }
}

static void
file_flip(uint64_t off)
{
    const uint8_t byte = s.bytes[off] ^ 0x11;

    file_put(off, &byte, 1);
}

static void
clean_store_exits_zero(void **state)
{
    (void)state;
    expect(0, "clean: 0 findings");
    assert_int_equal(run("--repair", NULL, s.path), 0);
    assert_false(exists(s.damaged));
    assert_int_equal(run("--quiet", NULL, s.path), 0);
    assert_string_equal(s.out, "");
}

static void
killed_store_exits_zero(void **state)
{
    struct contents contents;
    uint64_t len = 0;

    (void)state;
    uint8_t *image = contents_image(&contents, ALL, SEED, false, &len);

    file_write(s.path, image, len);
    free(image);
    expect(0, "clean: 0 findings");
}

static void
check_leaves_every_byte_as_it_was(void **state)
{
    size_t len = 0;

    (void)state;
    file_flip((uint64_t)block_in_state(1) * BLOCK + 200);
    uint8_t *before = file_read(s.path, &len);

    assert_int_equal(run(NULL, NULL, s.path), 1);
    uint8_t *after = file_read(s.path, &len);

    assert_memory_equal(after, before, len);
    free(before);
    free(after);
}

static void
each_kind_of_damage_is_named(void **state)
{
    const uint64_t log = (uint64_t)block_in_state(1) * BLOCK;
    const uint64_t blob = (uint64_t)block_in_state(2) * BLOCK;
    const struct {
        uint64_t off;
        const char *rule;
    } cases[] = {
        {4, "superblock at 0,"},
        {BLOCK / 2 + 9, "superblock at 2048,"},
        {HEAP_CLOCK_OFF + 2, "clock at 512,"},
        {heap_half_off(BLOCK, 1, HEAP_CLOCK_OFF), "clock at 2560,"},
        {BLOCK + 5 * 32 + 1, "table-word at 4256,"},
        {log + 9, "segment-header at "},
        {log + LOG_SEAL_OFF, "seal-word at "},
        {log + LOG_LINK_OFF, "link-"},
        {log + LOG_HEADER_BYTES + 13, "frame at "},
        {blob + 4096 + 7, "blob at "},
        {blob + LOG_HEADER_BYTES + 1, "blob at "},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        file_flip(cases[i].off);
        expect(1, cases[i].rule);
        assert_non_null(strstr(s.out, "faultline-check --repair"));
        assert_non_null(strstr(s.out, ": damaged: "));
        assert_int_equal(run("-q", NULL, s.path), 1);
        assert_string_equal(s.out, "");
        file_put(cases[i].off, s.bytes + cases[i].off, 1);
        expect(0, "clean");
    }
    file_flip(HEAP_ROOT_OFF);
    file_flip(heap_half_off(BLOCK, 1, HEAP_ROOT_OFF));
    expect(1, "root at 1024,");
}

static void
file_cut_short_is_damaged(void **state)
{
    (void)state;
    assert_int_equal(truncate(s.path, (off_t)(s.len / 2)), 0);
    expect(1, "file-cut at ");
    assert_int_equal(truncate(s.path, BLOCK + 100), 0);
    expect(1, "store at 0,");
    assert_int_equal(truncate(s.path, 100), 0);
    expect(2, "too short for a store");
}

static void
file_that_is_no_store_is_not_checked(void **state)
{
    char junk[3 * BLOCK];

    (void)state;
    memset(junk, 'j', sizeof(junk));
    file_write(s.path, junk, sizeof(junk));
    expect(2, "not a store");
    assert_int_equal(run("--repair", NULL, s.path), 2);
    file_write(s.path, "", 0);
    expect(2, "empty");
    assert_int_equal(run(NULL, NULL, s.dir.path), 2);
    assert_non_null(strstr(s.out, "directory"));
    assert_int_equal(run(NULL, NULL, "/dev/null"), 2);
    assert_int_equal(run(NULL, NULL, s.repaired), 2);
    assert_non_null(strstr(s.out, "FL_NOT_FOUND"));
    assert_false(exists(s.repaired));
}

static void
store_of_a_newer_version_is_not_checked(void **state)
{
    static const uint64_t offs[] = {0, BLOCK / 2};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct heap_super_media super;

        memcpy(&super, s.bytes + offs[i], sizeof(super));
        bytes_put_le32(&super.version, HEAP_VERSION + 1);
        bytes_put_le32(&super.crc, crc32c(0, &super, offsetof(struct heap_super_media, crc)));
        file_put(offs[i], &super, sizeof(super));
    }
    expect(2, "FL_VERSION");
    assert_non_null(strstr(s.out, "newer"));
}

static void
store_in_use_is_not_checked(void **state)
{
    struct fl_store *store = NULL;

    (void)state;
    assert_int_equal(open_store(0, &store), FL_OK);
    expect(2, "FL_BUSY");
    assert_int_equal(run("--repair", NULL, s.path), 2);
    assert_int_equal(fl_close(store), FL_OK);
    expect(0, "clean");
}

static void
wrong_usage_exits_two_and_says_how(void **state)
{
    (void)state;
    assert_int_equal(run(NULL, NULL, NULL), 2);
    assert_non_null(strstr(s.out, "--help"));
    assert_int_equal(run("--no-such-option", NULL, s.path), 2);
    assert_non_null(strstr(s.out, "--help"));
    assert_int_equal(run(s.path, NULL, s.path), 2);
    assert_int_equal(run("--help", NULL, NULL), 0);
    assert_non_null(strstr(s.out, "--repair"));
    assert_int_equal(run("--version", NULL, NULL), 0);
    assert_non_null(strstr(s.out, fl_version()));
}

static json_t *
json_of_run(void)
{
    json_error_t error;
    json_t *root = json_loads(s.out, 0, &error);

    if (root == NULL) {
        fail_msg("%s: %s", error.text, s.out);
    }
    return root;
}

static void
json_is_valid_and_says_the_same(void **state)
{
    (void)state;
    assert_int_equal(run("--json", NULL, s.path), 0);
    json_t *root = json_of_run();

    assert_string_equal(json_string_value(json_object_get(root, "result")), "clean");
    assert_string_equal(json_string_value(json_object_get(root, "path")), s.path);
    assert_int_equal(json_array_size(json_object_get(root, "findings")), 0);
    assert_true(json_integer_value(json_object_get(root, "keys")) > 50);
    json_decref(root);

    file_flip((uint64_t)block_in_state(1) * BLOCK + LOG_HEADER_BYTES + 13);
    file_flip(BLOCK / 2);
    assert_int_equal(run("--json", NULL, s.path), 1);
    root = json_of_run();
    const json_t *first = json_array_get(json_object_get(root, "findings"), 0);

    assert_string_equal(json_string_value(json_object_get(root, "result")), "damaged");
    assert_true(json_array_size(json_object_get(root, "findings")) >= 2);
    assert_string_equal(json_string_value(json_object_get(first, "rule")), "superblock");
    assert_int_equal(json_integer_value(json_object_get(first, "off")), BLOCK / 2);
    json_decref(root);

    assert_int_equal(run("--json", NULL, "/no \"such\" \xff file"), 2);
    root = json_of_run();
    assert_string_equal(json_string_value(json_object_get(root, "status")), "FL_NOT_FOUND");
    json_decref(root);
}

/* Every key is as it was, or gone; returns how many are. By the wall clock, which the program goes by, some have
 * expired. */
static unsigned
keys_missing(void)
{
    struct fl_store *store = NULL;
    unsigned missing = 0;

    assert_int_equal(open_store(FL_OPEN_READ_ONLY, &store), FL_OK);
    for (unsigned space = 0; space < CONTENTS_SPACES; space++) {
        for (unsigned i = 0; i < CONTENTS_KEYS; i++) {
            const enum contents_answer answer =
                contents_ask(store, space, i, &s.contents.entries[space][i], s.contents.now_ms);

            assert_true(answer == CONTENTS_RIGHT || answer == CONTENTS_MISSING);
            missing += answer == CONTENTS_MISSING &&
                       s.contents.entries[space][i].deadline_ms != CONTENTS_SOON_MS;
        }
    }
    assert_int_equal(fl_close(store), FL_OK);
    return missing;
}

static void
repair_keeps_the_damaged_file_and_all_that_was_not_hit(void **state)
{
    struct stat st;
    size_t len = 0;

    (void)state;
    assert_int_equal(chmod(s.path, 0640), 0);
    /* A big value and the tail's frame: one key each, of which no older version is left to show. */
    file_flip((uint64_t)block_in_state(2) * BLOCK + 4096);
    file_flip(BLOCK + 3 * 32); /* and a table word, which costs nothing */
    uint8_t *damaged = file_read(s.path, &len);

    assert_int_equal(run("--repair", NULL, s.path), 1);
    assert_non_null(strstr(s.out, "repaired"));
    assert_non_null(strstr(s.out, s.damaged));
    assert_false(exists(s.repaired));
    uint8_t *kept = file_read(s.damaged, &len);

    assert_int_equal(len, s.len);
    assert_memory_equal(kept, damaged, len);
    assert_int_equal(stat(s.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    expect(0, "clean");
    assert_int_equal(keys_missing(), 1);
    free(kept);
    free(damaged);
}

static void
repair_through_a_link_repairs_what_it_leads_to(void **state)
{
    char folder[TMPDIR_PATH_BYTES];
    char link[TMPDIR_PATH_BYTES];
    struct stat st;

    (void)state;
    assert_int_equal(mkdir(tmpdir_join(&s.dir, "elsewhere", folder), 0755), 0);
    assert_int_equal(symlink(s.path, tmpdir_join(&s.dir, "elsewhere/link", link)), 0);
    file_flip((uint64_t)block_in_state(2) * BLOCK + 4096);
    assert_int_equal(run("--repair", NULL, link), 1);
    assert_non_null(strstr(s.out, s.damaged));
    assert_true(exists(s.damaged));
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    expect(0, "clean");
}

static void
repair_is_refused_over_an_earlier_one(void **state)
{
    size_t len = 0;

    (void)state;
    file_flip((uint64_t)block_in_state(2) * BLOCK + 4096);
    uint8_t *before = file_read(s.path, &len);

    file_write(s.damaged, "precious", 8);
    assert_int_equal(run("--repair", NULL, s.path), 2);
    assert_non_null(strstr(s.out, "FL_EXISTS"));
    assert_non_null(strstr(s.out, s.damaged));
    assert_int_equal(unlink(s.damaged), 0);
    file_write(s.repaired, "precious", 8);
    assert_int_equal(run("--repair", NULL, s.path), 2);
    assert_non_null(strstr(s.out, s.repaired));
    uint8_t *precious = file_read(s.repaired, &len);

    assert_int_equal(len, 8);
    assert_memory_equal(precious, "precious", 8);
    uint8_t *after = file_read(s.path, &len);

    assert_memory_equal(after, before, len);
    free(before);
    free(after);
    free(precious);
    assert_int_equal(unlink(s.repaired), 0);
    assert_int_equal(run("--repair", NULL, s.path), 1);
}

/* The limit on a file's size stands for a full disk: growing fails, and no other file is hit. */
static void
repair_on_a_full_disk_leaves_all_as_it_was(void **state)
{
    struct rlimit saved;
    size_t len = 0;

    (void)state;
    file_flip((uint64_t)block_in_state(2) * BLOCK + 4096);
    uint8_t *before = file_read(s.path, &len);

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &saved), 0);
    const struct rlimit small = {20 * BLOCK, saved.rlim_max};

    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    signal(SIGXFSZ, SIG_IGN); /* inherited: growing returns an error */
    const int code = run("--repair", NULL, s.path);

    assert_int_equal(setrlimit(RLIMIT_FSIZE, &saved), 0);
    assert_int_equal(code, 2);
    assert_non_null(strstr(s.out, "FL_NO_SPACE"));
    assert_non_null(strstr(s.out, "not repaired"));
    assert_false(exists(s.damaged));
    assert_false(exists(s.repaired));
    uint8_t *after = file_read(s.path, &len);

    assert_int_equal(len, s.len);
    assert_memory_equal(after, before, len);
    assert_int_equal(run("--repair", NULL, s.path), 1);
    assert_int_equal(keys_missing(), 1);
    free(before);
    free(after);
}

static void
repair_of_a_file_cut_short_saves_what_is_left(void **state)
{
    (void)state;
    assert_int_equal(truncate(s.path, (off_t)(s.len - 10 * BLOCK)), 0);
    assert_int_equal(run("--repair", NULL, s.path), 1);
    expect(0, "clean");
    /* Not even its table: nothing can be saved, nothing is touched. */
    assert_int_equal(unlink(s.damaged), 0);
    assert_int_equal(truncate(s.path, BLOCK + 5), 0);
    assert_int_equal(run("--repair", NULL, s.path), 2);
    assert_false(exists(s.damaged));
    assert_false(exists(s.repaired));
}

#define CHECK(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        CHECK(clean_store_exits_zero),
        CHECK(killed_store_exits_zero),
        CHECK(check_leaves_every_byte_as_it_was),
        CHECK(each_kind_of_damage_is_named),
        CHECK(file_cut_short_is_damaged),
        CHECK(file_that_is_no_store_is_not_checked),
        CHECK(store_of_a_newer_version_is_not_checked),
        CHECK(store_in_use_is_not_checked),
        CHECK(wrong_usage_exits_two_and_says_how),
        CHECK(json_is_valid_and_says_the_same),
        CHECK(repair_keeps_the_damaged_file_and_all_that_was_not_hit),
        CHECK(repair_through_a_link_repairs_what_it_leads_to),
        CHECK(repair_is_refused_over_an_earlier_one),
        CHECK(repair_on_a_full_disk_leaves_all_as_it_was),
        CHECK(repair_of_a_file_cut_short_saves_what_is_left),
    };

    if (argc != 2) {
        die("usage: %s PATH-OF-FAULTLINE-CHECK", argv[0]);
    }
    program = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}

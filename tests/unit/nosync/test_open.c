/* Goal:   opening takes what the request says and nothing else: the right file, locked, mapped as the kind that
 *         was granted; everything else is refused with a status and a text, and leaves no trace.
 * Method: real files in a directory of the test's own and on /dev/shm; other holders of the lock are other
 *         opens of the same file, which flock() treats as it treats other processes.
 */
#include "place.h"
#include "tests/lib/die.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE_MAX_BYTES (64 * PLACE_BLOCK)

struct fixture {
    struct tmpdir dir;
    char path[TMPDIR_PATH_BYTES];
    struct nosync_request request;
    struct nosync_map *map;
};

static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    tmpdir_create(&f->dir);
    f->request =
        place_request(tmpdir_join(&f->dir, "heap", f->path), FL_MAPPING_PAGE, SIZE_MAX_BYTES);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;

    tmpdir_destroy(&f->dir);
    free(f);
    return 0;
}

static void
assert_refused(const struct nosync_request *request, fl_status status, const char *text)
{
    struct nosync_map *map = NULL;

    assert_string_equal(fl_status_name(nosync_open(request, &map)), fl_status_name(status));
    assert_null(map);
    if (strstr(fl_last_error(), text) == NULL) {
        fail_msg("no \"%s\" in \"%s\"", text, fl_last_error());
    }
}

static bool
is_there(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

static void
absent_file_is_created_only_on_request(void **state)
{
    struct fixture *f = *state;

    f->request.create = false;
    assert_refused(&f->request, FL_NOT_FOUND, f->path);
    assert_false(is_there(f->path));

    f->request.create = true;
    struct nosync_map *map = place_open(&f->request);

    assert_true(map->grant.created);
    assert_int_equal(nosync_size_bytes(map), 0);
    nosync_close(map);

    map = place_open(&f->request);
    assert_false(map->grant.created);
    nosync_close(map);
}

static void
exclusive_create_refuses_what_is_there(void **state)
{
    struct fixture *f = *state;

    f->request.exclusive = true;
    nosync_close(place_open(&f->request));
    assert_refused(&f->request, FL_EXISTS, f->path);
    assert_true(is_there(f->path));
}

static void
missing_directory_is_not_found(void **state)
{
    struct fixture *f = *state;
    char path[TMPDIR_PATH_BYTES];

    f->request.path = tmpdir_join(&f->dir, "none/heap", path);
    assert_refused(&f->request, FL_NOT_FOUND, path);
}

static void
what_is_no_regular_file_is_invalid(void **state)
{
    struct fixture *f = *state;
    char path[TMPDIR_PATH_BYTES];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    f->request.path = f->dir.path;
    assert_refused(&f->request, FL_INVALID, "directory");
    f->request.path = "/dev/null";
    assert_refused(&f->request, FL_INVALID, "character device");

    f->request.path = tmpdir_join(&f->dir, "pipe", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_refused(&f->request, FL_INVALID, "pipe");

    f->request.path = tmpdir_join(&f->dir, "socket", path);
    assert_true(strlen(path) < sizeof(address.sun_path));
    memcpy(address.sun_path, path, strlen(path));
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_refused(&f->request, FL_INVALID, "socket");
    assert_int_equal(close(fd), 0);

    f->request.path = tmpdir_join(&f->dir, "link-to-dir", path);
    assert_int_equal(symlink(f->dir.path, path), 0);
    assert_refused(&f->request, FL_INVALID, "directory");
    f->request.path = "";
    assert_refused(&f->request, FL_INVALID, "path");
}

static void
link_to_a_file_is_followed(void **state)
{
    struct fixture *f = *state;
    char path[TMPDIR_PATH_BYTES];

    nosync_close(place_open(&f->request));
    f->request.path = tmpdir_join(&f->dir, "link", path);
    assert_int_equal(symlink(f->path, path), 0);
    struct nosync_map *map = place_open(&f->request);

    assert_int_equal(nosync_fault_in(map, 0, PLACE_BLOCK), FL_OK);
    nosync_close(map);
    f->request.path = f->path;
    map = place_open(&f->request);
    assert_int_equal(nosync_size_bytes(map), PLACE_BLOCK);
    nosync_close(map);
}

static void
dangling_link_is_refused_and_left_alone(void **state)
{
    struct fixture *f = *state;
    char path[TMPDIR_PATH_BYTES];

    f->request.path = tmpdir_join(&f->dir, "link", path);
    assert_int_equal(symlink(f->path, path), 0);
    assert_refused(&f->request, FL_IO, "symbolic link");
    assert_true(is_there(path));
    assert_false(is_there(f->path));
}

static void
second_writer_is_busy_until_the_first_closes(void **state)
{
    struct fixture *f = *state;
    struct nosync_map *map = place_open(&f->request);
    struct nosync_request reader = f->request;

    reader.read_only = true;
    assert_refused(&f->request, FL_BUSY, "in use");
    assert_refused(&reader, FL_BUSY, "in use");
    nosync_close(map);
    nosync_close(place_open(&f->request));
}

static void
readers_share_and_keep_writers_out(void **state)
{
    struct fixture *f = *state;
    struct nosync_request reader = f->request;

    nosync_close(place_open(&f->request));
    reader.read_only = true;
    struct nosync_map *one = place_open(&reader);
    struct nosync_map *two = place_open(&reader);

    assert_refused(&f->request, FL_BUSY, "in use");
    nosync_close(one);
    assert_refused(&f->request, FL_BUSY, "in use");
    nosync_close(two);
    nosync_close(place_open(&f->request));
}

static void
refused_while_locked_leaves_the_file(void **state)
{
    struct fixture *f = *state;
    const int fd = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    const struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

    /* A POSIX record lock is none of ours. */
    assert_int_equal(fcntl(fd, F_SETLK, &whole), 0);
    struct nosync_map *map = place_open(&f->request);

    assert_refused(&f->request, FL_BUSY, f->path);
    assert_true(is_there(f->path));
    nosync_close(map);
    assert_int_equal(close(fd), 0);
}

static void
read_only_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct nosync_map *map = place_open(&f->request);

    assert_int_equal(nosync_fault_in(map, 0, PLACE_BLOCK), FL_OK);
    nosync_close(map);
    f->request.read_only = true;
    for (int mapping = FL_MAPPING_PAGE; mapping <= FL_MAPPING_VOLATILE; mapping++) {
        f->request.mapping = (enum fl_mapping)mapping;
        map = place_open(&f->request);
        assert_null(map->media.base_store);
        assert_int_equal(map->media.base[PLACE_BLOCK - 1], 0);
        assert_int_equal(nosync_fault_in(map, PLACE_BLOCK, PLACE_BLOCK), FL_READ_ONLY);
        assert_int_equal(nosync_punch(map, 0, PLACE_BLOCK), FL_READ_ONLY);
        assert_int_equal(nosync_size_bytes(map), PLACE_BLOCK);
        nosync_close(map);
    }
    f->request.path = "/nonexistent";
    assert_refused(&f->request, FL_NOT_FOUND, "/nonexistent");
}

static void
request_out_of_range_is_invalid(void **state)
{
    struct fixture *f = *state;
    struct nosync_map *map = place_open(&f->request);

    assert_int_equal(nosync_fault_in(map, 0, 2 * PLACE_BLOCK), FL_OK);
    nosync_close(map);
    f->request.size_bytes_max = PLACE_BLOCK;
    assert_refused(&f->request, FL_INVALID, "limit");
    f->request.size_bytes_max = 0;
    assert_refused(&f->request, FL_INVALID, "size_bytes_max");
    f->request.size_bytes_max = UINT64_MAX;
    assert_refused(&f->request, FL_INVALID, "size_bytes_max");
    f->request.size_bytes_max = SIZE_MAX_BYTES;
    f->request.map_align = 0;
    assert_refused(&f->request, FL_INVALID, "map_align");
    f->request.map_align = 12288;
    assert_refused(&f->request, FL_INVALID, "map_align");
}

static void
address_is_aligned_as_asked(void **state)
{
    struct fixture *f = *state;

    for (uint64_t align = 4096; align <= (UINT64_C(1) << 30); align <<= 3) {
        f->request.map_align = (uint32_t)align;
        struct nosync_map *map = place_open(&f->request);

        assert_int_equal((uintptr_t)map->media.base % align, 0);
        nosync_close(map);
    }
}

/* The sanitizers lay claim to most of the address space. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static void
terabyte_of_address_space_is_reserved_and_free(void **state)
{
    struct fixture *f = *state;
    struct nosync_map *map;

    if (SANITIZED) {
        skip();
    }
    f->request.size_bytes_max = UINT64_C(1) << 40;
    map = place_open(&f->request);
    assert_int_equal(nosync_fault_in(map, 0, PLACE_BLOCK), FL_OK);
    assert_int_equal(nosync_file_bytes(map), PLACE_BLOCK);
    nosync_close(map);
}

static void
no_address_space_is_no_memory(void **state)
{
    struct fixture *f = *state;
    struct rlimit before;
    struct rlimit tight;

    if (SANITIZED) {
        skip();
    }
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    tight = before;
    tight.rlim_cur = UINT64_C(4) << 30;
    assert_int_equal(setrlimit(RLIMIT_AS, &tight), 0);
    f->request.size_bytes_max = UINT64_C(1) << 40;
    assert_refused(&f->request, FL_NO_MEMORY, "address space");
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_false(is_there(f->path));
}

static void
ordinary_file_grants_page_by_itself(void **state)
{
    struct fixture *f = *state;

    f->request.mapping = FL_MAPPING_AUTO;
    struct nosync_map *map = place_open(&f->request);

    if (map->grant.mapping == FL_MAPPING_VOLATILE) {
        nosync_close(map);
        skip(); /* $TMPDIR is a tmpfs */
    }
    assert_int_equal(map->grant.mapping, FL_MAPPING_PAGE);
    assert_int_equal(map->media.mode, PM_STAGED);
    assert_null(map->media.base_store);
    assert_non_null(strstr(map->grant.detail, "RWF_DSYNC on "));
    nosync_close(map);
    f->request.durability_min = FL_DURABILITY_POWERCUT;
    nosync_close(place_open(&f->request));
}

static void
dax_on_an_ordinary_file_is_not_granted(void **state)
{
    struct fixture *f = *state;

    f->request.mapping = FL_MAPPING_DAX;
    assert_refused(&f->request, FL_NOT_GRANTED, "MAP_SYNC");
    assert_false(is_there(f->path));
    /* libpmem2 would believe the variable. */
    assert_int_equal(setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE", 1), 0);
    assert_refused(&f->request, FL_NOT_GRANTED, "MAP_SYNC");
    assert_int_equal(setenv("PMEM2_FORCE_GRANULARITY", "BYTE", 1), 0);
    assert_refused(&f->request, FL_NOT_GRANTED, "MAP_SYNC");
    assert_int_equal(unsetenv("PMEM2_FORCE_GRANULARITY"), 0);
}

static void
model_is_refused_for_an_ordinary_path(void **state)
{
    struct fixture *f = *state;

    f->request.mapping = FL_MAPPING_MODEL;
    assert_refused(&f->request, FL_INVALID, "modelfs:DEVICE/NAME");
    assert_false(is_there(f->path));
}

static void
volatile_is_refused_where_a_power_cut_counts(void **state)
{
    struct fixture *f = *state;

    f->request.mapping = FL_MAPPING_VOLATILE;
    f->request.durability_min = FL_DURABILITY_POWERCUT;
    assert_refused(&f->request, FL_NOT_GRANTED, "--durability-min process");
    assert_false(is_there(f->path));
    f->request.durability_min = FL_DURABILITY_POWERCUT_UNVERIFIED;
    assert_refused(&f->request, FL_NOT_GRANTED, "--durability-min process");
    f->request.durability_min = FL_DURABILITY_PROCESS;
    struct nosync_map *map = place_open(&f->request);

    assert_int_equal(map->grant.durability, FL_DURABILITY_PROCESS);
    assert_int_equal(map->grant.mapping, FL_MAPPING_VOLATILE);
    assert_non_null(strstr(map->grant.detail, pm_instructions(false)));
    nosync_close(map);
}

static void
tmpfs_grants_volatile_and_says_so(void **state)
{
    struct fixture *f = *state;
    struct tmpdir shm;
    char path[TMPDIR_PATH_BYTES];

    if (access("/dev/shm", W_OK) != 0) {
        skip();
    }
    tmpdir_create_in(&shm, "/dev/shm");
    f->request.path = tmpdir_join(&shm, "heap", path);
    f->request.mapping = FL_MAPPING_AUTO;
    f->request.durability_min = FL_DURABILITY_POWERCUT;
    assert_refused(&f->request, FL_NOT_GRANTED, "--durability-min process");
    f->request.mapping = FL_MAPPING_PAGE;
    assert_refused(&f->request, FL_NOT_GRANTED, "tmpfs");
    f->request.mapping = FL_MAPPING_DAX;
    assert_refused(&f->request, FL_NOT_GRANTED, "tmpfs");
    assert_false(is_there(path));

    f->request.mapping = FL_MAPPING_AUTO;
    f->request.durability_min = FL_DURABILITY_PROCESS;
    struct nosync_map *map = place_open(&f->request);

    assert_int_equal(map->grant.mapping, FL_MAPPING_VOLATILE);
    assert_int_equal(map->grant.durability, FL_DURABILITY_PROCESS);
    assert_int_equal(map->media.mode, PM_DIRECT);
    nosync_close(map);
    tmpdir_destroy(&shm);
}

/* Whether a mapping of this process is of the file. */
static bool
maps_name(const char *path)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[1024];
    bool found = false;

    if (maps == NULL) {
        return true;
    }
    while (!found && fgets(line, sizeof(line), maps) != NULL) {
        found = strstr(line, path) != NULL;
    }
    (void)fclose(maps);
    return found;
}

static void
child_of_fork_has_no_mapping(void **state)
{
    struct fixture *f = *state;
    int status;

    for (int mapping = FL_MAPPING_PAGE; mapping <= FL_MAPPING_VOLATILE; mapping++) {
        f->request.mapping = (enum fl_mapping)mapping;
        struct nosync_map *map = place_open(&f->request);

        assert_int_equal(nosync_fault_in(map, 0, PLACE_BLOCK), FL_OK);
        assert_true(maps_name(f->path));
        const pid_t child = fork();

        if (child == 0) {
            _exit(maps_name(f->path) ? 1 : 0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        nosync_close(map);
    }
}

int
main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(absent_file_is_created_only_on_request),
        CASE(exclusive_create_refuses_what_is_there),
        CASE(missing_directory_is_not_found),
        CASE(what_is_no_regular_file_is_invalid),
        CASE(link_to_a_file_is_followed),
        CASE(dangling_link_is_refused_and_left_alone),
        CASE(second_writer_is_busy_until_the_first_closes),
        CASE(readers_share_and_keep_writers_out),
        CASE(refused_while_locked_leaves_the_file),
        CASE(read_only_changes_nothing),
        CASE(request_out_of_range_is_invalid),
        CASE(address_is_aligned_as_asked),
        CASE(terabyte_of_address_space_is_reserved_and_free),
        CASE(no_address_space_is_no_memory),
        CASE(ordinary_file_grants_page_by_itself),
        CASE(dax_on_an_ordinary_file_is_not_granted),
        CASE(model_is_refused_for_an_ordinary_path),
        CASE(volatile_is_refused_where_a_power_cut_counts),
        CASE(tmpfs_grants_volatile_and_says_so),
        CASE(child_of_fork_has_no_mapping),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

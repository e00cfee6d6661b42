/* Goal:   an image is locked, kept, and refused when it is none; several processes flush and fence one device, and
 *         none that dies or stops half way holds the others up or tears a line.
 * Method: image files of each bad kind; child processes that attach, then die or stop with the lock held, or in the
 *         middle of a line.
 */
#include "storage/modelfs/media_internal.h"

#include "tests/lib/tmpdir.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { DEVICE_BYTES = 64 * 1024 };

static struct mfs_media *
open_ok(const struct mfs_media_source *source)
{
    struct mfs_media *media = NULL;

    assert_int_equal(mfs_media_open(source, &media), FL_OK);
    return media;
}

static void
store_durably(struct mfs_media *media, uint64_t off, uint8_t value)
{
    struct mfs_cpu *cpu;

    assert_int_equal(mfs_cpu_create(media, &cpu), FL_OK);
    mfs_media_store(media, off, &value, 1);
    assert_int_equal(mfs_cpu_flush(cpu, off, 1), FL_OK);
    assert_int_equal(mfs_cpu_fence(cpu), FL_OK);
    mfs_cpu_destroy(cpu);
}

/* ---- image files ---- */

static void
image_file_keeps_what_was_fenced_and_no_more(void **state)
{
    char path[TMPDIR_PATH_BYTES];
    struct tmpdir dir;
    (void)state;

    tmpdir_create(&dir);
    (void)tmpdir_join(&dir, "image", path);
    struct mfs_media *media = open_ok(
        &(struct mfs_media_source){.path = path, .size_bytes = DEVICE_BYTES, .create = true});
    store_durably(media, 100, 1);
    mfs_media_store(media, 8192, &(uint8_t){2}, 1);
    mfs_media_close(media);

    media = open_ok(&(struct mfs_media_source){.path = path});
    assert_int_equal(mfs_media_size_bytes(media), DEVICE_BYTES);
    assert_int_equal(mfs_media_live(media)[100], 1);
    assert_int_equal(mfs_media_persisted(media)[100], 1);
    assert_int_equal(mfs_media_live(media)[8192], 0);
    mfs_media_close(media);

    media = open_ok(&(struct mfs_media_source){.path = path, .read_only = true});
    store_durably(media, 100, 9);
    assert_int_equal(mfs_media_persisted(media)[100], 9);
    mfs_media_close(media);
    media = open_ok(&(struct mfs_media_source){.path = path, .size_bytes = DEVICE_BYTES});
    assert_int_equal(mfs_media_live(media)[100], 1);
    mfs_media_close(media);

    media = open_ok(
        &(struct mfs_media_source){.path = path, .size_bytes = DEVICE_BYTES / 2, .create = true});
    assert_int_equal(mfs_media_live(media)[100], 0);
    mfs_media_close(media);
    tmpdir_destroy(&dir);
}

static void
image_in_use_is_busy(void **state)
{
    char path[TMPDIR_PATH_BYTES];
    struct mfs_media *other = NULL;
    struct tmpdir dir;
    (void)state;

    tmpdir_create(&dir);
    (void)tmpdir_join(&dir, "image", path);
    const struct mfs_media_source create = {
        .path = path, .size_bytes = DEVICE_BYTES, .create = true};
    const struct mfs_media_source again = {.path = path};
    const struct mfs_media_source look = {.path = path, .read_only = true};
    struct mfs_media *media = open_ok(&create);
    store_durably(media, 0, 1);
    assert_int_equal(mfs_media_open(&again, &other), FL_BUSY);
    assert_int_equal(mfs_media_open(&look, &other), FL_BUSY);
    assert_int_equal(mfs_media_open(&create, &other), FL_BUSY);
    assert_int_equal(mfs_media_persisted(media)[0], 1); /* it was not emptied */
    mfs_media_close(media);
    media = open_ok(&look);
    assert_int_equal(mfs_media_open(&again, &other), FL_BUSY);
    struct mfs_media *second = open_ok(&look);
    mfs_media_close(second);
    mfs_media_close(media);
    tmpdir_destroy(&dir);
}

static void
source_that_is_no_image_is_refused(void **state)
{
    char path[TMPDIR_PATH_BYTES];
    struct mfs_media *media = NULL;
    struct tmpdir dir;
    (void)state;

    tmpdir_create(&dir);
    (void)tmpdir_join(&dir, "image", path);
    const struct mfs_media_source source = {.path = path};
    assert_int_equal(mfs_media_open(&source, &media), FL_NOT_FOUND);
    assert_int_equal(mfs_media_open(&(struct mfs_media_source){.path = dir.path}, &media),
                     FL_INVALID);
    const int fd = open(path, O_CREAT | O_RDWR, 0600);
    assert_true(fd >= 0);
    assert_int_equal(mfs_media_open(&source, &media), FL_INVALID);
    assert_int_equal(ftruncate(fd, 4097), 0);
    assert_int_equal(mfs_media_open(&source, &media), FL_INVALID);
    assert_int_equal(ftruncate(fd, 8192), 0);
    const struct mfs_media_source larger = {.path = path, .size_bytes = 12288};
    assert_int_equal(mfs_media_open(&larger, &media), FL_INVALID);
    const struct mfs_media_source odd = {.path = path, .size_bytes = 100, .create = true};
    assert_int_equal(mfs_media_open(&odd, &media), FL_INVALID);
    assert_int_equal(mfs_media_open(&(struct mfs_media_source){.size_bytes = 0}, &media),
                     FL_INVALID);
    (void)close(fd);
    (void)unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(mfs_media_open(&source, &media), FL_INVALID);
    tmpdir_destroy(&dir);
}

static void
region_of_the_caller_is_the_persisted_image(void **state)
{
    static _Alignas(4096) uint8_t region[8192];
    (void)state;

    region[5000] = 3;
    struct mfs_media *media =
        open_ok(&(struct mfs_media_source){.region = region, .size_bytes = sizeof(region)});
    assert_int_equal(mfs_media_live(media)[5000], 3);
    store_durably(media, 64, 4);
    mfs_media_store(media, 128, &(uint8_t){5}, 1);
    mfs_media_close(media);
    assert_int_equal(region[64], 4);
    assert_int_equal(region[128], 0);
}

/* ---- processes ---- */

static struct mfs_media *
open_shared(void)
{
    return open_ok(&(struct mfs_media_source){.size_bytes = DEVICE_BYTES, .shared = true});
}

static struct mfs_media *
attach(struct mfs_media *media)
{
    struct mfs_media_fds fds;
    struct mfs_media *other = NULL;

    if (mfs_media_fds(media, &fds) != FL_OK ||
        mfs_media_attach(&fds, DEVICE_BYTES, &other) != FL_OK) {
        _exit(1);
    }
    return other;
}

static int
wait_for(pid_t pid)
{
    int status = 0;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static double
seconds(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void
attached_process_makes_its_lines_durable(void **state)
{
    struct mfs_media *media = open_shared();
    (void)state;

    const pid_t pid = fork();
    if (pid == 0) {
        store_durably(attach(media), 640, 7);
        _exit(0);
    }
    assert_int_equal(wait_for(pid), 0);
    assert_int_equal(mfs_media_live(media)[640], 7);
    assert_int_equal(mfs_media_persisted(media)[640], 7);
    mfs_media_close(media);
}

static void
attach_to_what_is_too_small_or_no_device_is_refused(void **state)
{
    struct mfs_media *media = open_shared();
    struct mfs_media *other = NULL;
    struct mfs_media_fds fds;
    (void)state;

    assert_int_equal(mfs_media_fds(media, &fds), FL_OK);
    assert_int_equal(mfs_media_attach(&fds, DEVICE_BYTES * 2, &other), FL_INVALID);
    assert_int_equal(mfs_media_attach(&fds, 100, &other), FL_INVALID);
    fds.control = -1;
    assert_int_equal(mfs_media_attach(&fds, DEVICE_BYTES, &other), FL_IO);
    mfs_media_close(media);
}

static void
power_cut_drops_what_another_process_has_pending(void **state)
{
    struct mfs_media *media = open_shared();
    int go[2];
    int flushed[2];
    char byte = 0;
    (void)state;

    assert_int_equal(pipe(go), 0);
    assert_int_equal(pipe(flushed), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        struct mfs_media *mine = attach(media);
        struct mfs_cpu *cpu;
        if (mfs_cpu_create(mine, &cpu) != FL_OK) {
            _exit(1);
        }
        mfs_media_store(mine, 0, &(uint8_t){1}, 1);
        const bool ok = mfs_cpu_flush(cpu, 0, 1) == FL_OK && write(flushed[1], "f", 1) == 1 &&
                        read(go[0], &byte, 1) == 1 && mfs_cpu_fence(cpu) == FL_OK;
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(read(flushed[0], &byte, 1), 1);
    assert_int_equal(mfs_media_cut_random(media, 0), FL_OK);
    assert_int_equal(write(go[1], "g", 1), 1);
    assert_int_equal(wait_for(pid), 0);
    assert_int_equal(mfs_media_persisted(media)[0], 0);
    mfs_media_close(media);
}

static void
stopped_holder_of_the_lock_is_killed(void **state)
{
    struct mfs_media *media = open_shared();
    int status = 0;
    (void)state;

    const pid_t pid = fork();
    if (pid == 0) {
        media_lock(attach(media));
        (void)raise(SIGSTOP);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    const double began = seconds();
    store_durably(media, 0, 1);
    const double took = seconds() - began;
    assert_true(took * 1000 >= MFS_MEDIA_LOCK_MS * 0.9 && took * 1000 < MFS_MEDIA_LOCK_MS * 10);
    assert_int_equal(mfs_media_persisted(media)[0], 1);
    status = wait_for(pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    mfs_media_close(media);
}

static void
process_that_dies_in_the_middle_of_a_line_leaves_it_whole(void **state)
{
    struct mfs_media *media = open_shared();
    (void)state;

    store_durably(media, 0, 1);
    const pid_t pid = fork();
    if (pid == 0) {
        struct mfs_media *mine = attach(media);
        media_lock(mine);
        memset(&mine->control->redo, 5, MFS_LINE_BYTES);
        mine->control->redo_off = 64;
        atomic_store(&mine->control->redo_valid, 1);
        memset(mine->persisted + 64, 5, MFS_LINE_BYTES / 2);
        _exit(0);
    }
    assert_int_equal(wait_for(pid), 0);
    assert_int_equal(mfs_media_persisted(media)[127], 0);
    store_durably(media, 4096, 1);
    for (int i = 64; i < 128; i++) {
        assert_int_equal(mfs_media_persisted(media)[i], 5);
    }
    assert_int_equal(mfs_media_persisted(media)[128], 0);
    mfs_media_close(media);
}

/* Each process owns lines of its own and one is everybody's; killed ones leave whole lines. */
static void
many_processes_killed_at_random_tear_no_line(void **state)
{
    struct mfs_media *media = open_shared();
    pid_t pids[3];
    (void)state;

    for (int round = 0; round < 10; round++) {
        for (unsigned p = 0; p < 3; p++) {
            pids[p] = fork();
            if (pids[p] == 0) {
                struct mfs_media *mine = attach(media);
                struct mfs_cpu *cpu;
                uint8_t bytes[MFS_LINE_BYTES];
                if (mfs_cpu_create(mine, &cpu) != FL_OK) {
                    _exit(1);
                }
                for (unsigned n = 0;; n++) {
                    memset(bytes, (int)(n & 0x7f), sizeof(bytes));
                    mfs_media_store(mine, (p + 1) * 4096, bytes, sizeof(bytes));
                    if (mfs_cpu_flush(cpu, (p + 1) * 4096, sizeof(bytes)) != FL_OK ||
                        mfs_cpu_flush(cpu, 0, 1) != FL_OK || mfs_cpu_fence(cpu) != FL_OK) {
                        _exit(1);
                    }
                }
            }
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
        for (unsigned p = 0; p < 3; p++) {
            assert_int_equal(kill(pids[p], SIGKILL), 0);
            const int status = wait_for(pids[p]);
            assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        }
        store_durably(media, 16384, (uint8_t)round);
        for (size_t p = 1; p <= 3; p++) {
            const uint8_t *line = mfs_media_persisted(media) + p * 4096;
            assert_memory_equal(line, line + 1, MFS_LINE_BYTES - 1);
        }
    }
    mfs_media_close(media);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(image_file_keeps_what_was_fenced_and_no_more),
        cmocka_unit_test(image_in_use_is_busy),
        cmocka_unit_test(source_that_is_no_image_is_refused),
        cmocka_unit_test(region_of_the_caller_is_the_persisted_image),
        cmocka_unit_test(attached_process_makes_its_lines_durable),
        cmocka_unit_test(attach_to_what_is_too_small_or_no_device_is_refused),
        cmocka_unit_test(power_cut_drops_what_another_process_has_pending),
        cmocka_unit_test(stopped_holder_of_the_lock_is_killed),
        cmocka_unit_test(process_that_dies_in_the_middle_of_a_line_leaves_it_whole),
        cmocka_unit_test(many_processes_killed_at_random_tear_no_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

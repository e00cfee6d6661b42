/* Goal:   a status keeps its number and its name; a failure tells what, where and (for a system
 *         call) why, to the thread that failed and no other; a broken assertion ends the process.
 * Method: the numbers written out by hand; fl_last_error() read after each way of failing, beside a
 *         second thread, and after a text that is far too long; a forked child for the assertion.
 */
#include "base/fail.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void
status_numbers_and_names_are_frozen(void **state)
{
    static const struct {
        fl_status status;
        int number;
        const char *name;
    } frozen[] = {
        {FL_OK, 0, "FL_OK"},
        {FL_NOT_FOUND, 1, "FL_NOT_FOUND"},
        {FL_EXISTS, 2, "FL_EXISTS"},
        {FL_CONFLICT, 3, "FL_CONFLICT"},
        {FL_INVALID, 4, "FL_INVALID"},
        {FL_TOO_LARGE, 5, "FL_TOO_LARGE"},
        {FL_NO_SPACE, 6, "FL_NO_SPACE"},
        {FL_NO_MEMORY, 7, "FL_NO_MEMORY"},
        {FL_IO, 8, "FL_IO"},
        {FL_CORRUPT, 9, "FL_CORRUPT"},
        {FL_NOT_GRANTED, 10, "FL_NOT_GRANTED"},
        {FL_BUSY, 11, "FL_BUSY"},
        {FL_READ_ONLY, 12, "FL_READ_ONLY"},
        {FL_NOT_SUPPORTED, 13, "FL_NOT_SUPPORTED"},
        {FL_VERSION, 14, "FL_VERSION"},
        {FL_END, 15, "FL_END"},
        {FL_AGAIN, 16, "FL_AGAIN"},
        {FL_CLOSED, 17, "FL_CLOSED"},
        {FL_PROTOCOL, 18, "FL_PROTOCOL"},
    };
    const int count = (int)(sizeof(frozen) / sizeof(frozen[0]));
    (void)state;

    for (int i = 0; i < count; i++) {
        assert_int_equal(frozen[i].status, frozen[i].number);
        assert_string_equal(fl_status_name(frozen[i].status), frozen[i].name);
    }
    /* A status that was added to the enum has a name: then it belongs into this table too. */
    assert_string_equal(fl_status_name((fl_status)count), "FL_?");
    assert_string_equal(fl_status_name((fl_status)-1), "FL_?");
}

static void
fail_text_names_cause_and_origin(void **state)
{
    char expected[64];
    (void)state;

    assert_int_equal(FL_FAIL(FL_NO_SPACE, "%d blocks, %d left", 5, 3), FL_NO_SPACE);
    snprintf(expected, sizeof(expected), "5 blocks, 3 left (test_fail.c:%d)", __LINE__ - 1);
    assert_string_equal(fl_last_error(), expected);
}

static void
fail_errno_text_says_why_and_keeps_errno(void **state)
{
    (void)state;

    errno = ENOENT;
    assert_int_equal(FL_FAIL_ERRNO(FL_NOT_FOUND, "open %s", "x"), FL_NOT_FOUND);
    assert_int_equal(errno, ENOENT);
    assert_ptr_equal(strstr(fl_last_error(), "open x: No such file or directory (test_fail.c:"),
                     fl_last_error());
}

static void
fail_unknown_errno_has_a_text(void **state)
{
    (void)state;

    errno = 99999;
    assert_int_equal(FL_FAIL_ERRNO(FL_IO, "write"), FL_IO);
    assert_ptr_equal(strstr(fl_last_error(), "write: errno 99999 (test_fail.c:"), fl_last_error());
}

static void
fail_long_text_is_cut_but_keeps_its_origin(void **state)
{
    char text[4096];
    (void)state;

    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(FL_FAIL(FL_INVALID, "%s", text), FL_INVALID);
    assert_true(strlen(fl_last_error()) < 512);
    assert_non_null(strstr(fl_last_error(), "a (test_fail.c:"));
    errno = EIO;
    assert_int_equal(FL_FAIL_ERRNO(FL_IO, "%s", text), FL_IO);
    assert_non_null(strstr(fl_last_error(), "Input/output error (test_fail.c:"));
}

static void *
fail_in_thread(void *arg)
{
    char *seen_first = arg;

    *seen_first = fl_last_error()[0];
    (void)FL_FAIL(FL_CORRUPT, "theirs");
    return NULL;
}

static void
fail_text_of_another_thread_is_not_seen(void **state)
{
    pthread_t thread;
    char seen_first = 'x';
    (void)state;

    (void)FL_FAIL(FL_INVALID, "ours");
    assert_int_equal(pthread_create(&thread, NULL, fail_in_thread, &seen_first), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(seen_first, '\0');
    assert_ptr_equal(strstr(fl_last_error(), "ours"), fl_last_error());
}

static void
assert_broken_aborts_and_names_the_condition(void **state)
{
    int ends[2];
    char text[256] = "";
    int status = 0;
    (void)state;

    assert_int_equal(pipe(ends), 0);
    const pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        FL_ASSERT(ends[0] == -2);
        _exit(0);
    }
    close(ends[1]);
    assert_true(read(ends[0], text, sizeof(text) - 1) > 0);
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "ends[0] == -2"));
    assert_non_null(strstr(text, "test_fail.c:"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_numbers_and_names_are_frozen),
        cmocka_unit_test(fail_text_names_cause_and_origin),
        cmocka_unit_test(fail_errno_text_says_why_and_keeps_errno),
        cmocka_unit_test(fail_unknown_errno_has_a_text),
        cmocka_unit_test(fail_long_text_is_cut_but_keeps_its_origin),
        cmocka_unit_test(fail_text_of_another_thread_is_not_seen),
        cmocka_unit_test(assert_broken_aborts_and_names_the_condition),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

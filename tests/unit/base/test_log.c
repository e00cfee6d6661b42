/* Goal:   a log line has time, level and text, whole and alone on its line, whatever is in the text;
 *         levels below the minimum cost nothing; the two clocks go forward.
 * Method: a pipe as the log's descriptor, read back and compared; several threads writing at once;
 *         the line's time compared with the wall clock's.
 */
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    THREADS_COUNT = 4,
    LINES_PER_THREAD = 100,
    STAMP_BYTES = sizeof("2026-01-31T23:59:59.123Z")
};

struct fixture {
    struct logger logger;
    int read_fd;
    int write_fd;
    char text[64 * 1024];
};

static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    int ends[2];

    if (f == NULL) {
        return -1;
    }
    if (pipe(ends) != 0) {
        free(f);
        return -1;
    }
    f->read_fd = ends[0];
    f->write_fd = ends[1];
    logger_init(&f->logger, f->write_fd, LOGGER_INFO);
    *state = f;
    return 0;
}

static int
teardown(void **state)
{
    struct fixture *f = *state;

    close(f->read_fd);
    if (f->write_fd >= 0) {
        close(f->write_fd);
    }
    free(f);
    return 0;
}

/* End the log and return all that it wrote. */
static char *
log_all(struct fixture *f)
{
    size_t len = 0;
    ssize_t n;

    close(f->write_fd);
    f->write_fd = -1;
    while ((n = read(f->read_fd, f->text + len, sizeof(f->text) - 1 - len)) > 0) {
        len += (size_t)n;
    }
    f->text[len] = '\0';
    return f->text;
}

static void
log_line_has_time_level_and_text(void **state)
{
    struct fixture *f = *state;
    const uint64_t before_ms = clock_wall_ms();

    logger_write(&f->logger, LOGGER_WARNING, "%d blocks left", 3);
    const uint64_t after_ms = clock_wall_ms();
    const char *line = log_all(f);
    struct tm tm = {0};
    const char *rest = strptime(line, "%Y-%m-%dT%H:%M:%S", &tm);

    assert_non_null(rest);
    assert_string_equal(rest + strlen(".000"), "Z warning 3 blocks left\n");
    const uint64_t at_ms = (uint64_t)timegm(&tm) * CLOCK_MS_PER_S + strtoull(rest + 1, NULL, 10);

    assert_in_range(at_ms, before_ms, after_ms);
}

static void
log_level_below_minimum_is_not_written(void **state)
{
    struct fixture *f = *state;

    assert_false(logger_wants(&f->logger, LOGGER_DEBUG));
    logger_write(&f->logger, LOGGER_DEBUG, "hidden");
    logger_level_set(&f->logger, LOGGER_DEBUG);
    assert_true(logger_wants(&f->logger, LOGGER_DEBUG));
    logger_write(&f->logger, LOGGER_DEBUG, "shown");
    logger_level_set(&f->logger, LOGGER_ERROR);
    logger_write(&f->logger, LOGGER_WARNING, "hidden");
    logger_write(&f->logger, LOGGER_ERROR, "last");
    char *text = log_all(f);

    assert_null(strstr(text, "hidden"));
    assert_non_null(strstr(text, " debug shown\n"));
    assert_non_null(strstr(text, " error last\n"));
}

static void
log_control_characters_stay_on_one_line(void **state)
{
    struct fixture *f = *state;

    logger_write(&f->logger, LOGGER_INFO, "from %s", "a\nb\r\x1b[31m\x7f");
    assert_string_equal(log_all(f) + STAMP_BYTES, "info from a?b??[31m?\n");
}

static void
log_long_text_ends_in_dots(void **state)
{
    struct fixture *f = *state;
    char text[4000];

    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    logger_write(&f->logger, LOGGER_INFO, "%s", text);
    const char *line = log_all(f);
    const size_t len = strlen(line);

    assert_in_range(len, 1000, 1100);
    assert_string_equal(line + len - strlen("x...\n"), "x...\n");
    assert_ptr_equal(strchr(line, '\n'), line + len - 1);
}

static void
log_write_keeps_errno(void **state)
{
    struct fixture *f = *state;

    errno = ENOSPC;
    logger_write(&f->logger, LOGGER_INFO, "%m");
    assert_int_equal(errno, ENOSPC);
    assert_non_null(strstr(log_all(f), "info No space left on device\n"));
    f->logger.fd = -1;
    logger_write(&f->logger, LOGGER_INFO, "nowhere to go");
    assert_int_equal(errno, ENOSPC);
}

static void *
write_lines(void *arg)
{
    for (int i = 0; i < LINES_PER_THREAD; i++) {
        logger_write(arg, LOGGER_INFO, "a line of %d threads", THREADS_COUNT);
    }
    return NULL;
}

static void
log_lines_of_several_threads_do_not_mix(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[THREADS_COUNT];
    int lines_count = 0;

    for (int i = 0; i < THREADS_COUNT; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &f->logger), 0);
    }
    for (int i = 0; i < THREADS_COUNT; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    char *save = NULL;

    for (char *line = strtok_r(log_all(f), "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        assert_string_equal(line + STAMP_BYTES, "info a line of 4 threads");
        lines_count++;
    }
    assert_int_equal(lines_count, THREADS_COUNT * LINES_PER_THREAD);
}

static void
log_level_names_parse_back(void **state)
{
    enum logger_level level = LOGGER_INFO;
    (void)state;

    for (int i = LOGGER_DEBUG; i <= LOGGER_ERROR; i++) {
        assert_int_equal(logger_level_parse(logger_level_name((enum logger_level)i), &level),
                         FL_OK);
        assert_int_equal(level, i);
    }
    assert_int_equal(logger_level_parse("loud", &level), FL_INVALID);
    assert_non_null(strstr(fl_last_error(), "loud"));
    assert_int_equal(level, LOGGER_ERROR);
}

static void
clock_mono_never_goes_back(void **state)
{
    const struct timespec pause = {.tv_nsec = 2 * CLOCK_NS_PER_MS};
    uint64_t last_ns = clock_mono_ns();
    const uint64_t start_ns = last_ns;
    (void)state;

    nanosleep(&pause, NULL);
    for (int i = 0; i < 1000; i++) {
        const uint64_t now_ns = clock_mono_ns();

        assert_true(now_ns >= last_ns);
        last_ns = now_ns;
    }
    assert_in_range(last_ns - start_ns, 2 * CLOCK_NS_PER_MS, (uint64_t)60 * CLOCK_NS_PER_S);
}

static void
clock_wall_agrees_with_time(void **state)
{
    const uint64_t before_s = (uint64_t)time(NULL);
    const uint64_t now_ms = clock_wall_ms();
    (void)state;

    /* time() may read a coarser clock, behind by a few milliseconds. */
    assert_in_range(now_ms, before_s * CLOCK_MS_PER_S, ((uint64_t)time(NULL) + 2) * CLOCK_MS_PER_S);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(log_line_has_time_level_and_text, setup, teardown),
        cmocka_unit_test_setup_teardown(log_level_below_minimum_is_not_written, setup, teardown),
        cmocka_unit_test_setup_teardown(log_control_characters_stay_on_one_line, setup, teardown),
        cmocka_unit_test_setup_teardown(log_long_text_ends_in_dots, setup, teardown),
        cmocka_unit_test_setup_teardown(log_write_keeps_errno, setup, teardown),
        cmocka_unit_test_setup_teardown(log_lines_of_several_threads_do_not_mix, setup, teardown),
        cmocka_unit_test(log_level_names_parse_back),
        cmocka_unit_test(clock_mono_never_goes_back),
        cmocka_unit_test(clock_wall_agrees_with_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

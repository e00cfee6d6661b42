/* Another program as the subject of a test: started, listened to, waited for with a limit, killed. */
#ifndef FL_TESTS_LIB_CHILD_H
#define FL_TESTS_LIB_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct child {
    pid_t pid;  /* 0 once it has been waited for */
    int out_fd; /* what it writes to stdout and stderr */
    int status; /* as of waitpid(), once it has been waited for */
};

/* Start `argv[0]` (looked up in $PATH if it has no slash); aborts if it can't be. The child dies with
 * the thread that started it, so that a failed test leaves no server behind. Its stdin is /dev/null;
 * its output goes through a pipe that holds 64 KiB: one that writes more waits to be read. */
void child_start(struct child *child, char *const argv[]);

/* Read output until it contains `text`, at most `size` - 1 bytes of it into `out`, ended by a NUL.
 * Returns whether it came before `timeout_ms` had passed and before the output ended. */
bool child_expect(struct child *child, const char *text, unsigned timeout_ms, char *out,
                  size_t size);

/* Read what is left of the output (as above) and wait for the end. Returns false, with the child
 * killed, if it ran for longer than `timeout_ms`. */
bool child_wait(struct child *child, unsigned timeout_ms, char *out, size_t size);

/* Send a signal; does nothing once the child has been waited for. */
void child_signal(const struct child *child, int signal_number);

/* SIGKILL, wait, and close. Safe after any of the above. */
void child_kill(struct child *child);

/* Whether it ended by exit(`code`). */
bool child_exited(const struct child *child, int code);

#endif

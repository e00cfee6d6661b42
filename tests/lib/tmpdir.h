/* A directory of a test's own, gone again when the test is over. */
#ifndef FL_TESTS_LIB_TMPDIR_H
#define FL_TESTS_LIB_TMPDIR_H

enum { TMPDIR_PATH_BYTES = 256 };

struct tmpdir {
    char path[TMPDIR_PATH_BYTES];
};

/* A fresh, empty directory under $TMPDIR, else /tmp. Aborts the program if it can't be made. */
void tmpdir_create(struct tmpdir *dir);

/* The same under `parent`, for a test that wants a certain filesystem ("/dev/shm" for tmpfs). */
void tmpdir_create_in(struct tmpdir *dir, const char *parent);

/* Write "<dir>/<name>" to `out`, which has room for TMPDIR_PATH_BYTES; returns `out`. */
char *tmpdir_join(const struct tmpdir *dir, const char *name, char *out);

/* Remove the directory and all that is in it, without following links out of it. */
void tmpdir_destroy(struct tmpdir *dir);

#endif

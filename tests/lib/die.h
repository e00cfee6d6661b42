/* How a test program ends when it can't go on: broken surroundings, or something the machine lacks. */
#ifndef FL_TESTS_LIB_DIE_H
#define FL_TESTS_LIB_DIE_H

/* Print the reason to stderr and abort: the test fails. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same, with ": <strerror(errno)>" behind the text. */
_Noreturn void die_errno(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Print the reason and exit 77: ctest counts the whole program as skipped, never as passed. Call it
 * from main(), before any test has run. */
_Noreturn void die_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif

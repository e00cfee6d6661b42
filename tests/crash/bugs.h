/* Bugs planted in copies of the storage's sources (bugs/, plant_bugs.py), one at a time, told by their number. Only the
 * program faultline-crash-bugs has them. */
#ifndef FL_TESTS_CRASH_BUGS_H
#define FL_TESTS_CRASH_BUGS_H

struct bug {
    const char *name;
    const char *what;
    const char *workload; /* where it shows */
};

/* Ends with a NULL name; number i + 1 is bugs[i]. Empty where there are none. */
extern const struct bug bugs[];

extern unsigned crash_bug_now; /* 0: none */

#endif

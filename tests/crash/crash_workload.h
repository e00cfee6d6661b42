/* Crash exploration of your own code over libfaultline: the interface between faultline-crash and a workload that it
 * loads.
 *
 * Compile one C file to a shared object that defines `crash_workload`, without linking libfaultline: the program that
 * loads it brings a copy of the library that sees every store to the file. Then
 *
 *     faultline-crash explore ./mine.so
 *
 * runs `run` once, and calls `check` on every state that a power cut at any moment of it could have left.
 */
#ifndef FAULTLINE_CRASH_WORKLOAD_H
#define FAULTLINE_CRASH_WORKLOAD_H

#include <faultline/faultline.h>

#ifdef __cplusplus
extern "C" {
#endif

struct crash_workload {
    size_t struct_bytes; /* sizeof(struct crash_workload) */
    const char *name;    /* a word, for reports */
    uint64_t
        size_bytes_max; /* of the file. Small files are explored more thoroughly: 256 KiB, blocks of 4 KiB */

    /* Work on a store that is not there yet: open it, use it, close it; more than once, if you like. Tell what it does
     * by crash_begin() and crash_acknowledge(). One thread; the same calls in the same order each time. Returns 0, or
     * anything else if it could not do what it should. */
    int (*run)(const char *path);

    /* After a crash: open the store, look whether it holds what it must, close it. Steps up to `acknowledged` were
     * acknowledged; those over it up to `begun` had begun and may be there or not, each as a whole. Returns NULL, or a
     * text that says what is wrong. Changes nothing but what recovery changes. */
    const char *(*check)(const char *path, uint64_t acknowledged, uint64_t begun);
};

/* Options for fl_open(): create, blocks of 4 KiB, size_bytes_max as given, no threads, any durability. Start from
 * these: the store's own threads would make two runs differ. */
void crash_options(struct fl_options *options, uint64_t size_bytes_max);

/* Step `step` (counted from 1) begins: from now on it may be there. */
void crash_begin(uint64_t step);
/* Somebody has been told that it is done: from now on it must be there. */
void crash_acknowledge(uint64_t step);

#ifdef __cplusplus
}
#endif
#endif

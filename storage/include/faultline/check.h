/* Verifying a store's file without opening it for use, and salvaging what validates. */
#ifndef FAULTLINE_CHECK_H
#define FAULTLINE_CHECK_H

#include <faultline/faultline.h>

#ifdef __cplusplus
extern "C" {
#endif

struct fl_check_finding {
    const char *rule; /* short name of the broken invariant: "frame-crc", "link-target", ... */
    uint64_t off;     /* byte offset in the file */
    uint64_t len;     /* bytes concerned; 0 if not known */
    const char *text; /* one sentence, with the remedy */
};

struct fl_check_options {
    size_t struct_bytes;
    void (*finding)(void *context, const struct fl_check_finding *finding);
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
    uint32_t flags; /* FL_OPEN_SIGBUS, or 0: media that can't be read ends the process */
};

struct fl_check_report {
    uint64_t findings;
    uint64_t segments, records, keys, bytes_checked;
};

/* Read the whole store and report every broken invariant. Writes nothing. Takes the store's lock.
 * FL_OK: it could be checked (report->findings says how it is). Errors: FL_BUSY, FL_IO, FL_NOT_FOUND,
 * FL_VERSION, FL_CORRUPT (not a store at all: both superblocks are gone), FL_NO_MEMORY. */
FL_API FL_NODISCARD fl_status fl_check(const char *path, const struct fl_check_options *options,
                                       struct fl_check_report *report);

/* Copy every record that validates into a new store beside `path`, then exchange the two: the damaged
 * file stays as <path>.damaged. Errors: as fl_check(), FL_NO_SPACE, FL_EXISTS (<path>.damaged is there), FL_VERSION (a
 * later version's store, which this one may only read: something in it would be left out). */
FL_API FL_NODISCARD fl_status fl_check_repair(const char *path,
                                              const struct fl_check_options *options,
                                              struct fl_check_report *report);

#ifdef __cplusplus
}
#endif
#endif

/* The result of every Faultline call that can fail, and the text that goes with it. */
#ifndef FAULTLINE_STATUS_H
#define FAULTLINE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define FL_API __attribute__((visibility("default")))
#define FL_NODISCARD __attribute__((warn_unused_result))
#else
#define FL_API
#define FL_NODISCARD
#endif

/* Frozen numbers: they may be stored or sent by programs. New ones go at the end. */
typedef enum fl_status {
    FL_OK = 0,
    FL_NOT_FOUND = 1, /* no such key, or no such file */
    FL_EXISTS = 2,    /* a condition failed: the key or file is there already */
    FL_CONFLICT = 3,  /* a required version of a key has changed */
    FL_INVALID = 4,   /* an argument or an option is out of its range */
    FL_TOO_LARGE = 5, /* a key, a value or a batch is over its limit */
    FL_NO_SPACE = 6,  /* the file can't grow and nothing can be reclaimed now */
    FL_NO_MEMORY = 7, /* DRAM could not be had */
    FL_IO = 8, /* a system call on the store failed; the outcome of commits in flight is unknown */
    FL_CORRUPT = 9,        /* media failed a check; fl_last_error() names offset and remedy */
    FL_NOT_GRANTED = 10,   /* the mapping is weaker than what was asked for */
    FL_BUSY = 11,          /* another process has the store open */
    FL_READ_ONLY = 12,     /* the store was opened read-only, or turned so after an I/O error */
    FL_NOT_SUPPORTED = 13, /* this machine, kernel or filesystem lacks something */
    FL_VERSION = 14,       /* the media format is newer than this library */
    FL_END = 15,           /* a cursor went past its last key */
    FL_AGAIN = 16,         /* not yet: the thing asked for is still in flight */
    FL_CLOSED = 17,        /* the connection was closed by the other side */
    FL_PROTOCOL = 18,      /* the other side broke the protocol */
} fl_status;

/* The name of a status, "FL_NO_SPACE"; never NULL.
 * Threads: any. */
FL_API const char *fl_status_name(fl_status status);

/* What went wrong in this thread's last call that failed: origin and text, "" if nothing did.
 *
 * Owner:   the library; valid until this thread's next call that fails.
 * Threads: any; the text is the calling thread's own. */
FL_API const char *fl_last_error(void);

#ifdef __cplusplus
}
#endif
#endif

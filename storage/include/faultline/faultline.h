/* Faultline: a durable, ordered key-value store on persistent memory or an ordinary file.
 *
 * A store is one sparse file. Its log grows by faulting new blocks under a no-sync mapping; a commit
 * costs one fence however many records it holds. docs/durability.md says what each kind of mapping
 * promises, docs/formats/media.md what stands in the file.
 *
 * Threads: every call is safe from any thread unless it says otherwise; a batch, a cursor, a view
 * and a blob belong to one thread at a time. After fork() the child must not touch a store.
 */
#ifndef FAULTLINE_H
#define FAULTLINE_H

#include <faultline/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Limits of the API; the media format allows wider keys. */
#define FL_KEY_BYTES_MAX 65536u
#define FL_VALUE_BYTES_MAX 536870912u /* 512 MiB */
/* 64 MiB: encoded records of one batch, blobs not counted. With blocks of 32 KiB or less what (block_bytes / 32 - 2)
 * blocks hold, which is less. */
#define FL_BATCH_BYTES_MAX 67108864u

struct fl_store;
struct fl_snapshot;
struct fl_blob;

struct fl_bytes {
    const void *ptr;
    size_t len; /* bytes */
};

/* A key: 1 to FL_KEY_BYTES_MAX bytes of any value, in a space. Spaces are ordered and disjoint: 0 is
 * the embedded user's, 1 the server's root keys, 2 to 255 are for encodings of richer types. */
struct fl_key {
    const void *ptr;
    uint32_t len; /* bytes */
    uint8_t space;
};

static inline struct fl_key
fl_key(const void *ptr, size_t len)
{
    struct fl_key key = {ptr, (uint32_t)(len > UINT32_MAX ? UINT32_MAX : len), 0};

    return key;
}

static inline struct fl_key
fl_key_in(uint8_t space, const void *ptr, size_t len)
{
    struct fl_key key = fl_key(ptr, len);

    key.space = space;
    return key;
}

static inline struct fl_bytes
fl_bytes(const void *ptr, size_t len)
{
    struct fl_bytes bytes = {ptr, len};

    return bytes;
}

/* ---- opening ---- */

enum fl_mapping {
    FL_MAPPING_AUTO =
        0, /* the strongest that the file grants: dax, else volatile on tmpfs, else page;
                          * model for a path of that kind */
    FL_MAPPING_DAX = 1, /* MAP_SYNC: user-space flushes survive a power cut */
    FL_MAPPING_PAGE =
        2, /* an ordinary file: a synchronous write for each commit survives a power cut */
    FL_MAPPING_VOLATILE =
        3, /* flush and fence on memory that a power cut takes: survives a process crash */
    FL_MAPPING_MODEL = 4, /* a file of a model device: goes with the path modelfs:DEVICE/NAME */
};

enum fl_durability {
    FL_DURABILITY_PROCESS = 1,             /* survives kill -9, not a power cut */
    FL_DURABILITY_POWERCUT_UNVERIFIED = 2, /* as POWERCUT, if the filesystem below keeps its word */
    FL_DURABILITY_POWERCUT = 3,            /* survives a power cut */
};

FL_API const char *fl_mapping_name(enum fl_mapping mapping);          /* "dax" */
FL_API const char *fl_durability_name(enum fl_durability durability); /* "powercut" */

enum fl_open_flags {
    FL_OPEN_CREATE = 1,    /* create the file if it is absent */
    FL_OPEN_EXCLUSIVE = 2, /* with CREATE: FL_EXISTS if it is there */
    FL_OPEN_READ_ONLY = 4, /* write nothing at all; recovery is done in DRAM only */
    FL_OPEN_SALVAGE =
        8, /* with READ_ONLY: go past damage; fl_stats says what LSN ranges were lost */
    FL_OPEN_SIGBUS =
        16, /* install a SIGBUS handler that turns media errors into FL_IO; it chains. Not in what the caller itself
               reads through a view. */
};

/* Set by fl_options_init(); change what you need after it. */
struct fl_options {
    size_t struct_bytes;     /* sizeof(struct fl_options), for a library newer than the program */
    unsigned flags;          /* enum fl_open_flags; default FL_OPEN_CREATE */
    enum fl_mapping mapping; /* default AUTO */
    enum fl_durability
        durability_min; /* default POWERCUT; UNVERIFIED is let through by POWERCUT and
                                          reported, PROCESS admits everything */

    /* Geometry. The block is read when the file is created and ignored when it is opened; a larger size than the file
     * has raises it for good when it is opened for writing. */
    uint32_t block_bytes;    /* power of two, 4 KiB to 1 GiB; default 2 MiB */
    uint64_t size_bytes_max; /* the file's limit; default 0: as it is, 1 TiB if created */

    uint32_t blocks_ahead; /* blocks kept faulted ahead of the log; default 4; 0 counts as 1 with
                              `background` */
    uint32_t threads_open; /* threads that rebuild the index on open; 0: one a core */
    bool verify_reads;     /* check each record's CRC when it is read; default true */
    bool background;       /* run the grow-ahead and the cleaner thread; default true. Off, the
                                caller drives them with fl_maintain() (tests, crash exploration) */

    /* Milliseconds since 1970 of the wall clock; NULL: clock_gettime(CLOCK_REALTIME). */
    uint64_t (*now_ms)(void *context);
    /* Progress of a long open: `done` of `total` bytes scanned. NULL: none. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    /* A line for the program's log: damage that an open can do without, the file can't grow, or can again, the store
     * turned read-only. Level 0 debug, 1 info, 2 warning, 3 error. Called by fl_open() and from a thread of the
     * store, which waits for it. NULL: none. */
    void (*log)(void *context, int level, const char *text);
    void *context; /* passed to the three above */
};

FL_API void fl_options_init(struct fl_options *options);

/* Open the store at `path`, creating it if asked to, and recover it if it was not closed. The path modelfs:DEVICE/NAME
 * is file NAME of the model device DEVICE (faultline/modelfs.h), which is made if absent.
 *
 * Owner:   the caller owns *out and releases it with fl_close().
 * Durable: yes. On return the store opens again after a power cut.
 * Threads: any; one open per file, in this process or another (an flock() guards it).
 * Errors:  FL_NOT_GRANTED  the mapping is weaker than options->durability_min
 *          FL_CORRUPT      media failed a check; fl_last_error() names the offset and the remedy
 *          FL_VERSION, FL_BUSY, FL_NOT_FOUND, FL_EXISTS, FL_INVALID, FL_NO_SPACE, FL_NO_MEMORY, FL_IO,
 *          FL_NOT_SUPPORTED */
FL_API FL_NODISCARD fl_status fl_open(const char *path, const struct fl_options *options,
                                      struct fl_store **out);

/* Commit what was submitted, mark the file as closed cleanly, and release everything.
 *
 * Owner:   the store is gone whatever is returned; batches, cursors, views, snapshots and blobs
 *          must have been released before. NULL is allowed.
 * Durable: everything that was committed or submitted, if FL_OK.
 * Errors:  FL_IO: a write failed, or a batch that was submitted did (fl_commit_status() would have said so). */
FL_API fl_status fl_close(struct fl_store *store);

/* ---- points ---- */

enum fl_condition {
    FL_IF_ANY = 0,
    FL_IF_ABSENT = 1,  /* FL_EXISTS if the key is there */
    FL_IF_PRESENT = 2, /* FL_NOT_FOUND if it isn't */
    FL_IF_LSN = 3,     /* FL_CONFLICT unless the key's LSN is options->lsn (0: absent) */
};

struct fl_put_options {
    uint64_t deadline_ms; /* milliseconds since 1970 at which the key expires; 0: never */
    uint64_t lsn;         /* for FL_IF_LSN */
    enum fl_condition condition;
    uint8_t type; /* 0 to 15: a tag kept with the value; 0 is a plain string */
};

/* Store `value` under `key`. options may be NULL: no condition, no deadline, type 0.
 *
 * Durable: on return. Concurrent calls share one commit. Readers see the value once it is durable.
 * Errors:  those of the condition; FL_INVALID (empty key), FL_TOO_LARGE, FL_NO_SPACE (nothing was
 *          changed), FL_READ_ONLY, FL_NO_MEMORY, FL_IO (the outcome is unknown until the next open) */
FL_API FL_NODISCARD fl_status fl_put(struct fl_store *store, struct fl_key key,
                                     struct fl_bytes value, const struct fl_put_options *options);

/* Remove `key`. FL_NOT_FOUND if it isn't there (nothing is written). May use the space reserve, so that
 * a full store can be emptied. Durable: on return. */
FL_API FL_NODISCARD fl_status fl_delete(struct fl_store *store, struct fl_key key);

/* Remove every key of the spaces first to last inclusive with one record. Durable: on return. DRAM is
 * given back in the background. */
FL_API FL_NODISCARD fl_status fl_delete_spaces(struct fl_store *store, uint8_t space_first,
                                               uint8_t space_last);

/* Copy up to `cap` bytes of the value into `buf` and set *len to the value's whole length in bytes.
 * Errors: FL_NOT_FOUND; FL_TOO_LARGE (buf was too small; *len says what is needed); FL_CORRUPT (this
 * key's record is damaged; others are served). */
FL_API FL_NODISCARD fl_status fl_get(struct fl_store *store, struct fl_key key, void *buf,
                                     size_t cap, size_t *len);

/* A value in place: nothing is copied. */
struct fl_view {
    struct fl_bytes value; /* on media (or in the batch): valid until fl_view_release() */
    uint64_t lsn;          /* the version; 0 while it is only pending in a batch */
    uint64_t deadline_ms;  /* 0: none */
    uint64_t ticket;       /* 0: durable. Else don't tell anybody before this ticket is durable */
    uint8_t type;
    void *guard; /* internal */
};

/* The value of `key` in place. Its segment can't be reused until fl_view_release().
 * Errors: FL_NOT_FOUND, FL_CORRUPT. */
FL_API FL_NODISCARD fl_status fl_get_view(struct fl_store *store, struct fl_key key,
                                          struct fl_view *view);
/* As fl_get_view(), but view->value is only `len` bytes from `off` on, or as many as the value has there. Of a big
 * value nothing else is read: damage shows where it lies within 64 KiB of them. */
FL_API FL_NODISCARD fl_status fl_get_range(struct fl_store *store, struct fl_key key, size_t off,
                                           size_t len, struct fl_view *view);
/* Idempotent; needed after FL_OK only. */
FL_API void fl_view_release(struct fl_view *view);

/* What is known of a value without reading it. */
struct fl_info {
    uint64_t value_bytes; /* its length */
    uint64_t lsn;         /* the version; 0 while it is only pending in a batch */
    uint64_t deadline_ms; /* 0: none */
    uint64_t ticket;      /* as in struct fl_view */
    uint8_t type;
};

/* Whether `key` is there, and what is known of it: the key's record is read and checked, a big value, which
 * lies in blocks of its own, is not. Nothing to release.
 * Errors: FL_NOT_FOUND, FL_CORRUPT (the record; a damaged big value shows when it is read). */
FL_API FL_NODISCARD fl_status fl_get_info(struct fl_store *store, struct fl_key key,
                                          struct fl_info *info);

/* Hint that `key` will be read or written soon: starts the cache misses, waits for none. Call it for
 * some 16 keys, then do the work. */
FL_API void fl_prefetch(struct fl_store *store, struct fl_key key);

/* The same for some 8 to 64 keys at a time, down to the records: the misses of all overlap. */
FL_API void fl_prefetch_many(struct fl_store *store, const struct fl_key *keys, size_t count);

/* Number of keys in `space`, keys that expired but were not yet collected included. */
FL_API uint64_t fl_count(struct fl_store *store, uint8_t space);

/* Copy some key of `space`, chosen about evenly, into `buf` (cap bytes, FL_KEY_BYTES_MAX always
 * suffices). Errors: FL_NOT_FOUND (the space is empty), FL_TOO_LARGE. */
FL_API FL_NODISCARD fl_status fl_random_key(struct fl_store *store, uint8_t space, void *buf,
                                            size_t cap, size_t *len);

/* The store's clock, milliseconds since 1970: the wall clock, but never behind what an earlier run
 * has judged expiry by. */
FL_API uint64_t fl_now_ms(struct fl_store *store);

/* ---- snapshots ---- */

/* Pin the store's present state: reads through it see no later commit.
 * Owner: the caller; release with fl_snapshot_release() before fl_close(). While it lives, space
 * held by the versions that it sees is not reclaimed (fl_stats.pins_versions). */
FL_API FL_NODISCARD fl_status fl_snapshot_create(struct fl_store *store, struct fl_snapshot **out);
FL_API void fl_snapshot_release(struct fl_snapshot *snapshot);
FL_API FL_NODISCARD fl_status fl_snapshot_get_view(struct fl_snapshot *snapshot, struct fl_key key,
                                                   struct fl_view *view);

/* ---- values written in pieces ---- */

/* Reserve room for a value of exactly `len` bytes, to be filled with fl_blob_append() and named by a
 * batch. Meant for values over fl_stats.inline_bytes_max; smaller ones work too.
 * Owner: the caller, until fl_batch_put_blob() or fl_blob_discard(). Not durable and not visible until a
 * batch that names it is. Its place in the file is taken now; the file grows as fl_blob_append() reaches it.
 * Errors: FL_TOO_LARGE, FL_NO_SPACE, FL_READ_ONLY, FL_NO_MEMORY, FL_IO. */
FL_API FL_NODISCARD fl_status fl_blob_create(struct fl_store *store, size_t len,
                                             struct fl_blob **out);
/* Errors: FL_INVALID: it would go over the length that was reserved, nothing was added. FL_NO_SPACE (the file system
 * is full), FL_IO: discard the blob. */
FL_API FL_NODISCARD fl_status fl_blob_append(struct fl_blob *blob, const void *data, size_t len);
FL_API void fl_blob_discard(struct fl_blob *blob);

/* ---- the rest ---- */

/* Wait for the commits in flight. Everything that was submitted before is durable if FL_OK.
 * Errors: FL_IO: a write failed, or a batch that was submitted did, now or earlier. */
FL_API FL_NODISCARD fl_status fl_sync(struct fl_store *store);

/* One bounded step of grow-ahead, cleaning, expiry and reclaim; only with options.background off.
 * FL_OK: did something. FL_END: nothing to do. Errors: FL_INVALID: the store's own threads do it.
 * Threads: one at a time. */
FL_API FL_NODISCARD fl_status fl_maintain(struct fl_store *store);

/* Counters since fl_open() unless they say otherwise. All are exact. */
struct fl_stats {
    size_t struct_bytes; /* set by the caller to sizeof(struct fl_stats) before the call */
    enum fl_mapping mapping;
    enum fl_durability durability;
    char mapping_detail[96]; /* "clwb, NT stores", "pwritev2 RWF_DSYNC on ext4", forced overrides */

    uint64_t commits_total;       /* frames made durable */
    uint64_t records_total;       /* records in them */
    uint64_t fences_total;        /* store fences that made something durable */
    uint64_t lines_flushed_total; /* 64-byte lines flushed or written past the cache */
    uint64_t syncs_total;         /* synchronous writes, fsync and fdatasync calls */
    uint64_t segment_changes_total;
    uint64_t put_path_faults_total; /* commits that reached a block which was not populated */
    uint64_t put_path_waits_total;  /* commits that had to wait for a block */

    uint64_t block_bytes;
    uint64_t inline_bytes_max; /* values over this live in blocks of their own */
    uint64_t blocks_total;     /* blocks inside the file */
    uint64_t blocks_owned;     /* by log, tables and big values */
    uint64_t blocks_ahead;     /* populated and free */
    uint64_t file_bytes;       /* st_blocks x 512 */
    uint64_t live_bytes;       /* records that count, with the lines and blocks they fill */
    uint64_t cleaner_copied_bytes_total;
    uint64_t cleaner_freed_blocks_total;
    uint64_t expired_total;

    uint64_t keys_total;
    uint64_t
        keys_expiring; /* of them have a deadline; older versions kept for a pin are counted too */
    uint64_t index_dram_bytes;
    uint64_t pins;          /* snapshots and cursors that hold versions */
    uint64_t pins_versions; /* older versions kept for them */
    uint64_t open_ms;       /* what fl_open() took */
    uint64_t open_records;  /* records scanned by it */
    bool read_only;
    bool recovered;       /* the file had not been closed cleanly */
    uint64_t lost_ranges; /* after FL_OPEN_SALVAGE: damaged LSN ranges skipped */
    uint64_t lost_bytes;
};

FL_API void fl_stats(struct fl_store *store, struct fl_stats *stats);

/* The library's version, "0.1.0". */
FL_API const char *fl_version(void);

#ifdef __cplusplus
}
#endif
#endif

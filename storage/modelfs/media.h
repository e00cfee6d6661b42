/* The model's device: what is on media, and what a processor sees of it.
 *
 * Two images of the same bytes. `live` is what loads and stores reach (a memfd, so that several processes can map its
 * blocks); `persisted` is what a power cut leaves (memory, a file, or a region that the caller gives). A flush
 * snapshots 64-byte lines; the same context's fence publishes the snapshots. A power cut leaves, for every line, the
 * persisted bytes, or any snapshot not yet published that is newer, or what is live: nothing else, and any mixture of
 * lines. That is x86 with ADR, with a line's words taken together (tests/crash explores words).
 *
 * Newer: every flush draws a number; a line remembers the highest number published, an older snapshot is dropped.
 * So a fence of one mapper never takes back what another one made durable in the meantime, and a snapshot of a block
 * that was freed and given to somebody else, who zeroed and flushed it, is never published over the new owner's bytes.
 *
 * Several processes: `live`, the line numbers and the persisted image are shared memory, a robust process-shared lock
 * guards flush and fence. A process that dies, or is stopped for longer than MFS_MEDIA_LOCK_MS and killed by who
 * waits, leaves each line old or new.
 */
#ifndef FL_STORAGE_MODELFS_MEDIA_H
#define FL_STORAGE_MODELFS_MEDIA_H

#include <faultline/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MFS_LINE_BYTES = 64, MFS_MEDIA_LOCK_MS = 1000 };

enum mfs_step { MFS_STEP_STORE = 1, MFS_STEP_FLUSH, MFS_STEP_FENCE };

struct mfs_media;

/* Called before each step that is taken through this struct mfs_media, whoever takes it: tests count the steps, cut
 * the power there (longjmp is allowed: no lock is held), or make a fence fail. FL_IO from a fence: nothing of it is
 * published, and the filesystem's commit fails (rule C17). Ignored from the other steps. off and len of a fence: 0. */
struct mfs_hooks {
    fl_status (*step)(void *context, enum mfs_step step, uint64_t off, uint64_t len);
    void *context;
};

struct mfs_media_source {
    const char *path; /* the persisted image's file; NULL: memory of size_bytes */
    void *region;     /* or the caller's region of size_bytes, mapped shared; with path NULL */
    uint64_t
        size_bytes; /* multiple of 4096; for a path: 0 takes the file's size, else it must be `create` */
    bool create;    /* with path: make the file, or empty it */
    bool read_only; /* fsck, dump: the file is never written, fences stay in DRAM; shared lock */
    bool shared;    /* other processes may attach: line numbers and lock in a memfd too */
};

/* Open and lock the image (flock; FL_BUSY: another daemon has it), copy it into a new live image.
 * Owner: the caller, mfs_media_close(). Errors: FL_BUSY, FL_NOT_FOUND, FL_INVALID (not a regular file, odd size),
 * FL_NO_MEMORY, FL_NO_SPACE, FL_IO. */
FL_NODISCARD fl_status mfs_media_open(const struct mfs_media_source *source,
                                      struct mfs_media **out);
/* What was not fenced is gone, as after a power cut that took every such line. */
void mfs_media_close(struct mfs_media *media);

/* What another process needs to take part, to be sent to it; -1 where there is none (control: unless `shared`;
 * persisted: of a region). Owned by the media. The image stays locked until every process that was given it has closed
 * it: one that outlives its daemon might still fence. */
struct mfs_media_fds {
    int live;      /* memfd */
    int persisted; /* file or memfd */
    int control;   /* memfd: lock, counter, line numbers */
};
FL_NODISCARD fl_status mfs_media_fds(struct mfs_media *media, struct mfs_media_fds *out);
/* The other process's side. `fds` are duplicated. */
FL_NODISCARD fl_status mfs_media_attach(const struct mfs_media_fds *fds, uint64_t size_bytes,
                                        struct mfs_media **out);

uint64_t mfs_media_size_bytes(const struct mfs_media *media);
const uint8_t *mfs_media_live(const struct mfs_media *media);                     /* [size_bytes] */
const uint8_t *mfs_media_persisted(const struct mfs_media *media);                /* [size_bytes] */
void mfs_media_set_hooks(struct mfs_media *media, const struct mfs_hooks *hooks); /* NULL: none */

/* ---- a context: one processor's flushes that wait for its fence ---- */

struct mfs_cpu;
FL_NODISCARD fl_status mfs_cpu_create(struct mfs_media *media, struct mfs_cpu **out);
void mfs_cpu_destroy(struct mfs_cpu *cpu); /* before the media; its unfenced flushes are gone */

/* Store into the live image. Not durable. */
void mfs_media_store(struct mfs_media *media, uint64_t off, const void *src, size_t len);
void mfs_media_zero(struct mfs_media *media, uint64_t off, size_t len);

/* Snapshot the lines that hold [off, off + len). FL_NO_MEMORY: nothing was. */
FL_NODISCARD fl_status mfs_cpu_flush(struct mfs_cpu *cpu, uint64_t off, size_t len);
/* As mfs_cpu_flush(), the bytes taken from `src`, where the lines from `off` on are mapped: through what a stale
 * mapping reaches, say. Line-aligned both. */
FL_NODISCARD fl_status mfs_cpu_flush_from(struct mfs_cpu *cpu, uint64_t off, const void *src,
                                          size_t len);
/* Publish this context's snapshots. FL_IO: only from a hook. */
FL_NODISCARD fl_status mfs_cpu_fence(struct mfs_cpu *cpu);

/* As if every line of [off, off + len) that differs were flushed, and a fence. */
FL_NODISCARD fl_status mfs_cpu_persist_dirty(struct mfs_cpu *cpu, uint64_t off, uint64_t len);

/* Lines published since the media was opened, and fences that published any. This process's. */
struct mfs_media_counts {
    uint64_t lines;
    uint64_t fences;
};
struct mfs_media_counts mfs_media_counts(const struct mfs_media *media);

/* ---- the power cut ---- */

/* One line that a power cut may leave in more than one way. values[0] is what is persisted. */
struct mfs_choice {
    uint64_t off;
    unsigned count; /* 2 or more, distinct */
    const uint8_t (*values)[MFS_LINE_BYTES];
};

/* Every such line of the device, by offset, of all contexts of this process.
 * Owner: the caller, mfs_choices_free(). */
struct mfs_choices {
    struct mfs_choice *list;
    size_t count;
    void *memory;
};
FL_NODISCARD fl_status mfs_media_choices(struct mfs_media *media, struct mfs_choices *out);
void mfs_choices_free(struct mfs_choices *choices);

/* Cut the power: line i of the choices takes values[picked[i]]; all else is as persisted. Live is the same as
 * persisted afterwards, nothing is pending in any context. Mappings made by a filesystem are the caller's to end
 * first. */
FL_NODISCARD fl_status mfs_media_cut(struct mfs_media *media, const struct mfs_choices *choices,
                                     const unsigned *picked);
/* The same with each line's value drawn at random; seed 0 takes nothing, UINT64_MAX takes what is live. */
FL_NODISCARD fl_status mfs_media_cut_random(struct mfs_media *media, uint64_t seed);

/* Back to a state taken with mfs_media_save(): for tests that try many cuts from one state. */
struct mfs_saved;
FL_NODISCARD fl_status mfs_media_save(struct mfs_media *media, struct mfs_saved **out);
void mfs_media_restore(struct mfs_media *media, const struct mfs_saved *saved);
void mfs_saved_free(struct mfs_saved *saved);

#endif

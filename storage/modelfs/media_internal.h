/* What the parts of the media model share. */
#ifndef FL_STORAGE_MODELFS_MEDIA_INTERNAL_H
#define FL_STORAGE_MODELFS_MEDIA_INTERNAL_H

#include "storage/modelfs/media.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    MEDIA_PAGE_BYTES = 4096,
    MEDIA_PAGE_LINES = MEDIA_PAGE_BYTES / MFS_LINE_BYTES,
    /* Lines that one holding of the lock deals with: far below MFS_MEDIA_LOCK_MS on the slowest machine. */
    MEDIA_LOCK_LINES = 1024,
};

struct media_line {
    uint64_t words[MFS_LINE_BYTES / sizeof(uint64_t)];
};

/* What all processes share beside the two images. After it, one word for each line: the highest number published,
 * shifted left by one, and in bit 0 whether a snapshot may be pending somewhere. */
struct media_control {
    pthread_mutex_t lock;
    uint64_t
        turns; /* how often the lock was taken: who waits sees whether its holder makes progress */
    uint64_t numbers; /* the last number drawn */
    uint64_t cut;     /* snapshots up to this number went with the power */
    /* The line being published. If its publisher dies half way, the next holder of the lock finishes it. */
    uint64_t redo_off;
    _Atomic(uint64_t) redo_valid;
    struct media_line redo;
    _Alignas(MFS_LINE_BYTES) uint64_t lines[];
};

struct media_snapshot {
    uint64_t off;
    uint64_t number;
    struct media_line line;
};

struct mfs_cpu {
    struct mfs_media *media;
    struct mfs_cpu *next;
    pthread_mutex_t lock; /* guards what follows; taken before the control's */
    struct media_snapshot *pending;
    size_t count;
    size_t capacity;
};

struct mfs_media {
    uint64_t size_bytes;
    uint8_t *live;
    uint8_t *persisted;
    struct media_control *control;
    int live_fd;
    int persisted_fd; /* -1: the caller's region */
    int control_fd;   /* -1: this process's only */
    bool region;      /* persisted belongs to the caller */
    struct mfs_hooks hooks;
    pthread_mutex_t cpus_lock; /* guards the list; taken before a context's */
    struct mfs_cpu *cpus;
    _Atomic(uint64_t) lines;
    _Atomic(uint64_t) fences;
};

size_t media_control_bytes(uint64_t size_bytes);
fl_status media_control_init(struct media_control *control);

/* The lock of all processes. Who holds it for longer than MFS_MEDIA_LOCK_MS, and is another process, is killed. */
void media_lock(struct mfs_media *media);
void media_unlock(struct mfs_media *media);

/* One line, word by word: a reader of the other side sees each word old or new. */
void media_copy_line(void *dst, const void *src);
/* With the lock held: `off` has `line` on media, by snapshot `number`. */
void media_publish(struct mfs_media *media, uint64_t off, const struct media_line *line,
                   uint64_t number);

static inline uint64_t *
media_line_word(const struct mfs_media *media, uint64_t off)
{
    return &media->control->lines[off / MFS_LINE_BYTES];
}

/* The next range of pages, from *off on, that is not a hole in both images: [*off, *end). False: none. */
bool media_next_data(const struct mfs_media *media, uint64_t *off, uint64_t *end);

#endif

#include "storage/modelfs/media_internal.h"

#include "base/bytes.h"
#include "base/fail.h"
#include "base/mem.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

size_t
media_control_bytes(uint64_t size_bytes)
{
    return sizeof(struct media_control) + (size_t)(size_bytes / MFS_LINE_BYTES) * sizeof(uint64_t);
}

fl_status
media_control_init(struct media_control *control)
{
    pthread_mutexattr_t attr;

    (void)pthread_mutexattr_init(&attr);
    (void)pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    (void)pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    const int err = pthread_mutex_init(&control->lock, &attr);
    (void)pthread_mutexattr_destroy(&attr);
    if (err != 0) {
        errno = err;
        return FL_FAIL_ERRNO(FL_NOT_SUPPORTED, "make a lock that processes share");
    }
    return FL_OK;
}

/* ---- the lock ---- */

#if defined(__SANITIZE_THREAD__)
#define MEDIA_UNDER_TSAN
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MEDIA_UNDER_TSAN
#endif
#endif

/* The thread that holds the lock; 0: none. The kernel itself reads it there when a holder dies, so unlike a pid of our
 * own beside the lock it is right from the first instant. */
static pid_t
holder(const struct media_control *control)
{
    const int *word = &control->lock.__data.__lock;

    return (pid_t)((uint32_t)__atomic_load_n(word, __ATOMIC_RELAXED) & FUTEX_TID_MASK);
}

static int
lock_once(struct media_control *control)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += MFS_MEDIA_LOCK_MS / 1000;
    until.tv_nsec += MFS_MEDIA_LOCK_MS % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
#ifdef MEDIA_UNDER_TSAN
    /* The sanitizers of gcc 12 and clang 14 don't know pthread_mutex_clocklock(). */
    for (int ms = 0; ms < MFS_MEDIA_LOCK_MS; ms++) {
        const int err = pthread_mutex_trylock(&control->lock);
        if (err != EBUSY) {
            return err;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return ETIMEDOUT;
#else
    return pthread_mutex_clocklock(&control->lock, CLOCK_MONOTONIC, &until);
#endif
}

/* Wait; who holds the lock all the time without progress is stopped, and would hold up everybody for ever. */
static int
lock_slowly(struct media_control *control)
{
    for (;;) {
        const uint64_t turns = __atomic_load_n(&control->turns, __ATOMIC_RELAXED);
        const pid_t before = holder(control);
        const int err = lock_once(control);
        if (err != ETIMEDOUT) {
            return err;
        }
        const bool same = holder(control) == before && before > 0 &&
                          __atomic_load_n(&control->turns, __ATOMIC_RELAXED) == turns;
        const bool ours = syscall(SYS_tgkill, getpid(), before, 0) == 0;
        if (same && !ours) {
            (void)kill(before, SIGKILL);
        }
    }
}

void
media_copy_line(void *dst, const void *src)
{
    uint64_t *to = dst;
    const uint64_t *from = src;

    for (size_t i = 0; i < MFS_LINE_BYTES / sizeof(*to); i++) {
        __atomic_store_n(&to[i], __atomic_load_n(&from[i], __ATOMIC_RELAXED), __ATOMIC_RELAXED);
    }
}

void
media_lock(struct mfs_media *media)
{
    struct media_control *control = media->control;
    int err = pthread_mutex_trylock(&control->lock);

    if (err == EBUSY) {
        err = lock_slowly(control);
    }
    if (err == EOWNERDEAD) {
        if (atomic_load_explicit(&control->redo_valid, memory_order_relaxed) != 0 &&
            control->redo_off <= media->size_bytes - MFS_LINE_BYTES) {
            media_copy_line(media->persisted + control->redo_off, &control->redo);
        }
        atomic_store_explicit(&control->redo_valid, 0, memory_order_relaxed);
        err = pthread_mutex_consistent(&control->lock);
    }
    FL_ASSERT(err == 0);
    __atomic_store_n(&control->turns, control->turns + 1, __ATOMIC_RELAXED);
}

void
media_unlock(struct mfs_media *media)
{
    (void)pthread_mutex_unlock(&media->control->lock);
}

void
media_publish(struct mfs_media *media, uint64_t off, const struct media_line *line, uint64_t number)
{
    struct media_control *control = media->control;
    uint64_t *word = media_line_word(media, off);

    *word = number << 1 | (*word & 1);
    control->redo = *line;
    control->redo_off = off;
    atomic_store_explicit(&control->redo_valid, 1, memory_order_release);
    media_copy_line(media->persisted + off, line);
    atomic_store_explicit(&control->redo_valid, 0, memory_order_release);
}

/* ---- contexts ---- */

fl_status
mfs_cpu_create(struct mfs_media *media, struct mfs_cpu **out)
{
    struct mfs_cpu *cpu = mem_alloc_zero(sizeof(*cpu));

    if (cpu == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory for a context");
    }
    cpu->media = media;
    (void)pthread_mutex_init(&cpu->lock, NULL);
    (void)pthread_mutex_lock(&media->cpus_lock);
    cpu->next = media->cpus;
    media->cpus = cpu;
    (void)pthread_mutex_unlock(&media->cpus_lock);
    *out = cpu;
    return FL_OK;
}

void
mfs_cpu_destroy(struct mfs_cpu *cpu)
{
    struct mfs_media *media = cpu->media;

    (void)pthread_mutex_lock(&media->cpus_lock);
    struct mfs_cpu **link = &media->cpus;
    while (*link != cpu) {
        link = &(*link)->next;
    }
    *link = cpu->next;
    (void)pthread_mutex_unlock(&media->cpus_lock);
    (void)pthread_mutex_destroy(&cpu->lock);
    mem_free(cpu->pending);
    mem_free(cpu);
}

static fl_status
take_step(struct mfs_media *media, enum mfs_step step, uint64_t off, uint64_t len)
{
    return media->hooks.step != NULL ? media->hooks.step(media->hooks.context, step, off, len)
                                     : FL_OK;
}

static void
check_range(const struct mfs_media *media, uint64_t off, uint64_t len)
{
    FL_ASSERT(off <= media->size_bytes && len <= media->size_bytes - off);
}

void
mfs_media_store(struct mfs_media *media, uint64_t off, const void *src, size_t len)
{
    check_range(media, off, len);
    (void)take_step(media, MFS_STEP_STORE, off, len);
    memcpy(media->live + off, src, len);
}

void
mfs_media_zero(struct mfs_media *media, uint64_t off, size_t len)
{
    check_range(media, off, len);
    (void)take_step(media, MFS_STEP_STORE, off, len);
    memset(media->live + off, 0, len);
}

static bool
make_room(struct mfs_cpu *cpu, size_t lines)
{
    if (lines <= cpu->capacity - cpu->count) {
        return true;
    }
    size_t capacity = cpu->capacity * 2 < 64 ? 64 : cpu->capacity * 2;
    while (capacity - cpu->count < lines) {
        capacity *= 2;
    }
    struct media_snapshot *pending = mem_alloc(capacity * sizeof(*pending));
    if (pending == NULL) {
        return false;
    }
    if (cpu->count > 0) {
        memcpy(pending, cpu->pending, cpu->count * sizeof(*pending));
    }
    mem_free(cpu->pending);
    cpu->pending = pending;
    cpu->capacity = capacity;
    return true;
}

/* Snapshots are taken with the lock held, so that of two of one line the higher number has the newer bytes. */
static void
snapshot(struct mfs_cpu *cpu, uint64_t off, const uint8_t *src, size_t lines)
{
    struct mfs_media *media = cpu->media;

    for (size_t i = 0; i < lines; i++) {
        if (i % MEDIA_LOCK_LINES == 0) {
            if (i > 0) {
                media_unlock(media);
            }
            media_lock(media);
        }
        struct media_snapshot *new = &cpu->pending[cpu->count++];
        new->off = off + i *MFS_LINE_BYTES;
        new->number = ++media->control->numbers;
        media_copy_line(&new->line, src + i * MFS_LINE_BYTES);
        *media_line_word(media, new->off) |= 1;
    }
    media_unlock(media);
}

fl_status
mfs_cpu_flush_from(struct mfs_cpu *cpu, uint64_t off, const void *src, size_t len)
{
    FL_ASSERT(off % MFS_LINE_BYTES == 0 && len % MFS_LINE_BYTES == 0 &&
              (uintptr_t)src % MFS_LINE_BYTES == 0);
    check_range(cpu->media, off, len);
    if (len == 0) {
        return FL_OK;
    }
    (void)take_step(cpu->media, MFS_STEP_FLUSH, off, len);
    (void)pthread_mutex_lock(&cpu->lock);
    const bool room = make_room(cpu, len / MFS_LINE_BYTES);
    if (room) {
        snapshot(cpu, off, src, len / MFS_LINE_BYTES);
    }
    (void)pthread_mutex_unlock(&cpu->lock);
    return room ? FL_OK : FL_FAIL(FL_NO_MEMORY, "no memory to flush %zu bytes", len);
}

fl_status
mfs_cpu_flush(struct mfs_cpu *cpu, uint64_t off, size_t len)
{
    if (len == 0) {
        return FL_OK;
    }
    check_range(cpu->media, off, len);
    const uint64_t first = bytes_align_down(off, MFS_LINE_BYTES);
    const uint64_t end = bytes_align_up(off + len, MFS_LINE_BYTES);
    return mfs_cpu_flush_from(cpu, first, cpu->media->live + first, (size_t)(end - first));
}

/* What a context's fence makes durable: no snapshot that is older than what is there, or than a power cut. */
static uint64_t
publish_pending(struct mfs_cpu *cpu)
{
    struct mfs_media *media = cpu->media;
    uint64_t published = 0;

    for (size_t i = 0; i < cpu->count; i++) {
        if (i % MEDIA_LOCK_LINES == 0) {
            if (i > 0) {
                media_unlock(media);
            }
            media_lock(media);
        }
        const struct media_snapshot *s = &cpu->pending[i];
        if (s->number > media->control->cut && s->number > *media_line_word(media, s->off) >> 1) {
            media_publish(media, s->off, &s->line, s->number);
            published++;
        }
    }
    if (cpu->count > 0) {
        media_unlock(media);
    }
    cpu->count = 0;
    return published;
}

static void
count_fence(struct mfs_media *media, uint64_t lines)
{
    if (lines > 0) {
        (void)atomic_fetch_add_explicit(&media->lines, lines, memory_order_relaxed);
        (void)atomic_fetch_add_explicit(&media->fences, 1, memory_order_relaxed);
    }
}

fl_status
mfs_cpu_fence(struct mfs_cpu *cpu)
{
    const fl_status status = take_step(cpu->media, MFS_STEP_FENCE, 0, 0);

    if (status != FL_OK) {
        return FL_FAIL(status, "a fence failed");
    }
    (void)pthread_mutex_lock(&cpu->lock);
    count_fence(cpu->media, publish_pending(cpu));
    (void)pthread_mutex_unlock(&cpu->lock);
    return FL_OK;
}

/* Up to MEDIA_LOCK_LINES lines from `off` on. A line that differs is published as it is now; so that no older snapshot
 * takes it back later, one that doesn't differ gets a new number where a snapshot may be pending. */
static uint64_t
publish_dirty(struct mfs_media *media, uint64_t off, uint64_t end)
{
    uint64_t published = 0;
    struct media_line line;

    media_lock(media);
    for (; off < end; off += MFS_LINE_BYTES) {
        uint64_t *word = media_line_word(media, off);
        media_copy_line(&line, media->live + off);
        if (memcmp(&line, media->persisted + off, MFS_LINE_BYTES) != 0) {
            media_publish(media, off, &line, ++media->control->numbers);
            published++;
        } else if ((*word & 1) != 0) {
            *word = ++media->control->numbers << 1;
        }
    }
    media_unlock(media);
    return published;
}

fl_status
mfs_cpu_persist_dirty(struct mfs_cpu *cpu, uint64_t off, uint64_t len)
{
    struct mfs_media *media = cpu->media;

    check_range(media, off, len);
    if (len > 0) {
        (void)take_step(media, MFS_STEP_FLUSH, off, len);
    }
    const fl_status status = take_step(media, MFS_STEP_FENCE, 0, 0);
    if (status != FL_OK) {
        return FL_FAIL(status, "a fence failed");
    }
    const uint64_t last = bytes_align_up(off + len, MFS_LINE_BYTES);
    uint64_t lines = 0;
    for (uint64_t at = bytes_align_down(off, MFS_LINE_BYTES); len > 0 && at < last;) {
        const uint64_t chunk = (uint64_t)MEDIA_LOCK_LINES * MFS_LINE_BYTES;
        const uint64_t end = last - at > chunk ? at + chunk : last;
        lines += publish_dirty(media, at, end);
        at = end;
    }
    (void)pthread_mutex_lock(&cpu->lock);
    lines += publish_pending(cpu);
    (void)pthread_mutex_unlock(&cpu->lock);
    count_fence(media, lines);
    return FL_OK;
}

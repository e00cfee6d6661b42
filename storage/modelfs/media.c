#include "storage/modelfs/media_internal.h"

#include "base/bytes.h"
#include "base/fail.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void
release(struct mfs_media *media)
{
    const size_t size = (size_t)media->size_bytes;

    if (media->live != NULL) {
        (void)munmap(media->live, size);
    }
    if (media->persisted != NULL && !media->region) {
        (void)munmap(media->persisted, size);
    }
    if (media->control != NULL) {
        (void)munmap(media->control, media_control_bytes(media->size_bytes));
    }
    const int fds[] = {media->live_fd, media->persisted_fd, media->control_fd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    (void)pthread_mutex_destroy(&media->cpus_lock);
    mem_free(media);
}

static struct mfs_media *
blank(uint64_t size_bytes)
{
    struct mfs_media *media = mem_alloc_zero(sizeof(*media));

    if (media != NULL) {
        media->size_bytes = size_bytes;
        media->live_fd = -1;
        media->persisted_fd = -1;
        media->control_fd = -1;
        (void)pthread_mutex_init(&media->cpus_lock, NULL);
    }
    return media;
}

static fl_status
map_fd(int fd, size_t size, int flags, void **out)
{
    void *ptr = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);

    if (ptr == MAP_FAILED) {
        return FL_FAIL_ERRNO(errno == ENOMEM ? FL_NO_MEMORY : FL_IO, "map %zu bytes of an image",
                             size);
    }
    *out = ptr;
    return FL_OK;
}

static fl_status
make_memfd(const char *name, size_t size, int *fd, void **out)
{
    *fd = memfd_create(name, MFD_CLOEXEC);
    if (*fd < 0 || ftruncate(*fd, (off_t)size) != 0) {
        return FL_FAIL_ERRNO(FL_NO_MEMORY, "make a memory file of %zu bytes", size);
    }
    return map_fd(*fd, size, MAP_SHARED, out);
}

/* Take the size of what is there, or give the file its size. The lock is ours already. */
static fl_status
size_file(struct mfs_media *media, const struct mfs_media_source *source)
{
    struct stat st;

    if (fstat(media->persisted_fd, &st) != 0) {
        return FL_FAIL_ERRNO(FL_IO, "stat %s", source->path);
    }
    if (!S_ISREG(st.st_mode)) {
        return FL_FAIL(FL_INVALID, "%s is not a regular file", source->path);
    }
    if (source->create) {
        if (ftruncate(media->persisted_fd, 0) != 0 ||
            ftruncate(media->persisted_fd, (off_t)source->size_bytes) != 0) {
            return FL_FAIL_ERRNO(FL_IO, "give %s its size", source->path);
        }
    } else {
        if (source->size_bytes != 0 && source->size_bytes != (uint64_t)st.st_size) {
            return FL_FAIL(FL_INVALID, "%s has %jd bytes, not %" PRIu64, source->path,
                           (intmax_t)st.st_size, source->size_bytes);
        }
        media->size_bytes = (uint64_t)st.st_size;
    }
    if (media->size_bytes == 0 || media->size_bytes % MEDIA_PAGE_BYTES != 0) {
        return FL_FAIL(FL_INVALID, "%s has %" PRIu64 " bytes, not a multiple of %d", source->path,
                       media->size_bytes, MEDIA_PAGE_BYTES);
    }
    if (source->read_only) {
        return FL_OK;
    }
    /* A full disk is an error here, not a SIGBUS at some fence. */
    if (fallocate(media->persisted_fd, 0, 0, (off_t)media->size_bytes) != 0 &&
        errno != EOPNOTSUPP) {
        return FL_FAIL_ERRNO(errno == ENOSPC ? FL_NO_SPACE : FL_IO,
                             "reserve %" PRIu64 " bytes for %s", media->size_bytes, source->path);
    }
    return FL_OK;
}

static fl_status
open_file(struct mfs_media *media, const struct mfs_media_source *source)
{
    const int access = source->read_only ? O_RDONLY : O_RDWR;
    const int flags = access | O_CLOEXEC | O_NONBLOCK | (source->create ? O_CREAT : 0);

    media->persisted_fd = open(source->path, flags, 0666);
    if (media->persisted_fd < 0) {
        const bool absent = errno == ENOENT;
        const bool directory = errno == EISDIR;
        return FL_FAIL_ERRNO(absent      ? FL_NOT_FOUND
                             : directory ? FL_INVALID
                                         : FL_IO,
                             "open %s", source->path);
    }
    /* The lock lives as long as any process that was given the file: one that outlived its daemon may still fence. */
    if (flock(media->persisted_fd, (source->read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0) {
        return FL_FAIL_ERRNO(errno == EWOULDBLOCK ? FL_BUSY : FL_IO, "lock %s", source->path);
    }
    const fl_status status = size_file(media, source);
    if (status != FL_OK) {
        return status;
    }
    void *ptr = NULL;
    const fl_status mapped =
        map_fd(media->persisted_fd, (size_t)media->size_bytes,
               source->read_only ? MAP_PRIVATE | MAP_NORESERVE : MAP_SHARED, &ptr);
    media->persisted = ptr;
    return mapped;
}

static fl_status
open_persisted(struct mfs_media *media, const struct mfs_media_source *source)
{
    void *ptr = NULL;

    if (source->path != NULL) {
        return open_file(media, source);
    }
    if (source->region != NULL) {
        media->region = true;
        media->persisted = source->region;
        return FL_OK;
    }
    const fl_status status =
        make_memfd("modelfs-persisted", (size_t)media->size_bytes, &media->persisted_fd, &ptr);
    media->persisted = ptr;
    return status;
}

static fl_status
open_control(struct mfs_media *media, bool shared)
{
    const size_t size = media_control_bytes(media->size_bytes);
    void *ptr = NULL;

    const fl_status status =
        shared ? make_memfd("modelfs-control", size, &media->control_fd, &ptr)
               : map_fd(-1, size, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, &ptr);
    media->control = ptr;
    return status != FL_OK ? status : media_control_init(media->control);
}

/* Holes stay holes. */
static void
fill_live(struct mfs_media *media)
{
    uint64_t off = 0;
    uint64_t end;

    while (media_next_data(media, &off, &end)) {
        for (; off < end; off += MEDIA_PAGE_BYTES) {
            if (!bytes_are_zero(media->persisted + off, MEDIA_PAGE_BYTES)) {
                memcpy(media->live + off, media->persisted + off, MEDIA_PAGE_BYTES);
            }
        }
    }
}

fl_status
mfs_media_open(const struct mfs_media_source *source, struct mfs_media **out)
{
    const bool sized = source->path == NULL || source->create;

    if (source->read_only && (source->path == NULL || source->create)) {
        return FL_FAIL(FL_INVALID, "only a file that is there can be opened read-only");
    }
    if (sized && (source->size_bytes == 0 || source->size_bytes % MEDIA_PAGE_BYTES != 0 ||
                  source->size_bytes > (uint64_t)1 << 46)) {
        return FL_FAIL(FL_INVALID, "a device of %" PRIu64 " bytes: not a multiple of %d",
                       source->size_bytes, MEDIA_PAGE_BYTES);
    }
    struct mfs_media *media = blank(source->size_bytes);
    if (media == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory for a device");
    }
    void *ptr = NULL;
    fl_status status = open_persisted(media, source);
    if (status == FL_OK) {
        status = make_memfd("modelfs-live", (size_t)media->size_bytes, &media->live_fd, &ptr);
        media->live = ptr;
    }
    if (status == FL_OK) {
        status = open_control(media, source->shared);
    }
    if (status != FL_OK) {
        release(media);
        return status;
    }
    fill_live(media);
    *out = media;
    return FL_OK;
}

void
mfs_media_close(struct mfs_media *media)
{
    FL_ASSERT(media->cpus == NULL);
    release(media);
}

fl_status
mfs_media_fds(struct mfs_media *media, struct mfs_media_fds *out)
{
    *out = (struct mfs_media_fds){
        .live = media->live_fd, .persisted = media->persisted_fd, .control = media->control_fd};
    return FL_OK;
}

static fl_status
attach_fd(int fd, size_t size, int *copy, void **out)
{
    struct stat st;

    *copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (*copy < 0 || fstat(*copy, &st) != 0) {
        return FL_FAIL_ERRNO(FL_IO, "take a device's file");
    }
    if ((uint64_t)st.st_size < size) {
        return FL_FAIL(FL_INVALID, "a device's file has %jd bytes, not %zu", (intmax_t)st.st_size,
                       size);
    }
    return map_fd(*copy, size, MAP_SHARED, out);
}

fl_status
mfs_media_attach(const struct mfs_media_fds *fds, uint64_t size_bytes, struct mfs_media **out)
{
    if (size_bytes == 0 || size_bytes % MEDIA_PAGE_BYTES != 0) {
        return FL_FAIL(FL_INVALID, "a device of %" PRIu64 " bytes", size_bytes);
    }
    struct mfs_media *media = blank(size_bytes);
    if (media == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "no memory for a device");
    }
    void *live = NULL;
    void *persisted = NULL;
    void *control = NULL;
    fl_status status = attach_fd(fds->live, (size_t)size_bytes, &media->live_fd, &live);
    if (status == FL_OK) {
        status = attach_fd(fds->persisted, (size_t)size_bytes, &media->persisted_fd, &persisted);
    }
    if (status == FL_OK) {
        status =
            attach_fd(fds->control, media_control_bytes(size_bytes), &media->control_fd, &control);
    }
    media->live = live;
    media->persisted = persisted;
    media->control = control;
    if (status != FL_OK) {
        release(media);
        return status;
    }
    *out = media;
    return FL_OK;
}

uint64_t
mfs_media_size_bytes(const struct mfs_media *media)
{
    return media->size_bytes;
}

const uint8_t *
mfs_media_live(const struct mfs_media *media)
{
    return media->live;
}

const uint8_t *
mfs_media_persisted(const struct mfs_media *media)
{
    return media->persisted;
}

void
mfs_media_set_hooks(struct mfs_media *media, const struct mfs_hooks *hooks)
{
    media->hooks = hooks != NULL ? *hooks : (struct mfs_hooks){0};
}

struct mfs_media_counts
mfs_media_counts(const struct mfs_media *media)
{
    return (struct mfs_media_counts){
        .lines = atomic_load_explicit(&media->lines, memory_order_relaxed),
        .fences = atomic_load_explicit(&media->fences, memory_order_relaxed)};
}

/* The data range of one file at or behind `off`, cut to whole pages; no file: all of it. */
static bool
fd_next_data(int fd, uint64_t size_bytes, uint64_t off, uint64_t *first, uint64_t *end)
{
    *first = off;
    *end = size_bytes;
    if (fd < 0) {
        return true;
    }
    const off_t data = lseek(fd, (off_t)off, SEEK_DATA);
    if (data < 0) {
        return errno != ENXIO; /* whatever else it is: look everywhere */
    }
    const off_t hole = lseek(fd, data, SEEK_HOLE);
    *first = bytes_align_down((uint64_t)data, MEDIA_PAGE_BYTES);
    if (hole > data && (uint64_t)hole < size_bytes) {
        *end = bytes_align_up((uint64_t)hole, MEDIA_PAGE_BYTES);
    }
    return *first < size_bytes;
}

bool
media_next_data(const struct mfs_media *media, uint64_t *off, uint64_t *end)
{
    uint64_t live_first;
    uint64_t live_end;
    uint64_t first;

    if (*off >= media->size_bytes) {
        return false;
    }
    const bool live = fd_next_data(media->live_fd, media->size_bytes, *off, &live_first, &live_end);
    const bool persisted = fd_next_data(media->persisted_fd, media->size_bytes, *off, &first, end);
    if (!live && !persisted) {
        return false;
    }
    if (live && (!persisted || live_first < first)) {
        /* Up to where the other begins, so that no hole of both is in between. */
        *end = persisted && first < live_end ? first : live_end;
        first = live_first;
    }
    *off = first;
    return true;
}

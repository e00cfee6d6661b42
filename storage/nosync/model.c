/* Kind model: a no-sync mapping of a file of a model device, through the public client library. Stores go to the
 * mapping itself; flush and fence are calls, since it is the model's persisted image that they make durable. */
#include "storage/nosync/file.h"
#include "storage/nosync/model_file.h"

#include "base/bytes.h"
#include "base/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEVICE_BYTES_DEFAULT (UINT64_C(1) << 30)
#define DEVICE_BYTES_SPARE (UINT64_C(16) << 20) /* tables, journal, and a file beside the store */

enum { BLOCK_BYTES_MIN = 4096, BLOCK_BYTES_MAX = 2 * 1024 * 1024 };

struct model {
    struct nosync_map map; /* first: what callers hold */
    struct model_name name;
    struct fl_modelfs *fs;
    struct fl_modelfs_map *mapping;
    uint8_t *base;
    uint64_t size_bytes_max;
    int lock_fd;
    bool read_only;
    bool sigbus;
    pthread_mutex_t grow_lock; /* the file's size, and blocks half faulted */
    char path[];
};

static struct model *
of(struct nosync_map *map)
{
    return (struct model *)map;
}

/* ---- stores ---- */

static void
hook_store(void *context, uint64_t off, const void *src, size_t len, bool atomic)
{
    struct model *model = context;
    uint64_t word;

    if (atomic) {
        memcpy(&word, src, sizeof(word));
        __atomic_store_n((uint64_t *)(void *)(model->base + off), word, __ATOMIC_RELAXED);
    } else {
        memcpy(model->base + off, src, len);
    }
}

static void
hook_flush(void *context, uint64_t off, size_t len)
{
    struct model *model = context;

    fl_modelfs_flush(model->mapping, model->base + off, len);
}

static void
hook_fence(void *context)
{
    struct model *model = context;

    fl_modelfs_fence(model->fs);
}

static const struct pm_media_ops media_ops = {
    .store = hook_store,
    .flush = hook_flush,
    .fence = hook_fence,
};

/* ---- the vtable ---- */

/* The host may go at any time: whoever wrote before has to take it for a failed device. */
static fl_status
outcome(fl_status status)
{
    return status == FL_CLOSED ? FL_IO : status;
}

static fl_status
check_range(const struct model *model, uint64_t off, uint64_t len)
{
    FL_ASSERT(off % BLOCK_BYTES_MIN == 0 && len % BLOCK_BYTES_MIN == 0 && len > 0);
    if (model->read_only) {
        return FL_FAIL(FL_READ_ONLY, "%s is open read-only", model->path);
    }
    if (off > model->size_bytes_max || len > model->size_bytes_max - off) {
        return FL_FAIL(FL_NO_SPACE, "%s may not grow over %" PRIu64 " bytes", model->path,
                       model->size_bytes_max);
    }
    return FL_OK;
}

static uint64_t
model_size_bytes(struct nosync_map *map)
{
    uint64_t size_bytes = 0;
    uint64_t allocated_bytes;

    return fl_modelfs_size(of(map)->fs, of(map)->name.name, &size_bytes, &allocated_bytes) == FL_OK
               ? size_bytes
               : 0;
}

static uint64_t
model_file_bytes(struct nosync_map *map)
{
    uint64_t size_bytes;
    uint64_t allocated_bytes = 0;

    return fl_modelfs_size(of(map)->fs, of(map)->name.name, &size_bytes, &allocated_bytes) == FL_OK
               ? allocated_bytes
               : 0;
}

/* After a failure, as far as it goes. */
static void
undo_growth(struct model *model, uint64_t end_before, uint64_t off, uint64_t len)
{
    (void)pthread_mutex_lock(&model->grow_lock);
    const uint64_t end = model_size_bytes(&model->map);

    if (end_before <= off && end > off && end <= off + len) {
        (void)!fl_modelfs_truncate(model->fs, model->name.name, off);
    } else {
        (void)!fl_modelfs_punch(model->fs, model->name.name, off, len);
    }
    (void)pthread_mutex_unlock(&model->grow_lock);
}

/* Space first, and the size: that is all or nothing, with the true reason. Then a write fault for each block, which
 * makes it durable: by the contract, one commit for as much as a transaction holds. */
static fl_status
model_fault_in(struct nosync_map *map, uint64_t off, uint64_t len)
{
    struct model *model = of(map);
    fl_status status = check_range(model, off, len);

    if (status != FL_OK) {
        return status;
    }
    (void)pthread_mutex_lock(&model->grow_lock);
    const uint64_t end_before = model_size_bytes(map);

    status = fl_modelfs_allocate(model->fs, model->name.name, off, len, false);
    (void)pthread_mutex_unlock(&model->grow_lock);
    if (status != FL_OK) {
        return outcome(status);
    }
    status = fl_modelfs_populate(model->mapping, off, len);
    if (status == FL_OK) {
        status = mapped_zero_stale(map, off, len);
    }
    if (status != FL_OK) {
        undo_growth(model, end_before, off, len);
    }
    return outcome(status);
}

static fl_status
model_punch(struct nosync_map *map, uint64_t off, uint64_t len)
{
    const fl_status status = check_range(of(map), off, len);

    return status == FL_OK ? outcome(fl_modelfs_punch(of(map)->fs, of(map)->name.name, off, len))
                           : status;
}

static fl_status
model_sync(struct nosync_map *map)
{
    return outcome(fl_modelfs_fsync(of(map)->fs, of(map)->name.name));
}

static void
release(struct model *model)
{
    if (model->sigbus) {
        sigbus_remove(model->base);
    }
    if (model->mapping != NULL) {
        fl_modelfs_unmap(model->mapping);
    }
    if (model->fs != NULL) {
        fl_modelfs_detach(model->fs);
    }
    if (model->lock_fd >= 0) {
        (void)close(model->lock_fd);
    }
    (void)pthread_mutex_destroy(&model->grow_lock);
    free(model->name.device);
    free(model);
}

static void
model_close(struct nosync_map *map)
{
    release(of(map));
}

static const struct nosync_ops map_ops = {
    .fault_in = model_fault_in,
    .punch = model_punch,
    .sync_file = model_sync,
    .size_bytes = model_size_bytes,
    .file_bytes = model_file_bytes,
    .close = model_close,
};

/* ---- opening ---- */

/* What no request can be granted is refused before anything is made. */
static fl_status
check_request(const struct nosync_request *request)
{
    if (request->mapping != FL_MAPPING_AUTO && request->mapping != FL_MAPPING_MODEL) {
        return FL_FAIL(FL_INVALID, "%s: a file of a model device has the mapping 'model' only",
                       request->path);
    }
    if (request->durability_min > FL_DURABILITY_PROCESS) {
        return FL_FAIL(FL_NOT_GRANTED,
                       "%s: the model filesystem survives a crash of the process and a simulated "
                       "power cut, not a real one; if that is enough, say --durability-min process",
                       request->path);
    }
    return FL_OK;
}

static uint32_t
device_block_bytes(const struct nosync_request *request)
{
    const uint32_t wanted = request->block_bytes;

    return wanted < BLOCK_BYTES_MIN   ? BLOCK_BYTES_MIN
           : wanted > BLOCK_BYTES_MAX ? BLOCK_BYTES_MAX
                                      : wanted;
}

static fl_status
attach(struct model *model, const struct nosync_request *request)
{
    const uint64_t room =
        request->size_bytes_max + request->size_bytes_max / 16 + DEVICE_BYTES_SPARE;
    struct fl_modelfs_options options;

    fl_modelfs_options_init(&options);
    options.flags = FL_MODELFS_HOST | (request->create ? FL_MODELFS_FORMAT : 0);
    options.block_bytes = device_block_bytes(request);
    options.size_bytes = bytes_align_down(room < DEVICE_BYTES_DEFAULT ? room : DEVICE_BYTES_DEFAULT,
                                          BLOCK_BYTES_MAX);
    return fl_modelfs_attach(model->name.device, &options, &model->fs);
}

/* One store for a file: a byte of the device, chosen by the file's name, is locked as long as its open file
 * description lives. The host's own lock is of another kind and not in the way. */
static fl_status
lock(struct model *model)
{
    struct flock range = {
        .l_type = (short)(model->read_only ? F_RDLCK : F_WRLCK),
        .l_whence = SEEK_SET,
        .l_len = 1,
    };
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (const char *p = model->name.name; *p != '\0'; p++) {
        hash = (hash ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
    }
    range.l_start = (off_t)(hash >> 2);
    model->lock_fd = open(model->name.device, (model->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (model->lock_fd < 0) {
        return FL_FAIL_ERRNO(FL_IO, "open %s", model->name.device);
    }
    if (fcntl(model->lock_fd, F_OFD_SETLK, &range) != 0) {
        return errno == EAGAIN || errno == EACCES
                   ? FL_FAIL(FL_BUSY, "%s is in use by another process or store", model->path)
                   : FL_FAIL_ERRNO(FL_IO, "lock %s", model->path);
    }
    return FL_OK;
}

static fl_status
find_or_create(struct model *model, const struct nosync_request *request, uint64_t *size_bytes)
{
    uint64_t allocated_bytes;
    fl_status status = fl_modelfs_size(model->fs, model->name.name, size_bytes, &allocated_bytes);

    if (status == FL_OK && request->create && request->exclusive) {
        return FL_FAIL(FL_EXISTS, "%s is there already", model->path);
    }
    if (status != FL_NOT_FOUND || !request->create) {
        return status;
    }
    *size_bytes = 0;
    status = fl_modelfs_create(model->fs, model->name.name);
    model->map.grant.created = status == FL_OK;
    return status == FL_OK ? fl_modelfs_fsync(model->fs, "") : status;
}

static fl_status
map_file(struct model *model, uint64_t size_bytes)
{
    const uint64_t wanted = size_bytes > model->size_bytes_max ? size_bytes : model->size_bytes_max;
    void *base = NULL;

    /* A reader stores nothing: a plain mapping does, which is never in the way of a clone. */
    const fl_status status = fl_modelfs_mmap(
        model->fs, model->name.name, 0, bytes_align_up(wanted, fl_modelfs_block_bytes(model->fs)),
        model->read_only ? FL_MODELFS_PLAIN : FL_MODELFS_NOSYNC, &model->mapping, &base);

    model->base = base;
    model->size_bytes_max = wanted;
    return status;
}

static void
fill_map(struct model *model)
{
    struct nosync_grant *grant = &model->map.grant;

    model->map.ops = &map_ops;
    model->map.media = (struct pm_media){
        .base = model->base,
        .base_store = model->read_only ? NULL : model->base,
        .size_bytes_max = model->size_bytes_max,
        .mode = PM_HOOKED,
        .ops = &media_ops,
        .context = model,
    };
    grant->mapping = FL_MAPPING_MODEL;
    grant->durability = FL_DURABILITY_PROCESS;
    (void)snprintf(grant->detail, sizeof(grant->detail),
                   "userfaultfd, blocks of %" PRIu32
                   " KiB: survives a crash of the process, a simulated power cut",
                   fl_modelfs_block_bytes(model->fs) / 1024);
}

static fl_status
open_model(struct model *model, const struct nosync_request *request)
{
    uint64_t size_bytes = 0;
    fl_status status = model_name_parse(model->path, &model->name);

    if (status == FL_OK) {
        status = attach(model, request);
    }
    if (status == FL_OK) {
        status = lock(model);
    }
    if (status == FL_OK) {
        status = find_or_create(model, request, &size_bytes);
    }
    if (status == FL_OK) {
        status = map_file(model, size_bytes);
    }
    if (status == FL_OK && request->sigbus) {
        status = sigbus_add(model->base, model->size_bytes_max, &model->map.bad);
        model->sigbus = status == FL_OK;
    }
    return status;
}

fl_status
model_open(const struct nosync_request *request, struct nosync_map **out)
{
    fl_status status = check_request(request);

    if (status != FL_OK) {
        return status;
    }
    struct model *model = calloc(1, sizeof(*model) + strlen(request->path) + 1);

    if (model == NULL || pthread_mutex_init(&model->grow_lock, NULL) != 0) {
        free(model);
        return FL_FAIL(FL_NO_MEMORY, "open %s", request->path);
    }
    (void)stpcpy(model->path, request->path);
    model->read_only = request->read_only;
    model->size_bytes_max = bytes_align_up(request->size_bytes_max, (uint64_t)getpagesize());
    model->lock_fd = -1;
    status = open_model(model, request);
    if (status != FL_OK) {
        if (model->map.grant.created) {
            (void)!fl_modelfs_unlink(model->fs, model->name.name);
        }
        release(model);
        return outcome(status);
    }
    fill_map(model);
    *out = &model->map;
    return FL_OK;
}

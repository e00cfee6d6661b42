#include "storage/modelfs/tool/place.h"

#include "base/fail.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { TRIES_MAX = 150, TRY_NS = 20000000 };

static fl_status
open_alone(struct place *place)
{
    const struct mfs_media_source source = {.path = place->path, .read_only = place->read_only};
    const struct mfs_mount_options options = {.read_only = place->read_only};
    fl_status status = mfs_media_open(&source, &place->media);

    if (status != FL_OK) {
        return status;
    }
    status = mfs_mount(place->media, &options, &place->fs);
    if (status != FL_OK) {
        mfs_media_close(place->media);
        place->media = NULL;
    }
    return status;
}

static fl_status
open_once(struct place *place)
{
    struct fl_modelfs_options options;
    const fl_status status = open_alone(place);

    if (status != FL_BUSY) {
        return status;
    }
    fl_modelfs_options_init(&options);
    return fl_modelfs_attach(place->path, &options, &place->host);
}

/* Who has the device and serves nobody is another command, or a host that comes or goes: that is over in a moment. */
fl_status
place_open(const char *path, bool read_only, struct place *out)
{
    const struct timespec moment = {.tv_nsec = TRY_NS};
    fl_status status = FL_OK;

    *out = (struct place){.path = path, .read_only = read_only};
    for (int i = 0; i < TRIES_MAX; i++) {
        status = open_once(out);
        if (status != FL_NOT_FOUND || access(path, F_OK) != 0) {
            return status;
        }
        (void)nanosleep(&moment, NULL);
    }
    return FL_FAIL(FL_BUSY, "%s is in use by a process that doesn't serve it", path);
}

static fl_status
sync_changes(struct place *place)
{
    if (!place->changed) {
        return FL_OK;
    }
    return place->host != NULL ? fl_modelfs_fsync(place->host, "") : mfs_fsync(place->fs, 0);
}

fl_status
place_close(struct place *place, fl_status status)
{
    /* What a command that failed half-way did is kept as well: its files can be looked at. */
    const fl_status synced = sync_changes(place);

    if (place->host != NULL) {
        fl_modelfs_detach(place->host);
    } else {
        mfs_unmount(place->fs);
        mfs_media_close(place->media);
    }
    return status == FL_OK ? synced : status;
}

fl_status
place_create(struct place *place, const char *name)
{
    uint64_t ino;

    place->changed = true;
    return place->host != NULL ? fl_modelfs_create(place->host, name)
                               : mfs_create(place->fs, name, &ino);
}

fl_status
place_unlink(struct place *place, const char *name)
{
    place->changed = true;
    return place->host != NULL ? fl_modelfs_unlink(place->host, name) : mfs_unlink(place->fs, name);
}

fl_status
place_rename(struct place *place, const char *from, const char *to)
{
    place->changed = true;
    return place->host != NULL ? fl_modelfs_rename(place->host, from, to)
                               : mfs_rename(place->fs, from, to);
}

fl_status
place_clone(struct place *place, const char *from, const char *to)
{
    uint64_t from_ino;
    uint64_t to_ino;

    place->changed = true;
    if (place->host != NULL) {
        return fl_modelfs_clone(place->host, from, to);
    }
    fl_status status = mfs_lookup(place->fs, from, &from_ino);

    if (status == FL_OK) {
        status = mfs_lookup(place->fs, to, &to_ino);
    }
    return status == FL_OK ? mfs_clone(place->fs, from_ino, to_ino) : status;
}

fl_status
place_size(struct place *place, const char *name, uint64_t *size_bytes)
{
    uint64_t allocated_bytes;
    struct mfs_stat stat;
    uint64_t ino;

    if (place->host != NULL) {
        return fl_modelfs_size(place->host, name, size_bytes, &allocated_bytes);
    }
    fl_status status = mfs_lookup(place->fs, name, &ino);

    if (status == FL_OK) {
        status = mfs_stat(place->fs, ino, &stat);
    }
    if (status == FL_OK) {
        *size_bytes = stat.size_bytes;
    }
    return status;
}

fl_status
place_read(struct place *place, const char *name, uint64_t off, void *buf, size_t len, size_t *done)
{
    uint64_t ino;

    if (place->host != NULL) {
        return fl_modelfs_read(place->host, name, off, buf, len, done);
    }
    const fl_status status = mfs_lookup(place->fs, name, &ino);

    return status == FL_OK ? mfs_read(place->fs, ino, off, buf, len, done) : status;
}

fl_status
place_write(struct place *place, const char *name, uint64_t off, const void *buf, size_t len,
            size_t *done)
{
    uint64_t ino;

    place->changed = true;
    if (place->host != NULL) {
        return fl_modelfs_write(place->host, name, off, buf, len, done);
    }
    const fl_status status = mfs_lookup(place->fs, name, &ino);

    return status == FL_OK ? mfs_write(place->fs, ino, off, buf, len, done) : status;
}

fl_status
place_truncate(struct place *place, const char *name, uint64_t size_bytes)
{
    uint64_t ino;

    place->changed = true;
    if (place->host != NULL) {
        return fl_modelfs_truncate(place->host, name, size_bytes);
    }
    const fl_status status = mfs_lookup(place->fs, name, &ino);

    return status == FL_OK ? mfs_truncate(place->fs, ino, size_bytes) : status;
}

fl_status
place_allocate(struct place *place, const char *name, uint64_t off, uint64_t len, bool keep_size)
{
    uint64_t ino;

    place->changed = true;
    if (place->host != NULL) {
        return fl_modelfs_allocate(place->host, name, off, len, keep_size);
    }
    const fl_status status = mfs_lookup(place->fs, name, &ino);

    return status == FL_OK ? mfs_allocate(place->fs, ino, off, len, keep_size) : status;
}

fl_status
place_punch(struct place *place, const char *name, uint64_t off, uint64_t len)
{
    uint64_t ino;

    place->changed = true;
    if (place->host != NULL) {
        return fl_modelfs_punch(place->host, name, off, len);
    }
    const fl_status status = mfs_lookup(place->fs, name, &ino);

    return status == FL_OK ? mfs_punch(place->fs, ino, off, len) : status;
}

fl_status
place_collapse(struct place *place, const char *name, uint64_t off, uint64_t len)
{
    uint64_t ino;

    place->changed = true;
    if (place->host != NULL) {
        return fl_modelfs_collapse(place->host, name, off, len);
    }
    const fl_status status = mfs_lookup(place->fs, name, &ino);

    return status == FL_OK ? mfs_collapse(place->fs, ino, off, len) : status;
}

bool
place_parse(const char *text, char **device, const char **name)
{
    for (const char *colon = strchr(text, ':'); colon != NULL; colon = strchr(colon + 1, ':')) {
        char *path = strndup(text, (size_t)(colon - text));
        struct stat st;

        if (path != NULL && stat(path, &st) == 0 && S_ISREG(st.st_mode)) {
            *device = path;
            *name = colon + 1;
            return true;
        }
        free(path);
    }
    return false;
}

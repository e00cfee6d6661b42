/* Names of files on model devices. */
#include "storage/nosync/model_file.h"

#include "base/fail.h"

#include <stdlib.h>
#include <string.h>

static const char prefix[] = "modelfs:";

bool
model_path(const char *path)
{
    return strncmp(path, prefix, sizeof(prefix) - 1) == 0;
}

fl_status
model_name_parse(const char *path, struct model_name *out)
{
    const char *device = path + sizeof(prefix) - 1;
    const char *slash = strrchr(device, '/');

    if (slash == NULL || slash == device || slash[1] == '\0') {
        return FL_FAIL(FL_INVALID, "%s: a file of a model device is modelfs:DEVICE/NAME", path);
    }
    out->device = strndup(device, (size_t)(slash - device));
    if (out->device == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "path of %s", path);
    }
    out->name = slash + 1;
    return FL_OK;
}

/* Attach to the device of `path` for a moment. On FL_OK the caller detaches and frees name->device. */
static fl_status
attach(const char *path, struct model_name *name, struct fl_modelfs **out)
{
    struct fl_modelfs_options options;
    fl_status status = model_name_parse(path, name);

    if (status != FL_OK) {
        return status;
    }
    fl_modelfs_options_init(&options);
    options.flags = FL_MODELFS_HOST;
    status = fl_modelfs_attach(name->device, &options, out);
    if (status != FL_OK) {
        free(name->device);
    }
    return status;
}

static void
detach(struct model_name *name, struct fl_modelfs *fs)
{
    fl_modelfs_detach(fs);
    free(name->device);
}

fl_status
model_name_exists(const char *path, bool *out)
{
    struct fl_modelfs *fs = NULL;
    struct model_name name;
    uint64_t size_bytes;
    uint64_t allocated_bytes;
    fl_status status = attach(path, &name, &fs);

    *out = false;
    if (status == FL_OK) {
        status = fl_modelfs_size(fs, name.name, &size_bytes, &allocated_bytes);
        *out = status == FL_OK;
        detach(&name, fs);
    }
    return status == FL_NOT_FOUND ? FL_OK : status;
}

fl_status
model_name_remove(const char *path)
{
    struct fl_modelfs *fs = NULL;
    struct model_name name;
    fl_status status = attach(path, &name, &fs);

    if (status != FL_OK) {
        return status;
    }
    status = fl_modelfs_unlink(fs, name.name);
    if (status == FL_OK) {
        status = fl_modelfs_fsync(fs, "");
    }
    detach(&name, fs);
    return status;
}

/* Both names change in the filesystem's running transaction: a power cut finds both or neither, unless somebody else's
 * commit comes in between. */
fl_status
model_name_replace(const char *path, const char *with, const char *old)
{
    struct fl_modelfs *fs = NULL;
    struct model_name name;
    fl_status status = attach(path, &name, &fs);

    if (status != FL_OK) {
        return status;
    }
    status = fl_modelfs_rename(fs, name.name, strrchr(old, '/') + 1);
    if (status == FL_OK) {
        status = fl_modelfs_rename(fs, strrchr(with, '/') + 1, name.name);
    }
    if (status == FL_OK) {
        status = fl_modelfs_fsync(fs, "");
    }
    detach(&name, fs);
    return status;
}

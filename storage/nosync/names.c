/* Names of stores: files of the system's filesystems, or of model devices. */
#include "storage/nosync/model.h"

#include "base/fail.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

fl_status
nosync_name_real(const char *path, char **out)
{
    *out = model_path(path) ? strdup(path) : realpath(path, NULL);
    return *out != NULL ? FL_OK : FL_FAIL_ERRNO(FL_IO, "finding %s", path);
}

fl_status
nosync_name_exists(const char *path, bool *out)
{
    if (model_path(path)) {
        return model_name_exists(path, out);
    }
    *out = access(path, F_OK) == 0;
    return FL_OK;
}

/* What an ordinary user may not do is left undone. */
fl_status
nosync_name_permit(const char *path, const char *as)
{
    struct stat st;

    if (model_path(path)) {
        return FL_OK; /* files of a device have no owners */
    }
    if (stat(as, &st) != 0 || chmod(path, st.st_mode & 07777) != 0) {
        return FL_FAIL_ERRNO(FL_IO, "giving %s the permissions of %s", path, as);
    }
    (void)!chown(path, st.st_uid, st.st_gid);
    return FL_OK;
}

fl_status
nosync_name_remove(const char *path)
{
    if (model_path(path)) {
        return model_name_remove(path);
    }
    return unlink(path) == 0 ? FL_OK : FL_FAIL_ERRNO(FL_IO, "remove %s", path);
}

fl_status
nosync_name_replace(const char *path, const char *with, const char *old)
{
    if (model_path(path)) {
        return model_name_replace(path, with, old);
    }
    if (renameat2(AT_FDCWD, with, AT_FDCWD, path, RENAME_EXCHANGE) != 0) {
        return FL_FAIL_ERRNO(FL_IO, "exchanging %s and %s", path, with);
    }
    if (renameat2(AT_FDCWD, with, AT_FDCWD, old, RENAME_NOREPLACE) != 0) {
        return FL_FAIL_ERRNO(FL_IO, "%s has taken the place of %s, which is left as %s", with, path,
                             with);
    }
    return nosync_sync_directory(path);
}

#include "tests/lib/tmpdir.h"

#include "tests/lib/die.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { TMPDIR_FDS_MAX = 16 };

void
tmpdir_create_in(struct tmpdir *dir, const char *parent)
{
    const int len = snprintf(dir->path, sizeof(dir->path), "%s/faultline-test-XXXXXX", parent);

    if (len < 0 || (size_t)len >= sizeof(dir->path)) {
        die("path of a temporary directory is too long: %s", parent);
    }
    if (mkdtemp(dir->path) == NULL) {
        die_errno("mkdtemp %s", dir->path);
    }
}

void
tmpdir_create(struct tmpdir *dir)
{
    const char *parent = getenv("TMPDIR");

    tmpdir_create_in(dir, parent != NULL && parent[0] != '\0' ? parent : "/tmp");
}

char *
tmpdir_join(const struct tmpdir *dir, const char *name, char *out)
{
    const int len = snprintf(out, TMPDIR_PATH_BYTES, "%s/%s", dir->path, name);

    if (len < 0 || len >= TMPDIR_PATH_BYTES) {
        die("path is too long: %s/%s", dir->path, name);
    }
    return out;
}

static int
remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void
tmpdir_destroy(struct tmpdir *dir)
{
    if (nftw(dir->path, remove_entry, TMPDIR_FDS_MAX, FTW_DEPTH | FTW_PHYS) != 0) {
        die_errno("remove %s", dir->path);
    }
    dir->path[0] = '\0';
}

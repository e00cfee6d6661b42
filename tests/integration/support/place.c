#include "tests/integration/support/place.h"

#include <linux/magic.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <unistd.h>

static bool
is_fit(const char *path, bool in_memory, uint64_t bytes_free)
{
    struct statfs fs;

    if (path == NULL || path[0] == '\0' || access(path, W_OK) != 0 || statfs(path, &fs) != 0) {
        return false;
    }
    const bool is_memory = fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC;

    return is_memory == in_memory && (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize >= bytes_free;
}

bool
place_on_disk(struct tmpdir *dir, uint64_t bytes_free)
{
    const char *const parents[] = {getenv("TMPDIR"), "/var/tmp", "/tmp", "."};

    for (unsigned i = 0; i < sizeof(parents) / sizeof(parents[0]); i++) {
        if (is_fit(parents[i], false, bytes_free)) {
            tmpdir_create_in(dir, parents[i]);
            return true;
        }
    }
    return false;
}

bool
place_in_memory(struct tmpdir *dir, uint64_t bytes_free)
{
    if (!is_fit("/dev/shm", true, bytes_free)) {
        return false;
    }
    tmpdir_create_in(dir, "/dev/shm");
    return true;
}

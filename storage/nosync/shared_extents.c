#include "storage/nosync/shared_extents.h"

#include "base/fail.h"

#include <inttypes.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

fl_status
shared_extents_refuse(int fd, const char *path)
{
    enum { EXTENTS = 128 };
    union {
        struct fiemap map;
        uint8_t room[sizeof(struct fiemap) + EXTENTS * sizeof(struct fiemap_extent)];
    } request;
    uint64_t off = 0;
    bool last = false;

    while (!last) {
        memset(&request, 0, sizeof(request));
        request.map.fm_start = off;
        request.map.fm_length = FIEMAP_MAX_OFFSET - off;
        request.map.fm_extent_count = EXTENTS;
        if (ioctl(fd, FS_IOC_FIEMAP, &request.map) != 0) {
            return FL_FAIL_ERRNO(FL_NOT_SUPPORTED, "%s: can't tell whether blocks are shared",
                                 path);
        }
        last = request.map.fm_mapped_extents == 0;
        for (uint32_t i = 0; i < request.map.fm_mapped_extents; i++) {
            const struct fiemap_extent *extent = &request.map.fm_extents[i];

            if (extent->fe_flags & FIEMAP_EXTENT_SHARED) {
                return FL_FAIL(
                    FL_NOT_SUPPORTED,
                    "%s shares its block at %" PRIu64
                    " with a clone: a DAX mapping could lose flushed data. Copy the file "
                    "(cp --reflink=never), and make the filesystem with mkfs.xfs -m "
                    "reflink=0",
                    path, (uint64_t)extent->fe_logical);
            }
            off = extent->fe_logical + extent->fe_length;
            last = (extent->fe_flags & FIEMAP_EXTENT_LAST) != 0;
        }
    }
    return FL_OK;
}

/* What XFS_IOC_FSGEOMETRY_V1 fills. Its header comes with xfsprogs, which we need for nothing else. */
struct xfs_geometry {
    uint32_t sizes[8];
    uint64_t blocks[4];
    uint8_t uuid[16];
    uint32_t stripe[2];
    int32_t version;
    uint32_t flags;
    uint32_t sectors[3];
};

_Static_assert(sizeof(struct xfs_geometry) == 112, "the kernel's struct has 112 bytes");

bool
shared_extents_possible(int fd)
{
    enum { REFLINK = 1 << 20 };
    const unsigned long get_geometry = _IOR('X', 100, struct xfs_geometry);
    struct xfs_geometry geometry;
    struct statfs fs;

    memset(&geometry, 0, sizeof(geometry));
    return fstatfs(fd, &fs) == 0 && fs.f_type == XFS_SUPER_MAGIC &&
           ioctl(fd, get_geometry, &geometry) == 0 && (geometry.flags & REFLINK) != 0;
}

/* The bytes of a device's file, for looking only. */
#ifndef FL_STORAGE_MODELFS_TOOL_IMAGE_H
#define FL_STORAGE_MODELFS_TOOL_IMAGE_H

#include <faultline/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct image {
    const uint8_t *bytes;
    uint64_t size_bytes;
    int fd;
    bool
        served; /* a host has the device: the bytes are those that a power cut would leave now, and may change */
};

/* Map the file. `quiet`: FL_BUSY if a host has it, and none can come while it is open.
 * Owner: the caller, image_close(). Errors: FL_NOT_FOUND, FL_INVALID (no regular file, or an empty one), FL_BUSY,
 * FL_IO. */
FL_NODISCARD fl_status image_open(const char *path, bool quiet, struct image *out);
void image_close(struct image *image);

#endif

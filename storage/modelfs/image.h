/* What a device's bytes say: read, replayed and judged without writing to it. The mount and mfs_check() share it. */
#ifndef FL_STORAGE_MODELFS_IMAGE_H
#define FL_STORAGE_MODELFS_IMAGE_H

#include "storage/modelfs/record.h"

enum { MFS_FINDINGS_MAX = 100 }; /* then the judging ends */

struct mfs_image {
    const uint8_t *bytes;
    struct mfs_geometry geometry;
    uint8_t *inodes;  /* the tables as the journal leaves them; the extents follow */
    uint8_t *extents; /* in the same memory */
    uint64_t seq_next;
    uint64_t replayed;
    bool spares_differ; /* the superblock's copies, or the tail's: mended by a mount that writes */

    void (*finding)(void *context, const char *text); /* or NULL */
    void *context;
    uint64_t findings;
    uint64_t damaged;       /* of these, what a mount can't go on with */
    char damaged_text[256]; /* the first */
};

/* Read the superblock and replay the journal into copies of the tables.
 * Owner: mfs_image_deinit(), after an error too. Errors: FL_INVALID, FL_CORRUPT, FL_VERSION, FL_NO_MEMORY. */
FL_NODISCARD fl_status mfs_image_init(struct mfs_image *image, const uint8_t *bytes,
                                      uint64_t size_bytes,
                                      void (*finding)(void *context, const char *text),
                                      void *context);
void mfs_image_deinit(struct mfs_image *image);

/* Judge the tables. FL_OK: `damaged` tells. FL_NO_MEMORY. */
FL_NODISCARD fl_status mfs_image_judge(struct mfs_image *image);

/* Note one fault. `damage`: a mount can't go on with it. */
void mfs_image_finding(struct mfs_image *image, bool damage, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif

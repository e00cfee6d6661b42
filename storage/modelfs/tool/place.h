/* A device as this program reaches it: alone, with the filesystem mounted here for the moment, or through the host
 * that serves it. The commands that work on files need not know which.
 *
 * What a command changed is durable when it has ended: place_close() syncs. */
#ifndef FL_STORAGE_MODELFS_TOOL_PLACE_H
#define FL_STORAGE_MODELFS_TOOL_PLACE_H

#include "storage/modelfs/fs.h"

#include <faultline/modelfs.h>

struct place {
    const char *path;
    struct mfs_media *media; /* alone */
    struct mfs *fs;          /* alone */
    struct fl_modelfs *host; /* served */
    bool read_only;
    bool changed;
};

/* Open the device, or attach to who has it. Read-only and alone: nothing is written, and others may read meanwhile.
 * Owner: the caller, place_close(). Errors: those of mfs_media_open(), mfs_mount() and fl_modelfs_attach(). */
FL_NODISCARD fl_status place_open(const char *path, bool read_only, struct place *out);
/* Durable: every change made through the place, on FL_OK; `status` is passed through if it is none. */
FL_NODISCARD fl_status place_close(struct place *place, fl_status status);

/* The same calls as fs.h and faultline/modelfs.h, files by name. */
FL_NODISCARD fl_status place_create(struct place *place, const char *name);
FL_NODISCARD fl_status place_unlink(struct place *place, const char *name);
FL_NODISCARD fl_status place_rename(struct place *place, const char *from, const char *to);
FL_NODISCARD fl_status place_clone(struct place *place, const char *from, const char *to);
FL_NODISCARD fl_status place_size(struct place *place, const char *name, uint64_t *size_bytes);
FL_NODISCARD fl_status place_read(struct place *place, const char *name, uint64_t off, void *buf,
                                  size_t len, size_t *done);
FL_NODISCARD fl_status place_write(struct place *place, const char *name, uint64_t off,
                                   const void *buf, size_t len, size_t *done);
FL_NODISCARD fl_status place_truncate(struct place *place, const char *name, uint64_t size_bytes);
FL_NODISCARD fl_status place_allocate(struct place *place, const char *name, uint64_t off,
                                      uint64_t len, bool keep_size);
FL_NODISCARD fl_status place_punch(struct place *place, const char *name, uint64_t off,
                                   uint64_t len);
FL_NODISCARD fl_status place_collapse(struct place *place, const char *name, uint64_t off,
                                      uint64_t len);

enum { PLACE_NAME_BYTES = MFS_NAME_BYTES_MAX + 1 };

/* "DEVICE:NAME" taken apart at the first ':' before which there is the path of a file that exists. False: `text` names
 * no file of a device. *device is the caller's to free; memory that is lacking counts as false. */
bool place_parse(const char *text, char **device, const char **name);

#endif

/* What stands on a device, without mounting it: a mount would clear the flags of mappings that are gone. */
#ifndef FL_STORAGE_MODELFS_TOOL_DUMP_H
#define FL_STORAGE_MODELFS_TOOL_DUMP_H

#include "storage/modelfs/image.h"

struct dump_transaction {
    struct mfs_commit head;
    uint64_t off; /* of its commit record, on the device */
};

struct dump {
    struct mfs_image image; /* superblock, and the tables with the journal replayed */
    bool super_valid[2];
    bool tail_valid[2];
    struct mfs_tail tail;
    struct dump_transaction *transactions; /* those that recovery replays */
    size_t transactions_count;
};

/* Owner: the caller, dump_free(), also if it fails. Errors: those of mfs_image_init(). */
FL_NODISCARD fl_status dump_read(const uint8_t *bytes, uint64_t size_bytes, struct dump *out);
void dump_free(struct dump *dump);

/* The entry at *off of the transaction's body (0 at first; moved behind it). False: there is none. */
bool dump_entry(const struct dump *dump, const struct dump_transaction *transaction, uint64_t *off,
                struct mfs_entry_rec *out);

#endif

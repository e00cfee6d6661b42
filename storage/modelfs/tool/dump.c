#include "storage/modelfs/tool/dump.h"

#include "base/fail.h"

#include <stdlib.h>
#include <string.h>

static void
read_supers(struct dump *dump)
{
    const struct mfs_image *image = &dump->image;
    struct mfs_geometry geometry;

    for (uint64_t i = 0; i < 2; i++) {
        dump->super_valid[i] = mfs_super_decode(image->bytes + i * MFS_SUPER_COPY_OFF,
                                                image->geometry.size_bytes, &geometry) == FL_OK;
    }
}

static void
read_tails(struct dump *dump)
{
    const struct mfs_geometry *geometry = &dump->image.geometry;

    for (uint64_t i = 0; i < 2; i++) {
        const uint8_t *at =
            dump->image.bytes + geometry->journal_off + i * sizeof(struct mfs_tail_rec);
        struct mfs_tail tail;

        dump->tail_valid[i] = mfs_tail_decode(geometry, at, &tail);
        if (dump->tail_valid[i] && (dump->tail.off == 0 || tail.seq > dump->tail.seq)) {
            dump->tail = tail;
        }
    }
}

/* The transaction at `off` of the journal, if it is the one with number `seq`. */
static bool
transaction_at(const struct dump *dump, uint64_t off, uint64_t seq, struct dump_transaction *out)
{
    const struct mfs_geometry *geometry = &dump->image.geometry;

    if (off + sizeof(struct mfs_commit_rec) > geometry->journal_bytes) {
        return false;
    }
    out->off = geometry->journal_off + off;
    const uint8_t *at = dump->image.bytes + out->off;

    return mfs_commit_decode(geometry, at, geometry->journal_bytes - off, &out->head) &&
           out->head.seq == seq &&
           out->head.body_crc == mfs_body_crc(0, at + sizeof(struct mfs_commit_rec),
                                              out->head.bytes - sizeof(struct mfs_commit_rec));
}

static fl_status
read_journal(struct dump *dump)
{
    uint64_t off = dump->tail.off;
    uint64_t seq = dump->tail.seq;
    struct dump_transaction transaction;

    while (off != 0 && transaction_at(dump, off, seq, &transaction)) {
        struct dump_transaction *more = reallocarray(
            dump->transactions, dump->transactions_count + 1, sizeof(*dump->transactions));

        if (more == NULL) {
            return FL_FAIL(FL_NO_MEMORY, "the journal's transactions");
        }
        dump->transactions = more;
        more[dump->transactions_count++] = transaction;
        off += transaction.head.bytes;
        seq++;
    }
    return FL_OK;
}

bool
dump_entry(const struct dump *dump, const struct dump_transaction *transaction, uint64_t *off,
           struct mfs_entry_rec *out)
{
    const uint64_t body_bytes = transaction->head.bytes - sizeof(struct mfs_commit_rec);
    const uint8_t *body = dump->image.bytes + transaction->off + sizeof(struct mfs_commit_rec);

    if (*off > body_bytes || sizeof(*out) > body_bytes - *off) {
        return false;
    }
    memcpy(out, body + *off, sizeof(*out));
    *off += sizeof(*out) + (out->table == MFS_TABLE_INODES ? sizeof(struct mfs_inode_rec)
                                                           : sizeof(struct mfs_extent_rec));
    return *off <= body_bytes &&
           (out->table == MFS_TABLE_INODES || out->table == MFS_TABLE_EXTENTS);
}

fl_status
dump_read(const uint8_t *bytes, uint64_t size_bytes, struct dump *out)
{
    memset(out, 0, sizeof(*out));
    const fl_status status = mfs_image_init(&out->image, bytes, size_bytes, NULL, NULL);

    if (status != FL_OK) {
        return status;
    }
    read_supers(out);
    read_tails(out);
    return read_journal(out);
}

void
dump_free(struct dump *dump)
{
    mfs_image_deinit(&dump->image);
    free(dump->transactions);
}

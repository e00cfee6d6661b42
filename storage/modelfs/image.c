#include "storage/modelfs/image.h"

#include "base/bytes.h"
#include "base/fail.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void
mfs_image_finding(struct mfs_image *image, bool damage, const char *format, ...)
{
    char text[sizeof(image->damaged_text)];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    image->findings++;
    if (damage && image->damaged++ == 0) {
        memcpy(image->damaged_text, text, sizeof(text));
    }
    if (image->finding != NULL) {
        image->finding(image->context, text);
    }
}

/* Either copy will do; one that is damaged is worth a finding. */
static fl_status
read_super(struct mfs_image *image, uint64_t size_bytes)
{
    struct mfs_geometry copy;

    memset(&copy, 0, sizeof(copy));
    if (size_bytes < MFS_SUPER_AREA_BYTES) {
        return FL_FAIL(FL_INVALID, "no model filesystem: %" PRIu64 " bytes", size_bytes);
    }
    const fl_status second = mfs_super_decode(image->bytes + MFS_SUPER_COPY_OFF, size_bytes, &copy);
    const fl_status first = mfs_super_decode(image->bytes, size_bytes, &image->geometry);

    if (first == FL_OK && second == FL_OK) {
        if (memcmp(image->bytes, image->bytes + MFS_SUPER_COPY_OFF, sizeof(struct mfs_super_rec)) !=
            0) {
            mfs_image_finding(image, true, "the superblock and its copy are of two filesystems");
        }
        return FL_OK;
    }
    image->spares_differ = true;
    if (first == FL_OK) {
        mfs_image_finding(image, false, "the superblock's copy at %d is damaged",
                          MFS_SUPER_COPY_OFF);
        return FL_OK;
    }
    if (second == FL_OK) {
        mfs_image_finding(image, false, "the superblock at 0 is damaged, its copy is not");
        image->geometry = copy;
        return FL_OK;
    }
    /* The text is of the first, which was decoded last. */
    return first == FL_INVALID && second != FL_INVALID ? second : first;
}

static bool
read_tail(struct mfs_image *image, struct mfs_tail *tail)
{
    const struct mfs_geometry *g = &image->geometry;
    const uint8_t *area = image->bytes + g->journal_off;
    struct mfs_tail two[2];
    bool valid[2];

    for (unsigned i = 0; i < 2; i++) {
        two[i] = (struct mfs_tail){0, 0};
        valid[i] = mfs_tail_decode(g, area + i * sizeof(struct mfs_tail_rec), &two[i]);
        if (!valid[i]) {
            mfs_image_finding(image, false, "the journal's tail at %" PRIu64 " is damaged",
                              g->journal_off + i * sizeof(struct mfs_tail_rec));
        }
    }
    if (!valid[0] && !valid[1]) {
        return false;
    }
    image->spares_differ =
        image->spares_differ || !valid[0] || !valid[1] || two[0].seq != two[1].seq;
    *tail = !valid[0] || (valid[1] && two[1].seq > two[0].seq) ? two[1] : two[0];
    return true;
}

/* Whether the transaction's entries are what it says; with `apply` they go into the tables. */
static bool
walk_entries(struct mfs_image *image, const struct mfs_commit *commit, const uint8_t *body,
             bool apply)
{
    const struct mfs_geometry *g = &image->geometry;
    uint64_t left = commit->bytes - sizeof(struct mfs_commit_rec);

    for (uint32_t i = 0; i < commit->entries; i++) {
        const struct mfs_entry_rec *entry = (const struct mfs_entry_rec *)body;

        if (left < sizeof(*entry)) {
            return false;
        }
        const bool inode = bytes_get_le32(&entry->table) == MFS_TABLE_INODES;
        const uint32_t slot = bytes_get_le32(&entry->slot);
        const size_t len = inode ? sizeof(struct mfs_inode_rec) : sizeof(struct mfs_extent_rec);

        if ((!inode && bytes_get_le32(&entry->table) != MFS_TABLE_EXTENTS) ||
            slot >= (inode ? g->inodes : g->extents) || left - sizeof(*entry) < len) {
            return false;
        }
        if (apply) {
            memcpy((inode ? image->inodes : image->extents) + slot * len, body + sizeof(*entry),
                   len);
        }
        body += sizeof(*entry) + len;
        left -= sizeof(*entry) + len;
    }
    return left < 64 && bytes_are_zero(body, left);
}

static void
replay(struct mfs_image *image, const struct mfs_tail *tail)
{
    const struct mfs_geometry *g = &image->geometry;
    const uint8_t *journal = image->bytes + g->journal_off;
    struct mfs_commit commit;
    uint64_t off = tail->off;

    image->seq_next = tail->seq;
    while (off < g->journal_bytes &&
           mfs_commit_decode(g, journal + off, g->journal_bytes - off, &commit) &&
           commit.seq == image->seq_next) {
        const uint8_t *body = journal + off + sizeof(struct mfs_commit_rec);

        if (mfs_body_crc(0, body, commit.bytes - sizeof(struct mfs_commit_rec)) !=
            commit.body_crc) {
            break;
        }
        if (!walk_entries(image, &commit, body, false)) {
            mfs_image_finding(image, true,
                              "journal transaction %" PRIu64 " at %" PRIu64 " has bad entries",
                              commit.seq, g->journal_off + off);
            return;
        }
        (void)walk_entries(image, &commit, body, true);
        image->seq_next++;
        image->replayed++;
        off += commit.bytes;
    }
    /* Each transaction was durable before the next one was begun. */
    for (off = MFS_JOURNAL_FRONT; off < g->journal_bytes; off += 64) {
        if (mfs_commit_decode(g, journal + off, g->journal_bytes - off, &commit) &&
            commit.seq > image->seq_next) {
            mfs_image_finding(image, true,
                              "journal transaction %" PRIu64 " is damaged: %" PRIu64 " at %" PRIu64
                              " follows it",
                              image->seq_next, commit.seq, g->journal_off + off);
            return;
        }
    }
}

fl_status
mfs_image_init(struct mfs_image *image, const uint8_t *bytes, uint64_t size_bytes,
               void (*finding)(void *context, const char *text), void *context)
{
    const struct mfs_geometry *g = &image->geometry;
    struct mfs_tail tail = {0, 0};

    memset(image, 0, sizeof(*image));
    image->bytes = bytes;
    image->finding = finding;
    image->context = context;
    const fl_status status = read_super(image, size_bytes);

    if (status != FL_OK) {
        return status;
    }
    const size_t inodes_bytes = (size_t)g->inodes * sizeof(struct mfs_inode_rec);
    const size_t extents_bytes = (size_t)g->extents * sizeof(struct mfs_extent_rec);

    image->inodes = mem_alloc(inodes_bytes + extents_bytes);
    if (image->inodes == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "%zu bytes for the tables", inodes_bytes + extents_bytes);
    }
    image->extents = image->inodes + inodes_bytes;
    memcpy(image->inodes, bytes + g->inodes_off, inodes_bytes);
    memcpy(image->extents, bytes + g->extents_off, extents_bytes);
    if (read_tail(image, &tail)) {
        replay(image, &tail);
    } else {
        mfs_image_finding(image, true, "the journal's tail is lost: both copies are damaged");
    }
    return FL_OK;
}

void
mfs_image_deinit(struct mfs_image *image)
{
    mem_free(image->inodes);
    image->inodes = NULL;
}

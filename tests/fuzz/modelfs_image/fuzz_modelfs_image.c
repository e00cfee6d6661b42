/* Goal:   no bytes on a model device make the check, a mount or the use of what mounts crash, hang, read outside of it
 *         or fail an assertion; and what mounts passes the check afterwards.
 * Method: the input is a byte of choices and changes to a small image: 2 bytes of offset, 1 of length, then the bytes.
 *         Choice 1: the image of a power cut, with transactions in its journal, else one that was unmounted. Choice 2:
 *         CRCs are made right first, so that changed fields are judged by what they say. */
#include "base/bytes.h"
#include "base/crc32c.h"
#include "storage/modelfs/fs.h"
#include "storage/modelfs/pte_table.h"
#include "storage/modelfs/record.h"
#include "tests/lib/die.h"
#include "tests/lib/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

enum {
    CHOICE_CRASHED = 1,
    CHOICE_MEND = 2,
    BLOCK = 4096,
    BLOCKS = 6,
    JOURNAL_BYTES = 4096,
    JOURNAL_OFF = 4096,
    INODES_OFF = JOURNAL_OFF + JOURNAL_BYTES,
    INODES = 8,
    EXTENTS_OFF = INODES_OFF + INODES * (int)sizeof(struct mfs_inode_rec),
    DATA_OFF = 12288,
    IMAGE_BYTES = DATA_OFF + BLOCKS * BLOCK,
};

static void
need(fl_status status, const char *what)
{
    if (status != FL_OK) {
        die("%s: %s: %s", what, fl_status_name(status), fl_last_error());
    }
}

/* ---- the images ---- */

static void
fill(struct mfs *fs, struct mfs_pte_table *table)
{
    struct mfs_map *map = NULL;
    uint64_t heap;
    uint64_t copy;
    size_t done;

    need(mfs_create(fs, "heap", &heap), "create");
    need(mfs_create(fs, "copy", &copy), "create");
    need(mfs_write(fs, copy, 0, "text", 4, &done), "write");
    need(mfs_truncate(fs, heap, (uint64_t)4 * BLOCK), "truncate");
    need(mfs_allocate(fs, heap, (uint64_t)3 * BLOCK, BLOCK, true), "allocate");
    need(mfs_fsync(fs, 0), "fsync");
    need(mfs_map_open(fs, heap, 0, 4, MFS_MAP_NOSYNC, NULL, &map), "map");
    need(mfs_pte_store(table, map, 0, "word", 4), "store");
    need(mfs_pte_store(table, map, BLOCK, "word", 4), "store");
    need(mfs_punch(fs, heap, 0, BLOCK), "punch");
}

static void
make_image(uint8_t *image, bool crashed)
{
    const struct mfs_media_source source = {.size_bytes = IMAGE_BYTES};
    const struct mfs_format format = {
        .inodes = INODES, .journal_bytes = JOURNAL_BYTES, .uuid = "0123456789abcde"};
    struct mfs_media *media = NULL;
    struct mfs_pte_table *table = NULL;
    struct mfs *fs = NULL;

    need(mfs_media_open(&source, &media), "open");
    need(mfs_format(media, &format), "format");
    need(mfs_pte_table_create(media, &table), "engine");
    const struct mfs_mount_options options = {.engine = mfs_pte_table_engine(table)};

    need(mfs_mount(media, &options, &fs), "mount");
    mfs_pte_table_mounted(table, fs, mfs_data_off(fs));
    if (mfs_data_off(fs) != DATA_OFF || mfs_statfs(fs).blocks != BLOCKS) {
        die("the format has changed: adapt the enum");
    }
    fill(fs, table);
    if (crashed) {
        mfs_abandon(fs);
    } else {
        mfs_unmount(fs);
    }
    memcpy(image, mfs_media_persisted(media), IMAGE_BYTES);
    mfs_pte_table_destroy(table);
    mfs_media_close(media);
}

/* ---- CRCs made right ---- */

static void
mend(uint8_t *rec, size_t crc_off)
{
    bytes_put_le32(rec + crc_off, crc32c(0, rec, crc_off));
}

static void
mend_all(uint8_t *image)
{
    mend(image, offsetof(struct mfs_super_rec, crc));
    mend(image + MFS_SUPER_COPY_OFF, offsetof(struct mfs_super_rec, crc));
    mend(image + JOURNAL_OFF, offsetof(struct mfs_tail_rec, crc));
    mend(image + JOURNAL_OFF + sizeof(struct mfs_tail_rec), offsetof(struct mfs_tail_rec, crc));
    for (unsigned i = 0; i < INODES; i++) {
        mend(image + INODES_OFF + i * sizeof(struct mfs_inode_rec),
             offsetof(struct mfs_inode_rec, crc));
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        mend(image + EXTENTS_OFF + i * sizeof(struct mfs_extent_rec),
             offsetof(struct mfs_extent_rec, crc));
    }
    for (uint64_t off = MFS_JOURNAL_FRONT; off < JOURNAL_BYTES;) {
        struct mfs_commit_rec *rec = (void *)(image + JOURNAL_OFF + off);
        const uint64_t bytes = bytes_get_le64(&rec->bytes);

        if (bytes < sizeof(*rec) || bytes > JOURNAL_BYTES - off) {
            break;
        }
        bytes_put_le32(&rec->body_crc, mfs_body_crc(0, rec + 1, bytes - sizeof(*rec)));
        mend((uint8_t *)rec, offsetof(struct mfs_commit_rec, crc));
        off += bytes_align_up(bytes, 64);
    }
}

/* ---- use ---- */

static void
walk(struct mfs *fs)
{
    static uint8_t block[BLOCK];
    struct mfs_stat stat;
    uint32_t slot = 0;
    size_t done;

    while (mfs_next(fs, &slot, &stat) == FL_OK) {
        struct mfs_extent e;
        uint64_t ino;

        need(mfs_lookup(fs, stat.name, &ino), "look up a name");
        for (uint32_t at = 0; mfs_extent_at(fs, ino, at, &e) == FL_OK; at = e.logical + e.blocks) {
            need(mfs_read(fs, ino, (uint64_t)e.logical * BLOCK, block, sizeof(block), &done),
                 "read");
        }
    }
}

/* What changes may say: anything but that it is damaged. */
static void
allow(fl_status status)
{
    if (status == FL_CORRUPT || status == FL_IO) {
        die("a change: %s: %s", fl_status_name(status), fl_last_error());
    }
}

static void
change(struct mfs *fs, struct mfs_pte_table *table)
{
    struct mfs_map *map = NULL;
    uint64_t ino = 0;
    size_t done;

    allow(mfs_create(fs, "new", &ino));
    if (mfs_lookup(fs, "copy", &ino) == FL_OK) {
        allow(mfs_write(fs, ino, 100, "x", 1, &done));
    }
    if (mfs_lookup(fs, "heap", &ino) == FL_OK) {
        uint64_t copy;

        if (mfs_map_open(fs, ino, 0, 4, MFS_MAP_NOSYNC, NULL, &map) == FL_OK) {
            (void)!mfs_pte_store(table, map, (uint64_t)2 * BLOCK, "word", 4);
            (void)!mfs_pte_store(table, map, (uint64_t)3 * BLOCK, "word", 4);
            mfs_pte_unmap(table, map);
            allow(mfs_map_close(map));
        }
        if (mfs_lookup(fs, "copy", &copy) == FL_OK) {
            allow(mfs_clone(fs, ino, copy));
        }
        allow(mfs_collapse(fs, ino, 0, BLOCK));
        allow(mfs_punch(fs, ino, BLOCK, UINT64_MAX));
        allow(mfs_truncate(fs, ino, 10));
        allow(mfs_unlink(fs, "heap"));
    }
    allow(mfs_fsync(fs, 0));
}

static void
no_finding(void *context, const char *text)
{
    (void)context;
    die("the check finds in what was mounted: %s", text);
}

static void
check(const struct mfs_media *media, bool clean)
{
    uint64_t findings = 0;

    need(mfs_check(mfs_media_persisted(media), IMAGE_BYTES, clean ? no_finding : NULL, NULL,
                   &findings),
         "check");
}

static bool
mounts(struct mfs_media *media, const struct mfs_mount_options *options, struct mfs **fs)
{
    const fl_status status = mfs_mount(media, options, fs);

    if (status != FL_OK && status != FL_CORRUPT && status != FL_VERSION && status != FL_INVALID) {
        die("mount: %s: %s", fl_status_name(status), fl_last_error());
    }
    return status == FL_OK;
}

static void
use(uint8_t *image)
{
    const struct mfs_media_source source = {.region = image, .size_bytes = IMAGE_BYTES};
    const struct mfs_mount_options reading = {.read_only = true};
    struct mfs_media *media = NULL;
    struct mfs_pte_table *table = NULL;
    struct mfs *fs = NULL;

    need(mfs_media_open(&source, &media), "open");
    check(media, false);
    if (mounts(media, &reading, &fs)) {
        walk(fs);
        mfs_unmount(fs);
    }
    need(mfs_pte_table_create(media, &table), "engine");
    const struct mfs_mount_options options = {.engine = mfs_pte_table_engine(table)};

    if (mounts(media, &options, &fs)) {
        mfs_pte_table_mounted(table, fs, mfs_data_off(fs));
        walk(fs);
        if (mfs_block_bytes(fs) == BLOCK) {
            change(fs, table);
        }
        walk(fs);
        mfs_unmount(fs);
        check(media, true);
        if (!mounts(media, &options, &fs)) {
            die("it doesn't mount again: %s", fl_last_error());
        }
        mfs_abandon(fs);
    }
    mfs_pte_table_destroy(table);
    mfs_media_close(media);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static _Alignas(64) uint8_t images[2][IMAGE_BYTES];
    static _Alignas(64) uint8_t image[IMAGE_BYTES];
    static bool made;

    if (!made) {
        make_image(images[0], false);
        make_image(images[1], true);
        made = true;
    }
    if (size == 0) {
        return 0;
    }
    memcpy(image, images[(data[0] & CHOICE_CRASHED) != 0], IMAGE_BYTES);
    for (size_t at = 1; size - at > 3;) {
        const size_t off = bytes_get_le16(data + at) % DATA_OFF;
        size_t len = data[at + 2];

        at += 3;
        len = len < size - at ? len : size - at;
        len = len < DATA_OFF - off ? len : DATA_OFF - off;
        memcpy(image + off, data + at, len);
        at += len;
    }
    if ((data[0] & CHOICE_MEND) != 0) {
        mend_all(image);
    }
    use(image);
    return 0;
}

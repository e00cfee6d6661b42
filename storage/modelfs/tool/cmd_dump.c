/* dump: what stands on a device, for people and as JSON. */
#include "storage/modelfs/tool/dump.h"
#include "storage/modelfs/tool/image.h"
#include "storage/modelfs/tool/tool.h"

#include "base/fail.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *
yes_no(bool json, bool value)
{
    return json ? (value ? "true" : "false") : value ? "valid" : "BROKEN";
}

static void
print_uuid(const uint8_t uuid[16])
{
    for (int i = 0; i < 16; i++) {
        printf("%02x", uuid[i]);
    }
}

static void
print_super(const struct dump *dump, bool json)
{
    const struct mfs_geometry *s = &dump->image.geometry;

    printf(json ? "\"superblock\":{\"copies_valid\":[%s,%s],\"uuid\":\""
                : "superblock: first copy %s, second copy %s\n  uuid ",
           yes_no(json, dump->super_valid[0]), yes_no(json, dump->super_valid[1]));
    print_uuid(s->uuid);
    printf(json ? "\",\"version\":%d,\"block_bytes\":%" PRIu32 ",\"size_bytes\":%" PRIu64
                  ",\"journal_off\":%" PRIu64 ",\"journal_bytes\":%" PRIu64
                : "\n  version %d, blocks of %" PRIu32 " bytes, device of %" PRIu64
                  " bytes\n  journal at %" PRIu64 ", %" PRIu64 " bytes\n",
           MFS_VERSION, s->block_bytes, s->size_bytes, s->journal_off, s->journal_bytes);
    printf(json ? ",\"inodes_off\":%" PRIu64 ",\"inodes\":%" PRIu32 ",\"extents_off\":%" PRIu64
                  ",\"extents\":%" PRIu32 ",\"data_off\":%" PRIu64 ",\"blocks\":%" PRIu32
                : "  inodes at %" PRIu64 ", %" PRIu32 " slots\n  extents at %" PRIu64 ", %" PRIu32
                  " slots\n  data at %" PRIu64 ", %" PRIu32 " blocks\n",
           s->inodes_off, s->inodes, s->extents_off, s->extents, s->data_off, s->blocks);
    if (json) {
        printf(",\"nosync\":%s}", yes_no(true, (s->features & MFS_FEATURE_NOSYNC) != 0));
    } else {
        printf("  no-sync mappings %s\n",
               (s->features & MFS_FEATURE_NOSYNC) != 0 ? "granted" : "refused");
    }
}

static void
print_entries(const struct dump *dump, const struct dump_transaction *transaction, bool json)
{
    struct mfs_entry_rec entry;
    uint64_t off = 0;

    for (uint32_t i = 0; i < transaction->head.entries; i++) {
        if (!dump_entry(dump, transaction, &off, &entry)) {
            printf("%s", json ? "" : " BROKEN");
            return;
        }
        printf(json ? "%s{\"table\":\"%s\",\"slot\":%" PRIu32 "}" : "%s %s %" PRIu32,
               i == 0 ? "" : ",", entry.table == MFS_TABLE_INODES ? "inode" : "extent", entry.slot);
    }
}

static void
print_journal(const struct dump *dump, bool json)
{
    printf(json ? ",\"journal\":{\"tails_valid\":[%s,%s],\"tail_seq\":%" PRIu64
                  ",\"transactions\":["
                : "journal: first tail %s, second tail %s, from transaction %" PRIu64 " on\n",
           yes_no(json, dump->tail_valid[0]), yes_no(json, dump->tail_valid[1]), dump->tail.seq);
    for (size_t i = 0; i < dump->transactions_count; i++) {
        const struct dump_transaction *transaction = &dump->transactions[i];

        printf(json ? "%s{\"seq\":%" PRIu64 ",\"off\":%" PRIu64 ",\"bytes\":%" PRIu64
                      ",\"entries\":["
                    : "%s  %" PRIu64 " at %" PRIu64 ", %" PRIu64 " bytes:",
               json && i > 0 ? "," : "", transaction->head.seq, transaction->off,
               transaction->head.bytes);
        print_entries(dump, transaction, json);
        printf(json ? "]}" : "\n");
    }
    if (json) {
        printf("]}");
    } else if (dump->transactions_count == 0) {
        printf("  nothing to replay\n");
    }
}

/* ---- files, their extents sorted ---- */

static bool
read_inode(const struct dump *dump, uint32_t slot, struct mfs_inode_state *out)
{
    return mfs_inode_decode(dump->image.inodes + (size_t)slot * sizeof(struct mfs_inode_rec), out);
}

static bool
read_extent(const struct dump *dump, uint32_t slot, struct mfs_extent_state *out)
{
    return mfs_extent_decode(dump->image.extents + (size_t)slot * sizeof(struct mfs_extent_rec),
                             out);
}

static int
by_logical(const void *a, const void *b)
{
    const struct mfs_extent_state *x = a;
    const struct mfs_extent_state *y = b;

    return (x->logical > y->logical) - (x->logical < y->logical);
}

static size_t
extents_of(const struct dump *dump, uint64_t ino, struct mfs_extent_state *out)
{
    size_t count = 0;

    for (uint32_t slot = 0; slot < dump->image.geometry.extents; slot++) {
        struct mfs_extent_state extent;

        if (read_extent(dump, slot, &extent) && extent.ino == ino) {
            out[count++] = extent;
        }
    }
    qsort(out, count, sizeof(*out), by_logical);
    return count;
}

static void
print_extents(const struct mfs_extent_state *extents, size_t count, bool json)
{
    for (size_t i = 0; i < count; i++) {
        const struct mfs_extent_state *e = &extents[i];
        const bool unwritten = (e->flags & MFS_EXTENT_UNWRITTEN) != 0;
        const bool nosync = (e->flags & MFS_EXTENT_NOSYNC) != 0;

        if (json) {
            printf("%s{\"logical\":%" PRIu32 ",\"blocks\":%" PRIu32 ",\"physical\":%" PRIu32
                   ",\"unwritten\":%s,\"nosync\":%s}",
                   i > 0 ? "," : "", e->logical, e->blocks, e->physical, yes_no(true, unwritten),
                   yes_no(true, nosync));
        } else {
            printf("    block %" PRIu32 ", %" PRIu32 " of them, physical %" PRIu32 "%s%s\n",
                   e->logical, e->blocks, e->physical, unwritten ? ", unwritten" : "",
                   nosync ? ", no-sync" : "");
        }
    }
}

static void
print_file(const struct dump *dump, const struct mfs_inode_state *inode, bool first, bool json,
           struct mfs_extent_state *extents)
{
    const size_t count = extents_of(dump, inode->ino, extents);

    if (json) {
        printf("%s{\"name\":", first ? "" : ",");
        tool_json_string(inode->name);
        printf(",\"ino\":%" PRIu64 ",\"size_bytes\":%" PRIu64 ",\"changed\":%" PRIu64
               ",\"extents\":[",
               inode->ino, inode->size_bytes, inode->changed);
    } else {
        /* Quoted: names are any bytes. */
        printf("  ");
        tool_json_string(inode->name);
        printf(": inode %" PRIu64 ", %" PRIu64 " bytes, changed %" PRIu64 " times\n", inode->ino,
               inode->size_bytes, inode->changed);
    }
    print_extents(extents, count, json);
    if (json) {
        printf("]}");
    }
}

static fl_status
print_files(const struct dump *dump, bool json)
{
    struct mfs_extent_state *extents =
        reallocarray(NULL, (size_t)dump->image.geometry.extents + 1, sizeof(*extents));
    struct mfs_inode_state inode;
    struct mfs_extent_state extent;
    uint32_t broken = 0;
    bool first = true;

    if (extents == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "a list of extents");
    }
    printf(json ? ",\"files\":[" : "files, with the journal replayed:\n");
    for (uint32_t slot = 0; slot < dump->image.geometry.inodes; slot++) {
        if (!read_inode(dump, slot, &inode)) {
            broken++;
        } else if (inode.ino != 0) {
            print_file(dump, &inode, first, json, extents);
            first = false;
        }
    }
    for (uint32_t slot = 0; slot < dump->image.geometry.extents; slot++) {
        broken += read_extent(dump, slot, &extent) ? 0 : 1;
    }
    free(extents);
    if (json) {
        printf("],\"broken_slots\":%" PRIu32 "}\n", broken);
    } else if (broken > 0) {
        printf("%" PRIu32 " slots of the tables are BROKEN: fsck tells which\n", broken);
    }
    return FL_OK;
}

static fl_status
print_all(const char *path, const struct image *image, bool json)
{
    struct dump dump;
    fl_status status = dump_read(image->bytes, image->size_bytes, &dump);

    if (status == FL_OK && json) {
        printf("{\"path\":");
        tool_json_string(path);
        printf(",\"served\":%s,", yes_no(true, image->served));
    } else if (status == FL_OK && image->served) {
        printf("%s is served: this is what a power cut would leave now\n", path);
    }
    if (status == FL_OK) {
        print_super(&dump, json);
        print_journal(&dump, json);
        status = print_files(&dump, json);
    }
    dump_free(&dump);
    return status;
}

int
tool_dump(const struct tool_command *command, int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'},
        TOOL_HELP,
        TOOL_END,
    };
    struct image image;
    bool json = false;
    int result = TOOL_USAGE;

    for (int option; (option = tool_option(command, argc, argv, options, &result)) != -1;) {
        if (option == TOOL_STOP) {
            return result;
        }
        json = true;
    }
    if (!tool_arguments(command, argc, 1, 1)) {
        return result;
    }
    const char *path = argv[optind];
    fl_status status = image_open(path, false, &image);

    if (status == FL_OK) {
        status = print_all(path, &image, json);
        image_close(&image);
    }
    return status == FL_OK ? tool_printed(command, TOOL_DONE) : tool_failed(command, status, path);
}

/* Goal:   no byte of a device's metadata can be wrong without the check or the mount saying so, or its being of no
 *         account; nothing crashes on any.
 * Method: each byte of a small image is changed in two ways; then whole records with right CRCs and wrong contents are
 *         planted.
 */
#include "base/bytes.h"
#include "base/crc32c.h"
#include "storage/modelfs/record.h"
#include "tests/unit/modelfs/fs_explore.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BLOCKS = 8 };

/* A device's persisted bytes, to be changed here, and a device over them. */
struct image {
    uint8_t *bytes;
    uint64_t size_bytes;
    struct mfs_geometry geometry;
    struct mfs_media *media;
};

static void
image_take(struct image *image, struct fixture *f)
{
    image->size_bytes = mfs_media_size_bytes(f->media);
    image->bytes = malloc(image->size_bytes);
    assert_non_null(image->bytes);
    memcpy(image->bytes, mfs_media_persisted(f->media), image->size_bytes);
    assert_int_equal(mfs_super_decode(image->bytes, image->size_bytes, &image->geometry), FL_OK);
    const struct mfs_media_source source = {.region = image->bytes,
                                            .size_bytes = image->size_bytes};

    assert_int_equal(mfs_media_open(&source, &image->media), FL_OK);
}

static void
image_free(struct image *image)
{
    mfs_media_close(image->media);
    free(image->bytes);
}

/* FL_OK: `seen` is what is there. */
static fl_status
mount_image(const struct image *image, struct seen *seen)
{
    return see_media(image->media, seen);
}

static void
change(struct image *image, uint64_t off, const void *src, size_t len)
{
    memcpy(image->bytes + off, src, len);
    mfs_media_store(image->media, off, src, len);
}

/* Two files, one of them under a no-sync mapping when the power goes. */
static void
make_scene(struct fixture *f)
{
    fixture_init(f, BLOCKS, 0);
    const uint64_t ino = make_file(f, "heap", 4 * BLOCK);
    const uint64_t other = make_file(f, "other", 100);

    write_word(f, other, 0, 5);
    assert_int_equal(mfs_fsync(f->fs, 0), FL_OK);
    struct mfs_map *map = map_whole(f, ino, MFS_MAP_NOSYNC, 4);

    assert_int_equal(persist_word(f, map, 1, 11), FL_OK);
    assert_int_equal(persist_word(f, map, 3, 13), FL_OK);
}

static bool
in(uint64_t at, uint64_t off, uint64_t bytes)
{
    return at >= off && at < off + bytes;
}

static bool
has_spare(uint64_t at, const struct mfs_geometry *g)
{
    return in(at, 0, sizeof(struct mfs_super_rec)) ||
           in(at, MFS_SUPER_COPY_OFF, sizeof(struct mfs_super_rec)) ||
           in(at, g->journal_off, MFS_JOURNAL_FRONT);
}

static void
damage_each_byte(struct image *image, const struct seen *whole, const struct seen *shorter,
                 bool clean)
{
    const struct mfs_geometry *g = &image->geometry;
    struct seen seen;

    for (uint64_t at = 0; at < g->data_off; at++) {
        for (int way = 0; way < 2; way++) {
            const uint8_t was = image->bytes[at];
            const uint8_t wrong = (uint8_t)(was ^ (way == 0 ? 0xff : 0x01));

            change(image, at, &wrong, 1);
            const uint64_t findings = check_image(image->bytes, image->size_bytes);
            const fl_status status = mount_image(image, &seen);

            change(image, at, &was, 1);
            if (status != FL_OK && (status != FL_CORRUPT || findings == 0)) {
                fail_msg("byte %" PRIu64 ": mount says %s, check has %" PRIu64 " findings", at,
                         fl_status_name(status), findings);
            }
            if (has_spare(at, g)) {
                assert_int_equal(status, FL_OK);
                assert_true(findings > 0);
            }
            if (clean && in(at, g->inodes_off, g->extents_off - g->inodes_off)) {
                assert_int_equal(status, FL_CORRUPT);
            }
            if (clean && in(at, g->extents_off, g->extents * sizeof(struct mfs_extent_rec))) {
                assert_int_equal(status, FL_CORRUPT);
            }
            if (status == FL_OK && strcmp(seen.text, whole->text) != 0 &&
                strcmp(seen.text, shorter->text) != 0) {
                fail_msg("byte %" PRIu64 " changes what is there: %s", at, seen.text);
            }
        }
    }
}

static void
each_byte_of_a_clean_image_counts(void **state)
{
    struct fixture f;
    struct image image;
    struct seen seen;
    (void)state;

    make_scene(&f);
    remount(&f);
    image_take(&image, &f);
    assert_int_equal(check_image(image.bytes, image.size_bytes), 0);
    assert_int_equal(mount_image(&image, &seen), FL_OK);
    damage_each_byte(&image, &seen, &seen, true);
    image_free(&image);
    fixture_deinit(&f);
}

/* A damaged last transaction can't be told from one that was cut off; any other one can. */
static void
each_byte_of_a_crashed_image_counts(void **state)
{
    struct fixture f;
    struct image image;
    struct seen whole;
    struct seen shorter;
    struct mfs_map *map = NULL;
    (void)state;

    make_scene(&f);
    assert_int_equal(mfs_media_cut_random(f.media, 0), FL_OK);
    see(&f, &shorter);
    fixture_deinit(&f);

    make_scene(&f);
    uint64_t ino;

    assert_int_equal(mfs_lookup(f.fs, "heap", &ino), FL_OK);
    map = map_whole(&f, ino, MFS_MAP_NOSYNC, 4);
    assert_int_equal(mfs_fault(map, 0, true), FL_OK);
    assert_int_equal(mfs_media_cut_random(f.media, 0), FL_OK);
    see(&f, &whole);
    image_take(&image, &f);
    damage_each_byte(&image, &whole, &shorter, false);
    image_free(&image);
    fixture_deinit(&f);
}

static void
a_lost_transaction_in_the_middle_is_damage(void **state)
{
    struct fixture f;
    struct image image;
    struct seen seen;
    (void)state;

    make_scene(&f);
    assert_int_equal(mfs_media_cut_random(f.media, 0), FL_OK);
    image_take(&image, &f);
    assert_int_equal(mount_image(&image, &seen), FL_OK);
    const uint8_t seq = 77;

    change(&image, image.geometry.journal_off + MFS_JOURNAL_FRONT + 8, &seq, sizeof(seq));
    assert_int_equal(mount_image(&image, &seen), FL_CORRUPT);
    assert_non_null(strstr(fl_last_error(), "transaction 1 is damaged"));
    image_free(&image);
    fixture_deinit(&f);
}

/* ---- right CRCs, wrong contents ---- */

static void
expect_corrupt(struct image *image, const char *what)
{
    struct seen seen;

    if (check_image(image->bytes, image->size_bytes) == 0 ||
        mount_image(image, &seen) != FL_CORRUPT) {
        fail_msg("%s: not found", what);
    }
    if (strstr(fl_last_error(), what) == NULL) {
        fail_msg("instead of \"%s\": %s", what, fl_last_error());
    }
}

static void
plant_extent(struct image *image, uint32_t slot, struct mfs_extent_state extent, const char *what)
{
    const uint64_t off = image->geometry.extents_off + slot * sizeof(struct mfs_extent_rec);
    uint8_t was[sizeof(struct mfs_extent_rec)];
    struct mfs_extent_rec new;

    memcpy(was, image->bytes + off, sizeof(was));
    mfs_extent_encode(&extent, &new);
    change(image, off, &new, sizeof(new));
    if (what == NULL) {
        assert_int_equal(check_image(image->bytes, image->size_bytes), 0);
    } else {
        expect_corrupt(image, what);
    }
    change(image, off, was, sizeof(was));
}

static void
plant_inode(struct image *image, uint32_t slot, const struct mfs_inode_state *inode,
            const char *what)
{
    const uint64_t off = image->geometry.inodes_off + slot * sizeof(struct mfs_inode_rec);
    uint8_t was[sizeof(struct mfs_inode_rec)];
    struct mfs_inode_rec new;

    memcpy(was, image->bytes + off, sizeof(was));
    mfs_inode_encode(inode, &new);
    change(image, off, &new, sizeof(new));
    expect_corrupt(image, what);
    change(image, off, was, sizeof(was));
}

static void
bad_extents_are_found(void **state)
{
    struct fixture f;
    struct image image;
    (void)state;

    make_scene(&f);
    remount(&f);
    const uint32_t taken = extent_of(&f, UINT64_C(1) << 32, 1).physical;
    const uint64_t heap = UINT64_C(1) << 32;
    const uint64_t other = heap | 1;

    image_take(&image, &f);
    const uint32_t free_slot = BLOCKS - 1;

    plant_extent(&image, free_slot, (struct mfs_extent_state){other, 1, 1, 6, 0}, NULL);
    plant_extent(&image, free_slot, (struct mfs_extent_state){other, 1, 1, taken, 0}, NULL);
    plant_extent(&image, free_slot, (struct mfs_extent_state){heap, 2, 1, taken, 0}, "two owners");
    plant_extent(&image, free_slot,
                 (struct mfs_extent_state){other, 1, 1, taken, MFS_EXTENT_NOSYNC}, "two owners");
    plant_extent(&image, free_slot,
                 (struct mfs_extent_state){other, 1, 1, taken, MFS_EXTENT_UNWRITTEN}, "two owners");
    plant_extent(&image, free_slot, (struct mfs_extent_state){heap, 0, 2, 6, 0}, "overlap");
    plant_extent(&image, free_slot, (struct mfs_extent_state){heap | 5, 0, 1, 6, 0}, "not there");
    plant_extent(&image, free_slot, (struct mfs_extent_state){heap << 1, 0, 1, 6, 0}, "not there");
    plant_extent(&image, free_slot, (struct mfs_extent_state){heap, 5, 0, 6, 0}, "out of range");
    plant_extent(&image, free_slot, (struct mfs_extent_state){heap, 5, 1, BLOCKS, 0},
                 "out of range");
    plant_extent(&image, free_slot, (struct mfs_extent_state){heap, 5, UINT32_MAX, 6, 0},
                 "out of range");
    plant_extent(&image, free_slot, (struct mfs_extent_state){heap, UINT32_MAX, 1, 6, 0},
                 "out of range");
    plant_extent(&image, free_slot, (struct mfs_extent_state){heap, 5, 1, 6, 4}, "flags");
    plant_extent(&image, free_slot, (struct mfs_extent_state){heap, 5, 1, 6, 3}, "flags");
    image_free(&image);
    fixture_deinit(&f);
}

static void
bad_inodes_are_found(void **state)
{
    struct fixture f;
    struct image image;
    (void)state;

    make_scene(&f);
    remount(&f);
    image_take(&image, &f);
    struct mfs_inode_state good = {.ino = (UINT64_C(1) << 32) | 4, .name_bytes = 1, .name = "x"};
    struct mfs_inode_state bad = good;

    bad.ino = (UINT64_C(1) << 32) | 5;
    plant_inode(&image, 4, &bad, "number");
    bad.ino = 4;
    plant_inode(&image, 4, &bad, "number");
    bad = good;
    bad.flags = 1;
    plant_inode(&image, 4, &bad, "flags");
    bad = good;
    bad.size_bytes = UINT64_MAX;
    plant_inode(&image, 4, &bad, "size");
    bad = good;
    bad.name[0] = '/';
    plant_inode(&image, 4, &bad, "bad name");
    bad.name[0] = '\0';
    plant_inode(&image, 4, &bad, "bad name");
    bad.name_bytes = 0;
    plant_inode(&image, 4, &bad, "bad name");
    bad = good;
    bad.name_bytes = 5;
    memcpy(bad.name, "other", 5);
    plant_inode(&image, 4, &bad, "same name");
    image_free(&image);
    fixture_deinit(&f);
}

static void
plant_super(struct image *image, const struct mfs_geometry *g, uint32_t version, fl_status expected)
{
    struct mfs_super_rec super;
    struct seen seen;

    mfs_super_encode(g, &super);
    bytes_put_le32(&super.version, version);
    bytes_put_le32(&super.crc, crc32c(0, &super, offsetof(struct mfs_super_rec, crc)));
    change(image, 0, &super, sizeof(super));
    change(image, MFS_SUPER_COPY_OFF, &super, sizeof(super));
    assert_true(check_image(image->bytes, image->size_bytes) > 0);
    assert_int_equal(mount_image(image, &seen), expected);
}

static void
other_devices_are_refused(void **state)
{
    struct fixture f;
    struct image image;
    struct seen seen;
    (void)state;

    fixture_init(&f, BLOCKS, 0);
    image_take(&image, &f);
    struct mfs_geometry g = image.geometry;

    plant_super(&image, &g, MFS_VERSION + 1, FL_VERSION);
    g.features |= 0x80;
    plant_super(&image, &g, MFS_VERSION, FL_VERSION);
    g = image.geometry;
    g.size_bytes += BLOCK;
    plant_super(&image, &g, MFS_VERSION, FL_CORRUPT);
    assert_non_null(strstr(fl_last_error(), "cut off"));
    g = image.geometry;
    g.inodes_off = g.journal_off;
    plant_super(&image, &g, MFS_VERSION, FL_CORRUPT);
    g = image.geometry;
    g.blocks++;
    plant_super(&image, &g, MFS_VERSION, FL_CORRUPT);
    g = image.geometry;
    g.block_bytes = 4095;
    plant_super(&image, &g, MFS_VERSION, FL_CORRUPT);
    memset(image.bytes, 0, image.size_bytes);
    mfs_media_zero(image.media, 0, image.size_bytes);
    assert_int_equal(mount_image(&image, &seen), FL_INVALID);
    assert_true(check_image(image.bytes, image.size_bytes) > 0);
    assert_true(check_image(image.bytes, 100) > 0);
    image_free(&image);
    fixture_deinit(&f);
}

/* What was lost of the spare copies is there again after a mount. */
static void
spare_copies_are_mended_by_a_mount(void **state)
{
    static const uint64_t places[] = {0, MFS_SUPER_COPY_OFF, 4096, 4096 + 64};
    (void)state;

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct fixture f;
        const uint64_t garbage = 0x1234;

        make_scene(&f);
        mfs_media_store(f.media, places[i] + 8, &garbage, sizeof(garbage));
        assert_int_equal(mfs_cpu_persist_dirty(f.cpu, places[i], 64), FL_OK);
        assert_true(check_image(mfs_media_persisted(f.media), mfs_media_size_bytes(f.media)) > 0);
        power_cut(&f, 0);
        power_cut(&f, 0);
        check_clean(&f);
        fixture_deinit(&f);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_byte_of_a_clean_image_counts),
        cmocka_unit_test(each_byte_of_a_crashed_image_counts),
        cmocka_unit_test(a_lost_transaction_in_the_middle_is_damage),
        cmocka_unit_test(bad_extents_are_found),
        cmocka_unit_test(bad_inodes_are_found),
        cmocka_unit_test(other_devices_are_refused),
        cmocka_unit_test(spare_copies_are_mended_by_a_mount),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Goal:   the table of page-table entries does what a processor's tables do: an access that an entry allows goes
 *         through, stale or not; any other faults; after protect and zap none goes through any more.
 * Method: the table alone over a device, with a filesystem's part played here: mfs_fault() installs what each test
 *         has laid down, and counts.
 */
#include "storage/modelfs/pte_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BLOCK_BYTES = 4096, DATA_OFF = 8192, DEVICE_BYTES = DATA_OFF + 16 * BLOCK_BYTES };

/* The other side of the interface. Its tests are the filesystem's. */
struct mfs_map {
    struct mfs_engine engine;
    uint32_t phys; /* what a fault installs */
    enum mfs_access access;
    unsigned faults;
    bool lazy; /* a fault installs nothing */
};

uint32_t
mfs_block_bytes(const struct mfs *fs)
{
    (void)fs;
    return BLOCK_BYTES;
}

fl_status
mfs_fault(struct mfs_map *map, uint32_t block, bool write)
{
    (void)write;
    map->faults++;
    if (map->lazy) {
        return FL_IO;
    }
    return map->engine.ops->install(map->engine.context, map, block, map->phys, map->access);
}

struct fixture {
    struct mfs_media *media;
    struct mfs_cpu *cpu;
    struct mfs_pte_table *table;
    struct mfs_engine engine;
    struct mfs_map maps[2];
};

static void
setup(struct fixture *f)
{
    const struct mfs_media_source source = {.size_bytes = DEVICE_BYTES};

    assert_int_equal(mfs_media_open(&source, &f->media), FL_OK);
    assert_int_equal(mfs_cpu_create(f->media, &f->cpu), FL_OK);
    assert_int_equal(mfs_pte_table_create(f->media, &f->table), FL_OK);
    mfs_pte_table_mounted(f->table, NULL, DATA_OFF);
    f->engine = mfs_pte_table_engine(f->table);
    for (int i = 0; i < 2; i++) {
        f->maps[i] = (struct mfs_map){.engine = f->engine, .phys = 3, .access = MFS_ACCESS_WRITE};
    }
}

static void
teardown(struct fixture *f)
{
    mfs_pte_table_destroy(f->table);
    mfs_cpu_destroy(f->cpu);
    mfs_media_close(f->media);
}

static void
store(struct fixture *f, int map, uint64_t off, uint8_t value)
{
    assert_int_equal(mfs_pte_store(f->table, &f->maps[map], off, &value, 1), FL_OK);
}

static unsigned
load(struct fixture *f, int map, uint64_t off)
{
    uint8_t value = 0xEE;

    assert_int_equal(mfs_pte_load(f->table, &f->maps[map], off, &value, 1), FL_OK);
    return value;
}

static void
access_faults_once_and_reaches_the_block(void **state)
{
    struct fixture f;
    (void)state;

    setup(&f);
    store(&f, 0, 100 * BLOCK_BYTES + 5, 7);
    store(&f, 0, 100 * BLOCK_BYTES + 6, 8);
    assert_int_equal(f.maps[0].faults, 1);
    assert_int_equal(mfs_media_live(f.media)[DATA_OFF + 3 * BLOCK_BYTES + 5], 7);
    assert_int_equal(load(&f, 1, 6), 8);
    assert_int_equal(f.maps[1].faults, 1);
    assert_int_equal(mfs_pte_access(f.table, &f.maps[0], 99, NULL), MFS_ACCESS_NONE);
    uint32_t phys = 0;
    assert_int_equal(mfs_pte_access(f.table, &f.maps[0], 100, &phys), MFS_ACCESS_WRITE);
    assert_int_equal(phys, 3);
    assert_int_equal(mfs_pte_flush(f.table, &f.maps[0], f.cpu, 100 * BLOCK_BYTES + 5, 2), FL_OK);
    assert_int_equal(mfs_cpu_fence(f.cpu), FL_OK);
    assert_int_equal(mfs_media_persisted(f.media)[DATA_OFF + 3 * BLOCK_BYTES + 6], 8);
    teardown(&f);
}

static void
protected_block_faults_for_stores_only(void **state)
{
    struct fixture f;
    (void)state;

    setup(&f);
    store(&f, 0, 0, 1);
    store(&f, 1, 0, 1);
    f.engine.ops->protect(f.engine.context, &f.maps[0], 0);
    f.engine.ops->protect(f.engine.context, &f.maps[0], 77);
    assert_int_equal(load(&f, 0, 0), 1);
    assert_int_equal(f.maps[0].faults, 1);
    store(&f, 0, 0, 2);
    assert_int_equal(f.maps[0].faults, 2);
    store(&f, 1, 0, 3);
    assert_int_equal(f.maps[1].faults, 1);
    teardown(&f);
}

static void
zap_takes_the_block_from_every_mapping(void **state)
{
    struct fixture f;
    (void)state;

    setup(&f);
    store(&f, 0, 0, 9);
    store(&f, 1, 5 * BLOCK_BYTES, 9);
    f.maps[0].phys = 4;
    store(&f, 0, BLOCK_BYTES, 6);
    f.engine.ops->zap(f.engine.context, 3, true);
    assert_int_equal(mfs_media_live(f.media)[DATA_OFF + 3 * BLOCK_BYTES], 9);
    assert_int_equal(mfs_pte_access(f.table, &f.maps[0], 0, NULL), MFS_ACCESS_NONE);
    assert_int_equal(mfs_pte_access(f.table, &f.maps[1], 5, NULL), MFS_ACCESS_NONE);
    assert_int_equal(mfs_pte_access(f.table, &f.maps[0], 1, NULL), MFS_ACCESS_WRITE);
    f.engine.ops->zap(f.engine.context, 4, false);
    assert_int_not_equal(mfs_media_live(f.media)[DATA_OFF + 4 * BLOCK_BYTES], 6);
    teardown(&f);
}

static void
stale_entry_reaches_the_block_s_next_owner(void **state)
{
    struct fixture f;
    (void)state;

    setup(&f);
    store(&f, 0, 0, 1); /* block 3 is given to somebody else, and nobody has zapped it here */
    f.maps[1].phys = 3;
    store(&f, 1, 0, 2);
    store(&f, 0, 0, 3);
    assert_int_equal(load(&f, 1, 0), 3);
    teardown(&f);
}

static void
zeros_and_sigbus_stay_until_they_are_dropped(void **state)
{
    struct fixture f;
    uint8_t value = 1;
    (void)state;

    setup(&f);
    f.maps[0].phys = MFS_PHYS_ZERO;
    f.maps[0].access = MFS_ACCESS_READ;
    assert_int_equal(load(&f, 0, 0), 0);
    assert_int_equal(mfs_pte_flush(f.table, &f.maps[0], f.cpu, 0, 1), FL_OK);
    f.maps[0].phys = MFS_PHYS_BUS;
    f.maps[0].access = MFS_ACCESS_WRITE;
    assert_int_equal(mfs_pte_store(f.table, &f.maps[0], 0, &value, 1), FL_IO);
    assert_int_equal(mfs_pte_load(f.table, &f.maps[0], 0, &value, 1), FL_IO);
    assert_int_equal(f.maps[0].faults, 2);
    f.engine.ops->drop(f.engine.context, &f.maps[0], 0);
    f.maps[0].phys = 2;
    store(&f, 0, 0, 5);
    f.engine.ops->drop(f.engine.context, &f.maps[0], 0); /* a block is not dropped */
    assert_int_equal(load(&f, 0, 0), 5);
    assert_int_equal(f.maps[0].faults, 3);
    teardown(&f);
}

static void
fault_that_installs_nothing_ends(void **state)
{
    struct fixture f;
    uint8_t value = 1;
    (void)state;

    setup(&f);
    f.maps[0].lazy = true;
    assert_int_equal(mfs_pte_store(f.table, &f.maps[0], 0, &value, 1), FL_IO);
    teardown(&f);
}

static void
unmapped_and_remounted_tables_have_no_entries(void **state)
{
    struct fixture f;
    (void)state;

    setup(&f);
    store(&f, 0, 0, 1);
    store(&f, 1, 0, 1);
    mfs_pte_unmap(f.table, &f.maps[0]);
    assert_int_equal(mfs_pte_access(f.table, &f.maps[0], 0, NULL), MFS_ACCESS_NONE);
    assert_int_equal(mfs_pte_access(f.table, &f.maps[1], 0, NULL), MFS_ACCESS_WRITE);
    mfs_pte_table_mounted(f.table, NULL, DATA_OFF);
    assert_int_equal(mfs_pte_access(f.table, &f.maps[1], 0, NULL), MFS_ACCESS_NONE);
    teardown(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(access_faults_once_and_reaches_the_block),
        cmocka_unit_test(protected_block_faults_for_stores_only),
        cmocka_unit_test(zap_takes_the_block_from_every_mapping),
        cmocka_unit_test(stale_entry_reaches_the_block_s_next_owner),
        cmocka_unit_test(zeros_and_sigbus_stay_until_they_are_dropped),
        cmocka_unit_test(fault_that_installs_nothing_ends),
        cmocka_unit_test(unmapped_and_remounted_tables_have_no_entries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

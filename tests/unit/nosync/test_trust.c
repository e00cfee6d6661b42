/* Goal:   each filesystem is judged as docs/durability.md says: barriers on ext4, xfs, btrfs are a power cut's
 *         word; what can't be known is unverified; memory is memory.
 * Method: the table by hand; texts of mountinfo with what it really contains (tags, spaces as \040, many
 *         lines); then the filesystems that this machine has.
 */
#include "storage/nosync/trust.h"
#include "tests/lib/tmpdir.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

static void
filesystem_types_are_judged(void **state)
{
    static const struct {
        const char *type;
        const char *options;
        enum fl_durability durability;
        bool memory;
        const char *text;
    } cases[] = {
        {"ext4", "rw,relatime", FL_DURABILITY_POWERCUT, false, "ext4"},
        {"xfs", "rw,attr2,inode64", FL_DURABILITY_POWERCUT, false, "xfs"},
        {"btrfs", "rw,space_cache=v2,subvol=/", FL_DURABILITY_POWERCUT, false, "btrfs"},
        {"ext4", "rw,nobarrier", FL_DURABILITY_POWERCUT_UNVERIFIED, false,
         "ext4 nobarrier (unverified)"},
        {"ext4", "nobarrier,rw", FL_DURABILITY_POWERCUT_UNVERIFIED, false, NULL},
        {"ext4", "rw,barrier=0,noatime", FL_DURABILITY_POWERCUT_UNVERIFIED, false, NULL},
        {"ext4", "rw,barrier=1", FL_DURABILITY_POWERCUT, false, NULL},
        {"ext4", "rw,x-nobarrier-not", FL_DURABILITY_POWERCUT, false, NULL},
        {"btrfs", "nobarrier", FL_DURABILITY_POWERCUT_UNVERIFIED, false, NULL},
        {"overlay", "rw,lowerdir=/a,upperdir=/b", FL_DURABILITY_POWERCUT_UNVERIFIED, false,
         "overlay (unverified)"},
        {"overlay", "rw,volatile", FL_DURABILITY_PROCESS, false, "overlay volatile"},
        {"nfs4", "rw,vers=4.2", FL_DURABILITY_POWERCUT_UNVERIFIED, false, "nfs4 (unverified)"},
        {"cifs", "", FL_DURABILITY_POWERCUT_UNVERIFIED, false, NULL},
        {"fuse.sshfs", "", FL_DURABILITY_POWERCUT_UNVERIFIED, false, NULL},
        {"fuseblk", "", FL_DURABILITY_POWERCUT_UNVERIFIED, false, NULL},
        {"9p", "", FL_DURABILITY_POWERCUT_UNVERIFIED, false, NULL},
        {"virtiofs", "", FL_DURABILITY_POWERCUT_UNVERIFIED, false, NULL},
        {"vfat", "", FL_DURABILITY_POWERCUT_UNVERIFIED, false, NULL},
        {"tmpfs", "rw,size=1g", FL_DURABILITY_PROCESS, true, "tmpfs"},
        {"ramfs", "rw", FL_DURABILITY_PROCESS, true, "ramfs"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct trust trust;

        trust_judge(cases[i].type, cases[i].options, &trust);
        assert_int_equal(trust.durability, cases[i].durability);
        assert_int_equal(trust.memory, cases[i].memory);
        if (cases[i].text != NULL) {
            assert_string_equal(trust.text, cases[i].text);
        }
    }
}

static void
long_type_is_cut_not_overrun(void **state)
{
    char type[500];
    struct trust trust;

    (void)state;
    memset(type, 'a', sizeof(type));
    type[sizeof(type) - 1] = '\0';
    trust_judge(type, "", &trust);
    assert_true(strlen(trust.text) < sizeof(trust.text));
    assert_non_null(strstr(trust.text, "(unverified)"));
}

static void
judge_text(const char *text, uint64_t mount_id, struct trust *trust)
{
    FILE *file = fmemopen((void *)(uintptr_t)text, strlen(text), "r");

    assert_non_null(file);
    trust_from_mountinfo(file, mount_id, trust);
    assert_int_equal(fclose(file), 0);
}

static void
mountinfo_line_is_found_by_its_number(void **state)
{
    static const char text[] =
        "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
        "236 22 0:99 / /a\\040b rw,relatime shared:1 master:2 - overlay none rw,lowerdir=/x\n"
        "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,errors=remount-ro\n"
        "36 27 254:1 / /slow rw - ext4 /dev/vdb rw,nobarrier\n"
        "37 27 0:40 /@home /home rw - btrfs /dev/vdc rw,subvol=/@home\n"
        "38 27 0:41 / /bare rw - xfs /dev/vdd\n";
    struct trust trust;

    (void)state;
    judge_text(text, 27, &trust);
    assert_string_equal(trust.text, "ext4");
    judge_text(text, 36, &trust);
    assert_string_equal(trust.text, "ext4 nobarrier (unverified)");
    judge_text(text, 236, &trust);
    assert_string_equal(trust.text, "overlay (unverified)");
    judge_text(text, 37, &trust);
    assert_string_equal(trust.text, "btrfs");
    judge_text(text, 38, &trust);
    assert_string_equal(trust.text, "xfs");
    judge_text(text, 23, &trust);
    assert_string_equal(trust.text, "unknown filesystem (unverified)");
    assert_int_equal(trust.durability, FL_DURABILITY_POWERCUT_UNVERIFIED);
}

static void
mountinfo_garbage_is_unverified(void **state)
{
    static const char *const texts[] = {
        "\n",          "27",          "27 1 254:0 / / rw",    "27 a - ",
        "27 a - ext4", "27 - ext4\n", " - ext4 /dev/vda rw\n"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct trust trust;

        judge_text(texts[i], 27, &trust);
        assert_int_equal(trust.durability, FL_DURABILITY_POWERCUT_UNVERIFIED);
    }
}

static void
open_file_is_judged_by_its_mount(void **state)
{
    struct trust trust;
    const int shm = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int proc = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);

    (void)state;
    assert_true(proc >= 0);
    trust_of_file(proc, &trust);
    assert_string_equal(trust.text, "proc (unverified)");
    assert_int_equal(close(proc), 0);
    if (shm >= 0) {
        trust_of_file(shm, &trust);
        assert_true(trust.memory);
        assert_int_equal(trust.durability, FL_DURABILITY_PROCESS);
        assert_int_equal(close(shm), 0);
    }
    trust_of_file(-1, &trust);
    assert_int_equal(trust.durability, FL_DURABILITY_POWERCUT_UNVERIFIED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filesystem_types_are_judged),
        cmocka_unit_test(long_type_is_cut_not_overrun),
        cmocka_unit_test(mountinfo_line_is_found_by_its_number),
        cmocka_unit_test(mountinfo_garbage_is_unverified),
        cmocka_unit_test(open_file_is_judged_by_its_mount),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

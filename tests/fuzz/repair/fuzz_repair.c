/* Goal:   no bytes in a store's file make a check or a repair crash, hang or leave something half done: what is said to
 *         be repaired has no findings, and the damaged file is kept beside it; what can't be is left as it was.
 * Method: the input is an image of a few 4 KiB blocks, in a file on tmpfs, repaired there and checked again. */
#include <faultline/check.h>

#include "tests/fuzz/image/mend.h"
#include "tests/lib/die.h"
#include "tests/lib/fuzz/fuzz.h"
#include "tests/lib/tmpdir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CHOICE_MEND = 1, IMAGE_MAX_BYTES = 32 * 4096 };

static void
write_file(const char *path, const uint8_t *data, size_t len)
{
    FILE *file = fopen(path, "we");

    if (file == NULL || fwrite(data, 1, len, file) != len || fclose(file) != 0) {
        die_errno("write %s", path);
    }
}

static bool
file_is(const char *path, const uint8_t *data, size_t len)
{
    static uint8_t got[IMAGE_MAX_BYTES + 1];
    FILE *file = fopen(path, "re");

    if (file == NULL) {
        return false;
    }
    const size_t n = fread(got, 1, sizeof(got), file);

    (void)fclose(file);
    return n == len && memcmp(got, data, len) == 0;
}

static void
repair(const struct tmpdir *dir, const uint8_t *image, size_t len)
{
    struct fl_check_options options = {.struct_bytes = sizeof(options)};
    struct fl_check_report report;
    char path[TMPDIR_PATH_BYTES];
    char kept[TMPDIR_PATH_BYTES + 16];

    write_file(tmpdir_join(dir, "store", path), image, len);
    (void)snprintf(kept, sizeof(kept), "%s.damaged", path);
    if (fl_check_repair(path, &options, &report) != FL_OK || report.findings == 0) {
        if (!file_is(path, image, len)) {
            die("nothing was to be repaired, or it failed, and the file is another");
        }
        return;
    }
    if (!file_is(kept, image, len)) {
        die("the damaged file was not kept as it was");
    }
    if (fl_check(path, &options, &report) != FL_OK || report.findings != 0) {
        die("repaired, and a check finds %llu", (unsigned long long)report.findings);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tmpdir dir;

    if (size < 1 || size - 1 > IMAGE_MAX_BYTES) {
        return 0;
    }
    uint8_t *image = malloc(size);

    if (image == NULL) {
        die_errno("malloc");
    }
    memcpy(image, data + 1, size - 1);
    if (data[0] & CHOICE_MEND) {
        mend_image(image, size - 1);
    }
    tmpdir_create_in(&dir, "/dev/shm");
    repair(&dir, image, size - 1);
    tmpdir_destroy(&dir);
    free(image);
    return 0;
}

/* Goal:   no configuration file makes the server crash, hang or read outside of it; what is taken from one is said as
 *         it would be written, and taken again in the same way.
 * Method: the input is the file. Each option that results is turned into text, set again from that, and compared. */
#include "server/options.h"
#include "tests/lib/die.h"
#include "tests/lib/fuzz/fuzz.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void
check_again(const struct options *options)
{
    char text[OPTIONS_VALUE_BYTES];
    char again[OPTIONS_VALUE_BYTES];
    struct options fresh;
    const char *name;
    unsigned flags;

    options_init(&fresh);
    for (size_t i = 0; options_at(options, i, &name, &flags, text); i++) {
        if (strcmp(name, "config") == 0) {
            continue;
        }
        if (options_set(&fresh, name, text) != FL_OK) {
            die("option %s says \"%s\" and does not take it", name, text);
        }
        options_at(&fresh, i, &name, &flags, again);
        if (strcmp(text, again) != 0) {
            die("option %s: \"%s\" became \"%s\"", name, text, again);
        }
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const int fd = memfd_create("options", MFD_CLOEXEC);
    struct options options;
    char path[64];

    if (fd < 0 || write(fd, data, size) != (ssize_t)size) {
        die_errno("an options file");
    }
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    options_init(&options);
    if (options_load(&options, path) == FL_OK) {
        check_again(&options);
        (void)!options_check(&options);
    }
    close(fd);
    return 0;
}

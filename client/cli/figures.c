#include "client/cli/figures.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *
line_after(const char *line)
{
    const char *end = strchr(line, '\n');

    return end != NULL ? end + 1 : line + strlen(line);
}

bool
figures_get(const char *info, const char *name, uint64_t *out)
{
    const size_t len = strlen(name);

    for (const char *line = info; *line != '\0'; line = line_after(line)) {
        if (strncmp(line, name, len) == 0 && line[len] == ':' &&
            isdigit((unsigned char)line[len + 1])) {
            *out = strtoull(line + len + 1, NULL, 10);
            return true;
        }
    }
    return false;
}

uint64_t
figures_keys(const char *info)
{
    uint64_t keys = 0;

    for (const char *line = info; *line != '\0'; line = line_after(line)) {
        const size_t digits = strncmp(line, "db", 2) == 0 ? strspn(line + 2, "0123456789") : 0;

        if (digits > 0 && strncmp(line + 2 + digits, ":keys=", 6) == 0) {
            keys += strtoull(line + 2 + digits + 6, NULL, 10);
        }
    }
    return keys;
}

char *
figures_bytes(uint64_t bytes, char *out)
{
    static const char units[] = "BKMGTPE";
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 1024 && units[unit + 1] != '\0') {
        value /= 1024;
        unit++;
    }
    snprintf(out, 16, unit == 0 ? "%.0f%c" : "%.2f%c", value, units[unit]);
    return out;
}

#include "tests/crash/explore.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A place is the event's number, then how the choices went:
 *   37:0120      each choice, a digit in base 36; those after the last were the first possibility
 *   37~3.5       policy 3, salt 5
 *   37!80.3,c0.1 all is on media but these entries of the cells at these offsets (hexadecimal) */
static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

static void __attribute__((format(printf, 3, 4)))
add(char *text, size_t size, const char *format, ...)
{
    const size_t used = strlen(text);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text + used, size - used, format, args);
    va_end(args);
}

static void
path_text(const struct explore_place *place, char *text, size_t size)
{
    uint32_t len = place->path_len;

    while (len > 0 && place->path[len - 1] == 0) {
        len--;
    }
    add(text, size, ":");
    for (uint32_t i = 0; i < len; i++) {
        add(text, size, "%c", digits[place->path[i] % (sizeof(digits) - 1)]);
    }
}

void
explore_place_text(const struct explore_place *places, unsigned count, char *text, size_t size)
{
    text[0] = '\0';
    for (unsigned i = 0; i < count; i++) {
        const struct explore_place *place = &places[i];

        add(text, size, "%s%zu", i > 0 ? "/" : "", place->point);
        if (place->policy == STATE_PATH) {
            path_text(place, text, size);
        } else if (place->policy == STATE_LOST) {
            add(text, size, "!");
            for (uint32_t n = 0; n < place->lost_count; n++) {
                add(text, size, "%s%" PRIx64 ".%" PRIx64, n > 0 ? "," : "", place->lost[n].off,
                    place->lost[n].entries);
            }
        } else {
            add(text, size, "~%d.%" PRIu64, (int)place->policy, place->salt);
        }
    }
}

static const char *
path_parse(const char *at, struct explore_place *place)
{
    const char *digit;

    place->policy = STATE_PATH;
    while (*at != '\0' && (digit = strchr(digits, *at)) != NULL &&
           place->path_len < STATE_PATH_MAX) {
        place->path[place->path_len++] = (uint8_t)(digit - digits);
        at++;
    }
    return at;
}

static const char *
lost_parse(const char *at, struct explore_place *place)
{
    char *end = NULL;

    place->policy = STATE_LOST;
    while (*at != '\0' && *at != '/' && place->lost_count < EXPLORE_LOST_MAX) {
        struct state_lost *lost = &place->lost[place->lost_count++];

        lost->off = strtoull(at, &end, 16);
        if (*end != '.') {
            return NULL;
        }
        lost->entries = strtoull(end + 1, &end, 16);
        at = *end == ',' ? end + 1 : end;
    }
    return at;
}

static const char *
place_parse(const char *at, struct explore_place *place)
{
    char *end = NULL;

    memset(place, 0, sizeof(*place));
    place->point = strtoull(at, &end, 10);
    if (end == at) {
        return NULL;
    }
    switch (*end) {
    case ':':
        return path_parse(end + 1, place);
    case '!':
        return lost_parse(end + 1, place);
    case '~':
        place->policy = (enum state_policy)strtoul(end + 1, &end, 10);
        if (*end != '.' || place->policy > STATE_LINES_LAST) {
            return NULL;
        }
        place->salt = strtoull(end + 1, &end, 10);
        return end;
    default:
        return NULL;
    }
}

unsigned
explore_place_parse(const char *text, struct explore_place *places)
{
    unsigned count = 0;
    const char *at = text;

    while (count < EXPLORE_DEPTH_MAX) {
        at = place_parse(at, &places[count]);
        if (at == NULL) {
            return 0;
        }
        count++;
        if (*at != '/') {
            return *at == '\0' ? count : 0;
        }
        at++;
    }
    return 0;
}

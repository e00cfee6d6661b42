#include "tests/integration/concurrency/field.h"

#include "tests/lib/die.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_BYTES = 16 };

void
field_must(fl_status status, const char *what)
{
    if (status != FL_OK) {
        die("%s: status %d: %s", what, (int)status, fl_last_error());
    }
}

struct fl_key
field_key(enum field_kind kind, unsigned writer, unsigned i, char name[FIELD_KEY_BYTES + 1])
{
    snprintf(name, FIELD_KEY_BYTES + 1, "%c%u:%04u", (char)kind, writer % 10, i % 10000);
    return fl_key(name, FIELD_KEY_BYTES);
}

void
field_key_parse(struct fl_bytes key, enum field_kind *kind, unsigned *writer, unsigned *i)
{
    char name[FIELD_KEY_BYTES + 1] = {0};

    if (key.len == FIELD_KEY_BYTES) {
        memcpy(name, key.ptr, key.len);
    }
    *kind = (enum field_kind)name[0];
    if (sscanf(name + (name[0] != '\0'), "%1u:%4u", writer, i) != 2 || *writer >= FIELD_WRITERS ||
        *i >= FIELD_KEYS) {
        die("a key that nobody writes: %zu bytes, %s", key.len, name);
    }
}

size_t
field_value(const struct field *field, enum field_kind kind, unsigned writer, unsigned i,
            uint64_t version, uint8_t *buf)
{
    struct rng rng = {field->seed ^ (version * UINT64_C(0x9E3779B97F4A7C15)) ^
                      ((uint64_t)kind << 56) ^ ((uint64_t)writer << 48) ^ i};
    const uint64_t dice = rng_below(&rng, 2000);
    const size_t len = HEAD_BYTES + (dice == 0 ? rng_below(&rng, FIELD_VALUE_BYTES_MAX - HEAD_BYTES)
                                     : dice < 20 ? rng_below(&rng, 20000)
                                                 : rng_below(&rng, 500));

    memcpy(buf, &version, sizeof(version));
    memcpy(buf + 8, &(uint32_t){i}, 4);
    memcpy(buf + 12, &(uint32_t){writer << 8 | (unsigned)kind}, 4);
    rng_fill(&rng, buf + HEAD_BYTES, len - HEAD_BYTES);
    return len;
}

uint64_t
field_version(const struct field *field, enum field_kind kind, unsigned writer, unsigned i,
              struct fl_bytes value, uint8_t *scratch)
{
    uint64_t version;

    if (value.len < HEAD_BYTES) {
        die("a value of %zu bytes at %c%u:%u", value.len, (char)kind, writer, i);
    }
    memcpy(&version, value.ptr, sizeof(version));
    if (field_value(field, kind, writer, i, version, scratch) != value.len ||
        memcmp(scratch, value.ptr, value.len) != 0) {
        die("wrong bytes at %c%u:%u, version %" PRIu64 ", %zu bytes", (char)kind, writer, i,
            version, value.len);
    }
    return version;
}

int64_t
field_number(struct fl_bytes value)
{
    int64_t number;

    if (value.len != sizeof(number)) {
        die("a number of %zu bytes", value.len);
    }
    memcpy(&number, value.ptr, sizeof(number));
    return number;
}

/* What a store that was found after a power cut holds: opened, which recovers it, read in order and point by point,
 * written to (unless it is full), closed.
 *
 *   contents PATH
 *     clock MS                                     the store's clock: the wall clock given to it is 1970, so that
 *                                                  this is what the file says
 *     KEY VERSION DEADLINE ok|torn|differs         each key; its value describes itself, see clients.py
 *     end COUNT
 *
 * Exit status 1 and a sentence on stderr if it can't be opened, read or written.
 */
#include <faultline/cursor.h>
#include <faultline/faultline.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SERVER_SPACE = 1, FIELD_BYTES_MAX = 128 };

static void
must(fl_status status, const char *what)
{
    if (status != FL_OK) {
        (void)printf("%s: status %d, %s\n", what, (int)status, fl_last_error());
        exit(1);
    }
}

/* Of long ago: the store's clock then comes from its file. */
static uint64_t
long_ago(void *context)
{
    (void)context;
    return 1;
}

static uint32_t
crc32_of(const uint8_t *bytes, size_t len)
{
    static uint32_t table[256];
    uint32_t crc = UINT32_MAX;

    for (uint32_t i = 0; table[255] == 0 && i < 256; i++) {
        table[i] = i;
        for (int bit = 0; bit < 8; bit++) {
            table[i] = (table[i] >> 1) ^ ((table[i] & 1) != 0 ? UINT32_C(0xedb88320) : 0);
        }
    }
    for (size_t i = 0; i < len; i++) {
        crc = (crc >> 8) ^ table[(crc ^ bytes[i]) & 0xff];
    }
    return ~crc;
}

/* "CRC KEY VERSION LENGTH PAYLOAD", the CRC over what follows it and its space. */
static bool
describes_itself(struct fl_bytes key, struct fl_bytes value, uint64_t *version)
{
    char head[FIELD_BYTES_MAX + 1] = {0};
    char name[FIELD_BYTES_MAX + 1];
    uint32_t crc;
    uint64_t len;

    memcpy(head, value.ptr, value.len < FIELD_BYTES_MAX ? value.len : FIELD_BYTES_MAX);
    if (sscanf(head, "%8" SCNx32 " %128s %" SCNu64 " %" SCNu64, &crc, name, version, &len) != 4) {
        return false;
    }
    return strlen(name) == key.len && memcmp(name, key.ptr, key.len) == 0 && len == value.len &&
           crc == crc32_of((const uint8_t *)value.ptr + 9, value.len - 9);
}

static void
print_key(struct fl_store *store, struct fl_cursor *cursor)
{
    const struct fl_bytes key = fl_cursor_key(cursor);
    struct fl_view view;
    struct fl_view point;
    uint64_t version = 0;

    must(fl_cursor_view(cursor, &view), "read a value");
    must(fl_get_view(store, fl_key_in(SERVER_SPACE, key.ptr, key.len), &point), "get a key");
    const bool whole = describes_itself(key, view.value, &version);
    const bool same = point.lsn == view.lsn && point.value.len == view.value.len;

    (void)printf("%.*s %" PRIu64 " %" PRIu64 " %s\n", (int)key.len, (const char *)key.ptr, version,
                 view.deadline_ms,
                 !whole ? "torn"
                 : same ? "ok"
                        : "differs");
    fl_view_release(&point);
    fl_view_release(&view);
}

static void
print_all(struct fl_store *store)
{
    const struct fl_cursor_options options = {.space = SERVER_SPACE};
    struct fl_cursor *cursor;
    uint64_t count = 0;

    must(fl_cursor_open(store, &options, &cursor), "open a cursor");
    fl_status status = fl_cursor_first(cursor);

    for (; status == FL_OK; status = fl_cursor_next(cursor)) {
        print_key(store, cursor);
        count++;
    }
    if (status != FL_END) {
        must(status, "go through the keys");
    }
    fl_cursor_close(cursor);
    (void)printf("end %" PRIu64 "\n", count);
}

/* A put works, or there is no space for it: then deleting still gives a proper answer. */
static void
must_write(struct fl_store *store)
{
    const struct fl_key key = fl_key("after the power cut", 19);
    const fl_status put = fl_put(store, key, fl_bytes("works", 5), NULL);
    const fl_status deleted = fl_delete(store, key);

    if (put != FL_NO_SPACE) {
        must(put, "put");
        must(deleted, "delete");
    } else if (deleted != FL_NOT_FOUND) {
        must(deleted, "delete in a full store");
    }
}

int
main(int argc, char **argv)
{
    struct fl_options options;
    struct fl_store *store;

    if (argc != 2) {
        (void)fprintf(stderr, "usage: contents PATH\n");
        return 2;
    }
    fl_options_init(&options);
    options.flags = 0;
    options.now_ms = long_ago;
    must(fl_open(argv[1], &options, &store), "open");
    (void)printf("clock %" PRIu64 "\n", fl_now_ms(store));
    print_all(store);
    must_write(store);
    must(fl_close(store), "close");
    return 0;
}

/* Makes the images that are checked in: golden ones (tests/golden/images, to be compressed with gzip -9n) and the corpus of the image
 * fuzzer (tests/fuzz/image/corpus). Not a test, and not run by one: it is run by hand when a new kind of image is wanted,
 * never to make an old one fit new code. Contents come from fixed seeds; nonces and the store's uuid are new each time.
 *
 * usage: generate_images golden|fuzz FOLDER */
#include "storage/api/store.h"
#include "tests/golden/contents.h"
#include "tests/golden/golden.h"
#include "tests/lib/die.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
save(const char *folder, const char *name, const void *head, size_t head_len, const void *bytes,
     size_t len)
{
    char path[4096];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0 || write(fd, head, head_len) != (ssize_t)head_len ||
        write(fd, bytes, len) != (ssize_t)len || close(fd) != 0) {
        die_errno("write %s", path);
    }
    printf("%s: %zu bytes\n", path, head_len + len);
}

static void
generate_golden(const char *folder)
{
    for (size_t i = 0; i < golden_count; i++) {
        const struct golden *golden = &golden_list[i];
        struct contents contents;
        char name[64];
        uint64_t len = 0;
        uint8_t *image =
            contents_image(&contents, golden->parts, golden->seed, golden->closed, &len);

        if (golden->torn) {
            golden_tear(image, len);
        }
        snprintf(name, sizeof(name), "%s.img", golden->name);
        save(folder, name, "", 0, image, len);
        free(image);
    }
}

/* ---- small stores for the fuzzer ---- */

enum { FUZZ_SIZE_MAX = 64 * CONTENTS_BLOCK_BYTES };

static uint64_t
fixed_now(void *context)
{
    (void)context;
    return CONTENTS_BEGIN_MS;
}

static void
must(fl_status status)
{
    if (status != FL_OK) {
        die("%s: %s", fl_status_name(status), fl_last_error());
    }
}

static void
put_one(struct fl_store *store, uint8_t space, const char *key, size_t len, uint64_t deadline_ms)
{
    const struct fl_put_options options = {.deadline_ms = deadline_ms, .type = (uint8_t)(len % 16)};
    static char value[10000];

    memset(value, key[0], sizeof(value));
    must(fl_put(store, fl_key_in(space, key, strlen(key)), fl_bytes(value, len), &options));
}

static void
write_puts(struct fl_store *store)
{
    put_one(store, 0, "a", 0, 0);
    put_one(store, 0, "b", 100, CONTENTS_LATE_MS);
    put_one(store, 1, "c", 400, 0);
    put_one(store, 0, "b", 7, 0);
    must(fl_delete(store, fl_key("a", 1)));
}

static void
write_batch(struct fl_store *store)
{
    struct fl_batch *batch = NULL;

    must(fl_batch_create(store, &batch));
    must(fl_batch_put(batch, fl_key("x", 1), fl_bytes("1", 1), NULL));
    must(fl_batch_put(batch, fl_key("y", 1), fl_bytes("22", 2), NULL));
    must(fl_batch_put(batch, fl_key_in(9, "z", 1), fl_bytes("333", 3), NULL));
    must(fl_batch_delete(batch, fl_key("x", 1)));
    must(fl_batch_commit(batch));
    fl_batch_destroy(batch);
    must(fl_delete_spaces(store, 5, 9));
}

static void
write_blob(struct fl_store *store)
{
    put_one(store, 0, "one block", 700, 0);
    put_one(store, 0, "three blocks", 9000, 0);
    put_one(store, 0, "gone", 5000, 0);
    put_one(store, 0, "gone", 1, 0);
}

static void
write_cleaned(struct fl_store *store)
{
    put_one(store, 0, "kept", 50, 0);
    for (int i = 0; i < 60; i++) {
        put_one(store, 0, i % 2 == 0 ? "over" : "again", 400, 0);
    }
    contents_maintain(store);
}

static void
generate_fuzz(const char *folder)
{
    static const struct {
        const char *name;
        void (*write)(struct fl_store *store);
    } stores[] = {{"puts", write_puts},
                  {"batch", write_batch},
                  {"blob", write_blob},
                  {"cleaned", write_cleaned}};

    for (size_t i = 0; i < 2 * sizeof(stores) / sizeof(stores[0]); i++) {
        const struct mem_map_options mem_options = {.mode = PM_DIRECT,
                                                    .size_bytes_max = FUZZ_SIZE_MAX};
        struct mem_map *mem = mem_map_create(&mem_options);
        struct fl_store *store = NULL;
        struct fl_options options;
        const bool closed = i % 2 == 0;
        char name[64];
        uint64_t len = 0;
        void *image = NULL;

        fl_options_init(&options);
        options.size_bytes_max = FUZZ_SIZE_MAX;
        options.block_bytes = CONTENTS_BLOCK_BYTES;
        options.durability_min = FL_DURABILITY_PROCESS;
        options.blocks_ahead = 0;
        options.background = false;
        options.now_ms = fixed_now;
        must(store_open_map(mem_map_open(mem), &options, &store));
        stores[i / 2].write(store);
        image = closed ? NULL : mem_map_copy(mem, &len);
        must(fl_close(store));
        image = closed ? mem_map_copy(mem, &len) : image;
        snprintf(name, sizeof(name), "%s-%s", stores[i / 2].name, closed ? "closed" : "killed");
        save(folder, name, closed ? "\x01" : "\x00", 1, image, len);
        free(image);
        mem_map_destroy(mem);
    }
}

int
main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "golden") == 0) {
        generate_golden(argv[2]);
    } else if (argc == 3 && strcmp(argv[1], "fuzz") == 0) {
        generate_fuzz(argv[2]);
    } else {
        die("usage: %s golden|fuzz FOLDER", argv[0]);
    }
    return 0;
}

/* A crash image as a file that a store can be opened on, and put back in a moment.
 *
 * What a test lays under a store many thousand times: the pages that the store has changed are remembered, and only
 * they are copied back. A store to a page that has no block is a fault of the code under test; it is noted and the
 * bytes are kept. The image is direct or staged, as the file it was taken from; stores into a direct one are told to
 * a watch (watch.h) by instrumented code.
 */
#ifndef FL_TESTS_CRASH_IMAGE_H
#define FL_TESTS_CRASH_IMAGE_H

#include "tests/crash/watch.h"
#include "tests/lib/mem_map.h"

enum { IMAGE_PAGE = 4096 };

struct image {
    struct nosync_map map;
    enum pm_mode mode;
    uint64_t size_bytes_max;
    uint64_t size_bytes;
    uint8_t *bytes;   /* size_bytes_max */
    uint8_t *exists;  /* per page */
    uint8_t *touched; /* per page: differs from `base` as far as known */
    uint32_t *touched_list;
    uint32_t touched_count;
    uint64_t fault_off; /* the first store without a block, UINT64_MAX: none */
    uint64_t stores;
    mem_map_recorder recorder; /* NULL: none */
    void *recorder_context;
    struct state *state; /* of which it holds what has been decided; NULL: all of it is */
    uint8_t *undecided;  /* pages whose punch may have come to nothing; NULL: none */
    uint8_t *undecided_pages;
    uint8_t *holes; /* pages whose punch is decided, and has come to pass */
};

void image_init(struct image *image, enum pm_mode mode, uint64_t size_bytes_max);
void image_deinit(struct image *image);

/* Map it; the caller closes the map. */
struct nosync_map *image_open(struct image *image);

/* For watch_set() where nothing else is asked of it; `context` is the image. */
extern const struct watch_ops image_watch;

/* Make it these bytes; of what was changed since the last reset to the same base only that is copied. */
void image_reset(struct image *image, const uint8_t *base, const uint8_t *exists,
                 uint64_t size_bytes);
/* The whole of it, from another base. */
void image_load(struct image *image, const uint8_t *base, const uint8_t *exists,
                uint64_t size_bytes);

/* About to be changed by the store: to be put back at the reset; a block has to be there. */
void image_touch(struct image *image, uint64_t off, uint64_t len);

/* Change bytes without the store's knowing. */
void image_poke(struct image *image, uint64_t off, const void *src, size_t len);
void image_poke_hole(struct image *image, uint64_t page);

#endif

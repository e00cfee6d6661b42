#include "tests/crash/image.h"

#include "base/fail.h"
#include "tests/crash/state.h"
#include "tests/lib/die.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
mark(struct image *image, uint64_t off, uint64_t len)
{
    for (uint64_t page = off / IMAGE_PAGE; page * IMAGE_PAGE < off + len; page++) {
        if (!image->touched[page]) {
            image->touched[page] = 1;
            image->touched_list[image->touched_count++] = (uint32_t)page;
        }
    }
}

static void
tell(struct image *image, const struct mem_map_event *event)
{
    if (image->recorder != NULL) {
        image->recorder(image->recorder_context, event);
    }
}

void
image_touch(struct image *image, uint64_t off, uint64_t len)
{
    if (off > image->size_bytes_max || len > image->size_bytes_max - off) {
        die("image: a store outside the file");
    }
    for (uint64_t page = off / IMAGE_PAGE; page * IMAGE_PAGE < off + len; page++) {
        if (!image->exists[page] && image->fault_off == UINT64_MAX) {
            image->fault_off = off;
        }
    }
    mark(image, off, len);
    image->stores++;
}

/* A write of the page kind. */
static void
change(struct image *image, uint64_t off, const void *src, size_t len)
{
    if (image->state != NULL) {
        state_change(image->state, off, len);
    } else {
        image_touch(image, off, len);
    }
    memcpy(image->bytes + off, src, len);
}

static void
on_change(void *context, uint64_t off, uint64_t len)
{
    image_touch(context, off, len);
}

const struct watch_ops image_watch = {.change = on_change};

static fl_status
media_write_through(void *context, uint64_t off, const void *src, size_t len)
{
    const struct mem_map_event event = {MEM_MAP_WRITE, false, false, off, len, src};

    tell(context, &event);
    change(context, off, src, len);
    return FL_OK;
}

static fl_status
media_write_durable(void *context, const struct pm_range *ranges, size_t count, bool all)
{
    const struct mem_map_event sync = {MEM_MAP_SYNC, false, all, 0, count, NULL};

    for (size_t i = 0; i < count; i++) {
        (void)media_write_through(context, ranges[i].off, ranges[i].src, ranges[i].len);
    }
    tell(context, &sync);
    return FL_OK;
}

static const struct pm_media_ops media_ops = {
    .write_durable = media_write_durable,
    .write_through = media_write_through,
};

static struct image *
image_of(struct nosync_map *map)
{
    return map->media.context;
}

/* The kernel gives these blocks other contents: what they held is nobody's business any more. */
static void
rewritten(struct image *image, uint64_t off, uint64_t len)
{
    const uint64_t fault_off = image->fault_off;
    const uint64_t stores = image->stores;

    if (image->undecided != NULL) {
        memset(image->undecided + off / IMAGE_PAGE, 0, (size_t)(len / IMAGE_PAGE));
    }
    if (image->state != NULL) {
        state_change(image->state, off, len);
        image->fault_off = fault_off;
        image->stores = stores;
    }
}

static fl_status
image_fault_in(struct nosync_map *map, uint64_t off, uint64_t len)
{
    struct image *image = image_of(map);
    const struct mem_map_event event = {MEM_MAP_FAULT_IN, false, false, off, len, NULL};

    if (off + len > image->size_bytes_max) {
        die("image: fault_in outside the file");
    }
    tell(image, &event);
    rewritten(image, off, len);
    mark(image, off, len);
    memset(image->bytes + off, 0, (size_t)len);
    memset(image->exists + off / IMAGE_PAGE, 1, (size_t)(len / IMAGE_PAGE));
    if (image->size_bytes < off + len) {
        image->size_bytes = off + len;
    }
    return FL_OK;
}

static fl_status
image_punch(struct nosync_map *map, uint64_t off, uint64_t len)
{
    struct image *image = image_of(map);
    const struct mem_map_event event = {MEM_MAP_PUNCH, false, false, off, len, NULL};

    tell(image, &event);
    rewritten(image, off, len);
    for (uint64_t page = off / IMAGE_PAGE; page * IMAGE_PAGE < off + len; page++) {
        if (image->exists[page]) {
            image_poke_hole(image, page);
        }
    }
    return FL_OK;
}

static fl_status
image_sync_file(struct nosync_map *map)
{
    const struct mem_map_event event = {MEM_MAP_SYNC_FILE, false, true, 0, 0, NULL};

    tell(image_of(map), &event);
    return FL_OK;
}

static uint64_t
image_size_bytes(struct nosync_map *map)
{
    return image_of(map)->size_bytes;
}

static uint64_t
image_file_bytes(struct nosync_map *map)
{
    const struct image *image = image_of(map);
    uint64_t bytes = 0;

    for (uint64_t page = 0; page < image->size_bytes / IMAGE_PAGE; page++) {
        bytes += image->exists[page] ? (uint64_t)IMAGE_PAGE : 0;
    }
    return bytes;
}

static void
image_close(struct nosync_map *map)
{
    (void)map;
}

static const struct nosync_ops map_ops = {
    .fault_in = image_fault_in,
    .punch = image_punch,
    .sync_file = image_sync_file,
    .size_bytes = image_size_bytes,
    .file_bytes = image_file_bytes,
    .close = image_close,
};

void
image_init(struct image *image, enum pm_mode mode, uint64_t size_bytes_max)
{
    const size_t pages = (size_t)(size_bytes_max / IMAGE_PAGE);

    memset(image, 0, sizeof(*image));
    image->mode = mode;
    image->size_bytes_max = size_bytes_max;
    image->bytes =
        aligned_alloc(IMAGE_PAGE, (size_t)size_bytes_max); /* lines are told by address */
    image->exists = calloc(1, pages);
    image->touched = calloc(1, pages);
    image->undecided_pages = calloc(pages > 0 ? pages : 1, 1);
    image->holes = calloc(pages > 0 ? pages : 1, 1);
    image->touched_list = calloc(pages, sizeof(image->touched_list[0]));
    if (image->bytes == NULL || image->exists == NULL || image->touched == NULL ||
        image->touched_list == NULL || image->undecided_pages == NULL || image->holes == NULL) {
        die("image: no memory");
    }
    memset(image->bytes, 0, (size_t)size_bytes_max);
}

void
image_deinit(struct image *image)
{
    free(image->bytes);
    free(image->exists);
    free(image->touched);
    free(image->touched_list);
    free(image->undecided_pages);
    free(image->holes);
}

struct nosync_map *
image_open(struct image *image)
{
    image->fault_off = UINT64_MAX;
    image->map = (struct nosync_map){
        .ops = &map_ops,
        .media =
            {
                .base = image->bytes,
                .base_store = image->mode == PM_STAGED ? NULL : image->bytes,
                .size_bytes_max = image->size_bytes_max,
                .mode = image->mode,
                .ops = &media_ops,
                .context = image,
            },
        .grant =
            {
                .mapping = image->mode == PM_STAGED ? FL_MAPPING_PAGE : FL_MAPPING_DAX,
                .durability = FL_DURABILITY_POWERCUT,
                .created = image->size_bytes == 0,
            },
    };
    (void)snprintf(image->map.grant.detail, sizeof(image->map.grant.detail), "a crash image");
    return &image->map;
}

void
image_reset(struct image *image, const uint8_t *base, const uint8_t *exists, uint64_t size_bytes)
{
    for (uint32_t i = 0; i < image->touched_count; i++) {
        const uint64_t page = image->touched_list[i];

        memcpy(image->bytes + page * IMAGE_PAGE, base + page * IMAGE_PAGE, IMAGE_PAGE);
        image->exists[page] = exists[page];
        image->touched[page] = 0;
    }
    image->touched_count = 0;
    image->size_bytes = size_bytes;
}

void
image_load(struct image *image, const uint8_t *base, const uint8_t *exists, uint64_t size_bytes)
{
    const size_t pages = (size_t)(image->size_bytes_max / IMAGE_PAGE);

    memcpy(image->bytes, base, (size_t)image->size_bytes_max);
    memcpy(image->exists, exists, pages);
    memset(image->touched, 0, pages);
    image->touched_count = 0;
    image->size_bytes = size_bytes;
}

void
image_poke(struct image *image, uint64_t off, const void *src, size_t len)
{
    mark(image, off, len);
    memcpy(image->bytes + off, src, len);
}

void
image_poke_hole(struct image *image, uint64_t page)
{
    mark(image, page * IMAGE_PAGE, IMAGE_PAGE);
    memset(image->bytes + page * IMAGE_PAGE, 0, IMAGE_PAGE);
    image->exists[page] = 0;
}

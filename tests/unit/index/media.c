#include "tests/unit/index/media.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct media_record *
media_at(const struct media *media, index_loc loc)
{
    const uint64_t off = loc & INDEX_LOC_OFF_MASK;

    if (off == 0 || off > atomic_load(&media->count) || (loc >> 56) != 0) {
        fprintf(stderr, "the index asked for loc %#lx, which was never given to it\n", loc);
        abort();
    }
    return &media->records[off - 1];
}

static bool
media_key_at(void *context, index_loc loc, struct fl_key *key)
{
    const struct media_record *record = media_at(context, loc);

    if (atomic_load(&record->unreadable) != 0) {
        return false;
    }
    *key = fl_key_in(record->space, record->key, record->key_len);
    return true;
}

static uint64_t
media_lsn_at(void *context, index_loc loc)
{
    return media_at(context, loc)->lsn;
}

static void
media_dead(void *context, index_loc loc)
{
    struct media *media = context;

    if (atomic_fetch_add(&media_at(media, loc)->dead, 1) != 0) {
        fprintf(stderr, "loc %#lx was reported dead twice\n", loc);
        abort();
    }
    atomic_fetch_add(&media->dead_total, 1);
}

void
media_init(struct media *media, uint64_t room, struct index_media *out)
{
    memset(media, 0, sizeof(*media));
    media->records = calloc(room, sizeof(*media->records));
    media->room = room;
    if (media->records == NULL) {
        abort();
    }
    *out = (struct index_media){media, media_key_at, media_lsn_at, media_dead, NULL};
}

void
media_deinit(struct media *media)
{
    const uint64_t count = atomic_load(&media->count);

    for (uint64_t i = 0; i < count && i < media->room; i++) {
        free(media->records[i].key);
    }
    free(media->records);
}

index_loc
media_write(struct media *media, struct fl_key key, uint64_t lsn, uint64_t flags)
{
    const uint64_t i = atomic_fetch_add(&media->count, 1);

    if (i >= media->room) {
        abort();
    }
    struct media_record *record = &media->records[i];

    record->key = malloc(key.len > 0 ? key.len : 1);
    if (record->key == NULL) {
        abort();
    }
    memcpy(record->key, key.ptr, key.len);
    record->key_len = key.len;
    record->space = key.space;
    record->lsn = lsn;
    return (i + 1) | flags;
}

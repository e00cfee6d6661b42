/* Codecs of block 0 and of table words: media bytes in, validated values out. No I/O. */
#ifndef FL_STORAGE_HEAP_SUPER_H
#define FL_STORAGE_HEAP_SUPER_H

#include "storage/heap/heap.h"
#include "storage/heap/heap_layout.h"

FL_NODISCARD fl_status super_geometry_check(const struct heap_geometry *geometry);
FL_NODISCARD fl_status super_uuid_make(uint8_t uuid[16]);

void super_encode(const struct heap_geometry *geometry, struct heap_super_media *super);
/* FL_CORRUPT, FL_VERSION. */
FL_NODISCARD fl_status super_decode(const struct heap_super_media *super,
                                    struct heap_geometry *geometry);
void super_size_set(struct heap_super_media *super, uint64_t size_bytes_max);
bool super_same_but_size(const struct heap_super_media *a, const struct heap_super_media *b);
/* Was this copy being written anew, the other one being whole? */
bool super_rewriting(const struct heap_super_media *super);

void super_root_encode(const struct heap_geometry *geometry, const struct heap_root *root,
                       struct heap_root_media *media);
/* False: it doesn't validate, or is not one that `slot` may have. */
bool super_root_decode(const struct heap_geometry *geometry, const struct heap_root_media *media,
                       unsigned slot, struct heap_root *root);
static inline unsigned
super_root_slot(uint64_t sequence)
{
    return sequence % 2 == 0;
}

/* `half`: of block 0, where the word stands. */
uint64_t super_clock_encode(const struct heap_geometry *geometry, unsigned half, uint64_t ms);
bool super_clock_decode(const struct heap_geometry *geometry, unsigned half, uint64_t word,
                        uint64_t *ms);

uint64_t super_entry_encode(const struct heap_geometry *geometry, uint32_t block,
                            struct heap_entry entry);
bool super_entry_decode(const struct heap_geometry *geometry, uint32_t block, uint64_t word,
                        struct heap_entry *entry);

#endif

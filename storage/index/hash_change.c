/* The hash: putting slots in and taking them out. */
#include "storage/index/hash.h"

#include "base/fail.h"
#include "storage/index/hash_internal.h"

/* A key goes to its first bucket while that has so many free slots, else to the emptier of its two. Measured
 * by simulation: 79 % full before the first bucket pair is, 18 % of the keys in their second bucket. */
enum { HASH_FIRST_FREE_MIN = 4 };

static inline unsigned
bucket_free(const _Atomic uint64_t *slots)
{
    return hash_bucket_mask(slots, 0, 0);
}

/* Of a bucket's mask. By a table of nibbles: the instruction for it is not in every machine. */
static inline unsigned
count_bits(unsigned mask)
{
    const uint64_t nibbles = UINT64_C(0x4332322132212110);

    return (unsigned)((nibbles >> (4 * (mask & 15))) & 7) +
           (unsigned)((nibbles >> (4 * (mask >> 4))) & 7);
}

static bool
segment_put(struct hash_segment *segment, uint64_t key_hash, uint64_t slot)
{
    _Atomic uint64_t *first = segment->slots[hash_bucket_first(key_hash)];
    _Atomic uint64_t *second = segment->slots[hash_bucket_second(key_hash)];
    const unsigned first_free = bucket_free(first);

    if (count_bits(first_free) >= HASH_FIRST_FREE_MIN) {
        slot_store(&first[__builtin_ctz(first_free)], slot);
        return true;
    }
    const unsigned second_free = bucket_free(second);

    if ((first_free | second_free) == 0) {
        return false;
    }
    if (count_bits(second_free) > count_bits(first_free)) {
        slot_store(&second[__builtin_ctz(second_free)], slot);
    } else {
        slot_store(&first[__builtin_ctz(first_free)], slot);
    }
    return true;
}

/* The directory words of the segment that key_hash leads to: [*begin, *end). */
static void
hash_words_range(const struct hash *hash, const struct hash_directory *directory, uint64_t key_hash,
                 size_t *begin, size_t *end)
{
    const size_t place = hash_directory_place(directory, key_hash);
    const uint32_t segment = (uint32_t)atomic_load(&directory->words[place]);
    const size_t count = (size_t)1 << (directory->depth - hash_info(hash, segment)->depth);

    *begin = place & ~(count - 1);
    *end = *begin + count;
}

static void
hash_words_store(struct hash_directory *directory, size_t begin, size_t end, uint64_t word)
{
    for (size_t i = begin; i < end; i++) {
        atomic_store_explicit(&directory->words[i], word, memory_order_release);
    }
}

static bool
overflow_node_put(struct hash_overflow *node, uint64_t slot)
{
    for (unsigned i = 0; i < HASH_OVERFLOW_SLOTS; i++) {
        if (slot_load(&node->slots[i]) == 0) {
            slot_store(&node->slots[i], slot);
            return true;
        }
    }
    return false;
}

static void
hash_overflow_put(struct hash *hash, struct hash_directory *directory, uint64_t key_hash,
                  uint64_t slot)
{
    size_t begin;
    size_t end;

    hash_words_range(hash, directory, key_hash, &begin, &end);
    const uint64_t word = atomic_load_explicit(&directory->words[begin], memory_order_relaxed);
    struct hash_segment_info *info = hash_info(hash, (uint32_t)word);
    const uint32_t head = atomic_load_explicit(&info->overflow, memory_order_relaxed);
    uint32_t after = 0;

    for (uint32_t node = head; node != 0; node = after) {
        if (overflow_node_put(hash_overflow_at(hash, node), slot)) {
            return;
        }
        after = atomic_load_explicit(&hash_overflow_at(hash, node)->next, memory_order_relaxed);
    }
    const uint32_t node = hash_supply_take(hash, &hash->overflows, hash_overflow_link);
    struct hash_overflow *overflow = hash_overflow_at(hash, node);

    slot_store(&overflow->slots[0], slot);
    if (head == 0) {
        atomic_store_explicit(&overflow->next, 0, memory_order_relaxed);
        atomic_store_explicit(&info->overflow, node, memory_order_release);
        hash_words_store(directory, begin, end, word | HASH_WORD_OVERFLOW);
        return;
    }
    /* Behind the first: several segments may name that one. */
    _Atomic uint32_t *link = &hash_overflow_at(hash, head)->next;

    atomic_store_explicit(&overflow->next, atomic_load_explicit(link, memory_order_relaxed),
                          memory_order_relaxed);
    atomic_store_explicit(link, node, memory_order_release);
}

/* Index by more bits. False: no room for it. */
static bool
hash_directory_deepen(struct hash *hash)
{
    struct hash_directory *old = atomic_load_explicit(&hash->directory, memory_order_relaxed);
    struct hash_directory *directory = hash->directory_spare;

    if (directory == NULL) {
        return false;
    }
    FL_ASSERT(directory->depth > old->depth);
    for (size_t i = 0; i < (size_t)1 << directory->depth; i++) {
        const size_t was = i >> (directory->depth - old->depth);

        atomic_init(&directory->words[i],
                    atomic_load_explicit(&old->words[was], memory_order_relaxed));
    }
    hash->directory_spare = NULL;
    atomic_store_explicit(&hash->directory, directory, memory_order_release);
    hash_directory_retire(hash, old);
    return true;
}

static bool
segment_worth_splitting(const struct hash_segment *segment)
{
    unsigned used = 0;

    for (unsigned b = 0; b < HASH_BUCKETS; b++) {
        used += HASH_SLOTS - count_bits(bucket_free(segment->slots[b]));
    }
    return used >= HASH_SPLIT_KEYS_MIN;
}

/* Move the slots whose hash has `bit` of the tag set to a new segment. */
static void
segment_split(struct hash_segment *old, struct hash_segment *fresh, uint32_t bit)
{
    for (unsigned b = 0; b < HASH_BUCKETS; b++) {
        for (unsigned i = 0; i < HASH_SLOTS; i++) {
            const uint64_t slot = slot_load(&old->slots[b][i]);

            if (((slot >> 32) & bit) != 0) {
                slot_store(&fresh->slots[b][i], slot);
            }
        }
    }
}

static void
segment_clear(struct hash_segment *segment, uint32_t bit)
{
    for (unsigned b = 0; b < HASH_BUCKETS; b++) {
        for (unsigned i = 0; i < HASH_SLOTS; i++) {
            if (((slot_load(&segment->slots[b][i]) >> 32) & bit) != 0) {
                slot_store(&segment->slots[b][i], 0);
            }
        }
    }
}

/* Split the segment that key_hash leads to. False: it can't be, or would not help. */
static bool
hash_split(struct hash *hash, uint64_t key_hash)
{
    struct hash_directory *directory = atomic_load_explicit(&hash->directory, memory_order_relaxed);
    const uint32_t segment =
        (uint32_t)atomic_load(&directory->words[hash_directory_place(directory, key_hash)]);
    struct hash_segment_info *info = hash_info(hash, segment);
    struct hash_segment *old = hash_segment_of(hash, segment);

    if (hash_supply_count(&hash->segments) == 0 || !segment_worth_splitting(old)) {
        return false;
    }
    if (info->depth == directory->depth) {
        if (!hash_directory_deepen(hash)) {
            return false;
        }
        directory = atomic_load_explicit(&hash->directory, memory_order_relaxed);
    }
    size_t begin;
    size_t end;

    hash_words_range(hash, directory, key_hash, &begin, &end);
    const uint64_t word = atomic_load_explicit(&directory->words[begin], memory_order_relaxed);
    const uint32_t fresh = hash_supply_take(hash, &hash->segments, hash_segment_link);
    struct hash_segment_info *fresh_info = hash_info(hash, fresh);
    const uint32_t bit = UINT32_C(1) << (31 - directory->skip - info->depth);

    fresh_info->depth = ++info->depth;
    hash->segments_used++;
    atomic_store_explicit(&fresh_info->overflow,
                          atomic_load_explicit(&info->overflow, memory_order_relaxed),
                          memory_order_relaxed);
    segment_split(old, hash_segment_of(hash, fresh), bit);
    hash_words_store(directory, begin + (end - begin) / 2, end,
                     (word & HASH_WORD_OVERFLOW) | fresh);
    segment_clear(old, bit);
    return true;
}

void
hash_insert(struct hash *hash, uint64_t key_hash, uint32_t id)
{
    const uint64_t slot = (uint64_t)hash_tag(key_hash) << 32 | id;

    for (;;) {
        struct hash_directory *directory =
            atomic_load_explicit(&hash->directory, memory_order_relaxed);
        const uint64_t word = atomic_load_explicit(
            &directory->words[hash_directory_place(directory, key_hash)], memory_order_relaxed);

        if (segment_put(hash_segment_of(hash, word), key_hash, slot)) {
            return;
        }
        if (!hash_split(hash, key_hash)) {
            directory = atomic_load_explicit(&hash->directory, memory_order_relaxed);
            hash_overflow_put(hash, directory, key_hash, slot);
            return;
        }
    }
}

static _Atomic uint64_t *
slots_find(_Atomic uint64_t *slots, unsigned count, uint64_t slot)
{
    for (unsigned i = 0; i < count; i++) {
        if (slot_load(&slots[i]) == slot) {
            return &slots[i];
        }
    }
    return NULL;
}

bool
hash_remove(struct hash *hash, uint64_t key_hash, uint32_t id)
{
    const uint64_t slot = (uint64_t)hash_tag(key_hash) << 32 | id;
    const struct hash_directory *directory =
        atomic_load_explicit(&hash->directory, memory_order_relaxed);
    const uint64_t word = atomic_load_explicit(
        &directory->words[hash_directory_place(directory, key_hash)], memory_order_relaxed);
    struct hash_segment *segment = hash_segment_of(hash, word);
    _Atomic uint64_t *place =
        slots_find(segment->slots[hash_bucket_first(key_hash)], HASH_SLOTS, slot);

    if (place == NULL) {
        place = slots_find(segment->slots[hash_bucket_second(key_hash)], HASH_SLOTS, slot);
    }
    if (place == NULL && (word & HASH_WORD_OVERFLOW) != 0) {
        uint32_t node = atomic_load(&hash_info(hash, (uint32_t)word)->overflow);

        while (node != 0 && place == NULL) {
            struct hash_overflow *overflow = hash_overflow_at(hash, node);

            place = slots_find(overflow->slots, HASH_OVERFLOW_SLOTS, slot);
            node = atomic_load(&overflow->next);
        }
    }
    if (place == NULL) {
        return false;
    }
    slot_store(place, 0);
    return true;
}

/* Notes of which records the index names no more: a bit in DRAM for each line of the file. */
#include "storage/log/log_internal.h"

#include "base/bytes.h"
#include "base/fail.h"

#include <sys/mman.h>

enum {
    WORD_BITS = 64,
    WORD_COVERS = WORD_BITS * LOG_LINE_BYTES, /* bytes of the file: the smallest block there is */
};

static size_t
words_of(const struct log *log, uint32_t blocks)
{
    return (size_t)blocks * (log->block_bytes / WORD_COVERS);
}

fl_status
log_dead_init(struct log *log)
{
    log->dead = mmap(NULL, words_of(log, log->blocks_max) * sizeof(log->dead[0]),
                     PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (log->dead == MAP_FAILED) {
        log->dead = NULL;
        return FL_FAIL(FL_NO_MEMORY, "notes of what is dead in %u blocks", log->blocks_max);
    }
    return FL_OK;
}

void
log_dead_deinit(struct log *log)
{
    if (log->dead != NULL) {
        munmap(log->dead, words_of(log, log->blocks_max) * sizeof(log->dead[0]));
    }
}

void
log_dead_forget(struct log *log, uint32_t block, uint32_t blocks)
{
    _Atomic(uint64_t) *words = log->dead + words_of(log, block);

    for (size_t i = 0; i < words_of(log, blocks); i++) {
        atomic_store_explicit(&words[i], 0, memory_order_relaxed);
    }
}

/* Where the note of a record stands; false if it has no place. */
static bool
dead_place(uint64_t off, size_t bytes, uint64_t *word, uint64_t *bit)
{
    const uint64_t line = bytes_align_up(off, LOG_LINE_BYTES);

    *word = line / WORD_COVERS;
    *bit = UINT64_C(1) << (line / LOG_LINE_BYTES % WORD_BITS);
    return line - off < bytes;
}

void
log_dead_prefetch(const struct log *log, uint64_t off)
{
    uint64_t word;
    uint64_t bit;

    (void)dead_place(off, 0, &word, &bit);
    __builtin_prefetch(log->dead + word);
}

void
log_dead_note(struct log *log, uint64_t off, size_t bytes)
{
    uint64_t word;
    uint64_t bit;

    if (dead_place(off, bytes, &word, &bit)) {
        const uint64_t noted = atomic_load_explicit(&log->dead[word], memory_order_relaxed);

        atomic_store_explicit(&log->dead[word], noted | bit, memory_order_relaxed);
    }
}

bool
log_dead_noted(const struct log *log, uint64_t off, size_t bytes)
{
    uint64_t word;
    uint64_t bit;

    return dead_place(off, bytes, &word, &bit) &&
           (atomic_load_explicit(&log->dead[word], memory_order_relaxed) & bit) != 0;
}

/* What an operator has to know while the store runs: lines for the program's log, on change only. */
#include "storage/engine/engine_internal.h"

static void
tell(const struct engine *engine, int level, const char *text)
{
    if (engine->user.log != NULL) {
        engine->user.log(engine->user.context, level, text);
    }
}

void
engine_tell_changes(struct engine *engine)
{
    const uint64_t blocks_wanted = (uint64_t)ENGINE_RESERVE_BLOCKS + engine->user.blocks_ahead;
    struct heap_stats heap;

    heap_stats_get(engine->heap, &heap);
    if (!engine->told_full && heap.growth_failed && heap.blocks_ready <= ENGINE_RESERVE_BLOCKS) {
        engine->told_full = true;
        tell(engine, ENGINE_LOG_WARNING,
             "the file can't grow: the file system is full, or the store has reached its size; "
             "writes "
             "that need room are refused, reads and deletes go on");
    } else if (engine->told_full && !heap.growth_failed && heap.blocks_ready >= blocks_wanted) {
        /* Not before all is as it should be: the cleaner finds a block now and then. */
        engine->told_full = false;
        tell(engine, ENGINE_LOG_INFO, "the file has room again");
    }
    if (!engine->told_failed && atomic_load(&engine->failed) != FL_OK) {
        engine->told_failed = true;
        tell(engine, ENGINE_LOG_ERROR,
             "a write or sync of the store failed: it is read-only until it is opened again");
    }
}

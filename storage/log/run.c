/* Blocks side by side for a frame that is longer than one block, had before the frame is written: whoever fills a batch
 * is told that there are none while nothing has been promised yet. */
#include "storage/log/log_internal.h"

#include "base/bytes.h"
#include "base/fail.h"

#include <string.h>

uint64_t
log_frame_blocks(const struct log *log, size_t frame_bytes)
{
    return (frame_bytes + LOG_HEADER_BYTES + log->block_bytes - 1) / log->block_bytes;
}

static void
run_set(struct log_run *run, uint32_t block, uint32_t picked)
{
    *run = (struct log_run){.block = block, .picked = picked};
}

/* Another run, of `blocks` at least; if all goes well with as much again, so that a growing batch seldom moves. */
static fl_status
run_move(struct log *log, struct log_run *run, uint32_t blocks)
{
    const uint32_t had = run->taken;
    uint32_t block = 0;
    fl_status status = FL_NO_SPACE;

    if (heap_has_room(log->heap, 4 * blocks) && heap_pick(log->heap, 2 * blocks, &block) == FL_OK) {
        log_run_drop(log, run);
        run_set(run, block, 2 * blocks);
        return FL_OK;
    }
    status = heap_pick(log->heap, blocks, &block);
    log_run_drop(log, run);
    if (status == FL_NO_SPACE && had > 0) {
        /* Perhaps with the blocks that were its own; else it should have those back. */
        status = heap_pick(log->heap, blocks, &block);
        if (status != FL_OK && heap_pick(log->heap, had, &block) == FL_OK) {
            run_set(run, block, had);
        }
    }
    if (status == FL_OK) {
        run_set(run, block, blocks);
    }
    return status;
}

fl_status
log_run_extend(struct log *log, struct log_run *run, size_t bytes)
{
    const uint64_t blocks =
        log_frame_blocks(log, (size_t)bytes_align_up(bytes + LOG_BATCH_BYTES, LOG_LINE_BYTES));
    fl_status status = FL_OK;

    if (__builtin_expect(blocks <= 1 || blocks <= run->taken, 1)) {
        return FL_OK;
    }
    if (blocks > UINT32_MAX / 4) {
        return FL_FAIL(FL_TOO_LARGE, "a frame of %zu bytes", bytes);
    }
    if (blocks > run->picked) {
        status = run_move(log, run, (uint32_t)blocks);
    }
    while (status == FL_OK && run->taken < blocks) {
        status = heap_take_picked(log->heap, run->block + run->taken);
        run->taken += status == FL_OK;
    }
    return status;
}

/* What was picked and is not needed. */
static void
run_cut(struct log *log, struct log_run *run)
{
    if (run->picked > run->taken) {
        heap_unpick(log->heap, run->block + run->taken, run->picked - run->taken);
        run->picked = run->taken;
    }
}

void
log_run_drop(struct log *log, struct log_run *run)
{
    run_cut(log, run);
    if (run->taken > 0) {
        heap_untake(log->heap, run->block, run->taken);
    }
    memset(run, 0, sizeof(*run));
}

void
log_run_use(struct log *log, enum log_head_id id, struct log_run *run)
{
    run_cut(log, run);
    log->heads[id].run = run->taken > 0 ? run : NULL;
}

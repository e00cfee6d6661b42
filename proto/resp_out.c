#include "proto/resp_out.h"

#include "base/fail.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

enum {
    BLOCK_SMALL_BYTES = 2 * 1024, /* enough for a tick of a connection that doesn't pipeline */
    BLOCK_LARGE_BYTES = 16 * 1024,
    BLOCK_SMALL = 0,
    BLOCK_LARGE = 1,
    BLOCK_ODD = 2, /* of another size: not kept */
    ALIGNMENT = 16,
    ROOM_MIN = 64, /* a segment with less room than this is not begun */
};

/* Memory for bytes and for the segments that describe them. Segments are used up in order, so a
 * block is free when its last one is. */
struct resp_block {
    struct resp_block *next;
    size_t kind;
    alignas(ALIGNMENT) char bytes[];
};

/* Bytes in a row: our own, or a caller's to be released. Only the last one is open: its length is
 * that from data to out->cur. */
struct resp_seg {
    struct resp_seg *next;
    const char *data;
    size_t len;
    struct resp_block *block; /* to be given back with this segment; NULL: not the block's last */
    void (*release)(void *context);
    void *context;
    char *later; /* data, while it is still to be filled */
};

/* ---- blocks ---- */

void
resp_pool_init(struct resp_pool *pool, uint32_t spare_max)
{
    *pool = (struct resp_pool){.spare_max = spare_max};
}

void
resp_pool_deinit(struct resp_pool *pool)
{
    for (size_t kind = 0; kind < 2; kind++) {
        while (pool->spare[kind] != NULL) {
            struct resp_block *block = pool->spare[kind];

            pool->spare[kind] = block->next;
            free(block);
        }
        pool->spare_count[kind] = 0;
    }
}

static struct resp_block *
block_get(struct resp_pool *pool, size_t kind, size_t bytes)
{
    struct resp_block *block;

    if (kind != BLOCK_ODD && pool != NULL && pool->spare[kind] != NULL) {
        block = pool->spare[kind];
        pool->spare[kind] = block->next;
        pool->spare_count[kind]--;
        return block;
    }
    block = malloc(bytes);
    if (block != NULL) {
        block->kind = kind;
    }
    return block;
}

static void
block_put(struct resp_pool *pool, struct resp_block *block)
{
    if (block->kind == BLOCK_ODD || pool == NULL ||
        pool->spare_count[block->kind] >= pool->spare_max) {
        free(block);
        return;
    }
    block->next = pool->spare[block->kind];
    pool->spare[block->kind] = block;
    pool->spare_count[block->kind]++;
}

/* ---- segments ---- */

void
resp_out_init(struct resp_out *out, struct resp_pool *pool)
{
    *out = (struct resp_out){.pool = pool, .protocol = 2};
}

void
resp_out_deinit(struct resp_out *out)
{
    resp_out_clear(out);
}

uint64_t
resp_out_position(const struct resp_out *out)
{
    return out->sealed + (out->tail != NULL ? (uint64_t)(out->cur - out->tail->data) : 0);
}

static char *
align_up(char *at)
{
    return at + (-(uintptr_t)at & (ALIGNMENT - 1));
}

/* Nothing may follow the bytes that are missing. */
static void
fail_out(struct resp_out *out)
{
    out->failed = true;
    out->end = out->cur;
}

/* Nothing is queued any more: hold no memory. */
static void
reset_empty(struct resp_out *out)
{
    out->sealed = out->sent;
    out->tail = NULL;
    out->cur = NULL;
    out->end = NULL;
    out->head_sent = 0;
}

/* Close the last segment at out->cur. */
static void
seal_tail(struct resp_out *out)
{
    if (out->tail != NULL) {
        out->sealed = resp_out_position(out);
        out->tail->len = (size_t)(out->cur - out->tail->data);
    }
}

/* Put a segment whose memory is at `at` behind the others. The last one must be sealed. */
static struct resp_seg *
link_seg(struct resp_out *out, char *at)
{
    struct resp_seg *seg = (struct resp_seg *)(void *)at;

    memset(seg, 0, sizeof(*seg));
    if (out->tail != NULL) {
        out->tail->next = seg;
    } else {
        out->head = seg;
    }
    out->tail = seg;
    return seg;
}

/* Begin a block with room for `len` bytes at least, and an open segment in it. */
static bool
begin_block(struct resp_out *out, size_t len)
{
    const size_t overhead = sizeof(struct resp_block) + sizeof(struct resp_seg) + ALIGNMENT;
    size_t kind = BLOCK_ODD;
    size_t bytes = len + overhead;

    if (out->head == NULL && bytes <= BLOCK_SMALL_BYTES) {
        kind = BLOCK_SMALL;
        bytes = BLOCK_SMALL_BYTES;
    } else if (bytes <= BLOCK_LARGE_BYTES) {
        kind = BLOCK_LARGE;
        bytes = BLOCK_LARGE_BYTES;
    }
    struct resp_block *block = NULL;

    if (out->pending_max != 0 && resp_out_pending(out) + len > out->pending_max) {
        out->over = true;
    } else if (!out->failed) {
        block = block_get(out->pool, kind, bytes);
    }
    if (block == NULL) {
        fail_out(out);
        return false;
    }
    seal_tail(out);
    struct resp_seg *seg = link_seg(out, block->bytes);

    seg->block = block;
    seg->data = align_up(block->bytes + sizeof(*seg));
    out->cur = align_up(block->bytes + sizeof(*seg));
    out->end = (char *)block + bytes;
    return true;
}

/* Put a segment of its own, with `extra_bytes` of memory beside it, behind the open one, and go on
 * behind it. Both are carved from the block's room. */
static struct resp_seg *
insert_seg(struct resp_out *out, size_t extra_bytes, char **extra)
{
    const size_t need =
        2 * sizeof(struct resp_seg) + extra_bytes + (size_t)4 * ALIGNMENT + ROOM_MIN;

    if ((out->tail == NULL || (size_t)(out->end - out->cur) < need) && !begin_block(out, need)) {
        return NULL;
    }
    struct resp_block *block = out->tail->block;

    seal_tail(out);
    out->tail->block = NULL;
    char *at = align_up(out->cur);
    struct resp_seg *seg = link_seg(out, at);

    *extra = align_up(at + sizeof(*seg));
    at = align_up(*extra + extra_bytes);
    struct resp_seg *open = link_seg(out, at);

    open->block = block;
    out->cur = align_up(at + sizeof(*open));
    open->data = out->cur;
    return seg;
}

/* ---- writing ---- */

char *
resp_out_reserve_slow(struct resp_out *out, size_t len)
{
    FL_ASSERT(len <= RESP_OUT_RESERVE_MAX);
    return begin_block(out, len) ? out->cur : NULL;
}

void
resp_out_append(struct resp_out *out, const void *data, size_t len)
{
    const char *from = data;
    size_t room = (size_t)(out->end - out->cur);

    if (room < len) {
        if (room > 0) {
            memcpy(out->cur, from, room);
            out->cur += room;
            from += room;
            len -= room;
        }
        if (!begin_block(out, len)) {
            return;
        }
    }
    if (len > 0) {
        memcpy(out->cur, from, len);
        out->cur += len;
    }
}

void *
resp_out_reference(struct resp_out *out, const void *data, size_t len, size_t context_bytes,
                   void (*release)(void *context))
{
    char *context;

    FL_ASSERT(context_bytes <= RESP_OUT_CONTEXT_MAX);
    struct resp_seg *seg = insert_seg(out, context_bytes, &context);

    if (seg == NULL) {
        return NULL;
    }
    memset(context, 0, context_bytes);
    seg->data = data;
    seg->len = len;
    seg->release = release;
    seg->context = context;
    out->sealed += len;
    return context;
}

struct resp_seg *
resp_out_later(struct resp_out *out)
{
    char *room;
    struct resp_seg *seg = insert_seg(out, RESP_OUT_LATER_MAX, &room);

    if (seg != NULL) {
        seg->data = room;
        seg->later = room;
    }
    return seg;
}

void
resp_out_fill(struct resp_out *out, struct resp_seg *later, const void *data, size_t len)
{
    if (later == NULL) {
        return;
    }
    FL_ASSERT(len <= RESP_OUT_LATER_MAX && later->later != NULL);
    memcpy(later->later, data, len);
    later->later = NULL;
    later->len = len;
    out->sealed += len;
}

void
resp_out_move(struct resp_out *out, struct resp_out *from)
{
    FL_ASSERT(from->head_sent == 0 && from->pool == out->pool);
    if (from->head != NULL) {
        const uint64_t begin = resp_out_position(out);

        seal_tail(out);
        if (out->tail != NULL) {
            out->tail->next = from->head;
        } else {
            out->head = from->head;
        }
        out->tail = from->tail;
        out->cur = from->cur;
        out->end = from->end;
        out->sealed = begin + (from->sealed - from->sent);
        from->sent = resp_out_position(from);
        from->head = NULL;
        reset_empty(from);
    }
    if (from->failed || out->failed) {
        out->over |= from->over;
        fail_out(out);
    }
}

/* ---- sending ---- */

static size_t
seg_len(const struct resp_out *out, const struct resp_seg *seg)
{
    return seg == out->tail ? (size_t)(out->cur - seg->data) : seg->len;
}

unsigned
resp_out_iov(struct resp_out *out, uint64_t end, struct iovec *iov, unsigned max)
{
    uint64_t left = end - out->sent;
    size_t skip = out->head_sent;
    unsigned count = 0;

    FL_ASSERT(end >= out->sent && end <= resp_out_position(out));
    for (const struct resp_seg *seg = out->head; seg != NULL && left > 0 && count < max;
         seg = seg->next) {
        const size_t have = seg_len(out, seg) - skip;
        const size_t len = have < left ? have : (size_t)left;

        if (seg->later != NULL) {
            break;
        }
        if (len > 0) {
            iov[count].iov_base = (void *)(uintptr_t)(seg->data + skip);
            iov[count++].iov_len = len;
        }
        left -= len;
        skip = 0;
    }
    return count;
}

/* Let go of the first segment. */
static void
drop_head(struct resp_out *out)
{
    struct resp_seg *seg = out->head;
    struct resp_block *block = seg->block;

    out->head = seg->next;
    out->head_sent = 0;
    if (seg->release != NULL) {
        seg->release(seg->context);
    }
    if (block != NULL) {
        block_put(out->pool, block);
    }
}

void
resp_out_sent(struct resp_out *out, size_t len)
{
    FL_ASSERT(len <= resp_out_pending(out));
    out->sent += len;
    while (out->head != NULL) {
        struct resp_seg *seg = out->head;
        const size_t have = seg_len(out, seg) - out->head_sent;

        if (seg->later != NULL || len < have) {
            out->head_sent += len;
            return;
        }
        len -= have;
        if (seg == out->tail) {
            drop_head(out);
            reset_empty(out);
            return;
        }
        drop_head(out);
    }
}

void
resp_out_clear(struct resp_out *out)
{
    const uint64_t position = resp_out_position(out);

    while (out->head != NULL) {
        drop_head(out);
    }
    out->sent = position;
    out->failed = false;
    out->over = false;
    reset_empty(out);
}

/* A connection's output: bytes queued for sending, in blocks that never move, with references to
 * big values in between.
 *
 * Bytes are counted from the connection's first, so that a position names a place in the stream for
 * good: a server notes the position behind each reply and sends only up to the last one whose
 * commit is durable.
 *
 * Threads: one; so has the pool, which several outputs of that thread share.
 */
#ifndef FL_PROTO_RESP_OUT_H
#define FL_PROTO_RESP_OUT_H

#include <faultline/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct resp_seg;
struct resp_block;

/* Spare blocks, so that output in steady state allocates nothing. */
struct resp_pool {
    struct resp_block *spare[2];
    uint32_t spare_count[2];
    uint32_t spare_max; /* of each size */
};

/* Keep up to `spare_max` blocks of each size (2 KiB and 16 KiB). Owner: the caller;
 * resp_pool_deinit() after every output that uses it. */
void resp_pool_init(struct resp_pool *pool, uint32_t spare_max);
void resp_pool_deinit(struct resp_pool *pool);

/* `protocol` (2 or 3) and `pending_max` may be set at any time between replies. The rest is the
 * output's own. */
struct resp_out {
    char *cur; /* room of the last segment: from cur to end */
    char *end;
    struct resp_seg *head;
    struct resp_seg *tail;
    uint64_t sent;    /* position of the first byte not yet sent */
    uint64_t sealed;  /* position of the last segment's first byte */
    size_t head_sent; /* bytes of the first segment that were sent */
    /* With more than this queued, give or take a block, the output fails; 0, as at first: never. */
    uint64_t pending_max;
    struct resp_pool *pool;
    uint8_t protocol;
    bool failed;
    bool over; /* failed for pending_max */
};

/* Owner: the caller; resp_out_deinit() drops what was not sent and releases its references. `pool`
 * may be NULL. Allocates nothing before the first byte, and holds nothing once all is sent. */
void resp_out_init(struct resp_out *out, struct resp_pool *pool);
void resp_out_deinit(struct resp_out *out);

/* Drop what was not sent; positions go on as if it had been, and a failure is forgotten. For output
 * that nobody wants (CLIENT REPLY OFF is an output of its own that is cleared). Not while a send is
 * in flight. */
void resp_out_clear(struct resp_out *out);

/* Memory ran out, or pending_max was reached: bytes are missing from the stream and the connection
 * must be closed. Writers go on and do nothing, so that it need be asked only once, before sending;
 * what writes without a bound asks now and then, to stop. */
static inline bool
resp_out_failed(const struct resp_out *out)
{
    return out->failed;
}

/* Position behind the last byte queued; and bytes queued but not sent. */
uint64_t resp_out_position(const struct resp_out *out);
static inline size_t
resp_out_pending(const struct resp_out *out)
{
    return (size_t)(resp_out_position(out) - out->sent);
}

/* Queue a copy of `len` bytes. */
void resp_out_append(struct resp_out *out, const void *data, size_t len);

/* Room for `len` bytes in one piece, at most RESP_OUT_RESERVE_MAX, NULL without memory; then
 * resp_out_advance() by what was written. */
enum { RESP_OUT_RESERVE_MAX = 8 * 1024 };
char *resp_out_reserve_slow(struct resp_out *out, size_t len);

static inline char *
resp_out_reserve(struct resp_out *out, size_t len)
{
    return (size_t)(out->end - out->cur) >= len ? out->cur : resp_out_reserve_slow(out, len);
}

static inline void
resp_out_advance(struct resp_out *out, size_t len)
{
    out->cur += len;
}

/* Queue `len` bytes without copying them. They must stay as they are until `release` is called:
 * once, when the last of them was sent or dropped. Returns `context_bytes` (at most
 * RESP_OUT_CONTEXT_MAX) of memory, aligned for any type and zeroed, which the caller fills now and
 * `release` gets: a struct fl_view, say. NULL without memory (the output has failed, `release` will
 * not be called). */
enum { RESP_OUT_CONTEXT_MAX = 128 };
void *resp_out_reference(struct resp_out *out, const void *data, size_t len, size_t context_bytes,
                         void (*release)(void *context));

/* Queue all that `from` holds behind what `out` holds, references and all, without copying. The two
 * share a pool; nothing of `from` was sent, and nothing of it is to be filled later. */
void resp_out_move(struct resp_out *out, struct resp_out *from);

/* A place to be filled later, with at most RESP_OUT_LATER_MAX bytes: an aggregate's count that is
 * known only behind its elements. Nothing behind it may be sent before. NULL without memory. */
enum { RESP_OUT_LATER_MAX = 32 };
struct resp_seg *resp_out_later(struct resp_out *out);
void resp_out_fill(struct resp_out *out, struct resp_seg *later, const void *data, size_t len);

/* Describe what is queued before the position `end` in up to `max` pieces; returns their number.
 * They stay valid, whatever is queued meanwhile, until resp_out_sent(). */
unsigned resp_out_iov(struct resp_out *out, uint64_t end, struct iovec *iov, unsigned max);

/* The first `len` bytes that are queued were sent. */
void resp_out_sent(struct resp_out *out, size_t len);

#endif

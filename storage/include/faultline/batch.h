/* Batches: many changes, one atomic durable commit; and commits that complete later. */
#ifndef FAULTLINE_BATCH_H
#define FAULTLINE_BATCH_H

#include <faultline/faultline.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A set of changes that becomes durable and visible as a whole or not at all. It is indexed: reads through
 * it see its own pending changes, then those of batches submitted before it on this store that are
 * not yet durable, then the store.
 *
 * Threads: one at a time. Several batches may be filled at once, but reads see only what was
 * submitted, never what is pending in another batch: a program with several writers that decides on what
 * it has read uses fl_batch_require(). */
struct fl_batch;

/* Owner: the caller; fl_batch_destroy() drops what was not committed. */
FL_API FL_NODISCARD fl_status fl_batch_create(struct fl_store *store, struct fl_batch **out);
FL_API void fl_batch_destroy(struct fl_batch *batch);
FL_API void fl_batch_clear(struct fl_batch *batch);

/* Add a change. Key and value are copied. Space is claimed now, so that the commit can't run out.
 * Conditions are judged now, against what fl_batch_get_view() would see; nothing is added if one fails.
 * Errors: the condition's; FL_NO_SPACE, FL_TOO_LARGE (see FL_BATCH_BYTES_MAX), FL_INVALID, FL_NO_MEMORY,
 * FL_READ_ONLY. After any of them the batch is as before. */
FL_API FL_NODISCARD fl_status fl_batch_put(struct fl_batch *batch, struct fl_key key,
                                           struct fl_bytes value,
                                           const struct fl_put_options *options);
/* FL_NOT_FOUND if the key is not there. */
FL_API FL_NODISCARD fl_status fl_batch_delete(struct fl_batch *batch, struct fl_key key);

/* `blob` must be full. On FL_OK the batch owns it. */
FL_API FL_NODISCARD fl_status fl_batch_put_blob(struct fl_batch *batch, struct fl_key key,
                                                struct fl_blob *blob,
                                                const struct fl_put_options *options);

/* Give `to` the value of `from` without moving a big value's bytes: rename is this and a delete of
 * `from`, in one batch. options may be NULL: keep the deadline and type of `from`; otherwise deadline and
 * type are those in options. FL_NOT_FOUND if `from` isn't there. `from` may equal `to`: that
 * changes only the deadline or type. */
FL_API FL_NODISCARD fl_status fl_batch_put_from(struct fl_batch *batch, struct fl_key to,
                                                struct fl_key from,
                                                const struct fl_put_options *options);

/* As fl_get_view(), through the batch. view->ticket is 0 if what was seen (or found missing) is durable;
 * UINT64_MAX if it is pending in this batch; else the ticket to wait for.
 * It is set on FL_NOT_FOUND as well. The view ends with fl_view_release(), and one of what is pending in this batch
 * with fl_batch_clear() or the batch's next change, if that is first. */
FL_API FL_NODISCARD fl_status fl_batch_get_view(struct fl_batch *batch, struct fl_key key,
                                                struct fl_view *view);

/* As fl_get_range(), through the batch; the rest as fl_batch_get_view(). */
FL_API FL_NODISCARD fl_status fl_batch_get_range(struct fl_batch *batch, struct fl_key key,
                                                 size_t off, size_t len, struct fl_view *view);

/* As fl_get_info(), through the batch; info->ticket as view->ticket above, on FL_NOT_FOUND as well. */
FL_API FL_NODISCARD fl_status fl_batch_get_info(struct fl_batch *batch, struct fl_key key,
                                                struct fl_info *info);

/* Make the commit fail with FL_CONFLICT, changing nothing, unless `key` then has version `lsn` (0: absent). */
FL_API FL_NODISCARD fl_status fl_batch_require(struct fl_batch *batch, struct fl_key key,
                                               uint64_t lsn);

FL_API size_t fl_batch_count(const struct fl_batch *batch); /* changes in it */
FL_API size_t fl_batch_bytes(const struct fl_batch *batch); /* their encoded size */

/* Forget every change added after the mark: a failed MULTI or script leaves nothing behind. */
FL_API size_t fl_batch_mark(const struct fl_batch *batch);
FL_API void fl_batch_rollback(struct fl_batch *batch, size_t mark);

/* Commit and wait. The batch is empty afterwards, whatever is returned.
 * Durable: all of it on FL_OK, none of it otherwise, but for FL_IO: unknown until the next open. */
FL_API FL_NODISCARD fl_status fl_batch_commit(struct fl_batch *batch);

/* Commit without waiting. Takes the changes out of `batch`, which is empty and usable at once; *ticket is
 * what to wait for (0: nothing to wait for, all durable already). Tickets rise from 1, and what they stand for
 * becomes durable in their order, whatever threads submit. Where a fence is enough (dax, volatile), with
 * options.background off, and of a batch with fl_batch_require() the commit is done on return, and the ticket 0.
 * Errors: as fl_batch_commit() for what can be told at once; FL_IO if a batch submitted before failed. */
FL_API FL_NODISCARD fl_status fl_batch_submit(struct fl_batch *batch, uint64_t *ticket);

/* The last durable ticket; every one up to it is durable. It only rises. */
FL_API uint64_t fl_durable_ticket(struct fl_store *store);

/* Wait until `ticket` is durable. FL_IO: it failed, and so did all after it. */
FL_API FL_NODISCARD fl_status fl_wait(struct fl_store *store, uint64_t ticket);

/* An eventfd that becomes readable when fl_durable_ticket() has advanced or a commit has failed
 * (then fl_commit_status() is FL_IO). The store owns it; the reader reads 8 bytes to reset it. */
FL_API int fl_event_fd(struct fl_store *store);
FL_API fl_status fl_commit_status(struct fl_store *store);

#ifdef __cplusplus
}
#endif
#endif

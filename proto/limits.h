/* Every bound of the protocol, with its reason. What a peer sends is checked against these before
 * anything is allocated for it.
 *
 * "Redis" below is Redis 7.0, whose limits clients have been written against.
 */
#ifndef FL_PROTO_LIMITS_H
#define FL_PROTO_LIMITS_H

enum {
    /* ---- requests ---- */

    /* An inline request without its LF, and a line "*N" or "$N" without its CR. Redis: 64 KiB. */
    RESP_LINE_BYTES_MAX = 64 * 1024,

    /* Arguments of one request. Redis's documented limit; 7.0 lets it go up to 2^31 - 1, which no
     * client uses and which would let one request hold 16 GiB of slices. */
    RESP_ARGS_MAX = 1024 * 1024,

    /* One argument, and the default of proto-max-bulk-len. Redis: 512 MiB; also the longest value
     * of a store. */
    RESP_BULK_BYTES_MAX = 512 * 1024 * 1024,

    /* One request in the input buffer, streamed arguments not counted. Redis's
     * client-query-buffer-limit: 1 GiB. Offsets into a request fit 32 bits because of it. */
    RESP_REQUEST_BYTES_MAX = 1024 * 1024 * 1024,

    /* What a client may send that has not authenticated: enough for AUTH and HELLO, too little to
     * hurt. Redis since 6.2.6 (CVE-2021-32675). */
    RESP_UNAUTH_ARGS_MAX = 10,
    RESP_UNAUTH_BULK_BYTES_MAX = 16 * 1024,

    /* An argument at least as long as this is worth streaming into storage: the length from which a
     * store gives a value a place of its own. */
    RESP_STREAM_BYTES_MIN = 256 * 1024,

    /* A key. The API's limit (FL_KEY_BYTES_MAX), checked by commands, not by the parser. */
    RESP_KEY_BYTES_MAX = 64 * 1024,

    /* Slots for arguments at first: more than any command has that isn't variadic. 128 bytes. */
    RESP_ARGV_SLOTS_MIN = 16,
    /* More slots than this are given back when a connection is idle. 8 KiB. */
    RESP_ARGV_SLOTS_IDLE_MAX = 1024,

    /* ---- replies ---- */

    /* Aggregates inside each other. COMMAND DOCS, the deepest reply of Redis, has 13. */
    RESP_NESTING_MAX = 64,

    /* Elements of one reply, all levels together: 2 GiB of nodes. */
    RESP_REPLY_NODES_MAX = 128 * 1024 * 1024,

    /* A simple string, an error, a number: anything that ends with its line. Errors of scripts are
     * the longest in practice, some KiB. */
    RESP_REPLY_LINE_BYTES_MAX = 1024 * 1024,

    /* ---- output ---- */

    /* A reply by reference costs an iovec and a guard on the store; below this a copy is cheaper.
     * */
    RESP_REFERENCE_BYTES_MIN = 32 * 1024,

    /* An error line that we send. Redis cuts what it quotes from a request at 128 bytes. */
    RESP_ERROR_BYTES_MAX = 512,
};

#endif

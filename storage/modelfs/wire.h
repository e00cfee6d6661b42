/* What a host of a model device and its clients say to each other, over a unix socket that keeps messages whole
 * (SOCK_SEQPACKET).
 *
 *   client                                host
 *   HELLO + userfaultfd          ───►
 *                                ◄───     WELCOME + live, persisted, control
 *   a call: CREATE .. FIGURES    ───►
 *                                ◄───     REPLY: status, text, values
 *                                ◄───     an order: INSTALL, PREPARE, PLACE, VOID, BUS, OFF
 *   DONE                         ───►
 *
 * Orders are carried out and answered one after the other, in the order in which they come. A host believes
 * nothing: every message has one size, given by its kind, and fields in range (wire_call_check()), or the client is
 * dropped. Both ends are of one build: WIRE_VERSION says so.
 */
#ifndef FL_STORAGE_MODELFS_WIRE_H
#define FL_STORAGE_MODELFS_WIRE_H

#include <faultline/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

enum {
    WIRE_VERSION = 1,
    WIRE_NAME_BYTES = 200, /* with the NUL */
    WIRE_TEXT_BYTES = 236,
    WIRE_DATA_BYTES_MAX = 65536,
    WIRE_FDS_MAX = 3,
    WIRE_VALUES = 8,
    WIRE_POPULATE_BYTES_MAX =
        64 * 1024 * 1024, /* of one call: the host serves nobody else meanwhile */
};

/* From a client. */
enum wire_call_kind {
    WIRE_HELLO = 1, /* flags: enum uffd_lacks; off: WIRE_VERSION; one descriptor */
    WIRE_DONE,      /* id: of the order; flags: 0, or it failed; address: PREPARE's */
    WIRE_CREATE,
    WIRE_UNLINK,
    WIRE_RENAME,
    WIRE_CLONE,
    WIRE_SIZE,
    WIRE_READ,
    WIRE_WRITE, /* the bytes follow */
    WIRE_TRUNCATE,
    WIRE_ALLOCATE, /* flags: 1 keeps the size */
    WIRE_PUNCH,
    WIRE_COLLAPSE,
    WIRE_FSYNC,
    WIRE_MAP, /* flags: enum mfs_map_kind; map: a number of the client's choice; address; one descriptor */
    WIRE_UNMAP,
    WIRE_POPULATE,
    WIRE_POWERCUT, /* off: the seed */
    WIRE_FIGURES,
    WIRE_CALL_KINDS,
};

struct wire_call {
    uint32_t kind;
    uint32_t flags;
    uint64_t id;
    uint64_t off;
    uint64_t len;
    uint64_t address;
    uint32_t map;
    uint32_t data_bytes; /* that follow */
    char name[WIRE_NAME_BYTES];
    char to[WIRE_NAME_BYTES];
};

/* From the host. */
enum wire_note_kind {
    WIRE_WELCOME = 1, /* values: device's bytes, data_off, block_bytes, host's pid; descriptors */
    WIRE_REPLY,       /* id: of the call */
    /* Orders. Let blocks [block, block + blocks) of the mapping lead to ... */
    WIRE_INSTALL, /* ... physical blocks from `phys` on */
    WIRE_PREPARE, /* the same, but stop before they are in place and say where they are */
    WIRE_PLACE,   /* what was prepared at values[0] */
    WIRE_VOID,    /* ... nothing: they fault */
    WIRE_BUS,     /* ... nothing: an access raises SIGBUS */
    WIRE_OFF,     /* the power is cut: all mappings end */
};

struct wire_note {
    uint32_t kind;
    int32_t status;
    uint64_t id;
    uint32_t map;
    uint32_t block;
    uint32_t blocks;
    uint32_t phys;
    uint64_t values[WIRE_VALUES];
    uint32_t data_bytes; /* that follow */
    char text[WIRE_TEXT_BYTES];
};

/* Whether a message of `bytes` bytes with `fds` descriptors is a call that can be served: the size fits the kind, names
 * end and are there where needed, ranges don't wrap. */
FL_NODISCARD bool wire_call_check(const struct wire_call *call, size_t bytes, size_t fds);

/* One message. FL_AGAIN: not without waiting (`wait` false), nothing was sent; FL_CLOSED: the other side is gone. */
FL_NODISCARD fl_status wire_send(int socket, const void *head, size_t head_bytes, const void *data,
                                 size_t data_bytes, const int *fds, size_t fds_count, bool wait);

struct wire_received {
    size_t bytes;
    size_t fds_count;
    int fds[WIRE_FDS_MAX]; /* the receiver's to close */
};
/* One message of at most `size` bytes. FL_PROTOCOL: it is longer, or brings too many descriptors; it is gone. */
FL_NODISCARD fl_status wire_receive(int socket, void *buf, size_t size, bool wait,
                                    struct wire_received *out);
void wire_close_fds(struct wire_received *received);

/* Where the host of the device at `path`, which is there, listens. */
struct wire_address {
    struct sockaddr_un name;
    socklen_t bytes;
};
FL_NODISCARD fl_status wire_address(const char *path, struct wire_address *out);

#endif

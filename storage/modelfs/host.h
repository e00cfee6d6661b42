/* Hosting a model device: one process serves the files of a device and answers the page faults of all who map them.
 *
 * A host has one thread. It listens on a unix socket beside the device ("<device>.sock"; an abstract name
 * where that is too long), takes clients (fl_modelfs_attach() in this or any other process of the same user), and
 * calls the filesystem core under one lock. Other threads of the hosting process, those of a FUSE mount say, call
 * the core too, between mfs_host_lock() and mfs_host_unlock().
 *
 * A client that dies is cleaned up after: what it dirtied is flushed, its mappings end. One that is stopped holds
 * nobody up. One that breaks the protocol is killed if its mapping could not be taken back otherwise.
 */
#ifndef FL_STORAGE_MODELFS_HOST_H
#define FL_STORAGE_MODELFS_HOST_H

#include "storage/modelfs/fs.h"

struct mfs_host;

struct mfs_host_options {
    bool format;              /* if the device's file is absent, make it */
    uint64_t size_bytes;      /* for `format`; 0: 1 GiB */
    struct mfs_format layout; /* for `format` */
    enum mfs_mutant mutant;
};

/* Open, lock and mount the device at `path` and listen for clients; none is served yet.
 *
 * Owner:  the caller, mfs_host_destroy().
 * Errors: FL_BUSY (another host has the device, or a process that was its client still has), FL_NOT_FOUND, and as
 *         mfs_media_open(), mfs_format(), mfs_mount() */
FL_NODISCARD fl_status mfs_host_create(const char *path, const struct mfs_host_options *options,
                                       struct mfs_host **out);
/* Serve from a thread of its own. FL_NO_MEMORY. */
FL_NODISCARD fl_status mfs_host_start(struct mfs_host *host);
/* Take mappings and clients away, commit, unmount, stop listening, free. Clients' accesses raise SIGBUS from then on,
 * their calls return FL_CLOSED. */
void mfs_host_destroy(struct mfs_host *host);

/* The filesystem, for one caller at a time; NULL once the power was cut. mfs_host_unlock() in both cases.
 * Threads: any. No access to a mapping of this device between the two: its fault would wait for the lock. */
struct mfs *mfs_host_lock(struct mfs_host *host);
void mfs_host_unlock(struct mfs_host *host);

/* With the lock held: the device, NULL once the power was cut. */
struct mfs_media *mfs_host_media(struct mfs_host *host);
/* Where the host listens, for people: a path, or "@name" if abstract. Valid as long as the host. */
const char *mfs_host_address(const struct mfs_host *host);
/* Readable once the host has ended without being told to: the power was cut by a client. Owned by the host. */
int mfs_host_ended_fd(const struct mfs_host *host);

/* With the lock held: cut the power. Every process that is attached is killed, but for this one and `spare` (a pid;
 * 0: none), whose mappings end instead; then the image is left as a crash would, drawn from `seed` as in
 * mfs_media_cut_random(). The host serves nobody after that. FL_BUSY: a process could not be killed; nothing is cut. */
FL_NODISCARD fl_status mfs_host_powercut(struct mfs_host *host, uint64_t seed, int spare);

/* Take one end of a socket pair (SOCK_SEQPACKET) as a client's connection: how a client in this process attaches. The
 * descriptor is the host's from then on, also if it fails. Threads: any. */
FL_NODISCARD fl_status mfs_host_adopt(struct mfs_host *host, int fd);

/* Now connected, this process's own among them. Threads: any. */
unsigned mfs_host_clients(struct mfs_host *host);

#endif

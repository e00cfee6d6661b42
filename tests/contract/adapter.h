/* A filesystem as the rules see it: the model in this process, the model behind its client library, or a Linux
 * filesystem. One struct of calls; what one of them hasn't got is NULL there, and the facts that need it are "-".
 *
 * Blocks are of 4096 bytes everywhere. A status is that of the model; a Linux adapter says which errno is which.
 */
#ifndef FL_TESTS_CONTRACT_ADAPTER_H
#define FL_TESTS_CONTRACT_ADAPTER_H

#include <faultline/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { BLOCK = 4096 };

enum extent { EXTENT_HOLE, EXTENT_UNWRITTEN, EXTENT_WRITTEN };
enum flag { FLAG_NONE, FLAG_CLEAR, FLAG_SET }; /* FLAG_NONE: this filesystem has no such thing */

struct adapter;
struct mapping; /* of the adapter's */

struct adapter_ops {
    fl_status (*create)(struct adapter *a, const char *name);
    fl_status (*rename)(struct adapter *a, const char *from, const char *to);
    fl_status (*size)(struct adapter *a, const char *name, uint64_t *bytes);
    fl_status (*read)(struct adapter *a, const char *name, uint64_t off, void *buf, size_t len,
                      size_t *done);
    fl_status (*write)(struct adapter *a, const char *name, uint64_t off, const void *buf,
                       size_t len);
    fl_status (*truncate)(struct adapter *a, const char *name, uint64_t bytes);
    fl_status (*allocate)(struct adapter *a, const char *name, uint64_t off, uint64_t len);
    fl_status (*punch)(struct adapter *a, const char *name, uint64_t off, uint64_t len);
    fl_status (*collapse)(struct adapter *a, const char *name, uint64_t off, uint64_t len);
    fl_status (*clone)(struct adapter *a, const char *from, const char *to);
    fl_status (*sync)(struct adapter *a,
                      const char *name); /* file and directory; NULL: everything */

    /* FL_IO of a load or a store: SIGBUS. */
    fl_status (*map)(struct adapter *a, const char *name, uint32_t blocks, bool nosync,
                     struct mapping **out);
    void (*unmap)(struct adapter *a, struct mapping *map);
    fl_status (*load)(struct adapter *a, struct mapping *map, uint64_t off, void *buf, size_t len);
    fl_status (*store)(struct adapter *a, struct mapping *map, uint64_t off, const void *src,
                       size_t len);
    fl_status (*flush)(struct adapter *a, struct mapping *map, uint64_t off, size_t len);
    fl_status (*fence)(struct adapter *a);
    /* Its error as it is: a status' name, or an errno's. NULL: done. */
    const char *(*populate)(struct adapter *a, struct mapping *map, uint32_t block,
                            uint32_t blocks);

    /* Of everything so far. */
    uint64_t (*commits)(struct adapter *a);
    uint64_t (*faults)(struct adapter *a);
    enum extent (*extent)(struct adapter *a, const char *name, uint32_t block);
    enum flag (*flag)(struct adapter *a, const char *name, uint32_t block);

    /* A no-sync request where it can't be granted; the same without the flag that has it checked. */
    fl_status (*map_unsupported)(struct adapter *a);
    fl_status (*map_unchecked)(struct adapter *a);
    /* From now on no commit succeeds, until the next mount. */
    fl_status (*fail_commits)(struct adapter *a);
    /* A power cut right after recovery, and recovery again: the commits that this one needed. */
    uint64_t (*recover_again)(struct adapter *a);

    /* Another process that runs a body of contract_body() with an adapter of its own on the same filesystem; what the
     * body returns is its exit status. With `inherited` it is a child of fork() that may try this one's mapping. */
    pid_t (*spawn)(struct adapter *a, const char *body, struct mapping *inherited);
};

struct adapter {
    const struct adapter_ops *ops;
    bool loses_lines; /* a power cut takes what was not flushed: not so in a virtual machine */
};

#endif

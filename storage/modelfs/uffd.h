/* userfaultfd: the kernel calls, with their partial results and quirks dealt with.
 *
 * A descriptor belongs to the address space that made it, whoever calls: the host acts on its clients' page tables
 * through the descriptors that they sent it. Ranges are whole pages. FL_AGAIN: the address space is being changed;
 * its events must be read, then the call is made again. FL_CLOSED: the address space is gone, its process dead.
 * FL_NOT_FOUND: nothing that is registered is mapped there.
 */
#ifndef FL_STORAGE_MODELFS_UFFD_H
#define FL_STORAGE_MODELFS_UFFD_H

#include <faultline/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UFFD_PAGE_BYTES = 4096, UFFD_ZEROS_BYTES_MAX = 65536 };

/* What this kernel can't do, found by trying. */
enum uffd_lacks {
    UFFD_LACKS_CONTINUE_PROTECTED =
        1,                        /* before 6.4: map a page that is there write-protected at once */
    UFFD_LACKS_KERNEL_ACCESS = 2, /* no permission: read(2) into a mapping would return EFAULT */
};

/* A descriptor for this process, non-blocking. FL_NOT_SUPPORTED: the text says what to do. */
FL_NODISCARD fl_status uffd_open(int *out, unsigned *lacks);
FL_NODISCARD fl_status uffd_register(int fd, uintptr_t address, size_t len);

/* Map what the page cache has; pages that are mapped already stay as they are. FL_INVALID: a page isn't
 * in the page cache. Nobody is woken. */
FL_NODISCARD fl_status uffd_map(int fd, uintptr_t address, size_t len, bool protected_);
/* Map new pages of zeros, write-protected, at most UFFD_ZEROS_BYTES_MAX. FL_EXISTS: one is there, in the file or
 * mapped. Nobody is woken. */
FL_NODISCARD fl_status uffd_map_zeros(int fd, uintptr_t address, size_t len);
/* After FL_OK no store gets through, or (`on` false) stores do. Nobody is woken. */
FL_NODISCARD fl_status uffd_protect(int fd, uintptr_t address, size_t len, bool on);
void uffd_wake(int fd, uintptr_t address, size_t len);

enum uffd_event_kind { UFFD_FAULT = 1, UFFD_MOVED, UFFD_OTHER };
struct uffd_event {
    enum uffd_event_kind kind;
    bool write;        /* fault: by a store */
    bool present;      /* fault: the page is there, but write-protected */
    uintptr_t address; /* fault: page aligned; moved: from where */
    uintptr_t to;
    size_t len;
};
/* The next event; false: none now. */
bool uffd_next(int fd, struct uffd_event *out);

#endif

/* Preloaded into the server, it takes MAP_SYNC out of every mapping: the kernel is asked for a plain one, the server
 * believes that it has the other. What it acknowledges then must be lost in a power cut, or the test
 * that looks for losses can't see any.
 */
#include <dlfcn.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/types.h>

__attribute__((visibility("default"))) void *
mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
    static void *(*next)(void *, size_t, int, int, int, off_t);

    if (next == NULL) {
        *(void **)&next = dlsym(RTLD_NEXT, "mmap");
    }
    if ((flags & MAP_SYNC) != 0) {
        flags = (flags & ~(MAP_SYNC | MAP_SHARED_VALIDATE)) | MAP_SHARED;
    }
    return next(addr, len, prot, flags, fd, off);
}

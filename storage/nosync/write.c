/* Writing to the file by system calls, all of it or an errno. */
#include "storage/nosync/file.h"

#include <errno.h>
#include <unistd.h>

int
file_write_all(int fd, struct iovec *vec, int vec_count, uint64_t off, int flags)
{
    while (vec_count > 0) {
        const ssize_t n = pwritev2(fd, vec, vec_count, (off_t)off, flags);

        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            return errno;
        }
        if (n == 0) {
            return EIO; /* a file that takes nothing and says nothing */
        }
        off += (uint64_t)n;
        /* What a short write left over: whole elements first, then a part of one. */
        size_t done = (size_t)n;

        while (vec_count > 0 && done >= vec->iov_len) {
            done -= vec->iov_len;
            vec++;
            vec_count--;
        }
        if (vec_count > 0 && done > 0) {
            vec->iov_base = (uint8_t *)vec->iov_base + done;
            vec->iov_len -= done;
        }
    }
    return 0;
}

int
file_write_zeros(struct nosync_file *file, uint64_t off, uint64_t len)
{
    enum { PIECE = 64 * 1024, VEC = 64 };
    static const uint8_t zeros[PIECE];

    while (len > 0) {
        struct iovec vec[VEC];
        uint64_t planned = 0;
        int vec_count = 0;

        while (vec_count < VEC && planned < len) {
            const uint64_t left = len - planned;

            vec[vec_count].iov_base = (void *)(uintptr_t)zeros;
            vec[vec_count].iov_len = left < PIECE ? (size_t)left : PIECE;
            planned += vec[vec_count++].iov_len;
        }
        const int error = file_write_all(file->fd, vec, vec_count, off, 0);

        if (error != 0) {
            return error;
        }
        off += planned;
        len -= planned;
    }
    return 0;
}

void
file_undo_growth(struct nosync_file *file, uint64_t end_before, uint64_t off, uint64_t len)
{
    uint64_t end = 0;

    if (file_size(file, &end) == FL_OK && end_before <= off && end > off && end <= off + len) {
        (void)!ftruncate(file->fd, (off_t)off);
    } else {
        file_give_back(file, off, len);
    }
}

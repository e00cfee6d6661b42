/* cp: between ordinary files and files of a device, or from one device to another. Bytes only (rule C8). */
#include "storage/modelfs/tool/place.h"
#include "storage/modelfs/tool/tool.h"

#include "base/bytes.h"
#include "base/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE_BYTES = 1024 * 1024 };

/* One end of a copy: a file of a device, or a descriptor of an ordinary one. */
struct end {
    const char *text; /* as it was given */
    char *device;     /* NULL: an ordinary file */
    const char *name;
    struct place *place; /* of the device; both ends may have one place */
    struct place own;
    int fd;
};

static void
end_parse(const char *text, struct end *end)
{
    *end = (struct end){.text = text, .fd = -1};
    (void)place_parse(text, &end->device, &end->name);
}

static bool
same_device(const struct end *a, const struct end *b)
{
    struct stat first;
    struct stat second;

    return a->device != NULL && b->device != NULL && stat(a->device, &first) == 0 &&
           stat(b->device, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

static fl_status
open_plain(struct end *end, int flags, int standard)
{
    end->fd = strcmp(end->text, "-") == 0 ? fcntl(standard, F_DUPFD_CLOEXEC, 0)
                                          : open(end->text, flags | O_CLOEXEC, 0666);
    if (end->fd < 0) {
        return FL_FAIL_ERRNO(errno == ENOENT ? FL_NOT_FOUND : FL_IO, "open %s", end->text);
    }
    return FL_OK;
}

static fl_status
from_open(struct end *from, bool read_only)
{
    if (from->device == NULL) {
        return open_plain(from, O_RDONLY, STDIN_FILENO);
    }
    const fl_status status = place_open(from->device, read_only, &from->own);

    from->place = status == FL_OK ? &from->own : NULL;
    return status;
}

/* The file is there, and empty. */
static fl_status
to_prepare(struct end *to)
{
    const fl_status status = place_create(to->place, to->name);

    return status == FL_EXISTS ? place_truncate(to->place, to->name, 0) : status;
}

static fl_status
to_open(struct end *to, struct end *from)
{
    if (to->device == NULL) {
        return open_plain(to, O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO);
    }
    if (same_device(to, from)) {
        to->place = from->place;
        if (strcmp(to->name, from->name) == 0) {
            return FL_FAIL(FL_INVALID, "%s and %s are the same file", from->text, to->text);
        }
    } else {
        const fl_status status = place_open(to->device, false, &to->own);

        if (status != FL_OK) {
            return status;
        }
        to->place = &to->own;
    }
    return to_prepare(to);
}

static fl_status
end_read(struct end *end, uint64_t off, uint8_t *buf, size_t *done)
{
    if (end->place != NULL) {
        return place_read(end->place, end->name, off, buf, PIECE_BYTES, done);
    }
    *done = 0;
    while (*done < PIECE_BYTES) {
        const ssize_t n = read(end->fd, buf + *done, PIECE_BYTES - *done);

        if (n == 0) {
            break;
        }
        if (n < 0 && errno != EINTR) {
            return FL_FAIL_ERRNO(FL_IO, "read %s", end->text);
        }
        *done += n > 0 ? (size_t)n : 0;
    }
    return FL_OK;
}

static fl_status
end_write(struct end *end, uint64_t off, const uint8_t *buf, size_t len)
{
    size_t done = 0;

    if (end->place != NULL) {
        return bytes_are_zero(buf, len) ? FL_OK
                                        : place_write(end->place, end->name, off, buf, len, &done);
    }
    while (done < len) {
        const ssize_t n = write(end->fd, buf + done, len - done);

        if (n < 0 && errno != EINTR) {
            return FL_FAIL_ERRNO(errno == ENOSPC ? FL_NO_SPACE : FL_IO, "write %s", end->text);
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return FL_OK;
}

/* Zeros become holes on a device: the file is empty, and reads as zeros up to the size that it gets at the end. */
static fl_status
copy(struct end *from, struct end *to)
{
    uint8_t *buf = malloc(PIECE_BYTES);
    uint64_t off = 0;
    size_t len = 0;
    fl_status status = FL_OK;

    if (buf == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "a buffer");
    }
    do {
        status = end_read(from, off, buf, &len);
        if (status == FL_OK && len > 0) {
            status = end_write(to, off, buf, len);
        }
        off += len;
    } while (status == FL_OK && len > 0);
    free(buf);
    return status == FL_OK && to->place != NULL ? place_truncate(to->place, to->name, off) : status;
}

static fl_status
end_close(struct end *end, fl_status status)
{
    if (end->place == &end->own) {
        status = place_close(end->place, status);
    }
    if (end->fd >= 0 && close(end->fd) != 0 && status == FL_OK) {
        status = FL_FAIL_ERRNO(FL_IO, "close %s", end->text);
    }
    free(end->device);
    return status;
}

int
tool_cp(const struct tool_command *command, int argc, char **argv)
{
    struct end from;
    struct end to;
    int result;

    if (!tool_plain(command, argc, argv, 2, 2, &result)) {
        return result;
    }
    end_parse(argv[optind], &from);
    end_parse(argv[optind + 1], &to);
    if (from.device == NULL && to.device == NULL) {
        return tool_usage(command, "neither '%s' nor '%s' is DEVICE:NAME of a device that is there",
                          from.text, to.text);
    }
    fl_status status = from_open(&from, !same_device(&from, &to));
    const char *what = from.text;

    if (status == FL_OK) {
        what = to.text;
        status = to_open(&to, &from);
    }
    if (status == FL_OK) {
        status = copy(&from, &to);
    }
    status = end_close(&to, status);
    status = end_close(&from, status);
    return status == FL_OK ? TOOL_DONE : tool_failed(command, status, what);
}

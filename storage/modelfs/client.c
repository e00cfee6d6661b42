#include "storage/modelfs/client.h"

#include "base/fail.h"
#include "base/mem.h"

#include <string.h>
#include <unistd.h>

fl_status
client_check(const struct fl_modelfs *fs)
{
    return fs->pid == getpid()
               ? FL_OK
               : FL_FAIL(FL_INVALID, "a model device that process %d attached to, not this child",
                         (int)fs->pid);
}

fl_status
client_name(char *to, const char *name)
{
    const size_t length = name != NULL ? strlen(name) : WIRE_NAME_BYTES;

    if (length >= WIRE_NAME_BYTES) {
        return FL_FAIL(FL_INVALID, "a name has at most %d bytes", WIRE_NAME_BYTES - 1);
    }
    memcpy(to, name, length);
    memset(to + length, 0, WIRE_NAME_BYTES - length);
    return FL_OK;
}

/* ---- calls ---- */

static fl_status
enter(struct fl_modelfs *fs, struct client_call *call)
{
    (void)pthread_mutex_lock(&fs->lock);
    const bool closed = fs->closed;
    if (!closed) {
        call->id = ++fs->ids;
        call->next = fs->calls;
        fs->calls = call;
    }
    (void)pthread_mutex_unlock(&fs->lock);
    return closed ? FL_FAIL(FL_CLOSED, "%s", fs->why) : FL_OK;
}

fl_status
client_call(struct fl_modelfs *fs, struct wire_call *call, const void *data, int fd,
            struct wire_note *reply, void *reply_data)
{
    struct client_call own = {.data = reply_data};

    fl_status status = client_check(fs);
    if (status == FL_OK) {
        status = enter(fs, &own);
    }
    if (status != FL_OK) {
        return status;
    }
    (void)pthread_cond_init(&own.changed, NULL);
    call->id = own.id;
    /* If it can't be sent the agent learns so too, and ends the wait. Only then is nothing of ours in its hands. */
    if (wire_send(fs->socket, call, sizeof(*call), data, call->data_bytes, &fd, fd >= 0 ? 1 : 0,
                  true) != FL_OK) {
        (void)shutdown(fs->socket, SHUT_RDWR);
    }
    (void)pthread_mutex_lock(&fs->lock);
    while (!own.done) {
        (void)pthread_cond_wait(&own.changed, &fs->lock);
    }
    (void)pthread_mutex_unlock(&fs->lock);
    (void)pthread_cond_destroy(&own.changed);
    if (reply != NULL) {
        *reply = own.note;
    }
    status = (fl_status)own.note.status;
    return status != FL_OK ? FL_FAIL(status, "%.*s", (int)sizeof(own.note.text), own.note.text)
                           : FL_OK;
}

/* A call about one file. */
static fl_status
call_file(struct fl_modelfs *fs, enum wire_call_kind kind, const char *name, uint64_t off,
          uint64_t len, unsigned flags, struct wire_note *reply)
{
    struct wire_call call = {.kind = kind, .flags = flags, .off = off, .len = len};
    const fl_status status = client_name(call.name, name);

    return status != FL_OK ? status : client_call(fs, &call, NULL, -1, reply, NULL);
}

static fl_status
call_files(struct fl_modelfs *fs, enum wire_call_kind kind, const char *from, const char *to)
{
    struct wire_call call = {.kind = kind};
    fl_status status = client_name(call.name, from);

    if (status == FL_OK) {
        status = client_name(call.to, to);
    }
    if (status == FL_OK && (from[0] == '\0' || to[0] == '\0')) {
        status = FL_FAIL(FL_INVALID, "an empty name");
    }
    return status != FL_OK ? status : client_call(fs, &call, NULL, -1, NULL, NULL);
}

/* The host takes what it can't serve for a broken client: what a program may get wrong is refused here. */
static fl_status
check_file(const char *name, uint64_t off, uint64_t len)
{
    if (name == NULL || name[0] == '\0') {
        return FL_FAIL(FL_INVALID, "an empty name");
    }
    if (off > INT64_MAX || len > INT64_MAX - off) {
        return FL_FAIL(FL_INVALID, "a range beyond what a file can have");
    }
    return FL_OK;
}

static fl_status
call_range(struct fl_modelfs *fs, enum wire_call_kind kind, const char *name, uint64_t off,
           uint64_t len, unsigned flags)
{
    const fl_status status = check_file(name, off, len);

    return status != FL_OK ? status : call_file(fs, kind, name, off, len, flags, NULL);
}

uint32_t
fl_modelfs_block_bytes(const struct fl_modelfs *fs)
{
    return fs->block_bytes;
}

fl_status
fl_modelfs_create(struct fl_modelfs *fs, const char *name)
{
    return call_range(fs, WIRE_CREATE, name, 0, 0, 0);
}

fl_status
fl_modelfs_unlink(struct fl_modelfs *fs, const char *name)
{
    return call_range(fs, WIRE_UNLINK, name, 0, 0, 0);
}

fl_status
fl_modelfs_rename(struct fl_modelfs *fs, const char *from, const char *to)
{
    return call_files(fs, WIRE_RENAME, from, to);
}

fl_status
fl_modelfs_clone(struct fl_modelfs *fs, const char *from, const char *to)
{
    return call_files(fs, WIRE_CLONE, from, to);
}

fl_status
fl_modelfs_size(struct fl_modelfs *fs, const char *name, uint64_t *size_bytes,
                uint64_t *allocated_bytes)
{
    struct wire_note reply;
    fl_status status = check_file(name, 0, 0);

    if (status == FL_OK) {
        status = call_file(fs, WIRE_SIZE, name, 0, 0, 0, &reply);
    }
    if (status == FL_OK && size_bytes != NULL) {
        *size_bytes = reply.values[0];
    }
    if (status == FL_OK && allocated_bytes != NULL) {
        *allocated_bytes = reply.values[1];
    }
    return status;
}

/* Bytes go through memory of our own: `buf` may lie in a mapping of this device, and a fault there is answered by the
 * agent and the host, who must not be waiting for us meanwhile. */
fl_status
fl_modelfs_read(struct fl_modelfs *fs, const char *name, uint64_t off, void *buf, size_t len,
                size_t *done)
{
    struct wire_call call = {.kind = WIRE_READ};
    struct wire_note reply;

    *done = 0;
    fl_status status = check_file(name, off, len);
    if (status == FL_OK) {
        status = client_name(call.name, name);
    }
    uint8_t *bounce = status == FL_OK ? mem_alloc(WIRE_DATA_BYTES_MAX) : NULL;
    if (status == FL_OK && bounce == NULL) {
        status = FL_FAIL(FL_NO_MEMORY, "no memory to read with");
    }
    bool more = true;
    while (status == FL_OK && more && *done < len) {
        call.off = off + *done;
        call.len = len - *done < WIRE_DATA_BYTES_MAX ? len - *done : WIRE_DATA_BYTES_MAX;
        status = client_call(fs, &call, NULL, -1, &reply, bounce);
        if (status == FL_OK) {
            memcpy((uint8_t *)buf + *done, bounce, reply.data_bytes);
            *done += reply.data_bytes;
            more = reply.data_bytes == call.len;
        }
    }
    mem_free(bounce);
    return status;
}

fl_status
fl_modelfs_write(struct fl_modelfs *fs, const char *name, uint64_t off, const void *buf, size_t len,
                 size_t *done)
{
    struct wire_call call = {.kind = WIRE_WRITE};
    struct wire_note reply = {0};

    *done = 0;
    fl_status status = check_file(name, off, len);
    if (status == FL_OK) {
        status = client_name(call.name, name);
    }
    uint8_t *bounce = status == FL_OK ? mem_alloc(WIRE_DATA_BYTES_MAX) : NULL;
    if (status == FL_OK && bounce == NULL) {
        status = FL_FAIL(FL_NO_MEMORY, "no memory to write with");
    }
    while (status == FL_OK && *done < len) {
        const size_t rest = len - *done;
        const size_t piece = rest < WIRE_DATA_BYTES_MAX ? rest : WIRE_DATA_BYTES_MAX;
        memcpy(bounce, (const uint8_t *)buf + *done, piece);
        call.off = off + *done;
        call.len = piece;
        call.data_bytes = (uint32_t)piece;
        status = client_call(fs, &call, bounce, -1, &reply, NULL);
        *done += reply.values[0] <= piece ? (size_t)reply.values[0] : piece;
    }
    mem_free(bounce);
    return status;
}

fl_status
fl_modelfs_truncate(struct fl_modelfs *fs, const char *name, uint64_t size_bytes)
{
    return call_range(fs, WIRE_TRUNCATE, name, size_bytes, 0, 0);
}

fl_status
fl_modelfs_allocate(struct fl_modelfs *fs, const char *name, uint64_t off, uint64_t len,
                    bool keep_size)
{
    return call_range(fs, WIRE_ALLOCATE, name, off, len, keep_size ? 1 : 0);
}

fl_status
fl_modelfs_punch(struct fl_modelfs *fs, const char *name, uint64_t off, uint64_t len)
{
    return call_range(fs, WIRE_PUNCH, name, off, len, 0);
}

fl_status
fl_modelfs_collapse(struct fl_modelfs *fs, const char *name, uint64_t off, uint64_t len)
{
    return call_range(fs, WIRE_COLLAPSE, name, off, len, 0);
}

fl_status
fl_modelfs_fsync(struct fl_modelfs *fs, const char *name)
{
    return call_file(fs, WIRE_FSYNC, name, 0, 0, 0, NULL);
}

/* ---- evidence ---- */

fl_status
fl_modelfs_powercut(struct fl_modelfs *fs, uint64_t seed)
{
    struct wire_call call = {.kind = WIRE_POWERCUT, .off = seed};

    return client_call(fs, &call, NULL, -1, NULL, NULL);
}

fl_status
fl_modelfs_figures(struct fl_modelfs *fs, struct fl_modelfs_figures *out)
{
    struct wire_call call = {.kind = WIRE_FIGURES};
    struct wire_note reply;

    if (out->struct_bytes != sizeof(*out)) {
        return FL_FAIL(FL_INVALID, "struct_bytes is %zu, not %zu", out->struct_bytes, sizeof(*out));
    }
    const fl_status status = client_call(fs, &call, NULL, -1, &reply, NULL);
    if (status == FL_OK) {
        *out = (struct fl_modelfs_figures){.struct_bytes = sizeof(*out),
                                           .commits = reply.values[0],
                                           .faults_read = reply.values[1],
                                           .faults_write = reply.values[2],
                                           .faults_protected = reply.values[3],
                                           .faults_bus = reply.values[4],
                                           .blocks = reply.values[5],
                                           .blocks_free = reply.values[6]};
    }
    return status;
}

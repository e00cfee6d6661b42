#include "tests/contract/client_adapter.h"

#include "tests/contract/contract.h"
#include "tests/lib/die.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { DEVICE_BYTES = 256 * 1024, JOURNAL_BYTES = 16 * 1024, INODES = 8 };

struct mapping {
    struct fl_modelfs_map *map; /* NULL: unmapped */
    uint8_t *base;
    struct mapping *next;
};

static struct client *
client_of(struct adapter *a)
{
    return (struct client *)(void *)a; /* its first member */
}

/* ---- files ---- */

static fl_status
op_create(struct adapter *a, const char *name)
{
    return fl_modelfs_create(client_of(a)->fs, name);
}

static fl_status
op_rename(struct adapter *a, const char *from, const char *to)
{
    return fl_modelfs_rename(client_of(a)->fs, from, to);
}

static fl_status
op_size(struct adapter *a, const char *name, uint64_t *bytes)
{
    uint64_t allocated;

    return fl_modelfs_size(client_of(a)->fs, name, bytes, &allocated);
}

static fl_status
op_read(struct adapter *a, const char *name, uint64_t off, void *buf, size_t len, size_t *done)
{
    return fl_modelfs_read(client_of(a)->fs, name, off, buf, len, done);
}

static fl_status
op_write(struct adapter *a, const char *name, uint64_t off, const void *buf, size_t len)
{
    size_t done = 0;

    return fl_modelfs_write(client_of(a)->fs, name, off, buf, len, &done);
}

static fl_status
op_truncate(struct adapter *a, const char *name, uint64_t bytes)
{
    return fl_modelfs_truncate(client_of(a)->fs, name, bytes);
}

static fl_status
op_allocate(struct adapter *a, const char *name, uint64_t off, uint64_t len)
{
    return fl_modelfs_allocate(client_of(a)->fs, name, off, len, false);
}

static fl_status
op_punch(struct adapter *a, const char *name, uint64_t off, uint64_t len)
{
    return fl_modelfs_punch(client_of(a)->fs, name, off, len);
}

static fl_status
op_collapse(struct adapter *a, const char *name, uint64_t off, uint64_t len)
{
    return fl_modelfs_collapse(client_of(a)->fs, name, off, len);
}

static fl_status
op_clone(struct adapter *a, const char *from, const char *to)
{
    return fl_modelfs_clone(client_of(a)->fs, from, to);
}

static fl_status
op_sync(struct adapter *a, const char *name)
{
    return fl_modelfs_fsync(client_of(a)->fs, name != NULL ? name : "");
}

/* ---- mappings ---- */

static fl_status
op_map(struct adapter *a, const char *name, uint32_t blocks, bool nosync, struct mapping **out)
{
    struct mapping *map = calloc(1, sizeof(*map));
    void *base = NULL;

    if (map == NULL) {
        die("no memory for a mapping");
    }
    const fl_status status =
        fl_modelfs_mmap(client_of(a)->fs, name, 0, (uint64_t)blocks * BLOCK,
                        nosync ? FL_MODELFS_NOSYNC : FL_MODELFS_PLAIN, &map->map, &base);
    if (status != FL_OK) {
        free(map);
        return status;
    }
    map->base = base;
    map->next = client_of(a)->mappings;
    client_of(a)->mappings = map;
    *out = map;
    return FL_OK;
}

static void
op_unmap(struct adapter *a, struct mapping *map)
{
    (void)a;
    fl_modelfs_unmap(map->map);
    map->map = NULL;
}

/* Where a SIGBUS or SIGSEGV goes; a signal handler's only way out is a global. */
static sigjmp_buf on_refused;
static volatile sig_atomic_t armed;

static void
refused(int number)
{
    if (armed) {
        siglongjmp(on_refused, 1);
    }
    (void)signal(number, SIG_DFL);
}

static fl_status
copy(void *to, const void *from, size_t len)
{
    if (sigsetjmp(on_refused, 1) != 0) {
        armed = 0;
        return FL_IO;
    }
    armed = 1;
    memcpy(to, from, len);
    armed = 0;
    return FL_OK;
}

static fl_status
op_load(struct adapter *a, struct mapping *map, uint64_t off, void *buf, size_t len)
{
    (void)a;
    return copy(buf, map->base + off, len);
}

static fl_status
op_store(struct adapter *a, struct mapping *map, uint64_t off, const void *src, size_t len)
{
    (void)a;
    return copy(map->base + off, src, len);
}

static fl_status
op_flush(struct adapter *a, struct mapping *map, uint64_t off, size_t len)
{
    (void)a;
    fl_modelfs_flush(map->map, map->base + off, len);
    return FL_OK;
}

static fl_status
op_fence(struct adapter *a)
{
    fl_modelfs_fence(client_of(a)->fs);
    return FL_OK;
}

static const char *
op_populate(struct adapter *a, struct mapping *map, uint32_t block, uint32_t blocks)
{
    (void)a;
    const fl_status status =
        fl_modelfs_populate(map->map, (uint64_t)block * BLOCK, (uint64_t)blocks * BLOCK);
    return status == FL_OK ? NULL : fl_status_name(status);
}

/* ---- looking ---- */

static struct fl_modelfs_figures
figures(struct adapter *a)
{
    struct fl_modelfs_figures out = {.struct_bytes = sizeof(out)};

    if (fl_modelfs_figures(client_of(a)->fs, &out) != FL_OK) {
        die("figures: %s", fl_last_error());
    }
    return out;
}

static uint64_t
op_commits(struct adapter *a)
{
    return figures(a).commits;
}

static uint64_t
op_faults(struct adapter *a)
{
    const struct fl_modelfs_figures now = figures(a);

    return now.faults_read + now.faults_write;
}

/* The host's own view: clients have no call for it. */
static bool
extent_of(struct adapter *a, const char *name, uint32_t block, struct mfs_extent *out)
{
    struct client *c = client_of(a);
    uint64_t ino;

    struct mfs *fs = mfs_host_lock(c->host);
    const bool found = fs != NULL && mfs_lookup(fs, name, &ino) == FL_OK &&
                       mfs_extent_at(fs, ino, block, out) == FL_OK && out->logical <= block &&
                       block - out->logical < out->blocks;
    mfs_host_unlock(c->host);
    return found;
}

static enum extent
op_extent(struct adapter *a, const char *name, uint32_t block)
{
    struct mfs_extent e;

    if (!extent_of(a, name, block, &e)) {
        return EXTENT_HOLE;
    }
    return (e.flags & MFS_EXTENT_UNWRITTEN) != 0 ? EXTENT_UNWRITTEN : EXTENT_WRITTEN;
}

static enum flag
op_flag(struct adapter *a, const char *name, uint32_t block)
{
    struct mfs_extent e;

    return extent_of(a, name, block, &e) && (e.flags & MFS_EXTENT_NOSYNC) != 0 ? FLAG_SET
                                                                               : FLAG_CLEAR;
}

/* ---- the rest ---- */

static void
host(struct client *c)
{
    const struct mfs_host_options options = {
        .format = true,
        .size_bytes = DEVICE_BYTES,
        .layout = {.inodes = INODES,
                   .journal_bytes = JOURNAL_BYTES,
                   .without_nosync = c->without_nosync},
    };

    if (mfs_host_create(c->path, &options, &c->host) != FL_OK || mfs_host_start(c->host) != FL_OK) {
        die("host %s: %s", c->path, fl_last_error());
    }
}

static void
attach(struct client *c)
{
    struct fl_modelfs_options options;

    fl_modelfs_options_init(&options);
    if (fl_modelfs_attach(c->path, &options, &c->fs) != FL_OK) {
        die("attach to %s: %s", c->path, fl_last_error());
    }
}

static fl_status
op_map_unsupported(struct adapter *a)
{
    char path[512];
    struct client other = {.adapter = {.ops = a->ops}, .path = path, .without_nosync = true};
    struct mapping *map = NULL;

    (void)snprintf(path, sizeof(path), "%s.without", client_of(a)->path);
    host(&other);
    attach(&other);
    fl_status status = op_create(&other.adapter, "f");
    if (status == FL_OK) {
        status = op_map(&other.adapter, "f", 1, true, &map);
    }
    client_end(&other);
    (void)unlink(path);
    return status;
}

static fl_status
fail_fences(void *context, enum mfs_step step, uint64_t off, uint64_t len)
{
    (void)context;
    (void)off;
    (void)len;
    return step == MFS_STEP_FENCE ? FL_IO : FL_OK;
}

static fl_status
op_fail_commits(struct adapter *a)
{
    struct client *c = client_of(a);

    (void)mfs_host_lock(c->host);
    mfs_media_set_hooks(mfs_host_media(c->host), &(struct mfs_hooks){.step = fail_fences});
    mfs_host_unlock(c->host);
    return FL_OK;
}

static uint64_t
op_recover_again(struct adapter *a)
{
    struct client *c = client_of(a);

    client_cut(c, 0);
    host(c);
    struct mfs *fs = mfs_host_lock(c->host);
    const uint64_t commits = mfs_counts(fs).commits;
    mfs_host_unlock(c->host);
    attach(c);
    return commits;
}

/* The library has threads: another process that uses it is a program of its own. One that only tries what it has
 * inherited is not. */
static pid_t
op_spawn(struct adapter *a, const char *body, struct mapping *inherited)
{
    char *argv[] = {strdup("contract"), strdup("--body"), strdup(body), strdup(client_of(a)->path),
                    NULL};
    const pid_t parent = getpid();

    const pid_t pid = fork();
    if (pid < 0) {
        die_errno("fork");
    }
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (inherited != NULL) {
            _exit(contract_body(body)->run(a, inherited));
        }
        if (getppid() == parent) {
            (void)execv("/proc/self/exe", argv);
        }
        _exit(127);
    }
    for (size_t i = 0; argv[i] != NULL; i++) {
        free(argv[i]);
    }
    return pid;
}

static const struct adapter_ops client_ops = {
    .create = op_create,
    .rename = op_rename,
    .size = op_size,
    .read = op_read,
    .write = op_write,
    .truncate = op_truncate,
    .allocate = op_allocate,
    .punch = op_punch,
    .collapse = op_collapse,
    .clone = op_clone,
    .sync = op_sync,
    .map = op_map,
    .unmap = op_unmap,
    .load = op_load,
    .store = op_store,
    .flush = op_flush,
    .fence = op_fence,
    .populate = op_populate,
    .commits = op_commits,
    .faults = op_faults,
    .extent = op_extent,
    .flag = op_flag,
    .map_unsupported = op_map_unsupported,
    .fail_commits = op_fail_commits,
    .recover_again = op_recover_again,
    .spawn = op_spawn,
};

static void
set_up(struct client *c, const char *path)
{
    const struct sigaction action = {.sa_handler = refused};

    *c = (struct client){.adapter = {.ops = &client_ops, .loses_lines = true}, .path = path};
    (void)sigaction(SIGBUS, &action, NULL);
    (void)sigaction(SIGSEGV, &action, NULL);
}

void
client_host(struct client *c, const char *path)
{
    set_up(c, path);
    host(c);
    attach(c);
}

void
client_cut(struct client *c, uint64_t seed)
{
    if (fl_modelfs_powercut(c->fs, seed) != FL_OK) {
        die("power cut: %s", fl_last_error());
    }
    client_end(c);
}

void
client_end(struct client *c)
{
    if (c->fs != NULL) {
        fl_modelfs_detach(c->fs);
        c->fs = NULL;
    }
    while (c->mappings != NULL) {
        struct mapping *map = c->mappings;
        c->mappings = map->next;
        free(map);
    }
    if (c->host != NULL) {
        mfs_host_destroy(c->host);
        c->host = NULL;
    }
}

void
client_body(int argc, char **argv)
{
    struct client c;

    if (argc != 4 || strcmp(argv[1], "--body") != 0) {
        return;
    }
    const struct contract_body *body = contract_body(argv[2]);
    if (body == NULL) {
        die("no body %s", argv[2]);
    }
    set_up(&c, argv[3]);
    attach(&c);
    exit(body->run(&c.adapter, NULL));
}

#include "tests/contract/crash.h"

#include "storage/modelfs/image.h"
#include "tests/contract/cuts.h"
#include "tests/lib/die.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BROKEN_PRINTED_MAX = 5,
    JUNK = 0xEE,
    TEXT_MAX = 48,
    LINE = MFS_LINE_BYTES,
    ENTRIES_MAX = 64
};

/* A writable page-table entry of a no-sync mapping. */
struct entry {
    const struct stage_map *map;
    uint32_t block;
    uint32_t phys;
};

/* One power cut: at the n-th step of an operation's calls. */
struct run {
    const struct crash_op *op;
    struct stage stage;
    unsigned left;    /* steps up to the cut; 0: it is behind */
    unsigned running; /* the call */
    struct mfs_geometry geometry;
    /* As it was at the cut. */
    unsigned call;
    bool journal; /* the operation had stored to the journal */
    struct cuts cuts;
    struct entry entries[ENTRIES_MAX];
    size_t entries_count;
    /* What was found. */
    char nothing[TEXT_MAX];    /* the state if no line is taken that could be lost */
    char everything[TEXT_MAX]; /* and if all are */
    unsigned broken;
    const char *doing;
};

/* ---- saying ---- */

static void
report(struct run *run, const char *text)
{
    if (run->broken++ < BROKEN_PRINTED_MAX) {
        (void)printf("BROKEN %s, %s %u: %s\n", run->op->name, run->doing, run->call, text);
    }
}

static void
on_broken(struct contract *t, const char *text)
{
    report(t->context, text);
}

static void
on_fact(struct contract *t, const char *name, const char *value)
{
    (void)t;
    (void)name;
    (void)value;
}

static void
on_finding(void *context, const char *text)
{
    report(context, text);
}

/* ---- the stage ---- */

struct mapping *
stage_map(struct stage *stage, const char *name, uint32_t blocks, bool nosync)
{
    for (size_t i = 0; i < CRASH_MAPS_MAX; i++) {
        if (stage->maps[i].map == NULL) {
            stage->maps[i] = (struct stage_map){.map = map_file(&stage->t, name, blocks, nosync),
                                                .name = name,
                                                .blocks = blocks,
                                                .nosync = nosync};
            return stage->maps[i].map;
        }
    }
    die("too many mappings");
}

void
stage_unmap(struct stage *stage, struct mapping *map)
{
    for (size_t i = 0; i < CRASH_MAPS_MAX; i++) {
        if (stage->maps[i].map == map) {
            stage->maps[i].map = NULL;
        }
    }
    stage->t.a->ops->unmap(stage->t.a, map);
}

/* What earlier owners left behind is on all of the device. */
static void
strew_junk(struct model *m)
{
    const uint64_t first = mfs_data_off(m->fs);
    const uint64_t len = mfs_media_size_bytes(m->media) - first;
    uint8_t *junk = malloc(len);

    if (junk == NULL) {
        die("no memory for junk");
    }
    memset(junk, JUNK, len);
    mfs_media_store(m->media, first, junk, len);
    if (mfs_cpu_persist_dirty(m->cpu, first, len) != FL_OK) {
        die("junk: %s", fl_last_error());
    }
    free(junk);
}

static void
set_up(struct run *run, enum mfs_mutant mutant)
{
    struct stage *stage = &run->stage;

    *stage = (struct stage){0};
    model_create(&stage->model, run->op->device_blocks, mutant);
    if (mfs_super_decode(mfs_media_persisted(stage->model.media),
                         mfs_media_size_bytes(stage->model.media), &run->geometry) != FL_OK) {
        die("superblock: %s", fl_last_error());
    }
    strew_junk(&stage->model);
    stage->t = (struct contract){.a = &stage->model.adapter,
                                 .scenario = run->op->name,
                                 .broken = on_broken,
                                 .fact = on_fact,
                                 .context = run};
    run->doing = "setup";
    run->op->setup(stage);
    run->doing = "call";
}

/* ---- the cut ---- */

static void
collect_entries(struct run *run)
{
    run->entries_count = 0;
    for (size_t i = 0; i < CRASH_MAPS_MAX; i++) {
        const struct stage_map *map = &run->stage.maps[i];
        for (uint32_t block = 0; map->map != NULL && map->nosync && block < map->blocks; block++) {
            uint32_t phys = 0;
            const enum mfs_access access =
                mfs_pte_access(run->stage.model.table, model_map(map->map), block, &phys);
            if (access == MFS_ACCESS_WRITE && phys != MFS_PHYS_BUS) {
                if (run->entries_count == ENTRIES_MAX) {
                    die("too many page-table entries");
                }
                run->entries[run->entries_count++] = (struct entry){map, block, phys};
            }
        }
    }
}

/* What a power cut leaves now is looked at later: the operation goes on, and its memory is given back as always. */
static void
cut(struct run *run)
{
    const struct cuts_area area = {
        .data_off = run->geometry.data_off,
        .torn_off = run->geometry.journal_off,
        .torn_end = run->stage.model.mutant == MFS_MUTANT_NONE ? run->geometry.inodes_off : 0};

    run->call = run->running;
    collect_entries(run);
    cuts_begin(&run->cuts, run->stage.model.media, &area);
}

static fl_status
on_step(void *context, enum mfs_step step, uint64_t off, uint64_t len)
{
    struct run *run = context;
    (void)len;

    if (run->left > 0 && --run->left == 0) {
        cut(run);
    }
    run->journal |= run->left > 0 && step == MFS_STEP_STORE && off >= run->geometry.journal_off &&
                    off < run->geometry.inodes_off;
    return FL_OK;
}

/* All calls, the cut at the n-th step or, if there are fewer, behind the last. True: this was the last. */
static bool
run_calls(struct run *run, unsigned n)
{
    const struct mfs_hooks hooks = {.step = on_step, .context = run};

    run->journal = false;
    run->left = n;
    mfs_media_set_hooks(run->stage.model.media, &hooks);
    for (run->running = 0; run->op->calls[run->running].call != NULL; run->running++) {
        run->op->calls[run->running].call(&run->stage);
    }
    mfs_media_set_hooks(run->stage.model.media, NULL);
    const bool last = run->left > 0;
    if (last) {
        cut(run);
    }
    return last;
}

/* ---- what is left ---- */

static const struct mfs_extent_state *
find_extent(const struct mfs_image *image, const char *name, uint32_t block, uint64_t *size,
            struct mfs_extent_state *out)
{
    struct mfs_inode_state inode;

    *size = 0;
    for (uint32_t i = 0; i < image->geometry.inodes; i++) {
        (void)mfs_inode_decode(image->inodes + i * sizeof(struct mfs_inode_rec), &inode);
        if (inode.ino == 0 || strcmp(inode.name, name) != 0) {
            continue;
        }
        *size = inode.size_bytes;
        for (uint32_t slot = 0; slot < image->geometry.extents; slot++) {
            (void)mfs_extent_decode(image->extents + slot * sizeof(struct mfs_extent_rec), out);
            if (out->ino == inode.ino && block >= out->logical &&
                block - out->logical < out->blocks) {
                return out;
            }
        }
    }
    return NULL;
}

static char
block_state(const struct mfs_image *image, const char *name, uint32_t block)
{
    static const uint8_t zeros[BLOCK];
    struct mfs_extent_state e;
    uint64_t size;

    const bool found = find_extent(image, name, block, &size, &e) != NULL;
    if ((uint64_t)block * BLOCK >= size) {
        return '-';
    }
    if (!found || (e.flags & MFS_EXTENT_UNWRITTEN) != 0) {
        return found ? 'u' : '.';
    }
    const uint8_t *bytes = image->bytes + image->geometry.data_off +
                           (uint64_t)(e.physical + (block - e.logical)) * BLOCK;
    const bool flag = (e.flags & MFS_EXTENT_NOSYNC) != 0;
    if (memcmp(bytes, bytes + 1, LINE - 1) != 0 || memcmp(bytes + LINE, zeros, BLOCK - LINE) != 0) {
        return '?';
    }
    if (bytes[0] == 0) {
        return flag ? '*' : '0';
    }
    if (bytes[0] < 'A' || bytes[0] > 'Z') {
        return '?';
    }
    return (char)(flag ? bytes[0] : bytes[0] - 'A' + 'a');
}

/* Every block of both files, as recovery will find it. */
static void
state_of(const struct run *run, const struct mfs_image *image, char text[TEXT_MAX])
{
    size_t at = 0;

    for (uint32_t i = 0; i < run->op->f_blocks; i++) {
        text[at++] = block_state(image, "f", i);
    }
    text[at++] = '|';
    for (uint32_t i = 0; i < run->op->g_blocks; i++) {
        text[at++] = block_state(image, "g", i);
    }
    text[at] = 0;
}

static int
rank_of(const struct crash_op *op, const char *state)
{
    for (int i = 0; i < CRASH_STATES_MAX && op->states[i] != NULL; i++) {
        if (strcmp(op->states[i], state) == 0) {
            return i;
        }
    }
    return -1;
}

static void
judge_state(struct run *run, const char *state)
{
    const struct crash_call *call = &run->op->calls[run->call];
    const int rank = rank_of(run->op, state);
    const bool over = call->call == NULL;
    const unsigned least = over ? run->op->last : call->least;
    const unsigned most = over ? CRASH_STATES_MAX : call->most;
    char text[160];

    if (rank < 0 || (unsigned)rank < least || (unsigned)rank > most) {
        (void)snprintf(text, sizeof(text), "%s is left", state);
        report(run, text);
    }
}

static void
check(struct run *run)
{
    const struct model *m = &run->stage.model;
    uint64_t findings = 0;

    if (mfs_check(mfs_media_persisted(m->media), mfs_media_size_bytes(m->media), on_finding, run,
                  &findings) != FL_OK) {
        report(run, fl_last_error());
    }
}

/* The blocks as a mount reads them are those of the image, but for flags, which go: no mapper has survived. */
static void
judge_mount(struct run *run, const char *state)
{
    struct contract *t = &run->stage.t;
    struct model *m = &run->stage.model;

    if (run->cuts.next <= run->cuts.whole) {
        check(run); /* of torn lines it tells, and recovery mends them */
    }
    if (model_mount(m) != FL_OK) {
        report(run, fl_last_error());
        return;
    }
    check(run);
    for (size_t i = 0; state[i] != 0; i++) {
        const bool is_f = i < run->op->f_blocks;
        if (i == run->op->f_blocks) {
            continue;
        }
        const char *name = is_f ? "f" : "g";
        const uint32_t block = (uint32_t)(is_f ? i : i - run->op->f_blocks - 1);
        const char tag = block_tag(t, name, block);
        const char wanted = strchr("*0.u", state[i]) != NULL     ? NOTHING
                            : state[i] >= 'a' && state[i] <= 'z' ? (char)(state[i] - 'a' + 'A')
                                                                 : state[i];
        need(t, tag == wanted, "a mount reads '%c' in %s of %s", tag, name, state);
        need(t, t->a->ops->flag(t->a, name, block) != FLAG_SET, "a flag is left in %s of %s", name,
             state);
    }
    const struct mfs_statfs fs = mfs_statfs(m->fs);
    need(t, fs.blocks_freeing == 0, "%" PRIu64 " blocks are being freed", fs.blocks_freeing);
    const uint64_t again = t->a->ops->recover_again(t->a);
    need(t, again == 0, "a second recovery commits %" PRIu64 " times", again);
    model_abandon(m);
}

static void
look(struct run *run, char text[TEXT_MAX])
{
    struct mfs_media *media = run->stage.model.media;
    struct mfs_image image;

    (void)snprintf(text, TEXT_MAX, "unreadable");
    fl_status status =
        mfs_image_init(&image, mfs_media_persisted(media), mfs_media_size_bytes(media), NULL, NULL);
    if (status == FL_OK) {
        state_of(run, &image, text);
    }
    mfs_image_deinit(&image);
}

/* ---- page-table entries ---- */

/* A writable entry of a no-sync mapping leads to a block that is the file's already on media, flag and all; any
 * other one not to a block that is somebody else's there. */
static void
judge_entries(struct run *run)
{
    struct mfs_media *media = run->stage.model.media;
    struct mfs_image image;
    struct mfs_extent_state e;
    uint64_t size;

    if (mfs_image_init(&image, mfs_media_persisted(media), mfs_media_size_bytes(media), NULL,
                       NULL) == FL_OK) {
        for (size_t i = 0; i < run->entries_count; i++) {
            const struct entry *entry = &run->entries[i];
            const bool found =
                find_extent(&image, entry->map->name, entry->block, &size, &e) != NULL;
            const uint32_t phys = found ? e.physical + (entry->block - e.logical) : 0;
            if (!found || phys != entry->phys || (e.flags & MFS_EXTENT_NOSYNC) == 0) {
                report(run, !found ? "a writable entry leads to a block that is not committed"
                            : phys != entry->phys
                                ? "a writable entry leads to another's block"
                                : "a writable entry leads to a block without flag");
            }
        }
    }
    mfs_image_deinit(&image);
}

/* ---- all of it ---- */

/* Where this step stands in the contract's list. */
static unsigned
point_of(const struct run *run)
{
    const struct crash_op *op = run->op;

    if (op->points_before == 0) {
        return 0;
    }
    if (op->points_before == 7) {
        return rank_of(op, run->nothing) <= 0 ? 7 : 8;
    }
    if (run->call > 0) {
        return rank_of(op, run->nothing) >= (int)op->last ? 6 : run->call > 1 ? 5 : 4;
    }
    if (strcmp(run->nothing, op->states[0]) != 0) {
        return 4;
    }
    return strcmp(run->everything, op->states[0]) != 0 ? 3 : run->journal ? 2 : 1;
}

static void
try_states(struct run *run, struct crash_figures *figures)
{
    char state[TEXT_MAX];
    uint64_t states = 0;

    while (cuts_next(&run->cuts)) {
        look(run, state);
        if (states == 0) {
            memcpy(run->nothing, state, sizeof(state));
            judge_entries(run);
        }
        states++;
        if (states == run->cuts.whole) {
            memcpy(run->everything, state, sizeof(state));
        }
        judge_state(run, state);
        judge_mount(run, state);
    }
    cuts_end(&run->cuts);
    const unsigned point = point_of(run);
    figures->steps++;
    figures->states += states;
    figures->point_steps[point]++;
    figures->point_states[point] += states;
}

unsigned
crash_run(const struct crash_op *op, enum mfs_mutant mutant, struct crash_figures *figures)
{
    const bool stop = mutant != MFS_MUTANT_NONE;
    struct run *run = calloc(1, sizeof(*run));
    bool last = false;

    if (run == NULL) {
        die("no memory for a run");
    }
    run->op = op;
    for (unsigned n = 1; !last && !(stop && run->broken > 0); n++) {
        set_up(run, mutant);
        last = run_calls(run, n);
        model_abandon(&run->stage.model);
        try_states(run, figures);
        model_destroy(&run->stage.model);
    }
    const unsigned broken = run->broken;
    free(run);
    return broken;
}

/* demo: the counter-example that no-sync mappings were asked for with, played in a plain and in a no-sync mapping. */
#include "storage/modelfs/tool/demo.h"
#include "storage/modelfs/tool/tool.h"

#include "base/fail.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STEPS = 5, CUTS_DEFAULT = 8, CUTS_MAX = 10000, PATH_BYTES = 512 };

/* What the application keeps in a block: which one it is, and the next one's number, 0 for none. */
struct node {
    char text[24];
    uint64_t next;
};

static const char *const step_texts[STEPS] = {
    "block 0 is stored and flushed, the file synced", "the file grows by a block",
    "a store to block 1 faults: it is allocated",     "block 1's lines are flushed and fenced",
    "block 0 links to it: stored, flushed, fenced",
};

/* One course of events, and what it left. */
struct course {
    uint64_t commits[STEPS];
    uint64_t size_bytes;
    bool linked;   /* block 0 names block 1 */
    bool there[2]; /* the file has the block */
    uint32_t physical[2];
    bool whole; /* block 1 holds what was flushed */
};

struct tally {
    struct course first;
    uint64_t cuts;
    uint64_t dangling; /* the link leads to a block that isn't there */
    uint64_t kept;     /* the link is there, and what it leads to */
};

static const struct node node_0 = {"I am block 0", 0};
static const struct node node_0_linked = {"I am block 0", 1};
static const struct node node_1 = {"I am block 1", 0};

static fl_status
write_node(struct demo_world *world, uint64_t block, const struct node *node)
{
    const uint64_t off = block * DEMO_BLOCK_BYTES;
    fl_status status = world->ops->store(world, off, node, sizeof(*node));

    if (status == FL_OK) {
        status = world->ops->flush(world, off, sizeof(*node));
    }
    return status == FL_OK ? world->ops->fence(world) : status;
}

static fl_status
step(struct demo_world *world, int number)
{
    const struct demo_world_ops *ops = world->ops;
    fl_status status;

    switch (number) {
    case 0:
        status = ops->resize(world, DEMO_BLOCK_BYTES);
        if (status == FL_OK) {
            status = write_node(world, 0, &node_0);
        }
        return status == FL_OK ? ops->sync(world) : status;
    case 1:
        return ops->resize(world, UINT64_C(2) * DEMO_BLOCK_BYTES);
    case 2:
        return ops->store(world, DEMO_BLOCK_BYTES, &node_1, sizeof(node_1));
    case 3:
        status = ops->flush(world, DEMO_BLOCK_BYTES, sizeof(node_1));
        return status == FL_OK ? ops->fence(world) : status;
    default:
        return write_node(world, 0, &node_0_linked);
    }
}

static fl_status
look(struct mfs *fs, struct course *course)
{
    struct mfs_stat stat;
    struct node node = {{0}, 0};
    uint64_t ino;
    size_t done;
    fl_status status = mfs_lookup(fs, DEMO_FILE, &ino);

    if (status == FL_OK) {
        status = mfs_stat(fs, ino, &stat);
    }
    if (status == FL_OK) {
        status = mfs_read(fs, ino, 0, &node, sizeof(node), &done);
    }
    if (status != FL_OK) {
        return status;
    }
    course->size_bytes = stat.size_bytes;
    course->linked = memcmp(&node, &node_0_linked, sizeof(node)) == 0;
    for (uint32_t i = 0; i < 2; i++) {
        struct mfs_extent extent;

        if (mfs_extent_at(fs, ino, i, &extent) == FL_OK && extent.logical <= i) {
            course->there[i] = true;
            course->physical[i] = extent.physical + (i - extent.logical);
        }
    }
    memset(&node, 0, sizeof(node));
    status = mfs_read(fs, ino, DEMO_BLOCK_BYTES, &node, sizeof(node), &done);
    course->whole = course->there[1] && memcmp(&node, &node_1, sizeof(node)) == 0;
    return status;
}

static fl_status
play(struct demo_world *world, enum mfs_map_kind kind, uint64_t seed, struct course *course)
{
    uint64_t before = 0;
    uint64_t after = 0;
    struct mfs *fs = NULL;
    fl_status status = world->ops->begin(world, kind);

    memset(course, 0, sizeof(*course));
    for (int i = 0; i < STEPS && status == FL_OK; i++) {
        status = world->ops->commits(world, &before);
        if (status == FL_OK) {
            status = step(world, i);
        }
        if (status == FL_OK) {
            status = world->ops->commits(world, &after);
        }
        course->commits[i] = after - before;
    }
    if (status == FL_OK) {
        status = world->ops->cut(world, seed, &fs);
    }
    if (status == FL_OK) {
        status = look(fs, course);
    }
    world->ops->end(world);
    return status;
}

static fl_status
play_all(struct demo_world *world, enum mfs_map_kind kind, uint64_t cuts, struct tally *tally)
{
    memset(tally, 0, sizeof(*tally));
    for (uint64_t i = 0; i < cuts; i++) {
        struct course course;
        const fl_status status = play(world, kind, i, &course);

        if (status != FL_OK) {
            return status;
        }
        tally->first = i == 0 ? course : tally->first;
        tally->cuts++;
        tally->dangling += course.linked && !course.whole ? 1 : 0;
        tally->kept += course.linked && course.whole ? 1 : 0;
    }
    return FL_OK;
}

/* ---- telling ---- */

static const char *
picture(const struct course *course)
{
    if (!course->linked) {
        return "[0]      [1]";
    }
    return course->whole ? "[0]--->[1]" : course->there[1] ? "[0]--->[?]" : "[0]--x  (hole)";
}

static void
place_text(const struct course *course, int block, char out[32])
{
    if (course->there[block]) {
        snprintf(out, 32, "at physical %" PRIu32, course->physical[block]);
    } else {
        snprintf(out, 32, "not there");
    }
}

static void
row(const char *what, const char *plain, const char *nosync)
{
    printf("  %-52s  %-16s  %s\n", what, plain, nosync);
}

static void
row_number(const char *what, uint64_t plain, uint64_t nosync)
{
    char texts[2][24];

    snprintf(texts[0], sizeof(texts[0]), "%" PRIu64, plain);
    snprintf(texts[1], sizeof(texts[1]), "%" PRIu64, nosync);
    row(what, texts[0], texts[1]);
}

static void
tell(const struct demo_world *world, const struct tally *plain, const struct tally *nosync)
{
    const struct course *a = &plain->first;
    const struct course *b = &nosync->first;
    char texts[2][32];

    printf("A list of two blocks in a file, on %s.\n\n", world->ops->name);
    row("", "plain", "no-sync");
    row("commits of metadata during", "", "");
    for (int i = 0; i < STEPS; i++) {
        char what[80];

        snprintf(what, sizeof(what), "  %d  %s", i + 1, step_texts[i]);
        row_number(what, a->commits[i], b->commits[i]);
    }
    row("before the power cut", "[0]--->[1]", "[0]--->[1]");
    printf("\n");
    row("after the power cut and recovery", picture(a), picture(b));
    row_number("  size of the file", a->size_bytes, b->size_bytes);
    for (int i = 0; i < 2; i++) {
        char what[32];

        snprintf(what, sizeof(what), "  block %d", i);
        place_text(a, i, texts[0]);
        place_text(b, i, texts[1]);
        row(what, texts[0], texts[1]);
    }
    row("  what was flushed to block 1", a->whole ? "there" : "lost", b->whole ? "there" : "lost");
    printf("\n");
    row_number("power cuts, each after a new run", plain->cuts, nosync->cuts);
    row_number("  links to a block that is lost", plain->dangling, nosync->dangling);
    row_number("  lists that are whole", plain->kept, nosync->kept);
    printf("\n");
}

static int
judge(const struct tool_command *command, const struct tally *plain, const struct tally *nosync)
{
    const bool loses = plain->dangling == plain->cuts;
    const bool keeps = nosync->kept == nosync->cuts;

    if (loses && keeps) {
        printf("Flushed and fenced alike, the block is lost in a plain mapping, kept in a no-sync "
               "one.\n");
        return tool_printed(command, TOOL_DONE);
    }
    printf("Not as it must be:%s%s.\n",
           loses ? "" : " a plain mapping did not lose the block every time",
           keeps ? "" : " a no-sync mapping did not keep it every time");
    (void)tool_printed(command, TOOL_FAILED);
    return TOOL_FAILED;
}

/* ---- the command ---- */

struct request {
    bool table;
    bool mapped;
    const char *device;
    uint64_t cuts;
};

static bool
options_get(const struct tool_command *command, int argc, char **argv, struct request *request,
            int *result)
{
    static const struct option options[] = {
        {"table", no_argument, NULL, 't'},
        {"mapped", no_argument, NULL, 'm'},
        {"device", required_argument, NULL, 'd'},
        {"cuts", required_argument, NULL, 'c'},
        TOOL_HELP,
        TOOL_END,
    };

    for (int option; (option = tool_option(command, argc, argv, options, result)) != -1;) {
        if (option == TOOL_STOP ||
            (option == 'c' && !tool_number(command, "--cuts", optarg, &request->cuts))) {
            return false;
        }
        request->table |= option == 't';
        request->mapped |= option == 'm' || option == 'd';
        request->device = option == 'd' ? optarg : request->device;
    }
    if (!tool_arguments(command, argc, 0, 0)) {
        return false;
    }
    if (request->table && request->mapped) {
        (void)tool_usage(command, "--table goes without --mapped and --device");
        return false;
    }
    if (request->cuts == 0 || request->cuts > CUTS_MAX) {
        (void)tool_usage(command, "--cuts: 1 to %d", CUTS_MAX);
        return false;
    }
    return true;
}

static fl_status
run(struct demo_world *world, const struct request *request, struct tally *plain,
    struct tally *nosync)
{
    if (world == NULL) {
        return FL_FAIL(FL_NO_MEMORY, "a world to show it in");
    }
    const fl_status status = play_all(world, MFS_MAP_PLAIN, request->cuts, plain);

    return status == FL_OK ? play_all(world, MFS_MAP_NOSYNC, request->cuts, nosync) : status;
}

static int
finish(const struct tool_command *command, struct demo_world *world, fl_status status,
       const struct tally *plain, const struct tally *nosync)
{
    int result;

    if (status != FL_OK) {
        result = tool_failed(command, status, "the demonstration");
    } else {
        tell(world, plain, nosync);
        result = judge(command, plain, nosync);
    }
    free(world);
    return result;
}

/* A directory of our own for the device, gone when all is told. */
static int
run_mapped(const struct tool_command *command, const struct request *request, bool *lacking)
{
    const char *parent = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
    char folder[PATH_BYTES];
    char path[PATH_BYTES + 16];
    struct tally plain;
    struct tally nosync;
    int result = TOOL_FAILED;

    if (request->device == NULL) {
        snprintf(folder, sizeof(folder), "%s/faultline-demo-XXXXXX", parent);
        if (mkdtemp(folder) == NULL) {
            fprintf(stderr, "faultline-modelfs demo: %s: %s\n", folder, strerror(errno));
            return TOOL_FAILED;
        }
        snprintf(path, sizeof(path), "%s/device", folder);
    } else if (access(request->device, F_OK) == 0) {
        fprintf(stderr, "faultline-modelfs demo: %s is there: the demo makes its own device\n",
                request->device);
        return TOOL_FAILED;
    }
    struct demo_world *world = demo_mapped_create(request->device != NULL ? request->device : path);
    const fl_status status = run(world, request, &plain, &nosync);

    *lacking = status == FL_NOT_SUPPORTED && !request->mapped;
    if (*lacking) {
        free(world);
    } else {
        result = finish(command, world, status, &plain, &nosync);
    }
    if (request->device == NULL) {
        (void)unlink(path);
        (void)rmdir(folder);
    }
    return result;
}

int
tool_demo(const struct tool_command *command, int argc, char **argv)
{
    struct request request = {.cuts = CUTS_DEFAULT};
    int result = TOOL_USAGE;
    bool lacking = false;

    if (!options_get(command, argc, argv, &request, &result)) {
        return result;
    }
    if (!request.table) {
        result = run_mapped(command, &request, &lacking);
        if (!lacking) {
            return result;
        }
        printf("No real mappings here: %s\n\n", fl_last_error());
    }
    struct demo_world *world = demo_table_create();
    struct tally plain;
    struct tally nosync;
    const fl_status status = run(world, &request, &plain, &nosync);

    return finish(command, world, status, &plain, &nosync);
}

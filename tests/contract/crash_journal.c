/* The journal is full and begins anew: what lies in it then are whole transactions of the last round. */
#include "storage/modelfs/record.h"
#include "tests/contract/crash.h"
#include "tests/lib/die.h"

enum { COMMITS = 39 }; /* almost as many as fit */

/* Where recovery begins to replay. */
static uint64_t
journal_tail(struct stage *stage)
{
    const uint8_t *media = mfs_media_live(stage->model.media);
    struct mfs_geometry geometry;
    struct mfs_tail tail = {0};

    if (mfs_super_decode(media, mfs_media_size_bytes(stage->model.media), &geometry) != FL_OK ||
        !mfs_tail_decode(&geometry, media + geometry.journal_off, &tail)) {
        die("the journal's tail: %s", fl_last_error());
    }
    return tail.seq;
}

/* Commits until a few more would not fit into the journal. */
void
crash_journal_setup(struct stage *stage)
{
    struct model *m = &stage->model;
    const uint64_t first = journal_tail(stage);

    make_file(&stage->t, "f", 1);
    put_durably(&stage->t, stage_map(stage, "f", 1, true), 0, 'A');
    const uint64_t ino = model_ino(m, "f");
    for (uint64_t i = 0; i < COMMITS; i++) {
        if (mfs_truncate(m->fs, ino, BLOCK - i % 2) != FL_OK || mfs_fsync(m->fs, ino) != FL_OK) {
            die("fill the journal: %s", fl_last_error());
        }
    }
    put_durably(&stage->t, stage->maps[0].map, 0, 'A');
    stage->tail = journal_tail(stage);
    need(&stage->t, stage->tail == first, "the journal has begun anew too early");
}

void
crash_journal_check(struct stage *stage)
{
    need(&stage->t, journal_tail(stage) > stage->tail, "the journal has not begun anew");
}

void
crash_journal_commit(struct stage *stage)
{
    struct model *m = &stage->model;
    struct mfs_stat st;
    const uint64_t ino = model_ino(m, "f");

    need_ok(&stage->t, mfs_stat(m->fs, ino, &st), "stat");
    need_ok(&stage->t, mfs_truncate(m->fs, ino, st.size_bytes + BLOCK), "grow");
    need_ok(&stage->t, mfs_fsync(m->fs, ino), "sync");
}

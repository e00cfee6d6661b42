#include "tests/unit/engine/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t
wall_of(void *context)
{
    const struct fixture *f = context;

    return f->wall_ms;
}

void
fixture_init(struct fixture *f, uint32_t block_bytes, uint64_t wall_ms)
{
    memset(f, 0, sizeof(*f));
    tmpdir_create(&f->dir);
    (void)tmpdir_join(&f->dir, "store", f->path);
    f->wall_ms = wall_ms;
    fl_options_init(&f->options);
    f->options.mapping = FL_MAPPING_VOLATILE;
    f->options.durability_min = FL_DURABILITY_PROCESS;
    f->options.block_bytes = block_bytes;
    f->options.size_bytes_max = (uint64_t)64 << 20;
    f->options.background = false;
    f->options.now_ms = wall_of;
    f->options.context = f;
    assert_int_equal(fl_open(f->path, &f->options, &f->store), FL_OK);
}

void
fixture_deinit(struct fixture *f)
{
    assert_int_equal(fl_close(f->store), FL_OK);
    tmpdir_destroy(&f->dir);
}

void
fixture_reopen(struct fixture *f)
{
    assert_int_equal(fl_close(f->store), FL_OK);
    if (fl_open(f->path, &f->options, &f->store) != FL_OK) {
        fail_msg("%s", fl_last_error());
    }
}

void
fixture_maintain(const struct fixture *f)
{
    while (fl_maintain(f->store) == FL_OK) {
    }
}

void
fixture_put(const struct fixture *f, const char *key, size_t len, uint64_t deadline_ms)
{
    const struct fl_put_options options = {.deadline_ms = deadline_ms};
    char *value = malloc(len + 1);

    assert_non_null(value);
    memset(value, 'v', len);
    assert_int_equal(fl_put(f->store, fl_key(key, strlen(key)), fl_bytes(value, len),
                            deadline_ms != 0 ? &options : NULL),
                     FL_OK);
    free(value);
}

fl_status
fixture_get(const struct fixture *f, const char *key)
{
    struct fl_view view;
    const fl_status status = fl_get_view(f->store, fl_key(key, strlen(key)), &view);

    if (status == FL_OK) {
        fl_view_release(&view);
    }
    return status;
}

#include "tests/crash/digest.h"

#include "tests/crash/hash.h"
#include "tests/crash/media.h"
#include "tests/lib/die.h"

#include <inttypes.h>
#include <stdlib.h>

void
digest_print(FILE *file, const struct workload *workload, const struct trace *trace)
{
    const struct media_options options = {
        .mode = PM_DIRECT,
        .size_bytes_max = (uint64_t)workload->geometry.blocks_max * workload->geometry.block_bytes,
    };
    const size_t size = (size_t)options.size_bytes_max;
    uint8_t *nothing = calloc(1, size + size / IMAGE_PAGE);
    struct media media;

    if (nothing == NULL) {
        die("digest: no memory");
    }
    media_init(&media, trace, &options, nothing, nothing + size, 0);
    (void)fprintf(file, "%s\n", workload->name);
    while (media.at < trace->count) {
        const struct trace_event *event = &trace->events[media.at];
        const bool settles =
            !event->is_mark && event->kind != MEM_MAP_STORE && event->kind != MEM_MAP_FLUSH;

        media_step(&media);
        if (settles) {
            (void)fprintf(file, "%d guaranteed %016" PRIx64 " seen %016" PRIx64 "\n",
                          (int)event->kind, media.base_hash, hash_words(0, media.now, size));
        }
    }
    media_deinit(&media);
    free(nothing);
}

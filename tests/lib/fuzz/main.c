/* A fuzz target without libFuzzer, for any compiler: every file of the corpus as it is, then a fixed
 * number of random changes to them. Repeatable: FL_TEST_SEED, and FL_FUZZ_ROUNDS for more rounds. */
#include "tests/lib/die.h"
#include "tests/lib/fuzz/fuzz.h"
#include "tests/lib/rng.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { INPUTS_MAX = 1024, CHANGES_MAX = 8, ROUNDS_DEFAULT = 20000, INPUT_BYTES_MAX = 1 << 20 };

struct input {
    unsigned char *data;
    size_t len;
};

struct corpus {
    struct input inputs[INPUTS_MAX];
    size_t count;
    size_t len_max;
};

static void
corpus_add(struct corpus *corpus, const char *path)
{
    struct stat st;
    FILE *file = fopen(path, "rb");

    if (file == NULL || fstat(fileno(file), &st) != 0) {
        die_errno("open %s", path);
    }
    if (!S_ISREG(st.st_mode)) {
        fclose(file);
        return;
    }
    if (corpus->count == INPUTS_MAX || st.st_size > INPUT_BYTES_MAX) {
        die("%s: more than %d inputs, or one over %d bytes", path, INPUTS_MAX, INPUT_BYTES_MAX);
    }
    struct input *input = &corpus->inputs[corpus->count++];

    input->len = (size_t)st.st_size;
    input->data = malloc(input->len + 1);
    if (input->data == NULL || fread(input->data, 1, input->len, file) != input->len) {
        die("read %s", path);
    }
    fclose(file);
    corpus->len_max = input->len > corpus->len_max ? input->len : corpus->len_max;
}

static void
corpus_load(struct corpus *corpus, const char *folder)
{
    DIR *dir = opendir(folder);

    if (dir == NULL) {
        die_errno("open %s", folder);
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[4096];

        if (entry->d_name[0] == '.') {
            continue;
        }
        if (snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name) >= (int)sizeof(path)) {
            die("path is too long: %s", folder);
        }
        corpus_add(corpus, path);
    }
    closedir(dir);
}

/* A copy of `len` bytes with no slack behind it, so that a read past the end is seen by ASan. */
static void
feed(const unsigned char *data, size_t len)
{
    unsigned char *exact = malloc(len > 0 ? len : 1);

    if (exact == NULL) {
        die_errno("malloc");
    }
    memcpy(exact, data, len);
    LLVMFuzzerTestOneInput(exact, len);
    free(exact);
}

static size_t
change(const struct corpus *corpus, struct rng *rng, unsigned char *data, size_t len)
{
    static const unsigned char edge[] = {0x00, 0x01, 0x7F, 0x80, 0xFF, '\r', '\n', '-', '0', '9'};
    const size_t at = len > 0 ? rng_below(rng, len) : 0;

    switch (len > 0 ? rng_below(rng, 6) : 5) {
    case 0:
        data[at] ^= (unsigned char)(1u << rng_below(rng, 8));
        return len;
    case 1:
        data[at] = (unsigned char)rng_u64(rng);
        return len;
    case 2:
        data[at] = edge[rng_below(rng, sizeof(edge))];
        return len;
    case 3: /* cut the end off */
        return at;
    case 4: { /* take a stretch out */
        const size_t gone = 1 + rng_below(rng, len - at);

        memmove(data + at, data + at + gone, len - at - gone);
        return len - gone;
    }
    default: { /* put a stretch of another input in its place */
        const struct input *other = &corpus->inputs[rng_below(rng, corpus->count)];
        const size_t from = other->len > 0 ? rng_below(rng, other->len) : 0;
        const size_t room = 2 * corpus->len_max - at;
        const size_t n = other->len - from < room ? other->len - from : room;

        memcpy(data + at, other->data + from, n);
        return at + n > len ? at + n : len;
    }
    }
}

int
main(int argc, char **argv)
{
    static struct corpus corpus;
    const char *rounds_text = getenv("FL_FUZZ_ROUNDS");
    const unsigned long rounds =
        rounds_text != NULL ? strtoul(rounds_text, NULL, 10) : ROUNDS_DEFAULT;
    struct rng rng = rng_seeded(1);

    for (int i = 1; i < argc; i++) {
        corpus_load(&corpus, argv[i]);
    }
    if (corpus.count == 0) {
        die("no input: name the folder of the corpus");
    }
    for (size_t i = 0; i < corpus.count; i++) {
        feed(corpus.inputs[i].data, corpus.inputs[i].len);
    }
    unsigned char *scratch = malloc(2 * corpus.len_max + 1);

    if (scratch == NULL) {
        die_errno("malloc");
    }
    for (unsigned long round = 0; round < rounds; round++) {
        const struct input *input = &corpus.inputs[rng_below(&rng, corpus.count)];
        const uint64_t changes = 1 + rng_below(&rng, CHANGES_MAX);
        size_t len = input->len;

        memcpy(scratch, input->data, len);
        for (uint64_t i = 0; i < changes; i++) {
            len = change(&corpus, &rng, scratch, len);
        }
        feed(scratch, len);
    }
    printf("%zu inputs, %lu changed ones\n", corpus.count, rounds);
    free(scratch);
    for (size_t i = 0; i < corpus.count; i++) {
        free(corpus.inputs[i].data);
    }
    return 0;
}

/* A plugin of QEMU's software emulation that loses cache lines: beside the NVDIMM, whose memory gets every store at
 * once, it keeps what media would hold if the caches lost everything that was not written back.
 *
 *   -plugin cache_lines.so,image=FILE,media=FILE,place=FILE
 *     image   the NVDIMM's content, as QEMU has it mapped
 *     media   the same, less what was not written back: as long as `image`, to begin with its copy
 *     place   a file with two numbers, read at the guest's first instruction: where the NVDIMM begins in QEMU's count
 *             of memory (info ramblock), and where in the guest's
 *
 * Stores of programs reach `media` if they go past the cache (movnti, movntdq) or if their line is written back, and
 * then at the next sfence. QEMU does not tell what line a clwb means: a build for this test follows each by
 * a load from the line behind a mark (guest/marked_flush.h). Stores of the kernel reach `media` at once:
 * that the kernel flushes what it must is taken for granted.
 *
 * For one processor: whichever thread's sfence it is, it counts for all. And for a kernel that has all memory mapped
 * from KERNEL_MAP on (nokaslr, no5lvl), so that its stores needn't be looked up one by one. The declarations
 * below are the part of QEMU's plugin interface, version 1, that is used here; Debian doesn't package its header.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_hwaddr;
struct qemu_info;

typedef void (*translation_fn)(uint64_t id, struct qemu_plugin_tb *tb);
typedef void (*insn_fn)(unsigned vcpu, void *context);
typedef void (*access_fn)(unsigned vcpu, uint32_t info, uint64_t vaddr, void *context);

/* Reads alone (1) are not told by QEMU 7.2. */
enum { NO_REGISTERS = 0, WRITES = 2, ALL_ACCESSES = 3 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, translation_fn fn);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, insn_fn fn,
                                                   int flags, void *context);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, access_fn fn, int flags,
                                             int accesses, void *context);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
extern const uint8_t *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
extern unsigned qemu_plugin_mem_size_shift(uint32_t info);
extern struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(uint32_t info, uint64_t vaddr);
extern bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *addr);
extern uint64_t qemu_plugin_hwaddr_phys_addr(const struct qemu_plugin_hwaddr *addr);

EXPORT extern int qemu_plugin_version;
EXPORT int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv);
int qemu_plugin_version = 1;

#define KERNEL_MAP UINT64_C(0xffff888000000000)

enum { LINE = 64, PENDING_MAX = 1 << 16, MARK_BYTES = 7 };

/* nopl 0x4b52414d(%rax), see guest/marked_flush.h. */
static const uint8_t mark[MARK_BYTES] = {0x0f, 0x1f, 0x80, 0x4d, 0x41, 0x52, 0x4b};

/* Written back or past the cache, but not fenced yet. */
struct pending {
    uint64_t off;
    unsigned len;
    uint8_t bytes[LINE];
};

/* A plugin has no context of its own: QEMU passes none to the callbacks of a translation. */
static struct {
    const uint8_t *image;
    uint8_t *media;
    uint64_t bytes;
    uint64_t place;      /* UINT64_MAX: not known yet */
    uint64_t kernel_map; /* where the kernel has it mapped */
    const char *place_path;
    struct pending *pending;
    size_t pending_count;
    uint64_t mark_end; /* where the instruction behind the last mark begins */
} state = {.place = UINT64_MAX};

static void
publish(void)
{
    for (size_t i = 0; i < state.pending_count; i++) {
        memcpy(state.media + state.pending[i].off, state.pending[i].bytes, state.pending[i].len);
    }
    state.pending_count = 0;
}

/* The access's place in the NVDIMM. */
static bool
find(uint32_t info, uint64_t vaddr, uint64_t *off)
{
    const struct qemu_plugin_hwaddr *addr = qemu_plugin_get_hwaddr(info, vaddr);

    if (addr == NULL || qemu_plugin_hwaddr_is_io(addr)) {
        return false;
    }
    *off = qemu_plugin_hwaddr_phys_addr(addr) - state.place;
    return *off < state.bytes;
}

static void
add(uint64_t off, unsigned len)
{
    if (state.pending_count == PENDING_MAX) {
        publish(); /* as if the caches had no room for more */
    }
    struct pending *pending = &state.pending[state.pending_count++];

    pending->off = off;
    pending->len = len;
    memcpy(pending->bytes, state.image + off, len);
}

static void
on_kernel_store(unsigned vcpu, uint32_t info, uint64_t vaddr, void *context)
{
    uint64_t off;

    (void)vcpu;
    (void)context;
    if (vaddr >> 63 != 0) {
        off = vaddr - state.kernel_map;
        if (off >= state.bytes) {
            return;
        }
    } else if (!find(info, vaddr, &off)) {
        return;
    }
    memcpy(state.media + off, state.image + off, 1u << qemu_plugin_mem_size_shift(info));
}

static void
on_store_past_cache(unsigned vcpu, uint32_t info, uint64_t vaddr, void *context)
{
    uint64_t off;

    (void)vcpu;
    (void)context;
    if (find(info, vaddr, &off)) {
        add(off, 1u << qemu_plugin_mem_size_shift(info));
    }
}

static void
on_mark(unsigned vcpu, uint32_t info, uint64_t vaddr, void *context)
{
    uint64_t off;

    (void)vcpu;
    (void)context;
    if (find(info, vaddr, &off)) {
        add(off & ~(uint64_t)(LINE - 1), LINE);
    }
}

static void
on_fence(unsigned vcpu, void *context)
{
    (void)vcpu;
    (void)context;
    publish();
}

/* movntps, movnti, movntdq; in the encoding of AVX too. */
static bool
goes_past_cache(const uint8_t *code, size_t len)
{
    size_t at = 0;

    if (len >= 4 && (code[0] == 0xc5 || code[0] == 0xc4)) {
        const uint8_t opcode = code[0] == 0xc5 ? code[2] : code[3];

        return opcode == 0xe7 || opcode == 0x2b;
    }
    while (at + 2 < len && (code[at] == 0x66 || (code[at] & 0xf0) == 0x40)) {
        at++;
    }
    return at + 2 < len && code[at] == 0x0f &&
           (code[at + 1] == 0xc3 || code[at + 1] == 0xe7 || code[at + 1] == 0x2b);
}

static bool
is_fence(const uint8_t *code, size_t len)
{
    return len == 3 && code[0] == 0x0f && code[1] == 0xae && (code[2] == 0xf8 || code[2] == 0xf0);
}

static void
look_at(struct qemu_plugin_insn *insn)
{
    const uint8_t *code = qemu_plugin_insn_data(insn);
    const size_t len = qemu_plugin_insn_size(insn);
    const uint64_t vaddr = qemu_plugin_insn_vaddr(insn);

    if (is_fence(code, len)) {
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_fence, NO_REGISTERS, NULL);
    } else if (vaddr >> 63 != 0) {
        qemu_plugin_register_vcpu_mem_cb(insn, on_kernel_store, NO_REGISTERS, WRITES, NULL);
    } else if (goes_past_cache(code, len)) {
        qemu_plugin_register_vcpu_mem_cb(insn, on_store_past_cache, NO_REGISTERS, WRITES, NULL);
    } else if (vaddr == state.mark_end) {
        qemu_plugin_register_vcpu_mem_cb(insn, on_mark, NO_REGISTERS, ALL_ACCESSES, NULL);
    }
    if (len == MARK_BYTES && memcmp(code, mark, MARK_BYTES) == 0) {
        state.mark_end = vaddr + len;
    }
}

static void
on_translation(uint64_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    if (state.place == UINT64_MAX) {
        FILE *file = fopen(state.place_path, "re");
        unsigned long long place;
        unsigned long long phys;

        if (file == NULL || fscanf(file, "%llu %llu", &place, &phys) != 2) {
            (void)fprintf(stderr, "cache_lines: can't read %s\n", state.place_path);
            exit(1);
        }
        (void)fclose(file);
        state.place = place;
        state.kernel_map = KERNEL_MAP + phys;
    }
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        look_at(qemu_plugin_tb_get_insn(tb, i));
    }
}

static uint8_t *
map_file(const char *path, int access, uint64_t *bytes)
{
    const int fd =
        open(path, (access & PROT_WRITE) != 0 ? O_RDWR | O_CLOEXEC : O_RDONLY | O_CLOEXEC);
    struct stat found;
    void *base = MAP_FAILED;

    if (fd >= 0 && fstat(fd, &found) == 0) {
        *bytes = (uint64_t)found.st_size;
        base = mmap(NULL, (size_t)found.st_size, access, MAP_SHARED, fd, 0);
        (void)close(fd);
    }
    return base == MAP_FAILED ? NULL : base;
}

int
qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv)
{
    uint64_t media_bytes = 0;

    (void)info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "image=", 6) == 0) {
            state.image = map_file(argv[i] + 6, PROT_READ, &state.bytes);
        } else if (strncmp(argv[i], "media=", 6) == 0) {
            state.media = map_file(argv[i] + 6, PROT_READ | PROT_WRITE, &media_bytes);
        } else if (strncmp(argv[i], "place=", 6) == 0) {
            state.place_path = strdup(argv[i] + 6);
        }
    }
    state.pending = calloc(PENDING_MAX, sizeof(*state.pending));
    if (state.image == NULL || state.media == NULL || state.bytes != media_bytes ||
        state.place_path == NULL || state.pending == NULL) {
        (void)fprintf(stderr, "cache_lines: needs image, media (of the same size) and place\n");
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    return 0;
}

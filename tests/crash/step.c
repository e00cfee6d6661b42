#include "tests/crash/step.h"

#include "tests/crash/image.h"
#include "tests/crash/plant.h"
#include "tests/crash/watch.h"
#include "tests/lib/die.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { PAGES_OPEN_MAX = 8, TRAP_FLAG = 0x100, LINE = 64 };

static struct {
    uint8_t *open[PAGES_OPEN_MAX]; /* for the instruction that is being made */
    unsigned open_count;
    bool past_cache;
    bool stepping; /* inside a call into persist/ */
    uint64_t stores;
    struct sigaction segv_before, trap_before;
} step;

/* ---- instructions ---- */

struct instruction {
    const uint8_t *opcode; /* behind the prefixes */
    bool operand16;        /* 66 */
    uint8_t rex;
};

static struct instruction
instruction_at(const uint8_t *at)
{
    struct instruction i = {at, false, 0};

    while (*i.opcode == 0x66 || *i.opcode == 0xF2 || *i.opcode == 0xF3) {
        i.operand16 |= *i.opcode == 0x66;
        i.opcode++;
    }
    if ((*i.opcode & 0xF0) == 0x40) {
        i.rex = *i.opcode++;
    }
    return i;
}

static bool
is_past_cache(const uint8_t *at)
{
    const struct instruction i = instruction_at(at);
    const uint8_t *op = i.opcode;

    if (op[0] == 0x0F) {
        return op[1] == 0xC3 || op[1] == 0xE7 || op[1] == 0x2B; /* movnti, movntdq, movntps */
    }
    return op[0] == 0xC5 ? op[2] == 0xE7 || op[2] == 0x2B
                         : op[0] == 0xC4 && (op[3] == 0xE7 || op[3] == 0x2B);
}

static uint64_t
reg(const ucontext_t *context, unsigned number)
{
    static const int order[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                REG_R12, REG_R13, REG_R14, REG_R15};

    return (uint64_t)context->uc_mcontext.gregs[order[number]];
}

static int64_t
displacement(const uint8_t *at, unsigned bytes)
{
    int32_t wide = 0;

    if (bytes == 1) {
        return (int8_t)*at;
    }
    if (bytes != 0) {
        memcpy(&wide, at, sizeof(wide));
    }
    return wide;
}

/* The address that a ModRM byte, `modrm` being its place, names. */
static uint64_t
address_of(const ucontext_t *context, const uint8_t *modrm, uint8_t rex)
{
    const unsigned mod = *modrm >> 6;
    unsigned base = *modrm & 7;
    const uint8_t *next = modrm + 1;
    uint64_t address = 0;
    bool no_base = false;

    if (base == 4) {
        const unsigned index = (*next >> 3 & 7) | (rex & 2 ? 8u : 0u);

        address = index != 4 ? reg(context, index) << (*next >> 6) : 0;
        base = *next & 7;
        no_base = mod == 0 && base == 5;
        next++;
    } else if (mod == 0 && base == 5) {
        return (uint64_t)(uintptr_t)(next + 4) + (uint64_t)displacement(next, 4);
    }
    const unsigned bytes = mod == 1 ? 1 : mod == 2 || no_base ? 4 : 0;

    address += no_base ? 0 : reg(context, base | (rex & 1 ? 8u : 0u));
    return address + (uint64_t)displacement(next, bytes);
}

/* What the instruction that comes next does to the cache is told before it does it. */
static void
tell_flush(const ucontext_t *context)
{
    const uint8_t *at = (const uint8_t *)(uintptr_t)context->uc_mcontext.gregs[REG_RIP];
    const struct instruction i = instruction_at(at);
    const uint8_t *op = i.opcode;

    if (op[0] != 0x0F || op[1] != 0xAE) {
        return;
    }
    const unsigned extension = op[2] >> 3 & 7;

    if (op[2] >> 6 == 3) {
        if (extension == 7) { /* sfence */
            watch_fence();
        }
        return;
    }
    if (extension == 7 || (extension == 6 && i.operand16)) { /* clflush, clflushopt, clwb */
        const uint64_t line = address_of(context, op + 2, i.rex) & ~(uint64_t)(LINE - 1);

        watch_flush((const void *)(uintptr_t)line, LINE);
    }
}

/* ---- stores ---- */

static void
page_compare(uint8_t *page)
{
    const uint64_t off = (uint64_t)(page - watch_range.base);
    uint64_t first = IMAGE_PAGE;
    uint64_t last = 0;

    for (uint64_t i = 0; i < IMAGE_PAGE; i++) {
        if (page[i] != watch_range.shadow[off + i]) {
            first = first == IMAGE_PAGE ? i : first;
            last = i;
        }
    }
    if (first < IMAGE_PAGE) {
        watch_stored(page + first, (size_t)(last - first + 1),
                     WATCH_BULK | (step.past_cache ? (unsigned)WATCH_PAST_CACHE : 0));
        step.stores++;
    }
}

static void
protect(void *at, size_t len, int protection)
{
    if (mprotect(at, len, protection) != 0) {
        die_errno("step: mprotect");
    }
}

static void
on_segv(int number, siginfo_t *info, void *context)
{
    ucontext_t *c = context;
    uint8_t *at = info->si_addr;

    (void)number;
    if (!watch_inside(at) || step.open_count == PAGES_OPEN_MAX) {
        (void)sigaction(SIGSEGV, &step.segv_before, NULL);
        return; /* it faults again, and takes its course */
    }
    uint8_t *page = (uint8_t *)((uintptr_t)at & ~(uintptr_t)(IMAGE_PAGE - 1));

    if (step.open_count == 0) {
        step.past_cache = is_past_cache((const uint8_t *)(uintptr_t)c->uc_mcontext.gregs[REG_RIP]);
    }
    step.open[step.open_count++] = page;
    protect(page, IMAGE_PAGE, PROT_READ | PROT_WRITE);
    c->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void
on_trap(int number, siginfo_t *info, void *context)
{
    ucontext_t *c = context;

    (void)number;
    (void)info;
    for (unsigned i = 0; i < step.open_count; i++) {
        page_compare(step.open[i]);
        protect(step.open[i], IMAGE_PAGE, PROT_READ);
    }
    step.open_count = 0;
    if (step.stepping) {
        tell_flush(c);
        c->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
    } else {
        c->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
    }
}

/* ---- calls into persist/ ---- */

static void
enter(void)
{
    step.stepping = true;
    __asm__ volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq" ::: "memory", "cc");
}

static void
leave(void)
{
    step.stepping = false; /* the next trap is the last */
}

void
step_begin(void)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO};

    if (watch_range.shadow == NULL) {
        die("step: nothing is being watched");
    }
    memset(&step, 0, sizeof(step));
    action.sa_sigaction = on_segv;
    (void)sigaction(SIGSEGV, &action, &step.segv_before);
    action.sa_sigaction = on_trap;
    (void)sigaction(SIGTRAP, &action, &step.trap_before);
    protect(watch_range.base, (size_t)watch_range.len, PROT_READ);
    plant_around(enter, leave);
}

void
step_end(void)
{
    plant_around(NULL, NULL);
    protect(watch_range.base, (size_t)watch_range.len, PROT_READ | PROT_WRITE);
    (void)sigaction(SIGSEGV, &step.segv_before, NULL);
    (void)sigaction(SIGTRAP, &step.trap_before, NULL);
}

uint64_t
step_stores(void)
{
    return step.stores;
}

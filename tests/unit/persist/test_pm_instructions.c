/* Goal:   on direct media the processor really executes what the counts say: every line of what was
 *         written is flushed or stored past the cache, by the chosen instruction, and a fence comes last.
 * Method: the calls run under the processor's single-step flag. A SIGTRAP handler decodes each instruction
 *         before it runs, notes flushes, non-temporal stores and fences, and works out the line each one is
 *         about from its operands. So a flush or fence that is missing, early or for another line fails.
 */
#include "storage/persist/pm.h"
#include "tests/lib/die.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <cmocka.h>

enum { FILE_BYTES = 4096, LINES = FILE_BYTES / PM_LINE_BYTES };

static _Alignas(4096) uint8_t file[FILE_BYTES];

/* What the handler saw. A signal handler's only way out is a global. */
static struct {
    unsigned flushed[LINES];   /* how often */
    unsigned nt_bytes[LINES];  /* how many went past the cache */
    uint8_t media[FILE_BYTES]; /* what the flushes found: a store behind its flush is not in it */
    unsigned flushes;
    unsigned fences;
    bool work_after_fence; /* a flush or NT store that no fence followed */
    enum pm_flush flush;
} seen;

/* The effective address of the memory operand whose ModRM byte is at `p`; rex as in the prefix. No
 * RIP-relative forms: the file is reached through pointers. */
static uintptr_t
operand(const greg_t *regs, unsigned rex, const uint8_t *p)
{
    static const int reg_of[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                 REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                 REG_R12, REG_R13, REG_R14, REG_R15};
    const unsigned mod = *p >> 6;
    const unsigned rm = *p & 7;
    uintptr_t address = 0;
    int32_t disp32;

    p++;
    if (rm == 4) {
        const unsigned index = ((*p >> 3) & 7) | ((rex & 2) << 2);
        const unsigned base = (*p & 7) | ((rex & 1) << 3);

        if (index != 4) {
            address += (uintptr_t)regs[reg_of[index]] << (*p >> 6);
        }
        address += (*p & 7) == 5 && mod == 0 ? 0 : (uintptr_t)regs[reg_of[base]];
        p++;
    } else {
        address = (uintptr_t)regs[reg_of[rm | ((rex & 1) << 3)]];
    }
    if (mod == 1) {
        return address + (uintptr_t)(intptr_t)(int8_t)*p;
    }
    if (mod == 2) {
        memcpy(&disp32, p, sizeof(disp32));
        return address + (uintptr_t)(intptr_t)disp32;
    }
    return address;
}

static void
note(uintptr_t address, unsigned bytes_nt)
{
    const uintptr_t off = address - (uintptr_t)file;

    if (off >= FILE_BYTES) {
        return; /* somebody else's: libc copies of its own */
    }
    seen.work_after_fence = true;
    if (bytes_nt > 0) {
        seen.nt_bytes[off / PM_LINE_BYTES] += bytes_nt;
    } else {
        memcpy(seen.media + off / PM_LINE_BYTES * PM_LINE_BYTES,
               file + off / PM_LINE_BYTES * PM_LINE_BYTES, PM_LINE_BYTES);
        seen.flushed[off / PM_LINE_BYTES]++;
        seen.flushes++;
    }
}

static void
on_step(int signal_number, siginfo_t *info, void *raw)
{
    const greg_t *regs = ((ucontext_t *)raw)->uc_mcontext.gregs;
    const uint8_t *p = (const uint8_t *)(uintptr_t)regs[REG_RIP];
    const bool prefix_66 = *p == 0x66;
    unsigned rex = 0;

    (void)signal_number;
    (void)info;
    p += prefix_66;
    if ((*p & 0xf0) == 0x40) {
        rex = *p++;
    }
    if (p[0] != 0x0f) {
        return;
    }
    if (p[1] == 0xae && p[2] == 0xf8) {
        seen.fences++;
        seen.work_after_fence = false;
    } else if (p[1] == 0xae && p[2] < 0xc0 && ((p[2] >> 3) & 7) >= 6) {
        const bool clwb = ((p[2] >> 3) & 7) == 6;

        if (clwb && !prefix_66) {
            return; /* xsaveopt */
        }
        seen.flush = clwb ? PM_FLUSH_CLWB : prefix_66 ? PM_FLUSH_CLFLUSHOPT : PM_FLUSH_CLFLUSH;
        note(operand(regs, rex, p + 2), 0);
    } else if ((p[1] == 0xe7 && prefix_66) || p[1] == 0x2b) { /* movntdq, movntps */
        note(operand(regs, rex, p + 2), 16);
    }
}

static void
step_begin(void)
{
    memset(&seen, 0, sizeof(seen));
    __asm__ volatile("sub $128, %%rsp\n\t"
                     "pushf\n\t"
                     "orq $0x100, (%%rsp)\n\t"
                     "popf\n\t"
                     "add $128, %%rsp" ::
                         : "memory", "cc");
}

static void
step_end(void)
{
    __asm__ volatile("sub $128, %%rsp\n\t"
                     "pushf\n\t"
                     "andq $~0x100, (%%rsp)\n\t"
                     "popf\n\t"
                     "add $128, %%rsp" ::
                         : "memory", "cc");
}

static void
setup(struct pm_media *media, struct pm *pm, bool eadr)
{
    *media = (struct pm_media){.base = file,
                               .base_store = file,
                               .size_bytes_max = FILE_BYTES,
                               .mode = PM_DIRECT,
                               .eadr = eadr};
    pm_init(pm, media);
}

static void
check_lines(uint64_t off, size_t len)
{
    for (uint64_t line = 0; line < LINES; line++) {
        const uint64_t start = line * PM_LINE_BYTES;
        const bool touched = start + PM_LINE_BYTES > off && start < off + len;
        const bool whole = start >= off && start + PM_LINE_BYTES <= off + len;

        assert_int_equal(seen.flushed[line], touched && !whole);
        assert_int_equal(seen.nt_bytes[line], whole ? PM_LINE_BYTES : 0);
        if (touched && !whole) {
            assert_memory_equal(seen.media + start, file + start, PM_LINE_BYTES);
        }
    }
}

static void
write_flushes_every_line_then_fences(void **state)
{
    static const struct {
        uint64_t off;
        size_t len;
    } cases[] = {{0, 1},  {63, 1}, {63, 2},    {0, 64},    {0, 128},   {64, 100},
                 {1, 63}, {1, 64}, {60, 200},  {128, 640}, {100, 28},  {100, 29},
                 {8, 56}, {8, 57}, {65, 1000}, {4032, 64}, {4000, 96}, {0, 4096}};
    uint8_t src[FILE_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pm_media media;
        struct pm pm;

        memset(src, (int)i + 1, sizeof(src));
        setup(&media, &pm, false);
        step_begin();
        pm_write_nofence(&pm, cases[i].off, src, cases[i].len);
        const fl_status status = pm_drain(&pm);

        step_end();
        assert_int_equal(status, FL_OK);
        check_lines(cases[i].off, cases[i].len);
        assert_int_equal(seen.fences, 1);
        assert_false(seen.work_after_fence);
        if (seen.flushes > 0) {
            assert_int_equal(seen.flush, pm.flush);
        }
    }
}

static void
write_through_and_word_are_flushed_too(void **state)
{
    struct pm_media media;
    struct pm pm;
    uint8_t src[100] = {1};

    (void)state;
    setup(&media, &pm, false);
    step_begin();
    pm_store_u64_nofence(&pm, 8, 1);
    pm_store_u64_nofence(&pm, 1024, 1);
    const fl_status through = pm_write_through_nofence(&pm, 512, src, sizeof(src));
    const fl_status status = pm_drain_all(&pm);

    step_end();
    assert_int_equal(through, FL_OK);
    assert_int_equal(status, FL_OK);
    assert_int_equal(seen.media[8], 1);
    assert_int_equal(seen.flushed[0], 1);
    assert_int_equal(seen.flushed[16], 1);
    assert_int_equal(seen.nt_bytes[8], 64);
    assert_int_equal(seen.flushed[9], 1);
    assert_int_equal(seen.fences, 1);
    assert_int_equal(atomic_load(&pm.counts.lines), 4);
    assert_false(seen.work_after_fence);
}

static void
handoff_fences_on_the_writing_thread(void **state)
{
    struct pm_media media;
    struct pm pm;

    (void)state;
    setup(&media, &pm, false);
    step_begin();
    pm_store_u64_nofence(&pm, 8, 1);
    pm_handoff(&pm);
    step_end();
    assert_int_equal(seen.flushes, 1);
    assert_int_equal(seen.fences, 1);
    assert_false(seen.work_after_fence);
}

static void
eadr_fences_and_flushes_nothing(void **state)
{
    struct pm_media media;
    struct pm pm;
    uint8_t src[200] = {1};

    (void)state;
    setup(&media, &pm, true);
    step_begin();
    pm_write_nofence(&pm, 64, src, sizeof(src));
    pm_store_u64_nofence(&pm, 8, 1);
    const fl_status status = pm_drain(&pm);

    step_end();
    assert_int_equal(status, FL_OK);
    assert_int_equal(seen.flushes, 0);
    assert_int_equal(seen.fences, 1);
    assert_int_equal(atomic_load(&pm.counts.lines), 0);
}

/* The weaker instructions run on every machine that has a stronger one. */
static void
older_flush_instructions_are_executed_when_chosen(void **state)
{
    struct pm_media media;
    struct pm pm;

    (void)state;
    setup(&media, &pm, false);
    const enum pm_flush best = pm.flush;

    for (int flush = PM_FLUSH_CLFLUSH; flush <= (int)best; flush++) {
        pm.flush = (enum pm_flush)flush;
        step_begin();
        pm_store_u64_nofence(&pm, 8, 1);
        const fl_status status = pm_drain(&pm);

        step_end();
        assert_int_equal(status, FL_OK);
        assert_int_equal(seen.flush, flush);
        assert_int_equal(seen.flushed[0], 1);
        assert_int_equal(seen.fences, 1);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(write_flushes_every_line_then_fences),
        cmocka_unit_test(write_through_and_word_are_flushed_too),
        cmocka_unit_test(handoff_fences_on_the_writing_thread),
        cmocka_unit_test(eadr_fences_and_flushes_nothing),
        cmocka_unit_test(older_flush_instructions_are_executed_when_chosen),
    };
    const struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    if (sigaction(SIGTRAP, &action, NULL) != 0) {
        die_errno("sigaction");
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}

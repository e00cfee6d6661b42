/* The SIGBUS backstop: a load or store on a mapping of ours that the kernel can't serve ends the guarded call, or finds
 * zeros inside a shield, instead of ending the program.
 *
 * A signal handler has no argument but the signal, so here stand the only globals of the storage code: which
 * ranges are ours, which of their pages were found bad, and what handler was there before. Guard and shield are
 * thread-local.
 *
 * A page that a shielded load can't have is replaced by zeros, for all threads, and put back when the shield ends: what
 * lies there is kept meanwhile as a second mapping of it (a slot), so that the exchange is one step each way and no
 * thread ever meets a hole.
 */
#include "storage/nosync/file.h"

#include "base/fail.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum {
    RANGES_MAX = 256,
    SLOTS_MAX = 64,         /* pages replaced at one time, of all threads */
    PATCHES_MAX = 4,        /* and of one: the oldest is put back for a fifth */
    PAGE_FAULT_WRITE = 0x2, /* of the error code of a page fault */
    WORD_BITS = 64,
};

struct range {
    _Atomic(uintptr_t) base; /* 0: free */
    _Atomic(uintptr_t) end;
    struct nosync_bad bad;
};

static struct {
    pthread_mutex_t lock; /* adding and removing; the handler reads without it */
    struct sigaction before;
    unsigned count;
    uint64_t page;
    uintptr_t slots; /* SLOTS_MAX pages without access */
    atomic_bool slot_used[SLOTS_MAX];
    struct range ranges[RANGES_MAX];
} sigbus = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct shield {
    unsigned depth;
    unsigned count;
    struct patch {
        uintptr_t page;
        unsigned slot;
    } patches[PATCHES_MAX]; /* the oldest first */
};

/* initial-exec: the handler may not be the first to touch them, that could allocate. */
static _Thread_local sigjmp_buf *guard __attribute__((tls_model("initial-exec")));
static _Thread_local struct shield shield __attribute__((tls_model("initial-exec")));

static struct range *
range_of(uintptr_t address)
{
    for (unsigned i = 0; i < RANGES_MAX; i++) {
        struct range *range = &sigbus.ranges[i];
        const uintptr_t base = atomic_load_explicit(&range->base, memory_order_acquire);

        if (base != 0 && address >= base && address < atomic_load(&range->end)) {
            return range;
        }
    }
    return NULL;
}

/* ---- pages that were found bad ---- */

static void
bad_note(struct range *range, uintptr_t page)
{
    const uint64_t n = (page - atomic_load(&range->base)) / sigbus.page;
    const uint64_t bit = UINT64_C(1) << (n % WORD_BITS);

    if ((atomic_fetch_or(&range->bad.bits[n / WORD_BITS], bit) & bit) == 0) {
        atomic_fetch_add(&range->bad.pages, 1);
    }
}

static bool
bad_at(const struct nosync_bad *bad, uint64_t n)
{
    return (atomic_load_explicit(&bad->bits[n / WORD_BITS], memory_order_relaxed) >>
                (n % WORD_BITS) &
            1) != 0;
}

bool
nosync_bad_next(const struct nosync_map *map, uint64_t *off, uint64_t end, uint64_t *len)
{
    const struct nosync_bad *bad = map->bad;

    *len = 0;
    if (bad == NULL || atomic_load(&bad->pages) == 0 || *off >= end) {
        return false;
    }
    const uint64_t pages =
        (end - 1) / sigbus.page + 1 < bad->pages_max ? (end - 1) / sigbus.page + 1 : bad->pages_max;
    uint64_t n = *off / sigbus.page;

    while (n < pages && !bad_at(bad, n)) {
        const bool none = n % WORD_BITS == 0 && atomic_load(&bad->bits[n / WORD_BITS]) == 0;

        n += none ? WORD_BITS : 1;
    }
    if (n >= pages) {
        return false;
    }
    *off = n * sigbus.page;
    while (n < pages && bad_at(bad, n)) {
        n++;
    }
    *len = n * sigbus.page - *off;
    return true;
}

void
nosync_bad_forget(struct nosync_map *map, uint64_t off, uint64_t len)
{
    struct nosync_bad *bad = map->bad;

    if (bad == NULL || atomic_load_explicit(&bad->pages, memory_order_relaxed) == 0) {
        return;
    }
    for (uint64_t n = off / sigbus.page; n < (off + len) / sigbus.page; n++) {
        const uint64_t bit = UINT64_C(1) << (n % WORD_BITS);

        if ((atomic_fetch_and(&bad->bits[n / WORD_BITS], ~bit) & bit) != 0) {
            atomic_fetch_sub(&bad->pages, 1);
        }
    }
}

/* ---- shields ---- */

/* By number: the handler makes these calls, and a library that watches such calls must not run in it. */
static bool
map_over(uintptr_t at, int protection)
{
    return syscall(SYS_mmap, at, sigbus.page, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                   -1, 0L) == (long)at;
}

/* A second mapping of what `from` maps, in the place of what is at `to`. Only of shared mappings: not of zeros that
 * another thread has put there. */
static bool
map_again(uintptr_t from, uintptr_t to)
{
    return syscall(SYS_mremap, from, 0L, sigbus.page, MREMAP_MAYMOVE | MREMAP_FIXED, to) ==
           (long)to;
}

static uintptr_t
slot_at(unsigned slot)
{
    return sigbus.slots + slot * sigbus.page;
}

static bool
slot_take(unsigned *slot)
{
    for (*slot = 0; *slot < SLOTS_MAX; ++*slot) {
        if (!atomic_exchange(&sigbus.slot_used[*slot], true)) {
            return true;
        }
    }
    return false;
}

static void
slot_give(unsigned slot)
{
    if (map_over(slot_at(slot), PROT_NONE)) {
        atomic_store(&sigbus.slot_used[slot], false);
    } /* else it keeps what it has, and is used no more */
}

/* Put the oldest page back. If that fails it stays zeros; it is known to be bad. */
static void
patch_undo(void)
{
    const struct patch patch = shield.patches[0];

    shield.count--;
    for (unsigned i = 0; i < shield.count; i++) {
        shield.patches[i] = shield.patches[i + 1];
    }
    (void)map_again(slot_at(patch.slot), patch.page);
    slot_give(patch.slot);
}

/* Zeros where the load is to be repeated. */
static bool
patch_make(struct range *range, uintptr_t address)
{
    const uintptr_t page = address & ~(uintptr_t)(sigbus.page - 1);
    unsigned slot = 0;

    bad_note(range, page); /* before anybody can meet the zeros */
    for (unsigned i = 0; i < shield.count; i++) {
        if (shield.patches[i].page == page) {
            return map_over(page, PROT_READ); /* another thread has put it back */
        }
    }
    if (shield.count == PATCHES_MAX) {
        patch_undo();
    }
    if (!slot_take(&slot)) {
        return false;
    }
    if (!map_again(page, slot_at(slot))) {
        slot_give(slot);
        return true; /* another thread has just put zeros there: look again */
    }
    if (!map_over(page, PROT_READ)) {
        slot_give(slot);
        return false;
    }
    shield.patches[shield.count++] = (struct patch){page, slot};
    return true;
}

void
nosync_shield_begin(void)
{
    shield.depth++;
}

void
nosync_shield_end(void)
{
    FL_ASSERT(shield.depth > 0);
    if (--shield.depth == 0) {
        while (shield.count > 0) {
            patch_undo();
        }
    }
}

/* ---- the handler ---- */

/* What would have happened without us. */
static void
chain(int signal_number, siginfo_t *info, void *context)
{
    const bool sent = info->si_code <= 0; /* by kill(2) or raise(3), not by an access */

    if (sigbus.before.sa_flags & SA_SIGINFO) {
        sigbus.before.sa_sigaction(signal_number, info, context);
    } else if (sigbus.before.sa_handler == SIG_IGN && sent) {
        return;
    } else if (sigbus.before.sa_handler != SIG_DFL && sigbus.before.sa_handler != SIG_IGN) {
        sigbus.before.sa_handler(signal_number);
    } else {
        /* The access runs again and ends the program; a signal that was sent has to be sent again. */
        (void)signal(SIGBUS, SIG_DFL);
        if (sent) {
            (void)raise(SIGBUS);
        }
    }
}

/* What zeros can't stand in for. A machine check tells no more than that the bytes were wanted: if it was for a store,
 * that is repeated and fails as one. */
static bool
is_store(const siginfo_t *info, const ucontext_t *context)
{
    return info->si_code != BUS_MCEERR_AR &&
           (context->uc_mcontext.gregs[REG_ERR] & PAGE_FAULT_WRITE) != 0;
}

static void
on_sigbus(int signal_number, siginfo_t *info, void *context)
{
    const uintptr_t address = (uintptr_t)info->si_addr;
    /* si_code > 0: the kernel's own, not a kill(2). BUS_MCEERR_AO is about memory nobody is using now. */
    const bool access = info->si_code > 0 && info->si_code != BUS_MCEERR_AO;
    struct range *range = access ? range_of(address) : NULL;

    if (range != NULL && guard != NULL) {
        /* The jump restores no mask, so that a guard costs no system call: here it costs one. */
        (void)pthread_sigmask(SIG_SETMASK, &((ucontext_t *)context)->uc_sigmask, NULL);
        siglongjmp(*guard, 1);
    }
    if (range != NULL && shield.depth > 0 && !is_store(info, context)) {
        const int error = errno;
        const bool patched = patch_make(range, address);

        errno = error;
        if (patched) {
            return;
        }
    }
    chain(signal_number, info, context);
}

static bool
handler_is_ours(void)
{
    struct sigaction now;

    return sigaction(SIGBUS, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) != 0 &&
           now.sa_sigaction == on_sigbus;
}

static fl_status
slots_reserve(void)
{
    if (sigbus.slots != 0) {
        return FL_OK;
    }
    sigbus.page = (uint64_t)getpagesize();
    void *slots =
        mmap(NULL, SLOTS_MAX * sigbus.page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (slots == MAP_FAILED) {
        return FL_FAIL_ERRNO(FL_NO_MEMORY, "address space for the SIGBUS handler");
    }
    sigbus.slots = (uintptr_t)slots;
    return FL_OK;
}

/* A bit a page: lazily, most stay what they are. */
static fl_status
range_init(struct range *range, uintptr_t base, uint64_t bytes)
{
    const uint64_t pages = (bytes - 1) / sigbus.page + 1;
    const uint64_t words = pages / WORD_BITS + 1;
    void *bits = mmap(NULL, words * sizeof(uint64_t), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (bits == MAP_FAILED) {
        return FL_FAIL_ERRNO(FL_NO_MEMORY, "notes on %" PRIu64 " pages", pages);
    }
    range->bad.bits = bits;
    range->bad.pages_max = pages;
    atomic_store(&range->bad.pages, 0);
    atomic_store(&range->end, base + bytes);
    atomic_store_explicit(&range->base, base, memory_order_release);
    return FL_OK;
}

static void
range_deinit(struct range *range)
{
    (void)munmap((void *)(uintptr_t)range->bad.bits,
                 (range->bad.pages_max / WORD_BITS + 1) * sizeof(uint64_t));
    range->bad.bits = NULL;
    atomic_store(&range->base, 0);
}

fl_status
sigbus_add(const void *base, uint64_t bytes, struct nosync_bad **bad)
{
    const struct sigaction action = {.sa_sigaction = on_sigbus,
                                     .sa_flags = SA_SIGINFO | SA_ONSTACK};
    unsigned i = 0;

    *bad = NULL;
    (void)pthread_mutex_lock(&sigbus.lock);
    while (i < RANGES_MAX && atomic_load(&sigbus.ranges[i].base) != 0) {
        i++;
    }
    fl_status status =
        i < RANGES_MAX
            ? slots_reserve()
            : FL_FAIL(FL_NO_MEMORY, "more than %d stores with a SIGBUS handler", RANGES_MAX);

    if (status == FL_OK && sigbus.count == 0 && !handler_is_ours() &&
        sigaction(SIGBUS, &action, &sigbus.before) != 0) {
        status = FL_FAIL_ERRNO(FL_IO, "install the SIGBUS handler");
    }
    if (status == FL_OK) {
        status = range_init(&sigbus.ranges[i], (uintptr_t)base, bytes);
    }
    if (status == FL_OK) {
        sigbus.count++;
        *bad = &sigbus.ranges[i].bad;
    } else if (sigbus.count == 0 && handler_is_ours()) {
        (void)sigaction(SIGBUS, &sigbus.before, NULL);
    }
    (void)pthread_mutex_unlock(&sigbus.lock);
    return status;
}

void
sigbus_remove(const void *base)
{
    (void)pthread_mutex_lock(&sigbus.lock);
    for (unsigned i = 0; i < RANGES_MAX; i++) {
        if (atomic_load(&sigbus.ranges[i].base) == (uintptr_t)base) {
            range_deinit(&sigbus.ranges[i]);
            sigbus.count--;
            break;
        }
    }
    /* Whoever came after us and chains to us keeps us. */
    if (sigbus.count == 0 && handler_is_ours()) {
        (void)sigaction(SIGBUS, &sigbus.before, NULL);
    }
    (void)pthread_mutex_unlock(&sigbus.lock);
}

bool
nosync_guard(void (*body)(void *context), void *context)
{
    sigjmp_buf here;
    sigjmp_buf *const outer = guard;

    if (sigsetjmp(here, 0) != 0) {
        guard = outer;
        return false;
    }
    guard = &here;
    body(context);
    guard = outer;
    return true;
}

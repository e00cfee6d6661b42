/* The SIGBUS backstop: a load or store on a mapping of ours that the kernel can't serve ends the guarded call
 * instead of the program.
 *
 * A signal handler has no argument but the signal, so here stand the only globals of the storage code: which
 * ranges are ours, and what handler was there before. The guard itself is thread-local.
 */
#include "storage/nosync/file.h"

#include "base/fail.h"

#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <ucontext.h>

enum { RANGES_MAX = 256 };

static struct {
    pthread_mutex_t lock; /* adding and removing; the handler reads without it */
    struct sigaction before;
    unsigned count;
    struct {
        _Atomic(uintptr_t) base; /* 0: free */
        _Atomic(uintptr_t) end;
    } ranges[RANGES_MAX];
} sigbus = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* initial-exec: the handler may not be the first to touch it, that could allocate. */
static _Thread_local sigjmp_buf *guard __attribute__((tls_model("initial-exec")));

static bool
is_ours(uintptr_t address)
{
    for (unsigned i = 0; i < RANGES_MAX; i++) {
        const uintptr_t base = atomic_load_explicit(&sigbus.ranges[i].base, memory_order_acquire);

        if (base != 0 && address >= base && address < atomic_load(&sigbus.ranges[i].end)) {
            return true;
        }
    }
    return false;
}

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

static void
on_sigbus(int signal_number, siginfo_t *info, void *context)
{
    /* si_code > 0: the kernel's own, not a kill(2). BUS_MCEERR_AO is about memory nobody is using now. */
    if (guard != NULL && info->si_code > 0 && info->si_code != BUS_MCEERR_AO &&
        is_ours((uintptr_t)info->si_addr)) {
        /* The jump restores no mask, so that a guard costs no system call: here it costs one. */
        (void)pthread_sigmask(SIG_SETMASK, &((ucontext_t *)context)->uc_sigmask, NULL);
        siglongjmp(*guard, 1);
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

fl_status
sigbus_add(const void *base, uint64_t bytes)
{
    const struct sigaction action = {.sa_sigaction = on_sigbus,
                                     .sa_flags = SA_SIGINFO | SA_ONSTACK};
    fl_status status = FL_OK;
    unsigned i = 0;

    (void)pthread_mutex_lock(&sigbus.lock);
    while (i < RANGES_MAX && atomic_load(&sigbus.ranges[i].base) != 0) {
        i++;
    }
    if (i == RANGES_MAX) {
        status = FL_FAIL(FL_NO_MEMORY, "more than %d stores with a SIGBUS handler", RANGES_MAX);
    } else if (sigbus.count == 0 && !handler_is_ours() &&
               sigaction(SIGBUS, &action, &sigbus.before) != 0) {
        status = FL_FAIL_ERRNO(FL_IO, "install the SIGBUS handler");
    } else {
        sigbus.count++;
        atomic_store(&sigbus.ranges[i].end, (uintptr_t)base + bytes);
        atomic_store_explicit(&sigbus.ranges[i].base, (uintptr_t)base, memory_order_release);
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
            atomic_store(&sigbus.ranges[i].base, 0);
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

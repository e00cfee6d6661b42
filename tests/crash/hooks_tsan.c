/* The calls that -fsanitize=thread puts before loads and stores; see watch.h. Their names are the compiler's, and it
 * alone declares them. Atomic operations are done here. */
#include "tests/crash/watch.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"
/* NOLINTBEGIN(bugprone-reserved-identifier, cert-*, bugprone-macro-parentheses) */

void
__tsan_init(void)
{
}

void
__tsan_func_entry(void *at)
{
    (void)at;
}

void
__tsan_func_exit(void)
{
}

void
__tsan_read_range(void *at, size_t len)
{
    watch_load(at, len);
}

void
__tsan_write_range(void *at, size_t len)
{
    watch_store_soon(at, len, WATCH_BULK);
}

#define LOAD(name, bytes)                                                                          \
    void name(void *at)                                                                            \
    {                                                                                              \
        watch_load(at, bytes);                                                                     \
    }
#define STORE(name, bytes, flags)                                                                  \
    void name(void *at)                                                                            \
    {                                                                                              \
        watch_store_soon(at, bytes, flags);                                                        \
    }
#define BOTH(name, bytes)                                                                          \
    void name(void *at)                                                                            \
    {                                                                                              \
        watch_load(at, bytes);                                                                     \
        watch_store_soon(at, bytes, 0);                                                            \
    }
#define ACCESS(bytes, plain)                                                                       \
    LOAD(__tsan_read##bytes, bytes)                                                                \
    LOAD(__tsan_volatile_read##bytes, bytes)                                                       \
    LOAD(__tsan_unaligned_read##bytes, bytes)                                                      \
    LOAD(__tsan_unaligned_volatile_read##bytes, bytes)                                             \
    STORE(__tsan_write##bytes, bytes, plain)                                                       \
    STORE(__tsan_volatile_write##bytes, bytes, WATCH_ORDERED)                                      \
    STORE(__tsan_unaligned_write##bytes, bytes, plain)                                             \
    STORE(__tsan_unaligned_volatile_write##bytes, bytes, WATCH_ORDERED)                            \
    BOTH(__tsan_read_write##bytes, bytes)                                                          \
    BOTH(__tsan_unaligned_read_write##bytes, bytes)

ACCESS(1, 0)
ACCESS(2, 0)
ACCESS(4, 0)
ACCESS(8, 0)
ACCESS(16, WATCH_BULK)

static inline unsigned
order_flags(int order)
{
    return order == __ATOMIC_RELAXED || order == __ATOMIC_CONSUME || order == __ATOMIC_ACQUIRE
               ? WATCH_ORDERED
               : WATCH_ORDERED | WATCH_RELEASE;
}

/* A switch to another thread may come before each. */
static inline void
atomic_load_hook(const volatile void *at, size_t len)
{
    watch_settle();
    baton_point();
    watch_load((const void *)(uintptr_t)at, len);
}

static inline void *
atomic_change_hook(volatile void *at, size_t len, bool loads)
{
    void *plain = (void *)(uintptr_t)at;

    if (loads) {
        watch_load(plain, len);
    }
    watch_change_now(plain, len);
    return plain;
}

#define FETCH(bits, type, operation)                                                               \
    type __tsan_atomic##bits##_fetch_##operation(volatile type *at, type value, int order)         \
    {                                                                                              \
        void *plain = atomic_change_hook(at, sizeof(type), true);                                  \
        const type old = __atomic_fetch_##operation(at, value, __ATOMIC_SEQ_CST);                  \
                                                                                                   \
        watch_stored(plain, sizeof(type), order_flags(order));                                     \
        return old;                                                                                \
    }
#define ATOMIC(bits, type)                                                                         \
    type __tsan_atomic##bits##_load(const volatile type *at, int order)                            \
    {                                                                                              \
        (void)order;                                                                               \
        atomic_load_hook(at, sizeof(type));                                                        \
        return __atomic_load_n(at, __ATOMIC_SEQ_CST);                                              \
    }                                                                                              \
    void __tsan_atomic##bits##_store(volatile type *at, type value, int order)                     \
    {                                                                                              \
        void *plain = atomic_change_hook(at, sizeof(type), false);                                 \
                                                                                                   \
        if (order == __ATOMIC_SEQ_CST) {                                                           \
            __atomic_store_n(at, value, __ATOMIC_SEQ_CST);                                         \
        } else {                                                                                   \
            __atomic_store_n(at, value, __ATOMIC_RELEASE);                                         \
        }                                                                                          \
        watch_stored(plain, sizeof(type), order_flags(order));                                     \
    }                                                                                              \
    type __tsan_atomic##bits##_exchange(volatile type *at, type value, int order)                  \
    {                                                                                              \
        void *plain = atomic_change_hook(at, sizeof(type), true);                                  \
        const type old = __atomic_exchange_n(at, value, __ATOMIC_SEQ_CST);                         \
                                                                                                   \
        watch_stored(plain, sizeof(type), order_flags(order));                                     \
        return old;                                                                                \
    }                                                                                              \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile type *at, type *expected,           \
                                                      type value, int order, int failure)          \
    {                                                                                              \
        void *plain = atomic_change_hook(at, sizeof(type), true);                                  \
        const bool done = __atomic_compare_exchange_n(at, expected, value, false,                  \
                                                      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);         \
                                                                                                   \
        (void)failure;                                                                             \
        if (done) {                                                                                \
            watch_stored(plain, sizeof(type), order_flags(order));                                 \
        }                                                                                          \
        return done;                                                                               \
    }                                                                                              \
    int __tsan_atomic##bits##_compare_exchange_weak(volatile type *at, type *expected, type value, \
                                                    int order, int failure)                        \
    {                                                                                              \
        return __tsan_atomic##bits##_compare_exchange_strong(at, expected, value, order, failure); \
    }                                                                                              \
    type __tsan_atomic##bits##_compare_exchange_val(volatile type *at, type expected, type value,  \
                                                    int order, int failure)                        \
    {                                                                                              \
        (void)__tsan_atomic##bits##_compare_exchange_strong(at, &expected, value, order, failure); \
        return expected;                                                                           \
    }                                                                                              \
    FETCH(bits, type, add)                                                                         \
    FETCH(bits, type, sub)                                                                         \
    FETCH(bits, type, and)                                                                         \
    FETCH(bits, type, or)                                                                          \
    FETCH(bits, type, xor)                                                                         \
    FETCH(bits, type, nand)

ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)

void
__tsan_atomic_thread_fence(int order)
{
    (void)order;
    watch_settle();
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void
__tsan_atomic_signal_fence(int order)
{
    (void)order;
    watch_settle();
}
/* NOLINTEND(bugprone-reserved-identifier, cert-*, bugprone-macro-parentheses) */

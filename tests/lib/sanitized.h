/* Whether this is a build with AddressSanitizer or ThreadSanitizer: five to twenty times slower, and with memory of its
 * own for what a program touches. SANITIZED: with either; SANITIZED_THREAD: with the second. */
#ifndef FL_TESTS_LIB_SANITIZED_H
#define FL_TESTS_LIB_SANITIZED_H

#ifdef __has_feature
#define SANITIZED_FEATURE(name) __has_feature(name)
#else
#define SANITIZED_FEATURE(name) 0 /* gcc says it with the macros below */
#endif

#if defined(__SANITIZE_THREAD__) || SANITIZED_FEATURE(thread_sanitizer)
#define SANITIZED_THREAD 1
#else
#define SANITIZED_THREAD 0
#endif

#if SANITIZED_THREAD || defined(__SANITIZE_ADDRESS__) || SANITIZED_FEATURE(address_sanitizer)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#endif

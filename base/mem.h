/* Memory: every allocation that may fail goes through here, so that a test can make the n-th one fail. */
#ifndef FL_BASE_MEM_H
#define FL_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>

/* `bytes` bytes aligned to 128, of any content or zero. NULL: none to be had. Owner: mem_free(). Threads: any. */
void *mem_alloc(size_t bytes);
void *mem_alloc_zero(size_t bytes);
void mem_free(void *ptr); /* NULL is allowed */

/* Address space without memory behind it: `bytes` (a multiple of 2 MiB), aligned to 2 MiB. It can't be
 * touched before mem_map_commit(). NULL: none to be had. Owner: mem_map_release(). Threads: any. */
void *mem_map_reserve(size_t bytes);
/* Make a part usable; it reads as zero. Memory is taken page by page when it is first touched. */
bool mem_map_commit(void *ptr, size_t bytes);
void mem_map_release(void *ptr, size_t bytes);

/* For tests: the calling thread's n-th call from now on fails (1: the next one), and so do all after it.
 * 0: none fails. Returns how many calls were left before the first failure. */
unsigned long mem_fail_from(unsigned long n);

#endif

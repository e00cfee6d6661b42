/* Put before a source of storage/persist/ by -include, for a build that host/cache_lines.c watches: after each flush a
 * mark that no compiler makes, then a load from the line, which shows the emulator what line it was.
 */
#ifndef FL_TESTS_POWERCUT_MARKED_FLUSH_H
#define FL_TESTS_POWERCUT_MARKED_FLUSH_H

#define pm_flush_line pm_flush_line_shipped
#include "storage/persist/pm_flush.h"
#undef pm_flush_line

static inline void
pm_flush_line(enum pm_flush flush, void *addr)
{
    pm_flush_line_shipped(flush, addr);
    __asm__ volatile("nopl 0x4b52414d(%%rax)\n\tmovb %0, %%al"
                     :
                     : "m"(*(volatile char *)addr)
                     : "al", "memory");
}

#endif

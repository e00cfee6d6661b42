/* Recorder B: the shipped objects, as they are. The file is write-protected; each store to it faults, is let through
 * for one instruction and then compared, so that whatever made it - libc, inline assembler, NT and vector stores - is
 * seen. Inside
 * calls into persist/ every instruction is stepped through, and flushes and fences are told by their opcodes.
 *
 * Slow: some 100 us a store. One thread. The range is the one that is being watched (watch.h): its shadow is what
 * stores are compared with.
 */
#ifndef FL_TESTS_CRASH_STEP_H
#define FL_TESTS_CRASH_STEP_H

#include <stdint.h>

void step_begin(void);
void step_end(void);

/* Stores that were let through. */
uint64_t step_stores(void);

#endif

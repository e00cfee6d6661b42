/* CRC-32C (Castagnoli, polynomial 0x1EDC6F41 reflected; RFC 3720 appendix B.4 has test vectors). */
#ifndef FL_BASE_CRC32C_H
#define FL_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Extend `crc` (the value returned for the bytes before, 0 at the start) over `len` bytes.
 * Uses the SSE4.2 instruction where the machine has it, a table otherwise: same result.
 * Threads: any. Errors: none. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

/* The table version, for tests and for machines without the instruction. */
uint32_t crc32c_portable(uint32_t crc, const void *data, size_t len);

#endif

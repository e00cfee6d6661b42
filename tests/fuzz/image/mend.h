/* Checks made right over changed bytes, so that a changed field gets past its CRC and is judged by what it says. */
#ifndef FL_TESTS_FUZZ_IMAGE_MEND_H
#define FL_TESTS_FUZZ_IMAGE_MEND_H

#include <stddef.h>
#include <stdint.h>

/* Recompute the CRC of the superblocks, and from there on of what they lead to: roots, clock, table words, segment
 * headers, seals, marks, records, batches. Stops where nothing can be made of the bytes. */
void mend_image(uint8_t *image, size_t len);

#endif

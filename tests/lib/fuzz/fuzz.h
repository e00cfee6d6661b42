/* The one function of a fuzz target. fl_fuzz() links it with libFuzzer (preset fuzz) or with main.c here. */
#ifndef FL_TESTS_LIB_FUZZ_H
#define FL_TESTS_LIB_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Feed `size` bytes to the code under test; returns 0. A finding is a crash, a sanitizer's report or
 * a failed assertion. It keeps nothing from one call to the next. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif

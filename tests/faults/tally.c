#include "tests/faults/tally.h"

#include <stdio.h>

void
tally_print(const struct tally *tally)
{
    printf("faults: %s injected=%lu refused=%lu survived=%lu\n", tally->kind, tally->injected,
           tally->refused, tally->injected - tally->refused);
    (void)fflush(stdout);
}

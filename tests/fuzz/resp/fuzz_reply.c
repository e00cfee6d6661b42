/* Goal:   no stream of replies crashes the reader, makes it read or write outside of its buffer,
 * yields a tree that is none,
 *         or means something else when it arrives in other pieces.
 * Method: the first byte chooses the pieces; what follows is read whole and in pieces, and must
 * give the same. The trace
 *         walks every node.
 */
#include "tests/lib/die.h"
#include "tests/lib/fuzz/fuzz.h"
#include "tests/unit/proto/trace.h"

#include <string.h>

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    const size_t bytes_max = (data[0] & 1) != 0 ? 200 : SIZE_MAX;
    const char *stream = (const char *)data + 1;
    size_t even = 1 + (data[0] >> 4);
    struct text a = {0};
    struct text b = {0};

    trace_replies(&a, stream, size - 1, bytes_max, piece_whole, NULL);
    trace_replies(&b, stream, size - 1, bytes_max, piece_even, &even);
    if (strcmp(a.ptr, b.ptr) != 0) {
        die("in pieces of %zu:\n%s\nwhole:\n%s", even, b.ptr, a.ptr);
    }
    text_free(&a);
    text_free(&b);
    return 0;
}

/* Goal:   no stream of requests crashes the parser, makes it read or write outside of its buffer,
 * or means something else
 *         when it arrives in other pieces.
 * Method: the first byte chooses limits and pieces; what follows is parsed whole, and in pieces
 * with arguments streamed,
 *         and must give the same.
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
    const struct trace_request_options whole = {
        .unauthenticated = (data[0] & 1) != 0,
        .bulk_bytes_max = (data[0] & 2) != 0 ? 100 : 0,
    };
    struct trace_request_options split = whole;
    const char *stream = (const char *)data + 1;
    size_t even = 1 + (data[0] >> 4);
    struct text a = {0};
    struct text b = {0};

    split.stream_min = (data[0] & 4) != 0 ? 8 : 0;
    trace_requests(&a, stream, size - 1, &whole, piece_whole, NULL);
    trace_requests(&b, stream, size - 1, &split, piece_even, &even);
    if (strcmp(a.ptr, b.ptr) != 0) {
        die("in pieces of %zu:\n%s\nwhole:\n%s", even, b.ptr, a.ptr);
    }
    text_free(&a);
    text_free(&b);
    return 0;
}

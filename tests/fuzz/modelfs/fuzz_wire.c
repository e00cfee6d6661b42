/* Goal:   no message makes the model filesystem's host read behind its end, take a name without an end, or serve a
 *         range that wraps.
 * Method: the first byte is the number of descriptors, the rest the message, in memory of exactly its size. Of what is
 *         let through everything is asserted that the host relies on. */
#include "tests/lib/die.h"
#include "tests/lib/fuzz/fuzz.h"

#include "storage/modelfs/wire.h"

#include <stdlib.h>
#include <string.h>

static void
expect(bool holds, const char *what)
{
    if (!holds) {
        die("a call was let through: %s", what);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    const size_t fds = data[0] % (WIRE_FDS_MAX + 1);
    const size_t bytes = size - 1;
    void *message = malloc(bytes > 0 ? bytes : 1);
    if (message == NULL) {
        die("no memory");
    }
    memcpy(message, data + 1, bytes);
    const struct wire_call *call = message;
    if (wire_call_check(call, bytes, fds)) {
        expect(call->kind >= WIRE_HELLO && call->kind < WIRE_CALL_KINDS, "unknown kind");
        expect(memchr(call->name, '\0', sizeof(call->name)) != NULL, "name without an end");
        expect(memchr(call->to, '\0', sizeof(call->to)) != NULL, "second name without an end");
        expect(bytes == sizeof(*call) + call->data_bytes, "size of the data");
        expect(call->data_bytes <= WIRE_DATA_BYTES_MAX, "more data than there is room for");
        expect(fds == (call->kind == WIRE_HELLO || call->kind == WIRE_MAP ? 1U : 0U),
               "number of descriptors");
        if (call->kind == WIRE_READ || call->kind == WIRE_WRITE || call->kind == WIRE_MAP ||
            call->kind == WIRE_PUNCH || call->kind == WIRE_COLLAPSE ||
            call->kind == WIRE_ALLOCATE || call->kind == WIRE_POPULATE) {
            expect(call->off <= INT64_MAX && call->len <= INT64_MAX - call->off, "range wraps");
        }
        expect(call->kind != WIRE_READ || call->len <= WIRE_DATA_BYTES_MAX, "long read");
        expect(call->kind != WIRE_WRITE || call->len == call->data_bytes, "write of other bytes");
    }
    free(message);
    return 0;
}

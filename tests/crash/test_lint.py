#!/usr/bin/env python3
"""Goal:   nothing of the shipped storage can change media in a way that the recorder, or the crash model, doesn't know.
Method: the objects are disassembled: flush, fence, NT and string instructions stand in persist/ only, and none swaps 16
        bytes; and what they call from outside is on a list. The list is what hooks_libc.h, or a look at the manual page,
        says is harmless: who adds a call that writes through a pointer has to think of both.

test_lint.py ARCHIVE...
"""
import re
import subprocess
import sys
import unittest

ARCHIVES = sys.argv[1:]
FORBIDDEN = re.compile(
    r"\s(clwb|clflush(opt)?|[sm]fence|v?movnt\w*|maskmov\w*|v?maskmov\w*|movdir\w*|enqcmds?|rep\w* \w+|"
    r"(lock )?cmpxchg16b)\b")
# How gcc zeroes and copies structs of its own; media is const for everybody but persist/.
HARMLESS = {"rep stos", "rep movsq"}
# Read only, or write what is certainly not media: the caller's text, locks, new memory.
LISTED = re.compile(
    r"^(memcpy|memmove|memset|memcmp|bcmp|str(len|cmp|ncmp|chr|rchr|str|dup|cspn|tok_r|toull|error.*|ftime)|"
    r"v?snprintf|v?asprintf|fprintf|stderr|printf|"
    r"malloc|calloc|realloc|aligned_alloc|free|mmap|munmap|mprotect|madvise|mincore|"
    r"pthread_\w+|sched_yield|nanosleep|clock_gettime|gmtime_r|sysconf|getrandom|getpid|gettid|syscall|"
    r"eventfd|close|read|write|access|stat|unlink|chmod|chown|realpath|renameat2|open|fsync|"
    r"__errno_location|__tls_get_addr|__stack_chk_fail|__cpu_model|__cpu_indicator_init|abort|"
    r"_GLOBAL_OFFSET_TABLE_|__assert_fail|__(v?sn?printf|mem\w+|fprintf)_chk|"
    r"__gcov_\w+|__asan_\w+|__ubsan_\w+|__sanitizer_\w+|__isoc\w+)$")


def tool(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


class Shipped(unittest.TestCase):
    def test_flushes_fences_and_nt_stores_are_in_persist_only(self):
        seen_in_persist = False
        for archive in ARCHIVES:
            found = sorted({m.group(1) for m in FORBIDDEN.finditer(
                tool("objdump", "-d", "--no-show-raw-insn", archive))} - HARMLESS)
            if "persist" in archive:
                seen_in_persist = "clwb" in found and "sfence" in found
                self.assertFalse([i for i in found if "16b" in i], archive)
            else:
                self.assertEqual([], found, archive)
        self.assertTrue(seen_in_persist, "the instructions are not where they should be")

    def test_calls_to_the_outside_are_on_the_list(self):
        defined, wanted = set(), {}
        for archive in ARCHIVES:
            for line in tool("nm", archive).splitlines():
                fields = line.split()
                if len(fields) == 3 and fields[1] not in "UN":
                    defined.add(fields[2])
                elif len(fields) == 2 and fields[0] == "U":
                    wanted.setdefault(fields[1], archive)
        for name, archive in sorted(wanted.items()):
            if name not in defined and not name.startswith("nosync_"):
                self.assertRegex(name, LISTED, archive)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

/* Where a test of the mapping puts its file: a directory, or a small filesystem of its own that can be
 * filled up. */
#ifndef FL_TESTS_UNIT_NOSYNC_PLACE_H
#define FL_TESTS_UNIT_NOSYNC_PLACE_H

#include "storage/nosync/nosync.h"
#include "tests/lib/tmpdir.h"

#include <stdint.h>

#define PLACE_BLOCK UINT64_C(65536)

/* Mount a tmpfs of `bytes` on a fresh directory, seen by this process and its children only and gone with them. Ends
 * the program with 77 where that is not allowed. Call it from main(). */
void place_tmpfs(struct tmpdir *dir, uint64_t bytes);

/* The same with ext4, made in a file under $TMPDIR and mounted by a loop device; the device's name, "loop3", goes
 * to `device` (32 bytes) unless that is NULL. */
void place_ext4(struct tmpdir *dir, uint64_t bytes, char *device);

/* Unmount what one of the two has mounted. */
void place_remove(struct tmpdir *dir);

/* A request that asks for nothing special: create, durability of a process, 4 KiB alignment. */
struct nosync_request place_request(const char *path, enum fl_mapping mapping,
                                    uint64_t size_bytes_max);

/* Model: ends the program with 77 where userfaultfd is refused. Call it from main(). */
void place_need_userfaultfd(void);

/* Open; a failure ends the program with its text. */
struct nosync_map *place_open(const struct nosync_request *request);

#endif

/* A Linux filesystem as an adapter: files in one directory, mappings by mmap(2). */
#ifndef FL_TESTS_CONTRACT_KERNEL_ADAPTER_H
#define FL_TESTS_CONTRACT_KERNEL_ADAPTER_H

#include "tests/contract/adapter.h"

struct kernel {
    struct adapter adapter;
    int dir_fd;
    char commits_path[128]; /* where the kernel counts them */
    bool xfs;
};

/* Aborts if `path` is not on a filesystem that counts its commits. */
void kernel_open(struct kernel *k, const char *path);

#endif

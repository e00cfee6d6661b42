/* What a synchronous write is worth on the filesystem below. Internal to nosync/. */
#ifndef FL_STORAGE_NOSYNC_TRUST_H
#define FL_STORAGE_NOSYNC_TRUST_H

#include <faultline/faultline.h>

#include <stdio.h>

struct trust {
    enum fl_durability durability;
    bool memory;   /* tmpfs, ramfs: nothing to write to */
    char text[48]; /* "ext4", "overlay (unverified)", "ext4 nobarrier (unverified)" */
};

/* Judge the filesystem that holds the open file. Never fails: what can't be found out is unverified. */
void trust_of_file(int fd, struct trust *out);

/* The same from the text of /proc/self/mountinfo and the mount's number in it. */
void trust_from_mountinfo(FILE *mountinfo, uint64_t mount_id, struct trust *out);

/* The same from a filesystem's type and its options, separated by commas. */
void trust_judge(const char *type, const char *options, struct trust *out);

#endif

/* A host in this process until it is told to end, or its power is cut. */
#ifndef FL_STORAGE_MODELFS_TOOL_SERVE_H
#define FL_STORAGE_MODELFS_TOOL_SERVE_H

#include "storage/modelfs/host.h"
#include "storage/modelfs/tool/tool.h"

/* Signals that end a host, as a descriptor to poll; blocked from then on, in threads made later too. -1: told. */
int serve_signals(const struct tool_command *command);

/* Host the device and start to serve it. Owner: the caller, mfs_host_destroy(). False: told. */
bool serve_start(const struct tool_command *command, const char *path, struct mfs_host **out);

/* Say why it ends: a signal read from `signal_fd`, or the power. */
void serve_farewell(const struct tool_command *command, const char *path, int signal_fd,
                    bool power_cut);

#endif

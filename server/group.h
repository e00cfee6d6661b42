/* Requests parsed ahead of their execution, so that the cache misses of all their keys overlap. */
#ifndef FL_SERVER_GROUP_H
#define FL_SERVER_GROUP_H

#include "proto/command_table.h"
#include "proto/resp_parse.h"

#include <faultline/faultline.h>

#include <stddef.h>

enum {
    GROUP_MAX = 32,          /* requests parsed before the first is run */
    GROUP_PREFETCH_MAX = 64, /* keys whose cache misses are started together */
    GROUP_ARGS_MIN = 1024,
};

struct request {
    const struct command *command; /* NULL: unknown */
    unsigned args;                 /* its first slot in the group's args */
    unsigned argc;
    size_t end; /* offset behind it in the buffer */
};

/* One a server, used anew for each group. */
struct request_group {
    struct request requests[GROUP_MAX];
    unsigned requests_count;
    /* Why parsing ended: FL_OK (the group is full), FL_AGAIN, FL_PROTOCOL, FL_NO_MEMORY. */
    fl_status status;
    size_t parsed; /* bytes of requests that ask for nothing, when there are none that ask */
    unsigned args_cap;
    struct fl_bytes *args;
};

FL_NODISCARD fl_status group_init(struct request_group *group);
void group_deinit(struct request_group *group);

/* Parse what is complete in `buf` (the parser stands at its first byte), up to a group's size. Where
 * it ends early with requests in the group, the parser stands behind them, as if it had not looked
 * further. */
void group_parse(struct request_group *group, const struct command_table *commands,
                 struct resp_parser *parser, char *buf, size_t len);

/* Start the cache misses of the keys that the group will read. */
void group_prefetch(const struct request_group *group, struct fl_store *store);

#endif

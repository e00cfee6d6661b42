/* What faultline-cli does once it is connected: one function for each way of using it. */
#ifndef FL_CLIENT_CLI_MODES_H
#define FL_CLIENT_CLI_MODES_H

#include "client/cli/session.h"

/* The command of the command line, -r times. */
enum cli_exit mode_command(struct session *session);

/* The commands on stdin, one on each line. CLI_EXIT_ERROR_REPLY if any of them got an error. */
enum cli_exit mode_script(struct session *session);

/* Prompt, until the end of input. */
enum cli_exit mode_prompt(struct session *session);

/* RESP requests on stdin, sent as they are; replies are counted, errors printed. */
enum cli_exit mode_pipe(struct session *session);

/* A line of figures each interval. */
enum cli_exit mode_stat(struct session *session);

/* All keys, one on each line. */
enum cli_exit mode_scan(struct session *session);

/* The biggest value of each type. */
enum cli_exit mode_bigkeys(struct session *session);

/* How long PING takes. */
enum cli_exit mode_latency(struct session *session);

#endif

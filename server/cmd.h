/* Every command handler. Each is a command_fn: see command.h; command_handlers.c names the
 * command of each. */
#ifndef FL_SERVER_CMD_H
#define FL_SERVER_CMD_H

#include "server/command.h"

/* cmd_conn.c */
command_fn cmd_auth;
command_fn cmd_client;
command_fn cmd_echo;
command_fn cmd_hello;
command_fn cmd_ping;
command_fn cmd_quit;
command_fn cmd_reset;
command_fn cmd_select;

/* cmd_info.c */
command_fn cmd_info;

/* cmd_txn.c */
command_fn cmd_discard;
command_fn cmd_exec;
command_fn cmd_multi;
command_fn cmd_unwatch;
command_fn cmd_watch;

/* cmd_admin.c */
command_fn cmd_shutdown;
command_fn cmd_time;

/* cmd_command.c */
command_fn cmd_command;
command_fn cmd_command_count;
command_fn cmd_command_getkeys;
command_fn cmd_command_getkeysandflags;
command_fn cmd_command_help;
command_fn cmd_command_info;
command_fn cmd_command_list;

/* cmd_config.c */
command_fn cmd_config_get;
command_fn cmd_config_help;
command_fn cmd_config_resetstat;
command_fn cmd_config_set;

/* cmd_counter.c */
command_fn cmd_decr;
command_fn cmd_decrby;
command_fn cmd_incr;
command_fn cmd_incrby;
command_fn cmd_incrbyfloat;

/* cmd_docs.c */
command_fn cmd_command_docs;

/* cmd_expire.c */
command_fn cmd_expire;
command_fn cmd_expireat;
command_fn cmd_expiretime;
command_fn cmd_persist;
command_fn cmd_pexpire;
command_fn cmd_pexpireat;
command_fn cmd_pexpiretime;
command_fn cmd_pttl;
command_fn cmd_ttl;

/* cmd_key.c */
command_fn cmd_copy;
command_fn cmd_dbsize;
command_fn cmd_del;
command_fn cmd_exists;
command_fn cmd_flush;
command_fn cmd_randomkey;
command_fn cmd_rename;
command_fn cmd_renamenx;
command_fn cmd_type;

/* cmd_object.c */
command_fn cmd_memory_help;
command_fn cmd_memory_usage;
command_fn cmd_object_encoding;
command_fn cmd_object_freq;
command_fn cmd_object_help;
command_fn cmd_object_idletime;
command_fn cmd_object_refcount;

/* cmd_range.c */
command_fn cmd_fl_prefix;
command_fn cmd_fl_range;

/* cmd_scan.c */
command_fn cmd_keys;
command_fn cmd_scan;

/* cmd_set.c */
command_fn cmd_get;
command_fn cmd_getdel;
command_fn cmd_getex;
command_fn cmd_getset;
command_fn cmd_mget;
command_fn cmd_mset;
command_fn cmd_msetnx;
command_fn cmd_psetex;
command_fn cmd_set;
command_fn cmd_setex;
command_fn cmd_setnx;

/* cmd_string.c */
command_fn cmd_append;
command_fn cmd_getrange;
command_fn cmd_setrange;
command_fn cmd_strlen;

#endif

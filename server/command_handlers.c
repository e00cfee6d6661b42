#include "server/cmd.h"

#include "proto/command_table.h"

const struct command_handler command_handlers[COMMANDS_COUNT] = {
    /* cmd_conn.c */
    [COMMAND_AUTH] = {cmd_auth, 0},
    [COMMAND_CLIENT] = {cmd_client, 0},
    [COMMAND_ECHO] = {cmd_echo, 0},
    [COMMAND_HELLO] = {cmd_hello, 0},
    [COMMAND_PING] = {cmd_ping, 0},
    [COMMAND_QUIT] = {cmd_quit, HANDLER_NOT_QUEUED},
    [COMMAND_RESET] = {cmd_reset, HANDLER_NOT_QUEUED},
    [COMMAND_SELECT] = {cmd_select, 0},

    /* cmd_info.c */
    [COMMAND_INFO] = {cmd_info, 0},

    /* cmd_txn.c */
    [COMMAND_DISCARD] = {cmd_discard, HANDLER_NOT_QUEUED},
    [COMMAND_EXEC] = {cmd_exec, HANDLER_NOT_QUEUED},
    [COMMAND_MULTI] = {cmd_multi, HANDLER_NOT_QUEUED},
    [COMMAND_UNWATCH] = {cmd_unwatch, 0},
    [COMMAND_WATCH] = {cmd_watch, HANDLER_NOT_QUEUED},

    /* cmd_admin.c */
    [COMMAND_SHUTDOWN] = {cmd_shutdown, 0},
    [COMMAND_TIME] = {cmd_time, 0},

    /* cmd_command.c */
    [COMMAND_COMMAND] = {cmd_command, 0},
    [COMMAND_COMMAND_COUNT] = {cmd_command_count, 0},
    [COMMAND_COMMAND_GETKEYS] = {cmd_command_getkeys, 0},
    [COMMAND_COMMAND_GETKEYSANDFLAGS] = {cmd_command_getkeysandflags, 0},
    [COMMAND_COMMAND_HELP] = {cmd_command_help, 0},
    [COMMAND_COMMAND_INFO] = {cmd_command_info, 0},
    [COMMAND_COMMAND_LIST] = {cmd_command_list, 0},

    /* cmd_config.c */
    [COMMAND_CONFIG_GET] = {cmd_config_get, 0},
    [COMMAND_CONFIG_HELP] = {cmd_config_help, 0},
    [COMMAND_CONFIG_RESETSTAT] = {cmd_config_resetstat, 0},
    [COMMAND_CONFIG_SET] = {cmd_config_set, 0},

    /* cmd_counter.c */
    [COMMAND_DECR] = {cmd_decr, 0},
    [COMMAND_DECRBY] = {cmd_decrby, 0},
    [COMMAND_INCR] = {cmd_incr, 0},
    [COMMAND_INCRBY] = {cmd_incrby, 0},
    [COMMAND_INCRBYFLOAT] = {cmd_incrbyfloat, 0},

    /* cmd_docs.c */
    [COMMAND_COMMAND_DOCS] = {cmd_command_docs, 0},

    /* cmd_expire.c */
    [COMMAND_EXPIRE] = {cmd_expire, 0},
    [COMMAND_EXPIREAT] = {cmd_expireat, 0},
    [COMMAND_EXPIRETIME] = {cmd_expiretime, 0},
    [COMMAND_PERSIST] = {cmd_persist, 0},
    [COMMAND_PEXPIRE] = {cmd_pexpire, 0},
    [COMMAND_PEXPIREAT] = {cmd_pexpireat, 0},
    [COMMAND_PEXPIRETIME] = {cmd_pexpiretime, 0},
    [COMMAND_PTTL] = {cmd_pttl, 0},
    [COMMAND_TTL] = {cmd_ttl, 0},

    /* cmd_key.c */
    [COMMAND_COPY] = {cmd_copy, 0},
    [COMMAND_DBSIZE] = {cmd_dbsize, HANDLER_BARRIER},
    [COMMAND_DEL] = {cmd_del, 0},
    [COMMAND_UNLINK] = {cmd_del, 0},
    [COMMAND_EXISTS] = {cmd_exists, 0},
    [COMMAND_TOUCH] = {cmd_exists, 0},
    [COMMAND_FLUSHDB] = {cmd_flush, HANDLER_BARRIER},
    [COMMAND_FLUSHALL] = {cmd_flush, HANDLER_BARRIER},
    [COMMAND_RANDOMKEY] = {cmd_randomkey, HANDLER_BARRIER},
    [COMMAND_RENAME] = {cmd_rename, 0},
    [COMMAND_RENAMENX] = {cmd_renamenx, 0},
    [COMMAND_TYPE] = {cmd_type, 0},

    /* cmd_object.c */
    [COMMAND_MEMORY_HELP] = {cmd_memory_help, 0},
    [COMMAND_MEMORY_USAGE] = {cmd_memory_usage, 0},
    [COMMAND_OBJECT_ENCODING] = {cmd_object_encoding, 0},
    [COMMAND_OBJECT_FREQ] = {cmd_object_freq, 0},
    [COMMAND_OBJECT_HELP] = {cmd_object_help, 0},
    [COMMAND_OBJECT_IDLETIME] = {cmd_object_idletime, 0},
    [COMMAND_OBJECT_REFCOUNT] = {cmd_object_refcount, 0},

    /* cmd_range.c */
    [COMMAND_FL_PREFIX] = {cmd_fl_prefix, HANDLER_BARRIER},
    [COMMAND_FL_RANGE] = {cmd_fl_range, HANDLER_BARRIER},

    /* cmd_scan.c */
    [COMMAND_KEYS] = {cmd_keys, HANDLER_BARRIER},
    [COMMAND_SCAN] = {cmd_scan, HANDLER_BARRIER},

    /* cmd_set.c */
    [COMMAND_GET] = {cmd_get, 0},
    [COMMAND_GETDEL] = {cmd_getdel, 0},
    [COMMAND_GETEX] = {cmd_getex, 0},
    [COMMAND_GETSET] = {cmd_getset, 0},
    [COMMAND_MGET] = {cmd_mget, 0},
    [COMMAND_MSET] = {cmd_mset, 0},
    [COMMAND_MSETNX] = {cmd_msetnx, 0},
    [COMMAND_PSETEX] = {cmd_psetex, 0},
    [COMMAND_SET] = {cmd_set, 0},
    [COMMAND_SETEX] = {cmd_setex, 0},
    [COMMAND_SETNX] = {cmd_setnx, 0},

    /* cmd_string.c */
    [COMMAND_APPEND] = {cmd_append, 0},
    [COMMAND_GETRANGE] = {cmd_getrange, 0},
    [COMMAND_SUBSTR] = {cmd_getrange, 0},
    [COMMAND_SETRANGE] = {cmd_setrange, 0},
    [COMMAND_STRLEN] = {cmd_strlen, 0},
};

#include "server/info.h"

#include "base/clock.h"
#include "proto/command_table.h"
#include "server/command.h"
#include "server/server.h"

#include <faultline/batch.h>

#include <inttypes.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { INFO_BYTES_MIN = 4096 };

void
info_printf(struct info_text *text, const char *format, ...)
{
    va_list args;

    for (int turn = 0; turn < 2 && !text->failed; turn++) {
        const size_t room = text->cap - text->len;

        va_start(args, format);
        const int len =
            vsnprintf(text->ptr != NULL ? text->ptr + text->len : NULL, room, format, args);

        va_end(args);
        if (len >= 0 && (size_t)len < room) {
            text->len += (size_t)len;
            return;
        }
        const size_t cap = text->cap * 2 + (size_t)(len > 0 ? len : 0) + INFO_BYTES_MIN;
        char *ptr = realloc(text->ptr, cap);

        if (ptr == NULL) {
            text->failed = true;
        } else {
            text->ptr = ptr;
            text->cap = cap;
        }
    }
}

/* "1.50M", as Redis writes it. */
static void
field_bytes(struct info_text *text, const char *name, uint64_t bytes)
{
    static const char units[] = "BKMGT";
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 1024 && unit < sizeof(units) - 2) {
        value /= 1024;
        unit++;
    }
    info_printf(text, "%s:%" PRIu64 "\r\n", name, bytes);
    info_printf(text, "%s_human:%.*f%c\r\n", name, unit == 0 ? 0 : 2, value, units[unit]);
}

static void
field(struct info_text *text, const char *name, uint64_t value)
{
    info_printf(text, "%s:%" PRIu64 "\r\n", name, value);
}

static uint64_t
resident_bytes(void)
{
    unsigned long long total = 0;
    unsigned long long resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");

    if (file != NULL) {
        if (fscanf(file, "%llu %llu", &total, &resident) != 2) {
            resident = 0;
        }
        fclose(file);
    }
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void
section_server(struct server *server, const struct fl_stats *stats, struct info_text *text)
{
    struct utsname uts = {0};
    const uint64_t uptime_s = (server->mono_ns - server->started_ns) / CLOCK_NS_PER_S;

    (void)stats;
    uname(&uts);
    info_printf(text,
                "redis_version:" SERVER_REDIS_VERSION "\r\nredis_git_sha1:00000000\r\n"
                "redis_git_dirty:0\r\nredis_build_id:0\r\nredis_mode:standalone\r\n"
                "faultline_version:%s\r\nos:%s %s %s\r\narch_bits:64\r\n"
                "monotonic_clock:POSIX clock_gettime\r\nmultiplexing_api:%s\r\n"
                "process_id:%d\r\nprocess_supervised:no\r\nrun_id:%s\r\ntcp_port:%u\r\n",
                fl_version(), uts.sysname, uts.release, uts.machine, loop_name(server->loop),
                (int)getpid(), server->run_id, server->port_bound);
    field(text, "server_time_usec", clock_wall_ms() * 1000);
    field(text, "uptime_in_seconds", uptime_s);
    field(text, "uptime_in_days", uptime_s / 86400);
    info_printf(text, "hz:10\r\nconfigured_hz:10\r\nexecutable:%s\r\nconfig_file:%s\r\n",
                server->argv != NULL ? server->argv[0] : "", server->options.config);
}

static void
section_clients(struct server *server, const struct fl_stats *stats, struct info_text *text)
{
    (void)stats;
    field(text, "connected_clients", server->conns_count);
    field(text, "cluster_connections", 0);
    field(text, "maxclients", server->options.maxclients);
    field(text, "blocked_clients", server->conns_blocked);
    field(text, "tracking_clients", 0);
}

static void
section_memory(struct server *server, const struct fl_stats *stats, struct info_text *text)
{
    const struct mallinfo2 heap = mallinfo2();
    const uint64_t used = heap.uordblks + heap.hblkhd;
    const uint64_t resident = resident_bytes();

    (void)server;
    field_bytes(text, "used_memory",
                used > stats->index_dram_bytes ? used : stats->index_dram_bytes);
    field_bytes(text, "used_memory_rss", resident);
    field_bytes(text, "total_system_memory",
                (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
    field_bytes(text, "maxmemory", 0);
    info_printf(text,
                "maxmemory_policy:noeviction\r\nmem_fragmentation_ratio:%.2f\r\n"
                "mem_allocator:libc\r\n",
                used > 0 ? (double)resident / (double)used : 0.0);
}

static void
section_persistence(struct server *server, const struct fl_stats *stats, struct info_text *text)
{
    (void)stats;
    info_printf(text,
                "loading:0\r\nasync_loading:0\r\nrdb_changes_since_last_save:0\r\n"
                "rdb_bgsave_in_progress:0\r\nrdb_last_save_time:%" PRIu64
                "\r\nrdb_last_bgsave_status:ok\r\naof_enabled:1\r\n"
                "aof_rewrite_in_progress:0\r\naof_last_bgrewrite_status:ok\r\n"
                "aof_last_write_status:%s\r\n",
                server->started_wall_s, server->commit.failed ? "err" : "ok");
}

static void
section_stats(struct server *server, const struct fl_stats *stats, struct info_text *text)
{
    const struct metrics *m = &server->metrics;

    field(text, "total_connections_received", m->connections_total);
    field(text, "total_commands_processed", m->commands_total);
    field(text, "instantaneous_ops_per_sec", metrics_rate_get(&m->rate_commands));
    field(text, "total_net_input_bytes", m->input_bytes_total);
    field(text, "total_net_output_bytes", m->output_bytes_total);
    info_printf(text, "instantaneous_input_kbps:%.2f\r\ninstantaneous_output_kbps:%.2f\r\n",
                (double)metrics_rate_get(&m->rate_input) / 1024,
                (double)metrics_rate_get(&m->rate_output) / 1024);
    field(text, "rejected_connections", m->connections_rejected);
    field(text, "expired_keys", stats->expired_total);
    field(text, "evicted_keys", 0);
    field(text, "keyspace_hits", m->keyspace_hits);
    field(text, "keyspace_misses", m->keyspace_misses);
    field(text, "total_error_replies", m->errors_total);
    field(text, "protocol_errors", m->protocol_errors_total);
    field(text, "client_query_buffer_limit_disconnections", m->query_limit_closed);
    field(text, "client_output_buffer_limit_disconnections", m->output_limit_closed);
    field(text, "idle_disconnections", m->idle_closed);
    field(text, "ticks_total", m->ticks_total);
}

static void
section_replication(struct server *server, const struct fl_stats *stats, struct info_text *text)
{
    (void)stats;
    info_printf(text,
                "role:master\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\n"
                "master_replid:%s\r\nmaster_replid2:%040d\r\nmaster_repl_offset:0\r\n"
                "second_repl_offset:-1\r\nrepl_backlog_active:0\r\n",
                server->run_id, 0);
}

static void
section_cpu(struct server *server, const struct fl_stats *stats, struct info_text *text)
{
    struct rusage self = {0};
    struct rusage thread = {0};

    (void)server;
    (void)stats;
    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_THREAD, &thread);
    info_printf(text,
                "used_cpu_sys:%ld.%06ld\r\nused_cpu_user:%ld.%06ld\r\n"
                "used_cpu_sys_children:0.000000\r\nused_cpu_user_children:0.000000\r\n"
                "used_cpu_sys_main_thread:%ld.%06ld\r\nused_cpu_user_main_thread:%ld.%06ld\r\n",
                (long)self.ru_stime.tv_sec, (long)self.ru_stime.tv_usec, (long)self.ru_utime.tv_sec,
                (long)self.ru_utime.tv_usec, (long)thread.ru_stime.tv_sec,
                (long)thread.ru_stime.tv_usec, (long)thread.ru_utime.tv_sec,
                (long)thread.ru_utime.tv_usec);
}

static void
section_commandstats(struct server *server, const struct fl_stats *stats, struct info_text *text)
{
    const double stamp_us = metrics_stamp_us(&server->metrics);

    (void)stats;
    for (unsigned id = 0; id < COMMANDS_COUNT; id++) {
        const struct metrics_command *m = &server->metrics.commands[id];
        const double us = (double)m->ticks * stamp_us;

        if (m->calls + m->rejected > 0) {
            info_printf(text,
                        "cmdstat_%s:calls=%" PRIu64
                        ",usec=%.0f,usec_per_call=%.2f,rejected_calls=%" PRIu64
                        ",failed_calls=%" PRIu64 "\r\n",
                        command_by_id((enum command_id)id)->name, m->calls, us,
                        m->calls > 0 ? us / (double)m->calls : 0.0, m->rejected, m->failed);
        }
    }
}

static void
section_cluster(struct server *server, const struct fl_stats *stats, struct info_text *text)
{
    (void)server;
    (void)stats;
    field(text, "cluster_enabled", 0);
}

static void
section_keyspace(struct server *server, const struct fl_stats *stats, struct info_text *text)
{
    const uint64_t keys = fl_count(server->store, SPACE_ROOT);

    if (keys > 0) {
        info_printf(text, "db0:keys=%" PRIu64 ",expires=%" PRIu64 ",avg_ttl=0\r\n", keys,
                    stats->keys_expiring);
    }
}

static void
section_faultline(struct server *server, const struct fl_stats *stats, struct info_text *text)
{
    info_printf(text, "mapping_kind:%s\r\nmapping_detail:%s\r\ndurability_granted:%s\r\n",
                fl_mapping_name(stats->mapping), stats->mapping_detail,
                fl_durability_name(stats->durability));
    field(text, "commits_total", stats->commits_total);
    field(text, "records_total", stats->records_total);
    field(text, "fences_total", stats->fences_total);
    field(text, "lines_flushed_total", stats->lines_flushed_total);
    field(text, "syncs_total", stats->syncs_total);
    field(text, "segment_changes_total", stats->segment_changes_total);
    field(text, "put_path_faults_total", stats->put_path_faults_total);
    field(text, "put_path_waits_total", stats->put_path_waits_total);
    field(text, "block_bytes", stats->block_bytes);
    field(text, "blocks_total", stats->blocks_total);
    field(text, "blocks_owned", stats->blocks_owned);
    field(text, "blocks_ahead", stats->blocks_ahead);
    field(text, "file_bytes", stats->file_bytes);
    field(text, "live_bytes", stats->live_bytes);
    field(text, "cleaner_copied_bytes_total", stats->cleaner_copied_bytes_total);
    field(text, "cleaner_freed_blocks_total", stats->cleaner_freed_blocks_total);
    field(text, "keys_total", stats->keys_total);
    field(text, "index_dram_bytes", stats->index_dram_bytes);
    field(text, "pins", stats->pins);
    field(text, "pins_versions", stats->pins_versions);
    field(text, "open_ms", stats->open_ms);
    field(text, "open_records", stats->open_records);
    field(text, "recovered", stats->recovered);
    field(text, "read_only", stats->read_only);
    field(text, "batches_in_flight", server->commit.in_flight_count);
}

struct section {
    const char *name;
    bool by_default;
    void (*write)(struct server *server, const struct fl_stats *stats, struct info_text *text);
};

static const struct section sections_known[] = {
    {"Server", true, section_server},
    {"Clients", true, section_clients},
    {"Memory", true, section_memory},
    {"Persistence", true, section_persistence},
    {"Stats", true, section_stats},
    {"Replication", true, section_replication},
    {"CPU", true, section_cpu},
    {"Commandstats", false, section_commandstats},
    {"Cluster", true, section_cluster},
    {"Keyspace", true, section_keyspace},
    {"Faultline", true, section_faultline},
};

static bool
is_named(const struct fl_bytes word, const char *name)
{
    return word.len == strlen(name) && strncasecmp(word.ptr, name, word.len) == 0;
}

static bool
is_wanted(const struct section *section, const struct fl_bytes *words, unsigned count)
{
    bool wanted = count == 0 && section->by_default;

    for (unsigned i = 0; i < count && !wanted; i++) {
        wanted = is_named(words[i], section->name) || is_named(words[i], "all") ||
                 is_named(words[i], "everything") ||
                 (is_named(words[i], "default") && section->by_default);
    }
    return wanted;
}

void
info_write(struct server *server, const struct fl_bytes *sections, unsigned count,
           struct info_text *text)
{
    struct fl_stats stats = {.struct_bytes = sizeof(stats)};

    fl_stats(server->store, &stats);
    for (size_t i = 0; i < sizeof(sections_known) / sizeof(sections_known[0]); i++) {
        if (is_wanted(&sections_known[i], sections, count)) {
            info_printf(text, "%s# %s\r\n", text->len > 0 ? "\r\n" : "", sections_known[i].name);
            sections_known[i].write(server, &stats, text);
        }
    }
}

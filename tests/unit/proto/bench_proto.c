/* Goal:   what the protocol costs per command is known, and no change makes it many times as much
 * unnoticed. Method: the CPU time of the hot calls over a pipeline of 128 commands that is complete
 * in the buffer, the best of many
 *         rounds, printed. Budget in an optimised build: 60 ns for a SET of three arguments. The bound of the
 *         test is far wider, for builds without optimisation.
 */
#include "proto/command_table.h"
#include "proto/resp_parse.h"
#include "proto/resp_reply.h"
#include "proto/resp_write.h"
#include "tests/lib/die.h"
#include "tests/unit/proto/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { COMMANDS = 128, ROUNDS = 1000, NS_MAX = 3000 };

static double
cpu_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* One subject: `run` handles COMMANDS commands, and returns something that depends on all of them.
 * */
struct subject {
    const char *name;
    size_t (*run)(struct subject *subject);
    struct text stream;
    struct resp_parser parser;
    struct resp_reader reader;
    struct resp_pool pool;
    struct resp_out out;
    struct command_table table;
};

static size_t
run_parse(struct subject *s)
{
    size_t sum = 0;

    for (size_t at = 0; at < s->stream.len; at += s->parser.used) {
        if (resp_parse(&s->parser, s->stream.ptr + at, s->stream.len - at) != FL_OK) {
            die("%s: the stream is not complete", s->name);
        }
        sum += s->parser.argv[s->parser.argc - 1].off;
    }
    return sum;
}

static size_t
run_read(struct subject *s)
{
    size_t sum = 0;

    for (size_t at = 0; at < s->stream.len; at += s->reader.used) {
        if (resp_read(&s->reader, s->stream.ptr + at, s->stream.len - at) != FL_OK) {
            die("%s: the stream is not complete", s->name);
        }
        sum += s->reader.nodes[s->reader.root].off;
    }
    return sum;
}

static size_t
run_write(struct subject *s)
{
    for (int i = 0; i < COMMANDS; i++) {
        resp_write_bulk(&s->out, s->stream.ptr, 100);
    }
    const size_t pending = resp_out_pending(&s->out);

    resp_out_sent(&s->out, pending);
    return pending;
}

static size_t
run_find(struct subject *s)
{
    static const char *const names[] = {"SET", "get", "INCR", "pexpireat"};
    size_t sum = 0;

    for (int i = 0; i < COMMANDS; i++) {
        const char *name = names[i % 4];

        sum += command_find(&s->table, name, strlen(name))->id;
    }
    return sum;
}

static void
measure(struct subject *s)
{
    double best = 1e18;
    size_t sum = 0;

    for (int round = 0; round < ROUNDS; round++) {
        const double start = cpu_ns();

        sum += s->run(s);
        const double ns = (cpu_ns() - start) / COMMANDS;

        best = ns < best ? ns : best;
    }
    printf("%-40s %6.1f ns\n", s->name, best);
    if (best > NS_MAX || sum == 0) {
        die("%s: over %d ns", s->name, NS_MAX);
    }
}

static void
repeat(struct text *stream, const char *command)
{
    stream->len = 0;
    for (int i = 0; i < COMMANDS; i++) {
        text_addf(stream, "%s", command);
    }
}

int
main(void)
{
    static struct subject s;
    char command[256];

    resp_parser_init(&s.parser);
    resp_reader_init(&s.reader, SIZE_MAX);
    resp_pool_init(&s.pool, 16);
    resp_out_init(&s.out, &s.pool);
    command_table_init(&s.table);

    s.name = "parse SET, 16 B key, 100 B value";
    s.run = run_parse;
    snprintf(command, sizeof(command),
             "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000001\r\n$100\r\n%0100d\r\n", 7);
    repeat(&s.stream, command);
    measure(&s);
    s.name = "parse GET, 16 B key";
    repeat(&s.stream, "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000001\r\n");
    measure(&s);
    s.name = "parse inline SET k v";
    repeat(&s.stream, "SET k v\r\n");
    measure(&s);
    s.name = "look a command up";
    s.run = run_find;
    measure(&s);
    s.name = "write a bulk string of 100 B";
    s.run = run_write;
    snprintf(command, sizeof(command), "$100\r\n%0100d\r\n", 7);
    repeat(&s.stream, command);
    measure(&s);
    s.name = "read a bulk string of 100 B";
    s.run = run_read;
    measure(&s);
    s.name = "read +OK";
    repeat(&s.stream, "+OK\r\n");
    measure(&s);

    resp_parser_deinit(&s.parser);
    resp_reader_deinit(&s.reader);
    resp_out_deinit(&s.out);
    resp_pool_deinit(&s.pool);
    text_free(&s.stream);
    return 0;
}

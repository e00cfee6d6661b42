#include "tests/integration/hostile/attack.h"

#include "base/clock.h"
#include "tests/lib/die.h"
#include "tests/lib/net.h"
#include "tests/lib/sanitized.h"

#include <faultline/check.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

enum { START_MS = 20000, GONE_MS = 30000, POLITE_MS_MAX = SANITIZED ? 10000 : 2000 };

struct stage stage;

/* The polite one and who asks; after a failed test those, too, that it has left open. */
static uint64_t clients_expected = 2;

void
attack_begin(const char *program, const char *loop)
{
    static const char *const api[] = {"epoll", "io_uring"};
    const bool ring = strcmp(loop, "uring") == 0;
    char is[32];
    char port[8];

    tmpdir_create(&stage.dir);
    tmpdir_join(&stage.dir, "socket", stage.socket);
    snprintf(port, sizeof(port), "%u", net_port_free()); /* 0 would be none beside a unix socket */
    talk_start(&stage.subject, program, &stage.dir,
               (const char *const[]){"--loop", ring ? "auto" : loop, "--port", port, "--unixsocket",
                                     stage.socket, NULL});
    struct fl_client *client = subject_connect(&stage.subject, TALK_MS);

    subject_info_text(client, "multiplexing_api", is, sizeof(is));
    fl_client_close(client);
    if (strcmp(is, api[ring]) != 0) {
        subject_kill(&stage.subject);
        tmpdir_destroy(&stage.dir);
        die_skip("io_uring is not to be had here");
    }
    stage.polite = talk_connect(&stage.subject);
}

static void
print_finding(void *context, const struct fl_check_finding *finding)
{
    (void)context;
    fprintf(stderr, "check: %s at %lu: %s\n", finding->rule, (unsigned long)finding->off,
            finding->text);
}

bool
attack_end(void)
{
    const struct fl_check_options options = {.struct_bytes = sizeof(options),
                                             .finding = print_finding};
    struct fl_check_report report = {0};
    char store[TMPDIR_PATH_BYTES];

    close(stage.polite);
    subject_stop(&stage.subject, START_MS);
    const fl_status status = fl_check(tmpdir_join(&stage.dir, "data", store), &options, &report);

    tmpdir_destroy(&stage.dir);
    return status == FL_OK && report.findings == 0;
}

void
assert_polite_is_served(void)
{
    const uint64_t start_ns = clock_mono_ns();

    assert_true(talk(stage.polite, "SET polite 1\r\n", "+OK\r\n"));
    assert_true(talk(stage.polite, "GET polite\r\n", "$1\r\n1\r\n"));
    assert_true(clock_mono_ns() - start_ns < (uint64_t)POLITE_MS_MAX * CLOCK_NS_PER_MS);
}

void
assert_memory_below(uint64_t before, uint64_t mib)
{
    const uint64_t now = subject_memory_bytes(&stage.subject);

    /* A sanitizer's shadow would count as memory of the server's. */
    if (!SANITIZED && now > before + mib * ATTACK_MIB) {
        fail_msg("%lu MiB of memory, and %lu before", (unsigned long)(now / ATTACK_MIB),
                 (unsigned long)(before / ATTACK_MIB));
    }
}

uint64_t
figure(const char *field)
{
    struct fl_client *client = subject_connect(&stage.subject, TALK_MS);
    const uint64_t value = subject_info(client, field);

    fl_client_close(client);
    return value;
}

bool
say_often(int fd, const char *text, unsigned times)
{
    const size_t len = strlen(text);
    char *all = malloc(len * times);
    size_t done = 0;

    assert_non_null(all);
    for (unsigned i = 0; i < times; i++) {
        memcpy(all + i * len, text, len);
    }
    while (done < len * times) {
        const ssize_t sent = send(fd, all + done, len * times - done, MSG_NOSIGNAL);

        if (sent < 0) {
            break;
        }
        done += (size_t)sent;
    }
    free(all);
    return done == len * times;
}

void
swallow(int fd, size_t len)
{
    static char drop[ATTACK_MIB];

    while (len > 0) {
        const ssize_t got = recv(fd, drop, len < sizeof(drop) ? len : sizeof(drop), 0);

        assert_true(got > 0);
        len -= (size_t)got;
    }
}

void
assert_last_words(const char *request, size_t len, const char *answer)
{
    static char heard[TALK_BYTES];
    const int fd = talk_connect(&stage.subject);

    assert_int_equal(send(fd, request, len, MSG_NOSIGNAL), len);
    if (!talk_hear(fd, answer, heard) || strcmp(heard, answer) != 0) {
        fail_msg("'%.40s' was answered by '%s', not '%s'", request, heard, answer);
    }
    assert_true(talk_ends(fd, TALK_MS));
    close(fd);
}

void
slam(int fd)
{
    const struct linger linger = {.l_onoff = 1};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fd);
}

void
connect_crowd(int crowd[ATTACK_CROWD], const char *words)
{
    for (unsigned i = 0; i < ATTACK_CROWD; i++) {
        crowd[i] = talk_connect(&stage.subject);
        talk_say(crowd[i], words);
    }
}

void
disperse_crowd(const int crowd[ATTACK_CROWD])
{
    for (unsigned i = 0; i < ATTACK_CROWD; i++) {
        if (i % 2 == 0) {
            close(crowd[i]);
        } else {
            slam(crowd[i]);
        }
    }
}

int
assert_all_gone(void **state)
{
    const uint64_t until_ns = clock_mono_ns() + (uint64_t)GONE_MS * CLOCK_NS_PER_MS;
    uint64_t clients;

    (void)state;
    while ((clients = figure("connected_clients")) > clients_expected) {
        if (clock_mono_ns() > until_ns) {
            print_error("connections stayed behind: %lu\n", (unsigned long)clients);
            clients_expected = clients;
            return -1;
        }
        usleep(5000);
    }
    return 0;
}

void
set_big(void)
{
    static char value[ATTACK_BIG_BYTES + 1];
    char head[64];

    memset(value, 'v', ATTACK_BIG_BYTES);
    snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%d\r\n", (int)ATTACK_BIG_BYTES);
    talk_say(stage.polite, head);
    talk_say(stage.polite, value);
    assert_true(talk(stage.polite, "\r\n", "+OK\r\n"));
}

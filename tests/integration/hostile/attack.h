/* A server under attack: the polite client beside it, what attackers do, and what must hold all the while. */
#ifndef FL_TESTS_INTEGRATION_HOSTILE_ATTACK_H
#define FL_TESTS_INTEGRATION_HOSTILE_ATTACK_H

#include "tests/integration/support/talk.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ATTACK_MIB = 1 << 20,
    ATTACK_BIG_BYTES = 4 * ATTACK_MIB, /* of the value that set_big() sets */
    ATTACK_BIG_REPLY_BYTES = ATTACK_BIG_BYTES + sizeof("$4194304\r\n\r\n") - 1,
    ATTACK_CROWD = 200,
};

extern struct stage {
    struct subject subject;
    struct tmpdir dir;
    char socket[TMPDIR_PATH_BYTES]; /* the server's other door */
    int polite;                     /* who must always be served */
} stage;

/* Start the server over the loop "epoll" or "uring". Skips the program where there is no io_uring. */
void attack_begin(const char *program, const char *loop);

/* Stop it. False: the store isn't whole after all that. */
bool attack_end(void);

/* The polite client is answered, in time. */
void assert_polite_is_served(void);

/* The server has grown by less than that since it had `before` bytes of memory. */
void assert_memory_below(uint64_t before, uint64_t mib);

/* Everybody who came has gone: a teardown. */
int assert_all_gone(void **state);

/* A client that says one thing on a connection of its own: what it hears until it is hung up on. */
void assert_last_words(const char *request, size_t len, const char *answer);

/* A number of INFO's. */
uint64_t figure(const char *field);

/* Say something again and again; false if the server hung up meanwhile. */
bool say_often(int fd, const char *text, unsigned times);

/* Take exactly `len` bytes off the socket. */
void swallow(int fd, size_t len);

/* Go without a goodbye: the other side gets a reset. */
void slam(int fd);

/* Connections that each say `words`; and how they go: half of them without a goodbye. */
void connect_crowd(int crowd[ATTACK_CROWD], const char *words);
void disperse_crowd(const int crowd[ATTACK_CROWD]);

/* Have the polite client set the key "big". */
void set_big(void);

#endif

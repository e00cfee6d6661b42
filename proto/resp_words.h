/* A line split into words by Redis's rules: those of inline requests, and of what people type into
 * a client. */
#ifndef FL_PROTO_RESP_WORDS_H
#define FL_PROTO_RESP_WORDS_H

#include <stddef.h>

enum resp_words {
    RESP_WORDS_MORE,       /* *word is set */
    RESP_WORDS_END,        /* there are no more */
    RESP_WORDS_UNBALANCED, /* a quote isn't closed, or no space follows it */
};

struct resp_word {
    char *ptr;
    size_t len;
};

/* The next word of the line from *at to `end`; *at moves behind it. Words are parted by white
 * space. "..." knows \n \r \t \b \a \xHH, and takes any other character behind a backslash as it
 * is; '...' knows \' only. Quotes may begin inside a word, and end it. They are taken off in place,
 * so words stay valid as long as the line, and a line is split once. */
enum resp_words resp_word_next(char **at, const char *end, struct resp_word *word);

#endif

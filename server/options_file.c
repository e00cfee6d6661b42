/* Options from files and command lines.
 *
 * The file's syntax is that of redis.conf, `name value`, which people and tools have at hand,
 * with an equals sign allowed between. libinih was tried and left: its lines end at 200 bytes
 * without a word (paths may have 1,023), it takes the colon of `bind ::1` for a separator, cuts
 * a password at " ;", and knows no `name value`.
 */
#include "server/options.h"

#include "base/fail.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static char *
trim(char *text)
{
    text += strspn(text, " \t");
    size_t len = strlen(text);

    while (len > 0 && strchr(" \t\r\n", text[len - 1]) != NULL) {
        text[--len] = '\0';
    }
    return text;
}

/* A value may stand in quotes, to begin or end with blanks or be empty. */
static fl_status
unquote(char **value)
{
    const size_t len = strlen(*value);
    const char first = (*value)[0];

    if (first != '"' && first != '\'') {
        return FL_OK;
    }
    if (len < 2 || (*value)[len - 1] != first) {
        return FL_FAIL(FL_INVALID, "the quote that the value begins with is not closed");
    }
    (*value)[len - 1] = '\0';
    (*value)++;
    return FL_OK;
}

/* What is given again takes the place of what was given before, which is how a script overrides a default. Not so
 * addresses: whoever writes a second one wants both. */
static fl_status
set_given(struct options *options, const char *name, const char *value, bool *bind_given)
{
    if (strcasecmp(name, "bind") == 0) {
        if (*bind_given) {
            return FL_FAIL(FL_INVALID,
                           "bind: given twice; several addresses go into one: \"%s %s\"",
                           options->bind, value);
        }
        *bind_given = true;
    }
    return options_set(options, name, value);
}

static fl_status
load_line(struct options *options, char *line, bool *bind_given)
{
    char *name = trim(line);

    if (name[0] == '\0' || name[0] == '#' || name[0] == ';' || name[0] == '[') {
        return FL_OK; /* Section heads of INI files say nothing here. */
    }
    char *end = name + strcspn(name, " \t=");
    char *value = end + strspn(end, " \t");

    if (*value == '=') {
        value++;
    }
    value = trim(value);
    *end = '\0';
    const fl_status status = unquote(&value);

    if (status != FL_OK) {
        return status;
    }
    if (strcmp(name, "config") == 0) {
        return FL_FAIL(FL_INVALID, "config: a file can't name another");
    }
    return set_given(options, name, value, bind_given);
}

fl_status
options_load(struct options *options, const char *path)
{
    FILE *file = fopen(path, "re");
    fl_status status = FL_OK;
    char *line = NULL;
    size_t cap = 0;
    unsigned number = 0;
    bool bind_given = false;

    if (file == NULL) {
        return FL_FAIL_ERRNO(errno == ENOENT ? FL_NOT_FOUND : FL_IO, "configuration file %s", path);
    }
    while (status == FL_OK && getline(&line, &cap, file) >= 0) {
        number++;
        status = load_line(options, line, &bind_given);
        if (status != FL_OK) {
            char why[OPTIONS_WHY_BYTES];

            options_why(why, sizeof(why));
            status = FL_FAIL(FL_INVALID, "%s, line %u: %s", path, number, why);
        }
    }
    if (status == FL_OK && ferror(file) != 0) {
        status = FL_FAIL_ERRNO(FL_IO, "reading %s", path);
    }
    free(line);
    fclose(file);
    return status;
}

struct flag {
    char name[64];
    const char *value; /* NULL: the next argument */
};

/* Split "--name" or "--name=value". */
static fl_status
flag_split(const char *arg, struct flag *flag)
{
    const char *name = arg + 2;
    const size_t len = strcspn(name, "=");

    if (strncmp(arg, "--", 2) != 0 || len == 0 || len >= sizeof(flag->name)) {
        return FL_FAIL(FL_INVALID, "'%s' is no flag; --help lists them", arg);
    }
    memcpy(flag->name, name, len);
    flag->name[len] = '\0';
    flag->value = name[len] == '=' ? name + len + 1 : NULL;
    return FL_OK;
}

/* A flag takes the next argument, which is not another flag: "--store --port 7000" lacks a path. */
static fl_status
flag_take_value(struct flag *flag, const char *next)
{
    const fl_status status = options_known(flag->name);

    if (status != FL_OK) {
        return status;
    }
    if (next == NULL) {
        return FL_FAIL(FL_INVALID, "--%s: a value is missing", flag->name);
    }
    if (strncmp(next, "--", 2) == 0) {
        return FL_FAIL(FL_INVALID,
                       "--%s: a value is missing; one that begins with dashes is written --%s=%s",
                       flag->name, flag->name, next);
    }
    flag->value = next;
    return FL_OK;
}

/* The first pass looks for the file and what needs no file, the second sets the rest. */
static fl_status
parse_pass(struct options *options, int argc, char **argv, bool first, enum options_action *action)
{
    bool bind_given = false;

    for (int i = 1; i < argc; i++) {
        struct flag flag;

        if (i == 1 && argv[i][0] != '-') {
            if (first) {
                const fl_status status = options_set(options, "config", argv[i]);

                if (status != FL_OK) {
                    return status;
                }
            }
            continue;
        }
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            *action = OPTIONS_HELP;
            return FL_OK;
        }
        if (strcmp(argv[i], "--version") == 0 || strcmp(argv[i], "-v") == 0) {
            *action = OPTIONS_VERSION;
            return FL_OK;
        }
        fl_status status = flag_split(argv[i], &flag);

        if (status == FL_OK && flag.value == NULL) {
            status = flag_take_value(&flag, ++i < argc ? argv[i] : NULL);
        }
        if (status != FL_OK) {
            return status;
        }
        const bool is_config = strcmp(flag.name, "config") == 0;

        if (first == is_config) {
            status = set_given(options, flag.name, flag.value, &bind_given);
        }
        if (status != FL_OK) {
            return status;
        }
    }
    return FL_OK;
}

fl_status
options_parse(struct options *options, int argc, char **argv, enum options_action *action)
{
    *action = OPTIONS_RUN;
    fl_status status = parse_pass(options, argc, argv, true, action);

    if (status == FL_OK && *action == OPTIONS_RUN && options->config[0] != '\0') {
        status = options_load(options, options->config);
    }
    if (status == FL_OK && *action == OPTIONS_RUN) {
        status = parse_pass(options, argc, argv, false, action);
    }
    return status;
}

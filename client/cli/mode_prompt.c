#include "client/cli/modes.h"

#include "client/cli/docs.h"
#include "client/cli/history.h"
#include "client/cli/line.h"

#include <ctype.h>
#include <histedit.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    HINT_BYTES_MAX = 512,
    HINT_COLUMNS_MIN = 12, /* a shorter piece of a hint helps nobody */
    COLUMNS_DEFAULT = 80,
};

struct prompt {
    struct session *session;
    struct docs docs;
    struct history_file history_file;
    History *history;
    EditLine *edit;
    char text[256];
    char hint[HINT_BYTES_MAX];
};

static struct prompt *
prompt_of(EditLine *edit)
{
    struct prompt *prompt = NULL;

    el_get(edit, EL_CLIENTDATA, &prompt);
    return prompt;
}

static char *
prompt_text(EditLine *edit)
{
    struct prompt *prompt = prompt_of(edit);
    const struct session *session = prompt->session;
    char database[32] = "";

    if (session->client == NULL) {
        snprintf(prompt->text, sizeof(prompt->text), "not connected> ");
        return prompt->text;
    }
    if (session->database != 0) {
        snprintf(database, sizeof(database), "[%lld]", (long long)session->database);
    }
    snprintf(prompt->text, sizeof(prompt->text), "%s%s%s> ", session->where, database,
             session->in_multi ? "(TX)" : "");
    return prompt->text;
}

static size_t
columns(void)
{
    struct winsize size;

    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col
                                                                           : COLUMNS_DEFAULT;
}

/* The arguments of the command being typed, at the right edge, as far as there is room. Nothing
 * before the blank behind the command's name. */
static char *
hint_text(EditLine *edit)
{
    struct prompt *prompt = prompt_of(edit);
    const LineInfo *info = el_line(edit);
    const size_t len = (size_t)(info->lastchar - info->buffer);
    const struct docs_command *command = NULL;

    prompt->hint[0] = '\0';
    if (len > 0 && memchr(info->buffer, ' ', len) != NULL) {
        command = docs_find(&prompt->docs, info->buffer, len);
    }
    if (command == NULL || command->syntax[0] == '\0') {
        return prompt->hint;
    }
    const size_t taken = strlen(prompt_text(edit)) + len + 4;
    const size_t room = columns() > taken ? columns() - taken : 0;

    if (room >= HINT_COLUMNS_MIN) {
        const size_t shown = room < HINT_BYTES_MAX - 1 ? room : HINT_BYTES_MAX - 1;
        const bool cut = strlen(command->syntax) > shown;

        snprintf(prompt->hint, sizeof(prompt->hint), "%.*s%s", (int)(cut ? shown - 3 : shown),
                 command->syntax, cut ? "..." : "");
    }
    return prompt->hint;
}

/* ---- keys ---- */

/* Put `len` letters of a name into the line, in the case that the user types in. */
static void
insert_name(EditLine *edit, const char *name, size_t len, bool small)
{
    char text[128];
    size_t used = 0;

    while (used < len && used < sizeof(text) - 1) {
        text[used] = small ? (char)tolower((unsigned char)name[used]) : name[used];
        used++;
    }
    text[used] = '\0';
    if (used > 0) {
        el_insertstr(edit, text);
    }
}

static void
list_candidates(const struct docs_completion *completion)
{
    const size_t width = columns();
    size_t column = 0;

    fputc('\n', stdout);
    for (size_t i = 0; i < completion->count; i++) {
        const char *name = completion->candidates[i]->name;

        if (column > 0 && column + strlen(name) + 2 > width) {
            fputc('\n', stdout);
            column = 0;
        }
        fprintf(stdout, "%s%s", column > 0 ? "  " : "", name);
        column += strlen(name) + 2;
    }
    fputs(completion->count == DOCS_CANDIDATES_MAX ? " ...\n" : "\n", stdout);
    fflush(stdout);
}

/* Tab: complete a command's name; list what it might be; behind the name, show its arguments. */
static unsigned char
key_complete(EditLine *edit, int key)
{
    struct prompt *prompt = prompt_of(edit);
    const LineInfo *info = el_line(edit);
    const size_t len = (size_t)(info->cursor - info->buffer);
    struct docs_completion completion;

    (void)key;
    docs_complete(&prompt->docs, info->buffer, len, &completion);
    if (completion.count > 0) {
        const bool small = len > 0 && islower((unsigned char)info->buffer[len - 1]);

        insert_name(edit, completion.candidates[0]->name + completion.typed, completion.shared,
                    small);
        if (completion.count == 1) {
            el_insertstr(edit, " ");
        } else if (completion.shared == 0) {
            list_candidates(&completion);
            return CC_REDISPLAY;
        }
        return CC_REFRESH;
    }
    const struct docs_command *command = docs_find(&prompt->docs, info->buffer, len);

    if (command == NULL) {
        return CC_REFRESH_BEEP;
    }
    fprintf(stdout, "\n%s %s\n", command->name, command->syntax);
    fflush(stdout);
    return CC_REDISPLAY;
}

/* Space: as ever, but the hint is looked up anew. */
static unsigned char
key_space(EditLine *edit, int key)
{
    (void)key;
    return el_insertstr(edit, " ") == 0 ? CC_REFRESH : CC_ERROR;
}

/* ---- what is local ---- */

static void
show_help(const struct docs *docs, const struct line *line)
{
    char wanted[128] = "";
    size_t used = 0;

    if (line->argc == 1) {
        printf("faultline-cli " FL_VERSION_TEXT "\n"
               "help COMMAND   what the server says about a command\n"
               "N COMMAND      run it N times\n"
               "clear          clear the screen\n"
               "quit           leave; so does Ctrl-D\n"
               "Tab completes a command's name, and shows its arguments once it is there.\n");
        return;
    }
    for (size_t i = 1; i < line->argc && used < sizeof(wanted) - 1; i++) {
        used += (size_t)snprintf(wanted + used, sizeof(wanted) - used, "%s%s", i > 1 ? " " : "",
                                 line->argv[i]);
    }
    const struct docs_command *command = docs_find(docs, wanted, strlen(wanted));

    if (command == NULL) {
        printf("the server has said nothing about \"%s\"\n", wanted);
        return;
    }
    printf("%s %s\n", command->name, command->syntax);
    if (command->summary[0] != '\0') {
        printf("summary: %s\n", command->summary);
    }
    if (command->since[0] != '\0') {
        printf("since: %s\n", command->since);
    }
}

static bool
connect_again(struct prompt *prompt)
{
    struct session *session = prompt->session;

    if (session->client == NULL && session_connect(session) == SESSION_LOST) {
        return false;
    }
    if (prompt->docs.commands_count == 0) {
        session->quiet_pushes = true;
        docs_load(session->client, &prompt->docs);
        session->quiet_pushes = false;
    }
    return true;
}

/* A command for the server, perhaps with the number of times in front. */
static enum session_result
run_command(struct prompt *prompt, const struct line *line)
{
    struct session *session = prompt->session;
    const char *first = line->argv[0];
    const size_t digits = strspn(first, "0123456789");
    const bool counted = line->argc > 1 && digits > 0 && digits < 10 && first[digits] == '\0';
    const size_t skip = counted ? 1 : 0;
    const long times = counted ? strtol(first, NULL, 10) : 1;
    enum session_result result = SESSION_OK;

    for (long i = 0; i < times && result != SESSION_ENDED && session->client != NULL; i++) {
        if (i > 0) {
            session_pause(session, 0);
        }
        result = session_run(session, line->argc - skip, line->argv + skip, line->lens + skip);
    }
    return result;
}

/* False: leave the prompt. */
static bool
run_line(struct prompt *prompt, const char *text, size_t len)
{
    struct line line;
    bool stay = true;

    if (line_split(text, len, &line) != FL_OK) {
        printf("%s\n", session_why());
        return true;
    }
    if (line_is(line.argc, line.argv, 0, "QUIT") || line_is(line.argc, line.argv, 0, "EXIT")) {
        stay = false;
    } else if (line_is(line.argc, line.argv, 0, "CLEAR")) {
        fputs("\033[H\033[2J", stdout);
    } else if (line_is(line.argc, line.argv, 0, "HELP") || line_is(line.argc, line.argv, 0, "?")) {
        show_help(&prompt->docs, &line);
    } else if (line.argc > 0 && connect_again(prompt)) {
        run_command(prompt, &line);
    }
    fflush(stdout);
    line_deinit(&line);
    return stay;
}

static void
history_enter(void *context, const char *line)
{
    struct prompt *prompt = context;
    HistEvent event;

    history(prompt->history, &event, H_ENTER, line);
}

static void
remember_line(struct prompt *prompt, const char *line, size_t len)
{
    if (len == 0 || line_is_secret(line, len)) {
        return;
    }
    char *copy = strndup(line, len);

    if (copy != NULL) {
        history_enter(prompt, copy);
        history_append(&prompt->history_file, copy, len);
        free(copy);
    }
}

/* ---- the editor ---- */

static bool
prompt_init(struct prompt *prompt, struct session *session)
{
    HistEvent event;

    *prompt = (struct prompt){.session = session};
    prompt->edit = el_init("faultline-cli", stdin, stdout, stderr);
    prompt->history = history_init();
    if (prompt->edit == NULL || prompt->history == NULL) {
        fprintf(stderr, "faultline-cli: the line editor can't be started\n");
        return false;
    }
    history(prompt->history, &event, H_SETSIZE, HISTORY_LINES_MAX);
    history(prompt->history, &event, H_SETUNIQUE, 1);
    history_open(&prompt->history_file);
    history_load(&prompt->history_file, history_enter, prompt);
    el_set(prompt->edit, EL_CLIENTDATA, prompt);
    el_set(prompt->edit, EL_PROMPT, prompt_text);
    el_set(prompt->edit, EL_RPROMPT, hint_text);
    el_set(prompt->edit, EL_SIGNAL, 1);
    el_set(prompt->edit, EL_EDITOR, "emacs");
    el_set(prompt->edit, EL_HIST, history, prompt->history);
    /* The wide form keeps the names that it is given; the narrow one would keep copies, and lose
     * them. */
    el_wset(prompt->edit, EL_ADDFN, L"fl-complete", L"complete a command", key_complete);
    el_wset(prompt->edit, EL_ADDFN, L"fl-space", L"space with a hint", key_space);
    el_set(prompt->edit, EL_BIND, "^I", "fl-complete", NULL);
    el_set(prompt->edit, EL_BIND, "\\040", "fl-space", NULL);
    el_set(prompt->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_source(prompt->edit, NULL);
    return true;
}

static void
prompt_deinit(struct prompt *prompt)
{
    if (prompt->history != NULL) {
        history_end(prompt->history);
    }
    if (prompt->edit != NULL) {
        el_end(prompt->edit);
    }
    history_close(&prompt->history_file);
    docs_deinit(&prompt->docs);
}

enum cli_exit
mode_prompt(struct session *session)
{
    struct prompt prompt;
    bool stay = prompt_init(&prompt, session);
    const enum cli_exit result = stay ? CLI_EXIT_OK : CLI_EXIT_USAGE;

    if (stay && session->client != NULL) {
        connect_again(&prompt);
    }
    while (stay) {
        int len = 0;
        const char *line = el_gets(prompt.edit, &len);

        if (line == NULL || len <= 0) {
            fputs("\n", stdout);
            break;
        }
        size_t used = (size_t)len;

        while (used > 0 && (line[used - 1] == '\n' || line[used - 1] == '\r')) {
            used--;
        }
        remember_line(&prompt, line, used);
        stay = run_line(&prompt, line, used);
    }
    prompt_deinit(&prompt);
    return result;
}

/* Goal:   every command is found by its name in any case and nothing else is; rows are well formed;
 * keys are where the specs
 *         say.
 * Method: all rows of the table, all names bent by one character; key positions of commands with
 * each kind of spec.
 */
#include "proto/command_table.h"
#include "tests/lib/rng.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NAME_BYTES = 64, RANDOM_ROUNDS = 20000 };

static struct command_table table;

static int
make_table(void **state)
{
    (void)state;
    command_table_init(&table);
    return 0;
}

/* Of a name that isn't 0-terminated, in a block of its exact size. */
static const struct command *
find(const char *name, size_t len)
{
    char *exact = malloc(len > 0 ? len : 1);

    assert_non_null(exact);
    memcpy(exact, name, len);
    const struct command *command = command_find_full(&table, exact, len);

    free(exact);
    return command;
}

static void
every_command_is_found_in_any_case(void **state)
{
    struct rng rng = rng_seeded(29);
    (void)state;

    for (int id = 0; id < COMMANDS_COUNT; id++) {
        const struct command *command = command_by_id((enum command_id)id);
        const size_t len = strlen(command->name);
        char name[NAME_BYTES];

        assert_ptr_equal(find(command->name, len), command);
        for (size_t i = 0; i < len; i++) {
            name[i] = (char)toupper((unsigned char)command->name[i]);
        }
        assert_ptr_equal(find(name, len), command);
        for (size_t i = 0; i < len; i++) {
            name[i] = rng_below(&rng, 2) == 0 ? command->name[i] : name[i];
        }
        assert_ptr_equal(find(name, len), command);
    }
}

static bool
is_known(const char *name, size_t len)
{
    for (int id = 0; id < COMMANDS_COUNT; id++) {
        const char *known = command_by_id((enum command_id)id)->name;

        if (strlen(known) == len && strncasecmp(known, name, len) == 0) {
            return true;
        }
    }
    return false;
}

static void
bent_name_is_unknown(void **state)
{
    struct rng rng = rng_seeded(31);
    (void)state;

    for (int round = 0; round < RANDOM_ROUNDS; round++) {
        const struct command *command =
            command_by_id((enum command_id)rng_below(&rng, COMMANDS_COUNT));
        char name[NAME_BYTES];
        size_t len = strlen(command->name);

        memcpy(name, command->name, len + 1);
        switch (rng_below(&rng, 3)) {
        case 0: /* a bit, the one between cases and its neighbours too */
            name[rng_below(&rng, len)] ^= (char)(1u << rng_below(&rng, 8));
            break;
        case 1:
            len = rng_below(&rng, len);
            break;
        default:
            name[len++] = (char)rng_u64(&rng);
        }
        assert_int_equal(find(name, len) != NULL, is_known(name, len));
    }
}

static void
odd_names_are_unknown(void **state)
{
    char longest[1000];
    (void)state;

    memset(longest, 'g', sizeof(longest));
    assert_null(find("", 0));
    assert_null(find("|", 1));
    assert_null(find("get|", 4));
    assert_null(find("|get", 4));
    assert_null(find("config|get|x", 12));
    assert_null(find("config|nosuch", 13));
    assert_null(find("get\0", 4));
    assert_null(find(longest, sizeof(longest)));
    assert_null(command_find(&table, "config|get", 10));
    assert_null(command_find_sub(&table, COMMAND_GET, "get", 3));
    assert_ptr_equal(command_find_sub(&table, COMMAND_CONFIG, "GET", 3),
                     command_by_id(COMMAND_CONFIG_GET));
    assert_ptr_equal(command_find(&table, "get", 3), command_by_id(COMMAND_GET));
    assert_string_equal(command_word(command_by_id(COMMAND_CONFIG_GET)), "get");
    assert_string_equal(command_word(command_by_id(COMMAND_GET)), "get");
}

static void
check_args(const struct command *command, const struct command_arg *args, int depth)
{
    assert_true(depth < 6);
    for (; args != NULL && args->type != COMMAND_ARG_END; args++) {
        const bool group = args->type == COMMAND_ARG_ONEOF || args->type == COMMAND_ARG_BLOCK;

        assert_non_null(args->name);
        assert_true(command_arg_type_name((enum command_arg_type)args->type)[0] != '\0');
        assert_int_equal(args->args != NULL, group);
        assert_true(args->type != COMMAND_ARG_PURE_TOKEN || args->token != NULL);
        assert_true(args->type != COMMAND_ARG_KEY || args->key_spec < command->keys_count);
        check_args(command, args->args, depth + 1);
    }
}

static void
every_row_is_well_formed(void **state)
{
    (void)state;

    for (int id = 0; id < COMMANDS_COUNT; id++) {
        const struct command *command = command_by_id((enum command_id)id);
        const bool sub = command->container != COMMAND_NONE;

        assert_int_equal(command->id, id);
        assert_int_equal(strchr(command->name, '|') != NULL, sub);
        assert_true(command->arity != 0);
        assert_true(!sub || abs(command->arity) >= 2);
        assert_true((command->flags & COMMAND_FLAG_WRITE) == 0 ||
                    (command->flags & COMMAND_FLAG_READONLY) == 0);
        assert_true(strlen(command->summary) > 10 && strlen(command->group) > 3);
        assert_true(strlen(command->since) >= 5 && strlen(command->complexity) > 3);
        assert_non_null(command->tips);
        assert_int_equal(command->deprecated_since != NULL, command->replaced_by != NULL);
        if (sub) {
            const struct command *container = command_by_id(command->container);
            const size_t len = strlen(container->name);

            assert_memory_equal(command->name, container->name, len);
            assert_int_equal(command->name[len], '|');
            assert_true(command->container < command->id);
            assert_true((size_t)(id - (int)container->id) <= command_subs_count(container->id));
        }
        for (size_t i = 0; i < command->keys_count; i++) {
            assert_true(command->keys[i].begin > 0 && command->keys[i].step > 0);
            assert_true(command->keys[i].flags != 0);
        }
        check_args(command, command->args, 0);
    }
}

static void
counts_are_those_of_the_rows(void **state)
{
    size_t all = command_count();
    (void)state;

    for (int id = 0; id < COMMANDS_COUNT; id++) {
        all += command_subs_count((enum command_id)id);
    }
    assert_int_equal(all, COMMANDS_COUNT);
    assert_int_equal(command_subs_count(COMMAND_GET), 0);
    assert_int_equal(command_subs_count(COMMAND_CONFIG), 5);
}

static void
arity_is_exact_or_a_minimum(void **state)
{
    const struct command *get = command_by_id(COMMAND_GET);
    const struct command *set = command_by_id(COMMAND_SET);
    (void)state;

    assert_false(command_arity_fits(get, 1));
    assert_true(command_arity_fits(get, 2));
    assert_false(command_arity_fits(get, 3));
    assert_false(command_arity_fits(set, 2));
    assert_true(command_arity_fits(set, 3));
    assert_true(command_arity_fits(set, 300));
}

static void
check_keys(enum command_id id, size_t argc, const char *expected)
{
    struct command_key keys[8];
    char text[64] = "";
    const size_t count = command_keys(command_by_id(id), argc, keys, 8);

    for (size_t i = 0; i < count; i++) {
        const char digit[] = {(char)('0' + keys[i].index), '\0'};

        strcat(text, digit);
    }
    assert_string_equal(text, expected);
}

static void
keys_are_found_by_their_specs(void **state)
{
    struct command_key keys[2];
    struct command_range range;
    (void)state;

    check_keys(COMMAND_PING, 1, "");
    check_keys(COMMAND_GET, 2, "1");
    check_keys(COMMAND_SET, 5, "1");
    check_keys(COMMAND_MGET, 4, "123");
    check_keys(COMMAND_MSET, 7, "135");
    check_keys(COMMAND_MSET, 6, "135"); /* an odd number is the command's to refuse */
    check_keys(COMMAND_RENAME, 3, "12");
    check_keys(COMMAND_OBJECT_ENCODING, 3, "2");
    check_keys(COMMAND_DEL, 2, "1");

    assert_int_equal(command_keys(command_by_id(COMMAND_DEL), 1001, keys, 2), 1000);
    assert_int_equal(keys[1].index, 2);
    assert_int_equal(keys[1].flags, COMMAND_KEY_RM | COMMAND_KEY_DELETE);

    range = command_key_range(command_by_id(COMMAND_RENAME));
    assert_true(range.first == 1 && range.last == 2 && range.step == 1);
    range = command_key_range(command_by_id(COMMAND_MSET));
    assert_true(range.first == 1 && range.last == -1 && range.step == 2);
    range = command_key_range(command_by_id(COMMAND_FL_RANGE));
    assert_true(range.first == 0 && range.last == 0 && range.step == 0);
}

static void
every_bit_has_a_word(void **state)
{
    (void)state;

    for (unsigned bit = 0; bit < COMMAND_FLAGS_COUNT; bit++) {
        assert_true(strlen(command_flag_name(bit)) > 3);
    }
    for (unsigned bit = 0; bit < COMMAND_CATEGORIES_COUNT; bit++) {
        assert_int_equal(command_category_name(bit)[0], '@');
    }
    for (unsigned bit = 0; bit < COMMAND_KEY_FLAGS_COUNT; bit++) {
        assert_true(strlen(command_key_flag_name(bit)) >= 2);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_is_found_in_any_case),
        cmocka_unit_test(bent_name_is_unknown),
        cmocka_unit_test(odd_names_are_unknown),
        cmocka_unit_test(every_row_is_well_formed),
        cmocka_unit_test(counts_are_those_of_the_rows),
        cmocka_unit_test(arity_is_exact_or_a_minimum),
        cmocka_unit_test(keys_are_found_by_their_specs),
        cmocka_unit_test(every_bit_has_a_word),
    };

    return cmocka_run_group_tests_name("command_table", tests, make_table, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line of an image: its words, and which of them are the environment. */
#include "baremetal/x86_64/arguments.h"

#include <chalk/random.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* All words, each in brackets; those of the environment come first, and a | behind them. */
static const char *split(const char *line)
{
    static struct arguments found;
    static char text[4096];
    char *copy = strdup(line); /* nothing beyond its end is touched: AddressSanitizer */
    const char *fault = arguments_split(copy, &found);

    text[0] = '\0';
    for (unsigned i = 0; i < found.environment_count && fault == NULL; i++)
        strcat(strcat(strcat(text, "["), found.environment[i]), "]");
    strcat(text, "|");
    for (unsigned i = 0; i < found.count && fault == NULL; i++)
        strcat(strcat(strcat(text, "["), found.words[i]), "]");
    free(copy);
    return fault != NULL ? fault : text;
}

static void words_are_split_as_by_a_shell(void **state)
{
    (void)state;
    assert_string_equal(split(""), "|");
    assert_string_equal(split(" \t "), "|");
    assert_string_equal(split("one  two\tthree "), "|[one][two][three]");
    assert_string_equal(split("'a b' \"c d\"e f\\ g"), "|[a b][c de][f g]");
    assert_string_equal(split("'\\' \"\\\"\" \\\\ '' x\\"), "|[\\][\"][\\][][x\\]");
    assert_string_equal(split("a 'b"), "the command line has an unmatched '; close it");
    assert_string_equal(split("a \"b"), "the command line has an unmatched \"; close it");
}

static void words_before_the_dashes_may_be_environment(void **state)
{
    (void)state;
    assert_string_equal(split("CHALK_LOG=info -- --device x"), "[CHALK_LOG=info]|[--device][x]");
    assert_string_equal(split("CHALK_LOG=info CHALK_A_1=2 --"), "[CHALK_LOG=info][CHALK_A_1=2]|");
    assert_string_equal(split("CHALK_LOG=info -- -- CHALK_LOG=x"), "[CHALK_LOG=info]|[--][CHALK_LOG=x]");
    assert_string_equal(split("\"CHALK_BUS=a b\" -- c"), "[CHALK_BUS=a b]|[c]");
    assert_string_equal(split("a CHALK_LOG=info b -- c"), "[CHALK_LOG=info]|[a][b][--][c]");
}

static void without_dashes_each_word_is_looked_at(void **state)
{
    (void)state;
    assert_string_equal(split("CHALK_LOG=info a"), "[CHALK_LOG=info]|[a]");
    assert_string_equal(split("a CHALK_LOG= b"), "[CHALK_LOG=]|[a][b]");
}

static void what_is_not_chalks_is_the_programs(void **state)
{
    (void)state;
    assert_string_equal(split("-- CHALK_LOG=info"), "|[--][CHALK_LOG=info]");
    assert_string_equal(split("a -- b -- c"), "|[a][--][b][--][c]");
    assert_string_equal(split("PATH=/bin CHALK_=1 CHALK_LOG CHALK_log=1 XCHALK_A=1 CHALK_A-B=1"),
                        "|[PATH=/bin][CHALK_=1][CHALK_LOG][CHALK_log=1][XCHALK_A=1][CHALK_A-B=1]");
    assert_string_equal(split("--x --- -"), "|[--x][---][-]");
}

static void too_many_words_are_refused(void **state)
{
    char line[512] = "";

    (void)state;
    for (unsigned i = 0; i < 126; i++)
        strcat(line, "a ");
    strcat(line, "CHALK_A=1 b");
    assert_non_null(strstr(split(line), "[b]"));
    strcat(line, " c");
    assert_string_equal(split(line), "the command line has more than 128 words; shorten it");
}

static void any_text_has_an_end(void **state)
{
    static const char alphabet[] = "aA_=-- \t'\"\\";
    uint64_t random = 1;

    (void)state;
    for (unsigned i = 0; i < 50000; i++) {
        char line[48] = "CHALK_";
        size_t start = chalk_random_below(&random, 2) * 6, size = chalk_random_below(&random, 40);

        for (size_t n = 0; n < size; n++)
            line[start + n] = alphabet[chalk_random_below(&random, sizeof alphabet - 1)];
        line[start + size] = '\0';
        assert_true(strlen(split(line)) < 200);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_split_as_by_a_shell),
        cmocka_unit_test(words_before_the_dashes_may_be_environment),
        cmocka_unit_test(without_dashes_each_word_is_looked_at),
        cmocka_unit_test(what_is_not_chalks_is_the_programs),
        cmocka_unit_test(too_many_words_are_refused),
        cmocka_unit_test(any_text_has_an_end),
    };

    return cmocka_run_group_tests_name("arguments", tests, NULL, NULL);
}

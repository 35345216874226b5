/* SPDX-License-Identifier: BSD-2-Clause */
/* chalk_format() against snprintf(), which is right by definition. */
#include <chalk/log.h>
#include <chalk/random.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#pragma GCC diagnostic ignored "-Wformat"
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-truncation"
#pragma GCC diagnostic ignored "-Wformat-overflow"
#pragma GCC diagnostic ignored "-Wformat-zero-length"
#pragma GCC diagnostic ignored "-Wformat-extra-args"

/* Both, into buffers of exactly `size` bytes, so that a byte too far is seen by the sanitizer. */
#define SAME_IN(size, ...)                                                                                   \
    do {                                                                                                     \
        char *ours = malloc((size) + !(size)), *theirs = malloc((size) + !(size));                           \
        memset(ours, 'z', (size) + !(size));                                                                 \
        memset(theirs, 'z', (size) + !(size));                                                               \
        int our_length = chalk_format(ours, size, __VA_ARGS__);                                              \
        int their_length = snprintf(theirs, size, __VA_ARGS__);                                              \
        if ((size) > 0)                                                                                      \
            assert_string_equal(ours, theirs);                                                               \
        else                                                                                                 \
            assert_int_equal(ours[0], 'z');                                                                  \
        assert_int_equal(our_length, their_length);                                                          \
        free(ours);                                                                                          \
        free(theirs);                                                                                        \
    } while (0)

#define SAME(...) SAME_IN(200, __VA_ARGS__)

static void text_and_percent(void **state)
{
    (void)state;
    SAME("");
    SAME("plain");
    SAME("100%%");
    SAME("%s", "");
    SAME("%s and %s", "one", "two");
    SAME("[%10s] [%-10s]", "right", "left");
    SAME("[%.3s] [%8.3s] [%-8.3s] [%.0s]", "abcdef", "abcdef", "abcdef", "abcdef");
    SAME("[%.*s] [%*s] [%*s]", 2, "abcdef", 9, "wide", -9, "left");
    SAME("%c%c%c [%4c] [%-4c]", 'a', 'b', 'c', 'd', 'e');
    SAME("%s", (const char *)NULL);
}

static void precision_keeps_strings_that_have_no_end(void **state)
{
    char *text = malloc(4);

    (void)state;
    memcpy(text, "abcd", 4);
    SAME("%.4s", text);
    SAME("%.2s", text);
    free(text);
}

static void truncation(void **state)
{
    (void)state;
    for (size_t size = 0; size < 16; size++) {
        SAME_IN(size, "%s", "0123456789");
        SAME_IN(size, "%d %x", 123456, 0xabcdef);
        SAME_IN(size, "%12u|", 7u);
    }
    assert_int_equal(chalk_format(NULL, 0, "%s", "counted only"), 12);
}

static void pointers(void **state)
{
    (void)state;
    SAME("%p", (void *)0x1234);
    SAME("[%20p] [%-20p]", (void *)UINTPTR_MAX, (void *)0xfee00000);
}

static void other_conversions_end_the_reading_of_arguments(void **state)
{
    char text[64];

    (void)state;
    assert_int_equal(chalk_format(text, sizeof text, "%d %f %s", 1, 2.0, (char *)1), 7);
    assert_string_equal(text, "1 %f %s");
    chalk_format(text, sizeof text, "%n", NULL);
    assert_string_equal(text, "%n");
    chalk_format(text, sizeof text, "lone %");
    assert_string_equal(text, "lone %");
    chalk_format(text, sizeof text, "lone %-08.3ll");
    assert_string_equal(text, "lone %-08.3ll");
}

static void lengths_beyond_int_are_the_largest_int(void **state)
{
    char text[8];

    (void)state;
    assert_int_equal(chalk_format(text, sizeof text, "%2147483647d%99999999999d", 1, 2), INT_MAX);
    assert_string_equal(text, "       ");
}

/* Every combination of flags, width, precision, length and conversion, with values at every edge. */
static void every_integer_conversion(void **state)
{
    static const uint64_t values[] = {0,
                                      1,
                                      9,
                                      10,
                                      0x7f,
                                      0x80,
                                      0xff,
                                      0x7fff,
                                      0x8000,
                                      0xffff,
                                      INT_MAX,
                                      (uint64_t)INT_MAX + 1,
                                      UINT_MAX,
                                      INT64_MAX,
                                      (uint64_t)INT64_MAX + 1,
                                      UINT64_MAX,
                                      1234567890123456789ull};
    static const char *const widths[] = {"", "1", "2", "7", "25"};
    static const char *const precisions[] = {"", ".", ".0", ".1", ".5", ".22"};
    static const char *const lengths[] = {"hh", "h", "", "l", "ll", "z", "j"};
    unsigned cases = 0;

    (void)state;
    for (unsigned flags = 0; flags < 32; flags++)
        for (size_t w = 0; w < 5; w++)
            for (size_t p = 0; p < 6; p++)
                for (size_t l = 0; l < 7; l++)
                    for (const char *c = "diuxX"; *c; c++)
                        for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
                            char format[32], ours[80], theirs[80];
                            snprintf(format, sizeof format, "%%%s%s%s%s%s%s%s%s%c", flags & 1 ? "-" : "",
                                     flags & 2 ? "0" : "", flags & 4 ? "#" : "", flags & 8 ? "+" : "",
                                     flags & 16 ? " " : "", widths[w], precisions[p], lengths[l], *c);
                            if ((flags & 4) && strchr("diu", *c))
                                continue; /* undefined */
                            int our_length = chalk_format(ours, sizeof ours, format, values[v]);
                            int their_length = snprintf(theirs, sizeof theirs, format, values[v]);
                            if (strcmp(ours, theirs) != 0 || our_length != their_length)
                                fail_msg("%s of 0x%llx: \"%s\" (%d), but snprintf says \"%s\" (%d)", format,
                                         (unsigned long long)values[v], ours, our_length, theirs,
                                         their_length);
                            cases++;
                        }
    print_message("# %u conversions compared\n", cases);
}

/* Formats of random characters of the grammar: no argument is ever read that is not an integer. */
static void random_formats(void **state)
{
    static const char alphabet[] = "%%%%dixXuc0123456789.-#+ hlzjq";
    uint64_t random = 7;

    (void)state;
    for (unsigned round = 0; round < 200000; round++) {
        char format[12], text[16];
        size_t size = (size_t)chalk_random_below(&random, sizeof format);
        for (size_t i = 0; i < size; i++)
            format[i] = alphabet[chalk_random_below(&random, sizeof alphabet - 1)];
        format[size] = 0;
        size_t digits = 0, longest = 0;
        for (size_t i = 0; i < size; i++) {
            digits = format[i] >= '0' && format[i] <= '9' ? digits + 1 : 0;
            longest = digits > longest ? digits : longest;
        }
        if (longest > 4)
            continue; /* a wide field only costs time */
        int length = chalk_format(text, sizeof text, format, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12);
        assert_true(length >= 0);
        assert_int_equal(strlen(text), length < 16 ? length : 15);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_and_percent),
        cmocka_unit_test(precision_keeps_strings_that_have_no_end),
        cmocka_unit_test(truncation),
        cmocka_unit_test(pointers),
        cmocka_unit_test(other_conversions_end_the_reading_of_arguments),
        cmocka_unit_test(lengths_beyond_int_are_the_largest_int),
        cmocka_unit_test(every_integer_conversion),
        cmocka_unit_test(random_formats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

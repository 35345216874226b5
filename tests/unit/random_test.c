/* SPDX-License-Identifier: BSD-2-Clause */
/* Which answers of RDRAND are believed. */
#include "baremetal/x86_64/machine.h"

#include <chalk/random.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static uint64_t words[4];
static unsigned next, fails_at;

static bool draw(uint64_t *value)
{
    *value = words[next % 4];
    return next++ != fails_at;
}

static bool believed(uint64_t first, uint64_t second)
{
    uint64_t value;

    next = 0;
    fails_at = UINT32_MAX;
    words[0] = first;
    words[1] = second;
    return random_believed(draw, &value);
}

static void words_that_do_not_change_are_no_chance(void **state)
{
    (void)state;
    assert_false(believed(UINT64_MAX, UINT64_MAX));
    assert_false(believed(0, 0));
    assert_false(believed(0x123456789, 0x123456789));
    assert_false(believed(0x123456789, UINT64_MAX));
    assert_false(believed(UINT64_MAX, 0x123456789));
    assert_false(believed(0, 0x123456789));
    assert_true(believed(0x123456789, 0x12345678a));
}

static void what_the_processor_did_not_give_is_not_used(void **state)
{
    uint64_t value;

    (void)state;
    for (fails_at = 0; fails_at < 2; fails_at++) {
        next = 0;
        words[0] = 1, words[1] = 2;
        assert_false(random_believed(draw, &value));
    }
}

static void what_is_believed_is_the_last_word(void **state)
{
    uint64_t value = 0;

    (void)state;
    next = 0;
    words[0] = 5, words[1] = 6;
    fails_at = UINT32_MAX;
    assert_true(random_believed(draw, &value));
    assert_int_equal(value, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_that_do_not_change_are_no_chance),
        cmocka_unit_test(what_the_processor_did_not_give_is_not_used),
        cmocka_unit_test(what_is_believed_is_the_last_word),
    };

    return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}

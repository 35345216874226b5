/* SPDX-License-Identifier: BSD-2-Clause */
/* Conversions of time, for every clock rate of a real processor and a hundred years. */
#include "platform_fake.h"
#include <chalk/clock.h>
#include <chalk/random.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define YEARS_100 (100ull * 365 * 86400 * CHALK_S) /* nanoseconds: a sixth of 2^64 */

static const uint64_t rates[] = {1000000000, 800000000,  1193182000, 2399999999,
                                 2400000000, 3187200000, 5800000000, 6000000000};

static int setup(void **state)
{
    (void)state;
    fake_reset();
    return 0;
}

/* As <chalk/platform.h> defines the factors, rounded down. */
static void set_rate(uint64_t hertz)
{
    fake.clock.hertz = hertz;
    fake.clock.ns_mult = (uint64_t)(((unsigned __int128)CHALK_S << 32) / hertz);
    fake.clock.ticks_mult = (uint64_t)(((unsigned __int128)hertz << 32) / CHALK_S);
}

static void hundred_years_do_not_overflow(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        set_rate(rates[i]);
        uint64_t exact = (uint64_t)((unsigned __int128)YEARS_100 * rates[i] / CHALK_S);
        if ((unsigned __int128)YEARS_100 * rates[i] / CHALK_S > UINT64_MAX)
            continue; /* then the counter itself has not that many bits */
        uint64_t ticks = chalk_ns_to_ticks(YEARS_100);
        /* the factor is rounded to 32 fractional bits: better than 1 in 2^31 */
        assert_true(ticks <= exact && exact - ticks <= exact >> 31);
        uint64_t ns = chalk_ticks_to_ns(exact);
        assert_true(ns <= YEARS_100 && YEARS_100 - ns <= YEARS_100 >> 29);
    }
}

static void conversions_are_monotone(void **state)
{
    uint64_t random = 17;

    (void)state;
    for (unsigned i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        set_rate(rates[i]);
        for (unsigned round = 0; round < 10000; round++) {
            uint64_t a = chalk_random_next(&random) >> chalk_random_below(&random, 64) >> 5;
            uint64_t b = a + (chalk_random_next(&random) >> chalk_random_below(&random, 64) >> 3);
            assert_true(chalk_ticks_to_ns(a) <= chalk_ticks_to_ns(b));
            assert_true(chalk_ns_to_ticks(a) <= chalk_ns_to_ticks(b));
            assert_true(chalk_ticks_to_ns(a) <= chalk_ticks_to_ns(a + 1));
        }
    }
}

static void there_and_back_loses_less_than_it_counts(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        set_rate(rates[i]);
        for (uint64_t ns = 1; ns < 3600 * CHALK_S; ns = ns * 3 + 1) {
            uint64_t back = chalk_ticks_to_ns(chalk_ns_to_ticks(ns));
            assert_true(back <= ns && ns - back <= 2 + (ns >> 29) + CHALK_S / rates[i]);
        }
    }
}

static void deadlines(void **state)
{
    (void)state;
    fake.step = 0;
    uint64_t deadline = chalk_deadline(100);
    assert_int_equal(deadline, fake.now + 100);
    assert_false(chalk_expired(deadline));
    fake.now += 99;
    assert_false(chalk_expired(deadline));
    fake.now += 1;
    assert_true(chalk_expired(deadline));
    assert_true(chalk_expired(0));
}

static void deadline_beyond_the_end_of_time_never_comes(void **state)
{
    (void)state;
    fake.step = 0;
    assert_int_equal(chalk_deadline(UINT64_MAX), CHALK_FOREVER);
    fake.now = UINT64_MAX;
    assert_false(chalk_expired(CHALK_FOREVER));
}

/* At 3 GHz, the longest timeouts that fit into 64 bits of nanoseconds do not fit into 64 bits of ticks. */
static void longest_timeouts_at_fast_clocks_never_come_early(void **state)
{
    (void)state;
    fake.step = 0;
    set_rate(3000000000);
    assert_int_equal(chalk_deadline(UINT64_MAX), CHALK_FOREVER);
    assert_int_equal(chalk_deadline(UINT64_MAX / 2), CHALK_FOREVER);
    assert_true(chalk_deadline(UINT64_MAX / 4) > UINT64_MAX / 4);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hundred_years_do_not_overflow),
        TEST(conversions_are_monotone),
        TEST(there_and_back_loses_less_than_it_counts),
        TEST(deadlines),
        TEST(deadline_beyond_the_end_of_time_never_comes),
        TEST(longest_timeouts_at_fast_clocks_never_come_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

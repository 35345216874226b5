/* SPDX-License-Identifier: BSD-2-Clause */
/* Which processors are new enough. */
#include "hosted/level.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* SDM vol. 2, CPUID: leaf 1 */
#define ALL 0x00982201u

static void each_feature_is_needed(void **state)
{
    static const struct {
        uint32_t bit;
        const char *name;
    } features[] = {{1u << 0, "SSE3"},    {1u << 9, "SSSE3"},   {1u << 13, "CMPXCHG16B"},
                    {1u << 19, "SSE4.1"}, {1u << 20, "SSE4.2"}, {1u << 23, "POPCNT"}};

    (void)state;
    assert_null(hosted_level_missing(ALL, 1));
    assert_null(hosted_level_missing(UINT32_MAX, UINT32_MAX));
    assert_string_equal(hosted_level_missing(ALL, 0), "LAHF");
    assert_string_equal(hosted_level_missing(0, 0), "SSE3");
    for (unsigned i = 0; i < sizeof(features) / sizeof(features[0]); i++)
        assert_string_equal(hosted_level_missing(ALL & ~features[i].bit, 1), features[i].name);
}

static void this_processor_has_passed(void **state)
{
    (void)state;
    hosted_level_link(); /* its constructor has run */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_feature_is_needed),
        cmocka_unit_test(this_processor_has_passed),
    };

    return cmocka_run_group_tests_name("hosted-level", tests, NULL, NULL);
}

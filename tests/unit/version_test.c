/* SPDX-License-Identifier: BSD-2-Clause */
/* The version of the archive is that of its headers, in both spellings. */
#include "platform_fake.h"
#include <chalk/error.h>
#include <chalk/version.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#if CHALK_VERSION < CHALK_VERSION_NUMBER(0, 1, 0)
#error "versions are compared as numbers"
#endif

static void archive_and_headers_agree(void **state)
{
    char text[32];

    (void)state;
    snprintf(text, sizeof text, "%d.%d.%d", CHALK_VERSION_MAJOR, CHALK_VERSION_MINOR, CHALK_VERSION_PATCH);
    assert_string_equal(chalk_version_text(), text);
    assert_string_equal(chalk_version_text(), CHALK_PROJECT_VERSION); /* meson's */
    assert_int_equal(chalk_version(), CHALK_VERSION);
    assert_true(CHALK_VERSION_NUMBER(1, 0, 0) > CHALK_VERSION_NUMBER(0, 999, 999));
}

static void headers_of_another_interface_are_refused(void **state)
{
    (void)state;
    assert_int_equal(chalk_program_version, CHALK_VERSION);
    assert_int_equal(chalk_version_check(), 0);
    chalk_program_version = CHALK_VERSION_NUMBER(CHALK_VERSION_MAJOR, CHALK_VERSION_MINOR, 999);
    assert_int_equal(chalk_version_check(), 0);
    for (int step = -1; step <= 1; step += 2) {
        fake_reset();
        chalk_program_version = CHALK_VERSION_NUMBER(CHALK_VERSION_MAJOR, CHALK_VERSION_MINOR + step, 0);
        assert_int_equal(chalk_version_check(), -EINVAL);
        assert_true(fake_console_has("compile it anew"));
    }
    chalk_program_version = CHALK_VERSION_NUMBER(CHALK_VERSION_MAJOR + 1, CHALK_VERSION_MINOR, 0);
    assert_int_equal(chalk_version_check(), -EINVAL);
    chalk_program_version = CHALK_VERSION;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(archive_and_headers_agree),
                                       cmocka_unit_test(headers_of_another_interface_are_refused)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

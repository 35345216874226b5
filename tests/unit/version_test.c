/* SPDX-License-Identifier: BSD-2-Clause */
/* The version of the archive is that of its headers, in both spellings. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(archive_and_headers_agree)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages, names of errors, and failed assertions. */
#include "platform_fake.h"
#include <chalk/error.h>
#include <chalk/log.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int setup(void **state)
{
    (void)state;
    fake_reset();
    chalk_log_level(CHALK_WARNING);
    return 0;
}

static void message_is_one_line_with_the_prefix(void **state)
{
    (void)state;
    chalk_log(CHALK_ERROR, "%s: no answer after %u ms", "0000:00:03.0", 5000);
    assert_string_equal(fake.console, "chalk: 0000:00:03.0: no answer after 5000 ms\n");
}

static void messages_above_the_level_are_dropped(void **state)
{
    (void)state;
    chalk_log(CHALK_WARNING, "seen");
    chalk_log(CHALK_INFO, "not seen");
    assert_string_equal(fake.console, "chalk: seen\n");
    chalk_log_level(CHALK_TRACE);
    chalk_log(CHALK_TRACE, "seen");
    chalk_log_level(CHALK_ERROR);
    chalk_log(CHALK_WARNING, "not seen");
    assert_string_equal(fake.console, "chalk: seen\nchalk: seen\n");
}

static void level_has_a_name(void **state)
{
    (void)state;
    assert_int_equal(chalk_log_level_named("error"), 0);
    chalk_log(CHALK_WARNING, "not seen");
    assert_int_equal(chalk_log_level_named("trace"), 0);
    chalk_log(CHALK_TRACE, "seen");
    assert_int_equal(chalk_log_level_named("info"), 0);
    chalk_log(CHALK_TRACE, "not seen");
    chalk_log(CHALK_INFO, "seen");
    assert_int_equal(chalk_log_level_named("warning"), 0);
    chalk_log(CHALK_INFO, "not seen");
    assert_string_equal(fake.console, "chalk: seen\nchalk: seen\n");
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(chalk_log_level_named((const char *[]){"", "loud", "errors", "ERROR"}[i]), -EINVAL);
    assert_non_null(
        strstr(fake.console, "'loud' is not a level of messages: use error, warning, info or trace\n"));
}

struct kept {
    struct chalk_log_sink sink; /* first */
    enum chalk_level level;
    char text[1024];
    size_t size;
    unsigned count;
};

static void keep(struct chalk_log_sink *sink, enum chalk_level level, const char *text, size_t size)
{
    struct kept *kept = (struct kept *)sink;

    kept->level = level;
    kept->size = size;
    kept->count++;
    memcpy(kept->text, text, size + 1);
}

static void sink_gets_messages_instead_of_the_console(void **state)
{
    static struct kept kept = {.sink.write = keep};
    char text[2000];

    (void)state;
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    chalk_log_to(&kept.sink);
    chalk_log(CHALK_WARNING, "%s: two\nlines", "disk");
    assert_int_equal(kept.level, CHALK_WARNING);
    assert_string_equal(kept.text, "disk: two\nlines");
    assert_int_equal(kept.size, strlen(kept.text));
    chalk_log(CHALK_INFO, "dropped");
    assert_int_equal(kept.count, 1);
    chalk_log(CHALK_ERROR, "%s", text);
    assert_int_equal(kept.size, 1016);
    assert_int_equal(strspn(kept.text, "x"), 1016);
    assert_true(fake_exits(chalk_assert(1 + 1 == 3)));
    assert_non_null(strstr(kept.text, "assertion failed: 1 + 1 == 3"));
    assert_string_equal(fake.console, "");
    chalk_log_to(NULL);
    chalk_log(CHALK_ERROR, "again");
    assert_string_equal(fake.console, "chalk: again\n");
}

static void message_is_truncated_at_1_kib_and_keeps_its_newline(void **state)
{
    char text[2000];

    (void)state;
    for (size_t size = 1010; size < 1022; size++) {
        fake_console_clear();
        memset(text, 'x', size);
        text[size] = 0;
        chalk_log(CHALK_ERROR, "%s", text);
        size_t expected = 7 + size + 1 < 1024 ? 7 + size + 1 : 1024;
        assert_int_equal(fake.console_size, expected);
        assert_int_equal(strspn(fake.console + 7, "x"), expected - 8);
        assert_int_equal(fake.console[expected - 1], '\n');
    }
}

static void console_that_takes_a_little_at_a_time_gets_everything(void **state)
{
    (void)state;
    fake.console_chunk = 3;
    chalk_log(CHALK_ERROR, "in small pieces");
    assert_string_equal(fake.console, "chalk: in small pieces\n");
}

static void console_that_fails_is_not_tried_for_ever(void **state)
{
    (void)state;
    fake_fail("chalk_console", 0, -EIO);
    chalk_log(CHALK_ERROR, "lost");
    assert_string_equal(fake.console, "");
}

static void every_error_has_a_name(void **state)
{
    static const int errors[] = {
        EPERM,        ENOENT,     EINTR,     EIO,          ENXIO,     E2BIG,    EBADF,   EAGAIN,
        ENOMEM,       EACCES,     EFAULT,    EBUSY,        EEXIST,    EXDEV,    ENODEV,  EINVAL,
        ENFILE,       EMFILE,     ENOTTY,    EFBIG,        ENOSPC,    ESPIPE,   EROFS,   ERANGE,
        ENAMETOOLONG, ENOSYS,     EPROTO,    EBADMSG,      EOVERFLOW, EILSEQ,   ENOTSUP, EADDRINUSE,
        ECONNABORTED, ECONNRESET, ETIMEDOUT, ECONNREFUSED, ERESTART,  ECANCELED};
    const size_t count = sizeof errors / sizeof errors[0];

    (void)state;
    for (size_t i = 0; i < count; i++) {
        assert_string_not_equal(chalk_error_name(-errors[i]), "unknown error");
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(chalk_error_name(-errors[i]), chalk_error_name(-errors[j]));
    }
    assert_string_equal(chalk_error_name(0), "success");
    assert_string_equal(chalk_error_name(EIO), "unknown error");
    assert_string_equal(chalk_error_name(-4096), "unknown error");
}

static void failed_assertion_names_its_place_and_ends_the_program(void **state)
{
    (void)state;
    chalk_assert(1 + 1 == 2);
    assert_string_equal(fake.console, "");
    assert_true(fake_exits(chalk_assert(1 + 1 == 3)));
    assert_int_equal(fake.exit_status, 134);
    assert_true(fake_console_has("log_test.c:"));
    assert_true(fake_console_has("1 + 1 == 3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(message_is_one_line_with_the_prefix, setup),
        cmocka_unit_test_setup(messages_above_the_level_are_dropped, setup),
        cmocka_unit_test_setup(level_has_a_name, setup),
        cmocka_unit_test_setup(sink_gets_messages_instead_of_the_console, setup),
        cmocka_unit_test_setup(message_is_truncated_at_1_kib_and_keeps_its_newline, setup),
        cmocka_unit_test_setup(console_that_takes_a_little_at_a_time_gets_everything, setup),
        cmocka_unit_test_setup(console_that_fails_is_not_tried_for_ever, setup),
        cmocka_unit_test_setup(every_error_has_a_name, setup),
        cmocka_unit_test_setup(failed_assertion_names_its_place_and_ends_the_program, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

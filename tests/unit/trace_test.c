/* SPDX-License-Identifier: BSD-2-Clause */
/* Traces: what a ring keeps, what a reader is told while it is written, and the lines that come out. */
#include "platform_fake.h"
#include <chalk/error.h>
#include <chalk/trace.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT 8

static uint64_t memory[COUNT * CHALK_TRACE_RECORD / 8];
static struct chalk_trace trace;

static int setup(void **state)
{
    (void)state;
    fake_reset();
    fake.now = 1000;
    fake.step = 10;
    fake.clock.wall_ns = 0;
    fake.clock.wall_ticks = 0;
    memset(memory, 0xa5, sizeof memory);
    return chalk_trace_init(&trace, 3, memory, COUNT);
}

/* Marks numbered from `first` on. */
static void mark(uint32_t first, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        chalk_trace_emit(&trace, CHALK_TRACE_MARK, first + i, 2 * (first + i), 3 * (first + i));
}

/* Reads everything, and that it is the marks `first` and so on. Returns how many. */
static unsigned expect_marks(uint64_t *position, uint32_t first)
{
    struct chalk_trace_record record;
    unsigned count = 0;

    for (; chalk_trace_next(&trace, position, &record); count++) {
        assert_int_equal(record.kind, CHALK_TRACE_MARK);
        assert_int_equal(record.core, 3);
        assert_int_equal(record.number, first + count);
        assert_int_equal(record.value, 2 * record.number);
        assert_int_equal(record.other, 3 * record.number);
    }
    return count;
}

static void sizes_that_no_ring_has_are_refused(void **state)
{
    static const uint32_t wrong[] = {0, 1, 3, 6, 7, (1u << 24) + 1, 1u << 25, UINT32_MAX};
    struct chalk_trace other;

    (void)state;
    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(chalk_trace_init(&other, 0, memory, wrong[i]), -EINVAL);
    assert_int_equal(chalk_trace_init(&other, 0, NULL, 2), -EINVAL);
    assert_int_equal(chalk_trace_init(&other, 0, (char *)memory + 4, 2), -EINVAL);
    assert_int_equal(chalk_trace_init(&other, 65536, memory, 2), -EINVAL);
    assert_int_equal(chalk_trace_init(&other, 65535, memory, 2), 0);
}

static void nothing_is_traced_without_a_ring(void **state)
{
    uint64_t before = fake.now;

    (void)state;
    chalk_trace_emit(NULL, CHALK_TRACE_MARK, 1, 2, 3);
    assert_int_equal(fake.now, before); /* nobody looked at the time */
}

static void records_come_back_in_order_with_the_time(void **state)
{
    struct chalk_trace_record record;
    uint64_t position = 0, before = fake.now;

    (void)state;
    assert_false(chalk_trace_next(&trace, &position, &record));
    chalk_trace_emit(&trace, CHALK_TRACE_COMPLETE, UINT32_MAX, UINT64_MAX, 7);
    chalk_trace_emit(&trace, 0xffff, 0, 0, 0);
    assert_true(chalk_trace_next(&trace, &position, &record));
    assert_int_equal(record.kind, CHALK_TRACE_COMPLETE);
    assert_int_equal(record.core, 3);
    assert_int_equal(record.number, UINT32_MAX);
    assert_true(record.value == UINT64_MAX);
    assert_int_equal(record.other, 7);
    assert_in_range(record.ticks, before, before + fake.step);

    uint64_t first = record.ticks;

    assert_true(chalk_trace_next(&trace, &position, &record));
    assert_int_equal(record.kind, 0xffff);
    assert_int_equal(record.ticks - first, fake.step);
    assert_false(chalk_trace_next(&trace, &position, &record));
    assert_int_equal(position, 2);
}

static void full_ring_forgets_the_oldest(void **state)
{
    (void)state;
    for (unsigned written = 0; written < 4 * COUNT; written++) {
        uint64_t position = 0;
        unsigned kept = written < COUNT - 1 ? written : COUNT - 1;

        assert_int_equal(expect_marks(&position, written - kept), kept);
        assert_int_equal(position, written);
        mark(written, 1);
    }
}

static void reader_that_is_overtaken_learns_how_much_it_lost(void **state)
{
    struct chalk_trace_record record;
    uint64_t position = 0;

    (void)state;
    mark(0, 3);
    assert_true(chalk_trace_next(&trace, &position, &record));
    mark(3, 2 * COUNT);
    assert_true(chalk_trace_next(&trace, &position, &record));
    assert_int_equal(record.number, 3 + 2 * COUNT - (COUNT - 1));
    assert_int_equal(position, record.number + 1);
    assert_int_equal(expect_marks(&position, record.number + 1), COUNT - 2);
}

static void position_that_is_yet_to_come_has_nothing(void **state)
{
    struct chalk_trace_record record;
    uint64_t position = 100;

    (void)state;
    mark(0, 5);
    assert_false(chalk_trace_next(&trace, &position, &record));
    assert_int_equal(position, 100);
}

/* The owner stopped in the middle of a record: it is not seen, nor is the one that it destroys. */
static void record_that_is_half_written_is_not_seen(void **state)
{
    uint64_t position = 0;

    (void)state;
    mark(0, 2 * COUNT);
    memory[(2 * COUNT % COUNT) * 4] = 0xdead;
    memory[(2 * COUNT % COUNT) * 4 + 1] = 0xdead;
    assert_int_equal(expect_marks(&position, COUNT + 1), COUNT - 1);
}

#define RACES 200000

static void *race(void *argument)
{
    for (uint64_t i = 0; i < RACES; i++)
        chalk_trace_emit(argument, CHALK_TRACE_MARK, (uint32_t)i, i * 3, ~i);
    return NULL;
}

static void reader_beside_the_writer_never_sees_a_mixture(void **state)
{
    struct chalk_trace_record record = {0};
    uint64_t position = 0, seen = 0;
    pthread_t writer;

    (void)state;
    assert_int_equal(pthread_create(&writer, NULL, race, &trace), 0);
    while (position < RACES) {
        uint64_t last = record.ticks;

        if (!chalk_trace_next(&trace, &position, &record))
            continue;
        assert_true(record.number == position - 1);
        assert_true(record.value == (position - 1) * 3 && record.other == ~(position - 1));
        assert_true(record.ticks > last);
        seen++;
    }
    pthread_join(writer, NULL);
    assert_in_range(seen, 1, RACES);
}

/* ---- lines ----------------------------------------------------------------------------------------- */

static char text[4096];
static unsigned lines, most_lines;

static int gather(void *context, const char *line, size_t size)
{
    size_t length = strlen(text);

    assert_ptr_equal(context, text);
    assert_in_range(size, 1, CHALK_TRACE_LINE);
    assert_int_equal(line[size - 1], '\n');
    assert_true(memchr(line, '\n', size) == line + size - 1);
    if (lines == most_lines)
        return -EIO;
    lines++;
    memcpy(text + length, line, size);
    text[length + size] = 0;
    return 0;
}

static int write_lines(unsigned most)
{
    text[0] = 0;
    lines = 0;
    most_lines = most;
    return chalk_trace_write(&trace, gather, text);
}

/* The same text is in trace_tool_test.py: what is written here is read there. */
static const char five_records[] =
    "chalk-trace: ring 3 1000000000 0 0\n"
    "chalk-trace: "
    "8gMAAAAAAAABAAMABwAAAAAAAAAAAAAAAAAAAAAAAAD8AwAAAAAAADAAAwAIAAAAABAAAAAAAABAAAAAAAAAAAYEAAAAAAAAMwADAPv/"
    "//"
    "8AEAAAAAAAAIECAAAAAAAA\n"
    "chalk-trace: EAQAAAAAAAASAAMAAAAAAAAAAAAAAAAAAAAAAAAAAAAaBAAAAAAAABMAAwAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\n"
    "chalk-trace: end 3 5 0 966e0bd3\n";

static void lines_are_what_the_format_says(void **state)
{
    (void)state;
    chalk_trace_emit(&trace, CHALK_TRACE_MARK, 7, 0, 0);
    chalk_trace_emit(&trace, CHALK_TRACE_READ, 8, 0x1000, 64);
    chalk_trace_emit(&trace, CHALK_TRACE_COMPLETE, (uint32_t)-EIO, 0x1000, 0x281);
    chalk_trace_emit(&trace, CHALK_TRACE_SLEEP, 0, 0, 0);
    chalk_trace_emit(&trace, CHALK_TRACE_WAKE, 0, 0, 0);
    assert_int_equal(write_lines(100), 0);
    assert_string_equal(text, five_records);
}

static void lines_count_what_was_lost(void **state)
{
    (void)state;
    assert_int_equal(write_lines(100), 0);
    assert_string_equal(text, "chalk-trace: ring 3 1000000000 0 0\nchalk-trace: end 3 0 0 00000000\n");
    mark(0, 3 * COUNT);
    assert_int_equal(write_lines(100), 0);
    assert_int_equal(lines, 2 + (COUNT - 1 + 2) / 3);
    assert_non_null(strstr(text, "chalk-trace: end 3 7 17 "));
}

static void writing_ends_with_the_first_error(void **state)
{
    (void)state;
    mark(0, 6);
    for (unsigned most = 0; most < 4; most++) {
        assert_int_equal(write_lines(most), -EIO);
        assert_int_equal(lines, most);
    }
    assert_int_equal(write_lines(4), 0);
}

/* Each line is followed by more records than the ring holds: it comes to an end all the same. */
static int gather_and_mark(void *context, const char *line, size_t size)
{
    (void)context;
    (void)line;
    (void)size;
    mark(0, 2 * COUNT);
    assert_in_range(++lines, 1, 100);
    return 0;
}

static void writing_ends_although_records_keep_coming(void **state)
{
    (void)state;
    mark(0, 6);
    lines = 0;
    assert_int_equal(chalk_trace_write(&trace, gather_and_mark, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(sizes_that_no_ring_has_are_refused, setup),
        cmocka_unit_test_setup(nothing_is_traced_without_a_ring, setup),
        cmocka_unit_test_setup(records_come_back_in_order_with_the_time, setup),
        cmocka_unit_test_setup(full_ring_forgets_the_oldest, setup),
        cmocka_unit_test_setup(reader_that_is_overtaken_learns_how_much_it_lost, setup),
        cmocka_unit_test_setup(position_that_is_yet_to_come_has_nothing, setup),
        cmocka_unit_test_setup(record_that_is_half_written_is_not_seen, setup),
        cmocka_unit_test_setup(reader_beside_the_writer_never_sees_a_mixture, setup),
        cmocka_unit_test_setup(lines_are_what_the_format_says, setup),
        cmocka_unit_test_setup(lines_count_what_was_lost, setup),
        cmocka_unit_test_setup(writing_ends_with_the_first_error, setup),
        cmocka_unit_test_setup(writing_ends_although_records_keep_coming, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

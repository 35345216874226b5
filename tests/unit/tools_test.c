/* SPDX-License-Identifier: BSD-2-Clause */
/* What the programs measure and verify with: a verifier that cannot fail, or a figure that is wrong, is worse
 * than none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/nvme/histogram.h"
#include "tools/nvme/options.h"
#include "tools/nvme/pattern.h"
#include "tools/nvme/scatter.h"

#define PAGE 4096u

/* ---- options ----------------------------------------------------------------------------------------- */

static void number_is(const char *text, uint64_t expected)
{
    uint64_t value = ~expected;

    assert_true(options_number(text, text + strlen(text), &value));
    assert_int_equal(value, expected);
}

static void numbers_are_read_whole(void **state)
{
    static const char *const wrong[] = {"",
                                        "K",
                                        "-1",
                                        "1.5",
                                        "0x",
                                        "0xg",
                                        "12a",
                                        "1KK",
                                        "0x1K",
                                        " 1",
                                        "1 ",
                                        "k1",
                                        "18446744073709551616",
                                        "16777216T",
                                        "18014398509481984K",
                                        "0x10000000000000000"};
    uint64_t value;

    (void)state;
    number_is("0", 0);
    number_is("18446744073709551615", UINT64_MAX);
    number_is("0xfFfFfFfFfFfFfFfF", UINT64_MAX);
    number_is("4k", 4096);
    number_is("2M", 2u << 20);
    number_is("3G", 3ull << 30);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (options_number(wrong[i], wrong[i] + strlen(wrong[i]), &value))
            fail_msg("'%s' was taken for %llu", wrong[i], (unsigned long long)value);
}

static void seconds_have_fractions(void **state)
{
    static const struct {
        const char *text;
        uint64_t nanoseconds;
    } right[] = {{"0", 0},
                 {"2", 2000000000},
                 {"0.5", 500000000},
                 {"00.001", 1000000},
                 {"1.123456789", 1123456789},
                 {"18446744073", 18446744073000000000u}};
    static const char *const wrong[] = {"",    ".",   ".5", "5.",    "-1",           "0.5s",        "1,5",
                                        "1e3", "0x1", "1K", "1.5.5", "0.1234567890", "18446744074", " 1"};
    uint64_t nanoseconds;

    (void)state;
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        assert_true(options_seconds(right[i].text, &nanoseconds));
        assert_int_equal(nanoseconds, right[i].nanoseconds);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (options_seconds(wrong[i], &nanoseconds))
            fail_msg("'%s' was taken for %llu ns", wrong[i], (unsigned long long)nanoseconds);
}

static bool parse(int *status, const char **operand, uint64_t *number, bool *flag, const char **word,
                  const char *const *words)
{
    char copies[4][32] = {"program"}, *argv[5] = {copies[0]};
    uint64_t seconds;
    int argc = 1;
    const struct option options[] = {
        {.name = "number", .kind = OPTION_NUMBER, .value = number, .min = 1, .max = 9, .argument = "N"},
        {.name = "flag", .kind = OPTION_FLAG, .value = flag},
        {.name = "word", .kind = OPTION_WORD, .value = word, .choices = "this|that"},
        {.name = "seconds", .kind = OPTION_SECONDS, .value = &seconds, .min = 1, .max = 10000000000u},
    };

    const struct command command = {"program", "Tests.", options, 4, "OPERAND", "whatever", NULL};

    for (; words[argc - 1]; argc++)
        argv[argc] = strcpy(copies[argc], words[argc - 1]);
    return options_parse(&command, argc, argv, operand, status);
}

static void a_command_line_is_read_or_refused(void **state)
{
    static const char *const wrong[][4] = {
        {"--number"},       {"--number", "0"},
        {"--number", "10"}, {"--number=x"},
        {"--flag=1"},       {"--word", "thi"},
        {"--word="},        {"--word", "this|that"},
        {"--numbe", "1"},   {"-n"},
        {"-help"},          {"--seconds", "-1"},
        {"--seconds", "0"}, {"--seconds", "10.000000001"},
        {"--seconds=1s"},   {"--"},
        {"a", "b"},
    };
    static const char *const right[] = {"--number=7", "--flag", "operand", NULL};
    uint64_t number = 5;
    bool flag = false;
    const char *word = NULL, *operand;
    int status;

    (void)state;
    assert_true(parse(&status, &operand, &number, &flag, &word, right));
    assert_int_equal(number, 7);
    assert_true(flag);
    assert_null(word);
    assert_non_null(operand);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_false(parse(&status, &operand, &number, &flag, &word, wrong[i]));
        assert_int_equal(status, EXIT_USAGE);
    }
}

/* ---- histogram --------------------------------------------------------------------------------------- */

static void buckets_are_in_order_and_narrow(void **state)
{
    unsigned last = 0;

    (void)state;
    for (uint64_t value = 0; value < 1u << 16; value++) {
        unsigned bucket = histogram_bucket(value);

        assert_true(bucket == last || bucket == last + 1);
        last = bucket;
    }
    assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void percentiles_are_the_sorted_values(void **state)
{
    struct histogram *histogram = calloc(1, sizeof *histogram);

    (void)state;
    assert_int_equal(histogram_at(histogram, 500000), 0);
    for (uint64_t value = 1; value <= 500; value++)
        histogram_add(histogram, value, 2);
    assert_int_equal(histogram_at(histogram, 500000), 250);
    assert_int_equal(histogram_at(histogram, 990000), 495);
    assert_int_equal(histogram_at(histogram, 1000000), 500);
    assert_int_equal(histogram->least, 1);
    assert_int_equal(histogram->most, 500);

    /* Beyond what is exact: within one part of 256, from below. */
    for (uint64_t value = 1000; value < UINT64_MAX / 3; value *= 3) {
        memset(histogram, 0, sizeof *histogram);
        histogram_add(histogram, 1, 1);
        histogram_add(histogram, value, 9);
        uint64_t median = histogram_at(histogram, 500000);

        assert_true(median <= value && value - median <= value / 256);
    }
    free(histogram);
}

/* ---- scattered buffers --------------------------------------------------------------------------------- */

static struct scatter make_scatter(size_t largest)
{
    unsigned pages = scatter_pages(PAGE, largest);

    return (struct scatter){
        .memory = {aligned_alloc(PAGE, pages * PAGE), 0x7000000, pages * PAGE},
        .page = PAGE,
        .page_count = pages,
        .order = calloc(pages, sizeof(uint16_t)),
        .segments = calloc(pages, sizeof(struct chalk_dma)),
    };
}

static void drop_scatter(struct scatter *scatter)
{
    free(scatter->memory.va);
    free(scatter->order);
    free(scatter->segments);
}

/* As a device sees it: by the segments alone. */
static void copy_out(const struct scatter *scatter, unsigned char *bytes)
{
    for (unsigned i = 0; i < scatter->segment_count; bytes += scatter->segments[i++].size)
        memcpy(bytes, scatter->segments[i].va, scatter->segments[i].size);
}

static void scattered_buffers_keep_the_rules_and_the_data(void **state)
{
    const struct chalk_block_info info = {.block_size = 512, .segment_align = 4, .boundary = PAGE};
    struct scatter scatter = make_scatter(64 * 512);
    unsigned char put[64 * 512], got[64 * 512];
    unsigned many = 0, offset = 0;
    uint64_t random = 1;

    (void)state;
    for (unsigned round = 0; round < 2000; round++) {
        size_t size = (1 + chalk_random_below(&random, 64)) * 512, sum = 0;

        scatter_lay(&scatter, &info, size, &random);
        for (unsigned i = 0; i < scatter.segment_count; i++) {
            const struct chalk_dma *segment = &scatter.segments[i];
            uint64_t place = segment->iova - scatter.memory.iova;

            assert_true(segment->size > 0 && segment->size % 4 == 0 && segment->iova % 4 == 0);
            assert_true(i == 0 || segment->iova % PAGE == 0);
            assert_true(i + 1 == scatter.segment_count || (segment->iova + segment->size) % PAGE == 0);
            assert_true(place + segment->size <= scatter.memory.size);
            assert_ptr_equal(segment->va, (char *)scatter.memory.va + place);
            sum += segment->size;
        }
        assert_int_equal(sum, size);
        many += scatter.segment_count > 2;
        offset += scatter.offset != 0;

        for (size_t i = 0; i < size; i++)
            put[i] = (unsigned char)chalk_random_next(&random);
        for (size_t i = 0; i < size; i += 512)
            scatter_put(&scatter, i, put + i, 512);
        copy_out(&scatter, got);
        assert_memory_equal(got, put, size);
        memset(got, 0, size);
        scatter_get(&scatter, 0, got, size);
        assert_memory_equal(got, put, size);
        assert_true(scatter_intact(&scatter));
    }
    assert_true(many > 500 && offset > 500);
    drop_scatter(&scatter);
}

static void a_byte_too_far_is_seen(void **state)
{
    const struct chalk_block_info info = {.block_size = 512, .segment_align = 4, .boundary = PAGE};
    struct scatter scatter = make_scatter(8 * 512);
    uint64_t random = 3;
    unsigned before = 0, behind = 0;

    (void)state;
    for (unsigned round = 0; round < 100; round++) {
        scatter_lay(&scatter, &info, 3 * 512, &random);
        const struct chalk_dma *first = scatter.segments, *last = &first[scatter.segment_count - 1];
        unsigned char *end = (unsigned char *)last->va + last->size;

        if (first->iova % PAGE != 0) {
            ((unsigned char *)first->va)[-1] ^= 1;
            assert_false(scatter_intact(&scatter));
            ((unsigned char *)first->va)[-1] ^= 1;
            before++;
        }
        if ((last->iova + last->size) % PAGE != 0) {
            *end ^= 0x80;
            assert_false(scatter_intact(&scatter));
            behind++;
        }
    }
    assert_true(before > 10 && behind > 10);
    drop_scatter(&scatter);
}

static void every_block_is_different(void **state)
{
    uint64_t one[64], other[64];

    (void)state;
    for (uint64_t lba = 0; lba < 64; lba++)
        for (uint64_t seed = 0; seed < 8; seed++) {
            unsigned same = 0;

            pattern_fill(one, 64, lba, seed);
            pattern_fill(other, 64, lba + 1, seed);
            assert_true(one[0] == lba && one[1] == seed);
            for (unsigned i = 2; i < 64; i++)
                same += one[i] == other[i];
            pattern_fill(other, 64, lba, seed + 1);
            for (unsigned i = 2; i < 64; i++)
                same += one[i] == other[i];
            assert_int_equal(same, 0);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_read_whole),
        cmocka_unit_test(seconds_have_fractions),
        cmocka_unit_test(a_command_line_is_read_or_refused),
        cmocka_unit_test(buckets_are_in_order_and_narrow),
        cmocka_unit_test(percentiles_are_the_sorted_values),
        cmocka_unit_test(scattered_buffers_keep_the_rules_and_the_data),
        cmocka_unit_test(a_byte_too_far_is_seen),
        cmocka_unit_test(every_block_is_different),
    };

    return cmocka_run_group_tests_name("tools", tests, NULL, NULL);
}

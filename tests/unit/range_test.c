/* SPDX-License-Identifier: BSD-2-Clause */
/* Maps of address ranges, against a model that is too simple to be wrong: an array, walked each time. */
#include "platform_fake.h"
#include <chalk/random.h>
#include <chalk/range.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PAGE  ((uint64_t)4096)
#define PAGES 512 /* of the addresses that the random work is in */
#define COUNT 128

static struct chalk_ranges map;

static int setup(void **state)
{
    (void)state;
    fake_reset();
    map.root = NULL;
    return 0;
}

/* ---- what every map keeps to ---- */

static unsigned check_node(const struct chalk_range *node, uint64_t *next, uint64_t *gap)
{
    unsigned low, high;

    if (node == NULL)
        return 0;
    uint64_t low_gap = 0, high_gap = 0;
    low = check_node(node->child[0], next, &low_gap);
    assert_true(node->first >= *next && node->first <= node->last);
    assert_int_equal(node->gap_first, *next);
    *gap = node->first - *next;
    *next = node->last + 1;
    high = check_node(node->child[1], next, &high_gap);
    assert_in_range(low, high > 0 ? high - 1 : 0, high + 1);
    assert_int_equal(node->height, 1 + (low > high ? low : high));
    *gap = low_gap > *gap ? low_gap : *gap;
    *gap = high_gap > *gap ? high_gap : *gap;
    assert_int_equal(node->gap[0], *gap); /* the addresses are pages */
    return node->height;
}

static void check(void)
{
    uint64_t next = 0, gap = 0;

    check_node(map.root, &next, &gap);
}

/* ---- by example ---- */

static struct chalk_range range_of(uint64_t first, uint64_t last)
{
    return (struct chalk_range){.first = first, .last = last};
}

static void an_empty_map_has_nothing_and_all_room(void **state)
{
    struct chalk_range stranger = range_of(0, 0);
    uint64_t start;

    (void)state;
    assert_null(chalk_range_find(&map, 0, UINT64_MAX));
    assert_false(chalk_range_remove(&map, &stranger));
    assert_true(chalk_range_gap(&map, 0, UINT64_MAX, PAGE, PAGE, CHALK_RANGE_LOWEST, &start));
    assert_int_equal(start, 0);
    assert_true(chalk_range_gap(&map, 0, UINT64_MAX, PAGE, PAGE, CHALK_RANGE_HIGHEST, &start));
    assert_int_equal(start, UINT64_MAX - PAGE + 1);
    assert_true(chalk_range_gap(&map, 5, 3 * PAGE, PAGE, PAGE, CHALK_RANGE_LOWEST, &start));
    assert_int_equal(start, PAGE);
    assert_false(chalk_range_gap(&map, 5, 2 * PAGE - 2, PAGE, PAGE, CHALK_RANGE_LOWEST, &start));
    assert_false(chalk_range_gap(&map, 0, UINT64_MAX, 0, PAGE, CHALK_RANGE_LOWEST, &start));
    assert_false(chalk_range_gap(&map, 2, 1, PAGE, PAGE, CHALK_RANGE_LOWEST, &start));
}

/* The first and the last address of all: nothing may wrap around. */
static void the_ends_of_all_addresses_are_addresses(void **state)
{
    struct chalk_range low = range_of(0, 4095), high = range_of(UINT64_MAX - 4095, UINT64_MAX), all, same;
    uint64_t start;

    (void)state;
    assert_true(chalk_range_add(&map, &high));
    assert_true(chalk_range_add(&map, &low));
    all = range_of(0, UINT64_MAX);
    same = range_of(UINT64_MAX, UINT64_MAX);
    assert_false(chalk_range_add(&map, &all));
    assert_false(chalk_range_add(&map, &same));
    assert_ptr_equal(chalk_range_next(&map, &low), &high);
    assert_null(chalk_range_next(&map, &high));
    assert_true(chalk_range_gap(&map, 0, UINT64_MAX, PAGE, PAGE, CHALK_RANGE_LOWEST, &start));
    assert_int_equal(start, PAGE);
    assert_true(chalk_range_gap(&map, 0, UINT64_MAX, PAGE, PAGE, CHALK_RANGE_HIGHEST, &start));
    assert_int_equal(start, UINT64_MAX - 2 * PAGE + 1);
    assert_true(chalk_range_gap(&map, 0, UINT64_MAX, -2 * PAGE, PAGE, CHALK_RANGE_LOWEST, &start));
    assert_false(chalk_range_gap(&map, 0, UINT64_MAX, -2 * PAGE + 1, PAGE, CHALK_RANGE_LOWEST, &start));
    assert_false(chalk_range_gap(&map, 0, UINT64_MAX, UINT64_MAX, PAGE, CHALK_RANGE_HIGHEST, &start));
    assert_true(chalk_range_remove(&map, &low));
    assert_true(chalk_range_remove(&map, &high));
    assert_true(chalk_range_add(&map, &all));
    assert_false(chalk_range_gap(&map, 0, UINT64_MAX, 1, PAGE, CHALK_RANGE_LOWEST, &start));
    assert_false(chalk_range_gap(&map, 0, UINT64_MAX, 1, PAGE, CHALK_RANGE_HIGHEST, &start));
}

/* In whatever order they come, n ranges are at most 1.44 log2(n) levels. */
static void a_map_stays_low(void **state)
{
    static struct chalk_range ranges[1000];

    (void)state;
    for (unsigned order = 0; order < 3; order++) {
        for (unsigned i = 0; i < 1000; i++) {
            uint64_t at = order == 0 ? i : order == 1 ? 999 - i : i * 617 % 1000;
            ranges[i] = range_of(2 * at * PAGE, (2 * at + 1) * PAGE - 1);
            assert_true(chalk_range_add(&map, &ranges[i]));
        }
        assert_in_range(map.root->height, 10, 14);
        check();
        for (unsigned i = 0; i < 1000; i++) {
            assert_true(chalk_range_remove(&map, &ranges[(i * 331 + order) % 1000]));
            if (i % 16 == 0)
                check();
        }
        assert_null(map.root);
    }
}

/* ---- by chance ---- */

static struct chalk_range ranges[COUNT];
static bool there[COUNT];

static bool overlaps(const struct chalk_range *range, uint64_t first, uint64_t last)
{
    return range->first <= last && first <= range->last;
}

static struct chalk_range *model_find(uint64_t first, uint64_t last)
{
    struct chalk_range *lowest = NULL;

    for (unsigned i = 0; i < COUNT; i++)
        if (there[i] && overlaps(&ranges[i], first, last) && (!lowest || ranges[i].first < lowest->first))
            lowest = &ranges[i];
    return lowest;
}

static bool model_gap(uint64_t first, uint64_t last, uint64_t size, uint64_t align, bool highest,
                      uint64_t *start)
{
    bool found = false;

    for (uint64_t at = 0; at < 2 * PAGES * PAGE && (highest || !found); at += align)
        if (at >= first && at <= last && size - 1 <= last - at && !model_find(at, at + size - 1)) {
            *start = at;
            found = true;
        }
    return found;
}

static void random_work_matches_the_model(void **state)
{
    static const uint64_t aligns[] = {PAGE, PAGE, PAGE, 4 * PAGE, 512 * PAGE};
    unsigned added = 0, found = 0, missed = 0;
    uint64_t random = 1;

    (void)state;
    memset(there, 0, sizeof there);
    for (unsigned round = 0; round < 30000; round++) {
        unsigned i = (unsigned)chalk_random_below(&random, COUNT);
        uint64_t first = chalk_random_below(&random, PAGES) * PAGE;
        uint64_t last = first + (1 + chalk_random_below(&random, 8)) * PAGE - 1;

        if (there[i]) {
            assert_true(chalk_range_remove(&map, &ranges[i]));
            assert_false(chalk_range_remove(&map, &ranges[i]));
            there[i] = false;
        } else {
            struct chalk_range *in_the_way = model_find(first, last);

            ranges[i] = range_of(first, last);
            assert_int_equal(chalk_range_add(&map, &ranges[i]), in_the_way == NULL);
            there[i] = in_the_way == NULL;
            added += there[i];
        }
        check();
        assert_ptr_equal(chalk_range_find(&map, first, last), model_find(first, last));

        uint64_t size = (1 + chalk_random_below(&random, 16)) * PAGE, start = 0, expected = 0;
        uint64_t align = aligns[chalk_random_below(&random, sizeof aligns / sizeof aligns[0])];
        bool highest = chalk_random_below(&random, 2);
        last = chalk_random_below(&random, 3) ? last + 30 * PAGE : 2 * PAGES * PAGE - 1;
        first = chalk_random_below(&random, 3) ? first : 0;
        bool fits = chalk_range_gap(&map, first, last, size, align,
                                    highest ? CHALK_RANGE_HIGHEST : CHALK_RANGE_LOWEST, &start);
        assert_int_equal(fits, model_gap(first, last, size, align, highest, &expected));
        assert_int_equal(start, expected);
        found += fits;
        missed += !fits;
    }
    assert_true(added > 5000 && found > 1000 && missed > 1000);
}

/* One range after the other, and their number, while some go. */
static void all_are_seen_in_order(void **state)
{
    static struct chalk_range many[300];
    unsigned seen = 0;

    (void)state;
    for (unsigned i = 0; i < 300; i++) {
        many[i] = range_of(i * 7 % 300 * 3, i * 7 % 300 * 3 + 1);
        assert_true(chalk_range_add(&map, &many[i]));
    }
    uint64_t last = 0;
    for (struct chalk_range *at = chalk_range_find(&map, 0, UINT64_MAX), *next; at; at = next) {
        assert_true(seen == 0 || at->first > last);
        last = at->last;
        seen++;
        next = chalk_range_next(&map, at);
        if (seen % 2)
            assert_true(chalk_range_remove(&map, at));
    }
    assert_int_equal(seen, 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_empty_map_has_nothing_and_all_room, setup),
        cmocka_unit_test_setup(the_ends_of_all_addresses_are_addresses, setup),
        cmocka_unit_test_setup(a_map_stays_low, setup),
        cmocka_unit_test_setup(random_work_matches_the_model, setup),
        cmocka_unit_test_setup(all_are_seen_in_order, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* The page allocator, against a model that is too simple to be wrong: one owner a page. */
#include "platform_fake.h"
#include <chalk/memory.h>
#include <chalk/random.h>
#include <memory/pages.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT 150 /* not a multiple of 64 */

static struct chalk_pages pages;
static char *region;
static uint64_t *books;

static int setup(void **state)
{
    (void)state;
    fake_reset();
    region = aligned_alloc(64 * CHALK_PAGE, 192 * CHALK_PAGE);
    books = malloc(chalk_pages_books(COUNT));
    memset(region, 0x5a, COUNT * CHALK_PAGE);
    chalk_pages_start(&pages, region, COUNT, books);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(region);
    free(books);
    return 0;
}

static void exhaustion(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT; i++)
        assert_ptr_equal(chalk_pages_get(&pages, 1, CHALK_PAGE), region + i * CHALK_PAGE);
    assert_null(chalk_pages_get(&pages, 1, CHALK_PAGE));
    assert_int_equal(pages.used, COUNT);
    chalk_pages_put(&pages, region + 77 * CHALK_PAGE, 1);
    assert_null(chalk_pages_get(&pages, 2, CHALK_PAGE));
    assert_ptr_equal(chalk_pages_get(&pages, 1, CHALK_PAGE), region + 77 * CHALK_PAGE);
}

static void everything_at_once(void **state)
{
    (void)state;
    assert_null(chalk_pages_get(&pages, COUNT + 1, CHALK_PAGE));
    assert_null(chalk_pages_get(&pages, SIZE_MAX, CHALK_PAGE));
    assert_null(chalk_pages_get(&pages, 0, CHALK_PAGE));
    assert_ptr_equal(chalk_pages_get(&pages, COUNT, CHALK_PAGE), region);
    chalk_pages_put(&pages, region, COUNT);
    assert_int_equal(pages.used, 0);
}

static void alignment(void **state)
{
    (void)state;
    assert_ptr_equal(chalk_pages_get(&pages, 1, CHALK_PAGE), region);
    assert_ptr_equal(chalk_pages_get(&pages, 1, 16 * CHALK_PAGE), region + 16 * CHALK_PAGE);
    assert_ptr_equal(chalk_pages_get(&pages, 3, 4 * CHALK_PAGE), region + 4 * CHALK_PAGE);
    assert_ptr_equal(chalk_pages_get(&pages, 1, CHALK_PAGE), region + CHALK_PAGE);
    assert_ptr_equal(chalk_pages_get(&pages, 64, 64 * CHALK_PAGE), region + 64 * CHALK_PAGE);
    assert_null(chalk_pages_get(&pages, 64, 64 * CHALK_PAGE));
    assert_null(chalk_pages_get(&pages, 1, (size_t)1 << 62));
}

/* A region that begins in the middle of an alignment: addresses count, not offsets. */
static void alignment_of_a_region_that_is_not(void **state)
{
    (void)state;
    chalk_pages_start(&pages, region + 3 * CHALK_PAGE, COUNT, books);
    assert_ptr_equal(chalk_pages_get(&pages, 2, 8 * CHALK_PAGE), region + 8 * CHALK_PAGE);
}

static void fragments_are_not_joined_by_wishes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT / 2; i++)
        assert_non_null(chalk_pages_get(&pages, 2, CHALK_PAGE));
    for (size_t i = 0; i < COUNT / 2; i += 2)
        chalk_pages_put(&pages, region + i * 2 * CHALK_PAGE, 2);
    assert_true(pages.count - pages.used > 3);
    assert_null(chalk_pages_get(&pages, 3, CHALK_PAGE));
    chalk_pages_put(&pages, region + 2 * CHALK_PAGE, 2); /* joins both its neighbours */
    assert_ptr_equal(chalk_pages_get(&pages, 6, CHALK_PAGE), region);
}

static void mistakes_end_the_program(void **state)
{
    char *a = chalk_pages_get(&pages, 4, CHALK_PAGE);
    char *b = chalk_pages_get(&pages, 4, CHALK_PAGE);

    (void)state;
    assert_true(fake_exits(chalk_pages_put(&pages, a, 3)));
    assert_true(fake_exits(chalk_pages_put(&pages, a, 8)));
    assert_true(fake_exits(chalk_pages_put(&pages, a, 0)));
    assert_true(fake_exits(chalk_pages_put(&pages, a, SIZE_MAX)));
    assert_true(fake_exits(chalk_pages_put(&pages, b + CHALK_PAGE, 3)));
    assert_true(fake_exits(chalk_pages_put(&pages, a + 1, 4)));
    assert_true(fake_exits(chalk_pages_put(&pages, region - CHALK_PAGE, 1)));
    assert_true(fake_exits(chalk_pages_put(&pages, region + COUNT * CHALK_PAGE, 1)));
    chalk_pages_put(&pages, b, 4);
    assert_true(fake_exits(chalk_pages_put(&pages, b, 4)));
    chalk_pages_put(&pages, a, 4);
    assert_true(fake_exits(chalk_pages_put(&pages, a, 4)));
    assert_int_equal(pages.used, 0);
}

static void region_is_never_touched(void **state)
{
    (void)state;
    for (size_t i = 1; i < 16; i++)
        chalk_pages_get(&pages, i, CHALK_PAGE);
    for (size_t i = 0; i < COUNT * CHALK_PAGE; i++)
        assert_int_equal(region[i], 0x5a);
}

/* First fit, by the model: the lowest aligned run of pages without an owner, or COUNT. */
static size_t model_first_fit(const unsigned *owner, size_t count, size_t align_pages)
{
    for (size_t first = 0; first + count <= COUNT; first += align_pages) {
        size_t i = 0;
        while (i < count && !owner[first + i])
            i++;
        if (i == count)
            return first;
    }
    return COUNT;
}

static void random_work_matches_the_model(void **state)
{
    unsigned owner[COUNT] = {0}, next = 1, refused = 0;
    struct {
        char *at;
        size_t count;
    } held[COUNT];
    size_t held_count = 0, used = 0;
    uint64_t random = 42;

    (void)state;
    for (unsigned round = 0; round < 100000; round++) {
        /* phases in which the region fills and empties */
        bool get = chalk_random_below(&random, 100) < (round / 500 % 2 ? 65 : 35);
        if (get) {
            size_t count = 1 + (size_t)chalk_random_below(&random, chalk_random_below(&random, 8) ? 6 : 40);
            size_t align_pages = (size_t)1 << chalk_random_below(&random, 5);
            size_t first = model_first_fit(owner, count, align_pages);
            char *at = chalk_pages_get(&pages, count, align_pages * CHALK_PAGE);
            if (first == COUNT) {
                assert_null(at);
                refused++;
                continue;
            }
            assert_ptr_equal(at, region + first * CHALK_PAGE);
            for (size_t i = 0; i < count; i++)
                owner[first + i] = next;
            next++;
            used += count;
            held[held_count].at = at;
            held[held_count++].count = count;
        } else if (held_count) {
            size_t i = (size_t)chalk_random_below(&random, held_count);
            size_t first = (size_t)(held[i].at - region) / CHALK_PAGE;
            chalk_pages_put(&pages, held[i].at, held[i].count);
            for (size_t j = 0; j < held[i].count; j++)
                owner[first + j] = 0;
            used -= held[i].count;
            held[i] = held[--held_count];
        }
        assert_int_equal(pages.used, used);
    }
    assert_true(refused > 100 && next > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(exhaustion, setup, teardown),
        cmocka_unit_test_setup_teardown(everything_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(alignment, setup, teardown),
        cmocka_unit_test_setup_teardown(alignment_of_a_region_that_is_not, setup, teardown),
        cmocka_unit_test_setup_teardown(fragments_are_not_joined_by_wishes, setup, teardown),
        cmocka_unit_test_setup_teardown(mistakes_end_the_program, setup, teardown),
        cmocka_unit_test_setup_teardown(region_is_never_touched, setup, teardown),
        cmocka_unit_test_setup_teardown(random_work_matches_the_model, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* The page allocator, against a model that is too simple to be wrong: one owner a page. */
#include "platform_fake.h"
#include <chalk/error.h>
#include <chalk/pages.h>
#include <chalk/random.h>
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
    chalk_pages_start(&pages, "tester", region, COUNT, books);
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
    bool seen[COUNT] = {false};

    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        char *page = chalk_pages_get(&pages, 1, CHALK_PAGE);
        assert_non_null(page);
        assert_int_equal((page - region) % CHALK_PAGE, 0);
        assert_false(seen[(size_t)(page - region) / CHALK_PAGE]);
        seen[(size_t)(page - region) / CHALK_PAGE] = true;
    }
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

static void blocks_are_aligned_to_their_size(void **state)
{
    (void)state;
    for (size_t count = 1; count <= 64; count *= 2) {
        uintptr_t at = (uintptr_t)chalk_pages_get(&pages, count, CHALK_PAGE);
        assert_int_not_equal(at, 0);
        assert_int_equal(at % (count * CHALK_PAGE), 0);
    }
}

static void alignment(void **state)
{
    (void)state;
    chalk_pages_start(&pages, "tester", region, 128, books);
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
    chalk_pages_start(&pages, "tester", region + 3 * CHALK_PAGE, COUNT, books);
    assert_ptr_equal(chalk_pages_get(&pages, 2, 8 * CHALK_PAGE), region + 8 * CHALK_PAGE);
    assert_ptr_equal(chalk_pages_get(&pages, 1, CHALK_PAGE), region + 3 * CHALK_PAGE);
    assert_ptr_equal(chalk_pages_get(&pages, COUNT - 7, CHALK_PAGE), region + 10 * CHALK_PAGE);
}

/* No block has five pages, but two neighbours do. */
static void neighbours_are_joined(void **state)
{
    (void)state;
    chalk_pages_start(&pages, "tester", region, 6, books);
    char *at = chalk_pages_get(&pages, 5, CHALK_PAGE);
    assert_ptr_equal(at, region);
    assert_ptr_equal(chalk_pages_get(&pages, 1, CHALK_PAGE), region + 5 * CHALK_PAGE);
    chalk_pages_put(&pages, at, 5);
    assert_ptr_equal(chalk_pages_get(&pages, 4, CHALK_PAGE), region);
}

/* The high end stays whole: small blocks come from the low one. */
static void small_blocks_leave_large_ones_whole(void **state)
{
    void *small[10];

    (void)state;
    chalk_pages_start(&pages, "tester", region, 128, books);
    for (unsigned i = 0; i < 10; i++)
        small[i] = chalk_pages_get(&pages, 1, CHALK_PAGE);
    for (unsigned i = 0; i < 10; i += 2)
        chalk_pages_put(&pages, small[i], 1);
    assert_ptr_equal(chalk_pages_get(&pages, 1, CHALK_PAGE), region);
    assert_ptr_equal(chalk_pages_get(&pages, 64, CHALK_PAGE), region + 64 * CHALK_PAGE);
}

static void lowest_pages_leave_nothing_between(void **state)
{
    (void)state;
    for (size_t i = 0, at = 0; i < 16; at += ++i)
        assert_ptr_equal(chalk_pages_get_lowest(&pages, i + 1, CHALK_PAGE), region + at * CHALK_PAGE);
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

#define refused(statement, text)                                                                             \
    do {                                                                                                     \
        fake_console_clear();                                                                                \
        assert_true(fake_exits(statement));                                                                  \
        assert_int_equal(fake.exit_status, 134);                                                             \
        assert_true(fake_console_has("tester gives back"));                                                  \
        assert_true(fake_console_has(text));                                                                 \
    } while (0)

static void mistakes_end_the_program_and_are_named(void **state)
{
    char *a = chalk_pages_get(&pages, 4, CHALK_PAGE);
    char *b = chalk_pages_get(&pages, 7, CHALK_PAGE); /* more than one block */

    (void)state;
    refused(chalk_pages_put(&pages, a, 3), "not the size");
    refused(chalk_pages_put(&pages, a, 8), "not the size");
    refused(chalk_pages_put(&pages, a, 0), "not the size");
    refused(chalk_pages_put(&pages, a, SIZE_MAX), "not the size");
    refused(chalk_pages_put(&pages, b, 4), "not the size"); /* its first block */
    refused(chalk_pages_put(&pages, b + CHALK_PAGE, 6), "in the middle");
    refused(chalk_pages_put(&pages, b + 4 * CHALK_PAGE, 3), "in the middle"); /* its second block */
    refused(chalk_pages_put(&pages, a + 1, 4), "never got");
    refused(chalk_pages_put(&pages, region - CHALK_PAGE, 1), "never got");
    refused(chalk_pages_put(&pages, region + COUNT * CHALK_PAGE, 1), "never got");
    chalk_pages_put(&pages, b, 7);
    refused(chalk_pages_put(&pages, b, 7), "gave back");
    chalk_pages_put(&pages, a, 4);
    refused(chalk_pages_put(&pages, a, 4), "gave back already");
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

/* By the model: the lowest aligned row of pages without an owner, or COUNT. */
static size_t model_lowest(const unsigned *owner, size_t count, size_t align_pages)
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

static bool model_is_free(const unsigned *owner, size_t first, size_t count)
{
    if (first + count > COUNT)
        return false;
    for (size_t i = 0; i < count; i++)
        if (owner[first + i])
            return false;
    return true;
}

/* Every free page is in the largest block that it could be in: nothing that could be merged was left apart.
 */
static void check_blocks(const unsigned *owner)
{
    for (size_t page = 0; page < COUNT;) {
        size_t size = 1;
        while (size < 256 && model_is_free(owner, page & ~(2 * size - 1), 2 * size))
            size *= 2;
        if (!owner[page]) {
            assert_int_equal(page % size, 0);
            assert_int_equal(pages.heads[page], 0x80 | __builtin_ctzl(size));
        }
        page += owner[page] ? 1 : size;
    }
}

static void random_work_matches_the_model(void **state)
{
    unsigned owner[COUNT] = {0}, next = 1, refusals = 0;
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
            size_t lowest = model_lowest(owner, count, align_pages);
            bool tight = chalk_random_below(&random, 2);
            char *at = tight ? chalk_pages_get_lowest(&pages, count, align_pages * CHALK_PAGE)
                             : chalk_pages_get(&pages, count, align_pages * CHALK_PAGE);
            assert_int_equal(at != NULL, lowest < COUNT);
            if (!at) {
                refusals++;
                continue;
            }
            size_t first = (size_t)(at - region) / CHALK_PAGE;
            assert_true(first >= lowest && (!tight || first == lowest));
            assert_int_equal((uintptr_t)at % (align_pages * CHALK_PAGE), 0);
            assert_true(model_is_free(owner, first, count));
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
        check_blocks(owner);
    }
    assert_true(refusals > 100 && next > 1000);
}

/*
 * The lowest pages of a region of 35 MiB, against a bit a page: sizes of a page to more than the longest run,
 * alignments of a page to 16 MiB, while the region is empty, full, and everything between. It begins in the
 * middle of 2 MiB, and is not there: only the books are touched.
 */
enum { MANY = 9001, OFFSET = 2048 - 300 };

static bool taken[MANY + 1];

static size_t bitmap_lowest(size_t count, size_t align_pages)
{
    size_t first = -(size_t)OFFSET & (align_pages - 1);

    while (first + count <= MANY) {
        size_t i = count;

        while (i > 0 && !taken[first + i - 1])
            i--;
        if (i == 0)
            return first;
        first = (first + i + OFFSET + align_pages - 1) / align_pages * align_pages - OFFSET;
    }
    return MANY;
}

/* How much is asked for at once: a page, some, leaves of 2 MiB, or just what would or would not fit. */
static size_t some_count(uint64_t *random, size_t room)
{
    switch (chalk_random_below(random, 8)) {
    case 0:
        return room > 0 ? room : 1;
    case 1:
        return 1 + (size_t)chalk_random_below(random, MANY + 2);
    case 2:
        return (size_t)510 * (1 + (size_t)chalk_random_below(random, 3)) +
               (size_t)chalk_random_below(random, 5);
    case 3:
        return 62 + (size_t)chalk_random_below(random, 5);
    default:
        return 1 + (size_t)chalk_random_below(random, 7);
    }
}

static void lowest_pages_of_a_large_region_match_a_bitmap(void **state)
{
    static struct {
        size_t first, count;
    } held[MANY];
    size_t held_count = 0, used = 0, refused = 0, full = 0, empty = 0;
    uint64_t random = 3, *large = malloc(chalk_pages_books(MANY));
    char *base = (char *)((uintptr_t)3 << 40) + OFFSET * CHALK_PAGE;

    (void)state;
    chalk_pages_start(&pages, "tester", base, MANY, large);
    memset(taken, 0, sizeof taken);
    for (unsigned round = 0; round < 40000; round++) {
        unsigned phase = round / 2500 % 4; /* fills, stays, empties, stays */
        bool get = phase == 0 || (phase != 2 && chalk_random_below(&random, 2));

        if (get) {
            size_t align_pages = (size_t)1
                                 << (chalk_random_below(&random, 2) ? chalk_random_below(&random, 13) : 0);
            size_t count = some_count(&random, MANY - used);
            size_t lowest = bitmap_lowest(count, align_pages);
            char *at = chalk_pages_get_lowest(&pages, count, align_pages * CHALK_PAGE);

            assert_ptr_equal(at, lowest < MANY ? base + lowest * CHALK_PAGE : NULL);
            refused += at == NULL;
            if (at != NULL) {
                memset(taken + lowest, true, count);
                held[held_count].first = lowest;
                held[held_count++].count = count;
                used += count;
            }
            full += used == MANY;
        } else if (held_count > 0) {
            size_t i = (size_t)chalk_random_below(&random, held_count);

            chalk_pages_put(&pages, base + held[i].first * CHALK_PAGE, held[i].count);
            memset(taken + held[i].first, false, held[i].count);
            used -= held[i].count;
            held[i] = held[--held_count];
        } else {
            empty++;
            assert_ptr_equal(chalk_pages_get_lowest(&pages, MANY, CHALK_PAGE), base);
            assert_null(chalk_pages_get_lowest(&pages, 1, CHALK_PAGE));
            chalk_pages_put(&pages, base, MANY);
            assert_null(chalk_pages_get_lowest(&pages, MANY + 1, CHALK_PAGE));
        }
        assert_int_equal(pages.used, used);
    }
    assert_true(refused > 1000 && full > 10 && empty > 10);
    free(large);
}

/* Where every second page is taken, and what is asked for is at the very end. */
static void what_is_left_at_the_end_is_found(void **state)
{
    uint64_t *large = malloc(chalk_pages_books(MANY));
    char *base = (char *)((uintptr_t)3 << 40);

    (void)state;
    for (size_t align = 1; align <= 4096; align *= 2) {
        size_t last = (MANY - 1) / align * align;

        chalk_pages_start(&pages, "tester", base, MANY, large);
        for (size_t i = 0; i < MANY; i++)
            assert_ptr_equal(chalk_pages_get_lowest(&pages, 1, CHALK_PAGE), base + i * CHALK_PAGE);
        assert_null(chalk_pages_get_lowest(&pages, 1, CHALK_PAGE));
        for (size_t i = 0; i < MANY; i++)
            if (i == last || (align > 1 && i % 2 == 1))
                chalk_pages_put(&pages, base + i * CHALK_PAGE, 1);
        assert_ptr_equal(chalk_pages_get_lowest(&pages, 1, align * CHALK_PAGE), base + last * CHALK_PAGE);
        assert_null(chalk_pages_get_lowest(&pages, 1, 2 * align * CHALK_PAGE));
    }
    free(large);
}

/* 64 GiB that are not there: the books alone are touched, and blocks of 1 GiB come out of them. */
static void region_of_many_gigabytes(void **state)
{
    const size_t giga = (size_t)1 << 18, count = 64 * giga + 5;
    char *base = (char *)((uintptr_t)3 << 40), *at;
    uint64_t *large = calloc(1, chalk_pages_books(count));

    (void)state;
    assert_true(chalk_pages_books(count) < count * CHALK_PAGE / 2500);
    chalk_pages_start(&pages, "tester", base - CHALK_PAGE, count, large);
    for (size_t i = 0; i < 64; i++)
        assert_ptr_equal(chalk_pages_get(&pages, giga, giga * CHALK_PAGE), base + i * giga * CHALK_PAGE);
    assert_null(chalk_pages_get(&pages, giga, CHALK_PAGE));
    for (size_t i = 0; i < 64; i++)
        chalk_pages_put(&pages, base + i * giga * CHALK_PAGE, giga);
    at = chalk_pages_get(&pages, count, CHALK_PAGE);
    assert_ptr_equal(at, base - CHALK_PAGE);
    chalk_pages_put(&pages, at, count);
    at = chalk_pages_get(&pages, 3 * giga - 7, giga * CHALK_PAGE);
    assert_ptr_equal(at, base);
    chalk_pages_put(&pages, at, 3 * giga - 7);
    free(large);
}

static void span_of_ones_own(void **state)
{
    struct chalk_pages *own;
    struct chalk_claim claim;

    (void)state;
    char *span = fake_span_add(CHALK_SPAN_RAM, 1024 * CHALK_PAGE, CHALK_PAGE, 0, CHALK_NODE(1));
    fake_span_add(CHALK_SPAN_MODULE, 4 * CHALK_PAGE, CHALK_PAGE, 0, 0);
    fake_span_add(CHALK_SPAN_RAM, CHALK_PAGE, CHALK_PAGE, 0, 0);
    assert_int_equal(chalk_pages_create(0, "owner", &own), 0);
    assert_int_equal(own->node, CHALK_NODE(1));
    assert_in_range(own->count, 1000, 1023);
    assert_ptr_equal(own->base + own->count * CHALK_PAGE, span + 1024 * CHALK_PAGE);
    assert_int_equal(chalk_claim_get(0, &claim), 0);
    assert_ptr_equal(claim.va, span);
    assert_int_equal(claim.size, 1024 * CHALK_PAGE);
    memset(chalk_pages_get(own, own->count, CHALK_PAGE), 0xee, own->count * CHALK_PAGE);
    chalk_pages_put(own, own->base, own->count);
    assert_int_equal(chalk_pages_create(0, "another", &own), -EBUSY);
    chalk_pages_destroy(own);
    assert_int_equal(chalk_pages_create(0, "another", &own), 0);
    chalk_pages_destroy(own);
    assert_int_equal(chalk_pages_create(1, "owner", &own), -EINVAL);
    assert_int_equal(chalk_pages_create(2, "owner", &own), -ENOSPC);
    assert_int_equal(chalk_pages_create(3, "owner", &own), -ENOENT);
    assert_int_equal(chalk_claim_get(0, &claim), -ENOENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(exhaustion),
        TEST(everything_at_once),
        TEST(blocks_are_aligned_to_their_size),
        TEST(alignment),
        TEST(alignment_of_a_region_that_is_not),
        TEST(neighbours_are_joined),
        TEST(small_blocks_leave_large_ones_whole),
        TEST(lowest_pages_leave_nothing_between),
        TEST(fragments_are_not_joined_by_wishes),
        TEST(mistakes_end_the_program_and_are_named),
        TEST(region_is_never_touched),
        TEST(random_work_matches_the_model),
        TEST(lowest_pages_of_a_large_region_match_a_bitmap),
        TEST(what_is_left_at_the_end_is_found),
        TEST(region_of_many_gigabytes),
        TEST(span_of_ones_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Addresses for devices: never twice, never where no memory can be, never above the limit. */
#include "hosted/iova.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static int start(void **state)
{
    (void)state;
    hosted_iova_start();
    return 0;
}

static int stop(void **state)
{
    (void)state;
    hosted_iova_stop();
    return 0;
}

static void highest_address_comes_first(void **state)
{
    uint64_t iova;

    (void)state;
    assert_int_equal(hosted_iova_take(4096, 4096, HOSTED_IOVA_EASY, &iova), 0);
    assert_int_equal(iova, 0x7ffffff000);
    assert_int_equal(hosted_iova_take(4096, 2 * MIB, HOSTED_IOVA_EASY, &iova), 0);
    assert_int_equal(iova, 0x7fffe00000);
    assert_int_equal(hosted_iova_take(2 * GIB, GIB, HOSTED_IOVA_EASY, &iova), 0);
    assert_int_equal(iova, 0x7f40000000);
}

static void interrupt_window_is_never_memory(void **state)
{
    uint64_t iova;

    (void)state;
    assert_int_equal(hosted_iova_take(MIB, 4096, 0xfeffffff, &iova), 0);
    assert_int_equal(iova, 0xfef00000);
    assert_int_equal(hosted_iova_take(MIB, 4096, 0xfeffffff, &iova), 0);
    assert_int_equal(iova, 0xfed00000);
}

static void limit_is_kept(void **state)
{
    uint64_t iova;

    (void)state;
    assert_int_equal(hosted_iova_take(MIB, 4096, 2 * MIB - 1, &iova), 0);
    assert_int_equal(iova, MIB);
    assert_int_equal(hosted_iova_take(4096, 4096, 2 * MIB - 1, &iova), -ERANGE);
    assert_int_equal(hosted_iova_take(4096, 4096, 0, &iova), -ERANGE);
    assert_int_equal(hosted_iova_take(UINT64_MAX, 4096, UINT64_MAX, &iova), -ERANGE);
    assert_int_equal(hosted_iova_take(0, 4096, UINT64_MAX, &iova), -EINVAL);
}

static void what_is_put_back_is_free(void **state)
{
    uint64_t first, second;

    (void)state;
    assert_int_equal(hosted_iova_take(GIB, 4096, HOSTED_IOVA_EASY, &first), 0);
    hosted_iova_put(first, GIB);
    assert_int_equal(hosted_iova_take(GIB, 4096, HOSTED_IOVA_EASY, &second), 0);
    assert_int_equal(first, second);
}

static void holes_of_an_iommu_are_left_out(void **state)
{
    uint64_t iova;

    (void)state;
    assert_int_equal(hosted_iova_take(MIB, MIB, 8 * MIB - 1, &iova), 0);
    assert_int_equal(iova, 7 * MIB);
    /* Around what is taken, over the interrupt window, up to the very end; and once more. */
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(hosted_iova_exclude(4 * MIB, GIB - 1), 0);
        assert_int_equal(hosted_iova_exclude(0xfed00000, 0xfeffffff), 0);
        assert_int_equal(hosted_iova_exclude(8 * GIB, UINT64_MAX), 0);
    }
    assert_int_equal(hosted_iova_take(MIB, MIB, 8 * MIB - 1, &iova), 0);
    assert_int_equal(iova, 3 * MIB);
    assert_int_equal(hosted_iova_take(MIB, MIB, 0xfeffffff, &iova), 0);
    assert_int_equal(iova, 0xfec00000);
    assert_int_equal(hosted_iova_take(MIB, MIB, UINT64_MAX, &iova), 0);
    assert_int_equal(iova, 8 * GIB - MIB);
}

/* What was taken when a hole became known is no memory's once it is put back. */
static void a_hole_stays_when_what_lay_in_it_goes(void **state)
{
    uint64_t before, after;

    (void)state;
    assert_int_equal(hosted_iova_take(MIB, MIB, 8 * MIB - 1, &before), 0);
    assert_int_equal(before, 7 * MIB);
    assert_int_equal(hosted_iova_exclude(6 * MIB, GIB - 1), 0);
    hosted_iova_put(before, MIB);
    assert_int_equal(hosted_iova_take(MIB, MIB, 8 * MIB - 1, &after), 0);
    assert_int_equal(after, 5 * MIB);
}

static void nothing_is_handed_out_twice(void **state)
{
    enum { COUNT = 200 };
    static struct {
        uint64_t iova, size;
    } held[COUNT];

    (void)state;
    srand(1);
    for (unsigned i = 0; i < 20000; i++) {
        unsigned at = (unsigned)rand() % COUNT;
        uint64_t align = (uint64_t)4096 << (unsigned)rand() % 10;
        uint64_t limit = ((uint64_t)1 << (28 + (unsigned)rand() % 6)) - 1;

        if (held[at].size != 0)
            hosted_iova_put(held[at].iova, held[at].size);
        held[at].size = 0;
        uint64_t size = (uint64_t)4096 * (1 + (unsigned)rand() % 2048), iova;
        if (hosted_iova_take(size, align, limit, &iova) != 0)
            continue;
        assert_int_equal(iova % align, 0);
        assert_true(iova >= MIB && iova + size - 1 <= limit);
        assert_true(iova + size <= 0xfee00000 || iova > 0xfeefffff);
        for (unsigned j = 0; j < COUNT; j++)
            assert_true(held[j].size == 0 || iova + size <= held[j].iova ||
                        held[j].iova + held[j].size <= iova);
        held[at].iova = iova;
        held[at].size = size;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(highest_address_comes_first, start, stop),
        cmocka_unit_test_setup_teardown(interrupt_window_is_never_memory, start, stop),
        cmocka_unit_test_setup_teardown(limit_is_kept, start, stop),
        cmocka_unit_test_setup_teardown(what_is_put_back_is_free, start, stop),
        cmocka_unit_test_setup_teardown(holes_of_an_iommu_are_left_out, start, stop),
        cmocka_unit_test_setup_teardown(a_hole_stays_when_what_lay_in_it_goes, start, stop),
        cmocka_unit_test_setup_teardown(nothing_is_handed_out_twice, start, stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

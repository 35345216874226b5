/* SPDX-License-Identifier: BSD-2-Clause */
/* Scatter gather lists: whatever is described is found again, byte by byte, and nothing else is. */
#include "drivers/nvme/sgl.h"
#include <chalk/random.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define ROOM      8
#define LIST_IOVA 0x7700000ull

static struct nvme_sgl list[ROOM + 1];

static int describe(const struct chalk_dma *segments, unsigned count, size_t skip, uint64_t bytes,
                    uint32_t align, struct nvme_sgl *first)
{
    const struct nvme_data data = {.segments = segments, .count = count, .skip = skip, .bytes = bytes};

    memset(list, 0xee, sizeof list);
    memset(first, 0xee, sizeof *first);
    return chalk_nvme_sgl(&data, align, list, ROOM, LIST_IOVA, first);
}

/* Byte `at` of the data, as a controller finds it [Base 4.1.2]. */
static uint64_t find(const struct nvme_sgl *first, uint64_t at)
{
    const struct nvme_sgl *piece = first;

    if (first->type == NVME_SGL_LAST) {
        assert_int_equal(first->address, LIST_IOVA);
        assert_int_equal(first->length % sizeof *list, 0);
        for (piece = list; at >= piece->length; piece++) {
            assert_true(piece < list + first->length / sizeof *list);
            at -= piece->length;
        }
    }
    assert_int_equal(piece->type, NVME_SGL_DATA);
    assert_true(at < piece->length);
    return piece->address + at;
}

static void every_byte_is_found(void **state)
{
    uint64_t seed = 5;

    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        struct chalk_dma segments[ROOM];
        unsigned count = 1 + (unsigned)chalk_random_below(&seed, ROOM);
        uint64_t total = 0, expected[ROOM * 50], bytes;
        struct nvme_sgl first;
        size_t skip;

        for (unsigned i = 0; i < count; i++) {
            segments[i] = (struct chalk_dma){.iova = 1000 * (i + 1) + chalk_random_below(&seed, 50),
                                             .size = 1 + chalk_random_below(&seed, 50)};
            for (size_t j = 0; j < segments[i].size; j++)
                expected[total++] = segments[i].iova + j;
        }
        skip = chalk_random_below(&seed, segments[0].size);
        bytes = 1 + chalk_random_below(&seed, total - skip);
        assert_int_equal(describe(segments, count, skip, bytes, 1, &first), 0);
        for (uint64_t at = 0; at < bytes; at++)
            assert_int_equal(find(&first, at), expected[skip + at]);
    }
}

static void one_piece_needs_no_list(void **state)
{
    const struct chalk_dma segment = {.iova = 0x1234, .size = 1 << 20};
    struct nvme_sgl first;

    (void)state;
    assert_int_equal(describe(&segment, 1, 0, 1 << 20, 4, &first), 0);
    assert_int_equal(first.type, NVME_SGL_DATA);
    assert_int_equal(first.length, 1 << 20);
    assert_int_equal(list[0].type, 0xee);
}

static void wrong_data_is_refused(void **state)
{
    static const struct {
        const char *what;
        uint64_t bytes;
        size_t skip;
        uint32_t align;
        unsigned count;
        int error;
        struct chalk_dma segments[3];
    } cases[] = {
        {"no segments", 64, 0, 1, 0, -EINVAL, {{0}}},
        {"no bytes", 0, 0, 1, 1, -EINVAL, {{NULL, 0x1000, 64}}},
        {"too few bytes", 128, 0, 1, 1, -EINVAL, {{NULL, 0x1000, 64}}},
        {"too few after what is stepped over", 64, 4, 1, 1, -EINVAL, {{NULL, 0x1000, 64}}},
        {"a step over all of a segment", 64, 64, 1, 2, -EINVAL, {{NULL, 0x1000, 64}, {NULL, 0x2000, 64}}},
        {"an empty segment", 64, 0, 1, 2, -EINVAL, {{NULL, 0x1000, 0}, {NULL, 0x2000, 64}}},
        {"an odd address", 64, 0, 4, 1, -EINVAL, {{NULL, 0x1002, 64}}},
        {"an odd size", 128, 0, 4, 2, -EINVAL, {{NULL, 0x1000, 62}, {NULL, 0x2000, 66}}},
        {"a piece that no descriptor can have", 5ull << 30, 0, 1, 1, -EINVAL, {{NULL, 0x1000, 5ull << 30}}},
    };
    struct chalk_dma many[ROOM + 1];
    struct nvme_sgl first;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int error = describe(cases[i].segments, cases[i].count, cases[i].skip, cases[i].bytes, cases[i].align,
                             &first);

        if (error != cases[i].error)
            fail_msg("%s: %d", cases[i].what, error);
    }
    for (unsigned i = 0; i <= ROOM; i++)
        many[i] = (struct chalk_dma){.iova = 0x1000 * (i + 1), .size = 16};
    assert_int_equal(describe(many, ROOM + 1, 0, 16 * (ROOM + 1), 1, &first), -E2BIG);
    assert_int_equal(list[ROOM].type, 0xee);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_is_found),
        cmocka_unit_test(one_piece_needs_no_list),
        cmocka_unit_test(wrong_data_is_refused),
    };

    return cmocka_run_group_tests_name("nvme_sgl", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* PRPs against a reference that knows nothing but the address of each dword, for every offset, length and
 * cut. */
#include "drivers/nvme/prp.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define PAGE      ((uint64_t)64) /* small, so that every combination can be tried */
#define PAGES     6
#define DWORDS    (PAGES * PAGE / 4)
#define LIST_IOVA 0x7700000ull

static uint64_t list[PAGES + 1];

/* The address of every dword of the data, as a controller finds it [Base 4.1.1]. */
static void follow(const struct nvme_prp *prp, uint64_t bytes, uint64_t page, uint64_t *dwords)
{
    uint64_t entries = (prp->prp1 % page + bytes + page - 1) / page;

    for (uint64_t at = 0; at < bytes; at += 4) {
        uint64_t index = (prp->prp1 % page + at) / page, entry;

        if (index == 0) {
            dwords[at / 4] = prp->prp1 + at;
            continue;
        }
        if (entries > 2)
            assert_int_equal(prp->prp2, LIST_IOVA);
        entry = entries > 2 ? list[index - 1] : prp->prp2;
        assert_int_equal(entry % page, 0);
        dwords[at / 4] = entry + (prp->prp1 % page + at) % page;
    }
    if (entries == 1)
        assert_int_equal(prp->prp2, 0);
}

static int describe(const struct chalk_dma *segments, unsigned count, size_t skip, uint64_t bytes,
                    struct nvme_prp *prp)
{
    const struct nvme_data data = {.segments = segments, .count = count, .skip = skip, .bytes = bytes};

    return chalk_nvme_prp_list(&data, PAGE, list, LIST_IOVA, prp);
}

static void build(const struct chalk_dma *segments, unsigned count, size_t skip, uint64_t bytes,
                  struct nvme_prp *prp)
{
    memset(list, 0xee, sizeof list);
    memset(prp, 0xee, sizeof *prp);
    assert_int_equal(describe(segments, count, skip, bytes, prp), 0);
    assert_int_equal(list[(bytes + PAGE - 1) / PAGE],
                     0xeeeeeeeeeeeeeeeeull); /* room for that many, no more */
}

/* Cuts `bytes` bytes, which begin at `offset` in a page, at those page edges whose bits are set in `cuts`. */
static unsigned cut(uint64_t offset, uint64_t bytes, unsigned cuts, struct chalk_dma *segments,
                    uint64_t *dwords)
{
    uint64_t base = 0x100000 + offset;
    unsigned count = 0;

    segments[0] = (struct chalk_dma){.iova = base};
    for (uint64_t at = 0; at < bytes; at += 4) {
        if (at != 0 && (offset + at) % PAGE == 0 && (cuts >> ((offset + at) / PAGE - 1) & 1) != 0) {
            base = 0x100000 * (count + 2);
            segments[++count] = (struct chalk_dma){.iova = base};
        }
        dwords[at / 4] = segments[count].iova + segments[count].size;
        segments[count].size += 4;
    }
    return count + 1;
}

static void every_offset_length_and_cut_is_described(void **state)
{
    static uint64_t expected[DWORDS], found[DWORDS];
    struct chalk_dma segments[PAGES + 1];
    unsigned tried = 0;

    (void)state;
    for (uint64_t offset = 0; offset < PAGE; offset += 4) {
        for (uint64_t bytes = 4; bytes <= (PAGES - 1) * PAGE; bytes += 4) {
            for (unsigned cuts = 0; cuts < 1 << (PAGES - 1); cuts++) {
                unsigned count = cut(offset, bytes, cuts, segments, expected);
                struct nvme_prp prp;

                build(segments, count, 0, bytes, &prp);
                follow(&prp, bytes, PAGE, found);
                assert_memory_equal(found, expected, bytes);
                tried++;
            }
        }
    }
    print_message("# %u combinations\n", tried);
}

/* From any dword of longer data, and not to its end. */
static void a_stretch_of_it_is_described(void **state)
{
    static uint64_t expected[DWORDS], found[DWORDS];
    struct chalk_dma segments[PAGES + 1];
    const uint64_t bytes = 4 * PAGE;

    (void)state;
    for (uint64_t offset = 0; offset < PAGE; offset += 12) {
        for (unsigned cuts = 0; cuts < 1 << (PAGES - 1); cuts++) {
            unsigned count = cut(offset, bytes, cuts, segments, expected), first = 0;
            uint64_t before = 0; /* bytes in segments that are stepped over */

            for (uint64_t skip = 0; skip < bytes; skip += 4) {
                while (skip - before >= segments[first].size)
                    before += segments[first++].size;
                for (uint64_t part = 4; part <= bytes - skip; part += 20) {
                    struct nvme_prp prp;

                    build(segments + first, count - first, skip - before, part, &prp);
                    follow(&prp, part, PAGE, found);
                    assert_memory_equal(found, expected + skip / 4, part);
                }
            }
        }
    }
}

static void wrong_segments_are_refused(void **state)
{
    static const struct {
        const char *what;
        uint64_t bytes;
        unsigned count;
        struct chalk_dma segments[3];
    } cases[] = {
        {"no segments", 64, 0, {{0}}},
        {"too few bytes", 128, 1, {{NULL, 0x1000, 64}}},
        {"an empty segment", 64, 2, {{NULL, 0x1000, 0}, {NULL, 0x2000, 64}}},
        {"an odd start", 64, 1, {{NULL, 0x1002, 64}}},
        {"an inner end within a page", 128, 2, {{NULL, 0x1000, 60}, {NULL, 0x2000, 68}}},
        {"an inner start within a page", 128, 2, {{NULL, 0x1000, 64}, {NULL, 0x2004, 64}}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct nvme_prp prp;
        int error = describe(cases[i].segments, cases[i].count, 0, cases[i].bytes, &prp);

        if (error != -EINVAL)
            fail_msg("%s: %d", cases[i].what, error);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_offset_length_and_cut_is_described),
        cmocka_unit_test(a_stretch_of_it_is_described),
        cmocka_unit_test(wrong_segments_are_refused),
    };

    return cmocka_run_group_tests_name("nvme_prp", tests, NULL, NULL);
}

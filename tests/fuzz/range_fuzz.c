/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A map of ranges beside an array that is walked, in the order that the input says: four bytes a step. The
 * addresses lie at either end of all that there are, where sums wrap around.
 */
#include <chalk/range.h>
#include <stdlib.h>
#include <string.h>

#define COUNT 64

static struct chalk_ranges map;
static struct chalk_range ranges[COUNT];
static bool there[COUNT];

static void require(bool condition)
{
    if (!condition)
        abort();
}

static uint64_t address(unsigned byte)
{
    return byte < 128 ? byte * 2048u : UINT64_MAX - (255 - byte) * 2048u;
}

static struct chalk_range *find(uint64_t first, uint64_t last)
{
    struct chalk_range *lowest = NULL;

    for (unsigned i = 0; i < COUNT; i++)
        if (there[i] && ranges[i].first <= last && first <= ranges[i].last &&
            (!lowest || ranges[i].first < lowest->first))
            lowest = &ranges[i];
    return lowest;
}

/* Every range, in order, and the height that the tree may have. */
static unsigned check(const struct chalk_range *node, uint64_t *next, unsigned *count)
{
    unsigned low, high;

    if (!node)
        return 0;
    low = check(node->child[0], next, count);
    require(node->gap_first == *next && node->first >= *next);
    *next = node->last + 1;
    ++*count;
    high = check(node->child[1], next, count);
    require(low <= high + 1 && high <= low + 1);
    return 1 + (low > high ? low : high);
}

static bool room(uint64_t first, uint64_t last, uint64_t start, uint64_t size)
{
    return start >= first && start <= last && size - 1 <= last - start && !find(start, start + (size - 1));
}

/* What was found is free, and what is lower, or higher, by one alignment is not: as far as the input tells.
 */
static void look(uint64_t first, uint64_t last, uint64_t size, uint64_t align, enum chalk_range_side side)
{
    uint64_t start, other;

    if (!chalk_range_gap(&map, first, last, size, align, side, &start)) {
        for (unsigned i = 0; i < 256; i++)
            require(first > last || !room(first, last, address(i) & ~(align - 1), size));
        return;
    }
    require(start % align == 0 && room(first, last, start, size));
    for (unsigned i = 0; i < 256; i++) {
        other = address(i) & ~(align - 1);
        if (side == CHALK_RANGE_LOWEST ? other < start : other > start)
            require(!room(first, last, other, size));
    }
}

static void step(const uint8_t *data)
{
    unsigned i = data[0] % COUNT;
    uint64_t first = address(data[1]), last = address(data[2]), next = 0;
    unsigned count = 0, expected = 0;

    if (there[i]) {
        require(chalk_range_remove(&map, &ranges[i]));
        there[i] = false;
    } else if (first <= last) {
        struct chalk_range *other = find(first, last);

        ranges[i] = (struct chalk_range){.first = first, .last = last};
        require(chalk_range_add(&map, &ranges[i]) == !other);
        there[i] = !other;
    }
    check(map.root, &next, &count);
    for (i = 0; i < COUNT; i++)
        expected += there[i];
    require(count == expected);
    require(first > last || chalk_range_find(&map, first, last) == find(first, last));
    look(first, last, (uint64_t)(1 + data[3] % 64) * 2048, (uint64_t)4096 << (data[3] / 64 & 1) * 9,
         data[3] & 128 ? CHALK_RANGE_LOWEST : CHALK_RANGE_HIGHEST);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    map.root = NULL;
    memset(there, 0, sizeof there);
    for (size_t i = 0; i + 3 < size; i += 4)
        step(data + i);
    return 0;
}

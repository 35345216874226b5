/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Scatter lists that a driver may get wrong: first segments that start in mid-page, last ones that end there,
 * physical order that is not the data's. The layout is kept apart from the segments made of it: the data are
 * found by page, so that a mistake in the segments, or in what the driver made of them, is seen as wrong
 * data.
 */
#include "scatter.h"

#include <string.h>

#define POISON 0xa5

size_t scatter_page(const struct chalk_block_info *info)
{
    return info->boundary > 4096 ? info->boundary : 4096;
}

unsigned scatter_pages(size_t page, size_t size)
{
    return (unsigned)((size + page - 1) / page + 1);
}

static unsigned pages_used(const struct scatter *scatter)
{
    return (unsigned)((scatter->offset + scatter->size + scatter->page - 1) / scatter->page);
}

/* In order, or with each page drawn from all that are left. */
static void choose_order(struct scatter *scatter, bool shuffle, uint64_t *random)
{
    for (unsigned i = 0; i < scatter->page_count; i++)
        scatter->order[i] = (uint16_t)i;
    for (unsigned i = 0; shuffle && i < pages_used(scatter); i++) {
        unsigned other = i + (unsigned)chalk_random_below(random, scatter->page_count - i);
        uint16_t page = scatter->order[i];

        scatter->order[i] = scatter->order[other];
        scatter->order[other] = page;
    }
}

static void make_segments(struct scatter *scatter, uint64_t *random)
{
    size_t left = scatter->size;
    size_t offset = scatter->offset;
    unsigned count = 0;

    for (unsigned i = 0; left > 0; i++) {
        size_t start = scatter->order[i] * scatter->page + offset;
        size_t size = scatter->page - offset < left ? scatter->page - offset : left;
        struct chalk_dma *last = count ? &scatter->segments[count - 1] : NULL;

        if (last && last->iova + last->size == scatter->memory.iova + start &&
            chalk_random_below(random, 4) != 0)
            last->size += size;
        else
            scatter->segments[count++] = (struct chalk_dma){
                .va = (char *)scatter->memory.va + start,
                .iova = scatter->memory.iova + start,
                .size = size,
            };
        left -= size;
        offset = 0;
    }
    scatter->segment_count = count;
}

void scatter_lay(struct scatter *scatter, const struct chalk_block_info *info, size_t size, uint64_t *random)
{
    uint64_t kind = chalk_random_below(random, 4);

    scatter->size = size;
    scatter->offset =
        kind & 1 ? chalk_random_below(random, scatter->page / info->segment_align) * info->segment_align : 0;
    choose_order(scatter, kind & 2, random);
    make_segments(scatter, random);
    memset(scatter->memory.va, POISON, scatter->memory.size);
}

/* The address of the data's byte `position`, and in *run how many follow it in the same page. */
static char *locate(const struct scatter *scatter, size_t position, size_t *run)
{
    size_t place = scatter->offset + position;

    *run = scatter->page - place % scatter->page;
    return (char *)scatter->memory.va + scatter->order[place / scatter->page] * scatter->page +
           place % scatter->page;
}

void scatter_put(struct scatter *scatter, size_t position, const void *bytes, size_t size)
{
    while (size > 0) {
        size_t run;
        char *to = locate(scatter, position, &run);

        if (run > size)
            run = size;
        memcpy(to, bytes, run);
        bytes = (const char *)bytes + run;
        position += run;
        size -= run;
    }
}

void scatter_get(const struct scatter *scatter, size_t position, void *bytes, size_t size)
{
    while (size > 0) {
        size_t run;
        const char *from = locate(scatter, position, &run);

        if (run > size)
            run = size;
        chalk_dma_observe(bytes, from, run);
        bytes = (char *)bytes + run;
        position += run;
        size -= run;
    }
}

static bool poisoned(const char *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)bytes[i] != POISON)
            return false;
    return true;
}

bool scatter_intact(const struct scatter *scatter)
{
    size_t run;
    const char *first = locate(scatter, 0, &run);
    const char *last = locate(scatter, scatter->size - 1, &run);

    return poisoned(first - scatter->offset, scatter->offset) && poisoned(last + 1, run - 1);
}

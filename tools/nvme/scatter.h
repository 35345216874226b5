/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A request's buffer, spread over its pages in a way that is meant to be difficult: it starts anywhere that
 * the device allows inside a page, its pages come in any order, and neighbours are one segment or two. What
 * lies around it is guarded.
 */
#ifndef TOOLS_NVME_SCATTER_H
#define TOOLS_NVME_SCATTER_H

#include <chalk/block.h>
#include <chalk/random.h>

struct scatter {
    struct chalk_dma memory; /* its pages; page-aligned */
    size_t page;             /* bytes: the unit of which segments are made */
    unsigned page_count;
    uint16_t *order; /* the i-th page of the data is page order[i] of the memory */
    struct chalk_dma *segments;
    unsigned segment_count;
    size_t offset; /* bytes: where the data starts in its first page */
    size_t size;   /* bytes */
};

/* The unit of which segments are made for this device, and the pages that `size` bytes need at worst. */
size_t scatter_page(const struct chalk_block_info *info);
unsigned scatter_pages(size_t page, size_t size);

/* Lays `size` bytes out anew, and fills all pages with a value that no pattern has in many places. */
void scatter_lay(struct scatter *scatter, const struct chalk_block_info *info, size_t size, uint64_t *random);

/* Copies into, or out of, the data at `position`. Every byte is read once: the device may still be writing.
 */
void scatter_put(struct scatter *scatter, size_t position, const void *bytes, size_t size);
void scatter_get(const struct scatter *scatter, size_t position, void *bytes, size_t size);

/* Whether the bytes before and behind the data, in its first and last page, are as scatter_lay() left them.
 */
bool scatter_intact(const struct scatter *scatter);

#endif

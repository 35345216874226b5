/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs of free pages: where a run begins that has so many pages from an aligned one on, in O(log n) steps. */
#ifndef CHALK_MEMORY_RUNS_H
#define CHALK_MEMORY_RUNS_H

#include <chalk/pages.h>

/* Bytes of books for a region of `count` pages. */
size_t chalk_runs_books(size_t count);

/* Starts the books of pages->count pages, of which none is free. `books` is zero, and aligned to 8 bytes. */
void chalk_runs_start(struct chalk_pages *pages, void *books);

/* Makes `count` pages (not 0) from `page` on free, or not. */
void chalk_runs_set(struct chalk_pages *pages, size_t page, size_t count, bool free);

/*
 * The lowest page whose address is a multiple of `align` and that begins `count` free pages; SIZE_MAX if
 * there is none. The caller takes what it finds. Beyond an alignment of 8 MiB it tries one multiple of
 * `align` after the other.
 */
size_t chalk_runs_lowest(struct chalk_pages *pages, size_t count, size_t align);

#endif

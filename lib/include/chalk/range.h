/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An ordered map of address ranges that do not overlap. It finds the range at an address, the next range, and
 * the lowest or highest gap that is large enough, each in O(log n) steps for n ranges.
 *
 * It is a balanced binary tree (AVL) whose nodes are part of the caller's own structs, so it allocates
 * nothing. The caller serializes all calls for one map. `first` and `last` of a range must not change while
 * it is in a map, and the struct must stay where it is.
 *
 *     struct mapping {
 *         struct chalk_range range;
 *         ...
 *     };
 */
#ifndef CHALK_RANGE_H
#define CHALK_RANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Alignments for which the largest gaps are known: pages of 4 KiB and 2 MiB. */
#define CHALK_RANGE_ALIGNS 2

struct chalk_range {
    uint64_t first, last; /* the caller's: both inclusive, first <= last */
    /* The rest is the map's. */
    struct chalk_range *child[2]; /* lower, higher */
    uint64_t gap_first;           /* where the gap below this range begins; `first` if there is no gap */
    /* The size in bytes of the largest gap in the subtree, counted from a multiple of the alignment on. */
    uint64_t gap[CHALK_RANGE_ALIGNS];
    unsigned height;
};

struct chalk_ranges {
    struct chalk_range *root; /* NULL: empty, as after zeroing */
};

/* Adds `range`. Returns false, and changes nothing, if it overlaps a range of the map. */
bool chalk_range_add(struct chalk_ranges *ranges, struct chalk_range *range);

/* Removes `range`. Returns false, and changes nothing, if the map does not have it; of its fields only
 * `first` is then read. */
bool chalk_range_remove(struct chalk_ranges *ranges, struct chalk_range *range);

/* The lowest range that overlaps [first, last], or NULL. */
struct chalk_range *chalk_range_find(const struct chalk_ranges *ranges, uint64_t first, uint64_t last);

/* The next higher range, or NULL. The lowest is chalk_range_find(ranges, 0, UINT64_MAX). */
struct chalk_range *chalk_range_next(const struct chalk_ranges *ranges, const struct chalk_range *range);

enum chalk_range_side { CHALK_RANGE_LOWEST, CHALK_RANGE_HIGHEST };

/*
 * Finds the lowest or the highest place within [first, last] for `size` bytes (not 0) that no range overlaps
 * and that begins at a multiple of `align` (a power of two, at least 4 KiB). Returns true, with the first
 * address in *start, or false if there is none. If `align` is neither 4 KiB nor 2 MiB, each gap that is large
 * enough for `size` but not for the alignment costs one more step.
 */
bool chalk_range_gap(const struct chalk_ranges *ranges, uint64_t first, uint64_t last, uint64_t size,
                     uint64_t align, enum chalk_range_side side, uint64_t *start);

#ifdef __cplusplus
}
#endif
#endif

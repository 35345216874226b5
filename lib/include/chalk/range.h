/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An ordered map of address ranges that do not overlap: what lies at an address, which range is the next, and
 * the lowest or highest gap that is large enough. Each of these costs O(log n) steps for n ranges.
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
    uint64_t gap_first;           /* the gap below this range begins here, and is empty if this is `first` */
    uint64_t gap[CHALK_RANGE_ALIGNS]; /* the most bytes, from a multiple of the alignment on, of those gaps in
                                         the subtree */
    unsigned height;
};

struct chalk_ranges {
    struct chalk_range *root; /* NULL: empty, as after zeroing */
};

/* Adds `range`. False, and nothing changed, if it overlaps one that is there. */
bool chalk_range_add(struct chalk_ranges *ranges, struct chalk_range *range);

/* Removes `range`. False, and nothing changed, if it is not there; then its fields are not looked at beyond
 * `first`. */
bool chalk_range_remove(struct chalk_ranges *ranges, struct chalk_range *range);

/* The lowest range that overlaps [first, last], or NULL. */
struct chalk_range *chalk_range_find(const struct chalk_ranges *ranges, uint64_t first, uint64_t last);

/* The next higher range, or NULL. The lowest is chalk_range_find(ranges, 0, UINT64_MAX). */
struct chalk_range *chalk_range_next(const struct chalk_ranges *ranges, const struct chalk_range *range);

enum chalk_range_side { CHALK_RANGE_LOWEST, CHALK_RANGE_HIGHEST };

/*
 * Looks within [first, last] for `size` bytes (not 0) that no range overlaps, from a multiple of `align` (a
 * power of two, at least 4 KiB) on: the lowest such place, or the highest. Returns true, and its first
 * address in *start; false if there is none. With an alignment that is none of CHALK_RANGE_ALIGNS, each gap
 * that is large enough for `size` but not for the alignment costs a step as well.
 */
bool chalk_range_gap(const struct chalk_ranges *ranges, uint64_t first, uint64_t last, uint64_t size,
                     uint64_t align, enum chalk_range_side side, uint64_t *start);

#ifdef __cplusplus
}
#endif
#endif

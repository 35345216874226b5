/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tree is an AVL tree (Knuth, TAOCP vol. 3, 6.2.3): the heights of a node's two subtrees differ by one at
 * most. Each node knows the gap below its range and the largest such gap of its subtree, so that a search for
 * a gap descends only where there is one. The gap above the highest range belongs to no node.
 *
 * After a change, nodes are updated from the bottom up, as far as something about them changes: that is most
 * often a step or two.
 */
#include <chalk/error.h>
#include <chalk/log.h>
#include <chalk/range.h>

/* An AVL tree of this height has more than 2^32 nodes: [Knuth, 6.2.3, theorem A]. */
#define HEIGHT_MAX 48

#define NOBODY UINT32_MAX

static const uint64_t aligns[CHALK_RANGE_ALIGNS] = {1ull << 12, 1ull << 21};

/* ---- nodes ---- */

static unsigned height(const struct chalk_range *node)
{
    return node ? node->height : 0;
}

/* Bytes of [first, last] from the first multiple of `align` on. */
static uint64_t usable(uint64_t first, uint64_t last, uint64_t align)
{
    uint64_t pad = -first & (align - 1);

    if (first > last || pad > last - first)
        return 0;
    return last - first - pad < UINT64_MAX ? last - first - pad + 1 : UINT64_MAX;
}

/* Updates what the node tells of its subtree from its children. Returns whether anything has changed. */
static bool update(struct chalk_range *node)
{
    const struct chalk_range *low = node->child[0], *high = node->child[1];
    const unsigned higher = height(low) > height(high) ? height(low) : height(high), old = node->height;
    bool changed;

    node->height = 1 + higher;
    changed = node->height != old;
    for (unsigned i = 0; i < CHALK_RANGE_ALIGNS; i++) {
        uint64_t gap = 0;

        if (node->gap_first < node->first)
            gap = usable(node->gap_first, node->first - 1, aligns[i]);
        if (low && low->gap[i] > gap)
            gap = low->gap[i];
        if (high && high->gap[i] > gap)
            gap = high->gap[i];
        changed |= gap != node->gap[i];
        node->gap[i] = gap;
    }
    return changed;
}

/* Makes the child on that side the parent. */
static void rotate(struct chalk_range **link, unsigned side)
{
    struct chalk_range *node = *link, *child = node->child[side];

    node->child[side] = child->child[!side];
    child->child[!side] = node;
    *link = child;
    update(node);
    update(child);
}

/* Updates a node of which a subtree has changed. Returns whether its own parent has to be updated. */
static bool balance(struct chalk_range **link)
{
    struct chalk_range *node = *link;

    for (unsigned side = 0; side < 2; side++) {
        struct chalk_range *child = node->child[side];

        if (height(child) <= height(node->child[!side]) + 1)
            continue;
        if (height(child->child[!side]) > height(child->child[side]))
            rotate(&node->child[side], !side);
        rotate(link, side);
        return true;
    }
    return update(node);
}

/*
 * Balances the nodes on the path, from the bottom up: until nothing changes any more, but at least up to
 * path[needed], whose gap has changed (NOBODY: no node's gap has).
 */
static void balance_path(struct chalk_range **path[], unsigned depth, unsigned needed)
{
    while (depth > 0)
        if (!balance(path[--depth]) && depth <= needed)
            return;
}

/* ---- adding and removing ---- */

bool chalk_range_add(struct chalk_ranges *ranges, struct chalk_range *range)
{
    struct chalk_range **path[HEIGHT_MAX], **link = &ranges->root, *higher = NULL;
    uint64_t gap_first = 0;
    unsigned depth = 0, needed = NOBODY;

    chalk_assert(range->first <= range->last);
    while (*link) {
        struct chalk_range *node = *link;

        if (range->first <= node->last && node->first <= range->last)
            return false;
        path[depth++] = link;
        if (range->first > node->last) {
            gap_first = node->last + 1;
            link = &node->child[1];
        } else {
            higher = node;
            needed = depth - 1;
            link = &node->child[0];
        }
    }
    *range = (struct chalk_range){.first = range->first, .last = range->last, .gap_first = gap_first};
    update(range);
    *link = range;
    if (higher)
        higher->gap_first = range->last + 1;
    balance_path(path, depth, needed);
    return true;
}

bool chalk_range_remove(struct chalk_ranges *ranges, struct chalk_range *range)
{
    struct chalk_range **path[HEIGHT_MAX], **link = &ranges->root, *higher = NULL;
    unsigned depth = 0, needed = NOBODY;

    while (*link && *link != range) {
        bool side = range->first > (*link)->first;

        if (!side) {
            higher = *link;
            needed = depth;
        }
        path[depth++] = link;
        link = &(*link)->child[side];
    }
    if (!*link)
        return false;
    if (!range->child[1]) {
        *link = range->child[0];
    } else { /* the next higher takes its place */
        struct chalk_range **place = link;
        unsigned own = depth;

        needed = depth;
        path[depth++] = link;
        for (link = &range->child[1]; (*link)->child[0]; link = &(*link)->child[0])
            path[depth++] = link;
        higher = *link;
        *link = higher->child[1];
        const uint64_t first = higher->first, last = higher->last;
        *higher = *range; /* so that a change is one of this place in the tree */
        higher->first = first;
        higher->last = last;
        *place = higher;
        if (depth > own + 1) /* that link was in the range that goes */
            path[own + 1] = &higher->child[1];
    }
    if (higher)
        higher->gap_first = range->gap_first;
    balance_path(path, depth, needed);
    return true;
}

/* ---- looking ---- */

struct chalk_range *chalk_range_find(const struct chalk_ranges *ranges, uint64_t first, uint64_t last)
{
    struct chalk_range *node = ranges->root, *found = NULL;

    while (node) {
        if (node->last < first) {
            node = node->child[1];
        } else {
            found = node;
            node = node->child[0];
        }
    }
    return found && found->first <= last ? found : NULL;
}

struct chalk_range *chalk_range_next(const struct chalk_ranges *ranges, const struct chalk_range *range)
{
    return range->last == UINT64_MAX ? NULL : chalk_range_find(ranges, range->last + 1, UINT64_MAX);
}

/* ---- gaps ---- */

struct wanted {
    uint64_t first, last; /* where */
    uint64_t size, align;
    enum chalk_range_side side;
    unsigned class; /* of `aligns`: the largest that is no larger than `align` */
};

/* In the gap [first, last], as far as it is within what is wanted. */
static bool fits(uint64_t first, uint64_t last, const struct wanted *wanted, uint64_t *start)
{
    first = first > wanted->first ? first : wanted->first;
    last = last < wanted->last ? last : wanted->last;
    if (usable(first, last, wanted->align) < wanted->size)
        return false;
    *start = wanted->side == CHALK_RANGE_LOWEST ? first + (-first & (wanted->align - 1))
                                                : (last - (wanted->size - 1)) & ~(wanted->align - 1);
    return true;
}

static bool fits_below(const struct chalk_range *node, const struct wanted *wanted, uint64_t *start)
{
    return node->gap_first < node->first && fits(node->gap_first, node->first - 1, wanted, start);
}

/* In the gaps of a subtree. It calls itself for one of both sides only, so at most as often as the tree is
 * high. */
static bool search(const struct chalk_range *node, const struct wanted *wanted, uint64_t *start)
{
    const bool high = wanted->side == CHALK_RANGE_HIGHEST;

    while (node && node->gap[wanted->class] >= wanted->size) {
        bool low_side = wanted->first<node->gap_first, high_side = wanted->last> node->last;

        if (high ? high_side && search(node->child[1], wanted, start)
                 : low_side && search(node->child[0], wanted, start))
            return true;
        if (fits_below(node, wanted, start))
            return true;
        node = high ? low_side ? node->child[0] : NULL : high_side ? node->child[1] : NULL;
    }
    return false;
}

/* In the gap above the highest range. */
static bool search_above(const struct chalk_ranges *ranges, const struct wanted *wanted, uint64_t *start)
{
    const struct chalk_range *node = ranges->root;

    if (!node)
        return fits(0, UINT64_MAX, wanted, start);
    while (node->child[1])
        node = node->child[1];
    return node->last < UINT64_MAX && fits(node->last + 1, UINT64_MAX, wanted, start);
}

bool chalk_range_gap(const struct chalk_ranges *ranges, uint64_t first, uint64_t last, uint64_t size,
                     uint64_t align, enum chalk_range_side side, uint64_t *start)
{
    struct wanted wanted = {.first = first, .last = last, .size = size, .align = align, .side = side};

    if (size == 0 || first > last || align < aligns[0])
        return false;
    for (unsigned i = 1; i < CHALK_RANGE_ALIGNS; i++)
        if (align >= aligns[i])
            wanted.class = i;
    if (side == CHALK_RANGE_LOWEST)
        return search(ranges->root, &wanted, start) || search_above(ranges, &wanted, start);
    return search_above(ranges, &wanted, start) || search(ranges->root, &wanted, start);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Places of one sort, node and kind lie one behind the other in a room, which is a map of positions: its
 * ranges are the claims, and the borders between places. So one search for a gap in a room looks at all its
 * places at once. A position agrees with the address modulo 2 MiB.
 *
 *     room:   border | claim |  free   | claim | border | claim |    free     |
 *             ------- place of one span -------         --- of another ---
 */
#include "places.h"
#include <chalk/error.h>
#include <chalk/log.h>
#include <string.h>

/* Where pages are large, a piece starts on a multiple of 2 MiB, so that an IOMMU can map it in large pages.
 */
#define LARGE ((size_t)2 << 20)

/* Of the nodes; more share a room, in which a search can meet places of the wrong one. */
#define NODE_SLOTS 17

struct chalk_room {
    struct chalk_ranges taken;     /* claims and borders, by position */
    struct chalk_ranges positions; /* of places */
    uint64_t end;                  /* the first position behind the last place */
};

static struct {
    struct chalk_ranges by_address;
    /* [..][1][..]: all iovas are beyond 4 GiB; [..][..][1]: the pages are large. */
    struct chalk_room rooms[CHALK_PLACE_SORTS][NODE_SLOTS][2][2];
    uint32_t nodes[CHALK_PLACE_SORTS]; /* a bit for each node that has ever had a place */
} places;

#define CONTAINER(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static unsigned node_slot(unsigned node)
{
    return node != 0 ? 1 + (node - 1) % (NODE_SLOTS - 1) : 0;
}

static bool is_large(const struct chalk_span *span)
{
    return span->page >= LARGE;
}

static uint64_t position_of(const struct chalk_place *place, const char *va)
{
    return place->position.first + (uint64_t)(va - (const char *)place->span.va);
}

/* ---- places in rooms ---- */

/* At the end of the room for its sort. */
static void put_in_room(struct chalk_place *place, enum chalk_place_sort sort)
{
    const struct chalk_span *span = &place->span;
    const unsigned slot = node_slot(span->node), high = span->iova > UINT32_MAX;
    struct chalk_room *room = &places.rooms[sort][slot][high][is_large(span)];
    uint64_t first = room->end + 1; /* a border has a byte at least */

    first += (uint64_t)((uintptr_t)span->va - first) & (LARGE - 1);
    place->sort = sort;
    place->room = room;
    place->border = (struct chalk_range){.first = room->end, .last = first - 1};
    place->position = (struct chalk_range){.first = first, .last = first + (span->size - 1)};
    room->end = first + span->size;
    places.nodes[sort] |= 1u << slot;
    chalk_assert(room->end > first && chalk_range_add(&room->taken, &place->border) &&
                 chalk_range_add(&room->positions, &place->position));
}

/* What it leaves, without any claim, belongs to the border of the next one. */
static void take_from_room(struct chalk_place *place)
{
    struct chalk_room *room = place->room;
    struct chalk_range *next = chalk_range_next(&room->positions, &place->position);

    chalk_range_remove(&room->positions, &place->position);
    chalk_range_remove(&room->taken, &place->border);
    if (next == NULL) {
        room->end = place->border.first;
        return;
    }
    struct chalk_place *above = CONTAINER(next, struct chalk_place, position);
    chalk_range_remove(&room->taken, &above->border);
    above->border.first = place->border.first;
    chalk_range_add(&room->taken, &above->border);
}

/* Moves a place without claims to the room that is for it now. */
static void settle(struct chalk_place *place, enum chalk_place_sort sort)
{
    if (!place->span.apart || place->sort == CHALK_PLACE_NAMED || place->claims[0] + place->claims[1] != 0)
        return;
    if (place->exposed)
        sort = CHALK_PLACE_DEVICES;
    if (place->sort == sort)
        return;
    take_from_room(place);
    put_in_room(place, sort);
}

void chalk_places_forget(void)
{
    memset(&places, 0, sizeof places);
}

void chalk_place_add(const struct chalk_span *span)
{
    struct chalk_place *place = chalk_place_in(span->books);
    const bool exposed = place->span.books == span->books && place->exposed; /* it was known before */

    *place = (struct chalk_place){.span = *span, .exposed = exposed};
    place->by_address.first = (uintptr_t)span->va;
    place->by_address.last = (uintptr_t)span->va + (span->size - 1);
    chalk_assert(chalk_range_add(&places.by_address, &place->by_address));
    put_in_room(place, span->kind != CHALK_SPAN_RAM ? CHALK_PLACE_NAMED
                       : !span->apart               ? CHALK_PLACE_COMMON
                                                    : CHALK_PLACE_UNUSED);
    settle(place, CHALK_PLACE_UNUSED);
}

struct chalk_place *chalk_place_of(const void *va)
{
    struct chalk_range *range = chalk_range_find(&places.by_address, (uintptr_t)va, (uintptr_t)va);

    return range ? CONTAINER(range, struct chalk_place, by_address) : NULL;
}

/* ---- claims in places ---- */

struct chalk_claim *chalk_place_claim(const struct chalk_place *place, const char *va, size_t size)
{
    const uint64_t first = position_of(place, va);
    struct chalk_range *range = chalk_range_find(&place->room->taken, first, first + (size - 1));

    return range ? CONTAINER(range, struct chalk_claim, position) : NULL;
}

void chalk_place_enter(struct chalk_place *place, struct chalk_claim *claim)
{
    settle(place, claim->for_devices ? CHALK_PLACE_DEVICES : CHALK_PLACE_PRIVATE);
    claim->position = (struct chalk_range){.first = position_of(place, claim->va)};
    claim->position.last = claim->position.first + (claim->size - 1);
    claim->counted = claim->for_devices;
    place->claims[claim->counted]++;
    chalk_assert(chalk_range_add(&place->room->taken, &claim->position));
}

bool chalk_place_leave(struct chalk_place *place, struct chalk_claim *claim)
{
    if (!chalk_range_remove(&place->room->taken, &claim->position))
        return false;
    place->claims[claim->counted]--;
    settle(place, CHALK_PLACE_UNUSED);
    return true;
}

const struct chalk_claim *chalk_place_expose(struct chalk_place *place)
{
    const struct chalk_ranges *taken = &place->room->taken;
    struct chalk_range *range = chalk_range_find(taken, place->position.first, place->position.last);

    /* Those that their owners have made ones for devices since they were counted, up to one that is not. */
    while (place->claims[0] != 0 && range != NULL && range->first <= place->position.last) {
        struct chalk_claim *claim = CONTAINER(range, struct chalk_claim, position);

        if (!claim->for_devices)
            return claim;
        place->claims[claim->counted]--;
        claim->counted = true;
        place->claims[1]++;
        range = chalk_range_next(taken, range);
    }
    place->exposed = true;
    settle(place, CHALK_PLACE_DEVICES);
    return NULL;
}

/* ---- room for one more ---- */

static bool suits(const struct chalk_place *place, const struct chalk_wanted *wanted, bool mixed,
                  size_t offset)
{
    const struct chalk_span *span = &place->span;
    const uint64_t first = span->iova + offset;

    if ((wanted->node != 0 && span->node != 0 && span->node != wanted->node) ||
        (place->exposed && !wanted->for_devices) || first > wanted->max_address ||
        wanted->size - 1 > wanted->max_address - first)
        return false;
    return mixed || !span->apart || place->claims[!wanted->for_devices] == 0;
}

/* The lowest piece of the first place that suits: then no other piece of a place does where that one does
 * not. */
static bool find_in_room(const struct chalk_room *room, size_t align, const struct chalk_wanted *wanted,
                         bool mixed, struct chalk_place **place, size_t *offset)
{
    uint64_t from = 0, at;

    while (from < room->end &&
           chalk_range_gap(&room->taken, from, room->end - 1, wanted->size, align, CHALK_RANGE_LOWEST, &at)) {
        *place = CONTAINER(chalk_range_find(&room->positions, at, at), struct chalk_place, position);
        *offset = (size_t)(at - (*place)->position.first);
        if (suits(*place, wanted, mixed, *offset))
            return true;
        from = (*place)->position.last + 1;
    }
    return false;
}

static bool find_on_node(enum chalk_place_sort sort, unsigned slot, const struct chalk_wanted *wanted,
                         bool mixed, struct chalk_place **place, size_t *offset)
{
    const size_t align = wanted->size < LARGE ? CHALK_PAGE : LARGE;

    /* Addresses that fit 32 bits are left to devices that have no others, as far as that goes. */
    for (unsigned high = wanted->max_address > UINT32_MAX ? 2 : 1; high-- > 0;) {
        const struct chalk_room *rooms = places.rooms[sort][slot][high];

        if (find_in_room(&rooms[0], CHALK_PAGE, wanted, mixed, place, offset) ||
            find_in_room(&rooms[1], align, wanted, mixed, place, offset))
            return true;
    }
    return false;
}

bool chalk_place_find(const struct chalk_wanted *wanted, bool mixed, struct chalk_place **place,
                      size_t *offset)
{
    const enum chalk_place_sort own = wanted->for_devices ? CHALK_PLACE_DEVICES : CHALK_PLACE_PRIVATE;
    const enum chalk_place_sort other = wanted->for_devices ? CHALK_PLACE_PRIVATE : CHALK_PLACE_DEVICES;
    const enum chalk_place_sort sorts[] = {CHALK_PLACE_COMMON, own, CHALK_PLACE_UNUSED, other};

    for (unsigned i = 0; i < (mixed ? 4u : 3u); i++) {
        uint32_t nodes = places.nodes[sorts[i]];

        if (wanted->node != 0)
            nodes &= 1u << node_slot(wanted->node) | 1;
        for (; nodes != 0; nodes &= nodes - 1)
            if (find_on_node(sorts[i], (unsigned)__builtin_ctz(nodes), wanted, mixed, place, offset))
                return true;
    }
    return false;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Places: what claims know of each span, in the memory that the platform keeps for it (span.books). A place
 * is looked up by an address in its span, or by the room that is left there; each costs O(log n) steps. All
 * calls under the lock of claims.
 */
#ifndef CHALK_MEMORY_PLACES_H
#define CHALK_MEMORY_PLACES_H

#include "claims.h"

/* Spans that claims may lie in, by what they are for. */
enum chalk_place_sort {
    CHALK_PLACE_COMMON,  /* for all claims of memory */
    CHALK_PLACE_UNUSED,  /* `apart`, and nothing of it is claimed */
    CHALK_PLACE_PRIVATE, /* `apart`, and claimed for the program alone */
    CHALK_PLACE_DEVICES, /* `apart`, and claimed for devices */
    CHALK_PLACE_NAMED,   /* who wants it names it: modules, memory from outside */
    CHALK_PLACE_SORTS
};

struct chalk_place {
    struct chalk_span span;
    struct chalk_range by_address;
    enum chalk_place_sort sort;
    struct chalk_room *room;     /* the one that it is in */
    struct chalk_range position; /* there */
    struct chalk_range border;   /* there: from the place below to this one */
    size_t claims[2];            /* how many lie in it: private ones, and those for devices */
    bool exposed;                /* the file of the span was given to a device's process */
};

_Static_assert(sizeof(struct chalk_place) <= sizeof(struct chalk_span_books), "the books of a span suffice");

static inline struct chalk_place *chalk_place_in(struct chalk_span_books *books)
{
    return (struct chalk_place *)(void *)books;
}

/* Forgets all places. Their books may be gone. */
void chalk_places_forget(void);

/* Adds a place without claims for a span, which overlaps none that has one. */
void chalk_place_add(const struct chalk_span *span);

/* The place of the span that `va` lies in, or NULL. */
struct chalk_place *chalk_place_of(const void *va);

/* What is claimed. */
struct chalk_wanted {
    size_t size;          /* whole pages */
    unsigned node;        /* CHALK_NODE(), 0: any */
    uint64_t max_address; /* of the iovas */
    bool for_devices;
};

/*
 * Finds free memory in a span of RAM: its place and the offset. `mixed`: even beside claims of the other
 * sort, where the platform wants them apart.
 */
bool chalk_place_find(const struct chalk_wanted *wanted, bool mixed, struct chalk_place **place,
                      size_t *offset);

/* A claim that overlaps these bytes of the place, or NULL. */
struct chalk_claim *chalk_place_claim(const struct chalk_place *place, const char *va, size_t size);

/* A claim comes, which overlaps none, or goes. False, and nothing changed: it is not there. */
void chalk_place_enter(struct chalk_place *place, struct chalk_claim *claim);
bool chalk_place_leave(struct chalk_place *place, struct chalk_claim *claim);

/* The span's file is given away: no private claim is made there from now on. Returns one that is there
 * already, or NULL. */
const struct chalk_claim *chalk_place_expose(struct chalk_place *place);

#endif

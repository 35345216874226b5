/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Spans are the program's for good; claims on them come and go. Which span has room, and which claim is
 * where, is looked up in places.c; here is a list of all claims, the newest first, for accounting.
 */
#include "claims.h"
#include "loans.h"
#include "places.h"
#include <chalk/clock.h>
#include <chalk/error.h>
#include <chalk/lock.h>
#include <chalk/main.h>
#include <stdatomic.h>

static struct chalk_claim *claims;
static struct chalk_claim *last_told; /* by chalk_claim_get(): number last_index. NULL: begin again */
static unsigned last_index;
static unsigned span_count;             /* spans that have a place */
static struct chalk_span_books *newest; /* the books of the last of them */
static struct chalk_lock lock;

void chalk_claims_lock(void)
{
    chalk_lock_take(&lock);
}

void chalk_claims_unlock(void)
{
    chalk_lock_release(&lock);
}

/* ---- places for all spans ---- */

/* Claims in spans that have gone are forgotten. */
static void start_over(void)
{
    struct chalk_claim **link = &claims, *claim;
    struct chalk_span span;

    chalk_places_forget();
    last_told = NULL;
    for (span_count = 0; chalk_span_get(span_count, &span) == 0; span_count++) {
        chalk_place_add(&span);
        newest = span.books;
    }
    if (span_count == 0)
        claims = NULL;
    while ((claim = *link) != NULL) {
        struct chalk_place *place = chalk_place_of(claim->va);

        if (place == NULL) {
            *link = claim->next;
            if (claim->next)
                claim->next->previous = claim->previous;
            continue;
        }
        chalk_place_enter(place, claim);
        link = &claim->next;
    }
}

/*
 * Spans come at the end, so a look there finds new ones. Where one has gone, those behind it moved up, and
 * the newest one is not where it was: that is rare, and everything is made anew.
 */
static void find_new_spans(void)
{
    struct chalk_span span;

    if (span_count != 0 && (chalk_span_get(span_count - 1, &span) != 0 || span.books != newest ||
                            chalk_place_in(newest)->span.books != newest)) {
        start_over();
        return;
    }
    for (; chalk_span_get(span_count, &span) == 0; span_count++) {
        chalk_place_add(&span);
        newest = span.books;
    }
}

/* A claim that overlaps these bytes, or NULL. */
static struct chalk_claim *overlapped(const char *va, size_t size)
{
    struct chalk_place *place = chalk_place_of(va);

    return place ? chalk_place_claim(place, va, size) : NULL;
}

/* ---- a piece ---- */

static struct chalk_claim piece_of(const struct chalk_place *place, size_t offset, size_t size)
{
    const struct chalk_span *span = &place->span;

    return (struct chalk_claim){.va = (char *)span->va + offset,
                                .size = size,
                                .iova = span->iova + offset,
                                .page = span->page,
                                .node = span->node};
}

/* ---- debug builds: what is in claimed memory ---- */

#ifdef CHALK_DEBUG

static struct chalk_ranges tenants;

void chalk_tenant_add(struct chalk_tenant *tenant, const char *what, const char *name, const void *va,
                      size_t size)
{
    const uint64_t first = (uintptr_t)va;

    *tenant = (struct chalk_tenant){{.first = first, .last = first + (size - 1)}, what, name, va, size};
    chalk_claims_lock();
    chalk_assert(chalk_range_add(&tenants, &tenant->range));
    chalk_claims_unlock();
}

void chalk_tenant_remove(struct chalk_tenant *tenant)
{
    chalk_claims_lock();
    chalk_assert(chalk_range_remove(&tenants, &tenant->range));
    chalk_claims_unlock();
}

static void check_tenants(const struct chalk_claim *claim)
{
    const uint64_t first = (uintptr_t)claim->va;
    const struct chalk_tenant *tenant = NULL;

    chalk_claims_lock();
    if (claim->size != 0)
        tenant = (const void *)chalk_range_find(&tenants, first, first + (claim->size - 1));
    chalk_claims_unlock();
    if (!tenant)
        return;
    chalk_log(CHALK_ERROR, "%s releases %zu KiB at %p while %s%s is in it", claim->owner, claim->size >> 10,
              (void *)claim->va, tenant->what, tenant->name);
    chalk_exit(134); /* as a failed assertion */
}

static void list(bool *told, const char *what, const char *name, const void *va, size_t size)
{
    if (!*told)
        chalk_log(CHALK_WARNING, "the program has ended, and this memory was never given back:");
    *told = true;
    chalk_log(CHALK_WARNING, "  %zu KiB at %p: %s%s", (size + 1023) >> 10, va, what, name);
}

void chalk_main_ended(void)
{
    struct chalk_claim claim;
    bool told = false;

    for (unsigned i = 0; chalk_claim_get(i, &claim) == 0; i++)
        if (!claim.lasts)
            list(&told, "", claim.owner, claim.va, claim.size);
    for (struct chalk_range *at = chalk_range_find(&tenants, 0, UINT64_MAX); at;
         at = chalk_range_next(&tenants, at)) {
        const struct chalk_tenant *tenant = (const void *)at; /* its first member */

        list(&told, tenant->what, tenant->name, tenant->va, tenant->size);
    }
}

#else

static inline void check_tenants(const struct chalk_claim *claim)
{
    (void)claim;
}

#endif

/* ---- free memory ---- */

static int find(const struct chalk_wanted *wanted, struct chalk_claim *claim)
{
    struct chalk_place *place;
    struct chalk_span span;
    size_t offset = 0;
    int error;

    if (!chalk_place_find(wanted, false, &place, &offset)) {
        error = chalk_span_grow(wanted->size, 0, wanted->node, wanted->max_address, &span);
        if (!error) {
            find_new_spans();
            place = chalk_place_in(span.books);
            offset = 0;
        } else if (!chalk_place_find(wanted, true, &place, &offset)) {
            return error;
        }
    }
    *claim = piece_of(place, offset, wanted->size);
    claim->for_devices = wanted->for_devices;
    return 0;
}

/* ---- what is named: a whole span, or a range of one ---- */

static int find_free(const struct chalk_place *place, size_t offset, size_t size, const char *owner,
                     struct chalk_claim *claim)
{
    const struct chalk_claim *other;

    *claim = piece_of(place, offset, size);
    other = chalk_place_claim(place, claim->va, size);
    if (!other)
        return 0;
    chalk_log(CHALK_ERROR, "%s cannot claim %zu KiB at %p: %zu KiB of them, at %p, are %s's", owner,
              size >> 10, (void *)claim->va, other->size >> 10, (void *)other->va, other->owner);
    return -EBUSY;
}

static int find_whole(unsigned i, const char *owner, struct chalk_claim *claim)
{
    struct chalk_span span;
    int error = chalk_span_get(i, &span);

    return error ? error : find_free(chalk_place_in(span.books), 0, span.size, owner, claim);
}

static int find_range(const char *va, size_t size, const char *owner, struct chalk_claim *claim)
{
    const struct chalk_place *place = chalk_place_of(va);
    size_t offset = place ? (uintptr_t)va - (uintptr_t)place->span.va : 0;

    if (place && size <= place->span.size - offset)
        return find_free(place, offset, size, owner, claim);
    chalk_log(CHALK_ERROR, "%s cannot claim %zu KiB at %p: they do not lie in one span", owner, size >> 10,
              (const void *)va);
    return -EINVAL;
}

/* ---- taking and releasing ---- */

/* The record may be inside of what was found. */
static struct chalk_claim *keep(const struct chalk_claim *found, const char *owner,
                                struct chalk_claim *record)
{
    if (!record)
        record = (struct chalk_claim *)(void *)found->va;
    *record = *found;
    record->owner = owner ? owner : "somebody";
    record->next = claims;
    if (claims)
        claims->previous = record;
    claims = record;
    last_index++;
    chalk_place_enter(chalk_place_of(record->va), record);
    return record;
}

static int take(struct chalk_wanted wanted, const char *owner, struct chalk_claim *record,
                struct chalk_claim **claim)
{
    struct chalk_claim found;
    int error;

    if (wanted.size == 0)
        return -EINVAL;
    if (wanted.size > SIZE_MAX - CHALK_PAGE)
        return -ENOMEM;
    wanted.size = (wanted.size + CHALK_PAGE - 1) & ~(CHALK_PAGE - 1);
    chalk_claims_lock();
    find_new_spans();
    error = find(&wanted, &found);
    if (!error)
        *claim = keep(&found, owner, record);
    chalk_claims_unlock();
    return error;
}

static int take_range(void *va, size_t size, bool for_devices, const char *owner, struct chalk_claim *claim)
{
    struct chalk_claim found = {0};
    int error;

    if (!owner)
        owner = "somebody";
    if (size == 0 || (uintptr_t)va % CHALK_PAGE != 0 || size > SIZE_MAX - CHALK_PAGE) {
        chalk_log(CHALK_ERROR, "%s cannot claim %zu bytes at %p: not whole pages", owner, size, va);
        return -EINVAL;
    }
    size = (size + CHALK_PAGE - 1) & ~(CHALK_PAGE - 1);
    chalk_claims_lock();
    find_new_spans();
    error = find_range(va, size, owner, &found);
    found.for_devices = for_devices;
    if (!error)
        keep(&found, owner, claim);
    chalk_claims_unlock();
    return error;
}

int chalk_claim_range(void *va, size_t size, const char *owner, struct chalk_claim *claim)
{
    return take_range(va, size, false, owner, claim);
}

int chalk_claim_range_for_devices(void *va, size_t size, const char *owner, struct chalk_claim *claim)
{
    return take_range(va, size, true, owner, claim);
}

static int take_span(unsigned i, const char *owner, struct chalk_claim *record, struct chalk_claim **claim)
{
    struct chalk_claim found;
    int error;

    chalk_claims_lock();
    find_new_spans();
    error = find_whole(i, owner ? owner : "somebody", &found);
    if (!error)
        *claim = keep(&found, owner, record);
    chalk_claims_unlock();
    return error;
}

int chalk_claim_memory(size_t size, unsigned node, uint64_t max_address, const char *owner,
                       struct chalk_claim *claim)
{
    return take((struct chalk_wanted){size, node, max_address, false}, owner, claim, &claim);
}

int chalk_claim_for_devices(size_t size, unsigned node, uint64_t max_address, const char *owner,
                            struct chalk_claim *claim)
{
    return take((struct chalk_wanted){size, node, max_address, true}, owner, claim, &claim);
}

int chalk_claim_inside(size_t size, unsigned node, uint64_t max_address, const char *owner,
                       struct chalk_claim **claim)
{
    return take((struct chalk_wanted){size, node, max_address, false}, owner, NULL, claim);
}

int chalk_claim_span(unsigned i, const char *owner, struct chalk_claim *claim)
{
    return take_span(i, owner, claim, &claim);
}

int chalk_claim_span_inside(unsigned i, const char *owner, struct chalk_claim **claim)
{
    struct chalk_span span;
    int error = chalk_span_get(i, &span);

    if (error)
        return error;
    return span.kind == CHALK_SPAN_RAM ? take_span(i, owner, NULL, claim) : -EINVAL;
}

void chalk_claim_release(struct chalk_claim *claim)
{
    chalk_loan_check(claim->owner, "releases", claim->va, claim->size, NULL);
    check_tenants(claim);
    chalk_claims_lock();
    find_new_spans();
    struct chalk_place *place = chalk_place_of(claim->va);
    bool held = place && chalk_place_leave(place, claim);
    if (held) {
        if (claim->previous)
            claim->previous->next = claim->next;
        else
            claims = claim->next;
        if (claim->next)
            claim->next->previous = claim->previous;
        last_told = NULL;
    }
    chalk_claims_unlock();
    if (held)
        return;
    chalk_log(CHALK_ERROR, "a claim that nobody holds is released: its record is at %p", (void *)claim);
    chalk_exit(134); /* as a failed assertion */
}

/* ---- accounting ---- */

int chalk_claim_get(unsigned i, struct chalk_claim *claim)
{
    struct chalk_claim *found;
    unsigned at = 0;

    chalk_claims_lock();
    found = claims;
    if (last_told && last_index <= i) { /* whoever asks for all of them takes one step each time */
        found = last_told;
        at = last_index;
    }
    for (; found && at < i; at++)
        found = found->next;
    if (found) {
        *claim = *found;
        last_told = found;
        last_index = i;
    }
    chalk_claims_unlock();
    return found ? 0 : -ENOENT;
}

int chalk_claim_find(const void *va, size_t size, struct chalk_claim *claim)
{
    const struct chalk_claim *found;

    chalk_claims_lock();
    find_new_spans();
    found = size != 0 ? overlapped(va, size) : NULL;
    if (found)
        *claim = *found;
    chalk_claims_unlock();
    return found ? 0 : -ENOENT;
}

const char *chalk_claim_expose(const void *va)
{
    const struct chalk_claim *found = NULL;
    struct chalk_place *place;

    chalk_claims_lock();
    find_new_spans();
    place = chalk_place_of(va);
    if (place)
        found = chalk_place_expose(place);
    chalk_claims_unlock();
    return found ? found->owner : NULL;
}

void chalk_claim_report(enum chalk_level level)
{
    struct chalk_claim claim;
    struct chalk_span span;
    size_t all = 0, taken = 0;
    char node[32];

    for (unsigned i = 0; chalk_claim_get(i, &claim) == 0; i++) {
        node[0] = '\0';
        if (claim.node != 0)
            chalk_format(node, sizeof node, ", node %d", CHALK_NODE_NUMBER(claim.node));
        chalk_log(level, "memory: %zu KiB at %p%s: %s", claim.size >> 10, (void *)claim.va, node,
                  claim.owner);
        taken += claim.size;
    }
    for (unsigned i = 0; chalk_span_get(i, &span) == 0; i++)
        all += span.size;
    chalk_log(level, "memory: %zu KiB are claimed, of %zu KiB", taken >> 10, all >> 10);
}

void chalk_claim_blame(const char *owner, const char *what, const void *va, size_t size, const char *why)
{
    const struct chalk_claim *claim;
    const char *other;

    chalk_claims_lock();
    find_new_spans();
    claim = overlapped(va, 1);
    other = claim ? claim->owner : "nobody";
    chalk_claims_unlock();
    chalk_log(CHALK_ERROR, "%s %s %zu bytes at %p, %s; that memory is claimed by %s", owner, what, size, va,
              why, other);
    chalk_exit(134); /* as a failed assertion */
}

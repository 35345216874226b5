/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Spans are the program's for good; claims on them come and go. First fit: a list of claims is all there is,
 * and a free piece is what no claim overlaps. Claims are made at set-up, so simple beats fast.
 */
#include "claims.h"
#include "loans.h"
#include <chalk/clock.h>
#include <chalk/error.h>
#include <chalk/main.h>
#include <stdatomic.h>

/* Where pages are large, a piece starts on a multiple of 2 MiB, so that an IOMMU can map it in large pages.
 */
#define LARGE ((size_t)2 << 20)

static struct chalk_claim *claims;
static atomic_flag lock = ATOMIC_FLAG_INIT;

void chalk_claims_lock(void)
{
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire))
        chalk_pause();
}

void chalk_claims_unlock(void)
{
    atomic_flag_clear_explicit(&lock, memory_order_release);
}

/* The claim that overlaps these bytes, or NULL. Under the lock. */
static const struct chalk_claim *overlapped(const char *va, size_t size)
{
    for (const struct chalk_claim *claim = claims; claim; claim = claim->next)
        if (va < claim->va + claim->size && claim->va < va + size)
            return claim;
    return NULL;
}

static struct chalk_claim piece_of(const struct chalk_span *span, size_t offset, size_t size)
{
    return (struct chalk_claim){.va = (char *)span->va + offset,
                                .size = size,
                                .iova = span->iova + offset,
                                .page = span->page,
                                .node = span->node};
}

/* ---- debug builds: what is in claimed memory ---- */

#ifdef CHALK_DEBUG

static struct chalk_tenant *tenants;

void chalk_tenant_add(struct chalk_tenant *tenant, const char *what, const char *name, const void *va,
                      size_t size)
{
    chalk_claims_lock();
    *tenant = (struct chalk_tenant){tenants, what, name, va, size};
    tenants = tenant;
    chalk_claims_unlock();
}

void chalk_tenant_remove(struct chalk_tenant *tenant)
{
    struct chalk_tenant **link = &tenants;

    chalk_claims_lock();
    while (*link != tenant)
        link = &(*link)->next;
    *link = tenant->next;
    chalk_claims_unlock();
}

static void check_tenants(const struct chalk_claim *claim)
{
    const struct chalk_tenant *tenant;

    chalk_claims_lock();
    for (tenant = tenants; tenant; tenant = tenant->next)
        if ((uintptr_t)tenant->va - (uintptr_t)claim->va < claim->size)
            break;
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
    for (const struct chalk_tenant *tenant = tenants; tenant; tenant = tenant->next)
        list(&told, tenant->what, tenant->name, tenant->va, tenant->size);
}

#else

static inline void check_tenants(const struct chalk_claim *claim)
{
    (void)claim;
}

#endif

/* ---- a piece ---- */

/* The first free `size` bytes of a span, all of them at or below max_address. */
static bool find_in_span(const struct chalk_span *span, size_t size, uint64_t max_address, size_t *offset)
{
    size_t align = span->page > LARGE ? LARGE : span->page;
    size_t end = span->size;
    const struct chalk_claim *claim;

    if (span->iova > max_address)
        return false;
    if (max_address - span->iova < end)
        end = (size_t)(max_address - span->iova) + 1;
    if (size < align)
        align = CHALK_PAGE;
    for (*offset = 0; *offset < end && size <= end - *offset;) {
        claim = overlapped((char *)span->va + *offset, size);
        if (!claim)
            return true;
        size_t behind = (size_t)(claim->va + claim->size - (char *)span->va);
        *offset = (behind + align - 1) & ~(align - 1);
    }
    return false;
}

/* What is to be found. */
struct wanted {
    size_t size;
    unsigned node;
    uint64_t max_address;
    bool for_devices;
};

/* Whether the span may hold it: see `apart` and `exposed`. `mixed`: beside claims of the other sort. */
static bool may_hold(const struct chalk_span *span, const struct wanted *wanted, bool mixed)
{
    if (span->kind != CHALK_SPAN_RAM ||
        (wanted->node != 0 && span->node != 0 && span->node != wanted->node) ||
        (span->exposed && !wanted->for_devices))
        return false;
    for (const struct chalk_claim *claim = span->apart && !mixed ? claims : NULL; claim; claim = claim->next)
        if ((uintptr_t)claim->va - (uintptr_t)span->va < span->size &&
            claim->for_devices != wanted->for_devices)
            return false;
    return true;
}

static bool find_in_spans(const struct wanted *wanted, bool mixed, struct chalk_claim *claim)
{
    struct chalk_span span;
    size_t offset;

    for (unsigned i = 0; chalk_span_get(i, &span) == 0; i++)
        if (may_hold(&span, wanted, mixed) &&
            find_in_span(&span, wanted->size, wanted->max_address, &offset)) {
            *claim = piece_of(&span, offset, wanted->size);
            claim->for_devices = wanted->for_devices;
            return true;
        }
    return false;
}

static int find(const struct wanted *wanted, struct chalk_claim *claim)
{
    struct chalk_span span;
    int error;

    if (find_in_spans(wanted, false, claim))
        return 0;
    error = chalk_span_grow(wanted->size, 0, wanted->node, wanted->max_address, &span);
    if (error)
        return find_in_spans(wanted, true, claim) ? 0 : error;
    *claim = piece_of(&span, 0, wanted->size);
    claim->for_devices = wanted->for_devices;
    return 0;
}

/* ---- what is named: a whole span, or a range of one ---- */

static int find_free(const struct chalk_span *span, size_t offset, size_t size, const char *owner,
                     struct chalk_claim *claim)
{
    const struct chalk_claim *other;

    *claim = piece_of(span, offset, size);
    other = overlapped(claim->va, size);
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

    return error ? error : find_free(&span, 0, span.size, owner, claim);
}

static int find_range(const char *va, size_t size, const char *owner, struct chalk_claim *claim)
{
    struct chalk_span span;

    for (unsigned i = 0; chalk_span_get(i, &span) == 0; i++) {
        size_t offset = (uintptr_t)va - (uintptr_t)span.va;

        if (offset < span.size && size <= span.size - offset)
            return find_free(&span, offset, size, owner, claim);
    }
    chalk_log(CHALK_ERROR, "%s cannot claim %zu KiB at %p: they do not lie in one span", owner, size >> 10,
              (const void *)va);
    return -EINVAL;
}

/* ---- taking and releasing ---- */

/* Under the lock, which it drops: the record may be inside of what was found. */
static struct chalk_claim *keep(const struct chalk_claim *found, const char *owner,
                                struct chalk_claim *record)
{
    if (!record)
        record = (struct chalk_claim *)(void *)found->va;
    *record = *found;
    record->owner = owner ? owner : "somebody";
    record->next = claims;
    claims = record;
    return record;
}

static int take(struct wanted wanted, const char *owner, struct chalk_claim *record,
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
    error = find(&wanted, &found);
    if (!error)
        *claim = keep(&found, owner, record);
    chalk_claims_unlock();
    return error;
}

int chalk_claim_range(void *va, size_t size, const char *owner, struct chalk_claim *claim)
{
    struct chalk_claim found;
    int error;

    if (!owner)
        owner = "somebody";
    if (size == 0 || (uintptr_t)va % CHALK_PAGE != 0 || size > SIZE_MAX - CHALK_PAGE) {
        chalk_log(CHALK_ERROR, "%s cannot claim %zu bytes at %p: not whole pages", owner, size, va);
        return -EINVAL;
    }
    size = (size + CHALK_PAGE - 1) & ~(CHALK_PAGE - 1);
    chalk_claims_lock();
    error = find_range(va, size, owner, &found);
    if (!error)
        keep(&found, owner, claim);
    chalk_claims_unlock();
    return error;
}

static int take_span(unsigned i, const char *owner, struct chalk_claim *record, struct chalk_claim **claim)
{
    struct chalk_claim found;
    int error;

    chalk_claims_lock();
    error = find_whole(i, owner ? owner : "somebody", &found);
    if (!error)
        *claim = keep(&found, owner, record);
    chalk_claims_unlock();
    return error;
}

int chalk_claim_memory(size_t size, unsigned node, uint64_t max_address, const char *owner,
                       struct chalk_claim *claim)
{
    return take((struct wanted){size, node, max_address, false}, owner, claim, &claim);
}

int chalk_claim_for_devices(size_t size, unsigned node, uint64_t max_address, const char *owner,
                            struct chalk_claim *claim)
{
    return take((struct wanted){size, node, max_address, true}, owner, claim, &claim);
}

int chalk_claim_inside(size_t size, unsigned node, uint64_t max_address, const char *owner,
                       struct chalk_claim **claim)
{
    return take((struct wanted){size, node, max_address, false}, owner, NULL, claim);
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
    struct chalk_claim **link = &claims;

    chalk_loan_check(claim->owner, "releases", claim->va, claim->size, NULL);
    check_tenants(claim);
    chalk_claims_lock();
    while (*link && *link != claim)
        link = &(*link)->next;
    bool held = *link;
    if (held)
        *link = claim->next;
    chalk_claims_unlock();
    if (held)
        return;
    chalk_log(CHALK_ERROR, "a claim that nobody holds is released: its record is at %p", (void *)claim);
    chalk_exit(134); /* as a failed assertion */
}

/* ---- accounting ---- */

int chalk_claim_get(unsigned i, struct chalk_claim *claim)
{
    const struct chalk_claim *found;

    chalk_claims_lock();
    for (found = claims; found && i > 0; i--)
        found = found->next;
    if (found)
        *claim = *found;
    chalk_claims_unlock();
    return found ? 0 : -ENOENT;
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
    claim = overlapped(va, 1);
    other = claim ? claim->owner : "nobody";
    chalk_claims_unlock();
    chalk_log(CHALK_ERROR, "%s %s %zu bytes at %p, %s; that memory is claimed by %s", owner, what, size, va,
              why, other);
    chalk_exit(134); /* as a failed assertion */
}

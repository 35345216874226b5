/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is lent to devices, in the instrumented build: a list, each with the stack that lent it. The records
 * are in the image, so that lending needs no memory; when they run out, further loans are not watched.
 */
#ifdef CHALK_INSTRUMENTED

#include "loans.h"
#include "grants.h"
#include <chalk/clock.h>
#include <chalk/crc32c.h>
#include <chalk/lock.h>
#include <chalk/log.h>
#include <chalk/stack.h>
#include <stdatomic.h>

#define MAX_LOANS 4096

struct loan {
    struct loan *next;
    const void *key;
    const char *device;
    const struct chalk_domain *domain;
    char *va;
    size_t size;
    unsigned protection;
    uint32_t checksum; /* of what the device only reads */
    struct chalk_stack stack;
};

static struct loan records[MAX_LOANS];
static struct loan *loans, *unused;
static unsigned started; /* records that were ever in use */
static bool told;        /* that there are too few */
static struct chalk_lock lock;

/* ---- what AddressSanitizer is told (<sanitizer/asan_interface.h>) ---- */

#ifndef __has_feature
#define __has_feature(feature) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)

void __asan_poison_memory_region(const volatile void *address, size_t size);
void __asan_unpoison_memory_region(const volatile void *address, size_t size);

#else

static void __asan_poison_memory_region(const volatile void *address, size_t size)
{
    (void)address;
    (void)size;
}

static void __asan_unpoison_memory_region(const volatile void *address, size_t size)
{
    (void)address;
    (void)size;
}

#endif

/* ---- messages ---- */

static const char *does(const struct loan *loan)
{
    return loan->protection & CHALK_DEVICE_WRITES ? "writes" : "reads";
}

/* Under the lock, which others may wait for: they have nothing to add. */
static _Noreturn void end(const struct loan *loan, const struct chalk_stack *stack)
{
    chalk_log(CHALK_ERROR, "this is where it was lent:");
    chalk_stack_log(CHALK_ERROR, &loan->stack);
    chalk_log(CHALK_ERROR, "and this is where that was seen:");
    chalk_stack_log(CHALK_ERROR, stack);
    chalk_lock_release(&lock);
    chalk_exit(134); /* as a failed assertion */
}

static bool overlaps(const struct loan *loan, const char *va, size_t size)
{
    return va < loan->va + loan->size && loan->va < va + size;
}

void chalk_loan_check(const char *who, const char *what, const void *va, size_t size,
                      const struct chalk_domain *domain)
{
    struct chalk_stack stack;

    chalk_lock_take(&lock);
    for (const struct loan *loan = loans; loan; loan = loan->next) {
        if (!overlaps(loan, va, size) || (domain && loan->domain != domain))
            continue;
        chalk_stack_take(&stack);
        chalk_log(CHALK_ERROR, "%s %s %zu bytes at %p, but %s still %s %zu bytes at %p", who, what, size, va,
                  loan->device, does(loan), loan->size, (void *)loan->va);
        end(loan, &stack);
    }
    chalk_lock_release(&lock);
}

/* ---- lending ---- */

/* The bytes as the program sees them, when the domain was granted that much. */
static char *granted(const char *device, const struct chalk_domain *domain, const struct chalk_dma *segment,
                     unsigned protection)
{
    const struct chalk_grant *grant = chalk_grant_find(domain, segment->iova, segment->size);
    struct chalk_stack stack;

    if (grant && (grant->protection & protection) == protection)
        return grant->va + (segment->iova - grant->iova);
    if (grant)
        chalk_log(CHALK_ERROR,
                  "%s is lent %zu bytes at 0x%llx for %s, which were shared with its domain for %s", device,
                  segment->size, (unsigned long long)segment->iova, chalk_protection_name(protection),
                  chalk_protection_name(grant->protection));
    else
        chalk_log(CHALK_ERROR, "%s is lent %zu bytes at 0x%llx, which were never shared with its domain",
                  device, segment->size, (unsigned long long)segment->iova);
    chalk_stack_take(&stack);
    chalk_stack_log(CHALK_ERROR, &stack);
    chalk_exit(134); /* as a failed assertion */
}

static void check_twice(const char *device, const char *va, size_t size, unsigned protection)
{
    struct chalk_stack stack;

    for (const struct loan *loan = loans; loan; loan = loan->next) {
        if (!overlaps(loan, va, size) || !((loan->protection | protection) & CHALK_DEVICE_WRITES))
            continue;
        chalk_stack_take(&stack);
        chalk_log(CHALK_ERROR, "%s is lent %zu bytes at %p, but %s still %s %zu bytes at %p", device, size,
                  (const void *)va, loan->device, does(loan), loan->size, (void *)loan->va);
        end(loan, &stack);
    }
}

static struct loan *record_get(void)
{
    struct loan *loan = unused;

    if (loan)
        unused = loan->next;
    else if (started < MAX_LOANS)
        loan = &records[started++];
    return loan;
}

static void lend_one(struct loan *loan)
{
    if (!(loan->protection & CHALK_DEVICE_WRITES)) {
        __asan_unpoison_memory_region(loan->va, loan->size); /* another device may read it, too */
        loan->checksum = chalk_crc32c(0, loan->va, loan->size);
    }
    __asan_poison_memory_region(loan->va, loan->size);
    loan->next = loans;
    loans = loan;
}

void chalk_lend(const void *key, const char *device, const struct chalk_domain *domain,
                const struct chalk_dma *segments, unsigned count, unsigned protection)
{
    struct chalk_stack stack;
    bool all = true;

    chalk_stack_take(&stack);
    for (unsigned i = 0; i < count; i++) {
        char *va = granted(device, domain, &segments[i], protection);

        chalk_lock_take(&lock);
        check_twice(device, va, segments[i].size, protection);
        struct loan *loan = record_get();
        if (loan) {
            *loan = (struct loan){NULL, key, device, domain, va, segments[i].size, protection, 0, stack};
            lend_one(loan);
        }
        all &= loan || told;
        told |= !loan;
        chalk_lock_release(&lock);
    }
    if (!all)
        chalk_log(CHALK_WARNING, "more than %d buffers are lent to devices; the others are not watched",
                  MAX_LOANS);
}

/* ---- taking back ---- */

/* What another device still reads stays poisoned. */
static void poison_the_rest(const struct loan *back)
{
    for (const struct loan *loan = loans; loan; loan = loan->next)
        if (overlaps(loan, back->va, back->size))
            __asan_poison_memory_region(loan->va, loan->size);
}

static void take_back_one(const struct loan *loan)
{
    struct chalk_stack stack;

    __asan_unpoison_memory_region(loan->va, loan->size);
    if (!(loan->protection & CHALK_DEVICE_WRITES) &&
        chalk_crc32c(0, loan->va, loan->size) != loan->checksum) {
        chalk_stack_take(&stack);
        chalk_log(CHALK_ERROR, "the program changed some of %zu bytes at %p while %s read them", loan->size,
                  (void *)loan->va, loan->device);
        end(loan, &stack);
    }
    poison_the_rest(loan);
}

void chalk_take_back(const void *key)
{
    chalk_lock_take(&lock);
    for (struct loan **link = &loans; *link;) {
        struct loan *loan = *link;

        if (loan->key != key) {
            link = &loan->next;
            continue;
        }
        *link = loan->next;
        take_back_one(loan);
        loan->next = unused;
        unused = loan;
    }
    chalk_lock_release(&lock);
}

/* An observed load of what is lent is one too early. A recorder or a fuzzer may have a hook of its own. */
__attribute__((weak)) void chalk_dma_hook(const volatile void *address, size_t size)
{
    chalk_loan_check("the program", "reads", (const void *)(uintptr_t)address, size, NULL);
}

__attribute__((weak)) void chalk_dma_seen(const volatile void *address, const void *value, size_t size)
{
    (void)address;
    (void)value;
    (void)size;
}

__attribute__((weak)) void chalk_dma_publish(const void *address, size_t size)
{
    (void)address;
    (void)size;
}

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Spans from outside: memory that the program mapped by itself. What Linux says of a mapping is in
 * /proc/self/smaps; the mapping stays the program's, so nothing of it is changed here but that it has iovas.
 */
#include "device.h"
#include "iova.h"
#include "memory.h"
#include "state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <chalk/claim.h>
#include <chalk/log.h>

static int refuse(int error, const char *name, const void *va, size_t size, const char *why)
{
    chalk_log(CHALK_ERROR, "%s: %zu bytes at %p cannot become a span: %s", name, size, va, why);
    return error;
}

/* The size of the pages that [va, va + size) is mapped in; 0 if some of it is not mapped, or in pages of
 * different sizes. */
static size_t page_of(uintptr_t va, size_t size)
{
    FILE *file = fopen("/proc/self/smaps", "re");
    uintptr_t next = va, end = va + size; /* what lies below `next` is mapped */
    unsigned long first, last, kib;
    bool inside = false;
    size_t page = 0;
    char line[512];

    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "%lx-%lx ", &first, &last) == 2) {
            inside = first <= next && next < last && next < end;
            if (inside)
                next = last;
        } else if (inside && sscanf(line, "KernelPageSize: %lu kB", &kib) == 1) {
            if (page != 0 && page != kib * 1024)
                break;
            page = kib * 1024;
        }
    }
    if (file != NULL)
        fclose(file);
    return next >= end ? page : 0;
}

static int adopt(void *va, size_t size, uint64_t limit, const char *name, struct chalk_span *span)
{
    size_t page = page_of((uintptr_t)va, size);
    char why[80];
    int error;

    if (page == 0)
        return refuse(-EINVAL, name, va, size, "not all of it is mapped, in pages of one size");
    if (((uintptr_t)va | size) % page != 0) {
        chalk_format(why, sizeof why, "its pages have %zu KiB, and it is not whole ones", page / 1024);
        return refuse(-EINVAL, name, va, size, why);
    }
    if (hosted_memory_overlaps(va, size))
        return refuse(-EEXIST, name, va, size, "some of it is in a span already");
    *span = (struct chalk_span){
        .va = va, .size = size, .page = page, .node = hosted_memory_node(va), .kind = CHALK_SPAN_OUTSIDE};
    chalk_format(span->name, sizeof span->name, "%s", name);
    error = hosted_iova_take(size, page, limit, &span->iova);
    if (error != 0)
        return refuse(error, name, va, size, "no device addresses are free for it below the limit");
    error = hosted_memory_keep(span, -1);
    if (error != 0)
        hosted_iova_put(span->iova, size);
    return error;
}

int chalk_span_adopt(void *va, size_t size, uint64_t max_address, const char *name, struct chalk_span *span)
{
    uint64_t limit = max_address == UINT64_MAX ? HOSTED_IOVA_EASY : max_address;
    int error;

    if (size == 0 || ((uintptr_t)va | size) % CHALK_PAGE != 0 || (uintptr_t)va + size < size)
        return refuse(-EINVAL, name, va, size, "it is not whole pages");
    hosted_lock();
    error = adopt(va, size, limit, name, span);
    hosted_unlock();
    return error;
}

/* ---- and back ---- */

static bool is_claimed(const struct chalk_span *span)
{
    struct chalk_claim claim;

    if (chalk_claim_find(span->va, span->size, &claim) != 0)
        return false;
    chalk_log(CHALK_ERROR, "%s is still claimed by %s; a device may reach it", span->name, claim.owner);
    return true;
}

static bool is_mapped(const struct chalk_span *span)
{
    for (const struct chalk_domain *domain = hosted_domains(); domain != NULL; domain = domain->next)
        if (chalk_range_find(&domain->mappings, span->iova, span->iova + (span->size - 1)) != NULL) {
            chalk_log(CHALK_ERROR, "%s is still mapped for %s", span->name, domain->name);
            return true;
        }
    return false;
}

int chalk_span_forget(void *va)
{
    struct chalk_span span;
    int error = hosted_memory_span(va, &span);

    if (error == 0 && (span.va != va || span.kind != CHALK_SPAN_OUTSIDE))
        error = -ENOENT;
    if (error == 0 && is_claimed(&span))
        error = -EBUSY;
    if (error != 0)
        return error;
    hosted_lock();
    if (is_mapped(&span)) {
        error = -EBUSY;
    } else {
        hosted_memory_forget(va);
        hosted_iova_put(span.iova, span.size);
    }
    hosted_unlock();
    return error;
}

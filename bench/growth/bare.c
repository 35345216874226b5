/* SPDX-License-Identifier: BSD-2-Clause */
/* What there can be many of, on the platform of a PC, whose files run here as a part of a process: see
 * measure.h. */
#include "measure.h"

#include <baremetal/x86_64/pci.h>
#include <chalk/claim.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE CHALK_PAGE

/* ---- the machine around them ---- */

static char *ram; /* address space alone: nothing here touches it */

int chalk_span_get(unsigned i, struct chalk_span *span)
{
    *span = (struct chalk_span){
        .va = ram, .size = (size_t)1 << 36, .page = PAGE, .iova = (uintptr_t)ram, .kind = CHALK_SPAN_RAM};
    return i == 0 ? 0 : -1;
}

int chalk_claim_memory(size_t size, unsigned node, uint64_t max_address, const char *owner,
                       struct chalk_claim *claim)
{
    (void)node, (void)max_address;
    *claim = (struct chalk_claim){.va = aligned_alloc(PAGE, size), .size = size, .owner = owner};
    return claim->va != NULL ? 0 : -1;
}

void chalk_log(enum chalk_level level, const char *format, ...)
{
    va_list list;

    (void)level;
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
}

void chalk_exit(int status)
{
    exit(status);
}

/* ---- mappings ---- */

static struct chalk_domain *domain;

static void start_mappings(void)
{
    ram = (char *)((uintptr_t)1 << 40);
    domain = domain_join(NULL);
}

static void map(unsigned i)
{
    char *page = ram + (size_t)i * PAGE;

    expect(chalk_dma_map(domain, page, PAGE, (uintptr_t)page, CHALK_DEVICE_READS) == 0, "a mapping");
}

static void start_unmap(void)
{
    start_mappings();
    for (unsigned i = 0; i < total; i++)
        map(i);
}

static void unmap(unsigned i)
{
    if (i >= total - ROUNDS)
        expect(chalk_dma_unmap(domain, (uintptr_t)ram + (uint64_t)(i - ROUNDS) * PAGE, PAGE) == 0,
               "unmapping");
}

/* ---- domains ---- */

static void start_nothing(void)
{
}

static void join(unsigned i)
{
    (void)i;
    expect(domain_join(NULL) != NULL, "a domain");
}

static const struct operation operations[] = {
    {"bare-mapping", start_mappings, map},
    {"bare-mapping-back", start_unmap, unmap},
    {"bare-domain", start_nothing, join},
};

int main(int argc, char *argv[])
{
    return measure(argc, argv, operations, sizeof operations / sizeof operations[0]);
}

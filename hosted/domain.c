/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a domain's devices may touch: its mappings, by iova. The transport keeps them too, but does not count
 * how often the same was mapped; and Linux answers every mistake with EINVAL.
 */
#include "device.h"
#include "memory.h"
#include "state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <chalk/error.h>
#include <chalk/log.h>
#include <chalk/memory.h>

static struct chalk_domain *domains;

/* Those that ended last stay in memory, so that whoever still uses one is told. */
static struct chalk_domain *ended[8];
static unsigned ended_next;

/* Mappings change under this lock, too, as others than those under hosted_lock() look for them. */
static pthread_mutex_t moving = PTHREAD_MUTEX_INITIALIZER;

/* The lowest mapping of any of those device addresses, or NULL. */
static struct mapping *mapping_at(const struct chalk_domain *domain, uint64_t first, uint64_t last)
{
    return (struct mapping *)(void *)chalk_range_find(&domain->mappings, first, last);
}

struct chalk_domain *hosted_domains(void)
{
    return domains;
}

struct chalk_domain *hosted_domain_new(const char *name, const struct transport *transport)
{
    struct chalk_domain *domain = calloc(1, sizeof *domain);

    if (domain == NULL)
        return NULL;
    *domain = (struct chalk_domain){.next = domains, .transport = transport, .fd = -1};
    strcpy(domain->name, name);
    domains = domain;
    return domain;
}

void hosted_domain_join(struct chalk_domain *domain, struct chalk_device *device)
{
    device->domain = domain;
    device->next_member = domain->members;
    domain->members = device;
}

/* What the transport has mapped goes with the domain. */
static void end(struct chalk_domain *domain)
{
    struct chalk_domain **link = &domains;

    domain->transport->end_domain(domain);
    while (*link != domain)
        link = &(*link)->next;
    *link = domain->next;
    for (struct mapping *mapping; (mapping = mapping_at(domain, 0, UINT64_MAX)) != NULL;) {
        chalk_range_remove(&domain->mappings, &mapping->range);
        free(mapping);
    }
    free(domain->ranges);
    domain->ended = true;
    free(ended[ended_next]);
    ended[ended_next] = domain;
    ended_next = (ended_next + 1) % (sizeof ended / sizeof ended[0]);
}

void hosted_domains_stop(void)
{
    for (unsigned i = 0; i < sizeof ended / sizeof ended[0]; i++) {
        free(ended[i]);
        ended[i] = NULL;
    }
}

static void check(const struct chalk_domain *domain, const char *call)
{
    if (domain->ended)
        chalk_misuse(
            "%s(): the domain of %s has ended with its last device: unshare memory before you close that",
            call, domain->name);
}

void hosted_domain_leave(struct chalk_device *device)
{
    struct chalk_domain *domain = device->domain;
    struct chalk_device **link;

    if (domain == NULL)
        return;
    for (link = &domain->members; *link != device;)
        link = &(*link)->next_member;
    *link = device->next_member;
    device->domain = NULL;
    if (domain->members == NULL)
        end(domain);
}

int hosted_domain_set_ranges(struct chalk_domain *domain, const struct range *ranges, unsigned count)
{
    struct range *copy = calloc(count + 1, sizeof *copy);

    if (copy == NULL)
        return -ENOMEM;
    memcpy(copy, ranges, count * sizeof *copy);
    free(domain->ranges);
    domain->ranges = copy;
    domain->range_count = count;
    return 0;
}

/* ---- its mappings ---- */

static int check_ranges(const struct chalk_domain *domain, uint64_t iova, size_t size)
{
    char text[256] = "";
    int length = 0;

    for (unsigned i = 0; i < domain->range_count; i++) {
        const struct range *range = &domain->ranges[i];

        if (iova >= range->first && iova + (size - 1) <= range->last)
            return 0;
        if (length < (int)sizeof text - 48)
            length += snprintf(text + length, sizeof text - (size_t)length, " 0x%llx-0x%llx",
                               (unsigned long long)range->first, (unsigned long long)range->last);
    }
    chalk_log(CHALK_ERROR,
              "%s cannot reach memory at device addresses 0x%llx-0x%llx: its IOMMU translates only%s",
              domain->name, (unsigned long long)iova, (unsigned long long)(iova + (size - 1)), text);
    return -ERANGE;
}

/* ---- map ---- */

static int insert(struct chalk_domain *domain, const struct mapping *wanted)
{
    struct mapping *mapping = malloc(sizeof *mapping);
    int error;

    if (mapping == NULL)
        return -ENOMEM;
    *mapping = *wanted;
    mapping->range.first = wanted->iova;
    mapping->range.last = wanted->iova + (wanted->size - 1);
    error = domain->transport->map(domain, mapping);
    if (error != 0) {
        free(mapping);
        return error;
    }
    pthread_mutex_lock(&moving);
    chalk_range_add(&domain->mappings, &mapping->range);
    domain->mapping_count++;
    pthread_mutex_unlock(&moving);
    return 0;
}

static int map(struct chalk_domain *domain, const struct mapping *wanted)
{
    struct mapping *there = mapping_at(domain, wanted->iova, wanted->iova + (wanted->size - 1));
    int error;

    if (!hosted_memory_owned(wanted->va, wanted->size))
        return -EINVAL;
    if (there != NULL) {
        if (there->iova != wanted->iova || there->size != wanted->size || there->va != wanted->va ||
            there->protection != wanted->protection)
            return -EEXIST;
        there->count++;
        return 0;
    }
    error = check_ranges(domain, wanted->iova, wanted->size);
    return error != 0 ? error : insert(domain, wanted);
}

int chalk_dma_map(struct chalk_domain *domain, void *va, size_t size, uint64_t iova, unsigned protection)
{
    struct mapping wanted = {.iova = iova, .size = size, .va = va, .protection = protection, .count = 1};
    int error;

    check(domain, "chalk_dma_map");
    if (size == 0 || ((uintptr_t)va | size | iova) % CHALK_PAGE != 0 || iova + (size - 1) < iova ||
        protection == 0 || (protection & ~(unsigned)(CHALK_DEVICE_READS | CHALK_DEVICE_WRITES)) != 0)
        return -EINVAL;
    wanted.by_file = domain->transport->takes_files && hosted_memory_expose(domain->name, va);
    hosted_lock();
    error = map(domain, &wanted);
    hosted_unlock();
    return error;
}

/* ---- unmap ---- */

static int unmap(struct chalk_domain *domain, uint64_t iova, size_t size)
{
    struct mapping *mapping = mapping_at(domain, iova, iova);
    int error;

    if (mapping == NULL || mapping->iova != iova || mapping->size != size)
        return -ENOENT;
    if (mapping->count > 1) {
        mapping->count--;
        return 0;
    }
    error = domain->transport->unmap(domain, mapping);
    if (error != 0)
        return error;
    pthread_mutex_lock(&moving);
    chalk_range_remove(&domain->mappings, &mapping->range);
    domain->mapping_count--;
    pthread_mutex_unlock(&moving);
    free(mapping);
    return 0;
}

int chalk_dma_unmap(struct chalk_domain *domain, uint64_t iova, size_t size)
{
    int error;

    check(domain, "chalk_dma_unmap");
    hosted_lock();
    error = unmap(domain, iova, size);
    hosted_unlock();
    return error;
}

/* ---- instead of DMA ---- */

/*
 * As on the bus, whole words go at once and in ascending order: what says that the rest is there comes last.
 * That the program touches the same memory without a lock is between it and the device, as with any DMA.
 */
__attribute__((noinline, no_sanitize("thread"))) static void copy(volatile char *to,
                                                                  const volatile char *from, size_t size)
{
    const uintptr_t both = (uintptr_t)to | (uintptr_t)from;
    size_t i = 0;

#define COPY(type)                                                                                           \
    if (both % sizeof(type) == 0)                                                                            \
        for (; size - i >= sizeof(type); i += sizeof(type))                                                  \
            *(volatile type *)(to + i) = *(const volatile type *)(from + i);

    COPY(uint64_t)
    COPY(uint32_t)
    COPY(uint16_t)
    COPY(uint8_t)
#undef COPY
}

static int move(const struct chalk_domain *domain, uint64_t iova, char *bytes, size_t size, bool to_memory)
{
    unsigned needed = to_memory ? CHALK_DEVICE_WRITES : CHALK_DEVICE_READS;

    while (size > 0) {
        const struct mapping *mapping = mapping_at(domain, iova, iova);
        size_t piece;
        char *va;

        if (mapping == NULL || (mapping->protection & needed) == 0)
            return -EFAULT;
        piece = mapping->size - (size_t)(iova - mapping->iova);
        piece = piece < size ? piece : size;
        va = (char *)mapping->va + (iova - mapping->iova);
        copy(to_memory ? va : bytes, to_memory ? bytes : va, piece);
        iova += piece;
        bytes += piece;
        size -= piece;
    }
    return 0;
}

int hosted_domain_move(const struct chalk_domain *domain, uint64_t iova, void *bytes, size_t size,
                       bool to_memory)
{
    int error;

    pthread_mutex_lock(&moving);
    error = move(domain, iova, bytes, size, to_memory);
    pthread_mutex_unlock(&moving);
    return error;
}

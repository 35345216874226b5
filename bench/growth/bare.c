/* SPDX-License-Identifier: BSD-2-Clause */
/* What there can be many of, on the platform of a PC, whose files run here as a part of a process: see
 * measure.h. */
#include "measure.h"

#include <baremetal/x86_64/machine.h>
#include <baremetal/x86_64/pci.h>
#include <chalk/claim.h>
#include <chalk/clock.h>

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

/* ---- functions on the bus ---- */

/* All buses are root buses, and full up to the last function; each has one register, of 16 KiB of memory. */
#define FUNCTIONS_MAX 65536
#define MEMORY_SIZE   0x4000u

static struct {
    uint32_t bars[2];
    uint16_t command;
} functions[FUNCTIONS_MAX];

struct acpi acpi;

unsigned pci_ranges(struct pci_range ranges[PCI_MAX_RANGES])
{
    ranges[0] = (struct pci_range){.first = 0, .last = 255};
    return 1;
}

static unsigned function_of(const struct chalk_device *device)
{
    return (unsigned)device->bus << 8 | device->slot;
}

uint32_t pci_read(const struct chalk_device *device, unsigned offset, unsigned width)
{
    unsigned i = function_of(device);

    if (i >= total)
        return UINT32_MAX >> (32 - 8 * width);
    switch (offset) {
    case 0:
        return 0x1b36;
    case CHALK_PCI_COMMAND:
        return functions[i].command;
    case CHALK_PCI_REVISION:
        return 0x01080200;
    case CHALK_PCI_HEADER_TYPE:
        return CHALK_PCI_HEADER_MULTIPLE;
    case CHALK_PCI_BAR:
        return functions[i].bars[0] | 4; /* of 64 bits */
    case CHALK_PCI_BAR + 4:
        return functions[i].bars[1];
    default:
        return 0;
    }
}

void pci_write(const struct chalk_device *device, unsigned offset, unsigned width, uint32_t value)
{
    unsigned i = function_of(device);

    (void)width;
    if (offset == CHALK_PCI_COMMAND)
        functions[i].command = (uint16_t)value;
    else if (offset == CHALK_PCI_BAR)
        functions[i].bars[0] = value & ~(MEMORY_SIZE - 1);
    else if (offset == CHALK_PCI_BAR + 4)
        functions[i].bars[1] = value;
}

void *memory_take(uint64_t size)
{
    return malloc(size);
}

uint64_t interrupt_registers(void)
{
    return 0xfee00000;
}

int memory_map_device(uint64_t physical, size_t size, enum chalk_attribute attribute)
{
    (void)physical, (void)size, (void)attribute;
    return 0;
}

void msi_reset(struct chalk_device *device)
{
    (void)device;
}

void msi_restore(struct chalk_device *device)
{
    (void)device;
}

const struct chalk_clock *chalk_clock_info(void)
{
    static const struct chalk_clock clock = {
        .hertz = 1000000000, .ns_mult = 1ull << 32, .ticks_mult = 1ull << 32};

    return &clock;
}

/* Without firmware, which would have given out addresses. */
static void start_bare_bus(void)
{
    acpi.windows[0].start = (uint64_t)1 << 40;
    acpi.windows[0].end = (uint64_t)1 << 41;
    acpi.window_count = 1;
    expect(pci_start() == 0, "a scan of the bus");
}

static void start_bus(void)
{
    expect(total <= FUNCTIONS_MAX, "so many functions on the bus");
    for (unsigned i = 0; i < total; i++) {
        uint64_t base = ((uint64_t)1 << 40) + (uint64_t)i * MEMORY_SIZE;

        functions[i].bars[0] = (uint32_t)base;
        functions[i].bars[1] = (uint32_t)(base >> 32);
    }
    expect(pci_start() == 0, "a scan of the bus");
}

static void describe(unsigned i)
{
    struct chalk_bus_info info = {.cursor = i};

    expect(chalk_bus_next(&info) == 0, "the next function");
}

static void open_function(unsigned i)
{
    struct chalk_domain *own = NULL;
    struct chalk_device *device;

    expect(chalk_device_open(pci_device(i)->name, &own, &device) == 0, "a device");
}

static const struct operation operations[] = {
    {"bare-mapping", start_mappings, map},     {"bare-mapping-back", start_unmap, unmap},
    {"bare-domain", start_nothing, join},      {"bare-function", start_bus, describe},
    {"bare-device", start_bus, open_function}, {"bare-address", start_bare_bus, open_function},
};

int main(int argc, char *argv[])
{
    return measure(argc, argv, operations, sizeof operations / sizeof operations[0]);
}

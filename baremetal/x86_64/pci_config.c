/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Configuration space: 4 KiB of memory for each function where the firmware's MCFG table says so
 * (PCIe 7.2.2), else 256 bytes through the address and data ports that every PC has (PCI 3.2.2.3.2).
 */
#include "machine.h"
#include "pci.h"
#include "x86.h"

#include <chalk/log.h>

enum { ADDRESS_PORT = 0xcf8, DATA_PORT = 0xcfc, BUS_SHIFT = 20 };
#define ADDRESS_ENABLE 0x80000000u

static struct chalk_lock ports;

unsigned pci_ranges(struct pci_range ranges[PCI_MAX_RANGES])
{
    unsigned count = 0;

    for (unsigned i = 0; i < acpi.segment_count && count < PCI_MAX_RANGES; i++) {
        uint64_t start = acpi.segments[i].base + ((uint64_t)acpi.segments[i].first_bus << BUS_SHIFT);
        uint64_t end = acpi.segments[i].base + ((acpi.segments[i].last_bus + 1ull) << BUS_SHIFT);

        if (memory_map_device(start, end - start, CHALK_UNCACHED) != 0) {
            chalk_log(CHALK_WARNING,
                      "pci: there can be no configuration space at 0x%lx, where the firmware's MCFG has it",
                      (unsigned long)start);
            continue;
        }
        ranges[count++] = (struct pci_range){acpi.segments[i].base, acpi.segments[i].segment,
                                             acpi.segments[i].first_bus, acpi.segments[i].last_bus};
    }
    if (count > 0)
        return count;
    out32(ADDRESS_PORT, ADDRESS_ENABLE);
    if (in32(ADDRESS_PORT) != ADDRESS_ENABLE) /* nobody answers there */
        return 0;
    ranges[0] = (struct pci_range){0, 0, 0, 255};
    return 1;
}

/* Selects the register for the data port, whose address it returns. The caller has taken `ports`. */
static uint16_t select_register(const struct chalk_device *device, unsigned offset)
{
    out32(ADDRESS_PORT,
          ADDRESS_ENABLE | (uint32_t)device->bus << 16 | (uint32_t)device->slot << 8 | (offset & ~3u));
    return (uint16_t)(DATA_PORT + (offset & 3));
}

static uint32_t port_read(const struct chalk_device *device, unsigned offset, unsigned width)
{
    if (offset >= CHALK_PCI_CONVENTIONAL_SIZE)
        return UINT32_MAX >> (32 - 8 * width);
    chalk_lock_take(&ports);
    uint16_t port = select_register(device, offset);
    uint32_t value = width == 1 ? in8(port) : width == 2 ? in16(port) : in32(port);
    chalk_lock_release(&ports);
    return value;
}

static void port_write(const struct chalk_device *device, unsigned offset, unsigned width, uint32_t value)
{
    if (offset >= CHALK_PCI_CONVENTIONAL_SIZE)
        return;
    chalk_lock_take(&ports);
    uint16_t port = select_register(device, offset);
    if (width == 1)
        out8(port, (uint8_t)value);
    else if (width == 2)
        out16(port, (uint16_t)value);
    else
        out32(port, value);
    chalk_lock_release(&ports);
}

/* Memory is read and written through eax: AMD's processors know no other form (BKDG family 10h, 2.11). */
uint32_t pci_read(const struct chalk_device *device, unsigned offset, unsigned width)
{
    uint32_t value = 0;

    if (device->space == NULL)
        return port_read(device, offset, width);
    volatile uint8_t *at = device->space + offset;
    if (width == 1)
        __asm__ volatile("movb %1, %b0" : "+a"(value) : "m"(*at) : "memory");
    else if (width == 2)
        __asm__ volatile("movw %1, %w0" : "+a"(value) : "m"(*(volatile uint16_t *)at) : "memory");
    else
        __asm__ volatile("movl %1, %0" : "+a"(value) : "m"(*(volatile uint32_t *)at) : "memory");
    return value;
}

void pci_write(const struct chalk_device *device, unsigned offset, unsigned width, uint32_t value)
{
    if (device->space == NULL) {
        port_write(device, offset, width, value);
        return;
    }
    volatile uint8_t *at = device->space + offset;
    if (width == 1)
        __asm__ volatile("movb %b1, %0" : "=m"(*at) : "a"(value) : "memory");
    else if (width == 2)
        __asm__ volatile("movw %w1, %0" : "=m"(*(volatile uint16_t *)at) : "a"(value) : "memory");
    else
        __asm__ volatile("movl %1, %0" : "=m"(*(volatile uint32_t *)at) : "a"(value) : "memory");
}

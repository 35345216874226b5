/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which addresses a device may answer at. Base address registers are the device's to read back, and firmware
 * makes mistakes; a device that decodes what belongs to another answers in its place, or takes its
 * interrupts. So a register is believed only if it names nothing of the processor's or the chipset's, nothing
 * of an open device's, and something that the bridges above the device pass on.
 */
#include "machine.h"
#include "pci.h"

#include <chalk/log.h>

/* SDM vol. 3 11.11.1: a write there is an interrupt message, whoever sends it. */
#define MESSAGES      0xfee00000ull
#define MESSAGES_LAST 0xfeefffffull
#define HPET_SIZE     1024 /* IA-PC HPET 1.0a 2.3.1 */
#define BUS_SIZE      (1ull << 20)

/* Offsets of a bridge's windows, and their upper halves (PCIe 7.5.1.3); both count in MiB. */
enum { MEMORY = 0x20, PREFETCHABLE = 0x24, PREFETCHABLE_HIGH = 0x28, WINDOW_IS_64 = 1 };
#define PROGRAMMING_SUBTRACTIVE 0x01 /* class code: passes on what nobody else takes */

/* The register is a multiple of its size, so that its last byte has an address (pci_header.c). */
static bool overlaps(const struct pci_bar *bar, uint64_t start, uint64_t last)
{
    return bar->memory && bar->size != 0 && bar->base != 0 && bar->base <= last &&
           start <= bar->base + bar->size - 1;
}

/* What of the machine's own lies where the register points, or NULL. */
static const char *owner(const struct pci_bar *bar)
{
    if (overlaps(bar, MESSAGES, MESSAGES_LAST))
        return "the interrupt messages of the local APIC";
    if (overlaps(bar, interrupt_registers(), interrupt_registers() + MEMORY_PAGE - 1))
        return "the local APIC";
    if (acpi.hpet != 0 && overlaps(bar, acpi.hpet, acpi.hpet + HPET_SIZE - 1))
        return "the HPET";
    for (unsigned i = 0; i < acpi.io_apic_count; i++)
        if (overlaps(bar, acpi.io_apics[i], acpi.io_apics[i] + MEMORY_PAGE - 1))
            return "an I/O APIC";
    for (unsigned i = 0; i < acpi.segment_count; i++)
        if (overlaps(bar, acpi.segments[i].base + acpi.segments[i].first_bus * BUS_SIZE,
                     acpi.segments[i].base + (acpi.segments[i].last_bus + 1) * BUS_SIZE - 1))
            return "configuration space";
    return NULL;
}

static bool within(const struct pci_bar *bar, uint64_t first, uint64_t last)
{
    return first <= bar->base && bar->base + bar->size - 1 <= last;
}

/* Whether a bridge passes on requests for all that the register names. */
static bool passes(const struct chalk_device *bridge, const struct pci_bar *bar)
{
    uint32_t memory = pci_read(bridge, MEMORY, 4), prefetchable = pci_read(bridge, PREFETCHABLE, 4);
    uint64_t first = (uint64_t)(prefetchable & 0xfff0) << 16, last = (prefetchable & 0xfff00000) | 0xfffff;

    if ((bridge->class_code & 0xff) == PROGRAMMING_SUBTRACTIVE)
        return true;
    if ((prefetchable & 15) == WINDOW_IS_64) {
        first |= (uint64_t)pci_read(bridge, PREFETCHABLE_HIGH, 4) << 32;
        last |= (uint64_t)pci_read(bridge, PREFETCHABLE_HIGH + 4, 4) << 32;
    }
    return within(bar, (uint64_t)(memory & 0xfff0) << 16, (memory & 0xfff00000) | 0xfffff) ||
           within(bar, first, last);
}

static bool is_sound(const struct chalk_device *device, unsigned index)
{
    const struct pci_bar *bar = &device->bars[index];
    const char *what = owner(bar);

    if (!bar->memory || bar->size == 0 || bar->base == 0)
        return true; /* names nothing */
    for (unsigned i = 0; i < index && what == NULL; i++)
        if (overlaps(&device->bars[i], bar->base, bar->base + bar->size - 1))
            what = "another of its registers";
    for (const struct chalk_device *bridge = device->bridge; bridge != NULL && what == NULL;
         bridge = bridge->bridge)
        if (!passes(bridge, bar))
            what = "no window of the bridges above it";
    if (what != NULL)
        chalk_log(
            CHALK_ERROR,
            "pci: %s: base address register %u (0x%lx, %lu KiB) is in %s; its registers are not used. The "
            "firmware, or the device, is at fault",
            device->name, index, (unsigned long)bar->base, (unsigned long)(bar->size / 1024), what);
    return what == NULL;
}

/* Whether no register of one device meets a register of the other. */
static bool are_apart(const struct chalk_device *device, const struct chalk_device *other)
{
    for (unsigned i = 0; i < 6; i++)
        for (unsigned j = 0; j < 6; j++)
            if (device->bars[i].memory && device->bars[i].size != 0 && device->bars[i].base != 0 &&
                overlaps(&other->bars[j], device->bars[i].base,
                         device->bars[i].base + device->bars[i].size - 1))
                return false;
    return true;
}

/* What two functions name is the open one's: one that is not open stops decoding. */
static bool settle(const struct chalk_device *device, struct chalk_device *other)
{
    uint32_t command;

    if (other->domain == NULL && !other->sized)
        pci_size_bars(other);
    if (are_apart(device, other))
        return true;
    if (other->domain != NULL && other->decodes) {
        chalk_log(
            CHALK_ERROR,
            "pci: %s names addresses of %s, which is open; its registers are not used. The firmware, or the "
            "device, is at fault",
            device->name, other->name);
        return false;
    }
    command = pci_read(other, CHALK_PCI_COMMAND, 2);
    if (command & CHALK_PCI_COMMAND_MEMORY) {
        chalk_log(CHALK_WARNING, "pci: %s names addresses of %s, and is switched off", other->name,
                  device->name);
        pci_write(other, CHALK_PCI_COMMAND, 2, command & ~(uint32_t)CHALK_PCI_COMMAND_MEMORY);
    }
    return true;
}

bool pci_claim_addresses(const struct chalk_device *device)
{
    struct chalk_device *other;
    bool sound = true;

    for (unsigned i = 0; i < 6; i++)
        sound &= is_sound(device, i);
    for (unsigned i = 0; sound && (other = pci_device(i)) != NULL; i++)
        if (other != device && other->header == 0 && !pci_is_chipset(other))
            sound = settle(device, other);
    return sound;
}

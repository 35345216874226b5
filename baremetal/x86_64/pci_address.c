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
#define MESSAGES_SIZE 0x100000ull
#define HPET_SIZE     1024 /* IA-PC HPET 1.0a 2.3.1 */
#define BUS_SIZE      (1ull << 20)
#define BAR_64        0x4u /* PCI 6.2.5.1, of a register of memory */

/* Offsets of a bridge's windows, and their upper halves (PCIe 7.5.1.3); both count in MiB. */
enum { MEMORY = 0x20, PREFETCHABLE = 0x24, PREFETCHABLE_HIGH = 0x28, WINDOW_IS_64 = 1 };
#define PROGRAMMING_SUBTRACTIVE 0x01 /* class code: passes on what nobody else takes */

/* The register is a multiple of its size, so that its last byte has an address (pci_header.c). */
static bool overlaps(const struct pci_bar *bar, uint64_t start, uint64_t last)
{
    return bar->memory && bar->size != 0 && bar->base != 0 && bar->base <= last &&
           start <= bar->base + bar->size - 1;
}

/* Whether the register meets `size` bytes at `start`; *behind is then their end. */
static bool meets(const struct pci_bar *bar, uint64_t start, uint64_t size, uint64_t *behind)
{
    *behind = start + size;
    return start != 0 && overlaps(bar, start, start + size - 1);
}

/* What of the machine's own lies where the register points, and where that ends; or NULL. */
static const char *owner(const struct pci_bar *bar, uint64_t *behind)
{
    if (meets(bar, MESSAGES, MESSAGES_SIZE, behind))
        return "the interrupt messages of the local APIC";
    if (meets(bar, interrupt_registers(), MEMORY_PAGE, behind))
        return "the local APIC";
    if (meets(bar, acpi.hpet, HPET_SIZE, behind))
        return "the HPET";
    for (unsigned i = 0; i < acpi.io_apic_count; i++)
        if (meets(bar, acpi.io_apics[i], MEMORY_PAGE, behind))
            return "an I/O APIC";
    for (unsigned i = 0; i < acpi.segment_count; i++)
        if (meets(bar, acpi.segments[i].base + acpi.segments[i].first_bus * BUS_SIZE,
                  (acpi.segments[i].last_bus - acpi.segments[i].first_bus + 1) * BUS_SIZE, behind))
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
    uint64_t behind;
    const char *what = owner(bar, &behind);

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

/* ---- addresses that no firmware gave out ---- */

/* The register that has some of [start, end), of this device or another, or of the machine's own: *behind is
 * its end. */
static bool is_taken(const struct chalk_device *device, const struct pci_bar *wanted, uint64_t *behind)
{
    struct chalk_device *other;

    if (owner(wanted, behind) != NULL)
        return true;
    for (unsigned i = 0; (other = pci_device(i)) != NULL; i++)
        for (unsigned j = 0; j < 6 && (other->header == 0 || other == device); j++)
            if (&other->bars[j] != wanted &&
                overlaps(&other->bars[j], wanted->base, wanted->base + wanted->size - 1)) {
                *behind = other->bars[j].base + other->bars[j].size;
                return true;
            }
    return false;
}

/* The lowest free address in a window for the register, whose base it sets; false: there is none below
 * `limit`. */
static bool place(const struct chalk_device *device, struct pci_bar *bar, uint64_t start, uint64_t end)
{
    uint64_t at = (start + bar->size - 1) & ~(bar->size - 1), behind;

    while (at >= start && at < end && bar->size <= end - at) {
        bar->base = at;
        if (!is_taken(device, bar, &behind))
            return true;
        at = (behind + bar->size - 1) & ~(bar->size - 1);
    }
    bar->base = 0;
    return false;
}

/*
 * Some virtual machines have no firmware that gives out addresses (QEMU's microvm), but say in the DSDT which
 * there are. On a root bus each register without one gets the lowest that is free; behind bridges they stay
 * without, since nobody has set the windows of those.
 */
static void give_addresses(struct chalk_device *device)
{
    const uint64_t end_of_32_bits = 1ull << 32;

    for (unsigned i = 0; i < 6 && device->bridge == NULL; i++) {
        struct pci_bar *bar = &device->bars[i];
        bool is_64 = pci_read(device, PCI_BAR + 4 * i, 4) & BAR_64;

        for (unsigned w = 0; w < acpi.window_count && bar->memory && bar->size != 0 && bar->base == 0; w++) {
            uint64_t end = acpi.windows[w].end;

            if (!place(device, bar, acpi.windows[w].start,
                       is_64 || end < end_of_32_bits ? end : end_of_32_bits))
                continue;
            pci_write(device, PCI_BAR + 4 * i, 4, (uint32_t)bar->base);
            if (is_64)
                pci_write(device, PCI_BAR + 4 * i + 4, 4, (uint32_t)(bar->base >> 32));
        }
    }
}

/* Functions that are not open have what firmware gave them, and that is known when all are sized. */
static void size_others(const struct chalk_device *device)
{
    struct chalk_device *other;

    for (unsigned i = 0; (other = pci_device(i)) != NULL; i++)
        if (other != device && other->header == 0 && !pci_is_chipset(other) && other->domain == NULL &&
            !other->sized)
            pci_size_bars(other);
}

bool pci_claim_addresses(struct chalk_device *device)
{
    struct chalk_device *other;
    bool sound = true;

    size_others(device);
    give_addresses(device);
    for (unsigned i = 0; i < 6; i++)
        sound &= is_sound(device, i);
    for (unsigned i = 0; sound && (other = pci_device(i)) != NULL; i++)
        if (other != device && other->header == 0 && !pci_is_chipset(other))
            sound = settle(device, other);
    return sound;
}

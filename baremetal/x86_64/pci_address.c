/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which addresses a device may answer at. Base address registers are the device's to read back, and firmware
 * makes mistakes; a device that decodes what belongs to another answers in its place, or takes its
 * interrupts. So a register is believed only if it names nothing of the processor's or the chipset's, nothing
 * of an open device's, and something that the bridges above the device pass on.
 *
 * What the registers of all functions name is looked up in a map of ranges, whose ranges lie apart. Those
 * that meet one in the map when they are added are in a list beside it, which is walked: of sound firmware
 * there are none.
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

static struct chalk_ranges apart;
static struct pci_place *meeting;
static bool all_sized; /* every function that is not open */

/* ---- what registers name ---- */

static void remove_places(struct chalk_device *device)
{
    for (unsigned i = 0; i < 6; i++) {
        struct pci_place *place = &device->places[i], **link = &meeting;

        if (place->mapped)
            chalk_range_remove(&apart, &place->range);
        while (place->meets && *link != place)
            link = &(*link)->next;
        if (place->meets)
            *link = place->next;
        *place = (struct pci_place){0};
    }
}

static void add_place(struct chalk_device *device, unsigned index)
{
    const struct pci_bar *bar = &device->bars[index];
    struct pci_place *place = &device->places[index];

    if (!bar->memory || bar->size == 0 || bar->base == 0)
        return; /* names nothing */
    *place = (struct pci_place){.range = {.first = bar->base, .last = bar->base + (bar->size - 1)},
                                .device = device,
                                .next = meeting};
    place->mapped = chalk_range_add(&apart, &place->range);
    place->meets = !place->mapped;
    if (place->meets)
        meeting = place;
}

static void add_places(struct chalk_device *device)
{
    for (unsigned i = 0; i < 6; i++)
        add_place(device, i);
}

/* The next place after `previous` (NULL: the first) that has some of [first, last]; NULL: no more. */
static struct pci_place *next_place(uint64_t first, uint64_t last, const struct pci_place *previous)
{
    struct pci_place *place = NULL;

    if (previous == NULL)
        place = (struct pci_place *)chalk_range_find(&apart, first, last);
    else if (previous->mapped && previous->range.last < last)
        place = (struct pci_place *)chalk_range_find(&apart, previous->range.last + 1, last);
    if (place != NULL)
        return place;
    place = previous != NULL && previous->meets ? previous->next : meeting;
    while (place != NULL && (place->range.first > last || place->range.last < first))
        place = place->next;
    return place;
}

void pci_forget_addresses(void)
{
    apart.root = NULL;
    meeting = NULL;
    all_sized = false;
}

/* ---- one register ---- */

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

/* ---- other functions ---- */

/* Whether it is open, and answers at its addresses. */
static bool answers(const struct chalk_device *device)
{
    return device->domain != NULL && device->decodes;
}

/* The next place of another function that has some of what the register names. */
static struct pci_place *next_met(const struct chalk_device *device, const struct pci_place *own,
                                  const struct pci_place *previous)
{
    struct pci_place *place = next_place(own->range.first, own->range.last, previous);

    while (place != NULL && (place->device == device || pci_is_chipset(place->device)))
        place = next_place(own->range.first, own->range.last, place);
    return place;
}

static bool meets_open_one(const struct chalk_device *device, const struct pci_place *own)
{
    for (const struct pci_place *met = NULL; (met = next_met(device, own, met)) != NULL;) {
        if (!answers(met->device))
            continue;
        chalk_log(
            CHALK_ERROR,
            "pci: %s names addresses of %s, which is open; its registers are not used. The firmware, or the "
            "device, is at fault",
            device->name, met->device->name);
        return true;
    }
    return false;
}

static void switch_off_others(const struct chalk_device *device, const struct pci_place *own)
{
    for (const struct pci_place *met = NULL; (met = next_met(device, own, met)) != NULL;) {
        const struct chalk_device *other = met->device;
        uint32_t command = pci_read(other, CHALK_PCI_COMMAND, 2);

        if (!(command & CHALK_PCI_COMMAND_MEMORY))
            continue;
        chalk_log(CHALK_WARNING, "pci: %s names addresses of %s, and is switched off", other->name,
                  device->name);
        pci_write(other, CHALK_PCI_COMMAND, 2, command & ~(uint32_t)CHALK_PCI_COMMAND_MEMORY);
    }
}

static bool names_memory(const struct pci_place *place)
{
    return place->mapped || place->meets;
}

/* What two functions name is the open one's: one that is not open stops decoding. */
static bool settle(const struct chalk_device *device)
{
    for (unsigned i = 0; i < 6; i++)
        if (names_memory(&device->places[i]) && meets_open_one(device, &device->places[i]))
            return false;
    for (unsigned i = 0; i < 6; i++)
        if (names_memory(&device->places[i]))
            switch_off_others(device, &device->places[i]);
    return true;
}

/* ---- addresses that no firmware gave out ---- */

/* Whether some of what the register would name is another's, or of the machine's own: *behind is its end. */
static bool is_taken(const struct pci_bar *wanted, uint64_t *behind)
{
    const struct pci_place *place;

    if (owner(wanted, behind) != NULL)
        return true;
    place = next_place(wanted->base, wanted->base + (wanted->size - 1), NULL);
    if (place != NULL)
        *behind = place->range.last + 1;
    return place != NULL;
}

/* The lowest free address in a window for the register, which gets it as its base. False: there is none.
 * Registers smaller than a page get one of their own. */
static bool find_address(struct pci_bar *bar, uint64_t start, uint64_t end)
{
    const uint64_t align = bar->size > MEMORY_PAGE ? bar->size : MEMORY_PAGE;
    uint64_t behind;

    while (start < end &&
           chalk_range_gap(&apart, start, end - 1, bar->size, align, CHALK_RANGE_LOWEST, &bar->base)) {
        if (!is_taken(bar, &behind))
            return true;
        if (behind <= start) /* beyond the last address */
            break;
        start = behind;
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
        bool is_64 = pci_read(device, CHALK_PCI_BAR + 4 * i, 4) & BAR_64;

        for (unsigned w = 0; w < acpi.window_count && bar->memory && bar->size != 0 && bar->base == 0; w++) {
            uint64_t end = acpi.windows[w].end;

            if (!find_address(bar, acpi.windows[w].start,
                              is_64 || end < end_of_32_bits ? end : end_of_32_bits))
                continue;
            add_place(device, i);
            pci_write(device, CHALK_PCI_BAR + 4 * i, 4, (uint32_t)bar->base);
            if (is_64)
                pci_write(device, CHALK_PCI_BAR + 4 * i + 4, 4, (uint32_t)(bar->base >> 32));
        }
    }
}

/* Functions that are not open have what firmware gave them, and that is known when all are sized. */
static void size_others(const struct chalk_device *device)
{
    struct chalk_device *other;

    for (unsigned i = 0; !all_sized && (other = pci_device(i)) != NULL; i++) {
        if (other == device || other->header != 0 || pci_is_chipset(other) || other->domain != NULL ||
            other->sized)
            continue;
        pci_size_bars(other);
        add_places(other);
    }
    all_sized = true;
}

bool pci_claim_addresses(struct chalk_device *device)
{
    bool sound = true;

    size_others(device);
    remove_places(device);
    add_places(device);
    give_addresses(device);
    for (unsigned i = 0; i < 6; i++)
        sound &= is_sound(device, i);
    return sound && settle(device);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a configuration header says, of which nothing is believed that cannot be: lists without end,
 * capabilities inside the header, sizes that are not powers of two.
 */
#include "pci.h"

#include <string.h>

enum {
    BAR_PORTS = 1, /* PCI 6.2.5.1 */
    BAR_TYPE = 6,
    BAR_TYPE_32 = 0,
    BAR_TYPE_64 = 4,
};

static int read_space(void *device, unsigned offset, unsigned width, uint32_t *value)
{
    *value = pci_read(device, offset, width);
    return 0;
}

uint8_t pci_capability(struct chalk_device *device, uint8_t id)
{
    unsigned at;

    return chalk_pci_find(&(struct chalk_pci_space){read_space, device}, id, 0, &at) == 0 ? (uint8_t)at : 0;
}

unsigned pci_extended_capability(struct chalk_device *device, uint16_t id)
{
    unsigned at;

    return chalk_pci_find_extended(&(struct chalk_pci_space){read_space, device}, id, 0, &at) == 0 ? at : 0;
}

/* Which bits of the register at `offset` can be written. */
static uint32_t probe(const struct chalk_device *device, unsigned offset, uint32_t value)
{
    pci_write(device, offset, 4, UINT32_MAX);
    uint32_t mask = pci_read(device, offset, 4);
    pci_write(device, offset, 4, value);
    return mask;
}

/* The size that follows from the address bits that can be written: the lowest, if they are all next to each
 * other. */
static uint64_t size_from(uint64_t mask)
{
    uint64_t size = mask & -mask, above = mask + size;

    return (above & (above - 1)) == 0 ? size : 0;
}

/* Register i and, if it is half of a 64-bit one, i + 1; returns how many registers that was. */
static unsigned size_bar(struct chalk_device *device, unsigned i)
{
    unsigned offset = CHALK_PCI_BAR + 4 * i;
    uint32_t low = pci_read(device, offset, 4), low_mask = probe(device, offset, low);
    struct pci_bar *bar = &device->bars[i];

    if (low & BAR_PORTS) {
        bar->base = low & ~3u;
        bar->size = (low_mask & 0xfffc) & -(low_mask & 0xfffc); /* some implement sixteen bits only */
        return 1;
    }
    bar->memory = true;
    bar->base = low & ~15u;
    if ((low & BAR_TYPE) == BAR_TYPE_32) {
        bar->size = size_from(low_mask & ~15u);
    } else if ((low & BAR_TYPE) == BAR_TYPE_64 && i < 5) {
        uint32_t high = pci_read(device, offset + 4, 4);
        bar->base |= (uint64_t)high << 32;
        bar->size = size_from((low_mask & ~15u) | (uint64_t)probe(device, offset + 4, high) << 32);
    }
    if (bar->size == 0 || bar->base % bar->size != 0)
        *bar = (struct pci_bar){0};
    return (low & BAR_TYPE) == BAR_TYPE_64 ? 2 : 1;
}

void pci_size_bars(struct chalk_device *device)
{
    uint32_t command = pci_read(device, CHALK_PCI_COMMAND, 2);

    memset(device->bars, 0, sizeof(device->bars));
    /* Or it would answer, while its registers hold ones, at addresses that belong to others. */
    pci_write(device, CHALK_PCI_COMMAND, 2,
              command & ~(uint32_t)(CHALK_PCI_COMMAND_IO | CHALK_PCI_COMMAND_MEMORY));
    for (unsigned i = 0; i < 6;)
        i += size_bar(device, i);
    pci_write(device, CHALK_PCI_COMMAND, 2, command);
    device->sized = true;
}

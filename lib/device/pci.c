/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The configuration space of a PCI function. What it says comes from the device, so nothing of it is believed
 * further than it can be checked; a read of all ones means that the device is gone (PCIe 5.0 2.3.2).
 */
#include <chalk/device.h>
#include <chalk/error.h>
#include <chalk/pci.h>

#define POINTER_MASK 0xfcu /* capabilities are dwords */

/* PCIe 7.6: an extended capability has its header and one dword at least, so no more fit. */
#define EXTENDED_MAX ((CHALK_PCI_EXTENDED_SIZE - CHALK_PCI_CONVENTIONAL_SIZE) / 8)

/* The list's head. -ENOENT: there is no list. */
static int first(const struct chalk_pci_space *space, uint32_t *pointer)
{
    uint32_t status;
    int error = space->read(space->owner, CHALK_PCI_STATUS, 2, &status);

    if (error != 0)
        return error;
    if (status == 0xffff) /* reserved bits of it are 0 in a device that is there */
        return -ENODEV;
    if ((status & CHALK_PCI_STATUS_CAPS) == 0)
        return -ENOENT;
    return space->read(space->owner, CHALK_PCI_CAPABILITIES, 1, pointer);
}

int chalk_pci_find(const struct chalk_pci_space *space, uint8_t id, unsigned n, unsigned *offset)
{
    uint64_t seen = 0; /* a bit for each dword: a list that comes back to one has no end */
    uint32_t value;
    int error = first(space, &value);

    while (error == 0) {
        unsigned at = value & POINTER_MASK;

        if (at == 0)
            return -ENOENT;
        if (at < CHALK_PCI_HEADER_END || (seen >> at / 4 & 1) != 0)
            return -EPROTO;
        seen |= 1ull << at / 4;
        error = space->read(space->owner, at, 2, &value);
        if (error == 0 && value == 0xffff)
            error = -ENODEV;
        if (error == 0 && (value & 0xff) == id && n-- == 0) {
            *offset = at;
            return 0;
        }
        value >>= 8;
    }
    return error;
}

int chalk_pci_find_extended(const struct chalk_pci_space *space, uint16_t id, unsigned n, unsigned *offset)
{
    unsigned at = CHALK_PCI_CONVENTIONAL_SIZE;

    for (unsigned i = 0; i < EXTENDED_MAX; i++) {
        uint32_t head;
        int error = space->read(space->owner, at, 4, &head);

        if (error != 0)
            return error;
        if (head == UINT32_MAX && i != 0)
            return -ENODEV;
        if (head == 0 || head == UINT32_MAX) /* no list, or no such space: a conventional function */
            return -ENOENT;
        if ((head & 0xffff) == id && n-- == 0) {
            *offset = at;
            return 0;
        }
        at = head >> 20 & ~3u;
        if (at == 0)
            return -ENOENT;
        if (at < CHALK_PCI_CONVENTIONAL_SIZE)
            return -EPROTO;
    }
    return -EPROTO;
}

static int read_config(void *device, unsigned offset, unsigned width, uint32_t *value)
{
    return chalk_config_read(device, offset, width, value);
}

int chalk_pci_capability(struct chalk_device *device, uint8_t id, unsigned n, unsigned *offset)
{
    return chalk_pci_find(&(struct chalk_pci_space){read_config, device}, id, n, offset);
}

int chalk_pci_extended_capability(struct chalk_device *device, uint16_t id, unsigned n, unsigned *offset)
{
    return chalk_pci_find_extended(&(struct chalk_pci_space){read_config, device}, id, n, offset);
}

int chalk_pci_bus_master(struct chalk_device *device, bool on)
{
    uint32_t command;
    int error;

    error = chalk_config_read(device, CHALK_PCI_COMMAND, 2, &command);
    if (error)
        return error;
    if (command == 0xffff)
        return -ENODEV;
    command |= CHALK_PCI_COMMAND_MEMORY;
    if (on)
        command |= CHALK_PCI_COMMAND_MASTER;
    else
        command &= ~(uint32_t)CHALK_PCI_COMMAND_MASTER;
    return chalk_config_write(device, CHALK_PCI_COMMAND, 2, command);
}

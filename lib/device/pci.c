/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The configuration header of a PCI function. What it says comes from the device, so nothing of it is
 * believed further than it can be checked; a read of all ones means that the device is gone (PCIe 5.0 2.3.2).
 */
#include <chalk/device.h>
#include <chalk/error.h>

/* PCI 3.0 6.7: the header ends at 0x40, capabilities are dwords in the rest of the first 256 bytes. */
#define HEADER_END   0x40u
#define POINTER_MASK 0xfcu

int chalk_pci_capability(struct chalk_device *device, uint8_t id, unsigned n, unsigned *offset)
{
    uint64_t seen = 0; /* a bit for each dword: a list that comes back to one has no end */
    uint32_t value;
    int error;

    error = chalk_config_read(device, CHALK_PCI_STATUS, 2, &value);
    if (error)
        return error;
    if (value == 0xffff) /* reserved bits of it are 0 in a device that is there */
        return -ENODEV;
    if (!(value & CHALK_PCI_STATUS_CAPS))
        return -ENOENT;
    error = chalk_config_read(device, CHALK_PCI_CAPABILITIES, 1, &value);
    for (;;) {
        if (error)
            return error;
        unsigned at = value & POINTER_MASK;
        if (at == 0)
            return -ENOENT;
        if (at < HEADER_END || seen >> at / 4 & 1)
            return -EPROTO;
        seen |= 1ull << at / 4;
        error = chalk_config_read(device, at, 2, &value);
        if (error)
            return error;
        if (value == 0xffff)
            return -ENODEV;
        if ((value & 0xff) == id && n-- == 0) {
            *offset = at;
            return 0;
        }
        value >>= 8;
    }
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

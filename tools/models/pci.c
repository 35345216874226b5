/* SPDX-License-Identifier: BSD-2-Clause */
/* See pci.h. */
#include "pci.h"

#include <string.h>

#include <chalk/device.h>

#define EXPRESS 0x40 /* offsets of the capabilities */
#define MSIX    0x80

static void put(struct pci *pci, unsigned offset, unsigned width, uint64_t value, uint64_t writable)
{
    memcpy(pci->bytes + offset, &value, width);
    memcpy(pci->writable + offset, &writable, width);
}

void pci_init(struct pci *pci, const struct pci_identity *identity, unsigned vectors)
{
    memset(pci, 0, sizeof *pci);
    put(pci, CHALK_PCI_VENDOR, 2, identity->vendor, 0);
    put(pci, CHALK_PCI_DEVICE, 2, identity->device, 0);
    put(pci, CHALK_PCI_COMMAND, 2, 0,
        CHALK_PCI_COMMAND_MEMORY | CHALK_PCI_COMMAND_MASTER | CHALK_PCI_COMMAND_NO_INTX);
    put(pci, CHALK_PCI_STATUS, 2, CHALK_PCI_STATUS_CAPS, 0);
    put(pci, CHALK_PCI_REVISION, 4, identity->class_code << 8 | identity->revision, 0);
    put(pci, CHALK_PCI_SUBSYSTEM, 2, identity->vendor, 0);
    put(pci, CHALK_PCI_SUBSYSTEM + 2, 2, identity->device, 0);
    put(pci, CHALK_PCI_CAPABILITIES, 1, EXPRESS, 0);
    put(pci, CHALK_PCI_INTERRUPT, 1, 0, 0xff);
    put(pci, CHALK_PCI_INTERRUPT + 1, 1, vectors == 0 ? 1 : 0, 0);

    /* An endpoint that can reset its function (PCIe 7.5.3.3, bit 28). */
    put(pci, EXPRESS, 2, CHALK_PCI_CAP_EXPRESS | (vectors != 0 ? MSIX << 8 : 0), 0);
    put(pci, EXPRESS + CHALK_PCI_EXPRESS_FLAGS, 2, 0x0002, 0);
    put(pci, EXPRESS + CHALK_PCI_EXPRESS_CAPABILITIES, 4, CHALK_PCI_EXPRESS_HAS_RESET | 1u << 15, 0);
    if (vectors == 0)
        return;
    put(pci, MSIX, 2, CHALK_PCI_CAP_MSIX, 0);
    put(pci, MSIX + CHALK_PCI_MSIX_CONTROL, 2, vectors - 1,
        CHALK_PCI_MSIX_CONTROL_ON | CHALK_PCI_MSIX_CONTROL_MASK);
    put(pci, MSIX + CHALK_PCI_MSIX_TABLE, 4, identity->msix_table | identity->msix_bar, 0);
    put(pci, MSIX + CHALK_PCI_MSIX_PENDING, 4, identity->msix_pending | identity->msix_bar, 0);
}

void pci_add_bar(struct pci *pci, unsigned bar, uint64_t size)
{
    put(pci, CHALK_PCI_BAR + 4 * bar, 4, 0, ~(size - 1)); /* memory, 32 bits */
}

void pci_read(const struct pci *pci, unsigned offset, void *bytes, unsigned size)
{
    memcpy(bytes, pci->bytes + offset, size);
}

void pci_write(struct pci *pci, unsigned offset, const void *bytes, unsigned size)
{
    const uint8_t *from = bytes;

    for (unsigned i = offset; i < offset + size; i++, from++)
        pci->bytes[i] = (uint8_t)((pci->bytes[i] & ~pci->writable[i]) | (*from & pci->writable[i]));
}

bool pci_masters(const struct pci *pci)
{
    return (pci->bytes[CHALK_PCI_COMMAND] & CHALK_PCI_COMMAND_MASTER) != 0;
}

void pci_reset(struct pci *pci)
{
    put(pci, CHALK_PCI_COMMAND, 2, 0,
        CHALK_PCI_COMMAND_MEMORY | CHALK_PCI_COMMAND_MASTER | CHALK_PCI_COMMAND_NO_INTX);
    pci->bytes[MSIX + 3] &= 0x3f;
}

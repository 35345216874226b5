/* SPDX-License-Identifier: BSD-2-Clause */
/* The configuration space of a model: a header, base address registers, two capabilities. Source: PCI Local
 * Bus 3.0 6, PCI Express Base 5.0 7.5. */
#ifndef MODEL_PCI_H
#define MODEL_PCI_H

#include <stdbool.h>
#include <stdint.h>

#define PCI_SPACE 256

struct pci_identity {
    uint16_t vendor, device;
    uint32_t class_code;
    uint8_t revision;
    unsigned msix_bar; /* where the MSI-X table is, if it has vectors */
    uint32_t msix_table, msix_pending;
};

struct pci {
    uint8_t bytes[PCI_SPACE];
    uint8_t writable[PCI_SPACE]; /* which bits */
};

void pci_init(struct pci *pci, const struct pci_identity *identity, unsigned vectors);
/* `size` is a power of two of at least 16. */
void pci_add_bar(struct pci *pci, unsigned bar, uint64_t size);
/* Both lie in the space. */
void pci_read(const struct pci *pci, unsigned offset, void *bytes, unsigned size);
void pci_write(struct pci *pci, unsigned offset, const void *bytes, unsigned size);

/* Whether it may read and write memory. */
bool pci_masters(const struct pci *pci);
/* Command register and MSI-X as after power on. */
void pci_reset(struct pci *pci);

#endif

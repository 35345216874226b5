/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The configuration space of a PCI function: its registers, and its lists of capabilities. Drivers, both
 * platforms and device models take each number from here.
 *
 * Sources: PCI Local Bus 3.0 ("PCI"), PCI Express Base 5.0 ("PCIe").
 */
#ifndef CHALK_PCI_H
#define CHALK_PCI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CHALK_PCI_CONVENTIONAL_SIZE 256u  /* bytes: the header, and capabilities behind it */
#define CHALK_PCI_EXTENDED_SIZE     4096u /* bytes: extended capabilities are in the rest (PCIe 7.2.2) */

/* The header (PCI 6.1; of bridges: PCIe 7.5.1.3) */
#define CHALK_PCI_VENDOR          0x00
#define CHALK_PCI_DEVICE          0x02
#define CHALK_PCI_COMMAND         0x04
#define CHALK_PCI_COMMAND_IO      0x0001
#define CHALK_PCI_COMMAND_MEMORY  0x0002
#define CHALK_PCI_COMMAND_MASTER  0x0004
#define CHALK_PCI_COMMAND_NO_INTX 0x0400
#define CHALK_PCI_STATUS          0x06
#define CHALK_PCI_STATUS_CAPS     0x0010
#define CHALK_PCI_REVISION        0x08 /* and the class code in the bytes above it */
#define CHALK_PCI_CACHE_LINE      0x0c
#define CHALK_PCI_HEADER_TYPE     0x0e
#define CHALK_PCI_HEADER_MULTIPLE 0x80 /* the device has other functions */
#define CHALK_PCI_BAR             0x10 /* six registers, of bridges two */
#define CHALK_PCI_BRIDGE_BUSES    0x18 /* primary, secondary, subordinate */
#define CHALK_PCI_SUBSYSTEM       0x2c /* vendor, and the device in the two bytes above it */
#define CHALK_PCI_ROM             0x30
#define CHALK_PCI_CAPABILITIES    0x34
#define CHALK_PCI_INTERRUPT       0x3c /* the line, and the pin in the byte above it */
#define CHALK_PCI_HEADER_END      0x40

/* Identifiers of capabilities (PCI Appendix H) */
#define CHALK_PCI_CAP_POWER    0x01
#define CHALK_PCI_CAP_MSI      0x05
#define CHALK_PCI_CAP_VENDOR   0x09
#define CHALK_PCI_CAP_EXPRESS  0x10
#define CHALK_PCI_CAP_MSIX     0x11
#define CHALK_PCI_CAP_ADVANCED 0x13

/* Identifiers of extended capabilities (PCIe 7.8, 7.9, 9.3) */
#define CHALK_PCI_EXTENDED_ARI   0x000e
#define CHALK_PCI_EXTENDED_SRIOV 0x0010

/* Offsets in the power management capability (PCIe 7.5.2) */
#define CHALK_PCI_POWER_CONTROL       0x04
#define CHALK_PCI_POWER_STATE         0x0003u
#define CHALK_PCI_POWER_D3HOT         0x0003u
#define CHALK_PCI_POWER_NO_SOFT_RESET 0x0008u

/* In the MSI capability (PCI 6.8.1) */
#define CHALK_PCI_MSI_CONTROL       0x02
#define CHALK_PCI_MSI_CONTROL_ON    0x0001u
#define CHALK_PCI_MSI_CONTROL_COUNT 0x0070u
#define CHALK_PCI_MSI_CONTROL_64    0x0080u
#define CHALK_PCI_MSI_CONTROL_MASK  0x0100u
#define CHALK_PCI_MSI_ADDRESS       0x04

/* In the MSI-X capability (PCI 6.8.2) */
#define CHALK_PCI_MSIX_CONTROL       0x02
#define CHALK_PCI_MSIX_CONTROL_ON    0x8000u
#define CHALK_PCI_MSIX_CONTROL_MASK  0x4000u
#define CHALK_PCI_MSIX_CONTROL_SIZE  0x07ffu /* entries of the table less one */
#define CHALK_PCI_MSIX_TABLE         0x04 /* a BAR's number in bits 2:0; the rest is an offset in that BAR */
#define CHALK_PCI_MSIX_PENDING       0x08 /* the same, of the pending bits */
#define CHALK_PCI_MSIX_BAR           0x7u
/* and in an entry of its table */
#define CHALK_PCI_MSIX_ENTRY_SIZE    16u
#define CHALK_PCI_MSIX_ENTRY_ADDRESS 0
#define CHALK_PCI_MSIX_ENTRY_DATA    8
#define CHALK_PCI_MSIX_ENTRY_CONTROL 12
#define CHALK_PCI_MSIX_ENTRY_MASKED  1u

/* In the PCI Express capability (PCIe 7.5.3) */
#define CHALK_PCI_EXPRESS_FLAGS        0x02 /* version in bits 3:0 */
#define CHALK_PCI_EXPRESS_CAPABILITIES 0x04
#define CHALK_PCI_EXPRESS_HAS_RESET    0x10000000u
#define CHALK_PCI_EXPRESS_CONTROL      0x08
#define CHALK_PCI_EXPRESS_RESET        0x8000u
#define CHALK_PCI_EXPRESS_STATUS       0x0a
#define CHALK_PCI_EXPRESS_PENDING      0x0020u
#define CHALK_PCI_EXPRESS_LINK_CONTROL 0x10
#define CHALK_PCI_EXPRESS_CONTROL_2    0x28

/* In the Advanced Features capability (Advanced Capabilities for Conventional PCI ECN) */
#define CHALK_PCI_ADVANCED_CAPABILITIES 0x03
#define CHALK_PCI_ADVANCED_HAS_RESET    0x03 /* function-level reset, and a bit for pending transactions */
#define CHALK_PCI_ADVANCED_CONTROL      0x04
#define CHALK_PCI_ADVANCED_RESET        0x01
#define CHALK_PCI_ADVANCED_STATUS       0x05
#define CHALK_PCI_ADVANCED_PENDING      0x01

/* How the configuration space of a function is read: `offset` is a multiple of `width` (1, 2 or 4 bytes) and
 * below CHALK_PCI_EXTENDED_SIZE. Returns 0 or a negative error, which ends the search. */
struct chalk_pci_space {
    int (*read)(void *owner, unsigned offset, unsigned width, uint32_t *value);
    void *owner;
};

/*
 * Finds the n-th capability `id`, n from 0, in the list that the device supplies (PCI 6.7; PCIe 7.6 of the
 * extended ones). A search ends, whatever the device says. Errors: -ENOENT, -ENODEV (all bits read as ones:
 * the device is gone), -EPROTO (a list that leaves its part of the space, or has no end), those of `read`.
 */
int chalk_pci_find(const struct chalk_pci_space *space, uint8_t id, unsigned n, unsigned *offset);
int chalk_pci_find_extended(const struct chalk_pci_space *space, uint16_t id, unsigned n, unsigned *offset);

#ifdef __cplusplus
}
#endif
#endif

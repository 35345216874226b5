/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every PCI driver needs on top of the platform's device calls: registers of the configuration header,
 * capabilities, bus mastering, and finding devices. Source: PCI Local Bus 3.0, PCI Express Base 5.0
 * chapter 7.
 */
#ifndef CHALK_DEVICE_H
#define CHALK_DEVICE_H

#include <chalk/platform.h>

#ifdef __cplusplus
extern "C" {
#endif

/* PCI 3.0 6.1, and its Appendix D for class codes */
#define CHALK_PCI_COMMAND         0x04
#define CHALK_PCI_COMMAND_MEMORY  0x0002
#define CHALK_PCI_COMMAND_MASTER  0x0004
#define CHALK_PCI_COMMAND_NO_INTX 0x0400
#define CHALK_PCI_STATUS          0x06
#define CHALK_PCI_STATUS_CAPS     0x0010
#define CHALK_PCI_CAPABILITIES    0x34

#define CHALK_PCI_CAP_MSI     0x05
#define CHALK_PCI_CAP_VENDOR  0x09
#define CHALK_PCI_CAP_EXPRESS 0x10
#define CHALK_PCI_CAP_MSIX    0x11

#define CHALK_CLASS_NVME 0x010802

/*
 * The offset of capability `id` (of the n-th of them, n from 0), at most 48 steps along a list that the
 * device supplies. Errors: -ENOENT, -EPROTO (a list that leaves the header or has no end), as
 * chalk_config_read().
 */
int chalk_pci_capability(struct chalk_device *device, uint8_t id, unsigned n, unsigned *offset);

/*
 * Turns DMA (bus mastering) on or off. While it is off the device can neither read nor write memory, nor send
 * MSI [PCI 3.0 6.2.2]. An open device answers accesses to its registers without this call: opening turned
 * memory decoding on, and this call turns it on again if it was turned off since. Errors: as
 * chalk_config_write().
 */
int chalk_pci_bus_master(struct chalk_device *device, bool on);

/* The first device on the bus with this class code. Errors: -ENOENT. */
int chalk_bus_find(uint32_t class_code, struct chalk_bus_info *info);

/* Fills `info` for the device of that name. Errors: -ENOENT. */
int chalk_bus_lookup(const char *name, struct chalk_bus_info *info);

#ifdef __cplusplus
}
#endif
#endif

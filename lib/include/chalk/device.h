/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every PCI driver needs on top of the platform's device calls: registers of the configuration header,
 * capabilities, bus mastering, and finding devices; and <chalk/mmio.h>, for their windows. Source: PCI Local
 * Bus 3.0, PCI Express Base 5.0 chapter 7.
 */
#ifndef CHALK_DEVICE_H
#define CHALK_DEVICE_H

#include <chalk/mmio.h>
#include <chalk/pci.h>
#include <chalk/platform.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Class codes (PCI 3.0 Appendix D) */
#define CHALK_CLASS_NVME 0x010802

/* chalk_pci_find() and chalk_pci_find_extended() in the device's configuration space. Errors: theirs, and
 * those of chalk_config_read(). */
int chalk_pci_capability(struct chalk_device *device, uint8_t id, unsigned n, unsigned *offset);
int chalk_pci_extended_capability(struct chalk_device *device, uint16_t id, unsigned n, unsigned *offset);

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

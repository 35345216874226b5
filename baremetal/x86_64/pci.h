/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files about PCI share: one function on the bus, and how its configuration space is reached.
 *
 *   pci_config.c  configuration space, in memory (ECAM) or by ports
 *   pci_header.c  what a header says: capabilities, base address registers
 *   pci_address.c which of these are believed
 *   pci.c         the scan of the bus
 *   device.c      devices that somebody opened
 *   domain.c      what they may touch
 *   msi.c         their interrupts
 *
 * Numbers in comments: PCI Local Bus 3.0 ("PCI"), PCI Express Base 5.0 ("PCIe").
 */
#ifndef CHALK_BAREMETAL_PCI_H
#define CHALK_BAREMETAL_PCI_H

#include <chalk/device.h>
#include <chalk/range.h>
#include <stdatomic.h>

#define PCI_CLASS_BASE(class) ((class) >> 16)
#define PCI_CLASS_BASE_BRIDGE 0x06

/* One base address register (PCI 6.2.5.1). */
struct pci_bar {
    uint64_t base; /* 0: firmware gave it no address */
    uint64_t size; /* 0: there is no such register */
    bool memory;   /* else ports */
};

/* Memory that a base address register names: of pci_address.c. */
struct pci_place {
    struct chalk_range range; /* of addresses; first, so that one is found by the other */
    struct chalk_device *device;
    struct pci_place *next; /* of those that meet another one */
    bool mapped;            /* it is among those that meet no other */
    bool meets;             /* it is in that list */
};

/* One function. Those that scans found stay as they are; the second half is valid while it is open. */
struct chalk_device {
    struct chalk_range position; /* of pci.c: where it is on the bus; first, as above */
    volatile uint8_t *space;     /* its configuration space; NULL: by ports */
    struct chalk_device *bridge; /* that leads to its bus; NULL: a root bus */
    uint16_t segment;
    uint8_t bus, slot; /* slot: device << 3 | function */
    uint8_t header;    /* 0: an endpoint, 1: a bridge */
    uint8_t revision;
    uint16_t vendor, device, subsystem_vendor, subsystem_device;
    uint32_t class_code;
    char name[16];

    struct chalk_domain *domain; /* NULL: closed */
    struct pci_bar bars[6];
    struct pci_place places[6];                  /* of bars */
    bool sized;                                  /* bars is filled in */
    bool decodes;                                /* memory, at what bars says; else they are not believed */
    uint8_t express, power, advanced, msi, msix; /* offsets of capabilities, 0: none */
    bool msix_on;
    unsigned vector_count;
    uintptr_t msix_table;
};

/* ---- pci_config.c ---- */
/* Buses whose configuration space is reached in one way. */
struct pci_range {
    uintptr_t space; /* of bus 0, whether or not the range has it; 0: ports */
    uint16_t segment;
    uint8_t first, last;
};
#define PCI_MAX_RANGES 8
/* Maps configuration space, and returns how many ranges there are; 0: this machine has no PCI. */
unsigned pci_ranges(struct pci_range ranges[PCI_MAX_RANGES]);
/* `offset` is aligned, and below 4096; beyond what the machine can reach everything reads as ones. */
uint32_t pci_read(const struct chalk_device *device, unsigned offset, unsigned width);
void pci_write(const struct chalk_device *device, unsigned offset, unsigned width, uint32_t value);

/* ---- pci_header.c ---- */
/* The offset of the first capability `id`; 0: none. */
uint8_t pci_capability(struct chalk_device *device, uint8_t id);
/* The offset of the first extended capability `id` (PCIe 7.6.3); 0: none, or the space cannot be reached. */
unsigned pci_extended_capability(struct chalk_device *device, uint16_t id);
/* Fills device->bars. Decoding is off for a moment; afterwards the command register is as before. */
void pci_size_bars(struct chalk_device *device);

/* ---- pci_address.c ---- */
/*
 * Gives addresses to registers that have none, where firmware says which there are and gives out none
 * (acpi.windows). Whether the device, which is about to be opened and whose bars are sized, may decode
 * memory; if not, why is logged. Functions that are not open, and name the same addresses, stop decoding
 * theirs. One call at a time.
 */
bool pci_claim_addresses(struct chalk_device *device);
/* All functions are others from now on. */
void pci_forget_addresses(void);

/* ---- pci.c ---- */
/* Whether it is a bridge to the host, ISA, EISA or MCA: the chipset's, which stays as it is. */
bool pci_is_chipset(const struct chalk_device *device);
/* The i-th function on the bus, or NULL. */
struct chalk_device *pci_device(unsigned i);
/* The function at that place, or NULL. */
struct chalk_device *pci_find(unsigned segment, unsigned bus, unsigned slot);

/* ---- device.c ---- */
/* Ends the program, with a message, if the device is not open. `call` is the contract's function that has got
 * it. */
void device_check(const struct chalk_device *device, const char *call);

/* ---- domain.c ---- */
/* A domain with one more device in it, a new one for NULL. Returns NULL if there is no memory for a record of
 * it. */
struct chalk_domain *domain_join(struct chalk_domain *domain);
/* One device less; with the last one it and all that was mapped in it are gone. */
void domain_leave(struct chalk_domain *domain);

/* ---- msi.c ---- */
/* Interrupts off, whatever the firmware left, and nothing attached. */
void msi_reset(struct chalk_device *device);
/* The device has forgotten its interrupts in a reset: programs those that are attached. */
void msi_restore(struct chalk_device *device);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the bare-metal platform know of each other. Order of start: boot.S (long mode, first page
 * tables) -> boot.c (what the loader said) -> serial, cpu, interrupts -> acpi -> memory (final page tables,
 * spans) -> clock -> pci (bus mastering off everywhere, before any span is handed out) -> libc -> chalk_main().
 */
#ifndef CHALK_BAREMETAL_MACHINE_H
#define CHALK_BAREMETAL_MACHINE_H

#include <chalk/platform.h>

/* ---- boot.c: what the loader said, copied out of its memory ---- */
struct boot_range { /* RAM free for use */
    uint64_t start, end;
};
struct boot_module {
    uint64_t start, end;
    char name[24];
};
struct boot {
    uint64_t rsdp; /* physical address of the ACPI root pointer; 0: search the BIOS areas */
    char command_line[1024];
    struct boot_range ram[64];
    unsigned ram_count;
    struct boot_module modules[8];
    unsigned module_count;
};
extern struct boot boot;

/* ---- acpi.c: what the firmware's tables say, checked (ACPI 6.5) ---- */
#define ACPI_MAX_CORES    64
#define ACPI_MAX_SEGMENTS 8
struct acpi {
    uint32_t apic_ids[ACPI_MAX_CORES]; /* enabled processors, MADT order */
    unsigned core_count;
    uint64_t local_apic;
    struct {
        uint64_t base; /* of the configuration space of bus 0 */
        uint16_t segment;
        uint8_t first_bus, last_bus;
    } segments[ACPI_MAX_SEGMENTS];
    unsigned segment_count;
    uint64_t hpet;            /* 0: none */
    uint16_t pm1a_control, pm1b_control; /* I/O ports, 0: none */
    uint16_t sleep_type_a, sleep_type_b; /* of \_S5_, for power-off; 0xffff: unknown */
    uint16_t pm_timer; /* I/O port, 0: none */
};
extern struct acpi acpi;
/* Fills `acpi` from tables reached through `read`-able identity-mapped memory. 0, or a negative errno and a message. */
int acpi_discover(uint64_t rsdp);

/* ---- memory.c ---- */
/* Makes physical memory of a device accessible at its own address (identity), with this attribute; -ENOMEM. */
int memory_map_device(uint64_t physical, size_t size, enum chalk_attribute attribute);

/* ---- interrupts.c ---- */
/*
 * A processor vector on `core` that makes `counter` go up inside chalk_core_wait(): for MSI and MSI-X.
 * Returns the vector (0x30-0xef), or -ENOSPC.
 */
int interrupt_attach(unsigned core, _Atomic(uint32_t) *counter);
void interrupt_detach(unsigned core, int vector);
uint32_t cpu_apic_id(unsigned core);

/* ---- pci.c ---- */
/* Scans the bus and clears bus mastering on every endpoint: firmware leaves devices running. */
int pci_start(void);

/* ---- serial.c ---- */
void serial_start(void);
void serial_write(const char *bytes, size_t size);
void serial_drain(void);

/* ---- panic.c ---- */
_Noreturn void panic(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif

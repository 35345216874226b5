/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the bare-metal platform know of each other. start.c has the order in which they start.
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
    unsigned core_count; /* 0: the firmware told of none, and only the boot processor is known */
    uint64_t local_apic; /* 0: not told */
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
    /* PM1 works after smi_acpi_enable was written to port smi_command (4.8.2.5); either 0: it works already. */
    uint16_t smi_command;
    uint8_t smi_acpi_enable;
};
extern struct acpi acpi;
/* Fills `acpi` from tables reached through `read`-able identity-mapped memory. 0, or a negative errno and a message. */
int acpi_discover(uint64_t rsdp);

/* ---- start.c ---- */
/* Says what makes it impossible to go on, and the cure, on the console; ends with status 1. */
_Noreturn void machine_refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- exit.c ---- */
/* Ends at once; chalk_exit() is for a program, and gives libc its last turn. */
_Noreturn void machine_exit(int status);

/* ---- boot.c ---- */
/* Copies what the loader left: `magic` Multiboot2's, or 0 for PVH; `information` the loader's structure. */
void boot_parse(uint32_t magic, uint64_t information);

/* ---- cpu.c ---- */
struct trap_frame { /* as trap.S and the processor leave it */
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector, error, rip, cs, rflags, rsp, ss;
};
/* Descriptor tables, features and stacks of the calling core. */
void cpu_start(void);
/* Makes the pages below the stacks inaccessible, once memory_start() is done. */
void cpu_guard_stacks(void);
/* The stack that `address` lies on or, if `guard`, in the guard page of; bounds may be NULL. NULL: none. */
const char *cpu_stack(uint64_t address, bool guard, uint64_t *start, uint64_t *end);
bool cpu_random(uint64_t *value);

/* ---- clock.c ---- */
void clock_start(void);

/* ---- libc.c ---- */
_Noreturn void libc_start(void *heap, size_t size);
long libc_system_call(long number, long a, long b, long c, long d, long e);

/* ---- memory.c ---- */
#define MEMORY_PAGE 4096ull
/* Final page tables, the heap of libc, and spans of the rest. */
void memory_start(void **heap, size_t *heap_size);
/* What is at `address`, for a message about a fault. */
const char *memory_describe(uint64_t address);
/* What the page around `address` guards, or NULL if it guards nothing. */
const char *memory_guarded(uint64_t address);
/* Whether the 8 bytes at `address`, a multiple of 8, can be read without a fault and without touching a device. */
bool memory_readable(uint64_t address);
/* Makes physical memory of a device accessible at its own address (identity), with this attribute; -ENOMEM. */
int memory_map_device(uint64_t physical, size_t size, enum chalk_attribute attribute);

/* ---- interrupts.c ---- */
/* The local APIC, and the PICs silenced. After memory_start(); the clock is needed first for deadlines. */
void interrupt_start(void);
void interrupt_handle(uint64_t vector);
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

/* ---- symbols.c ---- */
/* The program's name, as it was linked. */
const char *symbols_program(void);
/* The function that `address` lies in, or NULL; *offset is how far in. */
const char *symbols_find(uint64_t address, uint64_t *offset);

/* ---- panic.c ---- */
#define PANIC_STATUS 125
_Noreturn void panic_exception(const struct trap_frame *frame);
_Noreturn void panic(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the bare-metal platform know of each other. start.c has the order in which they start.
 */
#ifndef CHALK_BAREMETAL_MACHINE_H
#define CHALK_BAREMETAL_MACHINE_H

#include <chalk/lock.h>
#include <chalk/platform.h>

#include <stdatomic.h>

struct core; /* cores.h */

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
    uint64_t startup_page; /* below 640 KiB, of nobody's: where other cores start; 0: there is none */
};
extern struct boot boot;

/* ---- acpi.c: what the firmware's tables say, checked (ACPI 6.5) ---- */
#define ACPI_MAX_CORES    256
#define ACPI_MAX_SEGMENTS 8
#define ACPI_MAX_RANGES   64
#define ACPI_MAX_IO_APICS 16
#define ACPI_MAX_WINDOWS  8
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
    /* Addresses that host bridges pass on, where only the DSDT tells of segments: then firmware gives none
     * out. */
    struct {
        uint64_t start, end;
    } windows[ACPI_MAX_WINDOWS];
    unsigned window_count;
    uint64_t dsdt; /* 0: there is none that is whole */
    /* NUMA nodes, by the firmware's own numbers: disjoint ranges of addresses, and processors. */
    struct {
        uint64_t start, end;
        int node;
    } ranges[ACPI_MAX_RANGES];
    unsigned range_count;
    uint64_t io_apics[ACPI_MAX_IO_APICS];
    unsigned io_apic_count;
    struct {
        uint32_t apic_id;
        int node;
    } affinities[ACPI_MAX_CORES];
    unsigned affinity_count;
    uint64_t hpet;                       /* 0: none */
    uint16_t pm1a_control, pm1b_control; /* I/O ports, 0: none */
    uint16_t sleep_type_a, sleep_type_b; /* of \_S5_, for power-off; 0xffff: unknown */
    uint16_t pm_timer;                   /* I/O port, 0: none */
    /* PM1 works after smi_acpi_enable was written to port smi_command (4.8.2.5); either 0: it works already.
     */
    uint16_t smi_command;
    uint8_t smi_acpi_enable;
};
extern struct acpi acpi;
/* Fills `acpi` from tables reached through `read`-able identity-mapped memory. 0, or a negative errno and a
 * message. */
int acpi_discover(uint64_t rsdp);
/* The NUMA node of a processor, and of the memory [start, end); -1: not told, or of more than one. */
int acpi_core_node(const struct acpi *found, uint32_t apic_id);
int acpi_memory_node(const struct acpi *found, uint64_t start, uint64_t end);

/* ---- exit.c ---- */
/* Says what makes it impossible to go on, and the cure, on the console; ends with status 1. */
_Noreturn void machine_refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
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
/* Descriptor tables, features and stacks of the calling core, which is `core` from now on. */
void cpu_start(struct core *core);
/* Makes the pages below the stacks of `core` inaccessible, once memory_start() is done. */
void cpu_guard_stacks(struct core *core);
/* Writes down how the calling core caches memory; others then do the same, or cannot, and return false. */
void cpu_keep_caching(void);
bool cpu_take_caching(void);

/* ---- random.c ---- */
/* A word that nobody can foresee. False: this processor has no RDRAND, or one that cannot be believed. */
bool cpu_random(uint64_t *value);
/* Its parts: one word of RDRAND's; and one that is believed, of those that `draw` gives. */
bool random_draw(uint64_t *value);
bool random_believed(bool (*draw)(uint64_t *), uint64_t *value);

/* ---- cores.c ---- */
struct core *core_first(void);
/* While low memory is mapped: puts the code there that other cores start with. */
void cores_copy_startup(void);
/* Counts the cores, and takes off RAM what they will need. */
void cores_start(void);
/* Halts every other core for good. Of several cores that want this, one returns. */
void cores_stop_others(void);
/* Makes every other core forget what it knows of the page tables. */
void cores_flush_others(void);
/* clone(2) and exit(2) of a thread; libc.c. */
struct system_call;
long core_clone(const struct system_call *call);
_Noreturn void core_end(void);

/* ---- clock.c ---- */
void clock_start(void);

/* ---- libc.c ---- */
/* What the command line says, as soon as it is there: its CHALK_LOG is the level of what the platform logs,
 * too. */
void libc_read_command_line(void);
_Noreturn void libc_start(void);
struct system_call { /* as trap.S leaves it: arguments, and where it is called from */
    long a, b, c, d, e, f;
    uint64_t return_address;
};
long libc_system_call(long number, const struct system_call *call);
/* Makes a thread that runs core->entry on its stack, by core_clone(). 0, or a negative errno. */
int libc_thread(struct core *core);

/* ---- heap.c ---- */
/* mmap(2) of memory without a file, and munmap(2) of what it gave. */
long heap_map(size_t size, long flags);
long heap_unmap(uint64_t address, size_t size);

/* ---- memory.c ---- */
#define MEMORY_PAGE 4096ull
/* Final page tables, and spans of the rest. */
void memory_start(void);
/* Takes memory for the platform off RAM, below 4 GiB, before any of it is given away. NULL: none is left. */
void *memory_take(uint64_t size);
/* While not 0, somebody who finds no memory tries again with less: chalk_span_grow() logs nothing. */
extern atomic_uint memory_retries;
/* The calling core, on the first page tables, changes to the final ones. */
void memory_enter(void);
/* chalk_page_guard(), for a page that no other core has touched. */
int memory_guard(void *page, const char *name);
/* What is at `address`, for a message about a fault. */
const char *memory_describe(uint64_t address);
/* What the page around `address` guards, or NULL if it guards nothing. */
const char *memory_guarded(uint64_t address);
/* Whether the 8 bytes at `address`, a multiple of 8, can be read without a fault and without touching a
 * device. */
bool memory_readable(uint64_t address);
/* Makes physical memory of a device accessible at its own address (identity), with this attribute; -ENOMEM.
 */
int memory_map_device(uint64_t physical, size_t size, enum chalk_attribute attribute);

/* ---- interrupts.c ---- */
/* The local APIC, and the PICs silenced. After memory_start(); the clock is needed first for deadlines. */
void interrupt_start(void);
/* The same for another core. */
void interrupt_start_core(void);
void interrupt_handle(uint64_t vector);
/* To another core; SDM vol. 3 11.6.1: the delivery mode, and for a start-up the page it begins in. */
#define INTERRUPT_NMI     0x4400u
#define INTERRUPT_INIT    0x4500u
#define INTERRUPT_STARTUP 0x4600u
void interrupt_send(uint32_t apic_id, uint32_t what);
uint64_t
interrupt_registers(void);        /* where those of the local APIC are, even if they are reached otherwise */
uint32_t interrupt_apic_id(void); /* of the calling core */
uint32_t interrupt_apic_id_max(void); /* that can be sent to */
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

/* ---- device.c ---- */
/* chalk_main() has returned: names the devices that are still open, and ends their DMA. */
void devices_stop(void);

/* ---- serial.c ---- */
void serial_start(void);
void serial_write(const char *bytes, size_t size);
void serial_drain(void);
/* Whether all that was typed is read, and nothing more will come. */
bool serial_input_ended(void);

/* ---- symbols.c ---- */
/* The program's name, as it was linked. */
const char *symbols_program(void);
/* The function that `address` lies in, or NULL; *offset is how far in. */
const char *symbols_find(uint64_t address, uint64_t *offset);

/* ---- panic.c ---- */
#define PANIC_STATUS 134 /* as a failed assertion: what a shell reports for SIGABRT */
_Noreturn void panic_exception(const struct trap_frame *frame);
_Noreturn void panic(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif

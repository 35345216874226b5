/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The order in which a PC becomes a program. Each step needs those above it and nothing below.
 */
#include "machine.h"
#include "x86.h"

_Noreturn void machine_start(uint32_t magic, uint64_t information);

/* The 8259s are live under PVH and would interrupt at vectors that mean exceptions (8259A: OCW1). */
static void silence_old_interrupts(void)
{
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
}

_Noreturn void machine_start(uint32_t magic, uint64_t information)
{
    silence_old_interrupts();
    serial_start();
    cpu_start(core_first());
    cpu_keep_caching();
    boot_parse(magic, information);
    libc_read_command_line();
    acpi_discover(boot.rsdp); /* says itself what is missing, and the rest does without */
    cores_copy_startup();
    memory_start();
    cpu_guard_stacks(core_first());
    clock_start();
    interrupt_start();
    cores_start();
    pci_start();
    libc_start();
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the firmware's tables are: what the loader said, or else the areas of a BIOS (ACPI 6.5 5.2.5.1).
 *
 * It runs on the first page tables, which map the low 4 GiB at their own addresses; tables lie below that on
 * every PC, because a 32-bit root table has to reach them.
 */
#include "acpi_tables.h"

#include <chalk/error.h>
#include <chalk/log.h>

struct acpi acpi;

static const void *at(const struct acpi_memory *memory, uint64_t physical, size_t size)
{
    const uint64_t end = 1ull << 32;

    (void)memory;
    return physical < end && size <= end - physical ? (const void *)(uintptr_t)physical : NULL;
}

static const struct acpi_memory memory = {at};

static uint64_t search(uint64_t start, uint64_t end)
{
    for (uint64_t address = start; address + ACPI_RSDP_SIZE <= end; address += 16)
        if (acpi_is_rsdp(&memory, address))
            return address;
    return 0;
}

/* The first KiB of the extended BIOS data area, whose segment is at 40:0E, then the BIOS's read-only area. */
static uint64_t search_bios(void)
{
    uint16_t segment;
    uintptr_t bda = 0x40e;

    __asm__("" : "+r"(bda)); /* no object is there, as far as the compiler knows */
    segment = *(const volatile uint16_t *)bda;
    uint64_t ebda = (uint64_t)segment << 4, rsdp = 0;
    if (ebda >= 0x80000 && ebda < 0xa0000)
        rsdp = search(ebda, ebda + 1024);
    return rsdp != 0 ? rsdp : search(0xe0000, 0x100000);
}

int acpi_discover(uint64_t rsdp)
{
    int error = acpi_parse(&memory, rsdp != 0 ? rsdp : search_bios(), &acpi);

    if (error == -ENOENT)
        chalk_log(CHALK_WARNING,
                  "acpi: no tables, so one processor, and PCI by ports; boot firmware that has ACPI "
                  "(QEMU: without -no-acpi)");
    else if (error != 0)
        chalk_log(CHALK_WARNING,
                  "acpi: the root table is broken, so one processor, and PCI by ports; update the "
                  "firmware");
    return error;
}

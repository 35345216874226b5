/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parser of the firmware's ACPI tables, as a function of memory alone: it touches nothing but what `at`
 * gives it, so that it runs in tests and fuzzers as it runs in the image.
 */
#ifndef CHALK_BAREMETAL_ACPI_TABLES_H
#define CHALK_BAREMETAL_ACPI_TABLES_H

#include "machine.h"

struct acpi_memory {
    /* `size` readable bytes of physical memory, valid until the parser returns; NULL where there are none. */
    const void *(*at)(const struct acpi_memory *memory, uint64_t physical, size_t size);
};

#define ACPI_RSDP_SIZE 20 /* of revision 0 and 1 (ACPI 6.5 5.2.5.3); later ones tell their length */

/* Whether a root pointer with a correct checksum is at `physical`. */
bool acpi_is_rsdp(const struct acpi_memory *memory, uint64_t physical);

/*
 * Fills `found` with what the tables below the root pointer at `rsdp` say. A table that is broken is left
 * out, with a message; what it would have said is then absent. Errors: -ENOENT (no root pointer there),
 * -EPROTO (neither root table is whole); `found` then says that there is nothing. Where there is no MCFG,
 * host bridges are looked for in the DSDT (acpi_aml.h).
 */
int acpi_parse(const struct acpi_memory *memory, uint64_t rsdp, struct acpi *found);

#endif

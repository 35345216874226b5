/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the DSDT declares about host bridges, read without an interpreter of AML: scopes, devices, names with
 * constant values, and methods that do nothing but return one.
 */
#ifndef CHALK_BAREMETAL_ACPI_AML_H
#define CHALK_BAREMETAL_ACPI_AML_H

#include "machine.h"

/* The length of a package and of the field that says so (ACPI 6.5 20.2.4), which counts as of the package; 0:
 * there is none that ends by `size`. */
size_t aml_package(const uint8_t *bytes, size_t size, size_t *field);

/*
 * Adds to `found` each host bridge that has a method or name _CBA (PCI Firmware 3.3 4.1.3): a segment with
 * the buses of its _CRS, and the addresses there that it passes on. `bytes` are the terms of a table, behind
 * its header.
 */
void aml_host_bridges(const uint8_t *bytes, size_t size, struct acpi *found);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* PCI names and what Linux knows about a device without opening it. */
#ifndef HOSTED_PCI_H
#define HOSTED_PCI_H

#include <stdbool.h>
#include <stddef.h>

#include <chalk/platform.h>

/* name.c: writes an address ("3:0.0", "0000:03:00.0") as Linux spells it ("0000:03:00.0"). Errors: -EINVAL.
 */
int hosted_pci_name(const char *text, char name[CHALK_NAME_SIZE]);

void hosted_pci_stop(void);

#endif

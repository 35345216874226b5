/* SPDX-License-Identifier: BSD-2-Clause */
/* How long the process of a device is waited for: chalk_start_options.patience. */
#ifndef VFIO_USER_PATIENCE_H
#define VFIO_USER_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

/* Whether the list is one: "60", or "60,vfio-user:/run/slow=600", in seconds; NULL is. */
bool patience_valid(const char *list);

/* Nanoseconds for the device of that name, or `otherwise`. */
uint64_t patience_for(const char *list, const char *name, uint64_t otherwise);

#endif

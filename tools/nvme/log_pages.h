/* SPDX-License-Identifier: BSD-2-Clause */
/* The log pages that nvme-log reads and prints: as text, or as one line of JSON (docs/nvme-commands.md). */
#ifndef TOOLS_NVME_LOG_PAGES_H
#define TOOLS_NVME_LOG_PAGES_H

#include <chalk/nvme_admin.h>

/* Temperatures are printed in degrees Celsius; a controller reports kelvin [Base 5.16.1.3]. */
#define LOG_KELVIN 273

/* The names that log_print() knows, as "this|that". */
#define LOG_NAMES "health|errors|firmware|changed|effects|self-tests|sanitize"

/* Reads and prints a log page by its name. Returns 0, or the negative errno of reading it. */
int log_print(struct chalk_nvme *nvme, const char *name, bool json);

/* Reads and prints any log page, as bytes. Returns 0, -ENOMEM, or the negative errno of reading it. */
int log_print_bytes(struct chalk_nvme *nvme, const struct chalk_nvme_log_page *page, bool json);

#endif

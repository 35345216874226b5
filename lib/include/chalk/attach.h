/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device and memory that it can reach, in one call. What a program needs beyond that, such as memory that
 * several devices share, is built from the calls in <chalk/platform.h> and <chalk/memory.h> instead.
 */
#ifndef CHALK_ATTACH_H
#define CHALK_ATTACH_H

#include <chalk/memory.h>
#include <chalk/platform.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The caller's, all zero while nothing is attached. */
struct chalk_attachment {
    struct chalk_device *device; /* bus mastering is off */
    struct chalk_domain *domain; /* the device's */
    struct chalk_memory *memory; /* whose shared part is mapped into the domain */
};

/*
 * Opens the device `name` (as chalk_device_open()) in a domain of its own, creates memory (as
 * chalk_memory_create(); `options` may be NULL), and shares it with the domain. On failure nothing stays open
 * and `attachment` is all zero. Errors, which the platform has logged: those of chalk_device_open(),
 * chalk_memory_create() and chalk_memory_share().
 */
int chalk_attach(const char *name, const struct chalk_memory_options *options,
                 struct chalk_attachment *attachment);

/*
 * Turns bus mastering off, unmaps and closes the device, and gives the memory back. The driver has stopped
 * the device before. Does nothing if nothing is attached. Never fails.
 */
void chalk_detach(struct chalk_attachment *attachment);

#ifdef __cplusplus
}
#endif
#endif

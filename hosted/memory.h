/* SPDX-License-Identifier: BSD-2-Clause */
/* What the process owns of memory. */
#ifndef HOSTED_MEMORY_H
#define HOSTED_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <chalk/platform.h>

/* Whether [va, va + size) lies in one span. Under hosted_lock(). */
bool hosted_memory_owned(const void *va, size_t size);

/*
 * Whether the file that the memory at `va` is in may be given to the process of the device `name`, which can
 * then reach all of that file, and keep it. From now on no private claim is made there; where one is already,
 * or the file could be cut short by that process, a message says why it is not given. Not under
 * hosted_lock().
 */
bool hosted_memory_expose(const char *name, const void *va);

/*
 * Whether a file of `size` bytes, which shared memory is too, is within this process's limit of file sizes.
 * Beyond it Linux ends the process by SIGXFSZ, whose handling is the program's to decide, so this is asked
 * before a file grows. If not, `why` (of `space` bytes) names the limit and how to raise it.
 */
bool hosted_memory_file_fits(size_t size, char *why, size_t space);

/* The file that the memory at `va` is in, and where in it; -1 if it is in none of ours. Under hosted_lock().
 */
int hosted_memory_file(const void *va, uint64_t *offset);

/* The span that `va` lies in. Errors: -ENOENT. */
int hosted_memory_span(const void *va, struct chalk_span *span);

/* Whether some of [va, va + size) lies in a span. Under hosted_lock(), as all that follows. */
bool hosted_memory_overlaps(const void *va, size_t size);

/* The NUMA node that the page at `va` is on: CHALK_NODE(), 0 when unknown. */
unsigned hosted_memory_node(void *va);

/* One span more, which overlaps none and gets its books; `fd` is the file that is behind it, -1 if the memory
 * is not ours to give back. Errors: -ENOMEM. */
int hosted_memory_keep(struct chalk_span *span, int fd);

/* One span less, which lies at `va`. */
void hosted_memory_forget(const void *va);

/* A device has been opened: so what pages there are matters, and hosted_memory_stop() tells it. */
void hosted_memory_for_devices(void);

/* Gives every span back to Linux. Logs why there are no hugepages in use, if a device was opened and there
 * were to be. */
void hosted_memory_stop(void);

#endif

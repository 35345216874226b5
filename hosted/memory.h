/* SPDX-License-Identifier: BSD-2-Clause */
/* What the process owns of memory. */
#ifndef HOSTED_MEMORY_H
#define HOSTED_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether [va, va + size) lies in one span. Under hosted_lock(). */
bool hosted_memory_owned(const void *va, size_t size);

/* The file that the memory at `va` is in, and where in it; -1 if it is in none of ours. Under hosted_lock().
 */
int hosted_memory_file(const void *va, uint64_t *offset);

/* The page size of the span that `va` lies in; 0 if it lies in none. */
size_t hosted_memory_page(const void *va);

/* Gives every span back to Linux. Under hosted_lock(). */
void hosted_memory_stop(void);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The heap of libc, which is one client of memory among others, and may be given a limit.
 *
 * On bare metal malloc takes RAM as claims of "heap" (<chalk/claim.h>), as it needs them, and gives back what
 * is free again. A program that claims every span leaves it none. Hosted it is glibc's, and takes memory from
 * Linux.
 */
#ifndef CHALK_HEAP_H
#define CHALK_HEAP_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * From now on the heap has at most `bytes` bytes, SIZE_MAX: as many as there are. Beyond that malloc returns
 * NULL. What it has already it keeps. Hosted, Linux limits what the process maps for itself, of which the
 * heap is nearly all: stacks of cores that are started later count, too; chalk_stop() does not undo it.
 * Errors: -EPERM (hosted: beyond the hard limit that the process was started with), or another one of
 * Linux's.
 */
int chalk_heap_limit(size_t bytes);

#ifdef __cplusplus
}
#endif
#endif

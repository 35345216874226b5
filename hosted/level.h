/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether the processor has the instructions that everything is compiled to (psABI x86-64 1.0, 3.1.1:
 * x86-64-v2). It is asked before the program's own code runs, which would else end by SIGILL.
 */
#ifndef CHALK_HOSTED_LEVEL_H
#define CHALK_HOSTED_LEVEL_H

#include <stdint.h>

/* The first instructions that are missing, or NULL: `features` is ecx of CPUID leaf 1, `extended` of
 * 0x80000001. */
const char *hosted_level_missing(uint32_t features, uint32_t extended);

/* Does nothing: a program that calls it has the check, which is a constructor, linked into it. */
void hosted_level_link(void);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Names of places in the program, found by system calls alone: also for a signal handler after a crash. */
#ifndef HOSTED_SYMBOLS_H
#define HOSTED_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hosted_place {
    char file[128];    /* the program or library; empty: in no file */
    uint64_t address;  /* there, for addr2line -e */
    char function[64]; /* empty: not known, as the file was stripped */
    uint64_t start;    /* of the function, in memory */
    bool executable;   /* it is code */
};

/* Fills in what is known of `address`. Returns whether it is mapped at all. */
bool hosted_place_find(uintptr_t address, struct hosted_place *place);

/* "function+0x12 in FILE(+0x1234)", or as much of it as is known. */
void hosted_place_format(uintptr_t address, const struct hosted_place *place, char *text, size_t size);

/* Copies `size` bytes of this process's memory; false if some of it cannot be read. */
bool hosted_memory_read(uintptr_t address, void *bytes, size_t size);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the loader's words are, and what happens when they make no sense: loader.c reads them.
 *
 * It runs on the first page tables, which map the low 4 GiB at their own addresses; both loaders are entered
 * in 32-bit mode, and put everything below that.
 */
#include "loader.h"

struct boot boot;

extern const char chalk_image_start[], chalk_image_end[];

static const void *at(const struct loader_memory *memory, uint64_t physical, size_t size)
{
    const uint64_t mapped_end = 1ull << 32; /* boot.S */

    (void)memory;
    return physical != 0 && physical < mapped_end && size <= mapped_end - physical
               ? (const void *)(uintptr_t)physical
               : NULL;
}

void boot_parse(uint32_t magic, uint64_t information)
{
    static const struct loader_memory memory = {at};
    const struct boot_range image = {(uint64_t)chalk_image_start, (uint64_t)chalk_image_end};

    if (loader_parse(&memory, magic, information, image, &boot) != 0)
        machine_exit(1);
}

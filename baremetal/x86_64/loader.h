/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parser of what the loader said, as a function of memory alone: it touches nothing but what `at` gives
 * it, so that it runs in tests and fuzzers as it runs in the image.
 */
#ifndef CHALK_BAREMETAL_LOADER_H
#define CHALK_BAREMETAL_LOADER_H

#include "machine.h"

struct loader_memory {
    /* `size` readable bytes of physical memory, valid until the parser returns; NULL where there are none. */
    const void *(*at)(const struct loader_memory *memory, uint64_t physical, size_t size);
};

/*
 * Fills `found` from the loader's structure at `information`: Xen's hvm_start_info when `magic` is 0, else
 * Multiboot2's tags. `image` is where we lie ourselves. Afterwards
 *   - RAM is sorted, in whole pages, above 1 MiB, and holds neither the image nor a module, nor anything
 *     that the map also calls something else than RAM;
 *   - modules begin on a page, and lie in what the map calls RAM, clear of the image and of each other.
 * Errors: -EINVAL, with a message (not such a structure, a command line that is too long).
 */
int loader_parse(const struct loader_memory *memory, uint32_t magic, uint64_t information,
                 struct boot_range image, struct boot *found);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What nvme-verify puts into a block. Every block is different, and says which one it is: the first word is
 * its LBA, the second the seed, and the rest follows from both. So a block that was written to, or read from,
 * the wrong place is seen, and can be named.
 */
#ifndef TOOLS_NVME_PATTERN_H
#define TOOLS_NVME_PATTERN_H

#include <chalk/random.h>

/* Fills the `words` 8-byte words of block `lba`. */
static inline void pattern_fill(uint64_t *block, unsigned words, uint64_t lba, uint64_t seed)
{
    uint64_t state = chalk_random_at(seed, lba);

    block[0] = lba;
    block[1] = seed;
    for (unsigned i = 2; i < words; i++)
        block[i] = chalk_random_next(&state);
}

#endif

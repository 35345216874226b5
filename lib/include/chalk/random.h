/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Seeded numbers for tests, patterns and workloads: the same seed gives the same sequence, everywhere. Not
 * for secrets. It is SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014):
 * the n-th number is a function of the seed and n, so that a pattern can also be read from its middle.
 */
#ifndef CHALK_RANDOM_H
#define CHALK_RANDOM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CHALK_RANDOM_STEP 0x9e3779b97f4a7c15ull /* 2^64 / golden ratio, odd */

/* The n-th number (from 0) of the sequence that `seed` starts. */
static inline uint64_t chalk_random_at(uint64_t seed, uint64_t n)
{
    uint64_t z = seed + (n + 1) * CHALK_RANDOM_STEP;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

/* The next number; `state` is the seed at first. */
static inline uint64_t chalk_random_next(uint64_t *state)
{
    uint64_t number = chalk_random_at(*state, 0);

    *state += CHALK_RANDOM_STEP;
    return number;
}

/* The next number, from 0 to below `bound` (not 0); without division, and with a bias of at most bound /
 * 2^64. */
static inline uint64_t chalk_random_below(uint64_t *state, uint64_t bound)
{
    return (uint64_t)(__extension__((unsigned __int128)chalk_random_next(state) * bound) >> 64);
}

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A log-linear histogram of ticks: exact below 512, within 1/256 above, all of 64 bits. Recording takes a few
 * instructions and no division, so that it can be done for every request.
 */
#ifndef TOOLS_NVME_HISTOGRAM_H
#define TOOLS_NVME_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BITS    8 /* each power of two is cut into 2^8 buckets */
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS)

struct histogram {
    uint64_t count, least, most;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

/* The values of [2^k, 2^(k+1)), k >= 8, share a shift; below, the value is the bucket. */
static inline unsigned histogram_bucket(uint64_t value)
{
    unsigned shift = 63u - (unsigned)__builtin_clzll(value | 1ull << HISTOGRAM_BITS) - HISTOGRAM_BITS;

    return (shift << HISTOGRAM_BITS) + (unsigned)(value >> shift);
}

static inline void histogram_add(struct histogram *histogram, uint64_t value, uint64_t times)
{
    if (value < histogram->least || histogram->count == 0)
        histogram->least = value;
    if (value > histogram->most)
        histogram->most = value;
    histogram->count += times;
    histogram->buckets[histogram_bucket(value)] += times;
}

/* The least value that falls into a bucket. */
uint64_t histogram_edge(unsigned bucket);

/* Adds all that `from` has counted. */
void histogram_merge(struct histogram *histogram, const struct histogram *from);

/* The value that `per_million` of a million are at or below; a bucket's lower edge. 0 when nothing was
 * recorded. */
uint64_t histogram_at(const struct histogram *histogram, unsigned per_million);

#endif

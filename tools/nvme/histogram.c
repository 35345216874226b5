/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading a histogram: the cold half. */
#include "histogram.h"

uint64_t histogram_at(const struct histogram *histogram, unsigned per_million)
{
    uint64_t wanted = (uint64_t)(((unsigned __int128)histogram->count * per_million + 999999) / 1000000);
    uint64_t seen = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen < wanted || seen == 0)
            continue;

        unsigned shift = i < 2u << HISTOGRAM_BITS ? 0 : (i >> HISTOGRAM_BITS) - 1;
        uint64_t edge = (uint64_t)(i - (shift << HISTOGRAM_BITS)) << shift;

        return edge > histogram->least ? edge : histogram->least;
    }
    return 0;
}

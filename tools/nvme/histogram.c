/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading a histogram: the cold half. */
#include "histogram.h"

uint64_t histogram_edge(unsigned bucket)
{
    unsigned shift = bucket < 2u << HISTOGRAM_BITS ? 0 : (bucket >> HISTOGRAM_BITS) - 1;

    return (uint64_t)(bucket - (shift << HISTOGRAM_BITS)) << shift;
}

void histogram_merge(struct histogram *histogram, const struct histogram *from)
{
    if (from->count == 0)
        return;
    if (from->least < histogram->least || histogram->count == 0)
        histogram->least = from->least;
    if (from->most > histogram->most)
        histogram->most = from->most;
    histogram->count += from->count;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        histogram->buckets[i] += from->buckets[i];
}

uint64_t histogram_at(const struct histogram *histogram, unsigned per_million)
{
    uint64_t wanted = (uint64_t)(((unsigned __int128)histogram->count * per_million + 999999) / 1000000);
    uint64_t seen = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen < wanted || seen == 0)
            continue;

        uint64_t edge = histogram_edge(i);

        return edge > histogram->least ? edge : histogram->least;
    }
    return 0;
}

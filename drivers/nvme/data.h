/* SPDX-License-Identifier: BSD-2-Clause */
/* Where the data of a command is: a stretch of a request's segments. */
#ifndef NVME_DATA_H
#define NVME_DATA_H

#include <chalk/dma.h>
#include <chalk/error.h>
#include <stdbool.h>
#include <stdint.h>

/* `bytes` bytes, from byte `skip` of the first segment on. The segments may hold more. */
struct nvme_data {
    const struct chalk_dma *segments;
    unsigned count;
    size_t skip;
    uint64_t bytes;
};

/* A piece of it, as the device sees that. */
struct nvme_piece {
    uint64_t address, size; /* bytes; 0: there is none */
};

/* What segment `i` has of the data, of which `left` bytes are not in the segments before. */
/*@ requires \valid_read(data) && \valid_read(data->segments + (0 .. data->count - 1)) && i <= data->count;
    assigns \nothing;
    ensures \result.size <= left && (i == data->count ==> \result.size == 0); */
static inline struct nvme_piece nvme_piece(const struct nvme_data *data, unsigned i, uint64_t left)
{
    size_t skip = i == 0 ? data->skip : 0;
    struct nvme_piece piece = {.size = 0};

    if (i == data->count || data->segments[i].size <= skip)
        return piece;
    piece.address = data->segments[i].iova + skip;
    piece.size = data->segments[i].size - skip;
    if (piece.size > left)
        piece.size = left;
    return piece;
}

#endif

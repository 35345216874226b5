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

#endif

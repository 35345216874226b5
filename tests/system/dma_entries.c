/* SPDX-License-Identifier: BSD-2-Clause */
/* dma-entries ADDRESS: maps single pages until the IOMMU's entries are used up, and expects to be told so. */
#include <chalk/error.h>
#include <chalk/main.h>
#include <chalk/memory.h>

#include <stdio.h>

int chalk_main(int argc, char *argv[])
{
    enum { SIZE = 4 << 20 };
    struct chalk_domain *domain = NULL;
    struct chalk_device *device;
    struct chalk_span span;

    if (argc != 2 || chalk_device_open(argv[1], &domain, &device))
        return 1;
    if (chalk_span_grow(SIZE, 0, 0, UINT64_MAX, &span))
        return 1;
    int error = 0;
    unsigned mapped = 0;
    /* every other page, so that no two mappings can be joined */
    for (size_t at = 0; at < SIZE && !error; at += 2 * CHALK_PAGE) {
        error = chalk_dma_map(domain, (char *)span.va + at, CHALK_PAGE, span.iova + at, CHALK_DEVICE_READS);
        mapped += !error;
    }
    printf("%u pages mapped, then: %s\n", mapped, chalk_error_name(error));
    chalk_device_close(device);
    return error == -ENOSPC ? 0 : 1;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* What twin tests of NVMe begin and end with: memory, and the first controller's device, which reaches it. */
#ifndef TESTS_NVME_DEVICE_H
#define TESTS_NVME_DEVICE_H

#include <chalk/device.h>
#include <chalk/memory.h>

#include "twin.h"

static inline void close_nvme(struct chalk_memory *memory, struct chalk_domain *domain,
                              struct chalk_device *device)
{
    chalk_memory_unshare(memory, domain);
    chalk_device_close(device);
    chalk_memory_destroy(memory);
}

/* With so many bytes of shared memory. False: something was not as expected, and nothing is open. */
static inline bool open_nvme(size_t shared_size, struct chalk_memory **memory, struct chalk_domain **domain,
                             struct chalk_device **device)
{
    const struct chalk_memory_options options = {.shared_size = shared_size};
    struct chalk_bus_info found = {0};

    *domain = NULL;
    if (!expect_result(chalk_bus_find(CHALK_CLASS_NVME, &found), 0, "finding the controller") ||
        !expect_result(chalk_memory_create(&options, memory), 0, "claiming memory"))
        return false;
    if (expect_result(chalk_device_open(found.name, domain, device), 0, "opening the device")) {
        if (expect_result(chalk_memory_share(*memory, *domain), 0, "sharing memory with it"))
            return true;
        chalk_device_close(*device);
    }
    chalk_memory_destroy(*memory);
    return false;
}

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of the NVMe driver begin and end with: a model on the bus, a device open, memory shared with
 * it. */
#ifndef NVME_SESSION_H
#define NVME_SESSION_H

#include "nvme_model.h"
#include <chalk/clock.h>
#include <chalk/error.h>
#include <chalk/memory.h>
#include <chalk/nvme.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SESSION_MEMORY ((size_t)16 << 20) /* shared, bytes */

static struct nvme_model *model;
static struct chalk_device *device;
static struct chalk_domain *domain;
static struct chalk_memory *memory;
static struct chalk_nvme *nvme;

static int session_setup(void **state)
{
    const struct chalk_memory_options options = {.shared_size = SESSION_MEMORY};

    (void)state;
    fake_reset();
    model = model_add();
    domain = NULL;
    nvme = NULL;
    if (chalk_device_open(MODEL_NAME, &domain, &device) != 0 || chalk_memory_create(&options, &memory) != 0)
        return -1;
    return chalk_memory_share(memory, domain);
}

/* Whatever a test did: all memory came back, DMA is off, and the driver asked for nothing that is not
 * allowed. */
static int session_teardown(void **state)
{
    struct chalk_memory_usage usage;

    (void)state;
    chalk_memory_get_usage(memory, &usage);
    chalk_memory_unshare(memory, domain);
    if (usage.private_used != 0 || usage.shared_used != 0 || model->faults != 0 ||
        (!model->device->gone && (model->device->config[4] & 4) != 0)) {
        print_message("left behind: %zu private, %zu shared, %u faults, command 0x%02x; the console has:\n%s",
                      usage.private_used, usage.shared_used, model->faults, model->device->config[4],
                      fake.console);
        return -1;
    }
    chalk_device_close(device);
    chalk_memory_destroy(memory);
    return 0;
}

static inline int open_controller(void)
{
    const struct chalk_nvme_options options = {
        .memory = memory,
        .domain = domain,
        .interrupts = model->admin_interrupts,
        .shadow_doorbells = model->controller.oacs != 0,
        .controller_memory = model->cmbsz != 0,
        .name = MODEL_NAME,
    };

    return chalk_nvme_open(device, &options, &nvme);
}

#endif

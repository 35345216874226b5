/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shadow doorbells, for controllers that are programs [Base 5.8, B.5]: a doorbell's value is written to
 * memory, where such a controller finds it, and to its register, where that costs an exit of a virtual
 * machine, only if the controller has asked to be woken.
 *
 * A queue does not know of them. Its doorbell is a window that is served by calls, and the call is here; so
 * that where there are none, they cost nothing.
 */
#include "nvme.h"

/* New values up to and including `event` plus one are to be told [Base B.5]. */
static bool wakes(uint32_t value, uint32_t before, uint32_t event)
{
    return (uint16_t)(value - event - 1) < (uint16_t)(value - before);
}

static void ring(const struct chalk_mmio *window, size_t offset, unsigned width, uint64_t value)
{
    struct nvme_shadow *shadow = window->owner;
    uint32_t before = shadow->value;

    (void)offset;
    (void)width;
    shadow->value = (uint32_t)value;
    chalk_dma_store32(shadow->memory, shadow->value);

    /* The controller writes the event and then looks at the value; we the other way round. With a full fence
     * on both sides one of us sees the other. */
    atomic_thread_fence(memory_order_seq_cst);
    if (wakes(shadow->value, before, chalk_dma_load32(shadow->event)))
        chalk_mmio_write32(&shadow->doorbell, 0, shadow->value);
}

static uint64_t never(const struct chalk_mmio *window, size_t offset, unsigned width)
{
    (void)window;
    (void)offset;
    (void)width;
    return 0; /* doorbells are not read */
}

static const struct chalk_mmio_ops ops = {.read = never, .write = ring};

int chalk_nvme_shadow_configure(struct chalk_nvme *nvme)
{
    struct nvme_admin_call call = {.what = "Doorbell Buffer Config", .mends = nvme->open};
    struct nvme_command command = {.cdw0 = NVME_DOORBELL_BUFFER};
    size_t page = nvme->info.page_size;
    int error;

    if (2 * (nvme->info.queues + 1u) * nvme->info.doorbell_stride > page)
        nvme->info.shadow_doorbells = false; /* they would not fit */
    if (!nvme->info.shadow_doorbells)
        return 0;
    if (nvme->shadow.va == NULL) {
        error = chalk_dma_get(nvme->memory, 2 * page, page, &nvme->shadow);
        if (error != 0)
            return error;
        chalk_grant_check(nvme->domain, nvme->shadow.iova, nvme->shadow.size);
    }
    command.prp1 = nvme->shadow.iova;
    command.prp2 = nvme->shadow.iova + page;
    error = chalk_nvme_admin_run(nvme, &call, &command);
    if (error != 0 && !nvme->open && nvme_state(nvme) == NVME_LIVE) {
        chalk_dma_put(nvme->memory, &nvme->shadow); /* refused: then it is done without */
        nvme->shadow.va = NULL;
        nvme->info.shadow_doorbells = false;
        error = 0;
    }
    return error;
}

void chalk_nvme_shadow_doorbell(struct chalk_nvme *nvme, struct nvme_shadow *shadow, unsigned index,
                                struct chalk_mmio *window)
{
    size_t offset = (size_t)index * nvme->info.doorbell_stride;

    if (nvme->shadow.va == NULL)
        return;
    *shadow = (struct nvme_shadow){
        .doorbell = *window,
        .memory = (char *)nvme->shadow.va + offset,
        .event = (char *)nvme->shadow.va + nvme->info.page_size + offset,
    };
    *window = (struct chalk_mmio){.size = 4, .ops = &ops, .owner = shadow};
}

void chalk_nvme_shadow_rewind(struct nvme_shadow *shadow)
{
    if (shadow->memory == NULL)
        return;
    shadow->value = 0;
    chalk_dma_store32(shadow->memory, 0);
    chalk_dma_store32(shadow->event, 0);
}

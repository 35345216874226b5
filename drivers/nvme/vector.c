/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupt vectors. Vector 0 is the admin queue's. A queue gets one of its own while there is one; after
 * that it shares one that goes to its core, with as few others as can be; and if none does it is polled. An
 * interrupt is a hint, so whoever shares a vector looks, and finds something or nothing.
 */
#include "nvme.h"

/* One that nobody has; else one to be shared on `core`; or NULL. */
static struct nvme_vector *pick(struct chalk_nvme *nvme, unsigned core)
{
    struct nvme_vector *shared = nvme->vectors[0].core == core ? &nvme->vectors[0] : NULL;

    for (unsigned i = 1; i < nvme->info.vectors; i++) {
        struct nvme_vector *vector = &nvme->vectors[i];

        if (vector->users == 0)
            return vector;
        if (vector->core == core && (shared == NULL || vector->users < shared->users))
            shared = vector;
    }
    return shared;
}

static int attach(struct chalk_nvme *nvme, struct nvme_vector *vector, unsigned core)
{
    unsigned index = (unsigned)(vector - nvme->vectors);
    int error = chalk_vector_attach(nvme->device, index, core, &vector->interrupts);

    if (error == 0)
        vector->core = core;
    else if (error == -ERANGE)
        nvme->info.vectors = (uint16_t)index; /* the platform has fewer than the device */
    return error;
}

int chalk_nvme_vector_get(struct nvme_queue *queue, unsigned core)
{
    struct chalk_nvme *nvme = queue->nvme;
    struct nvme_vector *vector;
    int error;

    if (nvme->info.vectors == 0) {
        chalk_log(CHALK_ERROR, "NVMe %s: it has no MSI-X vectors; poll it", nvme->name);
        return -ENOTSUP;
    }
    do {
        error = 0;
        vector = pick(nvme, core);
        if (vector != NULL && vector != nvme->vectors && vector->users == 0)
            error = attach(nvme, vector, core);
        else if (!nvme->vectors_short) {
            nvme->vectors_short = true;
            chalk_log(
                CHALK_WARNING,
                "NVMe %s: no interrupt vector is left (it has %u): further queues share one of their core, "
                "or are polled",
                nvme->name, nvme->info.vectors);
        }
    } while (error == -ERANGE);
    if (error != 0 || vector == NULL)
        return error;
    vector->users++;
    queue->vector = vector;
    queue->block.interrupts = &vector->interrupts;
    queue->block.may_wait = true;
    return 0;
}

void chalk_nvme_vector_put(struct nvme_queue *queue)
{
    struct chalk_nvme *nvme = queue->nvme;
    struct nvme_vector *vector = queue->vector;

    if (vector != NULL && --vector->users == 0 && vector != nvme->vectors)
        (void)chalk_vector_attach(nvme->device, (unsigned)(vector - nvme->vectors), vector->core, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* The interrupts of queues: <chalk/vectors.h> has who shares one, and NVMe itself that they may be put off.
 */
#include "nvme.h"
#include <chalk/nvme_admin.h>

int chalk_nvme_vector_get(struct nvme_queue *queue, const struct chalk_nvme_queue_options *options)
{
    struct chalk_nvme *nvme = queue->nvme;
    struct chalk_vector *vector;
    int error = chalk_vectors_get(&nvme->vectors, options->core, &vector);
    bool *prompt;

    nvme->info.vectors = (uint16_t)nvme->vectors.count; /* the platform may have fewer than the device */
    if (vector == NULL)
        return error;
    prompt = &nvme->prompt[chalk_vector_index(&nvme->vectors, vector)];
    *prompt = options->prompt || (vector->users > 1 && *prompt);
    queue->vector = vector;
    queue->block.interrupts = &vector->interrupts;
    queue->block.may_wait = error == 0;
    return error;
}

void chalk_nvme_vector_put(struct nvme_queue *queue)
{
    if (queue->vector != NULL)
        chalk_vectors_put(&queue->nvme->vectors, queue->vector, queue->block.may_wait);
}

/* ---- coalescing [Base 5.27.1.6, 5.27.1.7] ---------------------------------------------------------- */

int chalk_nvme_coalesce(struct chalk_nvme *nvme)
{
    const struct nvme_command command = {
        .cdw0 = NVME_SET_FEATURES,
        .cdw10 = CHALK_NVME_FEATURE_COALESCING,
        .cdw11 = CHALK_NVME_COALESCING(nvme->coalesce, (nvme->coalesce_us + 99) / 100),
    };
    struct nvme_admin_call call = {.mends = nvme->open};
    int error;

    if (nvme->coalesce == 0)
        return 0;
    error = chalk_nvme_admin_run(nvme, &call, &command);
    nvme->info.coalesces = error == 0;
    if (call.status == 0)
        return error;
    nvme->coalesce = 0;
    chalk_log(CHALK_WARNING, "NVMe %s: its interrupts are not coalesced (%s)", nvme->name,
              chalk_nvme_status_name(call.status));
    return 0;
}

/* If it fails, interrupts come later, or sooner; whatever is the reason, the next command finds it. */
void chalk_nvme_vector_configure(struct nvme_queue *queue)
{
    struct chalk_nvme *nvme = queue->nvme;
    struct nvme_admin_call call = {
        .what = "Set Features (interrupt vector)", .epoch = queue->epoch, .awake = true};
    struct nvme_command command = {.cdw0 = NVME_SET_FEATURES, .cdw10 = CHALK_NVME_FEATURE_VECTOR};
    unsigned index;

    if (queue->vector == NULL || !nvme->info.coalesces)
        return;
    index = chalk_vector_index(&nvme->vectors, queue->vector);
    command.cdw11 = CHALK_NVME_VECTOR(index, nvme->prompt[index]);
    (void)chalk_nvme_admin_run(nvme, &call, &command);
}

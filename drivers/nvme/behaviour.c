/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Host behaviour support [Base 5.27.1.18]: a controller gives command retry delays only to a host that says
 * it understands them. What it says stays where it is for every reset.
 */
#include "nvme.h"

int chalk_nvme_behaviour_configure(struct chalk_nvme *nvme)
{
    struct nvme_command command = {.cdw0 = NVME_SET_FEATURES, .cdw10 = NVME_FEATURE_BEHAVIOUR};
    struct nvme_admin_call call = {.what = "Set Features (host behaviour support)", .mends = nvme->open};
    struct chalk_dma *data = &nvme->behaviour;
    int error;

    if (nvme->retry_delays[0] == 0)
        return 0;
    if (data->va == NULL) {
        error = chalk_dma_get(nvme->memory, NVME_BEHAVIOUR_SIZE, NVME_BEHAVIOUR_SIZE, data);
        if (error != 0)
            return error;
        chalk_grant_check(nvme->domain, data->iova, data->size);
        memset(data->va, 0, NVME_BEHAVIOUR_SIZE);
        *(uint8_t *)data->va = 1;
    }
    command.prp1 = data->iova;
    error = chalk_nvme_admin_run(nvme, &call, &command);
    return call.status != 0 ? 0 : error; /* a refusal is said, and then there are no delays */
}

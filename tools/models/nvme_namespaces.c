/* SPDX-License-Identifier: BSD-2-Clause */
/* Namespaces: what each says of itself [NVM 4.1.5.1], and its formatting [Base 5.14]. */
#include "nvme.h"

/* log2 of the block size of each format */
static const unsigned char formats[] = {9, 12};
#define FORMATS (sizeof formats)

void nvme_describe(const struct nvme_namespace *ns, struct nvme_identify_namespace *id)
{
    id->nsze = id->ncap = id->nuse = ns->blocks;
    id->nlbaf = FORMATS - 1;
    for (uint8_t i = 0; i < FORMATS; i++) {
        id->lbaf[i] = (uint32_t)formats[i] << 16;
        if (formats[i] == ns->shift)
            id->flbas = i;
    }
}

/* What was in its blocks is gone, whether that was asked for or not. */
static uint16_t format(struct nvme_model *nvme, struct nvme_namespace *ns, unsigned index)
{
    if (ns->zone_count != 0) /* zones of other blocks would be other zones */
        return NVME_INVALID_FORMAT;
    nvme_drain(nvme);
    ns->shift = formats[index];
    ns->blocks = store_size(ns->store) >> ns->shift;
    return nvme_zero(nvme, ns, 0, store_size(ns->store));
}

uint16_t nvme_format(struct nvme_model *nvme, const struct nvme_command *command)
{
    unsigned index = (command->cdw10 & 0xf) | (command->cdw10 >> 12 & 3) << 4;
    unsigned protection = command->cdw10 >> 5 & 7, erase = command->cdw10 >> 9 & 7;
    uint16_t status = NVME_INVALID_NAMESPACE;

    if (index >= FORMATS || protection != 0)
        return NVME_INVALID_FORMAT;
    if (erase > 1) /* there is no key to be forgotten */
        return NVME_INVALID_FIELD;
    for (uint32_t nsid = 1; nsid <= NVME_MODEL_NAMESPACES; nsid++) {
        struct nvme_namespace *ns = nvme_namespace(nvme, nsid);

        if (ns != NULL && (command->nsid == nsid || command->nsid > NVME_NSID_MAX))
            status = format(nvme, ns, index);
    }
    return status;
}

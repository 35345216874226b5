/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lists that Identify gives [Base 5.17.2]: of namespaces, of controllers, of a namespace's names.
 */
#include "nvme.h"
#include "structures.h"
#include <chalk/nvme_admin.h>
#include <string.h>

static int senseless(const struct chalk_nvme *nvme, const char *list, uint32_t entry)
{
    chalk_log(CHALK_ERROR, "NVMe %s: invalid list of %s, from entry %u on", nvme->name, list, entry);
    return -EPROTO;
}

/* A list of active namespaces, of a controller that gives none. */
static int try_numbers(struct chalk_nvme *nvme, uint32_t after, uint32_t nsids[NVME_NAMESPACES_LISTED],
                       unsigned *count)
{
    struct chalk_nvme_namespace ns;

    for (unsigned i = 0; i < NVME_NAMESPACES_TRIED && after + i < nvme->info.namespace_count; i++) {
        int error = chalk_nvme_find_namespace(nvme, after + 1 + i, &ns);

        if (error == 0)
            nsids[(*count)++] = ns.nsid;
        else if (error != -ENOENT)
            return error;
    }
    return 0;
}

int chalk_nvme_list_namespaces(struct chalk_nvme *nvme, bool allocated, uint32_t after,
                               uint32_t nsids[NVME_NAMESPACES_LISTED], unsigned *count)
{
    const enum chalk_nvme_cns cns = allocated ? CHALK_NVME_CNS_ALLOCATED : CHALK_NVME_CNS_ACTIVE;
    uint32_t first = after;
    int error = 0;

    *count = 0;
    if (after >= nvme->info.namespace_count)
        return 0;
    if (!allocated && !chalk_nvme_has_active_list(nvme))
        return try_numbers(nvme, after, nsids, count);
    error = chalk_nvme_identify(nvme, cns, after, 0, CHALK_NVME_CSI_NVM, NULL);
    if (error != 0)
        return !allocated && nvme->identify_status != 0 ? try_numbers(nvme, after, nsids, count) : error;
    memcpy(nsids, nvme->identity, sizeof nvme->identity);
    for (unsigned i = 0; i < NVME_NAMESPACES_LISTED && nsids[i] != 0; i++) {
        bool ascends = nsids[i] > after && nsids[i] <= nvme->info.namespace_count;

        if (!ascends && allocated)
            return senseless(nvme, "namespaces", i);
        if (!ascends) {
            (void)chalk_nvme_may_be_listed(nvme, nsids[i], after);
            *count = 0;
            return try_numbers(nvme, first, nsids, count);
        }
        after = nsids[i];
        *count = i + 1;
    }
    return 0;
}

int chalk_nvme_list_controllers(struct chalk_nvme *nvme, uint32_t nsid, uint16_t from,
                                uint16_t ids[NVME_CONTROLLERS_LISTED], unsigned *count)
{
    const struct nvme_controller_list *list = (const void *)nvme->identity;
    const enum chalk_nvme_cns cns = nsid != 0 ? CHALK_NVME_CNS_ATTACHED : CHALK_NVME_CNS_CONTROLLERS;
    int error = chalk_nvme_identify(nvme, cns, nsid, from, CHALK_NVME_CSI_NVM, NULL);

    *count = 0;
    if (error != 0)
        return error;
    if (list->count > NVME_CONTROLLERS_LISTED)
        return senseless(nvme, "controllers", NVME_CONTROLLERS_LISTED);
    for (unsigned i = 0; i < list->count; i++) {
        if (list->ids[i] < from || (i != 0 && list->ids[i] <= list->ids[i - 1]))
            return senseless(nvme, "controllers", i);
        ids[i] = list->ids[i];
        *count = i + 1;
    }
    return 0;
}

/* Those that an active namespace's own structure has, of a controller that gives no descriptors. */
static int plain_identifiers(struct chalk_nvme *nvme, uint32_t nsid, struct chalk_nvme_identifiers *ids)
{
    struct chalk_nvme_namespace ns;
    int error = chalk_nvme_identify_namespace(nvme, nsid, &ns);

    if (error != 0)
        return error;
    *ids = (struct chalk_nvme_identifiers){.csi = CHALK_NVME_CSI_NVM};
    memcpy(ids->eui64, ns.eui64, sizeof ids->eui64);
    memcpy(ids->nguid, ns.nguid, sizeof ids->nguid);
    return 0;
}

/* What the descriptors in nvme->identity are. */
static int parse_descriptors(struct chalk_nvme *nvme, struct chalk_nvme_identifiers *ids)
{
    const size_t end = sizeof nvme->identity;
    size_t at = 0;
    const struct {
        uint8_t *field;
        uint8_t size;
    } fields[] = {
        [NVME_DESCRIPTOR_EUI64] = {ids->eui64, sizeof ids->eui64},
        [NVME_DESCRIPTOR_NGUID] = {ids->nguid, sizeof ids->nguid},
        [NVME_DESCRIPTOR_UUID] = {ids->uuid, sizeof ids->uuid},
        [NVME_DESCRIPTOR_CSI] = {&ids->csi, sizeof ids->csi},
    };

    while (end - at >= sizeof(struct nvme_descriptor)) {
        struct nvme_descriptor head;

        memcpy(&head, nvme->identity + at, sizeof head);
        if (head.type == 0)
            break;
        at += sizeof head;
        if (head.length > end - at)
            return senseless(nvme, "a namespace's identifiers", (uint32_t)(at - sizeof head));
        /* Of a type that is not known, nothing but the length is [Base 5.17.2.3]. */
        if (head.type < sizeof fields / sizeof *fields && head.length == fields[head.type].size)
            memcpy(fields[head.type].field, nvme->identity + at, head.length);
        at += head.length;
    }
    return 0;
}

int chalk_nvme_get_identifiers(struct chalk_nvme *nvme, uint32_t nsid, struct chalk_nvme_identifiers *ids)
{
    bool sets = nvme_has_command_sets(nvme); /* then descriptors have to say which a namespace has */
    int error;

    if (nvme->info.version < 0x010300 && !sets) /* [Base 5.17.2.3], since NVMe 1.3 */
        return plain_identifiers(nvme, nsid, ids);
    error = chalk_nvme_identify(nvme, CHALK_NVME_CNS_DESCRIPTORS, nsid, 0, CHALK_NVME_CSI_NVM, NULL);
    *ids = (struct chalk_nvme_identifiers){.csi = CHALK_NVME_CSI_NVM};
    if (error == 0)
        error = parse_descriptors(nvme, ids);
    if ((error == -EPROTO || error == -ENOTSUP) && !sets && nvme_state(nvme) == NVME_LIVE)
        return plain_identifiers(nvme, nsid, ids);
    return error;
}

int chalk_nvme_list_secondaries(struct chalk_nvme *nvme,
                                struct chalk_nvme_secondary entries[NVME_SECONDARIES_LISTED], unsigned *count)
{
    const struct nvme_secondary_list *list = (const void *)nvme->identity;
    int error = chalk_nvme_identify(nvme, CHALK_NVME_CNS_SECONDARY, 0, 0, CHALK_NVME_CSI_NVM, NULL);

    *count = 0;
    if (error != 0)
        return error;
    if (list->count > NVME_SECONDARIES_LISTED)
        return senseless(nvme, "secondary controllers", NVME_SECONDARIES_LISTED);
    for (unsigned i = 0; i < list->count; i++) {
        const struct nvme_secondary *entry = &list->entries[i];

        entries[i] = (struct chalk_nvme_secondary){
            .controller = entry->scid,
            .function = entry->vfn,
            .online = (entry->state & 1) != 0,
            .queues = entry->nvq,
            .interrupts = entry->nvi,
        };
    }
    *count = list->count;
    return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Namespaces: what each says of itself [NVM 4.1.5.1], their formatting [Base 5.14], and how they come and go:
 * created and deleted [Base 5.23], attached to the controller and detached [Base 5.22].
 *
 * One that is not attached is not the controller's: that it is created or deleted is no event.
 */
#include "nvme.h"

#include <stdlib.h>
#include <string.h>

/* log2 of the block size of each format */
static const unsigned char formats[] = {9, 12};
#define FORMATS (sizeof formats)

static void describe_formats(struct nvme_identify_namespace *id)
{
    id->nlbaf = FORMATS - 1;
    for (uint8_t i = 0; i < FORMATS; i++)
        id->lbaf[i] = (uint32_t)formats[i] << 16;
}

unsigned nvme_format_shift(unsigned index)
{
    return index < FORMATS ? formats[index] : 0;
}

#define DLFEAT       33 /* byte of Identify Namespace */
#define READS_ZEROES 1  /* discarded blocks do */

void nvme_describe(const struct nvme_namespace *ns, struct nvme_identify_namespace *id)
{
    describe_formats(id);
    if (ns == NULL) /* what is the same in all of them */
        return;
    ((uint8_t *)id)[DLFEAT] = READS_ZEROES;
    id->nsze = id->ncap = id->nuse = ns->blocks;
    id->nvmcap[0] = store_size(ns->store);
    for (uint8_t i = 0; i < FORMATS; i++)
        if (formats[i] == ns->shift)
            id->flbas = i;
}

/* ---- format ---- */

/* What was in its blocks is gone, whether that was asked for or not. */
static uint16_t format(struct nvme_model *nvme, uint32_t nsid, unsigned index)
{
    struct nvme_namespace *ns = &nvme->namespaces[nsid - 1];

    if (ns->zone_count != 0) /* zones of other blocks would be other zones */
        return NVME_INVALID_FORMAT;
    if (store_size(ns->store) >> formats[index] == 0)
        return NVME_INVALID_FORMAT; /* not one such block */
    nvme_drain(nvme);
    ns->shift = formats[index];
    ns->blocks = store_size(ns->store) >> ns->shift;
    nvme_namespace_changed(nvme, nsid);
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
    for (uint32_t nsid = 1; nsid <= NVME_MODEL_NAMESPACES; nsid++)
        if (nvme_namespace(nvme, nsid) != NULL && (command->nsid == nsid || command->nsid > NVME_NSID_MAX))
            status = format(nvme, nsid, index);
    return status;
}

/* Takes the number of a namespace that a script has another controller change: NULL if there is none, or if
 * the namespace has zones. */
static struct nvme_namespace *take_changed(struct nvme_model *nvme, uint64_t *number, uint32_t *nsid)
{
    struct nvme_namespace *ns = *number <= UINT32_MAX ? nvme_namespace(nvme, (uint32_t)*number) : NULL;

    *nsid = (uint32_t)*number;
    *number = 0;
    return ns != NULL && ns->zone_count == 0 ? ns : NULL;
}

/* Commands that are under way do not wait for that, and are not stopped. */
void nvme_change_namespaces(struct nvme_model *nvme)
{
    struct script *script = nvme->model.script;
    struct nvme_namespace *ns;
    uint32_t nsid;

    if (script == NULL || (script->reshape | script->detach) == 0)
        return;
    ns = take_changed(nvme, &script->reshape, &nsid);
    if (ns != NULL) {
        ns->shift = ns->shift == formats[0] ? formats[1] : formats[0];
        ns->blocks = store_size(ns->store) >> ns->shift;
        nvme_namespace_changed(nvme, nsid);
    }
    ns = take_changed(nvme, &script->detach, &nsid);
    if (ns != NULL) {
        ns->attached = false;
        nvme_namespace_changed(nvme, nsid);
    }
}

/* ---- creation and deletion ---- */

uint64_t nvme_unallocated(const struct nvme_model *nvme)
{
    uint64_t left = nvme->capacity;

    for (unsigned i = 0; i < NVME_MODEL_NAMESPACES; i++)
        if (nvme->namespaces[i].store != NULL)
            left -= store_size(nvme->namespaces[i].store);
    return left;
}

/* The bytes that are wanted; and whether a namespace can be like that. */
static uint16_t check_new(const struct nvme_identify_namespace *wanted, uint64_t *bytes, unsigned *shift)
{
    unsigned index = (wanted->flbas & 0xf) | (wanted->flbas >> 5 & 3) << 4;

    if (index >= FORMATS || (wanted->flbas & NVME_FLBAS_INTERLEAVED) != 0 || wanted->dps != 0)
        return NVME_INVALID_FORMAT;
    if (wanted->nsze == 0 || wanted->ncap > wanted->nsze)
        return NVME_INVALID_FIELD;
    if (wanted->ncap != wanted->nsze)
        return NVME_NO_THIN_PROVISIONING;
    *shift = formats[index];
    *bytes = wanted->nsze > UINT64_MAX >> *shift ? UINT64_MAX : wanted->nsze << *shift;
    return NVME_GOOD;
}

/* Result: its identifier; or, if there is not enough capacity, how much it would take. */
static uint16_t create(struct nvme_model *nvme, const struct nvme_command *command, uint64_t *result)
{
    struct nvme_identify_namespace wanted;
    struct store *store;
    uint64_t bytes;
    unsigned shift, i = 0;
    uint16_t status = nvme_transfer(nvme, command, &wanted, sizeof wanted, false);

    if (status == NVME_GOOD && command->cdw11 >> 24 != 0)
        status = NVME_NO_COMMAND_SET; /* zones are made when the model starts */
    if (status == NVME_GOOD)
        status = check_new(&wanted, &bytes, &shift);
    if (status != NVME_GOOD)
        return status;
    if (bytes > nvme_unallocated(nvme)) {
        *result = bytes;
        return NVME_NO_CAPACITY;
    }
    while (i < NVME_MODEL_NAMESPACES && nvme->namespaces[i].store != NULL)
        i++;
    if (i == NVME_MODEL_NAMESPACES)
        return NVME_NO_IDENTIFIER;
    if (store_open("ram", bytes, &store) != 0)
        return NVME_INTERNAL_ERROR;
    nvme->namespaces[i] = (struct nvme_namespace){.store = store, .shift = shift, .blocks = wanted.nsze};
    *result = i + 1;
    return NVME_GOOD;
}

static void delete (struct nvme_model *nvme, uint32_t nsid)
{
    struct nvme_namespace *ns = &nvme->namespaces[nsid - 1];

    if (ns->attached)
        nvme_namespace_changed(nvme, nsid);
    free(ns->zones);
    store_close(ns->store);
    memset(ns, 0, sizeof *ns);
}

static uint16_t delete_some(struct nvme_model *nvme, uint32_t wanted)
{
    bool all = wanted > NVME_NSID_MAX;

    if (!all && (wanted - 1 >= NVME_MODEL_NAMESPACES || nvme->namespaces[wanted - 1].store == NULL))
        return NVME_INVALID_NAMESPACE;
    nvme_drain(nvme); /* what is under way has come before */
    for (uint32_t nsid = 1; nsid <= NVME_MODEL_NAMESPACES; nsid++)
        if (nvme->namespaces[nsid - 1].store != NULL && (all || nsid == wanted))
            delete (nvme, nsid);
    return NVME_GOOD;
}

uint16_t nvme_manage(struct nvme_model *nvme, const struct nvme_command *command, uint64_t *result)
{
    switch (command->cdw10 & 0xf) {
    case 0:
        return create(nvme, command, result);
    case 1:
        return delete_some(nvme, command->nsid);
    default:
        return NVME_INVALID_FIELD;
    }
}

/* ---- attachment ---- */

uint16_t nvme_attach(struct nvme_model *nvme, const struct nvme_command *command)
{
    bool attach = (command->cdw10 & 0xf) == 0;
    struct nvme_controller_list list;
    struct nvme_namespace *ns;
    uint16_t status;

    if ((command->cdw10 & 0xf) > 1)
        return NVME_INVALID_FIELD;
    if (command->nsid - 1 >= NVME_MODEL_NAMESPACES || nvme->namespaces[command->nsid - 1].store == NULL)
        return NVME_INVALID_NAMESPACE;
    status = nvme_transfer(nvme, command, &list, sizeof list, false);
    if (status != NVME_GOOD)
        return status;
    if (list.count != 1 || list.ids[0] != NVME_MODEL_CONTROLLER)
        return NVME_INVALID_CONTROLLERS;
    ns = &nvme->namespaces[command->nsid - 1];
    if (ns->attached == attach)
        return attach ? NVME_ALREADY_ATTACHED : NVME_NOT_ATTACHED;
    if (!attach)
        nvme_drain(nvme);
    ns->attached = attach;
    nvme_namespace_changed(nvme, command->nsid);
    return NVME_GOOD;
}

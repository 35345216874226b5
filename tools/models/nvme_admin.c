/* SPDX-License-Identifier: BSD-2-Clause */
/* Admin commands [Base 5]: what the controller says of itself, its queues, its features and its logs. */
#include "nvme.h"

#include <stdio.h>
#include <string.h>

#include <chalk/nvme_admin.h>

#define PAGE 4096u

#define OACS_FORMAT     0x02
#define OACS_NAMESPACES 0x08
#define FLUSHES_ONE     (2 << 1) /* VWC: a flush of all namespaces is refused; 0 is not for NVMe 1.4 */

/* ---- identify [Base 5.17] ---- */

/* Text is padded with blanks. */
static void put_text(char *to, size_t size, const char *text)
{
    size_t length = strlen(text);

    memset(to, ' ', size);
    memcpy(to, text, length < size ? length : size);
}

/*
 * An identifier that is made of the serial number and of which namespace it is, 0 for the subsystem: two
 * models with different serial numbers share none, or a host takes them for one [RFC 9562 5.8].
 */
static void make_uuid(const struct nvme_model *nvme, uint32_t nsid, uint8_t uuid[16])
{
    for (unsigned half = 0; half < 2; half++) {
        uint64_t hash = 0xcbf29ce484222325u + half; /* FNV-1a */

        for (const char *c = nvme->serial; *c != '\0'; c++)
            hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
        hash = (hash ^ nsid) * 0x100000001b3u;
        memcpy(uuid + 8 * half, &hash, sizeof hash);
    }
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x80); /* version 8, of the maker's own kind */
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80); /* variant */
}

/* The name of the subsystem [Base 4.5]: text that ends with a zero. */
static void name_subsystem(const struct nvme_model *nvme, char *name, size_t size)
{
    int length = snprintf(name, size, "nqn.2014-08.org.nvmexpress:uuid:");
    uint8_t uuid[16];

    make_uuid(nvme, 0, uuid);
    for (unsigned i = 0; i < sizeof uuid; i++)
        length += snprintf(name + length, size - (size_t)length, "%s%02x",
                           i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
}

#define SUBNQN      768 /* byte of Identify Controller */
#define SUBNQN_SIZE 256

static void identify_controller(const struct nvme_model *nvme, void *answer)
{
    struct nvme_identify_controller *id = answer;

    id->vid = id->ssvid = nvme->model.class->identity.vendor;
    put_text(id->sn, sizeof id->sn, nvme->serial);
    put_text(id->mn, sizeof id->mn, "Chalk NVMe model");
    put_text(id->fr, sizeof id->fr, nvme_has_shrunk(nvme) ? "2.0" : "1.0");
    id->mdts =
        nvme_has_shrunk(nvme) ? NVME_MODEL_SHRUNK_MDTS : NVME_MODEL_MDTS; /* pages, as a power of two */
    id->cntlid = NVME_MODEL_CONTROLLER;
    id->ver = 0x00010400;
    id->cntrltype = NVME_CNTRLTYPE_IO;
    id->fwug = NVME_FWUG_NONE;
    id->sqes = 0x66;
    id->cqes = 0x44;
    id->oaes = CHALK_NVME_WATCH_NAMESPACES;
    id->oacs = (nvme->registers_only ? 0 : NVME_OACS_DOORBELLS) | OACS_FORMAT | OACS_NAMESPACES;
    id->tnvmcap[0] = nvme->capacity;
    id->unvmcap[0] = nvme_unallocated(nvme);
    id->nn = NVME_MODEL_NAMESPACES;
    /* It can verify, too, and says as little of it as QEMU's controller: they are to give the same
     * transcript. */
    id->oncs = nvme_has_shrunk(nvme) ? 0 : NVME_ONCS_COMPARE | NVME_ONCS_DATASET | NVME_ONCS_WRITE_ZEROES;
    id->sgls = nvme_knows_sgls(nvme) ? NVME_SGLS_ANY : 0;
    id->vwc = NVME_VWC_PRESENT | FLUSHES_ONE;
    name_subsystem(nvme, (char *)answer + SUBNQN, SUBNQN_SIZE);
    ((uint8_t *)answer)[258] = 3;                     /* ACL, abort commands at once less one */
    ((uint8_t *)answer)[259] = NVME_MODEL_EVENTS - 1; /* AERL */
    ((uint8_t *)answer)[260] = 0x03;                  /* FRMW: one slot, read-only */
    ((uint8_t *)answer)[261] = 0x06;                  /* LPA: effects, extended data */
    ((uint8_t *)answer)[262] = 3;                     /* ELPE, error entries less one */
}

/* I/O command sets [Base 5.17.2.3.3] */
enum { CSI_NVM = 0, CSI_ZONED = 2 };

static uint8_t csi_of(const struct nvme_namespace *ns)
{
    return ns->zone_count != 0 ? CSI_ZONED : CSI_NVM;
}

/* A list of descriptors that say which namespace it is, across controllers [Base 5.17.2.3]. */
static void identify_descriptors(const struct nvme_model *nvme, const struct nvme_namespace *ns,
                                 uint32_t nsid, uint8_t *answer)
{
    answer[0] = NVME_DESCRIPTOR_UUID;
    answer[1] = 16;
    make_uuid(nvme, nsid, answer + 4);
    answer[20] = NVME_DESCRIPTOR_CSI;
    answer[21] = 1;
    answer[24] = csi_of(ns);
}

static void list_active(struct nvme_model *nvme, uint32_t after, int csi, uint32_t *list)
{
    for (uint32_t i = after; i < NVME_MODEL_NAMESPACES; i++) {
        const struct nvme_namespace *ns = nvme_namespace(nvme, i + 1);

        if (ns != NULL && (csi < 0 || csi_of(ns) == csi))
            *list++ = i + 1;
    }
}

/* Also those that are not attached. */
static void list_allocated(const struct nvme_model *nvme, uint32_t after, uint32_t *list)
{
    for (uint32_t i = after; i < NVME_MODEL_NAMESPACES; i++)
        if (nvme->namespaces[i].store != NULL)
            *list++ = i + 1;
}

static void list_controllers(uint16_t from, struct nvme_controller_list *list)
{
    if (from > NVME_MODEL_CONTROLLER)
        return;
    list->count = 1;
    list->ids[0] = NVME_MODEL_CONTROLLER;
}

static uint16_t identify(struct nvme_model *nvme, const struct nvme_command *command)
{
    const struct nvme_namespace *ns = nvme_namespace(nvme, command->nsid);
    uint8_t answer[PAGE] __attribute__((aligned(8))) = {0};
    unsigned csi = command->cdw11 >> 24;
    uint16_t from = (uint16_t)(command->cdw10 >> 16);
    bool is_number = command->nsid - 1 < NVME_MODEL_NAMESPACES;

    switch (nvme_has(nvme, NVME_IGNORES_CNS) ? (command->cdw10 & 0xff) != 0 : command->cdw10 & 0xff) {
    case 0x00:
        if (!is_number && command->nsid != UINT32_MAX)
            return NVME_INVALID_NAMESPACE;
        if (ns != NULL || !is_number) /* else it is not active, and all zeroes */
            nvme_describe(ns, (struct nvme_identify_namespace *)(void *)answer);
        break;
    case 0x01:
        identify_controller(nvme, answer);
        break;
    case 0x02:
    case 0x07:
        if (command->nsid >= NVME_NSID_MAX)
            return NVME_INVALID_NAMESPACE;
        list_active(nvme, command->nsid, (command->cdw10 & 0xff) == 0x07 ? (int)csi : -1,
                    (uint32_t *)(void *)answer);
        break;
    case 0x03:
        if (ns == NULL)
            return NVME_INVALID_NAMESPACE;
        identify_descriptors(nvme, ns, command->nsid, answer);
        break;
    case 0x05: /* a namespace, as its command set has it */
        if (ns == NULL)
            return NVME_INVALID_NAMESPACE;
        if (csi != csi_of(ns))
            return NVME_INVALID_FIELD;
        if (csi == CSI_ZONED)
            nvme_zone_describe(ns, (struct nvme_identify_zoned *)(void *)answer);
        break;
    case 0x06: /* the controller, as a command set has it */
        if (csi != CSI_NVM && (csi != CSI_ZONED || !nvme->zoned))
            return NVME_INVALID_FIELD;
        answer[NVME_ZASL] = csi == CSI_ZONED ? NVME_MODEL_ZASL : 0;
        break;
    case 0x10:
        if (command->nsid >= NVME_NSID_MAX)
            return NVME_INVALID_NAMESPACE;
        list_allocated(nvme, command->nsid, (uint32_t *)(void *)answer);
        break;
    case 0x11: /* a namespace, attached or not; all zeroes if there is none */
        if (!is_number)
            return NVME_INVALID_NAMESPACE;
        if (nvme->namespaces[command->nsid - 1].store != NULL)
            nvme_describe(&nvme->namespaces[command->nsid - 1],
                          (struct nvme_identify_namespace *)(void *)answer);
        break;
    case 0x12: /* controllers that a namespace is attached to */
        if (!is_number)
            return NVME_INVALID_NAMESPACE;
        if (ns != NULL)
            list_controllers(from, (struct nvme_controller_list *)(void *)answer);
        break;
    case 0x13: /* all controllers */
        list_controllers(from, (struct nvme_controller_list *)(void *)answer);
        break;
    case 0x1c: /* combinations of command sets: there is one */
        if (!nvme->zoned)
            return NVME_INVALID_FIELD;
        answer[0] = 1 << CSI_NVM | 1 << CSI_ZONED;
        break;
    default:
        return NVME_INVALID_FIELD;
    }
    return nvme_transfer(nvme, command, answer, sizeof answer, true);
}

/* ---- queues [Base 5.4 to 5.7] ---- */

static void find_last_queue(struct nvme_model *nvme)
{
    nvme->last_queue = 0;
    for (unsigned i = 1; i < NVME_MODEL_QUEUES; i++)
        if (nvme->sqs[i].ring.entries != 0 || nvme->cqs[i].ring.entries != 0)
            nvme->last_queue = i;
}

static uint16_t check_ring(const struct nvme_command *command, struct nvme_ring *ring)
{
    uint32_t entries = (command->cdw10 >> 16) + 1;

    if (entries < 2 || entries > NVME_MODEL_ENTRIES)
        return NVME_INVALID_SIZE;
    if ((command->cdw11 & NVME_QUEUE_CONTIGUOUS) == 0)
        return NVME_INVALID_FIELD;
    if (command->prp1 % PAGE != 0)
        return NVME_PRP_OFFSET;
    *ring = (struct nvme_ring){.address = command->prp1, .entries = entries};
    return NVME_GOOD;
}

static uint16_t create_cq(struct nvme_model *nvme, const struct nvme_command *command)
{
    unsigned id = command->cdw10 & 0xffff, vector = command->cdw11 >> 16;
    struct nvme_cq cq = {
        .phase = 1, .vector = (uint16_t)vector, .interrupts = (command->cdw11 & NVME_CQ_INTERRUPTS) != 0};
    uint16_t status = check_ring(command, &cq.ring);

    if (id == 0 || id > nvme_granted(nvme) || nvme->cqs[id].ring.entries != 0)
        return NVME_INVALID_QUEUE;
    if (status != NVME_GOOD)
        return status;
    if (vector >= nvme->model.class->vectors)
        return NVME_INVALID_VECTOR;
    nvme->doorbells[2 * id + 1] = 0;
    nvme->cqs[id] = cq;
    find_last_queue(nvme);
    return NVME_GOOD;
}

static uint16_t create_sq(struct nvme_model *nvme, const struct nvme_command *command)
{
    unsigned id = command->cdw10 & 0xffff, cq = command->cdw11 >> 16;
    struct nvme_sq sq = {.cq = (uint16_t)cq};
    uint16_t status = check_ring(command, &sq.ring);

    if (id == 0 || id > nvme_granted(nvme) || nvme->sqs[id].ring.entries != 0)
        return NVME_INVALID_QUEUE;
    if (status != NVME_GOOD)
        return status;
    if (cq == 0 || cq >= NVME_MODEL_QUEUES || nvme->cqs[cq].ring.entries == 0)
        return NVME_INVALID_CQ;
    nvme->doorbells[2 * id] = 0;
    nvme->sqs[id] = sq;
    nvme->cqs[cq].users++;
    find_last_queue(nvme);
    return NVME_GOOD;
}

/* Its commands are completed before, as they would be if they had been faster. */
static uint16_t delete_sq(struct nvme_model *nvme, const struct nvme_command *command)
{
    unsigned id = command->cdw10 & 0xffff;

    if (id == 0 || id >= NVME_MODEL_QUEUES || nvme->sqs[id].ring.entries == 0)
        return NVME_INVALID_QUEUE;
    nvme_drain(nvme);
    nvme->cqs[nvme->sqs[id].cq].users--;
    memset(&nvme->sqs[id], 0, sizeof nvme->sqs[id]);
    find_last_queue(nvme);
    return NVME_GOOD;
}

static uint16_t delete_cq(struct nvme_model *nvme, const struct nvme_command *command)
{
    unsigned id = command->cdw10 & 0xffff;

    if (id == 0 || id >= NVME_MODEL_QUEUES || nvme->cqs[id].ring.entries == 0)
        return NVME_INVALID_QUEUE;
    if (nvme->cqs[id].users != 0)
        return NVME_INVALID_DELETION;
    memset(&nvme->cqs[id], 0, sizeof nvme->cqs[id]);
    find_last_queue(nvme);
    return NVME_GOOD;
}

/* ---- features [Base 5.27] ---- */

#define TEMPERATURE  0x04 /* threshold: of which sensor 19:16, and whether the lower one 21:20 */
#define WRITE_CACHE  0x06
#define COMMAND_SETS 0x19 /* I/O Command Set Profile */

/* Those that have a value, and nothing else to them. */
static bool is_feature(unsigned id)
{
    return (id >= 0x01 && id <= 0x0b && id != 0x03) || id == 0x16 || id == COMMAND_SETS;
}

uint32_t nvme_feature_default(unsigned id)
{
    return id == TEMPERATURE ? 343 : id == WRITE_CACHE ? 1 : 0;
}

/* Which threshold it is, of the composite temperature: there are no other sensors [Base 5.27.1.3]. NULL:
 * none. */
static uint32_t *threshold(struct nvme_model *nvme, uint32_t value, bool sets)
{
    unsigned sensor = value >> 16 & 0xf, kind = value >> 20 & 3;

    if ((sensor != 0 && (sensor != 0xf || !sets)) || kind > 1) /* Fh: of all of them */
        return NULL;
    return kind == 0 ? &nvme->features[TEMPERATURE] : &nvme->too_cold;
}

static uint16_t set_threshold(struct nvme_model *nvme, uint32_t value)
{
    uint32_t *which = threshold(nvme, value, true);

    if (which == NULL)
        return NVME_INVALID_FIELD;
    *which = value & 0xffff;
    nvme_check_temperature(nvme);
    return NVME_GOOD;
}

/* A structure of 512 bytes, of which we know the first. */
static uint16_t set_behaviour(struct nvme_model *nvme, const struct nvme_command *command)
{
    uint8_t data[NVME_BEHAVIOUR_SIZE];
    uint16_t status = nvme_transfer(nvme, command, data, sizeof data, false);

    if (status == NVME_GOOD)
        nvme->behaviour = data[0] & 1;
    return status;
}

static uint16_t get_behaviour(struct nvme_model *nvme, const struct nvme_command *command, bool current)
{
    uint8_t data[NVME_BEHAVIOUR_SIZE] = {current ? nvme->behaviour : 0};

    return nvme_transfer(nvme, command, data, sizeof data, true);
}

static uint16_t set_features(struct nvme_model *nvme, const struct nvme_command *command, uint64_t *result)
{
    unsigned id = command->cdw10 & 0xff;
    uint32_t most = nvme_granted(nvme) - 1; /* less one, as all counts here */

    if ((command->cdw10 & 1u << 31) != 0)
        return NVME_NOT_SAVEABLE;
    if (!is_feature(id))
        return NVME_INVALID_FIELD;
    if (id == NVME_FEATURE_QUEUES) {
        uint32_t sqs = command->cdw11 & 0xffff, cqs = command->cdw11 >> 16;

        if (sqs == 0xffff || cqs == 0xffff)
            return NVME_INVALID_FIELD;
        if (nvme_has(nvme, NVME_REFUSES_QUEUES))
            return NVME_INTERNAL_ERROR | 1 << 14; /* do not retry */
        *result = (cqs < most ? cqs : most) << 16 | (sqs < most ? sqs : most);
        nvme->features[id] = *result;
        return NVME_GOOD;
    }
    if (id == COMMAND_SETS && (command->cdw11 & 0x1ff) != 0)
        return NVME_INVALID_FIELD; /* which there is one combination of */
    if (id == TEMPERATURE)
        return set_threshold(nvme, command->cdw11);
    if (id == NVME_FEATURE_BEHAVIOUR)
        return set_behaviour(nvme, command);
    nvme->features[id] = command->cdw11;
    /* What is so already when it becomes wanted is told, too [Base 5.27.1.8]. */
    if (id == NVME_FEATURE_EVENTS)
        nvme_check_temperature(nvme);
    return NVME_GOOD;
}

static uint16_t get_features(struct nvme_model *nvme, const struct nvme_command *command, uint64_t *result)
{
    unsigned id = command->cdw10 & 0xff;

    if (!is_feature(id))
        return NVME_INVALID_FIELD;
    if (id == TEMPERATURE && threshold(nvme, command->cdw11, false) == NULL)
        return NVME_INVALID_FIELD;
    if (id == NVME_FEATURE_BEHAVIOUR && (command->cdw10 >> 8 & 7) != 3)
        return get_behaviour(nvme, command, (command->cdw10 >> 8 & 7) == 0);
    switch (command->cdw10 >> 8 & 7) {
    case 0:
        *result = id == TEMPERATURE ? *threshold(nvme, command->cdw11, false) : nvme->features[id];
        break;
    case 3:
        *result = 1u << 2; /* what it supports: to be changed */
        break;
    default: /* of the two thresholds the lower one is 0 */
        *result = id == TEMPERATURE && (command->cdw11 >> 20 & 3) == 1 ? 0 : nvme_feature_default(id);
    }
    return NVME_GOOD;
}

/* ---- logs [Base 5.16] ---- */

#define RETAIN_EVENT (1u << 15) /* of dword 10 */

/* What a command does beside its own work [Base Figure 211] */
enum {
    SUPPORTED = 1 << 0,
    CHANGES_BLOCKS = 1 << 1,
    CHANGES_NAMESPACE = 1 << 2, /* what it can do */
    CHANGES_INVENTORY = 1 << 3, /* which namespaces there are */
    ALONE = 2 << 16,            /* no other command, of any namespace, may be under way */
};

/* Admin commands are the same in all command sets. I/O commands are those of one [Base 5.16.1.6]. */
static void fill_io_effects(unsigned csi, uint32_t *io)
{
    static const uint8_t reading[] = {NVME_FLUSH, NVME_READ, NVME_COMPARE, NVME_VERIFY};
    static const uint8_t writing[] = {NVME_WRITE, NVME_WRITE_ZEROES, NVME_DATASET};

    for (unsigned i = 0; i < sizeof reading; i++)
        io[reading[i]] = SUPPORTED;
    for (unsigned i = 0; i < sizeof writing; i++)
        io[writing[i]] = SUPPORTED | CHANGES_BLOCKS;
    if (csi != CSI_ZONED)
        return;
    io[NVME_ZONE_RECEIVE] = SUPPORTED;
    io[NVME_ZONE_SEND] = SUPPORTED | CHANGES_BLOCKS;
    io[NVME_ZONE_APPEND] = SUPPORTED | CHANGES_BLOCKS;
}

static size_t fill_effects(unsigned csi, struct nvme_effects *effects)
{
    static const uint8_t admin[] = {NVME_DELETE_SQ,     NVME_CREATE_SQ,      NVME_GET_LOG_PAGE,
                                    NVME_DELETE_CQ,     NVME_CREATE_CQ,      NVME_IDENTIFY,
                                    NVME_SET_FEATURES,  NVME_GET_FEATURES,   NVME_ABORT,
                                    NVME_EVENT_REQUEST, NVME_DOORBELL_BUFFER};

    for (unsigned i = 0; i < sizeof admin; i++)
        effects->admin[admin[i]] = SUPPORTED;
    effects->admin[NVME_NAMESPACE_MANAGEMENT] = SUPPORTED | CHANGES_INVENTORY;
    effects->admin[NVME_NAMESPACE_ATTACHMENT] = SUPPORTED | CHANGES_INVENTORY;
    effects->admin[NVME_FORMAT] = SUPPORTED | CHANGES_BLOCKS | CHANGES_NAMESPACE | ALONE;
    fill_io_effects(csi, effects->io);
    return sizeof *effects;
}

static size_t fill_health(const struct nvme_model *nvme, struct nvme_health *health)
{
    *health = nvme->health;
    health->critical_warning = nvme_is_out_of_bounds(nvme) ? CHALK_NVME_WARNS_TEMPERATURE : 0;
    health->temperature[0] = NVME_MODEL_KELVIN & 0xff;
    health->temperature[1] = NVME_MODEL_KELVIN >> 8;
    health->spare = 100;
    health->spare_threshold = 10;
    health->units_read[0] = (health->units_read[0] + 999) / 1000;
    health->units_written[0] = (health->units_written[0] + 999) / 1000;
    return sizeof *health;
}

static size_t fill_changed(const struct nvme_model *nvme, uint32_t *list)
{
    for (uint32_t nsid = 1; nsid <= NVME_MODEL_NAMESPACES; nsid++)
        if ((nvme->changed >> (nsid - 1) & 1) != 0)
            *list++ = nsid;
    return NVME_NAMESPACES_LISTED * sizeof *list;
}

static uint16_t get_log_page(struct nvme_model *nvme, const struct nvme_command *command)
{
    uint64_t size = 4 * (((uint64_t)(command->cdw11 & 0xffff) << 16 | command->cdw10 >> 16) + 1);
    uint64_t offset = (uint64_t)command->cdw13 << 32 | command->cdw12;
    /* which is heeded only where there is a choice */
    unsigned csi = nvme_command_sets(nvme) == NVME_CC_CSS_ALL ? command->cdw14 >> 24 : CSI_NVM;
    uint8_t page[PAGE] __attribute__((aligned(8))) = {0};
    uint16_t status;
    size_t length;

    switch (command->cdw10 & 0xff) {
    case 0x01:
        length = sizeof nvme->errors;
        memcpy(page, nvme->errors, length);
        break;
    case 0x02:
        if (command->nsid != 0 && command->nsid != UINT32_MAX)
            return NVME_INVALID_FIELD; /* there is one for the controller */
        length = fill_health(nvme, (struct nvme_health *)(void *)page);
        break;
    case 0x03:
        length = sizeof(struct nvme_firmware_slots);
        page[0] = 1;
        put_text((char *)page + 8, 8, "1.0");
        break;
    case CHALK_NVME_LOG_CHANGED:
        length = fill_changed(nvme, (uint32_t *)(void *)page);
        break;
    case 0x05:
        if (csi != CSI_NVM && csi != CSI_ZONED)
            return NVME_INVALID_FIELD;
        length = fill_effects(csi, (struct nvme_effects *)(void *)page);
        break;
    default:
        return NVME_INVALID_LOG;
    }
    if (offset % 4 != 0 || offset > length)
        return NVME_INVALID_FIELD;
    if (size > sizeof page - offset) /* behind the end of a page it is not said what there is */
        size = sizeof page - offset;
    status = nvme_transfer(nvme, command, page + offset, (size_t)size, true);
    if (status == NVME_GOOD && (command->cdw10 & RETAIN_EVENT) == 0)
        nvme_log_is_read(nvme, (uint8_t)command->cdw10);
    return status;
}

uint16_t nvme_admin(struct nvme_model *nvme, const struct nvme_command *command, uint64_t *result)
{
    if ((command->cdw0 >> 8 & 3) != 0 ||
        (command->cdw0 >> 14 & 3) != 0) /* not fused, and with PRPs [PCIe 3.3] */
        return NVME_INVALID_FIELD;
    switch (command->cdw0 & 0xff) {
    case NVME_IDENTIFY:
        return identify(nvme, command);
    case NVME_CREATE_CQ:
        return create_cq(nvme, command);
    case NVME_CREATE_SQ:
        return create_sq(nvme, command);
    case NVME_DELETE_CQ:
        return delete_cq(nvme, command);
    case NVME_DELETE_SQ:
        return delete_sq(nvme, command);
    case NVME_SET_FEATURES:
        return set_features(nvme, command, result);
    case NVME_GET_FEATURES:
        return get_features(nvme, command, result);
    case NVME_GET_LOG_PAGE:
        return get_log_page(nvme, command);
    case NVME_EVENT_REQUEST:
        return nvme_request_event(nvme, command);
    case NVME_ABORT:
        return nvme_abort(nvme, command, result);
    case NVME_NAMESPACE_MANAGEMENT:
        return nvme_manage(nvme, command, result);
    case NVME_NAMESPACE_ATTACHMENT:
        return nvme_attach(nvme, command);
    case NVME_FORMAT:
        return nvme_format(nvme, command);
    case NVME_DOORBELL_BUFFER:
        return nvme_shadow_doorbells(nvme, command->prp1, command->prp2);
    default:
        return NVME_INVALID_OPCODE;
    }
}

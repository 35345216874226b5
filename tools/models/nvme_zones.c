/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Zones [ZNS]: each is written from its beginning to its end, and begun again only as a whole. The blocks are
 * where those of any namespace are; what is here is the state of each zone and where it will be written next,
 * which last as long as the model.
 */
#include "nvme.h"

#include <chalk/nvme_zns.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int nvme_make_zones(struct nvme_namespace *ns)
{
    ns->zone_count = ns->zone_size != 0 ? (unsigned)(ns->blocks / ns->zone_size) : 0;
    if (ns->zone_count == 0 || ns->zone_capacity == 0 || ns->zone_capacity > ns->zone_size)
        return -EINVAL;
    ns->blocks = ns->zone_count * ns->zone_size;
    ns->zones = calloc(ns->zone_count, sizeof *ns->zones);
    if (ns->zones == NULL)
        return -ENOMEM;
    for (unsigned i = 0; i < ns->zone_count; i++)
        ns->zones[i].state = CHALK_NVME_ZONE_IS_EMPTY;
    return 0;
}

/* 0 is no limit, and so is UINT32_MAX of a number less one. */
void nvme_zone_describe(const struct nvme_namespace *ns, struct nvme_identify_zoned *id)
{
    id->mar = ns->max_active - 1;
    id->mor = ns->max_open - 1;
    for (unsigned i = 0; nvme_format_shift(i) != 0; i++)
        id->lbafe[i].zsze = ns->zone_size << ns->shift >> nvme_format_shift(i);
}

/* ---- states [ZNS 2.1.1] ---- */

static bool is_open(uint8_t state)
{
    return state == CHALK_NVME_ZONE_IS_IMPLICITLY_OPEN || state == CHALK_NVME_ZONE_IS_EXPLICITLY_OPEN;
}

static bool is_active(uint8_t state)
{
    return is_open(state) || state == CHALK_NVME_ZONE_IS_CLOSED;
}

/* Every change of a state passes here, where what is limited is counted. */
static void become(struct nvme_namespace *ns, struct nvme_zone_of *zone, uint8_t state)
{
    ns->zones_open += (unsigned)is_open(state) - is_open(zone->state);
    ns->zones_active += (unsigned)is_active(state) - is_active(zone->state);
    zone->state = state;
}

/* Zones that were opened by being written can be closed to make room for another. */
static bool make_room(struct nvme_namespace *ns)
{
    for (unsigned i = 0; i < ns->zone_count && ns->zones_open == ns->max_open; i++)
        if (ns->zones[i].state == CHALK_NVME_ZONE_IS_IMPLICITLY_OPEN)
            become(ns, &ns->zones[i], CHALK_NVME_ZONE_IS_CLOSED);
    return ns->max_open == 0 || ns->zones_open < ns->max_open;
}

static uint16_t open_zone(struct nvme_namespace *ns, struct nvme_zone_of *zone, uint8_t state)
{
    if (!is_active(zone->state) && ns->max_active != 0 && ns->zones_active == ns->max_active)
        return NVME_TOO_MANY_ACTIVE;
    if (!is_open(zone->state) && !make_room(ns))
        return NVME_TOO_MANY_OPEN;
    become(ns, zone, state);
    return NVME_GOOD;
}

/* ---- reading and writing ---- */

static uint64_t start_of(const struct nvme_namespace *ns, const struct nvme_zone_of *zone)
{
    return (uint64_t)(zone - ns->zones) * ns->zone_size;
}

uint16_t nvme_zone_read(const struct nvme_namespace *ns, uint64_t lba, uint64_t count)
{
    const struct nvme_zone_of *zone = &ns->zones[lba / ns->zone_size];

    if (zone->state == CHALK_NVME_ZONE_IS_OFFLINE)
        return NVME_ZONE_OFFLINE;
    return count > ns->zone_size - lba % ns->zone_size ? NVME_ZONE_BOUNDARY : NVME_GOOD;
}

/* Whether the zone takes `count` blocks more, from its block `first` on; if so it has them. */
static uint16_t fill(struct nvme_namespace *ns, struct nvme_zone_of *zone, uint64_t first, uint64_t count)
{
    uint16_t status = NVME_GOOD;

    if (zone->state == CHALK_NVME_ZONE_IS_FULL)
        return NVME_ZONE_FULL;
    if (zone->state == CHALK_NVME_ZONE_IS_READ_ONLY)
        return NVME_ZONE_READ_ONLY;
    if (zone->state == CHALK_NVME_ZONE_IS_OFFLINE)
        return NVME_ZONE_OFFLINE;
    if (first > ns->zone_capacity || count > ns->zone_capacity - first)
        return NVME_ZONE_BOUNDARY;
    if (first != zone->written)
        return NVME_ZONE_INVALID_WRITE;
    if (!is_open(zone->state))
        status = open_zone(ns, zone, CHALK_NVME_ZONE_IS_IMPLICITLY_OPEN);
    if (status != NVME_GOOD)
        return status;
    zone->written += count;
    if (zone->written == ns->zone_capacity)
        become(ns, zone, CHALK_NVME_ZONE_IS_FULL);
    return NVME_GOOD;
}

uint16_t nvme_zone_write(struct nvme_namespace *ns, uint64_t lba, uint64_t count)
{
    return fill(ns, &ns->zones[lba / ns->zone_size], lba % ns->zone_size, count);
}

uint16_t nvme_zone_append(struct nvme_namespace *ns, uint64_t *lba, uint64_t count)
{
    struct nvme_zone_of *zone;

    if (ns->zone_count == 0)
        return NVME_INVALID_OPCODE;
    if (*lba % ns->zone_size != 0 || count << ns->shift > 4096u << NVME_MODEL_ZASL)
        return NVME_INVALID_FIELD;
    zone = &ns->zones[*lba / ns->zone_size];
    *lba += zone->written;
    return fill(ns, zone, zone->written, count);
}

/* ---- Zone Management Send [ZNS 3.4.3] ---- */

/* Its blocks read as zeroes then. */
static uint16_t empty(struct nvme_model *nvme, struct nvme_namespace *ns, struct nvme_zone_of *zone)
{
    zone->written = 0;
    become(ns, zone, CHALK_NVME_ZONE_IS_EMPTY);
    return nvme_zero(nvme, ns, start_of(ns, zone) << ns->shift, ns->zone_capacity << ns->shift);
}

static uint16_t act(struct nvme_model *nvme, struct nvme_namespace *ns, struct nvme_zone_of *zone,
                    unsigned action)
{
    uint8_t state = zone->state;

    switch (action) {
    case CHALK_NVME_ZONE_CLOSE:
        if (!is_active(state))
            return NVME_ZONE_TRANSITION;
        become(ns, zone, CHALK_NVME_ZONE_IS_CLOSED);
        return NVME_GOOD;
    case CHALK_NVME_ZONE_FINISH:
        if (!is_active(state) && state != CHALK_NVME_ZONE_IS_EMPTY && state != CHALK_NVME_ZONE_IS_FULL)
            return NVME_ZONE_TRANSITION;
        become(ns, zone, CHALK_NVME_ZONE_IS_FULL);
        return NVME_GOOD;
    case CHALK_NVME_ZONE_OPEN:
        if (!is_active(state) && state != CHALK_NVME_ZONE_IS_EMPTY)
            return NVME_ZONE_TRANSITION;
        return open_zone(ns, zone, CHALK_NVME_ZONE_IS_EXPLICITLY_OPEN);
    case CHALK_NVME_ZONE_RESET:
        if (state == CHALK_NVME_ZONE_IS_EMPTY)
            return NVME_GOOD;
        if (!is_active(state) && state != CHALK_NVME_ZONE_IS_FULL)
            return NVME_ZONE_TRANSITION;
        return empty(nvme, ns, zone);
    case CHALK_NVME_ZONE_OFFLINE:
        if (state != CHALK_NVME_ZONE_IS_READ_ONLY)
            return NVME_ZONE_TRANSITION;
        become(ns, zone, CHALK_NVME_ZONE_IS_OFFLINE);
        return NVME_GOOD;
    default:
        return NVME_INVALID_FIELD;
    }
}

/* Whether an action on all zones is for those in this state. */
static bool concerns(unsigned action, uint8_t state)
{
    switch (action) {
    case CHALK_NVME_ZONE_CLOSE:
        return is_open(state);
    case CHALK_NVME_ZONE_FINISH:
        return is_active(state);
    case CHALK_NVME_ZONE_OPEN:
        return state == CHALK_NVME_ZONE_IS_CLOSED;
    case CHALK_NVME_ZONE_RESET:
        return is_active(state) || state == CHALK_NVME_ZONE_IS_FULL;
    default:
        return state == CHALK_NVME_ZONE_IS_READ_ONLY;
    }
}

static uint16_t act_on_all(struct nvme_model *nvme, struct nvme_namespace *ns, unsigned action)
{
    uint16_t status = NVME_GOOD;

    if (action < CHALK_NVME_ZONE_CLOSE || action > CHALK_NVME_ZONE_OFFLINE)
        return NVME_INVALID_FIELD;
    for (unsigned i = 0; i < ns->zone_count && status == NVME_GOOD; i++)
        if (concerns(action, ns->zones[i].state))
            status = act(nvme, ns, &ns->zones[i], action);
    return status;
}

uint16_t nvme_zone_send(struct nvme_model *nvme, const struct nvme_command *command)
{
    struct nvme_namespace *ns = nvme_namespace(nvme, command->nsid);
    unsigned action = command->cdw13 & 0xff;

    if (ns == NULL)
        return NVME_INVALID_NAMESPACE;
    if (ns->zone_count == 0)
        return NVME_INVALID_OPCODE;
    if ((command->cdw13 >> 8 & 1) != 0)
        return act_on_all(nvme, ns, action);
    if (command->slba >= ns->blocks)
        return NVME_OUT_OF_RANGE;
    if (command->slba % ns->zone_size != 0)
        return NVME_INVALID_FIELD;
    return act(nvme, ns, &ns->zones[command->slba / ns->zone_size], action);
}

/* ---- Zone Management Receive [ZNS 3.4.2] ---- */

/* Whether a report that is filtered so has zones in this state. */
static bool reported(unsigned filter, uint8_t state)
{
    static const uint8_t states[] = {0,
                                     CHALK_NVME_ZONE_IS_EMPTY,
                                     CHALK_NVME_ZONE_IS_IMPLICITLY_OPEN,
                                     CHALK_NVME_ZONE_IS_EXPLICITLY_OPEN,
                                     CHALK_NVME_ZONE_IS_CLOSED,
                                     CHALK_NVME_ZONE_IS_FULL,
                                     CHALK_NVME_ZONE_IS_READ_ONLY,
                                     CHALK_NVME_ZONE_IS_OFFLINE};

    return filter == 0 || (filter < sizeof states && state == states[filter]);
}

static void describe(const struct nvme_namespace *ns, const struct nvme_zone_of *zone,
                     struct nvme_zone *entry)
{
    *entry = (struct nvme_zone){.type = NVME_ZONE_SEQUENTIAL,
                                .state = (uint8_t)(zone->state << 4),
                                .capacity = ns->zone_capacity,
                                .start = start_of(ns, zone),
                                .write_pointer = start_of(ns, zone) + zone->written};
}

uint16_t nvme_zone_receive(struct nvme_model *nvme, const struct nvme_command *command)
{
    static struct {
        struct nvme_zone_report header;
        struct nvme_zone entries[NVME_MODEL_TRANSFER / sizeof(struct nvme_zone) - 1];
    } report;
    const struct nvme_namespace *ns = nvme_namespace(nvme, command->nsid);
    uint64_t size = 4 * ((uint64_t)command->cdw12 + 1), room, fitting = 0;
    unsigned filter = command->cdw13 >> 8 & 0xff;

    if (ns == NULL)
        return NVME_INVALID_NAMESPACE;
    if (ns->zone_count == 0)
        return NVME_INVALID_OPCODE;
    if (command->slba >= ns->blocks)
        return NVME_OUT_OF_RANGE;
    if ((command->cdw13 & 0xff) != NVME_ZONE_REPORT || size < sizeof report.header || size > sizeof report)
        return NVME_INVALID_FIELD;
    memset(&report, 0, (size_t)size);
    room = size / sizeof(struct nvme_zone) - 1;
    for (uint64_t i = command->slba / ns->zone_size; i < ns->zone_count; i++)
        if (reported(filter, ns->zones[i].state)) {
            if (fitting < room)
                describe(ns, &ns->zones[i], &report.entries[fitting++]);
            report.header.count++;
        }
    if ((command->cdw13 >> 16 & 1) != 0) /* count only those that are here */
        report.header.count = fitting;
    return nvme_transfer(nvme, command, &report, (size_t)size, true);
}

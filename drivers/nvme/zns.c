/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Zoned namespaces: see <chalk/nvme_zns.h>. Nothing here is on a hot path; an application that appends at
 * full speed submits the same commands to its queue itself.
 */
#include "nvme.h"
#include "structures.h"
#include <chalk/nvme_admin.h>
#include <chalk/nvme_zns.h>
#include <string.h>

/* What the zoned command set says of a namespace, in nvme->identity. */
static int identify(struct chalk_nvme *nvme, enum chalk_nvme_cns cns, uint32_t nsid)
{
    int error = chalk_nvme_identify(nvme, cns, nsid, 0, CHALK_NVME_CSI_ZONED, NULL);

    return error == -EINVAL ? -ENOTSUP : error; /* it has no such structure */
}

/* Zones of an active namespace that is zoned, and whether all that is said of them adds up. */
static int read_geometry(struct chalk_nvme *nvme, const struct chalk_nvme_namespace *ns,
                         struct chalk_nvme_zoned *zoned)
{
    const struct nvme_identify_zoned *id = (const void *)nvme->identity;
    int error = identify(nvme, CHALK_NVME_CNS_CSI_NAMESPACE, ns->nsid);
    uint64_t size;

    if (error != 0)
        return error;
    size = id->lbafe[ns->format].zsze;
    if (size == 0 || size > ns->size) {
        chalk_log(CHALK_ERROR, "NVMe %s: namespace %u: invalid: zones of %llu blocks in a namespace of %llu",
                  nvme->name, ns->nsid, (unsigned long long)size, (unsigned long long)ns->size);
        return -EPROTO;
    }
    zoned->zone_size = size;
    zoned->zone_count = ns->size / size;
    zoned->max_active = id->mar != UINT32_MAX ? id->mar + 1 : UINT32_MAX;
    zoned->max_open = id->mor != UINT32_MAX ? id->mor + 1 : UINT32_MAX;
    return 0;
}

int chalk_nvme_identify_zoned(struct chalk_nvme *nvme, uint32_t nsid, struct chalk_nvme_zoned *zoned)
{
    struct chalk_nvme_identifiers ids;
    struct chalk_nvme_namespace ns;
    unsigned shift;
    int error = nvme_has_command_sets(nvme) ? chalk_nvme_identify_namespace(nvme, nsid, &ns) : -ENOTSUP;

    if (error == 0)
        error = chalk_nvme_get_identifiers(nvme, nsid, &ids);
    if (error == 0 && ids.csi != CHALK_NVME_CSI_ZONED)
        error = -ENOTSUP;
    if (error == 0)
        error = read_geometry(nvme, &ns, zoned);
    if (error == 0)
        error = identify(nvme, CHALK_NVME_CNS_CSI_CONTROLLER, 0);
    if (error != 0)
        return error;

    zoned->max_append = nvme->info.max_transfer;
    shift = nvme->identity[NVME_ZASL];
    if (shift != 0 && shift < 20 && (uint64_t)nvme->info.page_size << shift < zoned->max_append)
        zoned->max_append = nvme->info.page_size << shift;
    return 0;
}

/* ---- commands on zones ----------------------------------------------------------------------------- */

static uint32_t namespace_of(const struct chalk_block_queue *queue)
{
    return ((const struct nvme_queue *)queue)->nsid;
}

/* Whether a command that ran out of time is still under way. */
static bool zone_request_flies(const struct chalk_block_queue *block)
{
    const struct nvme_queue *queue = (const struct nvme_queue *)block;

    for (unsigned i = 0; i < queue->depth; i++)
        if (queue->slots[i].request == &queue->zone_request.block)
            return true;
    return false;
}

/*
 * Runs a command, with data in `segments` (NULL: none). The request is the queue's: when the deadline has
 * passed it may be under way for as long as there is a queue.
 */
static int run(struct chalk_block_queue *block, const struct chalk_nvme_command *command,
               const struct chalk_dma *segments, unsigned segment_count, uint64_t deadline, uint64_t *result)
{
    struct chalk_nvme_request *request = &((struct nvme_queue *)block)->zone_request;
    int error;

    if (zone_request_flies(block))
        return -EAGAIN;
    *request = (struct chalk_nvme_request){
        .block = {.op = CHALK_BLOCK_DRIVER, .segments = segments, .segment_count = (uint16_t)segment_count},
        .command = *command,
    };
    error = chalk_block_do(block, &request->block, deadline);
    if (error == 0 && result != NULL)
        *result = request->result;
    return error;
}

int chalk_nvme_do_zone(struct chalk_block_queue *queue, uint64_t lba, enum chalk_nvme_zone_action action,
                       bool all, uint64_t deadline)
{
    const struct chalk_nvme_command command =
        chalk_nvme_encode_zone_action(namespace_of(queue), all ? 0 : lba, action, all);

    return run(queue, &command, NULL, 0, deadline, NULL);
}

int chalk_nvme_append(struct chalk_block_queue *queue, const struct chalk_nvme_zoned *zoned, uint64_t zone,
                      uint32_t count, const struct chalk_dma *segments, unsigned segment_count, uint64_t *lba,
                      uint64_t deadline)
{
    struct chalk_nvme_command command;
    uint64_t bytes = (uint64_t)count * queue->info.block_size, place;
    int error;

    if (queue->info.metadata_size != 0 || ((struct nvme_queue *)queue)->protection != CHALK_NVME_PROTECT_NOT)
        return -ENOTSUP; /* the controller would look for metadata at address 0 */
    for (unsigned i = 0; i < segment_count; i++)
        bytes -= segments[i].size;
    if (count == 0 || (uint64_t)count * queue->info.block_size > zoned->max_append || bytes != 0 ||
        count > zoned->zone_size)
        return chalk_nvme_wrong_call(((struct nvme_queue *)queue)->nvme, "chalk_nvme_append",
                                     "count is 0 or beyond max_append, or not what the segments have");
    command = chalk_nvme_encode_zone_append(namespace_of(queue), zone, count);
    error = run(queue, &command, segments, segment_count, deadline, &place);
    if (error != 0)
        return error;
    if (place < zone || place - zone > zoned->zone_size - count)
        return -EPROTO;
    *lba = place;
    return 0;
}

/* ---- reports --------------------------------------------------------------------------------------- */

/* Whether the blocks of a zone in this state can still be written, so that it has a write pointer. */
static bool writable(uint8_t state)
{
    return state >= CHALK_NVME_ZONE_IS_EMPTY && state <= CHALK_NVME_ZONE_IS_CLOSED;
}

/* One descriptor, of the zone that starts at `start`. False: it makes no sense. */
static bool parse(const struct nvme_zone *entry, const struct chalk_nvme_zoned *zoned, uint64_t start,
                  struct chalk_nvme_zone *zone)
{
    uint8_t state = entry->state >> 4;

    if ((entry->type & 0xf) != NVME_ZONE_SEQUENTIAL || entry->start != start ||
        entry->capacity > zoned->zone_size)
        return false;
    if (!writable(state) && state < CHALK_NVME_ZONE_IS_READ_ONLY)
        return false;
    *zone = (struct chalk_nvme_zone){
        .start = start,
        .capacity = entry->capacity,
        .write_pointer = start + entry->capacity,
        .state = state,
    };
    if (writable(state))
        zone->write_pointer = entry->write_pointer;
    return zone->write_pointer >= start && zone->write_pointer - start <= entry->capacity;
}

/* Takes over up to `most` zones from a report that begins with the zone at `start`. -EPROTO: it is not one.
 */
static int read_report(const struct chalk_nvme_zoned *zoned, uint64_t start, const struct chalk_dma *buffer,
                       struct chalk_nvme_zone *zones, unsigned most)
{
    const struct nvme_zone_report *report = buffer->va;
    const struct nvme_zone *entries = (const void *)(report + 1);
    uint64_t left = zoned->zone_count - start / zoned->zone_size;
    unsigned room = (unsigned)((buffer->size - sizeof *report) / sizeof *entries), i;

    /* All from there on are counted; fewer than there are would leave the rest unknown. */
    if (chalk_dma_load64(&report->count) != left)
        return -EPROTO;
    if (most > left)
        most = (unsigned)left;
    if (most > room)
        most = room;
    for (i = 0; i < most; i++, start += zoned->zone_size) {
        struct nvme_zone entry;

        chalk_dma_observe(&entry, &entries[i], sizeof entry);
        if (!parse(&entry, zoned, start, &zones[i]))
            return -EPROTO;
    }
    return (int)most;
}

int chalk_nvme_report_zones(struct chalk_block_queue *queue, const struct chalk_nvme_zoned *zoned,
                            uint64_t lba, const struct chalk_dma *buffer, struct chalk_nvme_zone *zones,
                            unsigned *count, uint64_t deadline)
{
    uint64_t zone = lba / zoned->zone_size;
    unsigned wanted = *count, found = 0;
    struct chalk_dma piece = *buffer, *segment = &((struct nvme_queue *)queue)->zone_segment;
    size_t most = ((struct nvme_queue *)queue)->nvme->info.max_transfer;

    *count = 0;
    if (piece.size > most)
        piece.size = most;
    piece.size &= ~(size_t)63;
    if (piece.size < sizeof(struct nvme_zone_report) + sizeof(struct nvme_zone))
        return chalk_nvme_wrong_call(((struct nvme_queue *)queue)->nvme, "chalk_nvme_report_zones",
                                     "the buffer has no room for one zone");
    while (found < wanted && zone < zoned->zone_count) {
        uint64_t start = zone * zoned->zone_size;
        const struct chalk_nvme_command command =
            chalk_nvme_encode_zone_report(namespace_of(queue), start, 0, (uint32_t)piece.size);
        int result = zone_request_flies(queue) ? -EAGAIN : 0;

        if (result == 0) {
            *segment = piece;
            memset(piece.va, 0, piece.size);
            result = run(queue, &command, segment, 1, deadline, NULL);
        }
        if (result == 0)
            result = read_report(zoned, start, &piece, zones + found, wanted - found);
        if (result < 0)
            return result;
        found += (unsigned)result;
        zone += (unsigned)result;
        *count = found;
    }
    return 0;
}

const char *chalk_nvme_zone_state_name(uint8_t state)
{
    static const char *const names[16] = {
        [CHALK_NVME_ZONE_IS_EMPTY] = "empty",
        [CHALK_NVME_ZONE_IS_IMPLICITLY_OPEN] = "implicitly open",
        [CHALK_NVME_ZONE_IS_EXPLICITLY_OPEN] = "open",
        [CHALK_NVME_ZONE_IS_CLOSED] = "closed",
        [CHALK_NVME_ZONE_IS_READ_ONLY] = "read-only",
        [CHALK_NVME_ZONE_IS_FULL] = "full",
        [CHALK_NVME_ZONE_IS_OFFLINE] = "off line",
    };

    return state < 16 && names[state] != NULL ? names[state] : "in no state there is";
}

/* ---- command sets ---------------------------------------------------------------------------------- */

int chalk_nvme_choose_command_sets(struct chalk_nvme *nvme)
{
    const uint64_t nvm = 1ull << CHALK_NVME_CSI_NVM, both = nvm | 1ull << CHALK_NVME_CSI_ZONED;
    const uint64_t *combinations = (const void *)nvme->identity;
    int chosen = -1;
    int error = chalk_nvme_identify(nvme, CHALK_NVME_CNS_COMMAND_SETS, 0, NVME_THIS_CONTROLLER,
                                    CHALK_NVME_CSI_NVM, "Identify (I/O command sets)");

    if (error != 0 && nvme->identify_status != 0) {
        nvme->cap &= ~NVME_CAP_CSS_ALL; /* it is used as if it had the NVM command set alone */
        return 0;
    }
    if (error != 0)
        return error;
    for (int i = 0; i < NVME_COMBINATIONS && (chosen < 0 || (combinations[chosen] & both) != both); i++)
        if ((combinations[i] & nvm) != 0 && (chosen < 0 || (combinations[i] & both) == both))
            chosen = i;
    if (chosen < 0) {
        chalk_log(CHALK_ERROR, "NVMe %s: no combination of its I/O command sets has the NVM command set",
                  nvme->name);
        return -ENOTSUP;
    }
    nvme->command_sets = (uint16_t)chosen;
    return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* I/O commands [NVM 3]. What is in memory is done at once; what is in a file goes through a buffer, and comes
 * back when the file is done with it. */
#include "nvme.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RANGES 256 /* of one Dataset Management */

/* ---- slots ---- */

static struct nvme_slot *take_slot(struct nvme_model *nvme, uint16_t sq, const struct nvme_command *command)
{
    struct nvme_slot *slot = nvme->slots;

    if (slot != NULL) {
        nvme->slots = slot->next;
    } else {
        slot = calloc(1, sizeof *slot);
        if (slot != NULL)
            slot->buffer = malloc(2 * NVME_MODEL_TRANSFER); /* the second half is for what is compared */
        if (slot == NULL || slot->buffer == NULL) {
            free(slot);
            return NULL;
        }
    }
    slot->command = *command;
    slot->result = 0;
    slot->sq = sq;
    nvme->at_stores++;
    return slot;
}

void nvme_slot_free(struct nvme_model *nvme, struct nvme_slot *slot)
{
    slot->next = nvme->slots;
    nvme->slots = slot;
    nvme->at_stores--;
}

/* ---- blocks ---- */

struct blocks {
    struct nvme_namespace *ns;
    uint64_t offset;
    size_t size; /* bytes */
};

/* Checks what the command says of blocks. */
static uint16_t find_blocks(struct nvme_model *nvme, const struct nvme_command *command,
                            struct blocks *blocks)
{
    uint64_t count = (uint64_t)(command->cdw12 & 0xffff) + 1;

    blocks->ns = nvme_namespace(nvme, command->nsid);
    if (blocks->ns == NULL)
        return NVME_INVALID_NAMESPACE;
    if ((command->cdw12 >> 26 & 0xf) != 0) /* no end-to-end protection */
        return NVME_INVALID_FIELD;
    if (command->slba >= blocks->ns->blocks || count > blocks->ns->blocks - command->slba)
        return NVME_OUT_OF_RANGE;
    blocks->offset = command->slba << blocks->ns->shift;
    blocks->size = (size_t)count << blocks->ns->shift;
    return NVME_GOOD;
}

static void count(struct nvme_model *nvme, bool reads, size_t size)
{
    (reads ? nvme->health.reads : nvme->health.writes)[0]++;
    /* in pieces of 512 bytes; told in thousands */
    (reads ? nvme->health.units_read : nvme->health.units_written)[0] += size / 512;
}

static uint16_t begin(struct nvme_model *nvme, struct nvme_slot *slot, struct store *store, enum store_op op,
                      uint64_t offset, size_t size)
{
    slot->request = (struct store_request){.op = op, .offset = offset, .bytes = slot->buffer, .size = size};
    if (store_begin(store, &slot->request) == 0)
        return NVME_LATER;
    nvme_slot_free(nvme, slot);
    return NVME_INTERNAL_ERROR;
}

/* Where the blocks of a zoned namespace go, or whether they may. */
static uint16_t place(const struct nvme_command *command, struct blocks *blocks, uint64_t *lba)
{
    uint64_t count = blocks->size >> blocks->ns->shift;
    unsigned opcode = command->cdw0 & 0xff;
    uint16_t status = NVME_GOOD;

    *lba = command->slba;
    if (opcode == NVME_ZONE_APPEND)
        status = nvme_zone_append(blocks->ns, lba, count);
    else if (blocks->ns->zone_count != 0)
        status = opcode == NVME_READ ? nvme_zone_read(blocks->ns, *lba, count)
                                     : nvme_zone_write(blocks->ns, *lba, count);
    blocks->offset = *lba << blocks->ns->shift;
    return status;
}

static uint16_t read_or_write(struct nvme_model *nvme, uint16_t sq, const struct nvme_command *command,
                              uint64_t *result)
{
    bool appends = (command->cdw0 & 0xff) == NVME_ZONE_APPEND;
    uint64_t lba;
    bool reads = (command->cdw0 & 0xff) == NVME_READ;
    struct nvme_slot *slot;
    struct blocks blocks;
    enum store_op op;
    uint16_t status = find_blocks(nvme, command, &blocks);

    if (status != NVME_GOOD)
        return status;
    if (blocks.size > nvme_most_bytes(nvme))
        return NVME_INVALID_FIELD;
    if (appends || blocks.ns->zone_count != 0) {
        status = place(command, &blocks, &lba);
        if (status != NVME_GOOD)
            return status;
        *result = appends ? lba : 0;
    }
    count(nvme, reads, blocks.size);
    if (store_is_null(blocks.ns->store))
        return (command->cdw0 >> 14 & 3) == 0 && command->prp1 % 4 != 0 ? NVME_PRP_OFFSET : NVME_GOOD;
    if (store_memory(blocks.ns->store) != NULL)
        return nvme_transfer(nvme, command, store_memory(blocks.ns->store) + blocks.offset, blocks.size,
                             reads);
    slot = take_slot(nvme, sq, command);
    if (slot == NULL)
        return NVME_INTERNAL_ERROR;
    slot->result = *result;
    if (!reads) {
        status = nvme_transfer(nvme, command, slot->buffer, blocks.size, false);
        if (status != NVME_GOOD) {
            nvme_slot_free(nvme, slot);
            return status;
        }
    }
    op = reads ? STORE_READ : (command->cdw12 & NVME_FORCE_UNIT) != 0 ? STORE_WRITE_THROUGH : STORE_WRITE;
    return begin(nvme, slot, blocks.ns->store, op, blocks.offset, blocks.size);
}

static uint16_t compare(struct nvme_model *nvme, uint16_t sq, const struct nvme_command *command)
{
    struct nvme_slot *slot;
    struct blocks blocks;
    uint16_t status = find_blocks(nvme, command, &blocks);
    char *other;

    if (status != NVME_GOOD)
        return status;
    if (blocks.size > nvme_most_bytes(nvme))
        return NVME_INVALID_FIELD;
    slot = take_slot(nvme, sq, command);
    if (slot == NULL)
        return NVME_INTERNAL_ERROR;
    other = slot->buffer + NVME_MODEL_TRANSFER;
    status = nvme_transfer(nvme, command, other, blocks.size, false);
    if (status == NVME_GOOD && store_memory(blocks.ns->store) == NULL && !store_is_null(blocks.ns->store))
        return begin(nvme, slot, blocks.ns->store, STORE_READ, blocks.offset, blocks.size);
    if (status == NVME_GOOD && store_memory(blocks.ns->store) != NULL &&
        memcmp(other, store_memory(blocks.ns->store) + blocks.offset, blocks.size) != 0)
        status = NVME_MISCOMPARE;
    nvme_slot_free(nvme, slot);
    return status;
}

/* ---- zeroes ---- */

static uint16_t end_unless_later(struct nvme_model *nvme, struct nvme_slot *slot, uint16_t status)
{
    if (status != NVME_LATER)
        nvme_slot_free(nvme, slot);
    return status;
}

static uint16_t write_zeroes(struct nvme_model *nvme, uint16_t sq, const struct nvme_command *command)
{
    struct nvme_slot *slot;
    struct blocks blocks;
    uint16_t status = find_blocks(nvme, command, &blocks);
    uint64_t lba;

    if (status == NVME_GOOD)
        status = place(command, &blocks, &lba);
    if (status != NVME_GOOD)
        return status;
    slot = take_slot(nvme, sq, command);
    if (slot == NULL)
        return NVME_INTERNAL_ERROR;
    *(struct nvme_extent *)(void *)slot->buffer = (struct nvme_extent){blocks.offset, blocks.size};
    return end_unless_later(nvme, slot, nvme_zero_later(nvme, slot, blocks.ns, 1));
}

static uint16_t read_ranges(struct nvme_model *nvme, const struct nvme_command *command,
                            const struct nvme_namespace *ns, struct nvme_extent *extents, unsigned count)
{
    struct nvme_range ranges[RANGES];
    size_t size = nvme_has(nvme, NVME_FETCHES_4K)    ? sizeof ranges
                  : nvme_has(nvme, NVME_FETCHES_512) ? (count * sizeof ranges[0] + 511) / 512 * 512
                                                     : count * sizeof ranges[0];
    uint16_t status = nvme_transfer(nvme, command, ranges, size, false);

    for (unsigned i = 0; i < count && status == NVME_GOOD; i++) {
        if (ranges[i].slba > ns->blocks || ranges[i].blocks > ns->blocks - ranges[i].slba)
            status = NVME_OUT_OF_RANGE;
        else
            extents[i] =
                (struct nvme_extent){ranges[i].slba << ns->shift, (uint64_t)ranges[i].blocks << ns->shift};
    }
    return status;
}

/* Deallocated blocks read as zeroes here. */
static uint16_t deallocate(struct nvme_model *nvme, uint16_t sq, const struct nvme_command *command)
{
    struct nvme_namespace *ns = nvme_namespace(nvme, command->nsid);
    unsigned count = (command->cdw10 & 0xff) + 1;
    struct nvme_slot *slot;
    uint16_t status;

    if (ns == NULL)
        return NVME_INVALID_NAMESPACE;
    slot = take_slot(nvme, sq, command);
    if (slot == NULL)
        return NVME_INTERNAL_ERROR;
    status = read_ranges(nvme, command, ns, (struct nvme_extent *)(void *)slot->buffer, count);
    if (status == NVME_GOOD && (command->cdw11 & NVME_DATASET_DEALLOCATE) != 0)
        status = nvme_zero_later(nvme, slot, ns, count);
    return end_unless_later(nvme, slot, status);
}

static uint16_t flush(struct nvme_model *nvme, uint16_t sq, const struct nvme_command *command)
{
    struct nvme_namespace *ns = nvme_namespace(nvme, command->nsid);
    struct nvme_slot *slot;

    if (ns == NULL)
        return NVME_INVALID_NAMESPACE;
    if (store_is_null(ns->store) || store_memory(ns->store) != NULL)
        return NVME_GOOD;
    slot = take_slot(nvme, sq, command);
    return slot != NULL ? begin(nvme, slot, ns->store, STORE_FLUSH, 0, 0) : NVME_INTERNAL_ERROR;
}

static uint16_t verify(struct nvme_model *nvme, const struct nvme_command *command)
{
    struct blocks blocks;

    return find_blocks(nvme, command, &blocks);
}

/* Optional commands, which the firmware after a reset does not have. */
static bool is_left_out(const struct nvme_model *nvme, unsigned opcode)
{
    return nvme_has_shrunk(nvme) &&
           (opcode == NVME_COMPARE || opcode == NVME_WRITE_ZEROES || opcode == NVME_DATASET);
}

uint16_t nvme_io(struct nvme_model *nvme, uint16_t sq, const struct nvme_command *command, uint64_t *result)
{
    if ((command->cdw0 >> 8 & 3) != 0) /* no fused operations */
        return NVME_INVALID_FIELD;
    if (is_left_out(nvme, command->cdw0 & 0xff))
        return NVME_INVALID_OPCODE;
    switch (command->cdw0 & 0xff) {
    case NVME_READ:
    case NVME_WRITE:
    case NVME_ZONE_APPEND:
        return read_or_write(nvme, sq, command, result);
    case NVME_ZONE_SEND:
        return nvme_zone_send(nvme, command);
    case NVME_ZONE_RECEIVE:
        return nvme_zone_receive(nvme, command);
    case NVME_FLUSH:
        return flush(nvme, sq, command);
    case NVME_COMPARE:
        return compare(nvme, sq, command);
    case NVME_WRITE_ZEROES:
        return write_zeroes(nvme, sq, command);
    case NVME_DATASET:
        return deallocate(nvme, sq, command);
    case NVME_VERIFY:
        return verify(nvme, command);
    default:
        return NVME_INVALID_OPCODE;
    }
}

uint16_t nvme_io_finish(struct nvme_model *nvme, struct nvme_slot *slot)
{
    unsigned opcode = slot->command.cdw0 & 0xff;
    size_t size = slot->request.size;

    if (opcode == NVME_WRITE_ZEROES || opcode == NVME_DATASET)
        return nvme_zero_finish(slot);
    if (slot->request.error != 0)
        return NVME_INTERNAL_ERROR;
    switch (opcode) {
    case NVME_READ:
        return nvme_transfer(nvme, &slot->command, slot->buffer, size, true);
    case NVME_COMPARE:
        return memcmp(slot->buffer, slot->buffer + NVME_MODEL_TRANSFER, size) == 0 ? NVME_GOOD
                                                                                   : NVME_MISCOMPARE;
    default:
        return NVME_GOOD;
    }
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Making zeroes of blocks: Write Zeroes, deallocation [NVM 3.2.8, 3.2.3], and what formats and zones need. A
 * store gives its space back, which takes as long as Linux takes. A command can be about terabytes; so it is
 * done in pieces, between which the model does other things.
 */
#include "nvme.h"

#include <errno.h>
#include <string.h>

/* Of memory, what Linux takes back in some milliseconds; of a file, what its file system does in one step, or
 * where it cannot, the zeroes of one write. */
#define MEMORY_PIECE ((uint64_t)64 << 20)
#define FILE_PIECE   ((uint64_t)1 << 30)

uint16_t nvme_zero(struct nvme_model *nvme, struct nvme_namespace *ns, uint64_t offset, uint64_t size)
{
    nvme_drain(nvme); /* what is under way must not come after it */
    return store_zero(ns->store, offset, size) == 0 ? NVME_GOOD : NVME_INTERNAL_ERROR;
}

/* The extents are in the first half of the slot's buffer; zeroes, once they are needed, in the second. */
static struct nvme_extent *extent_of(struct nvme_slot *slot)
{
    return (struct nvme_extent *)(void *)slot->buffer + slot->extent;
}

/* Takes `size` bytes off the extent that is worked on, and goes on to the next one that has any. */
static void advance(struct nvme_slot *slot, uint64_t size)
{
    struct nvme_extent *extent = extent_of(slot);

    extent->offset += size;
    extent->size -= size;
    while (slot->extent < slot->extents && extent_of(slot)->size == 0)
        slot->extent++;
}

static uint16_t begin_piece(struct nvme_slot *slot)
{
    const struct nvme_extent *extent = extent_of(slot);
    uint64_t most = slot->writes_zeroes ? NVME_MODEL_TRANSFER : FILE_PIECE;

    slot->request = (struct store_request){
        .op = slot->writes_zeroes ? STORE_WRITE : STORE_ZERO,
        .offset = extent->offset,
        .bytes = slot->buffer + NVME_MODEL_TRANSFER,
        .size = (size_t)(extent->size < most ? extent->size : most),
    };
    return store_begin(slot->store, &slot->request) == 0 ? NVME_LATER : NVME_INTERNAL_ERROR;
}

/* With Force Unit Access the zeroes are on the disk before the command completes [NVM 3.2.8]; of
 * deallocation the bit means something else. */
static uint16_t begin_flush(struct nvme_slot *slot)
{
    if ((slot->command.cdw0 & 0xff) != NVME_WRITE_ZEROES || (slot->command.cdw12 & NVME_FORCE_UNIT) == 0)
        return NVME_GOOD;
    slot->request = (struct store_request){.op = STORE_FLUSH};
    return store_begin(slot->store, &slot->request) == 0 ? NVME_LATER : NVME_INTERNAL_ERROR;
}

uint16_t nvme_zero_later(struct nvme_model *nvme, struct nvme_slot *slot, struct nvme_namespace *ns,
                         unsigned extents)
{
    struct nvme_slot **link = &nvme->jobs;

    slot->store = ns->store;
    slot->extents = extents;
    slot->extent = 0;
    slot->writes_zeroes = false;
    advance(slot, 0);
    if (slot->extent == slot->extents || store_is_null(ns->store))
        return NVME_GOOD;
    if (store_memory(ns->store) == NULL)
        return begin_piece(slot);
    while (*link != NULL)
        link = &(*link)->next;
    slot->next = NULL;
    *link = slot;
    return NVME_LATER;
}

uint16_t nvme_zero_finish(struct nvme_slot *slot)
{
    if (slot->request.error != 0 && slot->request.op == STORE_ZERO) { /* a file system without holes */
        slot->writes_zeroes = true;
        memset(slot->buffer + NVME_MODEL_TRANSFER, 0, NVME_MODEL_TRANSFER);
        return begin_piece(slot);
    }
    if (slot->request.error != 0)
        return NVME_INTERNAL_ERROR;
    if (slot->request.op == STORE_FLUSH)
        return NVME_GOOD;
    advance(slot, slot->request.size);
    return slot->extent < slot->extents ? begin_piece(slot) : begin_flush(slot);
}

bool nvme_run_jobs(struct nvme_model *nvme, bool all)
{
    bool any = false;

    while (nvme->jobs != NULL && (all || !any)) {
        struct nvme_slot *slot = nvme->jobs;
        const struct nvme_extent *extent = extent_of(slot);
        uint64_t size = extent->size < MEMORY_PIECE ? extent->size : MEMORY_PIECE;
        int error = store_zero(slot->store, extent->offset, size);

        any = true;
        advance(slot, size);
        if (error == 0 && slot->extent < slot->extents)
            continue;
        nvme->jobs = slot->next;
        nvme_complete(nvme, slot->sq, &slot->command, error == 0 ? NVME_GOOD : NVME_INTERNAL_ERROR, 0);
        nvme_slot_free(nvme, slot);
    }
    return any;
}

void nvme_drop_jobs(struct nvme_model *nvme)
{
    while (nvme->jobs != NULL) {
        struct nvme_slot *slot = nvme->jobs;

        nvme->jobs = slot->next;
        nvme_slot_free(nvme, slot);
    }
}

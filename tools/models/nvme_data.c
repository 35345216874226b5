/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Data of commands, as they describe it.
 *
 * PRPs [Base 4.1.1]: an address that may begin in mid-page, then whole pages, in the command or in a list of
 * up to a page, whose last entry leads to the next list.
 *
 * SGLs [Base 4.1.2]: descriptors of pieces of any size and address, one in the command; or that one leads to
 * a segment of them, whose last one may lead to the next segment.
 */
#include "nvme.h"

#include <string.h>

#define PAGE 4096u

static bool move(struct nvme_model *nvme, uint64_t address, char *bytes, size_t size, bool to_memory)
{
    void *view = model_view(&nvme->model, address, size, to_memory ? REACH_WRITE : REACH_READ);

    if (view == NULL)
        return to_memory ? model_store(&nvme->model, address, bytes, size)
                         : model_load(&nvme->model, address, bytes, size);
    memcpy(to_memory ? view : bytes, to_memory ? bytes : view, size);
    return true;
}

/* The pages after the first, from a list. */
static uint16_t move_listed(struct nvme_model *nvme, uint64_t list, char *bytes, size_t size, bool to_memory)
{
    uint64_t entry;

    if (list % 8 != 0)
        return NVME_PRP_OFFSET;
    while (size > 0) {
        size_t piece = size < PAGE ? size : PAGE;

        if (!model_load(&nvme->model, list, &entry, sizeof entry))
            return NVME_TRANSFER_ERROR;
        if (entry % PAGE != 0)
            return NVME_PRP_OFFSET;
        list += 8;
        if (list % PAGE == 0 && (size > PAGE || nvme_has(nvme, NVME_FOLLOWS_LAST_ENTRY))) {
            list = entry;
            continue;
        }
        if (!move(nvme, entry, bytes, piece, to_memory))
            return NVME_TRANSFER_ERROR;
        bytes += piece;
        size -= piece;
    }
    return NVME_GOOD;
}

static uint16_t move_prps(struct nvme_model *nvme, const struct nvme_command *command, char *bytes,
                          size_t size, bool to_memory)
{
    size_t first = PAGE - command->prp1 % PAGE;

    if (command->prp1 % 4 != 0)
        return NVME_PRP_OFFSET;
    if (first > size)
        first = size;
    if (!move(nvme, command->prp1, bytes, first, to_memory))
        return NVME_TRANSFER_ERROR;
    bytes += first;
    size -= first;
    if (size == 0)
        return NVME_GOOD;
    if (size > PAGE)
        return move_listed(nvme, command->prp2, bytes, size, to_memory);
    if (command->prp2 % PAGE != 0)
        return NVME_PRP_OFFSET;
    return move(nvme, command->prp2, bytes, size, to_memory) ? NVME_GOOD : NVME_TRANSFER_ERROR;
}

/* ---- SGLs ---- */

#define SGL_SEGMENT 0x20
#define SEGMENTS    16 /* that we follow for one command */

/* The pieces of one segment, but for a descriptor at its end that leads on, which `*next` gets. */
static uint16_t move_segment(struct nvme_model *nvme, const struct nvme_sgl *segment, struct nvme_sgl *next,
                             char **bytes, size_t *size, bool to_memory)
{
    uint32_t count = segment->length / sizeof *segment;

    if (count == 0 || segment->length % sizeof *segment != 0)
        return NVME_SGL_SEGMENT;
    next->length = 0;
    for (uint32_t i = 0; i<count && * size> 0; i++) {
        struct nvme_sgl piece;
        size_t moved;

        if (!model_load(&nvme->model, segment->address + i * sizeof piece, &piece, sizeof piece))
            return NVME_TRANSFER_ERROR;
        if (i == count - 1 && segment->type == SGL_SEGMENT) {
            *next = piece;
            return piece.type == SGL_SEGMENT || piece.type == NVME_SGL_LAST ? NVME_GOOD : NVME_SGL_SEGMENT;
        }
        if (piece.type != NVME_SGL_DATA)
            return NVME_SGL_TYPE;
        moved = piece.length < *size ? piece.length : *size;
        if (!move(nvme, piece.address, *bytes, moved, to_memory))
            return NVME_TRANSFER_ERROR;
        *bytes += moved;
        *size -= moved;
    }
    return NVME_GOOD;
}

static uint16_t move_sgl(struct nvme_model *nvme, const struct nvme_command *command, char *bytes,
                         size_t size, bool to_memory)
{
    struct nvme_sgl segment, next;
    uint16_t status = NVME_GOOD;

    memcpy(&segment, &command->prp1, sizeof segment);
    if (segment.type == NVME_SGL_DATA) {
        if (segment.length < size)
            return NVME_SGL_LENGTH;
        return move(nvme, segment.address, bytes, size, to_memory) ? NVME_GOOD : NVME_TRANSFER_ERROR;
    }
    if (segment.type != SGL_SEGMENT && segment.type != NVME_SGL_LAST)
        return NVME_SGL_TYPE;
    for (unsigned i = 0; i < SEGMENTS && segment.length != 0 && status == NVME_GOOD && size > 0; i++) {
        status = move_segment(nvme, &segment, &next, &bytes, &size, to_memory);
        segment = next;
    }
    return status == NVME_GOOD && size > 0 ? NVME_SGL_LENGTH : status;
}

/* ---- either ---- */

static uint16_t transfer(struct nvme_model *nvme, const struct nvme_command *command, void *bytes,
                         size_t size, bool to_memory)
{
    switch (command->cdw0 >> 14 & 3) {
    case 0:
        return move_prps(nvme, command, bytes, size, to_memory);
    case 1:
        return nvme_knows_sgls(nvme) ? move_sgl(nvme, command, bytes, size, to_memory) : NVME_INVALID_FIELD;
    default: /* 2 is for metadata in segments, which there is none of; 3 is reserved */
        return NVME_INVALID_FIELD;
    }
}

/* As the script has it, from a copy. */
static uint16_t transfer_spoiled(struct nvme_model *nvme, const struct nvme_command *command,
                                 const void *bytes, size_t size)
{
    static char spoiled[NVME_MODEL_TRANSFER];

    if (size > sizeof spoiled)
        return NVME_INTERNAL_ERROR;
    memcpy(spoiled, bytes, size);
    size = script_spoil(nvme->model.script, nvme->spoiling, spoiled, size);
    return transfer(nvme, command, spoiled, size, true);
}

uint16_t nvme_transfer(struct nvme_model *nvme, const struct nvme_command *command, void *bytes, size_t size,
                       bool to_memory)
{
    return nvme->spoiling != NULL && to_memory ? transfer_spoiled(nvme, command, bytes, size)
                                               : transfer(nvme, command, bytes, size, to_memory);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Data of commands, as PRPs describe it [Base 4.1.1]: an address that may begin in mid-page, then whole
 * pages, in the command or in a list of up to a page, whose last entry leads to the next list. */
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
        if (list % PAGE == 0 && size > PAGE) {
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

uint16_t nvme_transfer(struct nvme_model *nvme, const struct nvme_command *command, void *data, size_t size,
                       bool to_memory)
{
    size_t first = PAGE - command->prp1 % PAGE;
    char *bytes = data;

    if ((command->cdw0 >> 14 & 3) != 0) /* no SGLs */
        return NVME_INVALID_FIELD;
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

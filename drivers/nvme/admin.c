/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Admin commands, one at a time: written, rung, and waited for, by polling or asleep, until its deadline.
 *
 * A command that gets no answer may still be under way, and may still write into our memory. There is no way
 * to know, so the controller is stopped.
 */
#include "nvme.h"
#include <string.h>

int chalk_nvme_admin_open(struct chalk_nvme *nvme)
{
    struct nvme_admin_queue *admin = &nvme->admin;
    size_t page = nvme->info.page_size;
    int error;

    admin->phase = 1; /* memory is zeroed: the first lap's phase bits are 1 [Base 3.3.3.2.2] */
    error =
        chalk_dma_get(nvme->memory, NVME_ADMIN_ENTRIES * sizeof(struct nvme_command), page, &admin->commands);
    if (error == 0)
        error = chalk_dma_get(nvme->memory, NVME_ADMIN_ENTRIES * sizeof(struct nvme_completion), page,
                              &admin->completions);
    if (error != 0)
        return error;
    chalk_grant_check(nvme->domain, admin->commands.iova, admin->commands.size);
    chalk_grant_check(nvme->domain, admin->completions.iova, admin->completions.size);
    return chalk_nvme_window(nvme, NVME_DOORBELL(0, 0), 2 * (size_t)nvme->info.doorbell_stride,
                             &admin->doorbells);
}

void chalk_nvme_admin_close(struct chalk_nvme *nvme)
{
    if (nvme->admin.commands.va != NULL)
        chalk_dma_put(nvme->memory, &nvme->admin.commands);
    if (nvme->admin.completions.va != NULL)
        chalk_dma_put(nvme->memory, &nvme->admin.completions);
}

/* The next completion: true, and copied once, if there is one. */
static bool take(struct chalk_nvme *nvme, struct nvme_completion *completion)
{
    struct nvme_admin_queue *admin = &nvme->admin;
    const struct nvme_completion *entry = (const struct nvme_completion *)admin->completions.va + admin->head;

    /* The phase bit first; everything else once it is known to be new [Base 3.3.3.2.2]. */
    completion->outcome = chalk_dma_load32(&entry->outcome);
    if (NVME_OUTCOME_PHASE(completion->outcome) != admin->phase)
        return false;
    completion->origin = chalk_dma_load32(&entry->origin);
    completion->result = chalk_dma_load32(&entry->result);

    if (++admin->head == NVME_ADMIN_ENTRIES) {
        admin->head = 0;
        admin->phase ^= 1;
    }
    chalk_mmio_write32(&admin->doorbells, nvme->info.doorbell_stride, admin->head);
    return true;
}

/* Waits for the next completion; false at the deadline, or when another core has found the controller failed.
 */
static bool wait(struct chalk_nvme *nvme, uint64_t deadline, struct nvme_completion *completion)
{
    struct chalk_core_info core;
    bool asleep = nvme->interrupts && chalk_core_info(nvme->core, &core) == 0;

    while (nvme_state(nvme) == NVME_LIVE) {
        uint32_t seen = asleep ? atomic_load(core.events) : 0;
        bool late = chalk_expired(deadline);

        if (take(nvme, completion))
            return true;
        if (late)
            return false;
        if (asleep)
            chalk_core_wait(nvme->core, seen, deadline);
        else
            chalk_pause();
    }
    return false;
}

static int fail(struct chalk_nvme *nvme, const char *what, int error)
{
    uint32_t csts = chalk_mmio_read32(&nvme->registers, NVME_CSTS);

    if (csts == NVME_GONE)
        error = -ENODEV;
    if (!chalk_nvme_fail(nvme, error))
        return nvme_error(nvme);
    if (error == -ENODEV)
        chalk_log(CHALK_ERROR, "NVMe %s: gone during %s", nvme->name, what);
    else if (error == -EPROTO)
        chalk_log(CHALK_ERROR, "NVMe %s: answered %s with the completion of another command; stopped",
                  nvme->name, what);
    else
        chalk_log(CHALK_ERROR, "NVMe %s: no answer to %s within %u ms, status 0x%08x; stopped", nvme->name,
                  what, (unsigned)(nvme->timeout_ns / CHALK_MS), csts);
    return error;
}

int chalk_nvme_admin(struct chalk_nvme *nvme, const struct nvme_command *command, const char *what,
                     uint32_t *result)
{
    struct nvme_admin_queue *admin = &nvme->admin;
    struct nvme_command *entry = (struct nvme_command *)admin->commands.va + admin->tail;
    struct nvme_completion completion;
    uint16_t status;

    if (nvme_state(nvme) != NVME_LIVE)
        return nvme_error(nvme);
    admin->cid = (admin->cid + 1) & 0x7fff; /* in the error log, ffffh is no command [Base 3.3.3.1] */
    memcpy(entry, command, sizeof *entry);
    entry->cdw0 = (command->cdw0 & 0xffff) | (uint32_t)admin->cid << 16;
    admin->tail = (admin->tail + 1) % NVME_ADMIN_ENTRIES;
    chalk_mmio_write32(&admin->doorbells, 0, admin->tail);

    if (!wait(nvme, chalk_deadline(nvme->timeout_ns), &completion))
        return fail(nvme, what != NULL ? what : "an admin command", -ETIMEDOUT);
    if (NVME_OUTCOME_CID(completion.outcome) != admin->cid || completion.origin >= NVME_ADMIN_ENTRIES)
        return fail(nvme, what != NULL ? what : "an admin command", -EPROTO);
    if (result != NULL)
        *result = completion.result;
    status = NVME_OUTCOME_STATUS(completion.outcome);
    if (NVME_STATUS_CODE(status) == 0)
        return 0;
    if (what != NULL)
        chalk_log(CHALK_ERROR, "NVMe %s: %s was refused: %s (status 0x%03x)", nvme->name, what,
                  chalk_nvme_status_name(status), NVME_STATUS_CODE(status));
    return chalk_nvme_status_error(status);
}

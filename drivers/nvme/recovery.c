/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What becomes of the requests of a queue when its controller is late, lies or goes.
 *
 * Nothing here runs while all is well, but the sweep: it looks now and then whether requests have grown old.
 */
#include "nvme.h"

int chalk_nvme_refused(struct nvme_queue *queue, const struct chalk_block_request *request, uint32_t outcome)
{
    uint16_t status = NVME_OUTCOME_STATUS(outcome);

    queue->block.counters.failed++;
    if (queue->warnings < 8) {
        queue->warnings++;
        chalk_log(CHALK_WARNING,
                  "NVMe %s: namespace %u: %s of %u blocks at %llu failed: %s (status 0x%03x)%s",
                  queue->nvme->name, queue->nsid, chalk_block_op_name(request->op), request->count,
                  (unsigned long long)request->lba, chalk_nvme_status_name(status), NVME_STATUS_CODE(status),
                  queue->warnings == 8 ? "; more will not be told" : "");
    }
    return chalk_nvme_status_error(status);
}

void chalk_nvme_distrust(struct nvme_queue *queue, uint32_t origin, uint32_t outcome)
{
    if (chalk_nvme_fail(queue->nvme, -EPROTO))
        chalk_log(CHALK_ERROR,
                  "NVMe %s: queue %u: completed command 0x%04x of queue %u, head %u, which is not in flight; "
                  "stopped",
                  queue->nvme->name, queue->id, NVME_OUTCOME_CID(outcome), origin >> 16, origin & 0xffff);
}

static bool late(const struct nvme_slot *slot)
{
    return slot->age > NVME_SWEEPS;
}

/* A late request stops the controller: until it no longer reaches memory, the buffer cannot be given back. */
void chalk_nvme_sweep(struct nvme_queue *queue)
{
    struct chalk_nvme *nvme = queue->nvme;
    uint32_t csts = chalk_mmio_read32(&nvme->registers, NVME_CSTS);
    const struct chalk_block_request *oldest = NULL;

    for (unsigned i = 0; i < queue->depth; i++) {
        struct nvme_slot *slot = &queue->slots[i];

        if (slot->request == NULL)
            continue;
        slot->age++;
        if (late(slot))
            oldest = slot->request;
    }
    if (csts == NVME_GONE) {
        if (chalk_nvme_fail(nvme, -ENODEV))
            chalk_log(CHALK_ERROR, "NVMe %s: gone; was it unplugged?", nvme->name);
    } else if ((csts & NVME_CSTS_CFS) != 0) {
        if (chalk_nvme_fail(nvme, -EIO))
            chalk_log(CHALK_ERROR, "NVMe %s: fatal status 0x%08x; stopped", nvme->name, csts);
    } else if (oldest != NULL) {
        if (chalk_nvme_fail(nvme, -ETIMEDOUT))
            chalk_log(CHALK_ERROR,
                      "NVMe %s: queue %u: %s of %u blocks at %llu not answered within %u ms, status 0x%08x; "
                      "stopped",
                      nvme->name, queue->id, chalk_block_op_name(oldest->op), oldest->count,
                      (unsigned long long)oldest->lba, (unsigned)(queue->timeout_ns / CHALK_MS), csts);
    }
    queue->next_sweep = chalk_ticks() + queue->sweep_ticks;
}

/* ---- a queue whose controller has stopped ---------------------------------------------------------- */

static int submit_nothing(struct chalk_block_queue *block, struct chalk_block_request *const *requests,
                          unsigned count)
{
    (void)requests;
    return count != 0 ? ((struct nvme_queue *)block)->error : 0;
}

static void kick_nothing(struct chalk_block_queue *block)
{
    (void)block;
}

/* Calls back at most `max` (0: all) of the requests in flight. */
static int cancel(struct nvme_queue *queue, unsigned max, int status)
{
    unsigned found = 0;

    for (unsigned i = 0; i < queue->depth && (max == 0 || found < max); i++) {
        struct chalk_block_request *request = queue->slots[i].request;
        int error;

        if (request == NULL)
            continue;
        queue->slots[i].request = NULL;
        queue->block.counters.completed++;
        queue->block.counters.failed++;
        found++;
        error = late(&queue->slots[i]) ? -ETIMEDOUT : status;
        chalk_block_completed(&queue->block, request, error, 0);
        request->done(request, error);
    }
    return (int)found;
}

static int poll_dead(struct chalk_block_queue *block, unsigned max)
{
    struct nvme_queue *queue = (struct nvme_queue *)block;
    int error = nvme_error(queue->nvme), found;

    block->counters.polls++;
    found = cancel(queue, max, error == -ETIMEDOUT ? -EIO : error);
    return found != 0 ? found : queue->error;
}

static const struct chalk_block_ops dead_ops = {
    .submit = submit_nothing, .kick = kick_nothing, .poll = poll_dead};
const struct chalk_block_ops chalk_nvme_closing_ops = {
    .submit = submit_nothing, .kick = kick_nothing, .poll = chalk_nvme_poll};

int chalk_nvme_give_up(struct nvme_queue *queue, unsigned max)
{
    if (queue->error == 0) {
        queue->error = queue->nvme->error == -ENODEV ? -ENODEV : -EIO;
        return chalk_nvme_poll(&queue->block, max);
    }
    queue->block.ops = &dead_ops;
    return poll_dead(&queue->block, max);
}

void chalk_nvme_cancel(struct nvme_queue *queue, int status)
{
    queue->error = -EIO;
    queue->block.ops = &dead_ops;
    (void)cancel(queue, 0, status);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An adaptive queue polls under load and lets its owner wait when it is idle. It is in one of two states,
 * which its polls change:
 *
 *     listening    interrupts are on, and the owner may wait after a poll that found nothing.
 *                  BUSY requests ended within `patience`: quiet
 *     quiet        interrupts are off, and the owner goes on polling.
 *                  none ended for `patience`: listening
 *
 * No wake-up is lost: when interrupts are on again the ring is looked at once more, before the owner may wait
 * with the event word that it read before this poll. Where a vector has to be detached to be quiet, which
 * takes many times what a mask bit does, the same load changes the state more seldom.
 *
 * Polls that find something while quiet cost a call and a comparison more than those of other queues.
 */
#include "nvme.h"

#define BUSY        8
#define PATIENCE_NS 1000000
#define DETACH      16 /* times as patient */

static void become_quiet(struct nvme_queue *queue, uint64_t now)
{
    chalk_vector_quiet(&queue->nvme->vectors, queue->vector);
    queue->block.may_wait = false;
    queue->adapt.completed = queue->block.counters.completed;
    queue->adapt.since = now;
}

static void hear(struct nvme_queue *queue, unsigned found, uint64_t now)
{
    if (now - queue->adapt.since >= queue->adapt.patience) {
        queue->adapt.since = now;
        queue->adapt.heard = 0;
    }
    queue->adapt.heard += found;
    if (queue->adapt.heard >= queue->adapt.busy)
        become_quiet(queue, now);
}

/* Returns what a last look finds. */
static int listen(struct nvme_queue *queue, unsigned max, uint64_t now)
{
    int error = chalk_vector_listen(&queue->nvme->vectors, queue->vector);

    if (error != 0) {
        chalk_log(CHALK_WARNING,
                  "NVMe %s: queue %u: its interrupts cannot be turned on again (%s); it is polled",
                  queue->nvme->name, queue->id, chalk_error_name(error));
        queue->block.ops = queue->live = &chalk_nvme_live_ops;
        return 0;
    }
    queue->block.may_wait = true;
    queue->adapt.heard = 0;
    queue->adapt.since = now;
    return chalk_nvme_live_ops.poll(&queue->block, max);
}

/* Nothing was found: for how long? */
static int lose_patience(struct nvme_queue *queue, unsigned max, uint64_t now)
{
    if (queue->adapt.completed != queue->block.counters.completed) {
        queue->adapt.completed = queue->block.counters.completed;
        queue->adapt.since = now;
    }
    return now - queue->adapt.since < queue->adapt.patience ? 0 : listen(queue, max, now);
}

int chalk_nvme_poll_adaptive(struct chalk_block_queue *block, unsigned max)
{
    struct nvme_queue *queue = (struct nvme_queue *)block;
    int found = chalk_nvme_live_ops.poll(block, max);

    if (found > 0 && block->may_wait)
        hear(queue, (unsigned)found, chalk_ticks());
    else if (found == 0 && !block->may_wait && block->ops == queue->live)
        return lose_patience(queue, max, chalk_ticks());
    return found;
}

void chalk_nvme_adapt(struct nvme_queue *queue, uint64_t patience_ns)
{
    unsigned times = chalk_vectors_can_mask(&queue->nvme->vectors, queue->vector) ? 1 : DETACH;

    queue->adapt.patience = times * chalk_ns_to_ticks(patience_ns != 0 ? patience_ns : PATIENCE_NS);
    queue->adapt.busy = times * BUSY;
    queue->live = &chalk_nvme_adaptive_ops;
}

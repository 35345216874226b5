#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Writes a source of the library with a bug in it, to see that it is found: bugs.py NAME ROOT OUTPUT; --names lists them."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
import bug  # noqa: E402

BUGS = {  # name: (source, what is right, what is not); found by the driver of loops if it is the scheduler's
    'freed-twice': (
        'drivers/nvme/io.c',
        '    if (NVME_OUTCOME_FAILED(outcome)) {\n',
        '    if (NVME_OUTCOME_FAILED(outcome)) {\n        queue->cids[--queue->in_flight] = (uint16_t)slot->tag;\n'),
    'doorbell-early': (
        'drivers/nvme/admin.c',
        '    memcpy(entry, command, sizeof *entry);\n',
        '    chalk_mmio_write32(&admin->doorbells, 0, (admin->tail + 1) % NVME_ADMIN_ENTRIES);\n'
        '    memcpy(entry, command, sizeof *entry);\n'),
    'id-unchecked': (
        'drivers/nvme/io.c',
        'if ((slot->tag & ~NVME_TAG_RESULT) != cid || origin - queue->origin >= queue->entries) {',
        'if (origin - queue->origin >= queue->entries) {'),
    'wake-lost': (
        'drivers/nvme/reset.c',
        '            chalk_core_wake(nvme->cores[id]);\n',
        '            continue;\n'),
    'wake-early': (
        'drivers/nvme/reset.c',
        '    atomic_store_explicit(&nvme->epoch, epoch, memory_order_release);\n    for (',
        '    for ('),
    'head-untold': (
        'drivers/nvme/io.c',
        '    chalk_mmio_write32(&queue->head_doorbell, 0, queue->cq_head);\n',
        ''),
    'kept-untold': (
        'drivers/nvme/io.c',
        '    if (unlikely(queue->head_moved))\n        ring_head(queue);\n',
        ''),
    'status-kept': (
        'drivers/nvme/reset.c',
        '    nvme->error = chalk_nvme_fatal_error(error);\n',
        '    nvme->error = error;\n'),
    'idle-unaware': (
        'drivers/nvme/io.c',
        '(queue->in_flight != 0 && now >= queue->next_sweep) || nvme_is_time_to_look(queue->nvme, now)',
        '(queue->in_flight != 0 && now >= queue->next_sweep)'),
    'process-trusted': (
        'drivers/nvme/reset.c',
        '*csts = nvme_is_lost(nvme) ? NVME_GONE : chalk_mmio_read32',
        '*csts = nvme_is_lost(nvme) ? NVME_GONE : nvme->registers.lost != NULL ? NVME_CSTS_RDY : chalk_mmio_read32'),
    'passing-final': (
        'drivers/nvme/admin.c',
        'bool again = call->again || call->mends || !nvme->open;',
        'bool again = !nvme->open;'),
    'shape-kept': (
        'drivers/nvme/shape.c',
        '    if (is_same(before, &now))\n        return true;\n',
        '    return true;\n'),
    'change-unseen': (
        'drivers/nvme/shape.c',
        '    queue->unfit = !still_has(queue, &queue->look);\n',
        ''),
    'not-renewed': (
        'drivers/nvme/reset.c',
        '    if (error == 0)\n        error = chalk_nvme_renew(nvme);\n',
        ''),
    'grant-ignored': (
        'drivers/nvme/shape.c',
        '    if (queue->id > info->queues)\n',
        '    if (false)\n'),
    'lock-missing': (
        'drivers/nvme/admin.c',
        'static void lock(struct nvme_admin_queue *admin)\n{\n    chalk_lock_take(&admin->lock);\n',
        'static void lock(struct nvme_admin_queue *admin)\n{\n    (void)admin;\n'),
    'vector-left-off': (
        'drivers/nvme/adapt.c',
        '    int error = chalk_vector_listen(&queue->nvme->vectors, queue->vector);\n',
        '    int error = 0;\n'),
    'event-unread': (
        'drivers/nvme/events.c',
        '    if (NVME_EVENT_LOG(events->told) == 0)\n        return true;\n',
        '    return true;\n'),
    'memory-leaked': (
        'drivers/nvme/admin.c',
        '    if (nvme->admin.completions.va != NULL)\n        chalk_dma_put(',
        '    if (nvme->admin.completions.va == NULL)\n        chalk_dma_put('),
    'message-unseen': (
        'lib/sched/loop.c',
        'return !inbox_empty(&loop->inbox) || atomic_load',
        'return atomic_load'),
}


def driver(name):
    return 'loops' if BUGS[name][0].startswith('lib/sched/') else 'nvme'


if __name__ == '__main__':
    bug.main(BUGS, driver)

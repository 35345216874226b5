/* SPDX-License-Identifier: BSD-2-Clause */
/* First come, first served, inline: the policy of most loops costs no call. */
#ifndef SCHED_FIFO_H
#define SCHED_FIFO_H

#include <chalk/task.h>

static inline void fifo_append(struct chalk_fifo *fifo, struct chalk_task *task)
{
    task->next = NULL;
    *fifo->last = task;
    fifo->last = &task->next;
}

static inline struct chalk_task *fifo_remove(struct chalk_fifo *fifo)
{
    struct chalk_task *task = fifo->first;

    if (task == NULL)
        return NULL;
    fifo->first = task->next;
    if (task->next == NULL)
        fifo->last = &fifo->first;
    return task;
}

#endif

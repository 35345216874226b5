/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Events for a task. An interrupt of the admin queue ends its wait; but another core may have taken what that
 * told of, or reset the controller, which no interrupt tells: so it looks now and then all the same.
 */
#include "nvme.h"
#include <chalk/task.h>

int chalk_nvme_await_event(struct chalk_task *self, struct chalk_nvme *nvme, struct chalk_nvme_event *event,
                           uint64_t deadline)
{
    for (;;) {
        bool last_look = chalk_expired(deadline);
        uint32_t seen = atomic_load_explicit(&nvme->vectors.vectors[0].interrupts, memory_order_acquire);
        int error = chalk_nvme_next_event(nvme, event);
        uint64_t next;

        if (error != -EAGAIN)
            return error;
        if (last_look)
            return -ETIMEDOUT;
        next = chalk_deadline(nvme->info.vectors != 0 ? 100 * CHALK_MS : CHALK_MS);
        (void)chalk_task_wait_counter(self, &nvme->vectors.vectors[0].interrupts, seen,
                                      next < deadline ? next : deadline);
    }
}

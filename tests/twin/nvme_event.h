/* SPDX-License-Identifier: BSD-2-Clause */
/* What twin tests of namespaces and events share: waiting for the next event, and a cause of one. */
#ifndef TESTS_NVME_EVENT_H
#define TESTS_NVME_EVENT_H

#include <chalk/clock.h>
#include <chalk/nvme_admin.h>

#include <errno.h>

/* The next event; -EAGAIN: there is none for `patience` ns. */
static inline int next_event(struct chalk_nvme *nvme, uint64_t patience, struct chalk_nvme_event *event)
{
    uint64_t deadline = chalk_deadline(patience);
    int error;

    while ((error = chalk_nvme_next_event(nvme, event)) == -EAGAIN && !chalk_expired(deadline))
        chalk_pause();
    return error;
}

/* Attaches a namespace to the controller that is asked, or detaches it. */
static inline int attach_here(struct chalk_nvme *nvme, uint32_t nsid, bool attached)
{
    const uint16_t self = chalk_nvme_get_info(nvme)->controller_id;

    return chalk_nvme_attach_namespace(nvme, nsid, attached, &self, 1);
}

#endif

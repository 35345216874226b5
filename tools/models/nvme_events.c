/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Asynchronous events [Base 5.2]. What has happened is told to a command that waits for it. From then on no
 * more of its type is told until the log page that goes with it has been read.
 */
#include "nvme.h"

#include <string.h>

#include <chalk/nvme_admin.h>

#define TOO_HOT 0x04 /* temperature threshold, a feature */

/* What each is [Base 5.2.1, Figures 148 to 150], and the bit of the configuration that it is wanted by. */
static const struct {
    uint8_t type, what, log;
    uint32_t wanted; /* 0: always */
} kinds[NVME_EVENT_COUNT] = {
    [NVME_BAD_DOORBELL] = {CHALK_NVME_EVENT_ERROR, 0x00, CHALK_NVME_LOG_ERRORS, 0},
    [NVME_BAD_VALUE] = {CHALK_NVME_EVENT_ERROR, 0x01, CHALK_NVME_LOG_ERRORS, 0},
    [NVME_TEMPERATURE] = {CHALK_NVME_EVENT_HEALTH, 0x01, CHALK_NVME_LOG_HEALTH, CHALK_NVME_WARNS_TEMPERATURE},
    [NVME_NAMESPACES] = {CHALK_NVME_EVENT_NOTICE, 0x00, CHALK_NVME_LOG_CHANGED, CHALK_NVME_WATCH_NAMESPACES},
};

/* ---- what happens ---- */

void nvme_happens(struct nvme_model *nvme, enum nvme_event event)
{
    struct nvme_events *events = &nvme->events;
    uint32_t wanted = kinds[event].wanted;

    if (wanted != 0 && (nvme->features[NVME_FEATURE_EVENTS] & wanted) == 0)
        return;
    for (unsigned i = 0; i < events->pending_count; i++)
        if (events->pending[i] == event)
            return;
    events->pending[events->pending_count++] = (uint8_t)event;
}

void nvme_doorbell_error(struct nvme_model *nvme, enum nvme_event event)
{
    uint16_t status = event == NVME_BAD_DOORBELL ? NVME_INVALID_QUEUE : NVME_INVALID_FIELD;

    /* of no command */
    nvme_log_error(nvme,
                   (struct nvme_error_entry){
                       .sqid = 0xffff, .cid = 0xffff, .status = (uint16_t)(status << 1), .location = 0xffff});
    nvme_happens(nvme, event);
}

void nvme_namespace_changed(struct nvme_model *nvme, uint32_t nsid)
{
    nvme->changed |= 1ull << (nsid - 1);
    nvme_happens(nvme, NVME_NAMESPACES);
}

bool nvme_is_out_of_bounds(const struct nvme_model *nvme)
{
    return NVME_MODEL_KELVIN >= nvme->features[TOO_HOT] || NVME_MODEL_KELVIN <= nvme->too_cold;
}

void nvme_check_temperature(struct nvme_model *nvme)
{
    if (nvme_is_out_of_bounds(nvme))
        nvme_happens(nvme, NVME_TEMPERATURE);
}

/* ---- who is told ---- */

static uint16_t take_request(struct nvme_events *events, unsigned i)
{
    uint16_t cid = events->requests[i];

    events->request_count--;
    memmove(events->requests + i, events->requests + i + 1,
            (events->request_count - i) * sizeof events->requests[0]);
    return cid;
}

/* Its room was not kept while it waited. */
static void end_request(struct nvme_model *nvme, unsigned i, uint16_t status, uint32_t result)
{
    const struct nvme_command command = {.cdw0 = NVME_EVENT_REQUEST | (uint32_t)take_request(&nvme->events, i)
                                                                          << 16};

    nvme->cqs[0].under_way++;
    nvme_complete(nvme, 0, &command, status, result);
}

bool nvme_tell(struct nvme_model *nvme)
{
    struct nvme_events *events = &nvme->events;
    unsigned left = 0, count = events->pending_count;
    bool any = false;

    for (unsigned i = 0; i < count; i++) {
        uint8_t event = events->pending[i], type = kinds[event].type;

        if ((events->told >> type & 1) != 0 || events->request_count == 0 || !nvme_has_room(nvme, 0)) {
            events->pending[left++] = event;
            continue;
        }
        events->told |= (uint8_t)(1u << type);
        end_request(nvme, 0, NVME_GOOD, NVME_EVENT(type, kinds[event].what, kinds[event].log));
        any = true;
    }
    events->pending_count = left;
    return any;
}

void nvme_log_is_read(struct nvme_model *nvme, uint8_t log)
{
    struct nvme_events *events = &nvme->events;
    unsigned left = 0;

    for (unsigned event = 0; event < NVME_EVENT_COUNT; event++)
        if (kinds[event].log == log)
            events->told &= (uint8_t) ~(1u << kinds[event].type);
    for (unsigned i = 0; i < events->pending_count; i++)
        if (kinds[events->pending[i]].log != log)
            events->pending[left++] = events->pending[i];
    events->pending_count = left;
    if (log == CHALK_NVME_LOG_CHANGED)
        nvme->changed = 0;
}

/* ---- commands ---- */

uint16_t nvme_request_event(struct nvme_model *nvme, const struct nvme_command *command)
{
    struct nvme_events *events = &nvme->events;

    if (events->request_count == NVME_MODEL_EVENTS)
        return NVME_EVENT_LIMIT;
    events->requests[events->request_count++] = (uint16_t)(command->cdw0 >> 16);
    nvme->cqs[0].under_way--; /* perhaps it is never to come */
    return NVME_LATER;
}

/* What can be aborted is what waits for an event; all else is too fast [Base 5.1]. */
uint16_t nvme_abort(struct nvme_model *nvme, const struct nvme_command *command, uint64_t *result)
{
    uint16_t cid = (uint16_t)(command->cdw10 >> 16);

    *result = 1; /* not aborted */
    for (unsigned i = 0; i < nvme->events.request_count && (command->cdw10 & 0xffff) == 0; i++)
        if (nvme->events.requests[i] == cid && nvme_has_room(nvme, 0)) {
            end_request(nvme, i, NVME_ABORTED, 0);
            *result = 0;
            break;
        }
    return NVME_GOOD;
}

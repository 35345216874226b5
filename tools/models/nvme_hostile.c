/* SPDX-License-Identifier: BSD-2-Clause */
/* What a script can do to the controller's commands and completions. */
#include "nvme.h"

#define HAS(what) (1u << WHAT_##what)

/* Of a command: its opcode, and whether it is one of administration. */
#define ADMIN    0x100u
#define OPCODE   (ADMIN | 0xffu)
#define DOORBELL 0xf000u /* all but the offset in the page of doorbells */

static const struct script_name names[] = {
    {WHEN_COMMAND, "admin", ADMIN, ADMIN},
    {WHEN_COMMAND, "io", 0, ADMIN},
    {WHEN_COMMAND, "delete-sq", ADMIN | NVME_DELETE_SQ, OPCODE},
    {WHEN_COMMAND, "create-sq", ADMIN | NVME_CREATE_SQ, OPCODE},
    {WHEN_COMMAND, "get-log", ADMIN | NVME_GET_LOG_PAGE, OPCODE},
    {WHEN_COMMAND, "delete-cq", ADMIN | NVME_DELETE_CQ, OPCODE},
    {WHEN_COMMAND, "create-cq", ADMIN | NVME_CREATE_CQ, OPCODE},
    {WHEN_COMMAND, "identify", ADMIN | NVME_IDENTIFY, OPCODE},
    {WHEN_COMMAND, "abort", ADMIN | NVME_ABORT, OPCODE},
    {WHEN_COMMAND, "set-features", ADMIN | NVME_SET_FEATURES, OPCODE},
    {WHEN_COMMAND, "get-features", ADMIN | NVME_GET_FEATURES, OPCODE},
    {WHEN_COMMAND, "event-request", ADMIN | NVME_EVENT_REQUEST, OPCODE},
    {WHEN_COMMAND, "namespace-management", ADMIN | NVME_NAMESPACE_MANAGEMENT, OPCODE},
    {WHEN_COMMAND, "namespace-attachment", ADMIN | NVME_NAMESPACE_ATTACHMENT, OPCODE},
    {WHEN_COMMAND, "doorbell-buffer", ADMIN | NVME_DOORBELL_BUFFER, OPCODE},
    {WHEN_COMMAND, "format", ADMIN | NVME_FORMAT, OPCODE},
    {WHEN_COMMAND, "flush", NVME_FLUSH, OPCODE},
    {WHEN_COMMAND, "write", NVME_WRITE, OPCODE},
    {WHEN_COMMAND, "read", NVME_READ, OPCODE},
    {WHEN_COMMAND, "compare", NVME_COMPARE, OPCODE},
    {WHEN_COMMAND, "write-zeroes", NVME_WRITE_ZEROES, OPCODE},
    {WHEN_COMMAND, "dataset", NVME_DATASET, OPCODE},
    {WHEN_COMMAND, "verify", NVME_VERIFY, OPCODE},
    {WHEN_COMMAND, "zone-send", NVME_ZONE_SEND, OPCODE},
    {WHEN_COMMAND, "zone-receive", NVME_ZONE_RECEIVE, OPCODE},
    {WHEN_COMMAND, "zone-append", NVME_ZONE_APPEND, OPCODE},
    {WHEN_COMPLETION, "admin", 0, UINT64_MAX},
    {WHEN_COMPLETION, "io", 1, UINT64_MAX},
    {WHEN_READ, "cap", NVME_CAP, UINT64_MAX},
    {WHEN_READ, "vs", NVME_VS, UINT64_MAX},
    {WHEN_READ, "cc", NVME_CC, UINT64_MAX},
    {WHEN_READ, "csts", NVME_CSTS, UINT64_MAX},
    {WHEN_WRITE, "cc", NVME_CC, UINT64_MAX},
    {WHEN_WRITE, "aqa", NVME_AQA, UINT64_MAX},
    {WHEN_WRITE, "asq", NVME_ASQ, UINT64_MAX},
    {WHEN_WRITE, "acq", NVME_ACQ, UINT64_MAX},
    {WHEN_WRITE, "doorbell", NVME_REGISTERS_SIZE, DOORBELL},
};

/* Each was reported of real controllers, but for the last two: a firmware update may change that much. */
static const char *const habits[] = {
    [NVME_FETCHES_4K] = "fetches-4k-of-ranges",
    [NVME_FETCHES_512] = "fetches-512-of-ranges",
    [NVME_FOLLOWS_LAST_ENTRY] = "follows-last-entries",
    [NVME_PAGES_ONLY] = "pages-only",
    [NVME_IGNORES_CNS] = "ignores-cns",
    [NVME_DOORBELLS_APART] = "doorbells-256-apart",
    [NVME_REFUSES_QUEUES] = "refuses-queues",
    [NVME_SHRINKS] = "shrinks-at-resets",
    [NVME_GRANTS_LESS] = "grants-less-at-resets",
    [NVME_HABITS] = NULL,
};

const struct script_names nvme_names = {
    .device = "nvme",
    .names = names,
    .count = sizeof names / sizeof names[0],
    .habits = habits,
    .opcodes = 0xff,
    .reshapes = true,
    .commands = HAS(IGNORE) | HAS(STATUS) | HAS(GARBAGE) | HAS(FILL) | HAS(PUT) | HAS(SHORT),
    .completions =
        HAS(IGNORE) | HAS(LATE) | HAS(TWICE) | HAS(ID) | HAS(STATUS) | HAS(QUEUE) | HAS(HEAD) | HAS(STALE),
};

const struct script_rule *nvme_command_event(struct nvme_model *nvme, uint16_t sq,
                                             const struct nvme_command *command)
{
    const struct script_rule *rule =
        model_event(&nvme->model, WHEN_COMMAND, (sq == 0 ? ADMIN : 0) | (command->cdw0 & 0xff));

    nvme_change_namespaces(nvme);
    return rule;
}

/* ---- completions ---- */

/* Its room in the queue is kept. One more than can be held is in time. */
static void hold(struct nvme_model *nvme, uint16_t cq, const struct nvme_completion *entry, uint64_t ns)
{
    if (nvme->held_count == NVME_MODEL_HELD) {
        nvme_post(nvme, &nvme->cqs[cq], *entry);
        return;
    }
    nvme->cqs[cq].under_way++;
    nvme->held[nvme->held_count++] =
        (struct nvme_held){.due = model_now(&nvme->model) + ns, .cq = cq, .entry = *entry};
}

void nvme_complete_wrongly(struct nvme_model *nvme, const struct script_rule *rule, uint16_t cq,
                           struct nvme_completion entry)
{
    uint32_t value = (uint32_t)rule->value;

    switch (rule->what) {
    case WHAT_IGNORE:
        return;
    case WHAT_LATE:
        hold(nvme, cq, &entry, rule->value);
        return;
    case WHAT_TWICE:
        nvme_post(nvme, &nvme->cqs[cq], entry);
        break;
    case WHAT_ID:
        entry.outcome = (entry.outcome & 0xffff0000) | (value & 0xffff);
        break;
    case WHAT_STATUS:
        entry.outcome = (entry.outcome & 0x1ffff) | value << 17;
        break;
    case WHAT_QUEUE:
        entry.origin = (entry.origin & 0xffff) | value << 16;
        break;
    case WHAT_HEAD:
        entry.origin = (entry.origin & 0xffff0000) | (value & 0xffff);
        break;
    default: /* WHAT_STALE */
        entry.outcome ^= 1u << 16;
    }
    nvme_post(nvme, &nvme->cqs[cq], entry);
}

bool nvme_post_late(struct nvme_model *nvme, bool all)
{
    uint64_t now = nvme->held_count != 0 ? model_now(&nvme->model) : 0;
    unsigned left = 0;
    bool any = false;

    nvme->model.due = NEVER;
    for (unsigned i = 0; i < nvme->held_count; i++) {
        struct nvme_held *held = &nvme->held[i];

        if (now < held->due && !all) {
            if (held->due < nvme->model.due)
                nvme->model.due = held->due;
            nvme->held[left++] = *held;
            continue;
        }
        nvme->cqs[held->cq].under_way--;
        nvme_post(nvme, &nvme->cqs[held->cq], held->entry);
        any = true;
    }
    nvme->held_count = left;
    return any;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The shape of a namespace, and queues that rely on it.
 *
 * A queue has the block size, the number of blocks, the metadata and the protection of its namespace in its
 * own fields, and computes from them how much memory a command is about. If the namespace has another shape,
 * the controller reads and writes more memory than the request has. So a command that changes the shape of a
 * namespace is refused while a queue of it is open.
 */
#include "nvme.h"
#include "structures.h"

/* Whether a queue of namespace `nsid`, or of any, is open. */
static bool is_in_use(const struct chalk_nvme *nvme, uint32_t nsid, bool any)
{
    for (unsigned id = 1; id < NVME_QUEUES; id++) {
        uint32_t in_use = atomic_load_explicit(&nvme->nsids[id], memory_order_relaxed);

        if (in_use != 0 && (any || in_use == nsid))
            return true;
    }
    return false;
}

/* Whether this controller is in a list of controllers; the list is `size` bytes. One that is cut short counts
 * as one that has it. */
static bool lists_this(const struct chalk_nvme *nvme, const void *data, size_t size)
{
    uint16_t count, id;

    if (size < sizeof(struct nvme_controller_list))
        return true;
    memcpy(&count, data, sizeof count);
    if (count > NVME_CONTROLLERS_LISTED)
        return true;
    for (unsigned i = 0; i < count; i++) {
        memcpy(&id, (const char *)data + (1 + i) * sizeof id, sizeof id);
        if (id == nvme->info.controller_id)
            return true;
    }
    return false;
}

/* Whether the command takes away, or gives another shape to, namespaces that a queue is open for: which it
 * names, or, where it is about others, too, any. */
static bool changes_open(const struct chalk_nvme *nvme, const struct chalk_nvme_command *command,
                         const void *data, size_t size)
{
    uint32_t nsid = command->nsid;
    bool all = nsid == CHALK_NVME_ALL;

    switch (command->opcode) {
    case NVME_FORMAT: /* Base 5.14: SES, bits 11:9, asks for an erasure */
        all |= nvme->info.formats_all || (nvme->info.erases_all && (command->cdw10 >> 9 & 7) != 0);
        return is_in_use(nvme, nsid, all);
    case NVME_SANITIZE: /* of all that the subsystem has [Base 5.24] */
        return is_in_use(nvme, 0, true);
    case NVME_NAMESPACE_MANAGEMENT:
        return (command->cdw10 & 0xf) == NVME_MANAGEMENT_DELETE && is_in_use(nvme, nsid, all);
    case NVME_NAMESPACE_ATTACHMENT:
        return (command->cdw10 & 0xf) == NVME_ATTACHMENT_DETACH && is_in_use(nvme, nsid, all) &&
               lists_this(nvme, data, size);
    case NVME_CAPACITY_MANAGEMENT: /* deletes endurance groups and sets with the namespaces in them [Base 5.3]
                                    */
        return is_in_use(nvme, 0, true);
    case NVME_SET_FEATURES: /* namespaces of other command sets go [Base 5.27.1.21] */
        return (command->cdw10 & 0xff) == NVME_FEATURE_COMMAND_SETS && is_in_use(nvme, 0, true);
    default:
        return false;
    }
}

int chalk_nvme_check_unused(const struct chalk_nvme *nvme, const struct chalk_nvme_command *command,
                            const void *data, size_t size)
{
    if (!changes_open(nvme, command, data, size))
        return 0;
    chalk_log(
        CHALK_ERROR,
        "NVMe %s: admin command 0x%02x on namespace 0x%x would change a namespace that a queue is open for; "
        "close the queue first",
        nvme->name, command->opcode, command->nsid);
    return -EBUSY;
}

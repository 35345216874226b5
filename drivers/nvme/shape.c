/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The shape of a namespace, and queues that rely on it.
 *
 * A queue has the block size, the number of blocks, the metadata and the protection of its namespace in its
 * own fields, and computes from them how much memory a command is about. If the namespace has another shape,
 * the controller reads and writes more memory than the request has. So a command that changes the shape of a
 * namespace is refused while a queue of it is open. What others have changed, through another controller or
 * while this one was reset, ends the queue: the shape is looked at after each reset, and when the controller
 * reports that namespaces have changed.
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

/* ---- changes by others ----------------------------------------------------------------------------- */

void chalk_nvme_take_shape(struct nvme_queue *queue, const struct chalk_nvme_namespace *ns)
{
    queue->shape = (struct nvme_shape){
        .size = ns->size,
        .block_size = ns->block_size,
        .metadata_size = ns->metadata_size,
        .interleaved = ns->interleaved,
        .protection = ns->protection,
        .protection_first = ns->protection_first,
    };
    memcpy(queue->shape.nguid, ns->nguid, sizeof queue->shape.nguid);
    memcpy(&queue->shape.eui64, ns->eui64, sizeof queue->shape.eui64);
}

/* Whether it is the namespace that it was, as far as it had identifiers: one that was deleted and created
 * anew, with the same number and the same shape, has others. */
static bool is_itself(const struct nvme_shape *before, const struct nvme_shape *now)
{
    bool had_nguid = (before->nguid[0] | before->nguid[1]) != 0;

    return (!had_nguid || memcmp(before->nguid, now->nguid, sizeof now->nguid) == 0) &&
           (before->eui64 == 0 || before->eui64 == now->eui64);
}

static bool is_same(const struct nvme_shape *one, const struct nvme_shape *other)
{
    return one->size == other->size && one->block_size == other->block_size &&
           one->metadata_size == other->metadata_size && one->interleaved == other->interleaved &&
           one->protection == other->protection && one->protection_first == other->protection_first;
}

/* The page behind the lists, for the controller's answer. */
static void *page(const struct nvme_queue *queue, uint64_t *iova)
{
    *iova = queue->lists_iova + (uint64_t)queue->depth * NVME_LIST_SIZE;
    return (char *)queue->lists + (size_t)queue->depth * NVME_LIST_SIZE;
}

static struct nvme_command ask(struct nvme_queue *queue)
{
    struct nvme_command command = {
        .cdw0 = NVME_IDENTIFY, .nsid = queue->nsid, .cdw10 = CHALK_NVME_CNS_NAMESPACE};

    memset(page(queue, &command.prp1), 0, NVME_LIST_SIZE);
    return command;
}

/* What the answer of a call says: whether the queue still has the shape of its namespace. If not, logged. */
static bool still_has(const struct nvme_queue *queue, const struct nvme_admin_call *call)
{
    const struct nvme_shape *before = &queue->shape;
    struct nvme_shape now;
    uint64_t iova;

    if (call->error != 0) {
        chalk_log(CHALK_ERROR, "NVMe %s: queue %u ends: its namespace %u cannot be identified any more: %s",
                  queue->nvme->name, queue->id, queue->nsid, chalk_nvme_status_name(call->status));
        return false;
    }
    chalk_nvme_parse_shape(queue->nvme, page(queue, &iova), &now);
    if (!is_itself(before, &now)) {
        chalk_log(CHALK_ERROR, "NVMe %s: queue %u ends: its namespace %u is another one now (NGUID, EUI-64)",
                  queue->nvme->name, queue->id, queue->nsid);
        return false;
    }
    if (is_same(before, &now))
        return true;
    chalk_log(
        CHALK_ERROR,
        "NVMe %s: queue %u ends: its namespace %u has %llu blocks of %u bytes and %u of metadata, protection "
        "%u, instead of %llu of %u and %u, protection %u",
        queue->nvme->name, queue->id, queue->nsid, (unsigned long long)now.size, now.block_size,
        now.metadata_size, now.protection, (unsigned long long)before->size, before->block_size,
        before->metadata_size, before->protection);
    return false;
}

/* Whether the queue is more than the controller can do since it was reset. */
static bool is_too_much(const struct nvme_queue *queue)
{
    const struct chalk_nvme_info *info = &queue->nvme->info;
    const char *what = NULL;

    if (queue->id > info->queues)
        what = "it grants fewer queues now";
    else if (queue->entries > info->max_queue_entries)
        what = "its queues have fewer entries now";
    else if (queue->shape.block_size > info->max_transfer)
        what = "it transfers less than a block now";
    if (what != NULL)
        chalk_log(CHALK_ERROR, "NVMe %s: queue %u ends: %s", queue->nvme->name, queue->id, what);
    return what != NULL;
}

int chalk_nvme_refit(struct nvme_queue *queue)
{
    uint32_t epoch = nvme_epoch(queue->nvme);
    struct nvme_admin_call call = {.epoch = epoch, .awake = true, .again = true};
    struct nvme_command command;
    int error;

    if (queue->unfit)
        return 1;
    if (queue->shape_epoch == epoch)
        return 0;
    queue->looking = false; /* a reset has ended that */
    queue->looks = 0;
    if (is_too_much(queue))
        return 1;
    command = ask(queue);
    error = chalk_nvme_admin_run(queue->nvme, &call, &command);
    if (error != 0 && call.status == 0)
        return error;
    if (!still_has(queue, &call))
        return 1;
    chalk_nvme_limit(queue);
    queue->shape_epoch = epoch;
    return 0;
}

/* Whether the namespace may be identified again at the next sweep: the controller has refused it with a
 * status that passes, and not for an eighth of the queue's time limit yet. */
static bool may_look_again(struct nvme_queue *queue)
{
    if (queue->look.error == 0 || !chalk_nvme_status_passes(queue->look.status) ||
        queue->looks >= NVME_SWEEPS / 16) /* each takes two sweeps */
        return false;
    queue->looks++;
    queue->changes--; /* differs from the controller's count, so that it is asked again */
    return true;
}

bool chalk_nvme_shape_is_lost(struct nvme_queue *queue)
{
    uint32_t changes = atomic_load_explicit(&queue->nvme->events.changes, memory_order_acquire);

    if (!queue->looking) {
        if (changes == queue->changes)
            return false;
        const struct nvme_command command = ask(queue);
        queue->look = (struct nvme_admin_call){.epoch = queue->epoch};
        queue->looking = chalk_nvme_admin_start(queue->nvme, &queue->look, &command) == 0;
        if (queue->looking)
            queue->changes = changes;
        return false;
    }
    if (!atomic_load_explicit(&queue->look.finished, memory_order_acquire))
        return false;
    queue->looking = false;
    if (queue->look.error != 0 && queue->look.status == 0)
        return false; /* a reset has ended it, after which it is looked at in any case */
    if (may_look_again(queue))
        return false;
    queue->looks = 0;
    queue->unfit = !still_has(queue, &queue->look);
    return queue->unfit;
}

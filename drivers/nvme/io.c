/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hot path of a queue pair: submit, kick, poll.
 *
 * A request costs one command written straight into the submission queue, one slot, and its share of two
 * doorbells: the submission queue's is rung once a kick, the completion queue's once a poll. No lock, no
 * allocation, no division, no register read; time is looked at only by polls that find nothing.
 *
 * What the controller writes is checked before it is used: a completion that does not belong to a command in
 * flight stops the controller, since it can no longer be known what else it would write.
 */
#include "nvme.h"
#include "prp.h"

#define likely(condition)   __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

#define BUSY_POLLS 4096 /* of which at least one looks at the time even though it found something */

static inline struct nvme_queue *queue_of(struct chalk_block_queue *block)
{
    return (struct nvme_queue *)block;
}

_Static_assert(NVME_READ - CHALK_BLOCK_READ == NVME_READ && NVME_READ - CHALK_BLOCK_WRITE == NVME_WRITE,
               "an opcode is a subtraction away");

/* ---- submit ---------------------------------------------------------------------------------------- */

/* Writes a command for `request` into the next entry of the submission queue. The doorbell is kick()'s. */
static inline void issue(struct nvme_queue *queue, struct chalk_block_request *request, uint32_t opcode,
                         uint64_t lba, uint32_t last_block, struct nvme_prp prp)
{
    struct nvme_slot *slot = &queue->slots[queue->free[--queue->free_count]];

    queue->commands[queue->tail] = (struct nvme_command){
        .cdw0 = opcode | (uint32_t)slot->cid << 16,
        .nsid = queue->nsid,
        .prp1 = prp.prp1,
        .prp2 = prp.prp2,
        .slba = lba,
        .cdw12 = last_block,
    };
    queue->tail = queue->tail + 1 == queue->entries ? 0 : queue->tail + 1;
    slot->request = request;
    slot->age = 0;
}

/* A flush, or nothing that there is. */
static __attribute__((noinline)) int submit_other(struct nvme_queue *queue,
                                                  struct chalk_block_request *request)
{
    if (request->op != CHALK_BLOCK_FLUSH)
        return -EINVAL;
    issue(queue, request, NVME_FLUSH, 0, 0, (struct nvme_prp){0, 0});
    return 0;
}

/* A read or write whose data is in more than two pages: they go into the list of the slot that comes next. */
static __attribute__((noinline)) int
submit_list(struct nvme_queue *queue, struct chalk_block_request *request, uint32_t opcode, uint64_t bytes)
{
    size_t offset = (size_t)queue->free[queue->free_count - 1] << queue->list_shift;
    struct nvme_prp prp;
    int error;

    error =
        chalk_nvme_prp_list(request->segments, request->segment_count, bytes, queue->page,
                            (uint64_t *)((char *)queue->lists + offset), queue->lists_iova + offset, &prp);
    if (error != 0)
        return error;
    for (unsigned i = 0; i < request->segment_count; i++)
        chalk_grant_check(queue->nvme->domain, request->segments[i].iova, request->segments[i].size);
    issue(queue, request, opcode, request->lba, request->count - 1, prp);
    return 0;
}

static inline int submit_one(struct nvme_queue *queue, struct chalk_block_request *request)
{
    const struct chalk_block_info *info = &queue->block.info;
    uint64_t bytes = (uint64_t)request->count << queue->block_shift;
    struct nvme_prp prp;
    uint32_t opcode;

    if (unlikely(queue->free_count == 0))
        return -EAGAIN;
    if (unlikely(request->op > CHALK_BLOCK_WRITE))
        return submit_other(queue, request);
    if (unlikely(request->count - 1 >= info->max_blocks)) /* 0 is beyond it, too */
        return -EINVAL;
    if (unlikely(request->lba > info->block_count - request->count)) /* max_blocks <= block_count */
        return -ERANGE;
    opcode = NVME_READ - request->op;
    if (unlikely(request->segment_count != 1 || !nvme_prp_pair(request->segments, bytes, queue->page, &prp)))
        return submit_list(queue, request, opcode, bytes);
    chalk_grant_check(queue->nvme->domain, request->segments->iova, bytes);
    issue(queue, request, opcode, request->lba, request->count - 1, prp);
    return 0;
}

static int submit(struct chalk_block_queue *block, struct chalk_block_request *const *requests,
                  unsigned count)
{
    struct nvme_queue *queue = queue_of(block);
    unsigned taken = 0;
    int error = 0;

    while (taken < count && (error = submit_one(queue, requests[taken])) == 0) {
        chalk_block_submitted(block, requests[taken]);
        taken++;
    }
    block->counters.submitted += taken;
    return taken != 0 ? (int)taken : error;
}

/* ---- kick ------------------------------------------------------------------------------------------ */

static void kick(struct chalk_block_queue *block)
{
    struct nvme_queue *queue = queue_of(block);

    if (queue->tail == queue->rung)
        return;
    queue->rung = queue->tail;
    block->counters.doorbells++;
    chalk_mmio_write32(&queue->doorbells, queue->tail_doorbell, queue->tail);
}

/* ---- poll ------------------------------------------------------------------------------------------ */

static int idle(struct nvme_queue *queue, unsigned max);
static void look_at_time(struct nvme_queue *queue);
static int refused(struct nvme_queue *queue, const struct chalk_block_request *request, uint32_t outcome);
static void distrust(struct nvme_queue *queue, uint32_t origin, uint32_t outcome);

static int poll(struct chalk_block_queue *block, unsigned max)
{
    struct nvme_queue *queue = queue_of(block);
    unsigned limit = max - 1 < block->info.depth ? max : block->info.depth, found = 0; /* 0: all */

    block->counters.polls++;
    while (found < limit) {
        const struct nvme_completion *entry = &queue->completions[queue->head];
        struct chalk_block_request *request;
        struct nvme_slot *slot;
        uint32_t outcome, origin, index;
        int error;

        /* The dword with the phase bit first; the others once it is known to be new [Base 3.3.3.2.2]. */
        outcome = chalk_dma_load32(&entry->outcome);
        if (NVME_OUTCOME_PHASE(outcome) != queue->phase)
            break;
        origin = chalk_dma_load32(&entry->origin);

        /* Any 16 bits, masked, are a slot; the difference is small only if it is this queue, and an entry of
         * it. */
        index = outcome & queue->slot_mask;
        slot = &queue->slots[index];
        request = slot->request;
        if (unlikely(slot->cid != NVME_OUTCOME_CID(outcome) || request == NULL ||
                     origin - queue->origin >= queue->entries)) {
            distrust(queue, origin, outcome);
            break;
        }
        slot->request = NULL;
        slot->cid = (uint16_t)(slot->cid + queue->slot_mask + 1) & 0x7fff;
        queue->free[queue->free_count++] = (uint16_t)index;
        if (++queue->head == queue->entries) {
            queue->head = 0;
            queue->phase ^= 1;
        }
        found++;

        error = likely(!NVME_OUTCOME_FAILED(outcome)) ? 0 : refused(queue, request, outcome);
        chalk_block_completed(block, request, error, outcome);
        request->done(request, error);
    }
    if (found == 0)
        return idle(queue, max);

    block->counters.completed += found;
    block->counters.doorbells++;
    chalk_mmio_write32(&queue->doorbells, queue->head_doorbell, queue->head);
    if (unlikely(block->counters.polls % BUSY_POLLS == 0))
        look_at_time(queue);
    return (int)found;
}

const struct chalk_block_ops chalk_nvme_live_ops = {.submit = submit, .kick = kick, .poll = poll};

/* ---- what is rare ---------------------------------------------------------------------------------- */

static const char *op_name(const struct chalk_block_request *request)
{
    static const char *const names[] = {"read", "write", "flush"};

    return names[request->op];
}

/* The controller has executed a request, and failed: the caller's to handle, and now and then ours to tell.
 */
static __attribute__((cold, noinline)) int
refused(struct nvme_queue *queue, const struct chalk_block_request *request, uint32_t outcome)
{
    uint16_t status = NVME_OUTCOME_STATUS(outcome);

    queue->block.counters.failed++;
    if (queue->warnings < 8) {
        queue->warnings++;
        chalk_log(CHALK_WARNING,
                  "NVMe %s: namespace %u: %s of %u blocks at %llu failed: %s (status 0x%03x)%s",
                  queue->nvme->name, queue->nsid, op_name(request), request->count,
                  (unsigned long long)request->lba, chalk_nvme_status_name(status), NVME_STATUS_CODE(status),
                  queue->warnings == 8 ? "; more will not be told" : "");
    }
    return chalk_nvme_status_error(status);
}

/* A completion of no command in flight: one that comes twice, too late, from elsewhere, or is made up. */
static __attribute__((cold, noinline)) void distrust(struct nvme_queue *queue, uint32_t origin,
                                                     uint32_t outcome)
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

/*
 * Looks whether the controller is well, and ages the requests in flight: so a submission needs no time stamp.
 * One that has seen more sweeps than make up its time limit is late, and stops the controller: until it no
 * longer reaches memory, the request's buffer cannot be given back.
 */
static __attribute__((cold, noinline)) void sweep(struct nvme_queue *queue)
{
    struct chalk_nvme *nvme = queue->nvme;
    uint32_t csts = chalk_mmio_read32(&nvme->registers, NVME_CSTS);
    const struct chalk_block_request *oldest = NULL;

    for (unsigned i = 0; i < queue->block.info.depth; i++) {
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
                      nvme->name, queue->id, op_name(oldest), oldest->count, (unsigned long long)oldest->lba,
                      (unsigned)(queue->timeout_ns / CHALK_MS), csts);
    }
    queue->next_sweep = chalk_ticks() + queue->sweep_ticks;
}

static void look_at_time(struct nvme_queue *queue)
{
    if (queue->free_count != queue->block.info.depth && chalk_ticks() >= queue->next_sweep &&
        nvme_state(queue->nvme) == NVME_LIVE)
        sweep(queue);
}

/* ---- a queue whose controller has stopped ---------------------------------------------------------- */

static int submit_nothing(struct chalk_block_queue *block, struct chalk_block_request *const *requests,
                          unsigned count)
{
    (void)requests;
    return count != 0 ? queue_of(block)->error : 0;
}

static void kick_nothing(struct chalk_block_queue *block)
{
    (void)block;
}

/* Calls back at most `max` (0: all) of the requests in flight. */
static int cancel(struct nvme_queue *queue, unsigned max, int status)
{
    unsigned found = 0;

    for (unsigned i = 0; i < queue->block.info.depth && (max == 0 || found < max); i++) {
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
    struct nvme_queue *queue = queue_of(block);
    int error = nvme_error(queue->nvme), found;

    block->counters.polls++;
    found = cancel(queue, max, error == -ETIMEDOUT ? -EIO : error);
    return found != 0 ? found : queue->error;
}

static const struct chalk_block_ops dead_ops = {
    .submit = submit_nothing, .kick = kick_nothing, .poll = poll_dead};
const struct chalk_block_ops chalk_nvme_closing_ops = {
    .submit = submit_nothing, .kick = kick_nothing, .poll = poll};

/*
 * A poll found nothing. When another core has stopped the controller since this one looked, a last poll finds
 * what it still finished; only then is the rest given up.
 */
static int idle(struct nvme_queue *queue, unsigned max)
{
    if (likely(nvme_state(queue->nvme) != NVME_STOPPED)) {
        look_at_time(queue);
        return 0;
    }
    if (queue->error == 0) {
        queue->error = queue->nvme->error == -ENODEV ? -ENODEV : -EIO;
        return poll(&queue->block, max);
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

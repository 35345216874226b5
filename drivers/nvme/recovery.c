/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What becomes of requests when their controller is late, lies or goes.
 *
 *     trouble                                  what is done                           if that fails
 *  a  a request is late                        it is aborted                                      b
 *  b  and still there NVME_GRACE sweeps later  its pair of queues is deleted, and made anew       c
 *  c  no answer to an admin command, queues    the controller is reset (CC.EN, else its
 *     that cannot be deleted or made,          function), and each pair made anew                 d
 *     CSTS.CFS, no CSTS.RDY
 *  d  no success in NVME_STRIKES resets, or    the controller is stopped: no DMA, no way back
 *     not this pair
 *  e  a completion of nothing in flight        as d: who knows what else it would write
 *  f  a register reads all ones: it has gone   as d, with -ENODEV
 *
 * After b and c the device can no longer touch the requests that were in flight. What it had finished is
 * found in the ring; of the others, each has one of these ends:
 *
 *     late                                               -ETIMEDOUT
 *     cancelled by its owner                             -ECANCELED
 *     a read or flush; a write that may be repeated,     submitted again, NVME_TRIES times
 *     and overlaps no other request in flight            at most, then -EIO
 *     (a command as its caller wrote it overlaps all
 *     of its namespace)
 *     never given to the controller                      submitted
 *     any other                                          -EIO: its outcome is unknown
 *
 * After d to f they end with -EIO, or what the controller failed of. Requests that are submitted meanwhile
 * are kept until there is a pair for them, so that nobody has to know. All of it is done by the queue's
 * polls, on its core; while all is well it costs an idle poll one comparison.
 */
#include "nvme.h"
#include <limits.h>

#define NVME_GRACE 8 /* sweeps: an eighth of the time limit */

static const struct chalk_block_ops mending_ops, dead_ops;

static bool late(const struct nvme_slot *slot)
{
    return slot->age > NVME_SWEEPS;
}

static unsigned finish(struct nvme_queue *queue, struct nvme_slot *slot, int error)
{
    struct chalk_block_request *request = slot->request;

    nvme_slot_free(queue, slot, slot->tag);
    queue->block.counters.completed++;
    queue->block.counters.failed++;
    chalk_block_completed(&queue->block, request, error, 0);
    request->done(request, error);
    return 1;
}

/* ---- what the controller says ---------------------------------------------------------------------- */

/* Keeps a request, whose slot was just freed, to be submitted again. */
static void keep(struct nvme_queue *queue, struct nvme_slot *slot, struct chalk_block_request *request)
{
    queue->in_flight++;
    slot->request = request;
    slot->marks |= NVME_MARK_AGAIN;
}

/* Of a command as its caller wrote it, it is not known which blocks it is about. */
static bool overlap(const struct nvme_queue *queue, const struct chalk_block_request *one,
                    const struct chalk_block_request *other)
{
    if (other->op == CHALK_BLOCK_DRIVER) {
        uint32_t nsid = ((const struct chalk_nvme_request *)other)->command.nsid;

        return nsid == queue->nsid || nsid == CHALK_NVME_ALL;
    }
    return other->lba < one->lba + one->count && one->lba < other->lba + other->count;
}

static bool overlaps(const struct nvme_queue *queue, const struct chalk_block_request *request)
{
    for (unsigned i = 0; i < queue->depth; i++) {
        const struct chalk_block_request *other = queue->slots[i].request;

        if (other != NULL && other != request && overlap(queue, request, other))
            return true;
    }
    return false;
}

/* Whether a request that has failed with a status may be done once more: see CHALK_BLOCK_REPEATABLE. */
static bool may_be_repeated(const struct nvme_queue *queue, const struct chalk_block_request *request,
                            uint16_t code)
{
    switch (request->op) {
    case CHALK_BLOCK_READ:
    case CHALK_BLOCK_FLUSH:
    case CHALK_BLOCK_COMPARE:
    case CHALK_BLOCK_VERIFY:
        return true;
    case CHALK_BLOCK_DRIVER:
        return false;
    default:
        return code == NVME_STATUS_NAMESPACE_NOT_READY || code == NVME_STATUS_ACCESS_TRANSITION ||
               ((request->flags & CHALK_BLOCK_REPEATABLE) != 0 && !overlaps(queue, request));
    }
}

/* How many sweeps a controller wants to be left alone by what it refused [Base 3.3.3.2.1, "Command Retry
 * Delay"]: at least so long, and the first sweep may be at once. */
static uint64_t sweeps_of_rest(const struct nvme_queue *queue, uint16_t status)
{
    unsigned which = NVME_STATUS_CRD(status);
    uint64_t delay_ns = which != 0 ? queue->nvme->retry_delays[which - 1] * 100 * CHALK_MS : 0;

    return delay_ns != 0 ? delay_ns * NVME_SWEEPS / queue->timeout_ns + 1 : 0;
}

int chalk_nvme_refused(struct nvme_queue *queue, struct nvme_slot *slot, struct chalk_block_request *request,
                       uint32_t outcome)
{
    uint16_t status = NVME_OUTCOME_STATUS(outcome), code = NVME_STATUS_CODE(status);
    uint64_t rest = sweeps_of_rest(queue, status);

    if (late(slot) || (slot->marks & NVME_MARK_UNWANTED) != 0) {
        queue->block.counters.failed++;
        return late(slot) ? -ETIMEDOUT : -ECANCELED;
    }
    if (chalk_nvme_status_passes(status) && slot->tries < NVME_TRIES &&
        may_be_repeated(queue, request, code) && slot->age + rest <= NVME_SWEEPS) {
        slot->rest = (uint8_t)rest;
        keep(queue, slot, request);
        return 1;
    }
    queue->block.counters.failed++;
    if (queue->warnings < 8 && request->op != CHALK_BLOCK_DRIVER) { /* who gave the command has its status */
        queue->warnings++;
        chalk_log(CHALK_WARNING,
                  "NVMe %s: namespace %u: %s of %u blocks at %llu failed: %s (status 0x%03x)%s",
                  queue->nvme->name, queue->nsid, chalk_block_op_name(request->op), request->count,
                  (unsigned long long)request->lba, chalk_nvme_status_name(status), code,
                  queue->warnings == 8 ? "; further ones are not logged" : "");
    }
    return chalk_nvme_status_error(status);
}

/* Found in a ring whose pair was just deleted, it is as much of a lie; in one that a reset took, it was told
 * by a controller that has been started anew since. */
void chalk_nvme_distrust(struct nvme_queue *queue, uint32_t origin, uint32_t outcome)
{
    uint32_t epoch = queue->epoch != 0 ? queue->epoch : nvme_epoch(queue->nvme);

    if (chalk_nvme_fail(queue->nvme, epoch, -EPROTO))
        chalk_log(CHALK_ERROR,
                  "NVMe %s: queue %u: completed command 0x%04x of queue %u, head %u, which is not in flight; "
                  "stopped",
                  queue->nvme->name, queue->id, NVME_OUTCOME_CID(outcome), origin >> 16, origin & 0xffff);
}

/* ---- late ------------------------------------------------------------------------------------------ */

static void complain(const struct nvme_queue *queue, const struct chalk_block_request *request, uint32_t csts,
                     const char *what)
{
    chalk_log(CHALK_WARNING,
              "NVMe %s: queue %u: %s of %u blocks at %llu not answered within %u ms, status 0x%08x; %s",
              queue->nvme->name, queue->id, chalk_block_op_name(request->op), request->count,
              (unsigned long long)request->lba, (unsigned)(queue->timeout_ns / CHALK_MS), csts, what);
}

/* Asks the controller to abort a request that nobody wants any more, if it is not busy with another. */
static void abort_next(struct nvme_queue *queue)
{
    if (queue->aborting && !atomic_load_explicit(&queue->abort.finished, memory_order_acquire))
        return;
    queue->aborting = false;
    for (unsigned i = 0; i < queue->depth; i++) {
        struct nvme_slot *slot = &queue->slots[i];
        const struct nvme_command command = {.cdw0 = NVME_ABORT, .cdw10 = slot->tag << 16 | queue->id};

        if (slot->request == NULL || slot->marks != NVME_MARK_UNWANTED)
            continue;
        queue->abort = (struct nvme_admin_call){.what = NULL};
        if (chalk_nvme_admin_start(queue->nvme, &queue->abort, &command) == 0) {
            queue->aborting = true;
            slot->marks |= NVME_MARK_ABORT;
        }
        return;
    }
}

void chalk_nvme_abort(struct nvme_queue *queue, struct nvme_slot *slot)
{
    slot->marks |= NVME_MARK_UNWANTED;
    abort_next(queue);
}

/* Submits what was kept. Returns how many requests ended instead. */
static unsigned submit_kept(struct nvme_queue *queue)
{
    unsigned found = 0;

    for (unsigned i = 0; i < queue->depth; i++) {
        struct nvme_slot *slot = &queue->slots[i], before = *slot;
        int error;

        if (slot->request == NULL || (slot->marks & NVME_MARK_AGAIN) == 0)
            continue;
        if ((slot->marks & NVME_MARK_UNWANTED) != 0) {
            found += finish(queue, slot, late(slot) ? -ETIMEDOUT : -ECANCELED);
            continue;
        }
        if (slot->rest != 0) {
            slot->rest--;
            continue;
        }
        nvme_slot_free(queue, slot, slot->tag); /* and the next to be used */
        error = chalk_nvme_submit_other(queue, before.request);
        if (error == 0) {
            slot->age = before.age;
            slot->tries = (uint8_t)(before.tries + 1);
            continue;
        }
        keep(queue, slot, before.request);
        found += finish(queue, slot, error);
    }
    queue->block.ops->kick(&queue->block);
    return found;
}

/* Makes the requests in flight a sweep older. */
static void grow_older(struct nvme_queue *queue, const struct chalk_block_request **newly,
                       const struct chalk_block_request **hopeless)
{
    *newly = *hopeless = NULL;
    for (unsigned i = 0; i < queue->depth; i++) {
        struct nvme_slot *slot = &queue->slots[i];

        if (slot->request == NULL)
            continue;
        slot->age++;
        if (late(slot))
            slot->marks |= NVME_MARK_UNWANTED;
        if (slot->age == NVME_SWEEPS + 1)
            *newly = slot->request;
        if (slot->age > NVME_SWEEPS + NVME_GRACE)
            *hopeless = slot->request;
    }
}

/* Nothing is late: is the controller there, and the namespace as it was? An idle queue has to know that, too:
 * its first request after a change of the block size would move more bytes than it has memory for. */
static unsigned look_only(struct nvme_queue *queue, uint64_t now)
{
    struct chalk_nvme *nvme = queue->nvme;
    bool due = nvme_is_time_to_look(nvme, now);
    uint32_t csts;

    if (due && !chalk_nvme_look(nvme, queue->epoch, NULL, &csts)) {
        queue->block.ops = &mending_ops;
        return 0;
    }
    chalk_nvme_admin_poll(nvme);
    if (due && chalk_nvme_events_tend(nvme)) /* the list of changed namespaces is on its way */
        atomic_store_explicit(&nvme->next_look, now + chalk_ns_to_ticks(CHALK_MS), memory_order_relaxed);
    if ((due || nvme_shape_is_in_doubt(queue)) && chalk_nvme_shape_is_lost(queue))
        queue->block.ops = &mending_ops;
    return 0;
}

void chalk_nvme_limit_wait(struct nvme_queue *queue)
{
    uint64_t due = atomic_load_explicit(&queue->nvme->next_look, memory_order_relaxed), now = chalk_ticks();

    if (queue->in_flight != 0 && queue->next_sweep < due)
        due = queue->next_sweep;
    if (nvme_shape_is_in_doubt(queue) && due > now + chalk_ns_to_ticks(CHALK_MS))
        due = now + chalk_ns_to_ticks(CHALK_MS); /* the answer wakes the core of admin commands only */
    queue->block.wait_ns = due > now ? chalk_ticks_to_ns(due - now) + 1 : 1; /* 0 would be for ever */
}

unsigned chalk_nvme_sweep(struct nvme_queue *queue)
{
    struct chalk_nvme *nvme = queue->nvme;
    uint64_t now = chalk_ticks();
    const struct chalk_block_request *newly, *hopeless;
    uint32_t csts;

    if (queue->in_flight == 0 || (now < queue->next_sweep && !nvme_is_lost(nvme)))
        return look_only(queue, now);
    queue->next_sweep = now + queue->sweep_ticks;
    if (queue->block.counters.completed != queue->swept)
        atomic_store_explicit(&nvme->strikes, 0, memory_order_relaxed);
    queue->swept = queue->block.counters.completed;
    if (!chalk_nvme_look(nvme, queue->epoch, NULL, &csts)) {
        queue->block.ops = &mending_ops;
        return 0;
    }
    grow_older(queue, &newly, &hopeless);
    if (hopeless != NULL) {
        complain(queue, hopeless, csts, "deleting its queue");
        queue->block.ops = &mending_ops;
        return 0;
    }
    if (newly != NULL)
        complain(queue, newly, csts, "aborting it");
    abort_next(queue);
    chalk_nvme_admin_poll(nvme);
    (void)chalk_nvme_events_tend(nvme);
    if (!chalk_nvme_shape_is_lost(queue))
        return submit_kept(queue);
    queue->block.ops = &mending_ops;
    return 0;
}

/* ---- a queue without a pair ------------------------------------------------------------------------ */

static bool repeatable(const struct nvme_queue *queue, const struct chalk_block_request *request)
{
    switch (request->op) {
    case CHALK_BLOCK_READ:
    case CHALK_BLOCK_FLUSH:
        return true;
    case CHALK_BLOCK_WRITE:
        return (request->flags & CHALK_BLOCK_REPEATABLE) != 0 && !overlaps(queue, request);
    default:
        return false;
    }
}

/* Decides, once and for all before any of them ends, which requests are submitted again. */
static void judge(struct nvme_queue *queue)
{
    for (unsigned i = 0; i < queue->depth; i++) {
        struct nvme_slot *slot = &queue->slots[i];

        if (slot->request == NULL || (slot->marks & (NVME_MARK_AGAIN | NVME_MARK_LOST)) != 0)
            continue;
        slot->marks |= (slot->marks & NVME_MARK_UNWANTED) == 0 && slot->tries < NVME_TRIES &&
                               repeatable(queue, slot->request)
                           ? NVME_MARK_AGAIN
                           : NVME_MARK_LOST;
    }
}

/* Ends at most `limit` of those that are not. */
static unsigned bury(struct nvme_queue *queue, unsigned limit)
{
    unsigned found = 0;

    for (unsigned i = 0; i < queue->depth && found < limit; i++) {
        struct nvme_slot *slot = &queue->slots[i];

        if (slot->request != NULL && (slot->marks & NVME_MARK_LOST) != 0)
            found += finish(queue, slot,
                            late(slot)                                ? -ETIMEDOUT
                            : (slot->marks & NVME_MARK_UNWANTED) != 0 ? -ECANCELED
                                                                      : -EIO);
    }
    return found;
}

/* The controller has not made the pair. That others get on well meanwhile does not help this queue. */
static void try_again(struct nvme_queue *queue, uint32_t epoch, int error)
{
    struct chalk_nvme *nvme = queue->nvme;

    if (error == -EIO && nvme_epoch(nvme) != epoch)
        return; /* another core's reset has come in between */
    if (++queue->refused <= NVME_STRIKES)
        (void)chalk_nvme_recover(nvme, epoch, -EIO);
    else if (chalk_nvme_fail(nvme, nvme_epoch(nvme), -EIO))
        chalk_log(CHALK_ERROR, "NVMe %s: queue %u: not recreated after %u resets (%s); stopped", nvme->name,
                  queue->id, NVME_STRIKES, chalk_error_name(error));
}

/* The queue does not fit its namespace or its controller any more. The controller does not know its pair. */
static int end(struct nvme_queue *queue, unsigned found, unsigned max)
{
    queue->error = -EIO;
    atomic_store_explicit(&queue->nvme->nsids[queue->id], 0, memory_order_relaxed);
    queue->block.ops = &dead_ops;
    return found != 0 ? (int)found : queue->block.ops->poll(&queue->block, max);
}

/*
 * Gives the controller a pair again. What it finished with the old one is found first, and called back;
 * requests that are submitted by callbacks are kept.
 */
static int mend(struct nvme_queue *queue, unsigned max)
{
    struct chalk_block_queue *block = &queue->block;
    struct chalk_nvme *nvme = queue->nvme;
    unsigned limit = max - 1 < UINT_MAX - 1 ? max : UINT_MAX, found;
    uint32_t epoch = nvme_epoch(nvme);
    int error;

    if (NVME_STATE(epoch) == NVME_MENDING)
        return 0; /* another core is about it */
    if (NVME_STATE(epoch) == NVME_LIVE && queue->epoch == epoch)
        chalk_nvme_pair_delete(queue);

    found = chalk_nvme_collect(queue, limit);
    if (NVME_STATE(epoch) == NVME_STOPPED) {
        if (found != 0)
            return (int)found;
        queue->error = nvme->error == -ENODEV ? -ENODEV : -EIO;
        block->ops = &dead_ops;
        return block->ops->poll(block, max);
    }
    judge(queue);
    found += bury(queue, limit - found);
    if (found == limit)
        return (int)found;

    error = chalk_nvme_refit(queue);
    if (error > 0)
        return end(queue, found, max);
    if (error == 0) {
        chalk_nvme_cmb_doubt(queue);
        error = chalk_nvme_pair_create(queue);
    }
    if (error != 0) {
        try_again(queue, epoch, error);
        return (int)found;
    }
    queue->refused = 0;
    block->ops = queue->live;
    queue->swept = block->counters.completed;
    return (int)(found + submit_kept(queue));
}

static int poll_mending(struct chalk_block_queue *block, unsigned max)
{
    block->counters.polls++;
    return mend((struct nvme_queue *)block, max);
}

static int submit_mending(struct chalk_block_queue *block, struct chalk_block_request *const *requests,
                          unsigned count)
{
    struct nvme_queue *queue = (struct nvme_queue *)block;
    unsigned taken = 0;

    for (; taken < count && queue->in_flight != queue->depth; taken++) {
        struct nvme_slot *slot = &queue->slots[nvme_next_slot(queue)];

        slot->age = slot->tries = slot->marks = slot->rest = 0;
        keep(queue, slot, requests[taken]);
        chalk_block_submitted(block, requests[taken]);
    }
    block->counters.submitted += taken;
    return taken != 0 || count == 0 ? (int)taken : -EAGAIN;
}

static void kick_nothing(struct chalk_block_queue *block)
{
    (void)block;
}

static const struct chalk_block_ops mending_ops = {
    .submit = submit_mending, .kick = kick_nothing, .poll = poll_mending, .cancel = chalk_nvme_cancel};

int chalk_nvme_follow(struct nvme_queue *queue, unsigned max)
{
    queue->block.ops = &mending_ops;
    return mend(queue, max);
}

/* ---- a queue at its end ---------------------------------------------------------------------------- */

static int submit_nothing(struct chalk_block_queue *block, struct chalk_block_request *const *requests,
                          unsigned count)
{
    (void)requests;
    return count != 0 ? ((struct nvme_queue *)block)->error : 0;
}

/* Calls back at most `max` (0: all) of the requests in flight. */
static int cancel(struct nvme_queue *queue, unsigned max, int status)
{
    unsigned found = 0;

    for (unsigned i = 0; i < queue->depth && (max == 0 || found < max); i++)
        if (queue->slots[i].request != NULL)
            found += finish(queue, &queue->slots[i], late(&queue->slots[i]) ? -ETIMEDOUT : status);
    return (int)found;
}

static int poll_dead(struct chalk_block_queue *block, unsigned max)
{
    struct nvme_queue *queue = (struct nvme_queue *)block;
    int error = queue->nvme->error, found;

    block->counters.polls++;
    found = cancel(queue, max, error == -ETIMEDOUT ? -EIO : error);
    return found != 0 ? found : queue->error;
}

static const struct chalk_block_ops dead_ops = {
    .submit = submit_nothing, .kick = kick_nothing, .poll = poll_dead};

void chalk_nvme_wind_up(struct nvme_queue *queue)
{
    queue->error = -EIO; /* callbacks may try to submit again, from here on in vain */
    queue->block.ops = &dead_ops;
    chalk_nvme_pair_delete(queue);
    while (chalk_nvme_collect(queue, UINT_MAX) != 0)
        ;
    (void)cancel(queue, 0, -ECANCELED);
    while ((queue->aborting && !atomic_load_explicit(&queue->abort.finished, memory_order_acquire)) ||
           (queue->looking && !atomic_load_explicit(&queue->look.finished, memory_order_acquire)))
        chalk_nvme_admin_poll(queue->nvme); /* they have deadlines */
}

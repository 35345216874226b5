/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The NVMe driver and its model, in one process. Each core has a queue and blocks of its own, and does its
 * steps; core 0 opens and closes everything.
 *
 * Whatever the device does: each request is called back once and in time, all memory comes back, and nobody
 * touches what the device owns. If it does not lie, it is never sent to memory that it was not given, and a
 * read gives what was last acknowledged, or what was written after that by requests that failed. If it does
 * nothing wrong at all, nothing fails, and a comparison tells what is equal from what is not.
 */
#include "scenario.h"

#include "tools/models/nvme.h"

#include <chalk/clock.h>
#include <chalk/core.h>
#include <chalk/error.h>
#include <chalk/memory.h>
#include <chalk/nvme_admin.h>
#include <chalk/random.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_SHIFT       9
#define BLOCK             (1u << BLOCK_SHIFT)
#define LARGE_SHIFT       12
#define LARGE_BLOCK       (1u << LARGE_SHIFT)
#define TIMEOUT           (20 * CHALK_MS)
#define ADMIN_TIMEOUT     (5 * CHALK_MS)
#define LONGER            (100 * CHALK_MS) /* for admin commands of a patient program: enough to send one */
#define FEW               3                /* again so many times */
#define COLD              0x100u /* thresholds below and above the device's temperature, in kelvin */
#define HOT               0x157u
#define IDLE              (4 * CHALK_S)
/* Longer than the second that it may take: others may be about a reset meanwhile, which takes its time. */
#define LONGEST_UNNOTICED (1500 * CHALK_MS)
/* An owner that sleeps looks once a second: for the request for events that a reset has ended, for the event
 * and its log, for the namespace. */
#define LONGEST_UNSEEN    (3 * CHALK_S)
#define BOUND             (10 * CHALK_S) /* from submission to callback, with all recovery in between */

enum { NAMESPACES = 2, VERSIONS = SCENARIO_STEPS * SCENARIO_DEPTH };

struct slot {
    struct chalk_block_request request;
    struct worker *worker;
    /* What the device reads and what it writes are in the same place; but in places of their own if it lies:
     * when it ends a read too early it writes to what the program has long given another use. */
    struct chalk_dma places[2], data;
    enum op op;
    bool flies, cancelled, spoiled; /* what is compared differs from what is there */
    uint32_t version;
    uint64_t begun;
};

struct worker {
    unsigned core;
    struct chalk_block_queue *queue;
    struct slot slots[SCENARIO_DEPTH];
    unsigned flying;
    bool failed; /* the controller is no more */
    bool leaves; /* it looks no more: what is in flight ends when its queue is closed */
    uint32_t block_size;
    uint32_t issued[SCENARIO_BLOCKS], acknowledged[SCENARIO_BLOCKS]; /* versions */
    bool zeroes[SCENARIO_BLOCKS][VERSIONS + 1];                      /* those of which nothing is there */
};

static const struct scenario *scenario;
static bool honest, flawless, watches;
static bool answers;             /* each I/O command, at once, and nothing else is wrong */
static bool recovers;            /* each reset, since what fails of it passes in time */
static bool grants_less;         /* after a reset there is no I/O queue but the first */
static _Atomic(unsigned) resets; /* that were asked for */
/* Whether another controller changes the namespace of this index once, and the device does not lie besides;
 * and then when the last reset ended that began after that. 0: there was none. */
static bool changes[NAMESPACES];
/* The same, and nothing else is wrong, and the program leaves it to its queues to hear of that. */
static bool notices[NAMESPACES];
static _Atomic(uint64_t) refitted[NAMESPACES];
static struct nvme_model model;
static struct worker workers[SIM_CORES];
static struct chalk_nvme *nvme;

/* ---- what is in a block ---- */

static uint64_t first_word(uint64_t lba, uint32_t version)
{
    return version == 0 ? 0 : lba << 32 | version;
}

/* Version 0 is zeroes. */
static uint64_t word_of(uint64_t lba, uint32_t version, unsigned i)
{
    return version == 0 ? 0
           : i == 0     ? first_word(lba, version)
                        : chalk_random_at(first_word(lba, version), i);
}

/* Of a block of the worker's, by its number from 0. */
static uint32_t own_block(const struct slot *slot, uint32_t block)
{
    return (uint32_t)(slot->request.lba - slot->worker->core * SCENARIO_BLOCKS) + block;
}

/* What is written; or what was acknowledged, to be compared. */
static void fill(struct slot *slot)
{
    const struct worker *worker = slot->worker;
    uint64_t *word = slot->data.va;

    for (uint32_t block = 0; block < slot->request.count; block++) {
        uint32_t own = own_block(slot, block), version = slot->version;

        if (slot->op == OP_COMPARE)
            version = worker->zeroes[own][worker->acknowledged[own]] ? 0 : worker->acknowledged[own];
        for (unsigned i = 0; i < worker->block_size / 8; i++)
            *word++ = word_of(slot->request.lba + block, version, i);
    }
}

static bool may_be_zeroes(const struct worker *worker, uint32_t own)
{
    for (uint32_t version = worker->acknowledged[own]; version <= worker->issued[own]; version++)
        if (worker->zeroes[own][version])
            return true;
    return false;
}

static void check_read(const struct slot *slot)
{
    const struct worker *worker = slot->worker;
    const uint64_t *word = slot->data.va;

    for (uint32_t block = 0; block < slot->request.count; block++) {
        uint64_t lba = slot->request.lba + block;
        uint32_t version = (uint32_t)*word, own = own_block(slot, block);

        if (version == 0 ? !may_be_zeroes(worker, own)
                         : version < worker->acknowledged[own] || version > worker->issued[own])
            sim_fail("block %llu has version %u, but %u was acknowledged and %u issued",
                     (unsigned long long)lba, version, worker->acknowledged[own], worker->issued[own]);
        for (unsigned i = 0; i < worker->block_size / 8; i++)
            if (*word++ != word_of(lba, version, i))
                sim_fail("block %llu is not as version %u was written, from word %u on",
                         (unsigned long long)lba, version, i);
    }
}

/* Nobody writes to the blocks meanwhile: what is there is known unless a write has failed. */
static void check_comparison(const struct slot *slot, int status)
{
    const struct worker *worker = slot->worker;
    bool known = true;

    for (uint32_t block = 0; block < slot->request.count; block++)
        known &= worker->acknowledged[own_block(slot, block)] == worker->issued[own_block(slot, block)];
    if (status == 0 && slot->spoiled)
        sim_fail("block %llu and what differs from it compare as equal",
                 (unsigned long long)slot->request.lba);
    if (status == -EILSEQ && !slot->spoiled && known)
        sim_fail("block %llu and its copy compare as different", (unsigned long long)slot->request.lba);
}

/* ---- requests ---- */

/* Whether the queue of a core is one of namespace 2, whose blocks are larger. */
static bool is_large(unsigned core)
{
    return scenario->mixed && core == 1;
}

/* Whether a queue may end although the device has no fault: it was reset, and grants fewer queues now. */
static bool may_end(const struct worker *worker)
{
    return grants_less && resets != 0 && worker->core != 0;
}

/* Whether a status is right for a request of a device without a fault. */
static bool is_fair(const struct slot *slot, int status)
{
    const struct worker *worker = slot->worker;

    switch (status) {
    case 0:
        return true;
    case -ECANCELED:
        return slot->cancelled || worker->failed; /* a queue that has ended is closed with what is left */
    case -EIO:
        return resets != 0;
    case -EILSEQ:
        return slot->op == OP_COMPARE;
    case -ENOTSUP: /* the firmware that a reset has started may not have all operations */
        return (worker->queue->info.operations >> slot->request.op & 1) == 0;
    default:
        return false;
    }
}

static void done(struct chalk_block_request *request, int status)
{
    struct slot *slot = request->context;
    struct worker *worker = slot->worker;
    uint64_t took = sim_now() - slot->begun;

    sim_trace("request of block %llu ends with -%llu", request->lba, (uint64_t)-status, 0, 0);
    if (!slot->flies)
        sim_fail("a request is called back twice");
    if (status > 0)
        sim_fail("a request ends with %d", status);
    if (took > BOUND && !worker->leaves)
        sim_fail("a request took %llu ms", (unsigned long long)(took / CHALK_MS));
    if (flawless && !is_fair(slot, status))
        sim_fail("a request of a device without a fault ends with %d", status);
    if (refitted[is_large(worker->core)] != 0 && slot->begun >= refitted[is_large(worker->core)] &&
        status == 0 && worker->queue->info.block_size == worker->block_size) /* else opened after that */
        sim_fail("after a reset a queue goes on, though its namespace is another");
    if (answers && status == -ETIMEDOUT)
        sim_fail("a request is late, of a device that answers each at once");
    if (status == -EAGAIN)
        sim_fail("a request that was taken ends with -EAGAIN");
    slot->flies = false;
    worker->flying--;
    for (uint32_t i = 0; op_changes(slot->op) && status == 0 && i < request->count; i++)
        worker->acknowledged[own_block(slot, i)] = slot->version;
    if (slot->op == OP_READ && status == 0 && honest)
        check_read(slot);
    if (slot->op == OP_COMPARE && honest)
        check_comparison(slot, status);
}

static bool overlaps(const struct worker *worker, const struct step *step)
{
    uint64_t lba = worker->core * SCENARIO_BLOCKS + step->lba;

    for (const struct slot *slot = worker->slots; slot < worker->slots + scenario->depth; slot++)
        if (slot->flies && (op_changes(step->op) || op_changes(slot->op)) &&
            lba < slot->request.lba + slot->request.count && slot->request.lba < lba + step->count)
            return true;
    return false;
}

static struct slot *free_slot(struct worker *worker)
{
    for (unsigned i = 0; i < scenario->depth; i++)
        if (!worker->slots[i].flies)
            return &worker->slots[i];
    return NULL;
}

/* A controller that was stopped has one of four errors, and no status is one of them. */
static bool is_fatal(int error)
{
    return error == -EIO || error == -ENODEV || error == -EPROTO || error == -ETIMEDOUT;
}

/* Looks for what has ended; after a look in vain it may sleep. */
static void poll(struct worker *worker)
{
    struct chalk_core_info info;
    uint32_t seen;
    int polled;

    chalk_core_get_info(worker->core, &info);
    seen = atomic_load(info.events);
    chalk_block_kick(worker->queue);
    polled = chalk_block_poll(worker->queue, (unsigned)sim_below(3));
    if (polled < 0) {
        if (flawless && !may_end(worker))
            sim_fail("the queue of a device without a fault fails with %d", polled);
        if (recovers)
            sim_fail("the queue of a device whose failures pass in time fails with %d", polled);
        if (!is_fatal(polled))
            sim_fail("the queue of a controller that was stopped fails with %d", polled);
        if (worker->flying != 0)
            sim_fail("the queue has failed, but %u requests were not called back", worker->flying);
        worker->failed = true;
    } else if (polled == 0 && worker->flying != 0 && worker->queue->may_wait) {
        chalk_core_wait(worker->core, seen, flawless ? CHALK_FOREVER : chalk_deadline(TIMEOUT / 64));
    } else if (polled == 0) {
        chalk_pause();
    }
}

/* Makes its request, data included. */
static void prepare(struct slot *slot, const struct step *step)
{
    static const uint8_t block_ops[] = {
        [OP_READ] = CHALK_BLOCK_READ,       [OP_COMPARE] = CHALK_BLOCK_COMPARE,
        [OP_WRITE] = CHALK_BLOCK_WRITE,     [OP_ZEROES] = CHALK_BLOCK_WRITE_ZEROES,
        [OP_DISCARD] = CHALK_BLOCK_DISCARD, [OP_FLUSH] = CHALK_BLOCK_FLUSH};
    const struct worker *worker = slot->worker;

    slot->op = step->op;
    slot->data = slot->places[!honest && step->op == OP_READ];
    slot->data.size = step->count * worker->block_size;
    slot->request = (struct chalk_block_request){
        .op = block_ops[step->op],
        .flags = op_changes(step->op) && sim_below(2) == 0 ? CHALK_BLOCK_REPEATABLE : 0,
        .count = step->count,
        .lba = step->op == OP_FLUSH ? 0 : worker->core * SCENARIO_BLOCKS + step->lba,
        .segments = &slot->data,
        .segment_count = step->op <= OP_WRITE,
        .done = done,
        .context = slot,
    };
    slot->cancelled = false;
    slot->spoiled = step->op == OP_COMPARE && sim_below(2) == 0;
    slot->begun = sim_now();
    slot->version = 0;
    for (uint32_t i = 0; i < step->count; i++)
        if (worker->issued[step->lba + i] > slot->version)
            slot->version = worker->issued[step->lba + i];
    slot->version++;
    if (step->op == OP_WRITE || step->op == OP_COMPARE)
        fill(slot);
    if (slot->spoiled)
        ((char *)slot->data.va)[sim_below(slot->data.size)] ^= (char)(1 << sim_below(8));
}

static void submit(struct worker *worker, const struct step *step)
{
    struct slot *slot;
    struct chalk_block_request *request;
    int taken;

    for (;; poll(worker)) {
        if (worker->failed)
            return;
        slot = free_slot(worker);
        if (slot != NULL && !overlaps(worker, step))
            break;
    }
    prepare(slot, step);
    request = &slot->request;
    while ((taken = chalk_block_submit(worker->queue, &request, 1)) == -EAGAIN)
        poll(worker);
    if (taken == -ENOTSUP && is_fair(slot, taken))
        return;
    if (taken != 1 && flawless && !may_end(worker))
        sim_fail("a device without a fault takes no request: %d", taken);
    if (taken != 1) {
        worker->failed = true;
        return;
    }
    slot->flies = true;
    worker->flying++;
    for (uint32_t i = 0; op_changes(step->op) && i < step->count; i++) {
        worker->issued[step->lba + i] = slot->version;
        worker->zeroes[step->lba + i][slot->version] = step->op != OP_WRITE;
    }
    if (sim_below(4) != 0)
        chalk_block_kick(worker->queue);
}

/* Submits requests until all but `left` of those that can be in flight are. */
static void fill_queue(struct worker *worker, unsigned left)
{
    static const uint8_t often[] = {OP_READ, OP_READ, OP_WRITE, OP_FLUSH};
    unsigned most = worker->queue->info.depth; /* the controller may have shorter queues than was asked for */

    if (most > scenario->depth)
        most = scenario->depth;
    for (unsigned flying = worker->flying; flying + left < most && !worker->failed; flying++) {
        struct step step = {.core = worker->core, .op = often[sim_below(sizeof often)]};

        if (op_has_blocks(step.op)) {
            step.lba = (uint32_t)sim_below(SCENARIO_BLOCKS);
            step.count = 1 + (uint32_t)sim_below(SCENARIO_BLOCKS - step.lba);
        }
        if (op_has_blocks(step.op) && overlaps(worker, &step)) /* that would have to wait */
            step = (struct step){.core = worker->core, .op = OP_FLUSH};
        submit(worker, &step);
    }
}

static void cancel(struct worker *worker)
{
    struct slot *slot = &worker->slots[sim_below(scenario->depth)];
    int error;

    if (!slot->flies)
        return;
    slot->cancelled = true;
    error = chalk_block_cancel(worker->queue, &slot->request);
    if (error > 0)
        sim_fail("a cancellation ends with %d", error);
}

static void pause(struct worker *worker, uint64_t ns)
{
    uint64_t deadline = chalk_deadline(ns);

    while (!chalk_expired(deadline) && !worker->failed) {
        int polled = chalk_block_poll(worker->queue, 0);

        worker->failed |= polled < 0;
        if (polled == 0)
            chalk_sleep(worker->core, ns / 4 + 1);
    }
}

/* Whether the namespace of this index is another than the one that queues were opened for. */
static bool has_changed(unsigned i)
{
    const struct nvme_namespace *ns = &model.namespaces[i];

    return !ns->attached || ns->shift != (i == 0 ? BLOCK_SHIFT : LARGE_SHIFT);
}

/* A queue goes on: it must not have missed for too long that the device is lost, or that its namespace is
 * another; since when it is, as far as was seen, is kept in `changed`. */
static void check_noticed(const struct worker *worker, uint64_t *changed)
{
    unsigned i = is_large(worker->core);
    uint64_t lost = device_lost_since(), now = sim_now();

    if (*changed == UINT64_MAX && notices[i] && has_changed(i) &&
        worker->queue->info.block_size == worker->block_size) /* else it was opened after that */
        *changed = now;
    if (lost < now && now - lost > LONGEST_UNNOTICED)
        sim_fail("the device was lost %llu ms ago, and an idle queue does not notice",
                 (unsigned long long)(now - lost) / CHALK_MS);
    if (*changed < now && now - *changed > LONGEST_UNSEEN)
        sim_fail("a namespace is another, as the device has reported, and an idle queue does not notice");
}

/*
 * Nothing is in flight, and the owner looks now and then, as long as it may wait: within a second it learns
 * that the device is gone, or the namespace another.
 */
static void idle(struct worker *worker)
{
    uint64_t deadline = chalk_deadline(IDLE), changed = UINT64_MAX;
    struct chalk_core_info info;

    while (worker->flying != 0 && !worker->failed)
        poll(worker);
    chalk_core_get_info(worker->core, &info);
    while (!chalk_expired(deadline) && !worker->failed) {
        uint32_t seen = atomic_load(info.events);
        int polled = chalk_block_poll(worker->queue, 0);

        worker->failed = polled < 0;
        if (!worker->failed)
            check_noticed(worker, &changed);
        if (worker->failed || polled != 0)
            continue;
        if (worker->queue->may_wait)
            chalk_core_wait(worker->core, seen, chalk_deadline(worker->queue->wait_ns));
        else
            chalk_sleep(worker->core, CHALK_MS);
    }
}

/* ---- events ---- */

/* What a reset leaves: an event whose log page it has kept from being read, or one of a doorbell: the owner
 * of a queue takes no lock to ring, and where another core resets the controller just then there is no such
 * queue. The owner makes the new one later itself, so that does not hear of it. */
static bool is_left_over(const struct chalk_nvme_event *event)
{
    return resets != 0 && (event->error != 0 || (event->type == CHALK_NVME_EVENT_ERROR && event->what == 0));
}

/* A reset, which may be the driver's own, makes the device forget the threshold and what it had to tell. */
static bool is_lowered(void)
{
    return model.features[CHALK_NVME_FEATURE_TEMPERATURE] == COLD;
}

/* What the device tells within the time, but for that; false: nothing. */
static bool next_event(struct worker *worker, struct chalk_nvme_event *event)
{
    uint64_t deadline = chalk_deadline(flawless ? BOUND : TIMEOUT);
    int error;

    do {
        error = chalk_nvme_next_event(nvme, event);
        if (error == -EAGAIN)
            poll(worker);
    } while ((error == -EAGAIN || (error == 0 && is_left_over(event))) && !chalk_expired(deadline) &&
             !worker->failed && (!flawless || is_lowered()));
    if (error != 0 && error != -EAGAIN && flawless)
        sim_fail("a device without a fault tells of no events: %d", error);
    if (error == 0 && flawless && event->type == CHALK_NVME_EVENT_ERROR && !is_left_over(event))
        sim_fail("a device without a fault tells of one of the driver's: %s", chalk_nvme_event_name(event));
    return error == 0 && !is_left_over(event);
}

static void set_threshold(uint32_t kelvin)
{
    int error = chalk_nvme_set_feature(nvme, CHALK_NVME_FEATURE_TEMPERATURE, false, 0,
                                       CHALK_NVME_TEMPERATURE(kelvin, 0, 0));

    if (error != 0 && flawless && resets == 0)
        sim_fail("a device without a fault takes no threshold: %d", error);
}

/* A threshold is lowered, and the device tells that it is too warm. */
static void warm(struct worker *worker)
{
    static struct chalk_nvme_event event;
    bool told;

    set_threshold(COLD);
    told = next_event(worker, &event);
    if (flawless && is_lowered()) {
        if (!told)
            sim_fail("a device without a fault is too warm, and does not tell");
        if (event.type != CHALK_NVME_EVENT_HEALTH || event.error != 0 ||
            event.health.temperature != NVME_MODEL_KELVIN ||
            (event.health.critical_warning & CHALK_NVME_WARNS_TEMPERATURE) == 0)
            sim_fail("a device that is too warm tells of something else: %s", chalk_nvme_event_name(&event));
    }
    set_threshold(HOT);
}

static void reset(void)
{
    unsigned before = device_resets();
    bool changed[NAMESPACES];
    int error;

    resets++;
    for (unsigned i = 0; i < NAMESPACES; i++)
        changed[i] = changes[i] && has_changed(i);
    error = chalk_nvme_reset(nvme);
    for (unsigned i = 0; i < NAMESPACES; i++)
        if (changed[i] && error == 0)
            refitted[i] = sim_now();
    if (error != 0 && flawless)
        sim_fail("a device without a fault is not reset: %d", error);
    if (error != 0 && recovers)
        sim_fail("a device whose failures pass in time is not reset: %d", error);
    if (device_resets() != before && recovers)
        sim_fail("a device whose failures pass in time is reset as a function");
    if (error != 0 && !is_fatal(error))
        sim_fail("a controller that cannot be reset fails with %d", error);
}

static void take_step(struct worker *worker, const struct step *step)
{
    switch (step->op) {
    case OP_WARM:
        if (watches)
            warm(worker);
        break;
    case OP_CANCEL:
        cancel(worker);
        break;
    case OP_RESET:
        reset();
        break;
    case OP_FILL:
        fill_queue(worker, step->lba);
        break;
    case OP_DRAIN:
        while (worker->flying != 0 && !worker->failed)
            poll(worker);
        break;
    case OP_PAUSE:
        pause(worker, step->lba);
        break;
    case OP_IDLE:
        idle(worker);
        break;
    default:
        submit(worker, step);
    }
}

/* A core's life. */
static void work(unsigned core, void *argument)
{
    struct worker *worker = argument;

    for (unsigned i = 0; i < scenario->count && !worker->failed; i++)
        if (scenario->steps[i].core == core)
            take_step(worker, &scenario->steps[i]);
    while (scenario->drains && worker->flying != 0 && !worker->failed)
        poll(worker);
    worker->leaves = true;
}

/* ---- the whole ---- */

static void require(int error, const char *what)
{
    if (error != 0)
        sim_fail("%s: %d", what, error);
}

/* Of a request's memory: whole pages, of which it begins a little later. */
static size_t room(uint32_t block_size)
{
    return SCENARIO_BLOCKS * block_size + CHALK_PAGE;
}

/* Requests have two places if the device lies: see struct slot. */
static unsigned places(void)
{
    return honest ? 1 : 2;
}

/* What the program and its driver need. Each run writes all of it twice, so it is no more. */
static size_t shared_size(void)
{
    size_t size = 256 << 10; /* for the driver: rings, and a page of list for each request */

    for (unsigned core = 0; core < scenario->cores; core++)
        size += (size_t)scenario->depth * places() * room(is_large(core) ? LARGE_BLOCK : BLOCK);
    return size;
}

static bool open_queue(struct chalk_memory *memory, struct worker *worker)
{
    static const enum chalk_nvme_interrupts interrupts[] = {
        [POLLS] = CHALK_NVME_POLLED, [INTERRUPTS] = CHALK_NVME_INTERRUPTS, [ADAPTS] = CHALK_NVME_ADAPTIVE};
    bool large = is_large(worker->core);
    const struct chalk_nvme_queue_options options = {.nsid = large ? 2 : 1,
                                                     .depth = scenario->depth,
                                                     .core = worker->core,
                                                     .interrupts = interrupts[scenario->hearing],
                                                     .patience_ns = 1000ull << sim_below(8),
                                                     .timeout_ns = TIMEOUT};
    int error = chalk_nvme_queue_open(nvme, &options, &worker->queue);

    worker->block_size = large ? LARGE_BLOCK : BLOCK;
    for (unsigned i = 0; i < SCENARIO_BLOCKS; i++)
        worker->zeroes[i][0] = true;
    if (error != 0 && flawless)
        sim_fail("a device without a fault opens no queue: %d", error);
    for (unsigned i = 0; error == 0 && i < scenario->depth; i++) {
        struct slot *slot = &worker->slots[i];

        slot->worker = worker;
        for (unsigned place = 0; place < places(); place++) {
            require(chalk_dma_get(memory, room(worker->block_size), CHALK_PAGE, &slot->places[place]),
                    "memory for data");
            slot->places[place].va = (char *)slot->places[place].va + 8 * i;
            slot->places[place].iova += 8 * i;
        }
    }
    return error == 0;
}

static void close_queue(struct chalk_memory *memory, struct worker *worker)
{
    chalk_nvme_queue_close(worker->queue);
    if (worker->flying != 0)
        sim_fail("the queue of core %u is closed, but %u requests were not called back", worker->core,
                 worker->flying);
    for (unsigned i = 0; i < scenario->depth; i++)
        for (struct chalk_dma *place = worker->slots[i].places; place < worker->slots[i].places + places();
             place++)
            chalk_dma_put(memory, &(struct chalk_dma){(char *)place->va - 8 * i, place->iova - 8 * i,
                                                      room(worker->block_size)});
}

/* Whatever has become of the controller, it answers an admin command, or that fails in time. */
static void ask(void)
{
    static struct chalk_nvme_namespace ns;
    int error = chalk_nvme_next_namespace(nvme, 0, &ns);

    if (error != 0 && flawless)
        sim_fail("a device without a fault has no namespace: %d", error);
    if (error == -EAGAIN)
        sim_fail("an admin command was not taken, and not one is under way");
}

static void use(struct chalk_memory *memory)
{
    unsigned opened = 0;

    for (; opened < scenario->cores; opened++) {
        workers[opened].core = opened;
        if (!open_queue(memory, &workers[opened]))
            break;
    }
    if (opened == scenario->cores) {
        for (unsigned core = 1; core < opened; core++)
            require(chalk_core_start(core, work, &workers[core]), "starting a core");
        work(0, &workers[0]);
        for (unsigned core = 1; core < opened; core++)
            if (chalk_core_join(0, core, CHALK_FOREVER) != 0)
                sim_fail("core %u does not end", core);
    }
    flawless &= scenario->drains; /* else what is left ends with -ECANCELED */
    ask();
    while (opened-- > 0)
        close_queue(memory, &workers[opened]);
}

/* A program that does not watch leaves changes of namespaces to its queues. */
static bool watches_namespaces(void)
{
    return scenario->seed % 3 != 0;
}

static void run(unsigned core, void *argument)
{
    const struct chalk_memory_options sizes = {.private_size = 128 << 10, .shared_size = shared_size()};
    struct chalk_domain *domain = NULL;
    struct chalk_device *device;
    struct chalk_memory *memory;
    struct chalk_memory_usage usage;
    int error;

    (void)core, (void)argument;
    require(chalk_device_open(SIM_DEVICE, &domain, &device), "opening the device");
    require(chalk_memory_create(&sizes, &memory), "memory");
    require(chalk_memory_share(memory, domain), "sharing memory");
    error = chalk_nvme_open(
        device,
        &(struct chalk_nvme_options){.memory = memory,
                                     .domain = domain,
                                     .interrupts = scenario->hearing != POLLS,
                                     .shadow_doorbells = scenario->shadow,
                                     .timeout_ns = scenario->patient ? LONGER : ADMIN_TIMEOUT},
        &nvme);
    if (error != 0 && flawless)
        sim_fail("a device without a fault is not opened: %d", error);
    if (error == 0) {
        error = watches_namespaces() ? chalk_nvme_watch(nvme, CHALK_NVME_WATCH_ALL) : -ENOTSUP;
        if (error != 0 && flawless && watches_namespaces())
            sim_fail("a device without a fault cannot be watched: %d", error);
        watches = error == 0;
        use(memory);
        chalk_nvme_close(nvme);
    }
    chalk_memory_get_usage(memory, &usage);
    if (usage.private_used != 0 || usage.shared_used != 0)
        sim_fail("%zu bytes of private and %zu of shared memory were not given back", usage.private_used,
                 usage.shared_used);
    chalk_memory_unshare(memory, domain);
    chalk_device_close(device);
    chalk_memory_destroy(memory);
}

/* Habits are for a driver to know. */
static bool is_flawless(const struct scenario *which)
{
    for (unsigned i = 0; i < which->script.count; i++)
        if (which->script.rules[i].what != WHAT_HABIT)
            return false;
    return true;
}

static bool has_habit(const struct scenario *which, enum nvme_habit habit)
{
    for (unsigned i = 0; i < which->script.count; i++)
        if (which->script.rules[i].what == WHAT_HABIT && which->script.rules[i].value == habit)
            return true;
    return false;
}

/* Whether all that happens to the namespace of this index is one change by another controller, and nothing
 * that the device says is a lie. */
static bool changes_once(const struct scenario *which, unsigned index)
{
    unsigned count = 0;

    for (unsigned i = 0; i < which->script.count; i++) {
        const struct script_rule *rule = &which->script.rules[i];

        if (rule->what == WHAT_RESHAPE || rule->what == WHAT_DETACH)
            count += rule->value == index + 1;
        else if (!rule_honest(rule))
            return false;
    }
    return count == 1;
}

/* Whether all that is wrong is what others change, or what a reset leaves. */
static bool only_changes(const struct scenario *which)
{
    for (unsigned i = 0; i < which->script.count; i++) {
        enum script_what what = which->script.rules[i].what;

        if (what != WHAT_RESHAPE && what != WHAT_DETACH && what != WHAT_HABIT)
            return false;
    }
    return true;
}

/* Whether a program that waits long enough can reset the device, because only few of its admin commands fail,
 * and with a status that passes. */
static bool passes_in_time(const struct scenario *which)
{
    const struct script_name *admin = &nvme_names.names[0];
    uint64_t failures = 0;

    for (unsigned i = 0; i < which->script.count; i++) {
        const struct script_rule *rule = &which->script.rules[i];

        if (rule->when != WHEN_COMMAND || rule->what != WHAT_STATUS)
            return false;
        if ((rule->which & admin->mask) == 0)
            continue;
        if (rule->value != 0x06 && rule->value != 0x22 && rule->value != 0x24)
            return false;
        failures += rule->last - rule->first + 1;
    }
    return which->patient && failures <= FEW;
}

/* Whether all that the device does wrong is to answer I/O commands with a failing status. */
static bool only_refuses(const struct scenario *given)
{
    const struct script_name *admin = &nvme_names.names[0];

    for (unsigned i = 0; i < given->script.count; i++) {
        const struct script_rule *rule = &given->script.rules[i];

        if (rule->when != WHEN_COMMAND || rule->what != WHAT_STATUS || (rule->which & admin->mask) != 0)
            return false;
    }
    return true;
}

static void run_scenario(const struct scenario *given)
{
    struct nvme_slot *slots = model.slots;
    static struct scenario copy;

    copy = *given;
    scenario = &copy;
    honest = scenario_honest(scenario);
    flawless = is_flawless(scenario);
    answers = only_refuses(scenario);
    recovers = passes_in_time(scenario);
    grants_less = has_habit(scenario, NVME_GRANTS_LESS);
    resets = 0;
    for (unsigned i = 0; i < NAMESPACES; i++) {
        changes[i] = changes_once(scenario, i);
        notices[i] = changes[i] && only_changes(scenario) && !watches_namespaces();
        refitted[i] = 0;
    }
    memset(workers, 0, sizeof workers);
    memset(&model, 0, sizeof model);
    model.serial = "SIM";
    model.registers_only = !scenario->shadow;
    for (unsigned i = 0; i < (scenario->mixed ? 2 : 1); i++) {
        unsigned shift = i == 0 ? BLOCK_SHIFT : LARGE_SHIFT;

        model.namespaces[i] =
            (struct nvme_namespace){.attached = true,
                                    .store = store_begin_run(i, (size_t)SIM_CORES * SCENARIO_BLOCKS << shift,
                                                             honest && !flawless && !answers),
                                    .shift = shift,
                                    .blocks = SIM_CORES * SCENARIO_BLOCKS};
    }
    nvme_model_init(&model, &sim_world);
    model.slots = slots; /* they are large, and the same in every run */
    model.model.script = scenario->script.count != 0 ? &copy.script : NULL;
    scenario_run(scenario, &model.model, honest, run);
    model.model.class->reset(&model.model); /* gives back the slots of what is still under way */
}

/* ---- what it is made of ---- */

static const char *const failures[] = {
    "command io %4: status 0x6",
    "command io %4: status 0x82",
    "command io %4: status 0x22",
    "command io %4: status 0x4281",
    "command io %1: status 0x6",
    "command io %1: status 0x4281",
    "command read %4: status 0x21",
    "command write %4: status 0x4",
    "command admin %4: status 0x6",
    "command admin %4: status 0x105",
    "command admin %4: status 0x24",
    "command admin %1: status 0x6",
    "command admin %5: status 0x4006",
    "command identify %4: status 0x24",
    "command set-features %4: status 0x6",
    "command set-features %4: status 0xb",
    "command set-features %4: status 0x21",
    "command create-cq %4: status 0x101",
    "command create-sq %4: status 0x22",
    "command delete-cq %4: status 0x6",
    "command delete-sq %4: status 0x101",
    "command doorbell-buffer 2-99: status 0x105",
    NULL,
};
static const char *const passing[] = {
    "command admin %5: status 0x6",
    "command admin %5: status 0x22",
    "command identify %5: status 0x6",
    "command identify %5: status 0x24",
    "command set-features %5: status 0x22",
    "command create-cq %5: status 0x6",
    "command create-sq %5: status 0x22",
    "command get-log %5: status 0x6",
    "command io %4: status 0x6",
    "command io %4: status 0x82",
    NULL,
};
static const char *const faults[] = {
    "completion io %1: ignore",
    "completion io %1: late %2",
    "completion io %1-: late %2",
    "completion admin %1: ignore",
    "completion admin %1: late %2",
    "command io %1: ignore",
    "command admin %1: ignore",
    "completion io %4: ignore",
    "completion admin %4: ignore",
    "command io %4: ignore",
    "time %2: vanish",
    "completion io %1: vanish",
    "completion admin %1: vanish",
    "time %2: vanish",
    "time %2: mute",
    "interrupt %1: ignore",
    "interrupt %1: twice",
    "interrupt %1: storm 20",
    "read csts %1: value 0x3",
    "completion io %1-: ignore",
    "command io %1: mute",
    "always: fetches-4k-of-ranges",
    "always: fetches-512-of-ranges",
    "always: follows-last-entries",
    "always: pages-only",
    "always: doorbells-256-apart",
    /* Most of these happen in the middle of a reset: */
    "write cc %1: vanish",
    "read csts %1: vanish",
    "read csts %4: value 0x3",
    "command create-cq %1: vanish",
    "command set-features %1: vanish",
    "command identify %1: vanish",
    "command create-sq %4: ignore",
    "command set-features %4: ignore",
    "command identify %4: ignore",
    NULL,
};
static const char *const lies[] = {
    "completion io %1: twice",
    "completion io %1: id %3",
    "completion io %1: queue %1",
    "completion io %1: head %3",
    "completion io %1: stale",
    "completion admin %1: twice",
    "completion admin %1: id %3",
    "completion admin %1: stale",
    "command identify %1: garbage",
    "command read %1: garbage",
    "command identify %1: put 77 1 %1",
    "read csts %1: value %3",
    "read cap %1: value %3",
    "read csts %1-: value 0",
    "completion io %1-: id %1",
    "command admin %1: garbage",
    NULL,
};

/* What others change, and what a reset may leave of a controller. */
static const char *const changed[] = {
    "command io %1: reshape 1",
    "command admin %1: reshape 1",
    "time %2: reshape 1",
    "command io %1: reshape 2",
    "command io %1: detach 1",
    "command admin %1: detach 2",
    "time %2: detach 1",
    "always: shrinks-at-resets",
    "always: grants-less-at-resets",
    NULL,
};

const struct driver driver = {.names = &nvme_names,
                              .steps = true,
                              .failures = failures,
                              .passing = passing,
                              .faults = faults,
                              .lies = lies,
                              .changes = changed,
                              .run = run_scenario};

/* SPDX-License-Identifier: BSD-2-Clause */
/* The controller itself: registers, queues, completions. */
#include "nvme.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE     4096u
#define VERSION  0x00010400u /* 1.4.0 */
#define BATCH    64          /* commands of one queue before the next has its turn */
#define TABLE    0x4000
#define PENDING  0x5000
#define BAR_SIZE 0x8000

/* No page but 4 KiB, the NVM command set, contiguous queues, ready within 500 ms, doorbells 4 bytes apart. */
#define CAPABILITIES ((uint64_t)(NVME_MODEL_ENTRIES - 1) | 1ull << 16 | 1ull << 24 | NVME_CAP_CSS_NVM)

static struct nvme_model *nvme_of(struct model *model)
{
    return (struct nvme_model *)(void *)model;
}

/* ---- rings ---- */

/* Where `size` bytes at `index` of the ring can be seen; NULL if only by copies. */
static char *view_of(struct nvme_model *nvme, struct nvme_ring *ring, uint32_t index, size_t size)
{
    if (ring->generation != nvme->model.world->generation || ring->view == NULL) {
        ring->view = model_view(&nvme->model, ring->address, ring->entries * size, REACH_READ | REACH_WRITE);
        ring->generation = nvme->model.world->generation;
    }
    return ring->view != NULL ? ring->view + index * size : NULL;
}

/* ---- doorbells, as registers or in memory [Base 5.8, B.5] ---- */

#define OF_IO 2 /* the first that can be in memory: those of administration are always registers */

static bool is_in_memory(const struct nvme_model *nvme, unsigned index)
{
    return nvme->shadow.entries != 0 && index >= OF_IO;
}

__attribute__((noinline)) static uint32_t doorbell_in_memory(struct nvme_model *nvme, unsigned index)
{
    const char *place = view_of(nvme, &nvme->shadow, index, sizeof(uint32_t));
    uint32_t value = nvme->doorbells[index]; /* the register, if it is not to be had */

    if (place != NULL)
        return __atomic_load_n((const uint32_t *)(const void *)place, __ATOMIC_ACQUIRE);
    model_load(&nvme->model, nvme->shadow.address + 4 * index, &value, sizeof value);
    return value;
}

/* The last value that was written to a doorbell: the program may be writing. */
static inline uint32_t doorbell(struct nvme_model *nvme, unsigned index)
{
    return is_in_memory(nvme, index) ? doorbell_in_memory(nvme, index)
                                     : __atomic_load_n(&nvme->doorbells[index], __ATOMIC_ACQUIRE);
}

/* We say it and then look, the program writes and then looks: with a full fence on both sides one sees the
 * other. */
__attribute__((noinline)) static bool ask_for_register(struct nvme_model *nvme, unsigned index,
                                                       uint32_t value)
{
    char *place = view_of(nvme, &nvme->wanted, index, sizeof value);

    if (place != NULL)
        __atomic_store_n((uint32_t *)(void *)place, value, __ATOMIC_RELAXED);
    else
        model_store(&nvme->model, nvme->wanted.address + 4 * index, &value, sizeof value);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return doorbell(nvme, index) != value;
}

/* Asks to be woken when the doorbell is no longer `value`; whether it is something else already. Who looks at
 * doorbells all the time need not be woken. */
static inline bool changed(struct nvme_model *nvme, unsigned index, uint32_t value)
{
    return is_in_memory(nvme, index) && nvme->model.shared[0] == NULL && ask_for_register(nvme, index, value);
}

uint16_t nvme_shadow_doorbells(struct nvme_model *nvme, uint64_t shadow, uint64_t wanted)
{
    if (shadow % PAGE != 0 || wanted % PAGE != 0)
        return NVME_PRP_OFFSET;
    for (unsigned i = OF_IO; i < 2 * NVME_MODEL_QUEUES; i++) /* of queues that there are already */
        if (!model_store(&nvme->model, shadow + 4 * i, &nvme->doorbells[i], 4) ||
            !model_store(&nvme->model, wanted + 4 * i, &nvme->doorbells[i], 4))
            return NVME_TRANSFER_ERROR;
    nvme->shadow = (struct nvme_ring){.address = shadow, .entries = PAGE / 4};
    nvme->wanted = (struct nvme_ring){.address = wanted, .entries = PAGE / 4};
    return NVME_GOOD;
}

/* ---- entries ---- */

static uint32_t after(uint32_t index, uint32_t entries)
{
    return index + 1 == entries ? 0 : index + 1;
}

static bool fetch(struct nvme_model *nvme, struct nvme_sq *sq, struct nvme_command *command)
{
    const char *view = view_of(nvme, &sq->ring, sq->head, sizeof *command);

    if (view == NULL)
        return model_load(&nvme->model, sq->ring.address + sq->head * sizeof *command, command,
                          sizeof *command);
    memcpy(command, view, sizeof *command);
    return true;
}

/* The phase bit says that the rest is there, so it is written last. */
static bool store_completion(struct nvme_model *nvme, struct nvme_cq *cq, uint32_t index,
                             const struct nvme_completion *entry)
{
    char *view = view_of(nvme, &cq->ring, index, sizeof *entry);
    uint64_t last;

    if (view == NULL)
        return model_store(&nvme->model, cq->ring.address + index * sizeof *entry, entry, sizeof *entry);
    memcpy(&last, &entry->origin, sizeof last);
    memcpy(view, entry, sizeof last);
    __atomic_store_n((uint64_t *)(void *)(view + sizeof last), last, __ATOMIC_RELEASE);
    return true;
}

/*
 * Shows the program what is staged, the first one last: it looks for that one, and so takes no cache line
 * away before all of them are full.
 */
static bool show(struct nvme_model *nvme, struct nvme_cq *cq)
{
    uint32_t first =
        cq->tail >= cq->staged ? cq->tail - cq->staged : cq->tail + cq->ring.entries - cq->staged;
    bool good = true;

    for (unsigned i = cq->staged; i-- > 0;) {
        uint32_t index = first + i < cq->ring.entries ? first + i : first + i - cq->ring.entries;

        good &= store_completion(nvme, cq, index, &cq->stage[i]);
    }
    cq->posted |= cq->staged != 0;
    cq->staged = 0;
    return good;
}

bool nvme_has_room(struct nvme_model *nvme, unsigned id)
{
    struct nvme_cq *cq = &nvme->cqs[id];

    for (unsigned look = 0; look < 3; look++) {
        uint32_t used = cq->tail >= cq->head ? cq->tail - cq->head : cq->tail + cq->ring.entries - cq->head;
        uint32_t head;

        if (used + cq->under_way + 1 < cq->ring.entries)
            return true;
        if (look == 1 && !changed(nvme, 2 * id + 1, cq->head))
            break;
        head = doorbell(nvme, 2 * id + 1); /* the program's cache line: looked at only when it matters */
        if (head < cq->ring.entries)
            cq->head = head;
    }
    return false;
}

/* Nothing but a reset helps any more. */
static void fail(struct nvme_model *nvme)
{
    nvme->csts |= NVME_CSTS_CFS;
}

void nvme_log_error(struct nvme_model *nvme, struct nvme_error_entry entry)
{
    memmove(nvme->errors + 1, nvme->errors, sizeof nvme->errors - sizeof nvme->errors[0]);
    entry.count = ++nvme->error_count;
    nvme->errors[0] = entry;
    nvme->health.errors[0]++;
}

/* Whether the command names the first of some blocks. */
static bool has_blocks(uint16_t sq, const struct nvme_command *command)
{
    switch (command->cdw0 & 0xff) {
    case NVME_READ:
    case NVME_WRITE:
    case NVME_COMPARE:
    case NVME_WRITE_ZEROES:
    case NVME_VERIFY:
    case NVME_ZONE_SEND:
    case NVME_ZONE_RECEIVE:
    case NVME_ZONE_APPEND:
        return sq != 0;
    default:
        return false;
    }
}

/* [Base 5.16.1.2]. The capacity that was missing is what is specific to a command. */
static void log_failure(struct nvme_model *nvme, uint16_t sq, const struct nvme_command *command,
                        uint16_t status, uint64_t result)
{
    nvme_log_error(nvme, (struct nvme_error_entry){
                             .sqid = sq,
                             .cid = (uint16_t)(command->cdw0 >> 16),
                             .status = (uint16_t)(status << 1),
                             .location = 0xffff,
                             .lba = has_blocks(sq, command) ? command->slba : 0,
                             .nsid = command->nsid,
                             .command_specific = (status & 0x7ff) == NVME_NO_CAPACITY ? result : 0,
                         });
}

void nvme_complete(struct nvme_model *nvme, uint16_t id, const struct nvme_command *command, uint16_t status,
                   uint64_t result)
{
    uint16_t cid = (uint16_t)(command->cdw0 >> 16);
    struct nvme_sq *sq = &nvme->sqs[id];
    struct nvme_completion entry = {
        .result = (uint32_t)result,
        .dword1 = (uint32_t)(result >> 32),
        .origin = (uint32_t)id << 16 | sq->head,
        .outcome = (uint32_t)status << 17 | cid,
    };
    const struct script_rule *rule = model_event(&nvme->model, WHEN_COMPLETION, id != 0);

    nvme->cqs[sq->cq].under_way--;
    if (status != NVME_GOOD)
        log_failure(nvme, id, command, status, result);
    if (rule != NULL)
        nvme_complete_wrongly(nvme, rule, sq->cq, entry);
    else
        nvme_post(nvme, &nvme->cqs[sq->cq], entry);
}

void nvme_post(struct nvme_model *nvme, struct nvme_cq *cq, struct nvme_completion entry)
{
    entry.outcome ^= cq->phase << 16;
    cq->stage[cq->staged++] = entry;
    cq->tail = after(cq->tail, cq->ring.entries);
    if (cq->tail == 0)
        cq->phase ^= 1;
    if (cq->staged == NVME_MODEL_STAGE && !show(nvme, cq))
        fail(nvme);
}

/* The status as the program gets it: the same command would fail again, unless its error can pass by itself
 * or by what other commands do [Base 3.3.3.2.1, do not retry]. */
static uint16_t final(uint16_t status)
{
    switch (status) {
    case NVME_GOOD:
    case NVME_TRANSFER_ERROR:
    case NVME_INTERNAL_ERROR:
    case NVME_ABORTED:
    case NVME_ABORTED_SQ:
    case NVME_EVENT_LIMIT:
    case NVME_TOO_MANY_ACTIVE:
    case NVME_TOO_MANY_OPEN:
    case NVME_LATER:
        return status;
    default:
        return (uint16_t)(status | NVME_STATUS_DNR);
    }
}

/* ---- what the stores have finished ---- */

static bool reap(struct nvme_model *nvme, bool wait)
{
    struct store_request *request;
    bool any = false;

    for (unsigned i = 0; i < NVME_MODEL_NAMESPACES && nvme->at_stores != 0; i++)
        while (nvme->namespaces[i].store != NULL &&
               (request = store_finished(nvme->namespaces[i].store, wait)) != NULL) {
            struct nvme_slot *slot = (struct nvme_slot *)(void *)request;
            uint16_t status = final(nvme_io_finish(nvme, slot));

            any = true;
            if (status == NVME_LATER)
                continue;
            nvme_complete(nvme, slot->sq, &slot->command, status, slot->result);
            nvme_slot_free(nvme, slot);
        }
    return any;
}

/* ---- running ---- */

/* The commands come from another processor's cache: all at once is faster than one after the other. */
static void prefetch(struct nvme_model *nvme, struct nvme_sq *sq, uint32_t tail)
{
    const char *first = view_of(nvme, &sq->ring, 0, sizeof(struct nvme_command));

    for (uint32_t i = sq->head, n = 0; first != NULL && i != tail && n < 16;
         i = after(i, sq->ring.entries), n++)
        __builtin_prefetch(first + i * sizeof(struct nvme_command));
}

static void execute(struct nvme_model *nvme, uint16_t id, const struct nvme_command *command)
{
    const struct script_rule *rule =
        nvme->model.script != NULL ? nvme_command_event(nvme, id, command) : NULL;
    uint64_t result = 0;
    uint16_t status;

    if (rule != NULL && rule->what == WHAT_IGNORE)
        return;
    nvme->cqs[nvme->sqs[id].cq].under_way++;
    nvme->spoiling = rule;
    status = rule != NULL && rule->what == WHAT_STATUS ? (uint16_t)rule->value & 0x7fff
             : id == 0                                 ? final(nvme_admin(nvme, command, &result))
                                                       : final(nvme_io(nvme, id, command, &result));
    nvme->spoiling = NULL;
    if (status != NVME_LATER)
        nvme_complete(nvme, id, command, status, result);
}

/* A value that the ring has no place for is not heard, and told of once. */
__attribute__((noinline)) static void refuse(struct nvme_model *nvme, struct nvme_sq *sq, uint32_t value)
{
    uint64_t refused = (uint64_t)value << 32 | sq->head;

    if (refused == sq->refused)
        return;
    sq->refused = refused;
    nvme_doorbell_error(nvme, NVME_BAD_VALUE);
}

static bool run_queue(struct nvme_model *nvme, uint16_t id)
{
    struct nvme_sq *sq = &nvme->sqs[id];
    struct nvme_command command;
    unsigned done = 0;
    uint32_t tail;

    if (sq->ring.entries == 0)
        return false;
    tail = doorbell(nvme, 2 * (unsigned)id);
    if (tail == sq->head && changed(nvme, 2 * (unsigned)id, tail))
        tail = doorbell(nvme, 2 * (unsigned)id);
    if (tail == sq->head)
        return false;
    if (tail >= sq->ring.entries) {
        refuse(nvme, sq, tail);
        return false;
    }
    prefetch(nvme, sq, tail);
    while (sq->head != tail && done < BATCH && sq->ring.entries != 0 &&
           (done == 0 || !nvme->model.world->slow) && (id == 0 || nvme->at_stores < NVME_MODEL_AT_STORES) &&
           nvme_has_room(nvme, sq->cq)) {
        if (!fetch(nvme, sq, &command)) {
            fail(nvme);
            break;
        }
        sq->head = after(sq->head, sq->ring.entries);
        execute(nvme, id, &command);
        done++;
    }
    return done != 0;
}

/* Shows what has been completed, and tells of it. */
static void publish(struct nvme_model *nvme)
{
    for (unsigned i = 0; i <= nvme->last_queue; i++) {
        struct nvme_cq *cq = &nvme->cqs[i];

        if (cq->staged != 0 && !show(nvme, cq))
            fail(nvme);
        if (cq->posted && cq->interrupts)
            model_interrupt(&nvme->model, cq->vector);
        cq->posted = false;
    }
}

void nvme_drain(struct nvme_model *nvme)
{
    reap(nvme, true);
    nvme_run_jobs(nvme, true);
    if (nvme->held_count != 0)
        nvme_post_late(nvme, true);
    publish(nvme);
}

static bool nvme_run(struct model *model)
{
    struct nvme_model *nvme = nvme_of(model);
    bool any = false;

    nvme_change_namespaces(nvme);
    if ((nvme->csts & NVME_CSTS_RDY) == 0 || (nvme->csts & NVME_CSTS_CFS) != 0)
        return false;
    model->world->slow = false; /* else a queue does one command, as the client may be asking something */
    if (nvme->at_stores != 0)
        any = reap(nvme, false) | nvme_run_jobs(nvme, false);
    if (nvme->held_count != 0)
        any |= nvme_post_late(nvme, false);
    for (unsigned i = 0; i <= nvme->last_queue && (nvme->csts & NVME_CSTS_CFS) == 0; i++)
        any |= run_queue(nvme, (uint16_t)i);
    if (nvme->events.pending_count != 0)
        any |= nvme_tell(nvme);
    if (any)
        publish(nvme);
    return any;
}

/* ---- registers [Base 3.1.3] ---- */

static void stop(struct nvme_model *nvme)
{
    struct store_request *request;

    nvme_drop_jobs(nvme);
    for (unsigned i = 0; i < NVME_MODEL_NAMESPACES; i++)
        while (nvme->namespaces[i].store != NULL &&
               (request = store_finished(nvme->namespaces[i].store, true)) != NULL)
            nvme_slot_free(nvme, (struct nvme_slot *)(void *)request);
    memset(nvme->sqs, 0, sizeof nvme->sqs);
    memset(nvme->cqs, 0, sizeof nvme->cqs);
    memset(nvme->doorbells, 0, 2 * NVME_MODEL_QUEUES * sizeof nvme->doorbells[0]);
    nvme->shadow.entries = nvme->wanted.entries = 0;
    for (unsigned id = 0; id < 256; id++)
        nvme->features[id] = nvme_feature_default(id);
    nvme->last_queue = 0;
    nvme->too_cold = 0;
    nvme->behaviour = 0;
    memset(&nvme->events, 0, sizeof nvme->events);
    nvme->held_count = 0;
    nvme->model.due = NEVER;
    nvme->csts = 0;
    nvme->masks = 0;
}

/* What is in CC of those that were chosen, if there is a choice. */
uint32_t nvme_command_sets(const struct nvme_model *nvme)
{
    return nvme->zoned && (nvme->cc & NVME_CC_CSS_ALL) == NVME_CC_CSS_ALL ? NVME_CC_CSS_ALL : NVME_CC_CSS_NVM;
}

static void start(struct nvme_model *nvme)
{
    uint32_t sq = (nvme->aqa & 0xfff) + 1, cq = (nvme->aqa >> 16 & 0xfff) + 1;
    bool good =
        (nvme->cc & ~(uint32_t)NVME_CC_SHN_MASK) ==
            (NVME_CC_EN | nvme_command_sets(nvme) | NVME_CC_MPS(12) | NVME_CC_IOSQES | NVME_CC_IOCQES) &&
        sq >= 2 && cq >= 2 && nvme->asq % PAGE == 0 && nvme->acq % PAGE == 0;

    stop(nvme);
    nvme->starts++;
    if (!good) {
        fail(nvme);
        return;
    }
    nvme->sqs[0] = (struct nvme_sq){.ring = {.address = nvme->asq, .entries = sq}};
    nvme->cqs[0] = (struct nvme_cq){
        .ring = {.address = nvme->acq, .entries = cq}, .phase = 1, .interrupts = true, .users = 1};
    nvme->csts = NVME_CSTS_RDY;
}

static void write_cc(struct nvme_model *nvme, uint32_t value)
{
    uint32_t before = nvme->cc;

    nvme->cc = value;
    if ((value & NVME_CC_EN) != 0 && (before & NVME_CC_EN) == 0)
        start(nvme);
    else if ((value & NVME_CC_EN) == 0 && (before & NVME_CC_EN) != 0)
        stop(nvme);
    if ((value & NVME_CC_SHN_MASK) != 0 && (before & NVME_CC_SHN_MASK) == 0) {
        nvme_drain(nvme);
        nvme->csts |= NVME_CSTS_SHST_DONE;
    }
}

static uint64_t nvme_read(struct model *model, unsigned bar, uint64_t offset, unsigned width)
{
    const struct nvme_model *nvme = nvme_of(model);
    uint64_t value, at = offset & ~7ull;

    (void)bar;
    switch (at) {
    case NVME_CAP:
        value = CAPABILITIES | (nvme->zoned ? NVME_CAP_CSS_ALL : 0) |
                (nvme_has(nvme, NVME_DOORBELLS_APART) ? 6ull << 32 : 0);
        break;
    case NVME_VS: /* and INTMS */
        value = VERSION | (uint64_t)nvme->masks << 32;
        break;
    case 0x10: /* INTMC and CC */
        value = nvme->masks | (uint64_t)nvme->cc << 32;
        break;
    case 0x18: /* CSTS is the upper half */
        value = (uint64_t)nvme->csts << 32;
        break;
    case 0x20:
        value = (uint64_t)nvme->aqa << 32;
        break;
    case NVME_ASQ:
        value = nvme->asq;
        break;
    case NVME_ACQ:
        value = nvme->acq;
        break;
    default:
        value = 0;
    }
    return value >> 8 * (offset - at) & (width == 8 ? UINT64_MAX : (1ull << 8 * width) - 1);
}

/* Half of a 64-bit register, or all of it. */
static void merge(uint64_t *to, uint64_t offset, unsigned width, uint64_t value)
{
    if (width == 8)
        *to = value;
    else if (offset % 8 == 0)
        *to = (*to & ~(uint64_t)UINT32_MAX) | (uint32_t)value;
    else
        *to = (*to & UINT32_MAX) | value << 32;
}

/* Even doorbells are those of submission queues, odd ones of completion queues. */
static bool has_queue(const struct nvme_model *nvme, unsigned doorbell)
{
    unsigned id = doorbell / 2;

    return (doorbell % 2 == 0 ? nvme->sqs[id].ring.entries : nvme->cqs[id].ring.entries) != 0;
}

static void nvme_write(struct model *model, unsigned bar, uint64_t offset, unsigned width, uint64_t value)
{
    struct nvme_model *nvme = nvme_of(model);
    uint64_t index = (offset - NVME_REGISTERS_SIZE) / (nvme_has(nvme, NVME_DOORBELLS_APART) ? 256 : 4);

    (void)bar;
    if (width < 4 || offset % width != 0)
        return;
    if (offset >= NVME_REGISTERS_SIZE) {
        if (width == 4 && index < 2 * NVME_MODEL_QUEUES && has_queue(nvme, (unsigned)index))
            __atomic_store_n(&nvme->doorbells[index], (uint32_t)value, __ATOMIC_RELEASE);
        else if ((nvme->csts & NVME_CSTS_RDY) != 0)
            nvme_doorbell_error(nvme, NVME_BAD_DOORBELL);
        return;
    }
    switch (offset & ~(uint64_t)(width == 8 || offset >= NVME_ASQ ? 7 : 3)) {
    case NVME_INTMS:
        nvme->masks |= (uint32_t)value;
        break;
    case NVME_INTMS + 4:
        nvme->masks &= ~(uint32_t)value;
        break;
    case NVME_CC:
        write_cc(nvme, (uint32_t)value);
        break;
    case NVME_AQA:
        nvme->aqa = (uint32_t)value & 0x0fff0fff;
        break;
    case NVME_ASQ:
        merge(&nvme->asq, offset, width, value);
        break;
    case NVME_ACQ:
        merge(&nvme->acq, offset, width, value);
        break;
    default:
        break;
    }
}

static void nvme_reset(struct model *model)
{
    struct nvme_model *nvme = nvme_of(model);

    if (model->shared[0] != NULL)
        nvme->doorbells = model->shared[0];
    stop(nvme);
    nvme->cc = nvme->aqa = 0;
    nvme->asq = nvme->acq = 0;
    nvme->changed = 0;
}

/* ---- life ---- */

static const struct model_class nvme_class = {
    .name = "nvme",
    .identity = {.vendor = 0x1234,
                 .device = 0xc4a1,
                 .class_code = 0x010802,
                 .revision = 1,
                 .msix_table = TABLE,
                 .msix_pending = PENDING},
    .bars = {{.size = BAR_SIZE, .shared_offset = NVME_REGISTERS_SIZE, .shared_size = PAGE}},
    .vectors = NVME_MODEL_QUEUES,
    .names = &nvme_names,
    .read = nvme_read,
    .write = nvme_write,
    .run = nvme_run,
    .reset = nvme_reset,
};
_Static_assert(2 * NVME_MODEL_QUEUES * 4 <= PAGE, "all doorbells lie in the shared page");

/* Bytes that the namespaces have. */
static uint64_t taken(const struct nvme_model *nvme)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < NVME_MODEL_NAMESPACES; i++)
        if (nvme->namespaces[i].store != NULL)
            bytes += store_size(nvme->namespaces[i].store);
    return bytes;
}

void nvme_model_init(struct nvme_model *nvme, struct world *world)
{
    model_init(&nvme->model, &nvme_class, world);
    nvme->doorbells = nvme->own_doorbells;
    nvme->capacity = nvme->spare + taken(nvme);
    for (unsigned i = 0; i < NVME_MODEL_NAMESPACES; i++)
        nvme->zoned |= nvme->namespaces[i].zone_count != 0;
    nvme->model.wake = store_wake();
    nvme_reset(&nvme->model);
}

void nvme_model_end(struct nvme_model *nvme)
{
    stop(nvme);
    for (unsigned i = 0; i < NVME_MODEL_NAMESPACES; i++)
        free(nvme->namespaces[i].zones);
    while (nvme->slots != NULL) {
        struct nvme_slot *slot = nvme->slots;

        nvme->slots = slot->next;
        free(slot->buffer);
        free(slot);
    }
}

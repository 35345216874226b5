/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A queue pair's life: a submission and a completion queue of the same identifier and size, for one namespace
 * and one core.
 *
 * Both rings have room for twice the requests in flight. A request holds one entry of the submission queue
 * until it completes, so that is never full. In the completion queue there are besides those that a poll has
 * taken and not yet rung the doorbell for, while their callbacks submitted again: so that is not full either,
 * and the controller never has to wait for room (at depth 1 that took QEMU's median read from 21 us or more
 * to 15 us).
 */
#include "split.h"
#include <chalk/core.h>
#include <string.h>

_Static_assert(2 * (sizeof(struct nvme_command) + sizeof(struct nvme_completion)) + sizeof(struct nvme_slot) +
                       sizeof(struct nvme_part) + sizeof(struct nvme_split) + sizeof(uint16_t) <=
                   512,
               "a request in flight takes no more than its list and 512 bytes");

static int pick_namespace(struct chalk_nvme *nvme, const struct chalk_nvme_queue_options *options,
                          struct chalk_nvme_namespace *ns)
{
    enum chalk_nvme_protection protection = options->protection;
    uint32_t nsid = options->nsid;
    const char *complaint = NULL;
    int error = chalk_nvme_identify_namespace(nvme, nsid, ns);

    if (error == -ENOENT)
        chalk_log(CHALK_ERROR, "NVMe %s: there is no namespace %u", nvme->name, nsid);
    if (error != 0)
        return error;
    if (ns->size == 0)
        complaint = "it has no blocks";
    else if (ns->metadata_size != 0 && ns->interleaved)
        complaint = "its format has metadata among its data; format it without, or with metadata apart";
    else if (protection != CHALK_NVME_PROTECT_NOT && (ns->protection != 1 || ns->metadata_size < 8))
        complaint = "its format has no protection information of type 1; format it with";
    else if (protection == CHALK_NVME_PROTECT_CONTROLLER && ns->metadata_size != 8)
        complaint = "its metadata is more than protection information, which is the driver's then";
    else if (ns->block_size > nvme->info.max_transfer || ns->block_size > 65536)
        complaint = "its blocks are too large";
    if (complaint != NULL) {
        chalk_log(CHALK_ERROR, "NVMe %s: namespace %u: %s", nvme->name, nsid, complaint);
        return -EINVAL;
    }
    return 0;
}

/* The lowest identifier that is free. */
static int pick_identifier(struct chalk_nvme *nvme, uint16_t *id)
{
    unsigned lowest = (unsigned)__builtin_ctzll(~nvme->queue_ids | 1ull << 63);
    int error = nvme->info.queues != 0 ? chalk_nvme_map_doorbells(nvme) : 0;

    if (error != 0)
        return error;
    if (nvme->info.queues == 0) {
        chalk_log(CHALK_ERROR, "NVMe %s: it has no I/O queues: %s (status 0x%03x)", nvme->name,
                  nvme->queues_status != 0 ? chalk_nvme_status_name(nvme->queues_status)
                                           : "there is no room for their doorbells in its BAR 0",
                  NVME_STATUS_CODE(nvme->queues_status));
        return -EIO;
    }
    if (lowest > nvme->info.queues || (nvme->queue_ids >> lowest & 1) != 0) {
        chalk_log(CHALK_ERROR, "NVMe %s: no queue is left: it grants %u, and all are open", nvme->name,
                  nvme->info.queues);
        return -ENOSPC;
    }
    *id = (uint16_t)lowest;
    return 0;
}

static unsigned log2_up(uint64_t value)
{
    return value <= 1 ? 0 : 64 - (unsigned)__builtin_clzll(value - 1);
}

/* The queue, its slots and its stack, in private memory: nothing in there can be reached by a device. */
static struct nvme_queue *allocate_private(struct chalk_nvme *nvme, unsigned depth)
{
    size_t slots = (size_t)1 << log2_up(depth + 1); /* see struct nvme_slot */
    size_t size = sizeof(struct nvme_queue) + slots * sizeof(struct nvme_slot) +
                  depth * (sizeof(struct nvme_part) + sizeof(struct nvme_split) + sizeof(uint16_t));
    struct nvme_part *parts;
    struct nvme_split *splits;
    struct nvme_queue *queue = chalk_memory_get(nvme->memory, size);

    if (queue == NULL)
        return NULL;
    queue->size = size;
    queue->nvme = nvme;
    queue->depth = depth;
    queue->entries = 2 * depth < nvme->info.max_queue_entries ? 2 * depth + 1 : nvme->info.max_queue_entries;
    queue->slots = (struct nvme_slot *)(queue + 1);
    queue->slot_mask = (uint32_t)(slots - 1);
    parts = (struct nvme_part *)(queue->slots + slots);
    splits = (struct nvme_split *)(parts + depth);
    queue->cids = (uint16_t *)(splits + depth);
    for (unsigned i = 0; i < depth; i++) {
        parts[i].next = queue->free_parts;
        queue->free_parts = &parts[i];
        splits[i].next = queue->free_splits;
        queue->free_splits = &splits[i];
        queue->cids[i] = (uint16_t)i;
    }
    for (unsigned i = 0; i < slots; i++) /* those beyond the depth, too: a completion may be of any */
        queue->slots[i].tag = i | NVME_TAG_FREE;
    return queue;
}

/* The rings, a list for each request, and a page behind them for shape.c. */
static int allocate_shared(struct chalk_nvme *nvme, struct nvme_queue *queue)
{
    size_t page = nvme->info.page_size;
    const struct chalk_dma *memory[] = {&queue->command_memory, &queue->completion_memory,
                                        &queue->list_memory};
    int error = chalk_dma_get(nvme->memory, queue->entries * sizeof(struct nvme_command), page,
                              &queue->command_memory);

    if (error == 0)
        error = chalk_dma_get(nvme->memory, queue->entries * sizeof(struct nvme_completion), page,
                              &queue->completion_memory);
    if (error == 0)
        error = chalk_dma_get(nvme->memory, (queue->depth + (size_t)1) * NVME_LIST_SIZE, page,
                              &queue->list_memory);
    if (error != 0) {
        chalk_log(CHALK_ERROR,
                  "NVMe %s: no memory for a queue of %u: it needs %zu KiB of shared memory; give its "
                  "chalk_memory a larger shared_size",
                  nvme->name, queue->depth,
                  (queue->entries * (sizeof(struct nvme_command) + sizeof(struct nvme_completion)) +
                   (queue->depth + (size_t)1) * NVME_LIST_SIZE) /
                          1024 +
                      3 * page / 1024);
        return error;
    }
    for (unsigned i = 0; i < sizeof memory / sizeof *memory; i++)
        chalk_grant_check(nvme->domain, memory[i]->iova, memory[i]->size);
    queue->commands = queue->command_memory.va;
    queue->commands_iova = queue->command_memory.iova;
    chalk_nvme_cmb_use(queue); /* which may turn out not to work: then the other memory is there */
    queue->completions = queue->completion_memory.va;
    queue->lists = queue->list_memory.va;
    queue->lists_iova = queue->list_memory.iova;
    return 0;
}

static void release(struct nvme_queue *queue)
{
    struct chalk_nvme *nvme = queue->nvme;

    chalk_nvme_vector_put(queue);
    chalk_nvme_cmb_put(nvme, queue->id);
    if (queue->command_memory.va != NULL)
        chalk_dma_put(nvme->memory, &queue->command_memory);
    if (queue->completion_memory.va != NULL)
        chalk_dma_put(nvme->memory, &queue->completion_memory);
    if (queue->list_memory.va != NULL)
        chalk_dma_put(nvme->memory, &queue->list_memory);
    chalk_memory_put(nvme->memory, queue, queue->size);
}

/* The operations that its optional commands make [NVM 3.2]. */
static uint32_t operations(uint16_t commands)
{
    static const struct {
        uint16_t command;
        uint8_t op;
    } optional[] = {
        {NVME_ONCS_DATASET, CHALK_BLOCK_DISCARD},
        {NVME_ONCS_WRITE_ZEROES, CHALK_BLOCK_WRITE_ZEROES},
        {NVME_ONCS_COMPARE, CHALK_BLOCK_COMPARE},
        {NVME_ONCS_VERIFY, CHALK_BLOCK_VERIFY},
    };
    uint32_t found =
        1 << CHALK_BLOCK_READ | 1 << CHALK_BLOCK_WRITE | 1 << CHALK_BLOCK_FLUSH | 1 << CHALK_BLOCK_DRIVER;

    for (unsigned i = 0; i < sizeof optional / sizeof *optional; i++)
        if ((commands & optional[i].command) != 0)
            found |= 1u << optional[i].op;
    return found;
}

static uint32_t at_most(uint32_t limit, uint64_t block_count, bool possible)
{
    return !possible ? 0 : limit < block_count ? limit : (uint32_t)block_count;
}

/* Blocks in one command, of which the controller takes so many bytes; a block it has to take. */
static uint32_t blocks_in(uint64_t bytes, uint32_t block_size, uint32_t limit)
{
    uint64_t blocks = bytes / block_size;

    return blocks == 0 ? 1 : blocks < limit ? (uint32_t)blocks : limit;
}

/* What requests are checked against, and what the block layer shows. */
static void describe(struct nvme_queue *queue, const struct chalk_nvme_namespace *ns,
                     enum chalk_nvme_protection protection)
{
    const struct chalk_nvme_info *info = &queue->nvme->info;
    bool moved = ns->metadata_size != 0 && protection != CHALK_NVME_PROTECT_CONTROLLER;

    queue->nsid = ns->nsid;
    queue->read_head = (uint64_t)ns->nsid << 32 | NVME_READ;
    queue->page = info->page_size;
    queue->page_mask = info->page_size - 1;
    queue->block_shift = (uint8_t)__builtin_ctz(ns->block_size);
    queue->block_count = ns->size;
    queue->block.info = (struct chalk_block_info){
        .block_count = ns->size,
        .block_size = ns->block_size,
        .max_blocks = at_most(UINT32_MAX, ns->size, true),
        .depth = queue->depth,
        .flags = CHALK_BLOCK_FUA | CHALK_BLOCK_REPEATABLE,
        .metadata_size = moved ? ns->metadata_size : 0,
    };
    queue->protection = protection;
    queue->protection_at = (uint16_t)(ns->protection_first ? 0 : ns->metadata_size - 8);
    chalk_nvme_take_shape(queue, ns);
    chalk_nvme_limit(queue);
}

void chalk_nvme_limit(struct nvme_queue *queue)
{
    const struct chalk_nvme *nvme = queue->nvme;
    struct chalk_block_info *info = &queue->block.info;
    uint32_t ops = operations(nvme->info.optional_commands), blocks;
    uint32_t discard = nvme->discard_blocks < UINT32_MAX ? (uint32_t)nvme->discard_blocks : UINT32_MAX;

    if (queue->protection == CHALK_NVME_PROTECT_CONTROLLER)
        ops &= ~(1u << CHALK_BLOCK_COMPARE); /* it has nothing to compare with [NVM 3.2.1] */
    if (queue->sgl_align != 0)
        queue->sgl_align = nvme->info.sgl_align;
    blocks = at_most(nvme->info.max_transfer / info->block_size, info->block_count, true); /* <= 2048 */
    queue->verify_blocks = blocks_in(nvme->verify_bytes, info->block_size, blocks);
    queue->zeroes_blocks = blocks_in(nvme->zeroes_bytes, info->block_size, NVME_BLOCKS);
    queue->command_blocks = queue->shape.metadata_size != 0 ? 0 : blocks; /* 0: no request is a plain one */
    info->command_blocks = blocks;
    info->segment_align = queue->sgl_align != 0 ? queue->sgl_align : 4; /* [Base 4.1.1] */
    info->boundary = queue->sgl_align != 0 ? 1 : queue->page;
    info->operations = ops;
    info->max_discard = at_most(discard, info->block_count, (ops >> CHALK_BLOCK_DISCARD & 1) != 0);
    info->max_zeroes = at_most(UINT32_MAX, info->block_count, (ops >> CHALK_BLOCK_WRITE_ZEROES & 1) != 0);
    info->max_verify = at_most(UINT32_MAX, info->block_count, (ops >> CHALK_BLOCK_VERIFY & 1) != 0);
    info->volatile_cache = nvme->info.volatile_cache;
}

/* As it is before the first request; the controller does not know the pair. */
static void rewind_rings(struct nvme_queue *queue)
{
    memset(queue->completion_memory.va, 0, queue->entries * sizeof(struct nvme_completion));
    queue->tail = queue->rung = queue->cq_head = 0;
    queue->phase = NVME_PHASE; /* the first lap's phase bits are 1 [Base 3.3.3.2.2] */
    chalk_nvme_shadow_rewind(&queue->tail_shadow);
    chalk_nvme_shadow_rewind(&queue->head_shadow);
}

/* A pair does not outlive a reset, nor does what is asked about it. The core that may sleep for admin
 * commands is another one, perhaps. */
static int run(struct nvme_queue *queue, uint32_t epoch, const struct nvme_command *command, const char *what)
{
    struct nvme_admin_call call = {.what = what, .epoch = epoch, .awake = true, .again = true};

    return chalk_nvme_admin_run(queue->nvme, &call, command);
}

/* Completion queue first [Base 5.4, 5.5]. */
int chalk_nvme_pair_create(struct nvme_queue *queue)
{
    struct chalk_nvme *nvme = queue->nvme;
    const struct nvme_command completions = {
        .cdw0 = NVME_CREATE_CQ,
        .prp1 = queue->completion_memory.iova,
        .cdw10 = NVME_QUEUE(queue->id, queue->entries),
        .cdw11 = NVME_QUEUE_CONTIGUOUS |
                 (queue->vector != NULL
                      ? NVME_CQ_INTERRUPTS | NVME_CQ_VECTOR(chalk_vector_index(&nvme->vectors, queue->vector))
                      : 0),
    };
    const struct nvme_command commands = {
        .cdw0 = NVME_CREATE_SQ,
        .prp1 = queue->commands_iova,
        .cdw10 = NVME_QUEUE(queue->id, queue->entries),
        .cdw11 = NVME_QUEUE_CONTIGUOUS | NVME_SQ_CQ(queue->id),
    };
    const struct nvme_command undo = {.cdw0 = NVME_DELETE_CQ, .cdw10 = queue->id};
    uint32_t epoch = nvme_epoch(nvme);
    int error;

    rewind_rings(queue);
    if (queue->vector != NULL)
        chalk_vector_settle(&nvme->vectors, queue->vector);
    error = run(queue, epoch, &completions, "Create I/O Completion Queue");
    if (error != 0)
        return error;
    error = run(queue, epoch, &commands, "Create I/O Submission Queue");
    if (error == 0) {
        queue->epoch = epoch;
        queue->succeeded = nvme_succeeded(queue);
        chalk_nvme_vector_configure(queue);
    } else if (run(queue, epoch, &undo, "Delete I/O Completion Queue") != 0 &&
               chalk_nvme_recover(nvme, epoch, -EIO)) { /* it still knows memory that is about to be freed */
        return -EPROTO;
    }
    return error;
}

void chalk_nvme_pair_delete(struct nvme_queue *queue)
{
    struct chalk_nvme *nvme = queue->nvme;
    const struct nvme_command commands = {.cdw0 = NVME_DELETE_SQ, .cdw10 = queue->id};
    const struct nvme_command completions = {.cdw0 = NVME_DELETE_CQ, .cdw10 = queue->id};
    uint32_t epoch = queue->epoch;

    queue->epoch = 0;
    while (nvme_state(nvme) == NVME_MENDING)
        chalk_pause();
    if (nvme_epoch(nvme) != epoch)
        return; /* a controller that was reset since has forgotten it, and one that failed does no DMA */

    /* Once the submission queue is deleted, no command of it is under way [Base 5.7]. */
    if (run(queue, epoch, &commands, "Delete I/O Submission Queue") != 0 ||
        run(queue, epoch, &completions, "Delete I/O Completion Queue") != 0)
        (void)chalk_nvme_recover(nvme, epoch, -EIO);
}

/*
 * Whether another core has reset the controller since *epoch, which ended what was asked of it: then it is
 * asked again, until the deadline. Who resets it has deadlines, too.
 */
static bool was_reset(const struct chalk_nvme *nvme, uint32_t *epoch, uint64_t deadline)
{
    uint32_t seen = *epoch;

    while (nvme_state(nvme) == NVME_MENDING)
        chalk_pause();
    *epoch = nvme_epoch(nvme);
    return *epoch != seen && NVME_STATE(*epoch) == NVME_LIVE && !chalk_expired(deadline);
}

static int check_options(const struct chalk_nvme *nvme, const struct chalk_nvme_queue_options *options)
{
    const char *call = "chalk_nvme_queue_open";

    if (chalk_core_check(options->core, call) != 0)
        return -EINVAL;
    if ((unsigned)options->interrupts > CHALK_NVME_ADAPTIVE)
        return chalk_nvme_wrong_call(nvme, call, "interrupts is no value of enum chalk_nvme_interrupts");
    if ((unsigned)options->protection > CHALK_NVME_PROTECT_DRIVER)
        return chalk_nvme_wrong_call(nvme, call, "protection is no value of enum chalk_nvme_protection");
    return 0;
}

int chalk_nvme_queue_open(struct chalk_nvme *nvme, const struct chalk_nvme_queue_options *options,
                          struct chalk_block_queue **opened)
{
    unsigned depth = options->depth != 0 ? options->depth : 128;
    struct chalk_nvme_namespace ns;
    struct nvme_queue *queue;
    uint32_t stride, epoch = nvme_epoch(nvme), seen = epoch;
    uint32_t changes = atomic_load_explicit(&nvme->events.changes, memory_order_relaxed);
    uint64_t deadline = chalk_deadline(nvme->timeout_ns + nvme->ready_ns);
    uint16_t id;
    int error;

    error = check_options(nvme, options);
    if (error != 0)
        return error;
    do {
        seen = epoch;
        error = pick_namespace(nvme, options, &ns);
    } while (error == -EIO && was_reset(nvme, &epoch, deadline));
    if (error == 0)
        error = pick_identifier(nvme, &id);
    if (error != 0)
        return error;
    if (depth > NVME_MAX_DEPTH)
        depth = NVME_MAX_DEPTH;
    if (depth >= nvme->info.max_queue_entries)
        depth = nvme->info.max_queue_entries - 1u;
    queue = allocate_private(nvme, depth);
    if (queue == NULL) {
        chalk_log(CHALK_ERROR, "NVMe %s: no private memory for a queue of %u", nvme->name, depth);
        return -ENOMEM;
    }

    queue->shape_epoch = seen;
    queue->changes = changes;
    queue->id = id;
    queue->origin = (uint32_t)id << 16;
    stride = nvme->info.doorbell_stride;
    queue->tail_doorbell =
        chalk_mmio_part(&nvme->doorbells, 2 * (id - 1u) * stride, 4); /* queue 1's is first */
    queue->head_doorbell = chalk_mmio_part(&nvme->doorbells, (2 * (id - 1u) + 1) * stride, 4);
    chalk_nvme_shadow_doorbell(nvme, &queue->tail_shadow, 2u * id, &queue->tail_doorbell);
    chalk_nvme_shadow_doorbell(nvme, &queue->head_shadow, 2u * id + 1, &queue->head_doorbell);
    queue->timeout_ns = options->timeout_ns != 0 ? options->timeout_ns : 30 * CHALK_S;
    queue->sweep_ticks = chalk_ns_to_ticks(queue->timeout_ns / NVME_SWEEPS);
    queue->block.wait_ns =
        queue->timeout_ns / NVME_SWEEPS < NVME_LOOK_NS ? queue->timeout_ns / NVME_SWEEPS : NVME_LOOK_NS;
    queue->sgl_align = options->pages_only ? 0 : nvme->info.sgl_align;
    describe(queue, &ns, options->protection);
    error = allocate_shared(nvme, queue);
    if (error == 0 && options->interrupts != CHALK_NVME_POLLED)
        error = chalk_nvme_vector_get(queue, options);
    queue->live = &chalk_nvme_live_ops;
    if (error == 0 && options->interrupts == CHALK_NVME_ADAPTIVE && queue->vector != NULL)
        chalk_nvme_adapt(queue, options->patience_ns);
    if (error == 0)
        do {
            error = chalk_nvme_refit(queue);
            if (error == 0)
                error = chalk_nvme_pair_create(queue);
        } while (error == -EIO && was_reset(nvme, &epoch, deadline));
    if (error != 0) {
        release(queue);
        return error < 0 ? error : -EIO;
    }
    nvme->cores[id] = options->core;
    atomic_store_explicit(&nvme->nsids[id], options->nsid, memory_order_relaxed);
    nvme->queue_ids |= 1ull << id;
    queue->block.ops = queue->live;
    chalk_nvme_events_begin(nvme);
    *opened = &queue->block;
    return 0;
}

void chalk_nvme_queue_close(struct chalk_block_queue *block)
{
    struct nvme_queue *queue = (struct nvme_queue *)block;
    struct chalk_nvme *nvme = queue->nvme;

    chalk_nvme_wind_up(queue);
    nvme->queue_ids &= ~(1ull << queue->id);
    atomic_store_explicit(&nvme->nsids[queue->id], 0, memory_order_relaxed);
    release(queue);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An NVMe queue pair whose controller does what the input says: executes commands, posts any completion,
 * breaks down, goes silent, is unplugged, or reset, lets time pass. Whatever it does, every request is called
 * back exactly once, none of those that failed while the controller could still reach memory, and all memory
 * comes back.
 */
#include <chalk/error.h>
#include <chalk/memory.h>
#include <chalk/nvme.h>
#include <stdlib.h>
#include <string.h>
#include <unit/nvme_model.h>

#define DEPTH    5
#define REQUESTS (DEPTH + 1)
#define OWN      3 /* pages */
#define PAGES    (PIECES + (REQUESTS + 1) * OWN)
#define PIECES   100 /* of a page each: more than a command moves, and than there are slots for */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct nvme_model *model;
static struct chalk_nvme_request requests[REQUESTS];
/*
 * What a device writes it owns alone: one long read at a time has `target`; any other request has pages of
 * its own. What it only reads may be the same page for all.
 */
static struct chalk_dma target[PIECES], source[PIECES], own[REQUESTS + 1][OWN], blocks[REQUESTS];
static const struct chalk_block_request *reader; /* that has `target` */
static bool in_flight[REQUESTS];
static unsigned flying;

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void done(struct chalk_block_request *request, int status)
{
    size_t i = (size_t)((struct chalk_nvme_request *)request - requests);

    require(in_flight[i]);
    require(status <= 0);
    if (status == -ETIMEDOUT || status == -EPROTO)
        require((model->csts & NVME_CSTS_RDY) == 0 || model->queues[1].entries == 0 || model->device->gone);
    in_flight[i] = false;
    flying--;
    if (reader == request)
        reader = NULL;
}

/* Where the data of request `i` is, which is of `count` blocks; fewer, if there is no room for so many. */
static const struct chalk_dma *place(unsigned i, unsigned op, uint32_t *count)
{
    if (*count == 1)
        return &blocks[i];
    if (*count <= 8 * OWN || op == CHALK_BLOCK_DRIVER)
        return own[i];
    if (op != CHALK_BLOCK_READ)
        return source;
    if (reader == NULL) {
        reader = &requests[i].block;
        return target;
    }
    *count = 8 * OWN;
    return own[i];
}

/* Any operation; of one block, some, or more than one command moves. */
static void submit(struct chalk_block_queue *queue, uint8_t what, uint8_t how)
{
    static const uint32_t counts[] = {1, 8, 16, 24, 8 * PIECES, 0, 8 * (PIECES - 3), UINT32_MAX};
    uint32_t count = counts[how >> 3 & 7];

    for (unsigned i = 0; i < REQUESTS; i++) {
        struct chalk_block_request *request = &requests[i].block;
        int taken;

        if (in_flight[i])
            continue;
        const struct chalk_dma *segments = place(i, how % 9, &count);
        requests[i] = (struct chalk_nvme_request){
            .block = {.op = how % 9,
                      .flags = what >> 6,
                      .count = count,
                      .lba = how * 100ull,
                      .segments = segments,
                      .segment_count = (uint16_t)(count > 8 * PIECES ? 1 : (count + 7) / 8),
                      .done = done},
            .command = {.opcode = how % 2 != 0 ? NVME_FLUSH : MODEL_VENDOR, .nsid = 1},
        };
        if (request->op == CHALK_BLOCK_DRIVER)
            request->segment_count = how % 2 == 0;
        in_flight[i] = true;
        flying++;
        taken = chalk_block_submit(queue, &request, 1);
        if (taken != 1) {
            require(taken < 0);
            in_flight[i] = false;
            flying--;
            if (reader == request)
                reader = NULL;
        }
        return;
    }
}

/* The ways in which a controller breaks down, and somebody resetting it. */
static void break_down(struct chalk_nvme *nvme, uint8_t how)
{
    switch (how) {
    case 255:
        model->csts |= NVME_CSTS_CFS;
        break;
    case 254:
        model_unplug(model);
        break;
    case 253:
        (void)chalk_nvme_reset(nvme);
        break;
    case 252:
        model->mute_until_reset = true;
        break;
    case 251:
        model->mute = true;
        break;
    case 250:
        model->never_idle = true;
        break;
    case 249:
        model->never_ready = true;
        break;
    default: /* refuses one admin command: the deletion or creation of queues, an abort, a setting */
        model->refuse_admin = how < 240 ? (uint16_t)(how << 7 | how) : 0;
        model->refuse_opcode = how % 16;
    }
}

/* Two bytes of input: what happens, and how. */
static void step(struct chalk_nvme *nvme, struct chalk_block_queue *queue, uint8_t what, uint8_t how)
{
    int polled;

    switch (what % 8) {
    case 0:
        submit(queue, what, how);
        break;
    case 1:
        chalk_block_kick(queue);
        break;
    case 2:
        model_run(model, 1, how % 4 + 1);
        break;
    case 3:
        polled = chalk_block_poll(queue, how % 4);
        require(polled <= DEPTH && (polled >= 0 || flying == 0));
        break;
    case 4: /* any identifier, head and queue, near the right ones */
        if (model->queues[1].entries != 0)
            model_post(model, 1,
                       (struct nvme_completion){
                           .origin = (uint32_t)(how >> 6 == 0 ? 2 : 1) << 16 | (how >> 3 & 7),
                           .outcome = (uint32_t)(what >> 3) << 17 | (how & 7) | (how & 0x38u),
                       });
        break;
    case 5:
        fake.now += how * 200000000ull;
        break;
    case 6:
        if (what >> 6 != 0)
            break_down(nvme, how);
        else
            model->refuse = how < 16 ? (uint16_t)(how << 7 | how) : 0;
        break;
    default:
        model->lose = how % 3;
    }
}

static void run(struct chalk_nvme *nvme, const uint8_t *data, size_t size)
{
    const struct chalk_nvme_queue_options options = {.nsid = 1, .depth = DEPTH};
    struct chalk_block_queue *queue;

    require(chalk_nvme_queue_open(nvme, &options, &queue) == 0);
    model->hold = true;
    for (size_t i = 0; i + 1 < size; i += 2)
        step(nvme, queue, data[i], data[i + 1]);
    chalk_nvme_queue_close(queue);
    require(flying == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct chalk_memory_options sizes = {.private_size = 64 << 10, .shared_size = 1 << 20};
    struct chalk_domain *domain = NULL;
    struct chalk_device *device;
    struct chalk_memory *memory;
    struct chalk_memory_usage usage;
    struct chalk_nvme *nvme;
    struct chalk_dma data_memory;

    fake_reset();
    fake.grow_page = CHALK_PAGE;
    fake.step = 100000000; /* so that waiting for a deadline takes few steps */
    model = model_add();
    model->controller.sgls = size % 3; /* pages, pieces, pieces of dwords */
    require(chalk_device_open(MODEL_NAME, &domain, &device) == 0);
    require(chalk_memory_create(&sizes, &memory) == 0 && chalk_memory_share(memory, domain) == 0);
    require(chalk_dma_get(memory, (size_t)PAGES * CHALK_PAGE, CHALK_PAGE, &data_memory) == 0);
    const struct chalk_nvme_options options = {.memory = memory, .domain = domain};
    require(chalk_nvme_open(device, &options, &nvme) == 0);
    for (size_t i = 0; i < PAGES; i++) {
        struct chalk_dma page = {(char *)data_memory.va + i * CHALK_PAGE, data_memory.iova + i * CHALK_PAGE,
                                 CHALK_PAGE};

        if (i < PIECES)
            target[i] = page;
        else
            own[(i - PIECES) / OWN][(i - PIECES) % OWN] = page;
    }
    for (unsigned i = 0; i < PIECES; i++)
        source[i] = own[REQUESTS][0];
    for (unsigned i = 0; i < REQUESTS; i++)
        blocks[i] = (struct chalk_dma){own[i][0].va, own[i][0].iova, 512};
    reader = NULL;
    run(nvme, data, size);
    chalk_nvme_close(nvme);
    chalk_dma_put(memory, &data_memory);
    chalk_memory_get_usage(memory, &usage);
    require(usage.private_used == 0 && usage.shared_used == 0);
    chalk_memory_unshare(memory, domain);
    chalk_device_close(device);
    chalk_memory_destroy(memory);
    return 0;
}

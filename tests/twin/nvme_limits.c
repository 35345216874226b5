/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A controller with as few or as many queues, vectors and bytes in a command as there can be: every queue
 * that it grants works, by interrupt and adaptive, whether its vector is its own or shared. The first
 * namespace is written to.
 */
#include <chalk/clock.h>
#include <chalk/main.h>
#include <chalk/nvme.h>

#include <string.h>

#include "nvme_device.h"

#define QUEUES   8u
#define SIZE     ((size_t)256 << 10) /* bytes a request: more than a command of MDTS 1 moves */
#define PATIENCE (20 * CHALK_S)

static struct chalk_block_queue *queues[QUEUES];
static struct chalk_dma data;
static const _Atomic(uint32_t) *events;

static void note(struct chalk_block_request *request, int status)
{
    *(int *)request->context = status;
}

/* One request, whose end is waited for if the queue says that one may. */
static int run(struct chalk_block_queue *queue, enum chalk_block_op op, uint64_t lba, size_t size)
{
    const struct chalk_dma part = {data.va, data.iova, size};
    int status = 1;
    struct chalk_block_request request = {
        .op = op,
        .count = (uint32_t)(size / queue->info.block_size),
        .lba = lba,
        .segments = &part,
        .segment_count = 1,
        .done = note,
        .context = &status,
    };
    struct chalk_block_request *list = &request;
    uint64_t deadline = chalk_deadline(PATIENCE);

    if (chalk_block_submit(queue, &list, 1) != 1)
        return -EINVAL;
    chalk_block_kick(queue);
    while (status == 1 && !chalk_expired(deadline)) {
        uint32_t seen = *events;

        if (chalk_block_poll(queue, 0) != 0)
            continue;
        if (queue->may_wait)
            chalk_core_wait(0, seen, deadline);
        else
            chalk_pause();
    }
    return status;
}

/* Each queue has a place of its own on the disk. */
static uint64_t place(unsigned i)
{
    return i * SIZE / queues[i]->info.block_size;
}

static unsigned char byte_of(unsigned i, size_t at)
{
    return (unsigned char)(i * 41 + at * 3 + at / 512);
}

static bool write_all(unsigned count)
{
    unsigned char *bytes = data.va;
    bool good = true;

    for (unsigned i = 0; i < count; i++) {
        for (size_t at = 0; at < SIZE; at++)
            bytes[at] = byte_of(i, at);
        good &= run(queues[i], CHALK_BLOCK_WRITE, place(i), SIZE) == 0;
    }
    return good;
}

static bool read_all(unsigned count)
{
    const unsigned char *bytes = data.va;
    bool good = true;

    for (unsigned i = 0; i < count; i++) {
        memset(data.va, 0, SIZE);
        good &= run(queues[i], CHALK_BLOCK_READ, place(i), SIZE) == 0;
        for (size_t at = 0; at < SIZE; at++)
            good &= bytes[at] == byte_of(i, at);
    }
    return good;
}

/* Short reads, one after the other, until the queue thinks so. */
static bool gets_busy(struct chalk_block_queue *queue)
{
    uint64_t deadline = chalk_deadline(PATIENCE);
    bool good = true;

    while (good && queue->may_wait && !chalk_expired(deadline))
        good = run(queue, CHALK_BLOCK_READ, 0, queue->info.block_size) == 0;
    return good && !queue->may_wait;
}

static bool gets_idle(struct chalk_block_queue *queue)
{
    uint64_t deadline = chalk_deadline(PATIENCE);

    while (!queue->may_wait && !chalk_expired(deadline))
        chalk_block_poll(queue, 0);
    return queue->may_wait;
}

static void adapt(struct chalk_nvme *nvme, unsigned opened)
{
    bool busy = true, idle = true;

    for (unsigned i = 0; i < opened; i++)
        busy &= gets_busy(queues[i]);
    expect(busy, "each polls under load");
    expect(write_all(opened), "and still writes");
    for (unsigned i = 0; i < opened; i++)
        idle &= gets_idle(queues[i]);
    expect(idle, "each may wait again when it is idle");
    expect_result(chalk_nvme_reset(nvme), 0, "a reset");
    expect(read_all(opened), "and each still reads what was written");
}

static void use(struct chalk_nvme *nvme, enum chalk_nvme_interrupts interrupts)
{
    const struct chalk_nvme_info *info = chalk_nvme_get_info(nvme);
    const struct chalk_nvme_queue_options options = {.nsid = 1, .depth = 4, .interrupts = interrupts};
    unsigned count = info->queues < QUEUES ? info->queues : QUEUES, opened;
    struct chalk_block_queue *more;
    bool wait = true, interrupted = true;

    printf("       %u queues, %u vectors, at most %u KiB in a command\n", info->queues, info->vectors,
           info->max_transfer / 1024);
    for (opened = 0; opened < count; opened++) {
        if (chalk_nvme_queue_open(nvme, &options, &queues[opened]) != 0)
            break;
        wait &= queues[opened]->may_wait;
    }
    expect(opened == count, "all queues open that are granted");
    if (count < QUEUES)
        expect_result(chalk_nvme_queue_open(nvme, &options, &more), -ENOSPC, "one more");
    expect(wait, "each has a vector to wait for");
    expect(write_all(opened), "a long write through each");
    expect(read_all(opened), "a long read through each, of what was written");
    chalk_core_wait(0, 0, 0);
    for (unsigned i = 0; i < opened; i++)
        interrupted &= *queues[i]->interrupts != 0;
    expect(interrupted, "each was interrupted for");
    if (interrupts == CHALK_NVME_ADAPTIVE)
        adapt(nvme, opened);
    while (opened > 0)
        chalk_nvme_queue_close(queues[--opened]);
}

int chalk_main(int argc, char *argv[])
{
    struct chalk_nvme_options options = {.interrupts = true};
    struct chalk_core_info core;
    struct chalk_device *device;
    struct chalk_nvme *nvme;

    (void)argc;
    (void)argv;
    if (!expect_result(chalk_core_get_info(0, &core), 0, "this core") ||
        !open_nvme(8u << 20, &options.memory, &options.domain, &device))
        return 1;
    events = core.events;
    if (expect_result(chalk_dma_get(options.memory, SIZE, CHALK_PAGE, &data), 0, "memory for data")) {
        if (expect_result(chalk_nvme_open(device, &options, &nvme), 0, "opening the controller")) {
            use(nvme, CHALK_NVME_INTERRUPTS);
            use(nvme, CHALK_NVME_ADAPTIVE);
            chalk_nvme_close(nvme);
        }
        chalk_dma_put(options.memory, &data);
    }
    close_nvme(options.memory, options.domain, device);
    return twin_failures != 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loan ADDRESS free|unshare|twice|change: a program that does not respect what a disk owns. The instrumented
 * build ends it, and names both sides; any other build lets it go on, and it says so.
 */
#include <chalk/arena.h>
#include <chalk/clock.h>
#include <chalk/main.h>
#include <chalk/nvme.h>

#include <stdio.h>
#include <string.h>

static struct chalk_memory *memory;
static struct chalk_domain *domain;
static struct chalk_block_queue *queue;
static struct chalk_dma buffer;
static struct chalk_block_request requests[2];
static unsigned left;

static void done(struct chalk_block_request *request, int status)
{
    (void)request;
    (void)status;
    left--;
}

/* Not inlined, so that stacks have names to look for. */
static __attribute__((noinline)) void lend_to_disk(struct chalk_block_request *request, unsigned op)
{
    static struct chalk_dma segment;

    segment = (struct chalk_dma){buffer.va, buffer.iova, queue->info.block_size};
    *request = (struct chalk_block_request){
        .op = (uint8_t)op, .count = 1, .segments = &segment, .segment_count = 1, .done = done};
    left += chalk_block_submit(queue, &request, 1) == 1;
}

static __attribute__((noinline)) void make_mistake(const char *what)
{
    if (strcmp(what, "free") == 0)
        chalk_dma_put(memory, &buffer);
    else if (strcmp(what, "unshare") == 0)
        chalk_memory_unshare(memory, domain);
    else if (strcmp(what, "twice") == 0)
        lend_to_disk(&requests[1], CHALK_BLOCK_READ);
    else
        ++*(volatile char *)buffer.va;
    __asm__ volatile(""); /* else a call is a jump */
}

int chalk_main(int argc, char *argv[])
{
    struct chalk_device *device;
    struct chalk_nvme *nvme;

    if (argc != 3)
        return 2;
    if (chalk_memory_create(NULL, &memory) || chalk_device_open(argv[1], &domain, &device) ||
        chalk_memory_share(memory, domain) || chalk_dma_get(memory, CHALK_PAGE, CHALK_PAGE, &buffer) ||
        chalk_nvme_open(device, &(struct chalk_nvme_options){.memory = memory, .domain = domain}, &nvme) ||
        chalk_nvme_queue_open(nvme, &(struct chalk_nvme_queue_options){.nsid = 1, .depth = 4}, &queue))
        return 1;
    lend_to_disk(&requests[0], CHALK_BLOCK_WRITE);
    make_mistake(argv[2]);
    chalk_block_kick(queue);
    for (uint64_t end = chalk_deadline(5 * CHALK_S); left > 0 && !chalk_expired(end);)
        chalk_block_poll(queue, 0);
    printf("nobody noticed\n");
    return 0;
}

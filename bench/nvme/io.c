/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reads 4 KiB, DEPTH at a time, through <chalk/block.h> and the NVMe driver as they are released, from a
 * device that works while nobody counts: bench-nvme DEPTH ROUNDS [traced]
 *
 * count.py runs it under callgrind, which counts within submit_all() and reap_all(), and under lackey, which
 * is told by stores to `mark` where they begin and end.
 */
#include "stub.h"
#include <chalk/clock.h>
#include <chalk/nvme.h>
#include <chalk/trace.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST   1024
#define WARMUP 300 /* rounds: several laps of the rings */

struct io {
    struct chalk_block_request request;
    struct chalk_dma data;
    int status;
};

static _Alignas(64) struct io ios[MOST];
static struct chalk_block_request *batch[MOST];
static unsigned done_count;
static int taken;
static volatile uint64_t mark;
static struct chalk_trace trace;
static struct chalk_trace_record records[1024];

static void done(struct chalk_block_request *request, int status)
{
    ((struct io *)request)->status = status;
    done_count++;
}

/* What is counted. */
__attribute__((noinline)) static void submit_all(struct chalk_block_queue *queue, unsigned count)
{
    taken = chalk_block_submit(queue, batch, count);
    chalk_block_kick(queue);
}

__attribute__((noinline)) static int reap_all(struct chalk_block_queue *queue)
{
    return chalk_block_poll(queue, 0);
}

static void require(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "bench-nvme: %s\n", what);
        exit(1);
    }
}

static struct chalk_block_queue *open_queue(struct chalk_memory **memory, unsigned depth)
{
    struct chalk_domain *domain = NULL;
    struct chalk_device *device;
    struct chalk_nvme *nvme;
    struct chalk_block_queue *queue;

    require(chalk_memory_create(&(struct chalk_memory_options){.shared_size = 8 << 20}, memory) == 0 &&
                chalk_device_open(STUB_NAME, &domain, &device) == 0 &&
                chalk_memory_share(*memory, domain) == 0,
            "cannot be set up");
    require(chalk_nvme_open(device, &(struct chalk_nvme_options){.memory = *memory, .domain = domain},
                            &nvme) == 0 &&
                chalk_nvme_queue_open(nvme, &(struct chalk_nvme_queue_options){.nsid = 1, .depth = depth},
                                      &queue) == 0,
            "the driver does not open the stub");
    return queue;
}

int main(int argc, char *argv[])
{
    bool traced = argc == 4 && strcmp(argv[3], "traced") == 0, good = argc == 3 || traced;
    unsigned depth = good ? (unsigned)atoi(argv[1]) : 0, rounds = good ? (unsigned)atoi(argv[2]) : 0;
    struct chalk_memory *memory;
    struct chalk_block_queue *queue;
    struct chalk_dma data;
    unsigned accesses = 0;
    uint64_t doorbells = 0;

    require(depth >= 1 && depth <= MOST && rounds >= 1, "usage: bench-nvme DEPTH ROUNDS [traced]");
    queue = open_queue(&memory, depth);
    require(chalk_dma_get(memory, (size_t)4096 * depth, 4096, &data) == 0, "no memory for the data");
    if (traced) {
        require(chalk_trace_init(&trace, 0, records, sizeof records / sizeof records[0]) == 0, "no trace");
        queue->trace = &trace;
    }
    for (unsigned i = 0; i < depth; i++) {
        ios[i].data = (struct chalk_dma){(char *)data.va + 4096 * i, data.iova + 4096 * i, 4096};
        ios[i].request = (struct chalk_block_request){
            .op = CHALK_BLOCK_READ, .count = 8, .segments = &ios[i].data, .segment_count = 1, .done = done};
        batch[i] = &ios[i].request;
    }

    printf("mark %p\n", (void *)&mark);
    fflush(stdout);
    for (unsigned round = 0; round < WARMUP + rounds; round++) {
        if (round == WARMUP) {
            accesses = stub_register_accesses;
            doorbells = queue->counters.doorbells;
            done_count = 0;
        }
        for (unsigned i = 0; i < depth; i++)
            ios[i].request.lba = (round * depth + i) * 8 % 65536;
        if (round >= WARMUP)
            mark = 1;
        submit_all(queue, depth);
        if (round >= WARMUP)
            mark = 2;
        require(taken == (int)depth && stub_run() == depth, "not all were submitted");
        if (round >= WARMUP)
            mark = 3;
        int reaped = reap_all(queue);
        if (round >= WARMUP)
            mark = 4;
        require(reaped == (int)depth, "not all were reaped");
    }
    require(done_count == depth * rounds, "not all were called back");
    doorbells = queue->counters.doorbells - doorbells;
    require(doorbells == 2 * rounds, "more than two doorbells were rung in a round");
    require(stub_register_accesses == accesses, "a register was read or written");
    printf("doorbells %llu\n", (unsigned long long)doorbells);
    return 0;
}

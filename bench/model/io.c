/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What one random 4 KiB read costs the driver, against a controller that takes no time of its own: a model
 * that polls on another processor. In clock ticks around what the driver does, less what reading the clock
 * costs:
 *
 *     busy    submits, kicks, and polls that found something, for each request
 *     idle    a poll that found nothing
 *     median  of a request alone, from before its submission to its callback
 *
 * The first two, and how many requests a second there were, are medians of windows of some thousand requests:
 * a processor that somebody else takes away for a while spoils a window, and not the result.
 *
 * One line of JSON. `io DEVICE DEPTH WINDOWS`
 */
#include <chalk/clock.h>
#include <chalk/main.h>
#include <chalk/random.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/nvme/session.h"

#define BLOCK   4096
#define SAMPLES 100000
#define WINDOW  4096 /* requests */
#define WINDOWS 100000

struct run {
    struct session session;
    struct chalk_block_request *requests;
    struct chalk_dma *segments;
    struct chalk_block_request **free; /* a stack */
    unsigned free_count;
    uint64_t finished, failed, random;
    uint64_t busy, idle, idle_polls, rdtsc;
};

static void finish(struct chalk_block_request *request, int status)
{
    struct run *run = request->context;

    run->finished++;
    run->failed += status != 0;
    run->free[run->free_count++] = request;
}

static void cost_of_clock(struct run *run)
{
    uint64_t least = UINT64_MAX;

    for (unsigned i = 0; i < 10000; i++) {
        uint64_t before = chalk_ticks(), after = chalk_ticks();

        if (after - before < least)
            least = after - before;
    }
    run->rdtsc = least;
}

static void aim(struct run *run)
{
    const struct chalk_block_info *info = &run->session.queue->info;
    uint32_t count = BLOCK / info->block_size;

    for (unsigned i = 0; i < run->free_count; i++)
        run->free[i]->lba = chalk_random_below(&run->random, info->block_count / count) * count;
}

static bool poll_one(struct run *run)
{
    uint64_t before = chalk_ticks(), ticks;
    int found = chalk_block_poll(run->session.queue, 0);

    ticks = chalk_ticks() - before - run->rdtsc;
    if (found < 0)
        return false;
    if (found > 0) {
        run->busy += ticks;
    } else {
        run->idle += ticks;
        run->idle_polls++;
    }
    return true;
}

/* Keeps the queue full. */
static bool saturate(struct run *run, uint64_t count)
{
    uint64_t end = run->finished + count;

    while (run->finished < end) {
        if (run->free_count != 0) {
            unsigned wanted = run->free_count;
            uint64_t before;
            int taken;

            aim(run);
            before = chalk_ticks();
            taken = chalk_block_submit(run->session.queue, run->free, wanted);
            chalk_block_kick(run->session.queue);
            run->busy += chalk_ticks() - before - run->rdtsc;
            if (taken != (int)wanted)
                return false;
            run->free_count = 0;
        }
        if (!poll_one(run))
            return false;
    }
    return true;
}

static bool drain(struct run *run, unsigned depth)
{
    uint64_t deadline = chalk_deadline(5 * CHALK_S);

    while (run->free_count < depth && !chalk_expired(deadline))
        if (chalk_block_poll(run->session.queue, 0) < 0)
            return false;
    return run->free_count == depth;
}

static int by_value(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

    return a < b ? -1 : a > b;
}

/* One request at a time. Returns the median of its ticks; 0: it failed. */
static uint64_t alone(struct run *run)
{
    static uint64_t samples[SAMPLES];

    for (unsigned i = 0; i < SAMPLES; i++) {
        uint64_t end = run->finished + 1, before;

        aim(run);
        before = chalk_ticks();
        if (chalk_block_submit(run->session.queue, run->free, 1) != 1)
            return 0;
        run->free_count--;
        run->free[0] = run->free[run->free_count]; /* the last takes its place */
        chalk_block_kick(run->session.queue);
        while (run->finished < end)
            if (chalk_block_poll(run->session.queue, 0) < 0)
                return 0;
        samples[i] = chalk_ticks() - before - run->rdtsc;
    }
    qsort(samples, SAMPLES, sizeof samples[0], by_value);
    return samples[SAMPLES / 2];
}

static bool prepare(struct run *run, unsigned depth)
{
    struct chalk_dma buffer;

    run->requests = calloc(depth, sizeof *run->requests);
    run->segments = calloc(depth, sizeof *run->segments);
    run->free = calloc(depth, sizeof *run->free);
    if (run->requests == NULL || run->segments == NULL || run->free == NULL ||
        session_get_buffers(&run->session, (size_t)depth * BLOCK, BLOCK, &buffer) != 0)
        return false;
    for (unsigned i = 0; i < depth; i++) {
        run->segments[i] = (struct chalk_dma){(char *)buffer.va + (size_t)i * BLOCK,
                                              buffer.iova + (uint64_t)i * BLOCK, BLOCK};
        run->requests[i] = (struct chalk_block_request){.op = CHALK_BLOCK_READ,
                                                        .count = BLOCK / run->session.queue->info.block_size,
                                                        .segments = &run->segments[i],
                                                        .segment_count = 1,
                                                        .done = finish,
                                                        .context = run};
        run->free[run->free_count++] = &run->requests[i];
    }
    return true;
}

static double median_of(uint64_t *values, unsigned count)
{
    qsort(values, count, sizeof values[0], by_value);
    return (double)values[count / 2];
}

/* Measures, and prints. */
static bool measure(struct run *run, unsigned depth, unsigned windows)
{
    static uint64_t busy[WINDOWS], elapsed[WINDOWS];
    double ns = (double)chalk_clock_info()->ns_mult / 4294967296.0, alone_ticks = 0, all = 0;

    run->idle = run->idle_polls = 0;
    for (unsigned i = 0; i < windows; i++) {
        uint64_t start = chalk_ticks();

        run->busy = 0;
        if (!saturate(run, WINDOW))
            return false;
        elapsed[i] = chalk_ticks() - start;
        busy[i] = run->busy;
        all += (double)elapsed[i];
    }
    if (!drain(run, depth) || (depth == 1 && (alone_ticks = (double)alone(run)) == 0))
        return false;
    printf("{\"depth\": %u, \"iops\": %.0f, \"overall_iops\": %.0f, \"busy_ns\": %.2f, \"idle_poll_ns\": "
           "%.2f, \"alone_ns\": %.1f}\n",
           depth, WINDOW / (median_of(elapsed, windows) * ns * 1e-9),
           (double)windows * WINDOW / (all * ns * 1e-9), median_of(busy, windows) * ns / WINDOW,
           run->idle_polls != 0 ? (double)run->idle * ns / (double)run->idle_polls : 0.0, alone_ticks * ns);
    return run->failed == 0;
}

int chalk_main(int argc, char *argv[])
{
    static struct run run = {.random = 1};
    unsigned depth = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    unsigned windows = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
    bool good;

    if (depth == 0 || depth > 4096 || windows == 0 || windows > WINDOWS) {
        fprintf(stderr, "usage: bench-model-io DEVICE DEPTH WINDOWS\n");
        return 2;
    }
    if (!session_open(&run.session, &(struct session_options){.address = argv[1], .depth = depth}))
        return 1;
    cost_of_clock(&run);
    good = prepare(&run, depth) && saturate(&run, 16 * WINDOW) && measure(&run, depth, windows);
    if (!good)
        fprintf(stderr, "bench-model-io: %" PRIu64 " requests failed\n", run.failed);
    session_close(&run.session);
    return good ? 0 : 1;
}

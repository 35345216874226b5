/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A controller that is reset a hundred times under two queues of 128 requests in flight, on two cores where
 * there are as many: every request is called back once and succeeds, what was written is there, and no buffer
 * changes after its callback. The controller's first namespace is written to.
 */
#include <chalk/clock.h>
#include <chalk/core.h>
#include <chalk/main.h>
#include <chalk/nvme.h>
#include <chalk/random.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "nvme_device.h"

#define DEPTH      128u
#define RESETS     100u
#define BETWEEN    300u /* requests that end between two resets */
#define BLOCKS     4u   /* a request */
#define PLACES     1024u
#define PIECE_SIZE 2048u
#define WORDS      (PIECE_SIZE / 8)
#define CANARY     0x5ca1ab1e0ddba11full

struct run;

struct piece {
    struct chalk_block_request request;
    struct chalk_dma segment;
    struct run *run;
    bool in_flight;
};

/* One core's part: a queue, and places on the disk that no other touches. */
struct run {
    struct chalk_block_queue *queue;
    struct chalk_memory *memory;
    struct chalk_dma buffers;
    struct piece pieces[DEPTH];
    uint64_t seed, first_block;
    uint64_t written[PLACES]; /* what was acknowledged; 0: nothing yet */
    bool claimed[PLACES];
    _Atomic(uint64_t) finished;
    unsigned in_flight;
    unsigned twice, failed, wrong, touched;
    atomic_bool hold, holding, stop; /* what the owner is asked for; that it does */
};

static uint64_t place_of(const struct piece *piece)
{
    return (piece->request.lba - piece->run->first_block) / BLOCKS;
}

static void fill(const struct piece *piece, uint64_t word)
{
    for (unsigned i = 0; i < WORDS; i++)
        ((uint64_t *)piece->segment.va)[i] = word;
}

static bool holds(const struct piece *piece, uint64_t word)
{
    for (unsigned i = 0; i < WORDS; i++)
        if (((uint64_t *)piece->segment.va)[i] != word)
            return false;
    return true;
}

static void done(struct chalk_block_request *request, int status)
{
    struct piece *piece = request->context;
    struct run *run = piece->run;
    uint64_t place = place_of(piece);

    run->twice += !piece->in_flight;
    run->failed += status != 0;
    if (status == 0 && request->op == CHALK_BLOCK_WRITE)
        run->written[place] = *(uint64_t *)piece->segment.va;
    else if (status == 0 && run->written[place] != 0)
        run->wrong += !holds(piece, run->written[place]);
    run->claimed[place] = false;
    piece->in_flight = false;
    run->in_flight--;
    fill(piece, CANARY); /* the buffer is ours again: who writes to it now is found out */
    atomic_fetch_add(&run->finished, 1);
}

static void submit(struct run *run, struct piece *piece)
{
    struct chalk_block_request *request = &piece->request;
    uint64_t place = chalk_random_below(&run->seed, PLACES);

    if (run->claimed[place])
        return;
    run->touched += !holds(piece, CANARY);
    piece->request = (struct chalk_block_request){
        .op = chalk_random_below(&run->seed, 2) != 0 ? CHALK_BLOCK_WRITE : CHALK_BLOCK_READ,
        .flags = CHALK_BLOCK_REPEATABLE,
        .lba = run->first_block + place * BLOCKS,
        .count = BLOCKS,
        .segments = &piece->segment,
        .segment_count = 1,
        .done = done,
        .context = piece,
    };
    if (request->op == CHALK_BLOCK_WRITE)
        fill(piece, chalk_random_next(&run->seed) | 1);
    piece->in_flight = true;
    run->claimed[place] = true;
    if (chalk_block_submit(run->queue, &request, 1) != 1) {
        run->failed++;
        piece->in_flight = false;
        run->claimed[place] = false;
        return;
    }
    run->in_flight++;
}

static void top_up(struct run *run)
{
    while (run->in_flight != DEPTH && run->failed == 0)
        for (unsigned i = 0; i < DEPTH; i++)
            if (!run->pieces[i].in_flight)
                submit(run, &run->pieces[i]);
    chalk_block_kick(run->queue);
}

static void turn(struct run *run)
{
    top_up(run);
    run->failed += chalk_block_poll(run->queue, 0) < 0;
}

static void drain(struct run *run)
{
    uint64_t deadline = chalk_deadline(20 * CHALK_S);

    while (run->in_flight != 0 && !chalk_expired(deadline))
        if (chalk_block_poll(run->queue, 0) < 0)
            break;
}

static void other_core(unsigned core, void *argument)
{
    struct run *run = argument;

    (void)core;
    while (!atomic_load(&run->stop)) {
        turn(run);
        top_up(run);
        while (atomic_load(&run->hold))
            atomic_store(&run->holding, true);
        atomic_store(&run->holding, false);
    }
    drain(run);
}

static bool open_run(struct run *run, struct chalk_nvme *nvme, struct chalk_memory *memory, unsigned number)
{
    const struct chalk_nvme_queue_options options = {.nsid = 1, .depth = DEPTH};

    run->seed = number + 1;
    run->first_block = (uint64_t)number * PLACES * BLOCKS;
    run->memory = memory;
    if (chalk_dma_get(memory, DEPTH * CHALK_PAGE, CHALK_PAGE, &run->buffers) != 0 ||
        chalk_nvme_queue_open(nvme, &options, &run->queue) != 0)
        return false;
    for (unsigned i = 0; i < DEPTH; i++) {
        run->pieces[i].run = run;
        run->pieces[i].segment = (struct chalk_dma){(char *)run->buffers.va + i * CHALK_PAGE,
                                                    run->buffers.iova + i * CHALK_PAGE, PIECE_SIZE};
        fill(&run->pieces[i], CANARY);
    }
    return true;
}

/* What was acknowledged is what is there. */
static bool verify(struct run *run)
{
    struct piece *piece = &run->pieces[0];
    bool good = true;

    for (uint64_t place = 0; place < PLACES; place++) {
        struct chalk_block_request request = {.op = CHALK_BLOCK_READ,
                                              .lba = run->first_block + place * BLOCKS,
                                              .count = BLOCKS,
                                              .segments = &piece->segment,
                                              .segment_count = 1};

        good &= chalk_block_do(run->queue, &request, chalk_deadline(20 * CHALK_S)) == 0;
        good &= run->written[place] == 0 || holds(piece, run->written[place]);
    }
    return good;
}

/* How far each write got is a matter of time. What comes after finds zeroes in any case. */
static bool clear(struct run *run)
{
    struct chalk_block_request request = {
        .op = CHALK_BLOCK_WRITE_ZEROES, .lba = run->first_block, .count = PLACES * BLOCKS};

    return chalk_block_do(run->queue, &request, chalk_deadline(20 * CHALK_S)) == 0;
}

static void judge(struct run *run)
{
    bool intact = true;

    for (unsigned i = 0; i < DEPTH; i++)
        intact &= holds(&run->pieces[i], CANARY);
    expect(run->in_flight == 0, "every request was called back");
    expect(run->twice == 0, "once");
    expect(run->failed == 0, "and succeeded");
    expect(run->wrong == 0, "what was read is what was written before");
    expect(run->touched == 0 && intact, "no buffer changed after its callback");
    expect(verify(run), "and all that was acknowledged is on the disk");
    expect(clear(run), "then its blocks are zeroes again");
}

/* Both queues are full when this returns, and the controller has seen all of it: it answers in the order in
 * which it is asked. */
static bool hold_breath(struct chalk_nvme *nvme, struct run *mine, struct run *other, bool alone)
{
    struct chalk_nvme_namespace ns;
    uint64_t deadline = chalk_deadline(20 * CHALK_S);

    atomic_store(&other->hold, true);
    while (!alone && !atomic_load(&other->holding) && !chalk_expired(deadline))
        chalk_pause();
    if (alone)
        top_up(other);
    top_up(mine);
    return chalk_nvme_next_namespace(nvme, 0, &ns) == 0 && mine->in_flight == DEPTH &&
           other->in_flight == DEPTH;
}

static void resets(struct chalk_nvme *nvme, struct run *mine, struct run *other, bool alone)
{
    unsigned good = 0;

    for (unsigned i = 0; i < RESETS; i++) {
        uint64_t enough = atomic_load(&mine->finished) + BETWEEN, deadline = chalk_deadline(20 * CHALK_S);

        while (atomic_load(&mine->finished) < enough && !chalk_expired(deadline)) {
            turn(mine);
            if (alone)
                turn(other);
        }
        good += hold_breath(nvme, mine, other, alone) && chalk_nvme_reset(nvme) == 0;
        atomic_store(&other->hold, false);
    }
    expect(good == RESETS, "a hundred resets, each with both queues full");
}

static void under_load(struct chalk_nvme *nvme, struct chalk_memory *memory)
{
    struct run *runs = calloc(2, sizeof *runs);
    int core;

    if (!expect(runs != NULL && open_run(&runs[0], nvme, memory, 0) && open_run(&runs[1], nvme, memory, 1),
                "two queues"))
        return;
    core = chalk_core_start_any(other_core, &runs[1]);
    resets(nvme, &runs[0], &runs[1], core < 0);
    drain(&runs[0]);
    atomic_store(&runs[1].stop, true);
    if (core < 0)
        drain(&runs[1]);
    else
        (void)chalk_core_join(0, (unsigned)core, chalk_deadline(30 * CHALK_S));
    for (unsigned i = 0; i < 2; i++) {
        judge(&runs[i]);
        chalk_nvme_queue_close(runs[i].queue);
        chalk_dma_put(memory, &runs[i].buffers);
    }
    free(runs);
}

int chalk_main(int argc, char *argv[])
{
    struct chalk_nvme_options options = {0};
    struct chalk_device *device;
    struct chalk_nvme *nvme;

    (void)argc;
    (void)argv;
    if (!open_nvme(16u << 20, &options.memory, &options.domain, &device))
        return 1;
    if (expect_result(chalk_nvme_open(device, &options, &nvme), 0, "opening the controller")) {
        under_load(nvme, options.memory);
        chalk_nvme_close(nvme);
    }
    close_nvme(options.memory, options.domain, device);
    return twin_failures != 0;
}

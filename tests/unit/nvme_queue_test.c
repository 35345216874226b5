/* SPDX-License-Identifier: BSD-2-Clause */
/* Queue pairs: what goes through them, what must not, and what becomes of requests when the controller fails.
 */
#include "nvme_session.h"
#include <chalk/random.h>

#define MS       ((uint64_t)1000000)
#define REQUESTS 600

/* A request, and what was said of it. */
struct item {
    struct chalk_block_request request;
    struct chalk_dma segments[64];
    unsigned finished; /* callbacks */
    int status;
    bool dma_possible; /* at the time of the callback, the controller could still reach memory */
};

static struct item items[REQUESTS];
static struct chalk_dma data; /* the requests' memory */
static struct chalk_block_queue *queue;
static unsigned finished;

static void done(struct chalk_block_request *request, int status)
{
    struct item *item = (struct item *)request;

    item->finished++;
    item->status = status;
    item->dma_possible = (model->csts & NVME_CSTS_RDY) != 0 && model->queues[1].entries != 0;
    finished++;
}

static int setup(void **state)
{
    int error = session_setup(state);

    memset(items, 0, sizeof items);
    finished = 0;
    if (error == 0)
        error = chalk_dma_get(memory, 4 << 20, CHALK_PAGE, &data);
    if (error == 0)
        error = open_controller();
    return error;
}

static int teardown(void **state)
{
    chalk_nvme_close(nvme);
    chalk_dma_put(memory, &data);
    return session_teardown(state);
}

static int open_queue(uint32_t nsid, unsigned depth)
{
    const struct chalk_nvme_queue_options options = {.nsid = nsid, .depth = depth};

    return chalk_nvme_queue_open(nvme, &options, &queue);
}

/* Request `i`: `count` blocks at `lba`, in one piece at `offset` of the data. */
static struct chalk_block_request *prepare(unsigned i, enum chalk_block_op op, uint64_t lba, uint32_t count,
                                           size_t offset)
{
    struct item *item = &items[i];

    memset(item, 0, sizeof *item);
    item->segments[0] = (struct chalk_dma){
        .va = (char *)data.va + offset,
        .iova = data.iova + offset,
        .size = (size_t)count * queue->info.block_size,
    };
    item->request = (struct chalk_block_request){
        .op = op,
        .lba = lba,
        .count = count,
        .segments = item->segments,
        .segment_count = op == CHALK_BLOCK_FLUSH ? 0 : 1,
        .done = done,
    };
    return &item->request;
}

static int submit(struct chalk_block_request *request)
{
    return chalk_block_submit(queue, &request, 1);
}

/* One request to its end. */
static int run(struct chalk_block_request *request)
{
    struct item *item = (struct item *)request;
    int taken = submit(request);

    if (taken != 1)
        return taken;
    chalk_block_kick(queue);
    assert_int_equal(chalk_block_poll(queue, 0), 1);
    assert_int_equal(item->finished, 1);
    return item->status;
}

static void fill(size_t size, uint64_t seed)
{
    for (size_t i = 0; i < size / 8; i++)
        ((uint64_t *)data.va)[i] = chalk_random_at(seed, i);
}

/* ---- what works ------------------------------------------------------------------------------------ */

static void describes_the_namespace(void **state)
{
    (void)state;
    assert_int_equal(open_queue(1, 0), 0);
    assert_int_equal(queue->info.block_count, MODEL_DISK / 512);
    assert_int_equal(queue->info.block_size, 512);
    assert_int_equal(queue->info.command_blocks, 256);
    assert_int_equal(queue->info.segment_align, 4);
    assert_int_equal(queue->info.boundary, 4096);
    assert_int_equal(queue->info.depth, 128);
    assert_true(queue->info.volatile_cache);
    chalk_nvme_queue_close(queue);
    assert_int_equal(open_queue(1, 60000), 0);
    assert_int_equal(queue->info.depth, 1023);
    chalk_nvme_queue_close(queue);
}

/* Writes and reads `blocks` blocks from unaligned memory, cut at each page edge with some likelihood. */
static void exchange(uint32_t blocks, size_t offset, uint64_t *seed)
{
    size_t size = (size_t)blocks * queue->info.block_size;
    uint64_t lba = chalk_random_below(seed, queue->info.block_count - blocks + 1);
    uint8_t *disk = model->disk + lba * queue->info.block_size;

    for (int op = CHALK_BLOCK_WRITE; op >= CHALK_BLOCK_READ; op--) {
        struct chalk_block_request *request = prepare(0, op, lba, blocks, offset);
        struct item *item = &items[0];
        size_t left = size, at = offset;

        request->segment_count = 0;
        while (left != 0) {
            struct chalk_dma *segment = &item->segments[request->segment_count++];
            size_t piece = 4096 - at % 4096;

            while (piece < left && chalk_random_below(seed, 4) != 0)
                piece += 4096;
            if (piece > left)
                piece = left;
            *segment = (struct chalk_dma){(char *)data.va + at, data.iova + at, piece};
            left -= piece;
            at += piece;
            if (chalk_random_below(seed, 3) == 0) /* the next piece is somewhere else */
                at += 4096 * chalk_random_below(seed, 4);
        }
        if (op == CHALK_BLOCK_WRITE)
            fill(2 << 20, *seed);
        else
            memset(data.va, 0, 2 << 20);
        assert_int_equal(run(request), 0);
        for (unsigned i = 0, from = 0; i < request->segment_count; from += item->segments[i++].size)
            assert_memory_equal(item->segments[i].va, disk + from, item->segments[i].size);
    }
}

static void moves_data_of_every_shape(void **state)
{
    static const size_t offsets[] = {0, 4, 512, 2048, 4092};
    uint64_t seed = 1;

    (void)state;
    model->namespaces[1] = (struct nvme_identify_namespace){.nsze = MODEL_DISK / 4096, .lbaf[0] = 12 << 16};
    for (uint32_t nsid = 1; nsid <= 2; nsid++) {
        assert_int_equal(open_queue(nsid, 4), 0);
        for (uint32_t blocks = 1; blocks <= queue->info.command_blocks; blocks += 1 + blocks / 8)
            for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++)
                exchange(blocks, offsets[i], &seed);
        exchange(queue->info.command_blocks, 4092, &seed);
        chalk_nvme_queue_close(queue);
    }
}

/* Each has a list of its own. */
static void long_transfers_run_side_by_side(void **state)
{
    const unsigned count = 16;
    uint32_t blocks;

    (void)state;
    assert_int_equal(open_queue(1, count), 0);
    blocks = queue->info.command_blocks;
    fill(4 << 20, 9);
    model->hold = true;
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(
            submit(prepare(i, CHALK_BLOCK_WRITE, i * blocks, blocks, i * (size_t)(140 << 10) + 4092)), 1);
    chalk_block_kick(queue);
    model_run(model, 1, 0);
    assert_int_equal(chalk_block_poll(queue, 0), count);
    for (unsigned i = 0; i < count; i++)
        assert_memory_equal(model->disk + i * blocks * 512, items[i].segments[0].va, blocks * 512);
    chalk_nvme_queue_close(queue);
}

static void uses_pages_of_the_size_that_the_controller_wants(void **state)
{
    uint64_t seed = 2;

    (void)state;
    chalk_nvme_close(nvme);
    model->cap |= 1ull << 48; /* MPSMIN: 8 KiB */
    assert_int_equal(open_controller(), 0);
    assert_int_equal(open_queue(1, 4), 0);
    assert_int_equal(queue->info.boundary, 8192);
    assert_int_equal(queue->info.command_blocks, 512);
    for (uint32_t blocks = 1; blocks <= 64; blocks++) {
        struct chalk_block_request *request = prepare(0, CHALK_BLOCK_WRITE, 100, blocks, 4096 + 1024);

        fill(1 << 20, seed++);
        assert_int_equal(run(request), 0);
        assert_memory_equal(model->disk + 100 * 512, items[0].segments[0].va, blocks * 512);
    }
    chalk_nvme_queue_close(queue);
}

static void flushes(void **state)
{
    (void)state;
    assert_int_equal(open_queue(1, 4), 0);
    assert_int_equal(run(prepare(0, CHALK_BLOCK_FLUSH, 0, 0, 0)), 0);
    chalk_nvme_queue_close(queue);
}

static void many_laps_keep_order_and_count(void **state)
{
    static const unsigned depths[] = {1, 2, 3, 7, 8, 31, 255};
    uint64_t seed = 3;

    (void)state;
    for (size_t d = 0; d < sizeof depths / sizeof *depths; d++) {
        unsigned in_flight = 0, submitted = 0;

        assert_int_equal(open_queue(1, depths[d]), 0);
        model->hold = true;
        finished = 0;
        while (finished < 40 * depths[d]) {
            struct chalk_block_request *batch[16];
            unsigned wanted = 1 + (unsigned)chalk_random_below(&seed, 16), n = 0;
            int taken, polled;

            for (unsigned i = 0; i < REQUESTS && n < wanted; i++)
                if (items[i].request.done == NULL || items[i].finished != 0)
                    batch[n++] =
                        prepare(i, chalk_random_below(&seed, 2), chalk_random_below(&seed, 8000), 1, i * 512);
            taken = chalk_block_submit(queue, batch, n);
            for (unsigned i = taken < 0 ? 0 : (unsigned)taken; i < n; i++)
                ((struct item *)batch[i])->finished = 1; /* not in flight: may be used again */
            if (in_flight == depths[d])
                assert_int_equal(taken, -EAGAIN);
            else
                assert_int_equal(taken, n < depths[d] - in_flight ? n : depths[d] - in_flight);
            if (taken > 0) {
                in_flight += (unsigned)taken;
                submitted += (unsigned)taken;
            }
            chalk_block_kick(queue);
            model_run(model, 1, (unsigned)chalk_random_below(&seed, depths[d]) + 1);
            polled = chalk_block_poll(queue, (unsigned)chalk_random_below(&seed, 4));
            assert_true(polled >= 0);
            in_flight -= (unsigned)polled;
            assert_int_equal(submitted - finished, in_flight);
        }
        assert_int_equal(queue->counters.submitted, submitted);
        assert_int_equal(queue->counters.completed, finished);
        assert_int_equal(queue->counters.failed, 0);
        model->hold = false;
        chalk_nvme_queue_close(queue);
        memset(items, 0, sizeof items);
    }
}

static void rings_one_doorbell_a_kick_and_one_a_poll(void **state)
{
    struct chalk_block_request *batch[8];
    unsigned before, reads;

    (void)state;
    assert_int_equal(open_queue(1, 16), 0);
    before = model->doorbells;
    reads = model->register_reads;
    for (unsigned i = 0; i < 8; i++)
        batch[i] = prepare(i, CHALK_BLOCK_READ, i, 1, i * 512);
    assert_int_equal(chalk_block_submit(queue, batch, 8), 8);
    assert_int_equal(model->commands, 0);
    chalk_block_kick(queue);
    chalk_block_kick(queue);
    assert_int_equal(model->doorbells - before, 1);
    assert_int_equal(chalk_block_poll(queue, 3), 3);
    assert_int_equal(chalk_block_poll(queue, 0), 5);
    assert_int_equal(chalk_block_poll(queue, 0), 0);
    assert_int_equal(model->doorbells - before, 3);
    assert_int_equal(queue->counters.doorbells, 3);
    assert_int_equal(queue->counters.polls, 3);
    assert_int_equal(model->register_reads, reads);
    chalk_nvme_queue_close(queue);
}

/* 16 KiB from the start of BAR 2 on, for submission queues and lists. */
static void give_memory(void)
{
    model->cap |= NVME_CAP_CMBS;
    model->cmbloc = 2;
    model->cmbsz = 4 << 12 | CHALK_NVME_CMB_SUBMISSIONS | CHALK_NVME_CMB_LISTS;
}

static void commands_can_be_in_the_controllers_memory(void **state)
{
    struct chalk_block_queue *others[4];
    struct chalk_nvme_queue_options options = {.nsid = 1, .depth = 40}; /* two pages */
    const struct chalk_nvme_info *info;

    (void)state;
    chalk_nvme_close(nvme);
    give_memory();
    assert_int_equal(open_controller(), 0);
    info = chalk_nvme_get_info(nvme);
    assert_int_equal(info->controller_memory.size, 16384);
    assert_int_equal(info->controller_memory.used, 0);
    assert_int_equal(open_queue(1, 8), 0);
    assert_int_equal(info->controller_memory.used, 4096);
    for (unsigned round = 0; round < 2; round++) {
        model->fetched = 0;
        for (unsigned i = 0; i < 5; i++)
            assert_int_equal(submit(prepare(i, CHALK_BLOCK_READ, i, 1, i * 512)), 1);
        chalk_block_kick(queue);
        assert_int_equal(chalk_block_poll(queue, 0), 5);
        assert_int_equal(model->fetched, 5);
        assert_int_equal(chalk_nvme_reset(nvme), 0); /* and after it the memory has its address again */
        (void)chalk_block_poll(queue, 0);
    }

    /* What has no room is elsewhere, and a gap is used again. */
    assert_int_equal(chalk_nvme_queue_open(nvme, &options, &others[0]), 0);
    assert_int_equal(info->controller_memory.used, 3 * 4096);
    assert_int_equal(chalk_nvme_queue_open(nvme, &options, &others[1]), 0);
    assert_int_equal(info->controller_memory.used, 3 * 4096);
    chalk_nvme_queue_close(others[0]);
    options.depth = 8;
    for (unsigned i = 2; i < 4; i++)
        assert_int_equal(chalk_nvme_queue_open(nvme, &options, &others[i]), 0);
    assert_int_equal(info->controller_memory.used, 3 * 4096);
    for (unsigned i = 1; i < 4; i++)
        chalk_nvme_queue_close(others[i]);
    chalk_nvme_queue_close(queue);
    assert_int_equal(info->controller_memory.used, 0);
}

/* One that says that it has memory, and cannot be sent there: after the reset its queues are elsewhere. */
static void memory_that_does_not_work_is_left(void **state)
{
    (void)state;
    chalk_nvme_close(nvme);
    give_memory();
    model->cmb_deaf = true;
    assert_int_equal(open_controller(), 0);
    assert_int_equal(open_queue(1, 8), 0);
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0, 1, 0)), 1);
    chalk_block_kick(queue);
    while (queue->counters.completed == 0)
        assert_true(chalk_block_poll(queue, 0) >= 0);
    assert_int_equal(items[0].status, 0);
    assert_int_equal(model->enables, 1 + 1 + 1); /* the first was before this test's */
    assert_true(fake_console_has("no command in the controller's own memory has succeeded"));
    chalk_nvme_queue_close(queue);
    assert_int_equal(chalk_nvme_get_info(nvme)->controller_memory.used, 0);
    assert_int_equal(open_queue(1, 8), 0); /* nor is another tried there */
    assert_int_equal(chalk_nvme_get_info(nvme)->controller_memory.used, 0);
    chalk_nvme_queue_close(queue);
}

/* Memory that is not to be had is done without. */
static void memory_that_the_controller_has_not(void **state)
{
    static const struct {
        uint32_t location, size;
        bool refused;
        const char *says;
    } cases[] = {
        {2, 4 << 12 | CHALK_NVME_CMB_LISTS, false, "none for that"},
        {3, 4 << 12 | CHALK_NVME_CMB_SUBMISSIONS, false, "no such device"}, /* there is no BAR 3 */
        {1 << 12 | 2, 4 << 12 | CHALK_NVME_CMB_SUBMISSIONS, false, "out of range"},
        {2, 0xfffff000 | 15 << 8 | CHALK_NVME_CMB_SUBMISSIONS, false, "none for that"},
        {2, UINT32_MAX, false, "none for that"},
        {2, 4 << 12 | CHALK_NVME_CMB_SUBMISSIONS, true, "does not take its address"},
    };

    (void)state;
    chalk_nvme_close(nvme);
    give_memory();
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        model->cmbloc = cases[i].location;
        model->cmbsz = cases[i].size;
        model->cmb_refused = cases[i].refused;
        fake_console_clear();
        assert_int_equal(open_controller(), 0);
        assert_int_equal(open_queue(1, 8), 0);
        if (!fake_console_has(cases[i].says))
            fail_msg("case %u: %s", i, fake.console);
        assert_int_equal(chalk_nvme_get_info(nvme)->controller_memory.used, 0);
        assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0, 1, 0)), 1);
        chalk_block_kick(queue);
        assert_int_equal(chalk_block_poll(queue, 0), 1);
        chalk_nvme_queue_close(queue);
        if (i + 1 < sizeof cases / sizeof *cases)
            chalk_nvme_close(nvme);
    }
}

/* The register is written only where the controller has asked for it. */
static void doorbells_in_memory_spare_registers(void **state)
{
    unsigned before;

    (void)state;
    chalk_nvme_close(nvme);
    model->controller.oacs = NVME_OACS_DOORBELLS;
    assert_int_equal(open_controller(), 0);
    assert_true(chalk_nvme_get_info(nvme)->shadow_doorbells);
    assert_int_equal(open_queue(1, 8), 0);
    before = model->doorbells;
    model_wake_at(model, 1, 16); /* not soon */
    for (unsigned lap = 0; lap < 3; lap++) {
        for (unsigned i = 0; i < 5; i++) {
            assert_int_equal(submit(prepare(i, CHALK_BLOCK_READ, i, 1, i * 512)), 1);
            chalk_block_kick(queue);
        }
        assert_int_equal(model_run(model, 1, 0), 5);
        assert_int_equal(chalk_block_poll(queue, 0), 5);
    }
    /* Of the completion queue the event is 0: its doorbell was told once, and again after it came round. */
    assert_in_range(model->doorbells - before, 1, 2);
    model_wake_at(model, 1, 15);
    before = model->doorbells;
    assert_int_equal(run(prepare(0, CHALK_BLOCK_READ, 0, 1, 0)),
                     0); /* which rings, or nothing would happen */
    assert_int_equal(model->doorbells - before, 1);
    chalk_nvme_queue_close(queue);

    /* Another queue of that number begins anew. */
    assert_int_equal(open_queue(1, 8), 0);
    for (unsigned i = 0; i < 40; i++) {
        assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, i, 1, 0)), 1);
        chalk_block_kick(queue);
        (void)model_run(model, 1, 0);
        assert_int_equal(chalk_block_poll(queue, 0), 1);
    }
    chalk_nvme_queue_close(queue);
}

static unsigned again;

static void submit_again(struct chalk_block_request *request, int status)
{
    assert_int_equal(status, 0);
    finished++;
    if (again != 0) {
        again--;
        assert_int_equal(submit(request), 1);
        chalk_block_kick(queue);
    }
}

static void callbacks_may_submit_again(void **state)
{
    struct chalk_block_request *request;

    (void)state;
    assert_int_equal(open_queue(1, 1), 0);
    request = prepare(0, CHALK_BLOCK_READ, 0, 1, 0);
    request->done = submit_again;
    again = 99;
    assert_int_equal(submit(request), 1);
    chalk_block_kick(queue);
    while (finished < 100)
        assert_true(chalk_block_poll(queue, 0) > 0);
    assert_int_equal(chalk_block_poll(queue, 0), 0);
    chalk_nvme_queue_close(queue);
}

static void queues_are_separate_and_their_identifiers_reused(void **state)
{
    struct chalk_block_queue *queues[MODEL_QUEUES - 1];

    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < MODEL_QUEUES - 1; i++) {
            assert_int_equal(open_queue(1, 8), 0);
            queues[i] = queue;
        }
        assert_int_equal(open_queue(1, 8), -ENOSPC);
        assert_true(fake_console_has("no queue is left: it grants 7, and all are open"));
        for (unsigned i = 0; i < MODEL_QUEUES - 1; i++) {
            queue = queues[i];
            assert_int_equal(run(prepare(i, CHALK_BLOCK_READ, i, 1, i * 512)), 0);
            assert_int_equal(model->queues[i + 1].head, 1);
        }
        for (unsigned i = 0; i < MODEL_QUEUES - 1; i++)
            chalk_nvme_queue_close(queues[(i * 3 + round) % (MODEL_QUEUES - 1)]);
    }
}

/* ---- what is refused ------------------------------------------------------------------------------- */

static void namespaces_that_cannot_be_used(void **state)
{
    (void)state;
    assert_int_equal(open_queue(0, 0), -ENOENT);
    assert_int_equal(open_queue(2, 0), -ENOENT);
    assert_int_equal(open_queue(4, 0), -ENOENT);
    assert_int_equal(open_queue(UINT32_MAX, 0), -ENOENT);
    assert_true(fake_console_has("there is no namespace 2"));
    model->namespaces[0].nsze = 0;
    assert_int_equal(open_queue(1, 0), -EINVAL);
    assert_true(fake_console_has("namespace 1: it has no blocks"));
    model->namespaces[0].nsze = 100;
    model->namespaces[0].lbaf[0] = 9 << 16 | 8;
    model->namespaces[0].flbas = 0x10;
    assert_int_equal(open_queue(1, 0), -EINVAL);
    assert_true(fake_console_has("metadata among its data"));
    model->namespaces[0].flbas = 0;
    model->namespaces[0].lbaf[0] = 18 << 16;
    assert_int_equal(open_queue(1, 0), -EINVAL);
    assert_true(fake_console_has("too large"));
}

/* It is refused, and which field is wrong is said. */
static void refused(struct chalk_block_request *request, const char *message)
{
    fake_console_clear();
    assert_int_equal(submit(request), -EINVAL);
    if (!fake_console_has(message))
        print_message("# '%s' is not in: %s", message, fake.console);
    assert_true(fake_console_has(message));
}

static void wrong_requests_say_what_is_wrong(void **state)
{
    struct chalk_block_request *request;

    (void)state;
    assert_int_equal(open_queue(1, 2), 0);
    refused(prepare(0, CHALK_BLOCK_READ, 0, 0, 0), "wrong request (read): count is 0");
    refused(prepare(0, CHALK_BLOCK_WRITE, 0, 1 << 20, 0),
            "wrong request (write): count is 1048576, and a request has at most");
    refused(prepare(0, (enum chalk_block_op)77, 0, 1, 0), "op is 77");
    request = prepare(0, CHALK_BLOCK_READ, 0, 2, 0);
    items[0].segments[0].size = 512;
    refused(request, "its 1 segments have 512 bytes, and count blocks have 1024");
    items[0].segments[0].size = 0;
    refused(request, "segments[0].size is 0");
    request->segment_count = 0;
    refused(request, "segment_count is 0, and it has data");
    refused(prepare(0, CHALK_BLOCK_READ, 0, 1, 2), "is not aligned to 4 bytes (segment_align)");
    request = prepare(0, CHALK_BLOCK_READ, 0, 16, 0);
    request->segment_count = 2;
    items[0].segments[1] = items[0].segments[0];
    items[0].segments[0].size = items[0].segments[1].size = 4096;
    items[0].segments[1].iova += 512;
    refused(request, "segments[1] begins at");
    items[0].segments[1].iova += 3584;
    items[0].segments[0].size = 4096 - 512;
    items[0].segments[1].size = 4096 + 512;
    refused(request, "segments[0] ends at");
    chalk_nvme_queue_close(queue);
}

static void wrong_requests_never_reach_the_device(void **state)
{
    struct chalk_block_request *request;
    uint64_t blocks;

    (void)state;
    assert_int_equal(open_queue(1, 2), 0);
    blocks = queue->info.block_count;
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0, 0, 0)), -EINVAL);
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0, (uint32_t)blocks + 1, 0)), -EINVAL);
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, blocks, 1, 0)), -ERANGE);
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, blocks - 1, 2, 0)), -ERANGE);
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, UINT64_MAX, 1, 0)), -ERANGE);
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, UINT64_MAX, 256, 0)), -ERANGE);
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0, 1, 2)), -EINVAL);
    assert_int_equal(submit(prepare(0, (enum chalk_block_op)77, 0, 1, 0)), -EINVAL);
    request = prepare(0, CHALK_BLOCK_READ, 0, 2, 0);
    items[0].segments[0].size -= 512;
    assert_int_equal(submit(request), -EINVAL);
    request = prepare(0, CHALK_BLOCK_READ, 0, 1, 0);
    request->segment_count = 0;
    assert_int_equal(submit(request), -EINVAL);

    /* In a batch: what comes before is taken. */
    struct chalk_block_request *batch[] = {
        prepare(0, CHALK_BLOCK_READ, 0, 1, 0),
        prepare(1, CHALK_BLOCK_READ, blocks, 1, 0),
        prepare(2, CHALK_BLOCK_READ, 0, 1, 1024),
    };
    assert_int_equal(chalk_block_submit(queue, batch, 3), 1);
    assert_int_equal(chalk_block_submit(queue, batch, 0), 0);
    chalk_block_kick(queue);
    assert_int_equal(chalk_block_poll(queue, 0), 1);
    assert_int_equal(model->commands, 1);
    assert_int_equal(run(prepare(0, CHALK_BLOCK_READ, blocks - 1, 1, 0)), 0);
    assert_int_equal(run(prepare(0, CHALK_BLOCK_READ, blocks - 256, 256, 0)), 0);
    chalk_nvme_queue_close(queue);
}

static void a_full_queue_takes_no_more_and_loses_nothing(void **state)
{
    struct chalk_block_request *batch[6];

    (void)state;
    assert_int_equal(open_queue(1, 4), 0);
    model->hold = true;
    for (unsigned i = 0; i < 6; i++)
        batch[i] = prepare(i, CHALK_BLOCK_READ, i, 1, i * 512);
    assert_int_equal(chalk_block_submit(queue, batch, 6), 4);
    assert_int_equal(chalk_block_submit(queue, batch + 4, 2), -EAGAIN);
    assert_int_equal(submit(batch[4]), -EAGAIN);
    chalk_block_kick(queue);
    finished = 0;
    model_run(model, 1, 1);
    assert_int_equal(chalk_block_poll(queue, 0), 1);
    assert_int_equal(chalk_block_submit(queue, batch + 4, 2), 1);
    chalk_block_kick(queue);
    model->hold = false;
    model_run(model, 1, 0);
    while (finished < 5)
        assert_true(chalk_block_poll(queue, 0) > 0);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(items[i].finished, i < 5);
    chalk_nvme_queue_close(queue);
}

static void data_of_another_block_size_never_reaches_the_device(void **state)
{
    (void)state;
    model->namespaces[0].lbaf[0] = 12 << 16;
    assert_int_equal(open_queue(1, 4), 0);
    assert_int_equal(queue->info.block_size, 4096);
    for (unsigned op = CHALK_BLOCK_READ; op <= CHALK_BLOCK_WRITE; op++) {
        struct chalk_block_request *request = prepare(0, (enum chalk_block_op)op, 0, 1, 0);

        items[0].segments[0].size = 512;
        assert_int_equal(submit(request), -EINVAL);
        request->count = 8; /* which are 4096 bytes, of that size */
        items[0].segments[0].size = 4096;
        assert_int_equal(submit(request), -EINVAL);
    }
    assert_int_equal(model->commands, 0);
    chalk_nvme_queue_close(queue);
}

static void data_that_was_not_shared_with_the_device_ends_the_program(void **state)
{
    struct chalk_block_request *request;

    (void)state;
    assert_int_equal(open_queue(1, 4), 0);
    request = prepare(0, CHALK_BLOCK_READ, 0, 1, 0);
    items[0].segments[0].iova = 0x123456000;
    assert_true(fake_exits(submit(request)));
    assert_true(fake_console_has(MODEL_NAME " is lent 512 bytes"));
    assert_true(fake_console_has("never shared"));
    assert_int_equal(model->commands, 0);
    chalk_nvme_queue_close(queue);
}

static void a_namespace_smaller_than_a_transfer_has_its_end(void **state)
{
    (void)state;
    model->namespaces[0].nsze = 5;
    assert_int_equal(open_queue(1, 2), 0);
    assert_int_equal(queue->info.max_blocks, 5);
    assert_int_equal(run(prepare(0, CHALK_BLOCK_READ, 0, 5, 0)), 0);
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 1, 5, 0)), -ERANGE);
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0, 6, 0)), -EINVAL);
    chalk_nvme_queue_close(queue);
}

static void statuses_become_errors(void **state)
{
    static const struct {
        uint16_t status;
        int error;
    } cases[] = {
        {0x281, -EIO}, {0x080, -ERANGE}, {0x081, -ENOSPC}, {0x020, -EROFS},  {0x6281, -EIO},
        {0x7ff, -EIO}, {0x0ff, -EIO},    {0x4000, 0},      {0x002, -EINVAL},
    };

    (void)state;
    assert_int_equal(open_queue(1, 2), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        model->refuse = cases[i].status;
        assert_int_equal(run(prepare(0, CHALK_BLOCK_READ, 77, 1, 0)), cases[i].error);
    }
    assert_true(fake_console_has(
        "namespace 1: read of 1 blocks at 77 failed: unrecovered read error (status 0x281)"));
    assert_true(fake_console_has("further ones are not logged"));
    assert_int_equal(queue->counters.failed, 8);
    assert_string_equal(chalk_nvme_status_name(0), "success");
    for (unsigned status = 0; status < 0x8000; status++)
        assert_non_null(chalk_nvme_status_name((uint16_t)status));
    chalk_nvme_queue_close(queue);
}

/* ---- hostile completions --------------------------------------------------------------------------- */

/* Four requests in flight; the completion that comes then is not one of theirs. */
static void stops_after(struct nvme_completion forged, unsigned before)
{
    assert_int_equal(open_queue(1, 4), 0);
    model->hold = true;
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(submit(prepare(i, CHALK_BLOCK_READ, i, 1, i * 512)), 1);
    chalk_block_kick(queue);
    if (before != 0)
        model_run(model, 1, before);
    model_post(model, 1, forged);
    finished = 0;
    if (before != 0)
        assert_int_equal(chalk_block_poll(queue, 0), before);
    assert_int_equal(chalk_block_poll(queue, 0), 4 - before);
    assert_int_equal(chalk_block_poll(queue, 0), -EIO);
    assert_int_equal(submit(prepare(4, CHALK_BLOCK_READ, 0, 1, 0)), -EIO);
    chalk_block_kick(queue);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(items[i].finished, 1);
        assert_int_equal(items[i].status, i < before ? 0 : -EPROTO);
        assert_false(items[i].dma_possible && i >= before);
    }
    assert_int_equal(model->csts & NVME_CSTS_RDY, 0);
    assert_int_equal(model->device->config[4] & 4, 0); /* bus mastering */
    assert_true(fake_console_has("which is not in flight; stopped"));
    chalk_nvme_queue_close(queue);
    assert_int_equal(finished, 4);
    assert_int_equal(open_queue(1, 4), -EPROTO);
}

#define HOSTILE(name, origin_, outcome_, before)                                                             \
    static void name(void **state)                                                                           \
    {                                                                                                        \
        (void)state;                                                                                         \
        stops_after((struct nvme_completion){.origin = (origin_), .outcome = (outcome_)}, before);           \
    }

HOSTILE(a_command_that_was_never_issued, 1 << 16, 5, 0)
HOSTILE(a_command_beyond_all_slots, 1 << 16, 0xffff, 0)
HOSTILE(a_command_of_the_next_generation, 1 << 16, 4, 0)
HOSTILE(a_command_that_was_completed_before, 1 << 16, 0, 1)
HOSTILE(a_command_that_would_be_the_next, 1 << 16, 4, 1)
HOSTILE(a_command_of_the_admin_queue, 0, 0, 0)
HOSTILE(a_command_of_another_queue, 2 << 16, 0, 0)
HOSTILE(a_head_beyond_the_queue, 1 << 16 | 9, 0, 0)
HOSTILE(a_head_far_beyond_the_queue, 1 << 16 | 0xffff, 0, 0)
HOSTILE(a_failure_that_was_never_issued, 1 << 16, 0xfffeu << 16 | 9, 2)

/* The slot is in use again, by another request: only the generation tells. */
static void a_completion_that_comes_twice_after_reuse(void **state)
{
    (void)state;
    assert_int_equal(open_queue(1, 1), 0);
    assert_int_equal(run(prepare(0, CHALK_BLOCK_READ, 0, 1, 0)), 0);
    model->hold = true;
    assert_int_equal(submit(prepare(1, CHALK_BLOCK_READ, 0, 1, 512)), 1);
    chalk_block_kick(queue);
    model_post(model, 1, (struct nvme_completion){.origin = 1 << 16 | 1, .outcome = 0});
    assert_int_equal(chalk_block_poll(queue, 0), 1);
    assert_int_equal(items[1].status, -EPROTO);
    chalk_nvme_queue_close(queue);
}

static void a_failure_reaches_the_other_queues(void **state)
{
    struct chalk_block_queue *other;

    (void)state;
    assert_int_equal(open_queue(1, 4), 0);
    other = queue;
    assert_int_equal(open_queue(1, 4), 0);
    model->hold = true;
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_WRITE, 0, 1, 0)), 1);
    chalk_block_kick(queue);
    model_post(model, 1, (struct nvme_completion){.origin = 1 << 16, .outcome = 99});
    assert_int_equal(chalk_block_poll(other, 0), -EIO);
    assert_int_equal(chalk_block_poll(queue, 0), 1);
    assert_int_equal(items[0].status, -EPROTO);
    assert_int_equal(chalk_block_poll(queue, 0), -EIO);
    chalk_nvme_queue_close(other);
    chalk_nvme_queue_close(queue);
}

/* ---- time, and the end ----------------------------------------------------------------------------- */

static void a_request_that_is_lost_times_out(void **state)
{
    uint64_t start;
    int polled;

    (void)state;
    assert_int_equal(open_queue(1, 8), 0);
    fake.step = MS;
    model->lose = 1;
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_WRITE, 5, 1, 0)), 1);
    chalk_block_kick(queue);
    start = fake.now;
    model->hold = true;
    while (fake.now < start + 29000 * MS)
        assert_int_equal(chalk_block_poll(queue, 0), 0);
    assert_int_equal(submit(prepare(1, CHALK_BLOCK_WRITE, 6, 1, 0)), 1);
    chalk_block_kick(queue);
    while ((polled = chalk_block_poll(queue, 0)) == 0)
        assert_true(fake.now < start + 36000 * MS);
    assert_true(fake.now >= start + 30000 * MS);
    assert_int_equal(polled, 2);
    assert_int_equal(items[0].status, -ETIMEDOUT);
    assert_int_equal(items[1].status, -EIO);
    assert_false(items[0].dma_possible);
    assert_false(items[1].dma_possible);
    assert_true(fake_console_has("write of 1 blocks at 5 not answered within 30000 ms"));
    assert_int_equal(chalk_block_poll(queue, 0), 0);
    model->hold = false;
    assert_int_equal(run(prepare(2, CHALK_BLOCK_READ, 0, 1, 0)), 0); /* and life goes on */
    chalk_nvme_queue_close(queue);
}

static void slow_requests_are_not_late(void **state)
{
    (void)state;
    assert_int_equal(open_queue(1, 1), 0);
    fake.step = MS;
    model->hold = true;
    for (unsigned i = 0; i < 5; i++) {
        uint64_t start = fake.now;

        assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0, 1, 0)), 1);
        chalk_block_kick(queue);
        while (fake.now < start + 20000 * MS)
            assert_int_equal(chalk_block_poll(queue, 0), 0);
        model_run(model, 1, 1);
        assert_int_equal(chalk_block_poll(queue, 0), 1);
        assert_int_equal(items[0].status, 0);
    }
    chalk_nvme_queue_close(queue);
}

static void a_lost_request_is_noticed_among_busy_ones(void **state)
{
    unsigned laps = 0;

    (void)state;
    assert_int_equal(open_queue(1, 8), 0);
    fake.step = 1000 * MS;
    model->lose = 1;
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0, 1, 0)), 1);
    while (items[0].finished == 0) {
        assert_int_equal(submit(prepare(1, CHALK_BLOCK_READ, 0, 1, 512)), 1);
        chalk_block_kick(queue);
        while (items[1].finished == 0)
            (void)chalk_block_poll(queue, 0);
        assert_int_equal(items[1].status, 0);
        assert_true(++laps < 100 * 4096);
    }
    assert_int_equal(items[0].status, -ETIMEDOUT);
    chalk_nvme_queue_close(queue);
}

/* The controller completes one command, and breaks down, after a poll has found nothing. */
static void break_down(void *argument)
{
    (void)argument;
    fake.idle = NULL;
    assert_int_equal(model_run(model, 1, 1), 1);
    model->csts |= NVME_CSTS_CFS;
}

static void what_was_finished_before_the_failure_counts(void **state)
{
    (void)state;
    assert_int_equal(open_queue(1, 8), 0);
    model->hold = true;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(submit(prepare(i, CHALK_BLOCK_WRITE, i, 1, 0)), 1);
    chalk_block_kick(queue);
    fake.idle = break_down;
    fake.step = 1000 * MS;
    assert_int_equal(chalk_block_poll(queue, 0), 0);
    assert_true(fake_console_has("fatal status 0x00000003; resetting it"));
    assert_int_equal(chalk_block_poll(queue, 1), 1);
    assert_int_equal(items[0].status, 0);
    assert_int_equal(chalk_block_poll(queue, 0), 2);
    assert_int_equal(items[1].status, -EIO);
    assert_int_equal(items[2].status, -EIO);
    chalk_nvme_queue_close(queue);
}

static void a_device_that_is_unplugged_is_noticed_soon(void **state)
{
    uint64_t start = fake.now;
    int polled;

    (void)state;
    assert_int_equal(open_queue(1, 8), 0);
    fake.step = MS;
    model->hold = true;
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(submit(prepare(i, CHALK_BLOCK_READ, i, 1, i * 512)), 1);
    chalk_block_kick(queue);
    model_unplug(model);
    while ((polled = chalk_block_poll(queue, 3)) == 0)
        assert_true(fake.now < start + 1000 * MS);
    assert_int_equal(polled, 3);
    assert_int_equal(chalk_block_poll(queue, 4), 4);
    assert_int_equal(chalk_block_poll(queue, 0), 1);
    assert_int_equal(chalk_block_poll(queue, 0), -ENODEV);
    assert_int_equal(items[7].status, -ENODEV);
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0, 1, 0)), -ENODEV);
    chalk_nvme_queue_close(queue);
}

static void insist(struct chalk_block_request *request, int status)
{
    done(request, status);
    assert_int_equal(submit(request), -EIO);
}

static void closing_calls_back_what_is_in_flight(void **state)
{
    (void)state;
    assert_int_equal(open_queue(1, 8), 0);
    model->hold = true;
    for (unsigned i = 0; i < 6; i++) {
        struct chalk_block_request *request = prepare(i, CHALK_BLOCK_READ, i, 1, i * 512);

        request->done = insist;
        assert_int_equal(submit(request), 1);
        if (i == 3)
            chalk_block_kick(queue);
    }
    model_run(model, 1, 2);
    chalk_nvme_queue_close(queue);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(items[i].finished, 1);
        assert_int_equal(items[i].status, i < 2 ? 0 : -ECANCELED);
    }
    model->hold = false;
    assert_int_equal(open_queue(1, 8), 0);
    assert_int_equal(run(prepare(0, CHALK_BLOCK_READ, 0, 1, 0)), 0);
    chalk_nvme_queue_close(queue);
}

static void closing_resets_a_controller_that_does_not_delete(void **state)
{
    (void)state;
    assert_int_equal(open_queue(1, 8), 0);
    model->hold = true;
    assert_int_equal(submit(prepare(0, CHALK_BLOCK_READ, 0, 1, 0)), 1);
    chalk_block_kick(queue);
    model->refuse_admin = 0x006;
    model->refuse_opcode = NVME_DELETE_SQ;
    chalk_nvme_queue_close(queue);
    assert_int_equal(items[0].status, -ECANCELED);
    assert_false(items[0].dma_possible);
    assert_int_equal(model->enables, 2);
}

static void a_queue_that_cannot_be_created_leaves_nothing(void **state)
{
    static const uint8_t opcodes[] = {NVME_CREATE_CQ, NVME_CREATE_SQ};

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        model->refuse_admin = 0x102;
        model->refuse_opcode = opcodes[i];
        assert_int_equal(open_queue(1, 8), -EINVAL);
        assert_int_equal(model->queues[1].entries, 0);
    }
    model->refuse_admin = 0;
    assert_int_equal(open_queue(1, 8), 0);
    chalk_nvme_queue_close(queue);
    assert_int_equal(open_queue(1, 1000), 0);
    chalk_nvme_queue_close(queue);
}

static void too_little_memory_for_a_queue_is_said(void **state)
{
    struct chalk_memory_usage usage;
    struct chalk_dma hog;

    (void)state;
    chalk_memory_get_usage(memory, &usage);
    assert_int_equal(
        chalk_dma_get(memory, usage.shared_size - usage.shared_used - 3 * CHALK_PAGE, CHALK_PAGE, &hog), 0);
    assert_int_equal(open_queue(1, 64), -ENOMEM);
    assert_true(fake_console_has("KiB of shared memory"));
    chalk_dma_put(memory, &hog);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(describes_the_namespace),
        TEST(moves_data_of_every_shape),
        TEST(long_transfers_run_side_by_side),
        TEST(uses_pages_of_the_size_that_the_controller_wants),
        TEST(flushes),
        TEST(many_laps_keep_order_and_count),
        TEST(rings_one_doorbell_a_kick_and_one_a_poll),
        TEST(commands_can_be_in_the_controllers_memory),
        TEST(memory_that_does_not_work_is_left),
        TEST(memory_that_the_controller_has_not),
        TEST(doorbells_in_memory_spare_registers),
        TEST(callbacks_may_submit_again),
        TEST(queues_are_separate_and_their_identifiers_reused),
        TEST(namespaces_that_cannot_be_used),
        TEST(wrong_requests_say_what_is_wrong),
        TEST(wrong_requests_never_reach_the_device),
        TEST(a_full_queue_takes_no_more_and_loses_nothing),
        TEST(data_of_another_block_size_never_reaches_the_device),
        TEST(data_that_was_not_shared_with_the_device_ends_the_program),
        TEST(a_namespace_smaller_than_a_transfer_has_its_end),
        TEST(statuses_become_errors),
        TEST(a_command_that_was_never_issued),
        TEST(a_command_beyond_all_slots),
        TEST(a_command_of_the_next_generation),
        TEST(a_command_that_was_completed_before),
        TEST(a_command_that_would_be_the_next),
        TEST(a_command_of_the_admin_queue),
        TEST(a_command_of_another_queue),
        TEST(a_head_beyond_the_queue),
        TEST(a_head_far_beyond_the_queue),
        TEST(a_failure_that_was_never_issued),
        TEST(a_completion_that_comes_twice_after_reuse),
        TEST(a_failure_reaches_the_other_queues),
        TEST(a_request_that_is_lost_times_out),
        TEST(slow_requests_are_not_late),
        TEST(a_lost_request_is_noticed_among_busy_ones),
        TEST(what_was_finished_before_the_failure_counts),
        TEST(a_device_that_is_unplugged_is_noticed_soon),
        TEST(closing_calls_back_what_is_in_flight),
        TEST(closing_resets_a_controller_that_does_not_delete),
        TEST(a_queue_that_cannot_be_created_leaves_nothing),
        TEST(too_little_memory_for_a_queue_is_said),
    };

    return cmocka_run_group_tests_name("nvme_queue", tests, NULL, NULL);
}

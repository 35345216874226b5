/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The NVMe driver and <chalk/block.h>, with requests that are wrong and some that are right: what they get is
 * the same in both worlds. The controller's first namespace is written to.
 */
#include <chalk/clock.h>
#include <chalk/main.h>
#include <chalk/nvme.h>

#include <string.h>

#include "nvme_device.h"

#define DEPTH 4u
#define MANY  (2 * DEPTH)
#define LARGE ((size_t)3 << 20) /* more than a command of QEMU's controller moves */

struct world {
    struct chalk_memory *memory;
    struct chalk_domain *domain;
    struct chalk_device *device;
    struct chalk_nvme *nvme;
    struct chalk_block_queue *queue;
    struct chalk_dma buffer; /* eight pages */
    struct chalk_dma large;  /* LARGE bytes */
};

struct outcome {
    unsigned calls;
    int status;
};

static void note(struct chalk_block_request *request, int status)
{
    struct outcome *outcome = request->context;

    outcome->calls++;
    outcome->status = status;
}

/* Part of the buffer. */
static struct chalk_dma piece(const struct world *w, size_t offset, size_t size)
{
    return (struct chalk_dma){(char *)w->buffer.va + offset, w->buffer.iova + offset, size};
}

/* What one request gets: at submission, or else at its end. */
static int attempt(struct world *w, enum chalk_block_op op, uint64_t lba, uint32_t count,
                   const struct chalk_dma *segments, unsigned segment_count)
{
    struct chalk_block_request request = {
        .op = op, .lba = lba, .count = count, .segments = segments, .segment_count = segment_count};

    return chalk_block_do(w->queue, &request, chalk_deadline(20 * CHALK_S));
}

static int read_one(struct world *w, uint64_t lba, uint32_t count, struct chalk_dma segment)
{
    return attempt(w, CHALK_BLOCK_READ, lba, count, &segment, 1);
}

static void drain(struct world *w, const struct outcome *outcomes, unsigned count)
{
    uint64_t deadline = chalk_deadline(20 * CHALK_S);
    unsigned finished = 0;

    while (finished < count && !chalk_expired(deadline)) {
        chalk_block_poll(w->queue, 0);
        finished = 0;
        for (unsigned i = 0; i < count; i++)
            finished += outcomes[i].calls != 0;
    }
}

/* `anywhere`: the queue describes data by pieces that may lie anywhere, not by pages. */
static void bad_requests(struct world *w, bool anywhere)
{
    const int unaligned = anywhere ? 0 : -EINVAL;
    const struct chalk_block_info *info = &w->queue->info;
    const uint32_t size = info->block_size;
    const struct chalk_dma block = piece(w, 0, size);

    expect_result(read_one(w, 0, 1, block), 0, "reading block 0");
    expect_result(read_one(w, info->block_count - 1, 1, block), 0, "reading the last block");
    expect_result(read_one(w, info->block_count, 1, block), -ERANGE, "reading the block after it");
    expect_result(read_one(w, info->block_count - 1, 2, piece(w, 0, 2 * size)), -ERANGE,
                  "reading across the end");
    expect_result(read_one(w, UINT64_MAX, 2, piece(w, 0, 2 * size)), -ERANGE,
                  "reading around the end of all numbers");
    expect_result(read_one(w, 0, 0, block), -EINVAL, "reading 0 blocks");
    expect_result(read_one(w, 0, 2, block), -EINVAL, "reading 2 blocks into the space of 1");
    expect_result(read_one(w, 0, 1, piece(w, 0, 2 * size)), -EINVAL, "reading 1 block into the space of 2");
    expect_result(read_one(w, 0, 1, piece(w, 0, size / 2)), -EINVAL,
                  "reading 1 block into the space of half");
    expect_result(read_one(w, 0, 1, piece(w, 2, size)), unaligned,
                  "reading to an address that is no multiple of 4");
    expect_result(read_one(w, 0, 1, piece(w, 1, size)), unaligned, "reading to an odd address");
    expect_result(attempt(w, CHALK_BLOCK_READ, 0, 1, NULL, 0), -EINVAL, "reading into no segments");
    expect_result(read_one(w, 0, info->max_blocks + 1, piece(w, 0, (size_t)(info->max_blocks + 1) * size)),
                  -EINVAL, "reading more than the most");
    expect_result(attempt(w, (enum chalk_block_op)77, 0, 1, &block, 1), -EINVAL,
                  "an operation that there is not");
    expect_result(attempt(w, CHALK_BLOCK_WRITE, info->block_count, 1, &block, 1), -ERANGE,
                  "writing beyond the end");

    const size_t page = CHALK_PAGE, blocks = 3 * page / size;
    const struct chalk_dma hole[] = {piece(w, 0, page - size), piece(w, page, 2 * page + size)};
    const struct chalk_dma late[] = {piece(w, 0, page), piece(w, page + 8, 2 * page)};
    const struct chalk_dma empty[] = {piece(w, 0, page), piece(w, page, 0), piece(w, page, 2 * page)};
    const struct chalk_dma crumbs[] = {piece(w, 0, page + 2), piece(w, 2 * page, 2 * page - 2)};

    expect_result(attempt(w, CHALK_BLOCK_READ, 0, (uint32_t)blocks, hole, 2), unaligned,
                  "a first segment that ends in mid-page");
    expect_result(attempt(w, CHALK_BLOCK_READ, 0, (uint32_t)blocks, late, 2), unaligned,
                  "a second segment that starts in mid-page");
    expect_result(attempt(w, CHALK_BLOCK_READ, 0, (uint32_t)blocks, empty, 3), -EINVAL,
                  "a segment of no bytes");
    expect_result(attempt(w, CHALK_BLOCK_READ, 0, (uint32_t)blocks, crumbs, 2), unaligned,
                  "segments of odd sizes");
    expect_result(read_one(w, 0, 1, block), 0, "and block 0 can still be read");
}

static void good_requests(struct world *w)
{
    const uint32_t size = w->queue->info.block_size;
    const size_t bytes = 3 * CHALK_PAGE;
    const uint32_t count = (uint32_t)(bytes / size);
    unsigned char *to = w->buffer.va, *back = to + 4 * CHALK_PAGE;
    /* Written out of one piece, read back into three whose pages are not in order: the first starts at byte 8
     * of its page. */
    const struct chalk_dma whole = piece(w, 0, bytes);
    const struct chalk_dma parts[] = {piece(w, 6 * CHALK_PAGE + 8, CHALK_PAGE - 8),
                                      piece(w, 4 * CHALK_PAGE, CHALK_PAGE),
                                      piece(w, 7 * CHALK_PAGE, CHALK_PAGE), piece(w, 5 * CHALK_PAGE, 8)};

    memset(back, 0, 4 * CHALK_PAGE);
    for (size_t i = 0; i < bytes; i++)
        to[i] = (unsigned char)(i * 7 + i / 256);
    expect_result(attempt(w, CHALK_BLOCK_WRITE, 5, count, &whole, 1), 0, "writing three pages from block 5");
    expect_result(attempt(w, CHALK_BLOCK_FLUSH, 0, 0, NULL, 0), 0, "flushing");
    expect_result(attempt(w, CHALK_BLOCK_READ, 5, count, parts, 4), 0, "reading them back in four pieces");

    bool same = true;
    size_t position = 0;

    for (unsigned i = 0; i < 4; position += parts[i++].size)
        same &= memcmp(parts[i].va, to + position, parts[i].size) == 0;
    expect(same && position == bytes, "gives what was written");
    expect(back[2 * CHALK_PAGE] == 0 && back[2 * CHALK_PAGE + 7] == 0, "and nothing before it");
    expect(back[CHALK_PAGE + 8] == 0, "and nothing behind it");
}

/* A request without segments, or with the first `count` blocks of the buffer. */
static int plainly(struct world *w, enum chalk_block_op op, unsigned flags, uint64_t lba, uint32_t count,
                   bool data)
{
    const struct chalk_dma whole = piece(w, 0, (size_t)count * w->queue->info.block_size);
    struct chalk_block_request request = {.op = op,
                                          .flags = (uint8_t)flags,
                                          .lba = lba,
                                          .count = count,
                                          .segments = data ? &whole : NULL,
                                          .segment_count = data};

    return chalk_block_do(w->queue, &request, chalk_deadline(20 * CHALK_S));
}

static bool all_are(const struct chalk_dma *memory, size_t size, unsigned char byte)
{
    const unsigned char *bytes = memory->va;

    while (size != 0 && bytes[size - 1] == byte)
        size--;
    return size == 0;
}

static void other_operations(struct world *w)
{
    const struct chalk_block_info *info = &w->queue->info;
    const size_t bytes = 16 * (size_t)info->block_size;

    /* QEMU's controller can verify, but does not say so. */
    expect(info->operations == ((2u << CHALK_BLOCK_DRIVER) - 1) - (1u << CHALK_BLOCK_VERIFY),
           "has all operations that the controller says it has");
    memset(w->buffer.va, 0x5a, bytes);
    expect_result(plainly(w, CHALK_BLOCK_WRITE, CHALK_BLOCK_FUA, 64, 16, true), 0,
                  "writing through the cache");
    expect_result(plainly(w, CHALK_BLOCK_COMPARE, 0, 64, 16, true), 0, "comparing what was written");
    ((unsigned char *)w->buffer.va)[bytes - 1] ^= 1;
    expect_result(plainly(w, CHALK_BLOCK_COMPARE, 0, 64, 16, true), -EILSEQ,
                  "comparing with one bit changed");
    expect_result(plainly(w, CHALK_BLOCK_VERIFY, 0, 64, 16, false), -ENOTSUP, "verifying it");
    expect_result(plainly(w, CHALK_BLOCK_WRITE_ZEROES, 0, 64, 15, false), 0,
                  "writing zeroes over most of it");
    expect_result(plainly(w, CHALK_BLOCK_READ, CHALK_BLOCK_FUA, 64, 16, true), 0,
                  "reading it from the medium");
    expect(all_are(&w->buffer, bytes - info->block_size, 0), "gives the zeroes");
    expect(((unsigned char *)w->buffer.va)[bytes - 1] == 0x5a, "and the rest as it was");
    expect_result(plainly(w, CHALK_BLOCK_DISCARD, 0, 64, 16, false), 0, "discarding it");
    expect_result(plainly(w, CHALK_BLOCK_DISCARD, 0, info->block_count - 1, 2, false), -ERANGE,
                  "discarding across the end");
    expect_result(plainly(w, CHALK_BLOCK_WRITE_ZEROES, 0, 0, 0, false), -EINVAL, "writing no zeroes");
    expect_result(plainly(w, CHALK_BLOCK_WRITE, 0x40, 64, 16, true), -ENOTSUP, "a flag that there is not");
}

static void long_requests(struct world *w)
{
    const uint32_t count = (uint32_t)(LARGE / w->queue->info.block_size);
    unsigned char *bytes = w->large.va;
    const struct chalk_dma halves[] = {
        {bytes + LARGE / 2, w->large.iova + LARGE / 2, LARGE / 2},
        {bytes, w->large.iova, LARGE / 2},
    };
    bool same = true;

    expect(count > w->queue->info.command_blocks, "a request of several commands");
    for (size_t i = 0; i < LARGE; i++)
        bytes[i] = (unsigned char)(i * 3 + i / 4096);
    expect_result(attempt(w, CHALK_BLOCK_WRITE, 1000, count, &w->large, 1), 0, "is written");
    memset(bytes, 0, LARGE);
    expect_result(attempt(w, CHALK_BLOCK_READ, 1000, count, halves, 2), 0, "and read in two pieces");
    for (size_t i = 0; i < LARGE; i++)
        same &= bytes[(i + LARGE / 2) % LARGE] == (unsigned char)(i * 3 + i / 4096);
    expect(same, "with the data that it had");
    expect_result(attempt(w, CHALK_BLOCK_WRITE_ZEROES, 1, (uint32_t)w->queue->info.block_count - 1, NULL, 0),
                  0, "writing zeroes over nearly all there is");
    expect_result(attempt(w, CHALK_BLOCK_READ, 1000, count, &w->large, 1), 0, "and reading some");
    expect(all_are(&w->large, LARGE, 0), "gives zeroes");
    expect(w->queue->counters.submitted == w->queue->counters.completed, "leaves nothing under way");
}

static void own_commands(struct world *w)
{
    const struct chalk_dma block = piece(w, 0, w->queue->info.block_size);
    struct chalk_nvme_request request = {
        .block = {.op = CHALK_BLOCK_DRIVER, .segments = &block, .segment_count = 1},
        .command = {.opcode = 0x02, .nsid = 1, .cdw10 = 1000},
    };

    expect_result(chalk_block_do(w->queue, &request.block, chalk_deadline(20 * CHALK_S)), 0,
                  "a read, by hand");
    expect(all_are(&w->buffer, block.size, 0), "reads");
    expect(request.status == 0, "with success");
    request.block.segment_count = 0;
    request.command.opcode = 0x0c;
    expect_result(chalk_block_do(w->queue, &request.block, chalk_deadline(20 * CHALK_S)), 0,
                  "a verify, by hand");
    request.block.segment_count = 1;
    request.command.opcode = 0x02;
    request.command.cdw11 = UINT32_MAX;
    expect_result(chalk_block_do(w->queue, &request.block, chalk_deadline(20 * CHALK_S)), -ERANGE,
                  "the same of a block that there is not");
    expect((request.status & 0x7ff) == 0x080, "has the controller's status");
}

static void many_requests(struct world *w)
{
    const struct chalk_block_counters before = w->queue->counters;
    struct chalk_block_request requests[MANY] = {0};
    struct chalk_block_request *batch[MANY];
    struct outcome outcomes[MANY] = {0};
    struct chalk_dma segments[MANY];
    bool once = true, good = true;

    for (unsigned i = 0; i < MANY; i++) {
        segments[i] = piece(w, i * CHALK_PAGE, w->queue->info.block_size);
        requests[i] = (struct chalk_block_request){
            .op = CHALK_BLOCK_READ,
            .lba = i,
            .count = 1,
            .segments = &segments[i],
            .segment_count = 1,
            .done = note,
            .context = &outcomes[i],
        };
        batch[i] = &requests[i];
    }
    expect(w->queue->info.depth == DEPTH, "the queue is as deep as was asked");
    expect_result(chalk_block_submit(w->queue, batch, MANY), (int)DEPTH, "submitting twice its depth");
    expect_result(chalk_block_submit(w->queue, batch + DEPTH, 1), -EAGAIN, "submitting one more");
    chalk_block_kick(w->queue);
    chalk_block_kick(w->queue);
    drain(w, outcomes, DEPTH);
    expect(w->queue->counters.submitted - before.submitted == DEPTH, "counts what was submitted");

    requests[DEPTH + 1].lba = UINT64_MAX;
    expect_result(chalk_block_submit(w->queue, batch + DEPTH, 3), 1,
                  "submitting three of which the second is wrong");
    expect_result(chalk_block_submit(w->queue, batch + DEPTH + 1, 2), -ERANGE,
                  "submitting the wrong one first");
    chalk_block_kick(w->queue);
    drain(w, outcomes, DEPTH + 1);
    for (unsigned i = 0; i < MANY; i++) {
        once &= outcomes[i].calls == (i <= DEPTH);
        good &= outcomes[i].status == 0;
    }
    expect(once, "each that was taken is called back once, and no other");
    expect(good, "with success");
    expect(w->queue->counters.completed - before.completed == DEPTH + 1, "counts what was completed");
    expect(w->queue->counters.failed == before.failed, "and nothing as failed");
}

static void queues(struct world *w)
{
    struct chalk_nvme_namespace ns;
    struct chalk_block_queue *queue;
    const struct {
        uint32_t nsid;
        int error;
        const char *what;
    } cases[] = {
        {0, -ENOENT, "a queue on namespace 0"},
        {200, -ENOENT, "a queue on namespace 200"},
        {UINT32_MAX, -ENOENT, "a queue on all namespaces"},
    };

    expect_result(chalk_nvme_next_namespace(w->nvme, 0, &ns), 0, "the first namespace");
    expect(ns.nsid == 1 && ns.block_size == 512 && ns.metadata_size == 0, "is number 1, of 512-byte blocks");
    expect_result(chalk_nvme_next_namespace(w->nvme, 1, &ns), 0, "the second namespace");
    expect(ns.nsid == 2 && ns.block_size == 4096 && ns.metadata_size == 0,
           "is number 2, of 4096-byte blocks");
    expect_result(chalk_nvme_next_namespace(w->nvme, UINT32_MAX, &ns), -ENOENT, "one after the last number");
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        expect_result(
            chalk_nvme_queue_open(w->nvme, &(struct chalk_nvme_queue_options){.nsid = cases[i].nsid}, &queue),
            cases[i].error, cases[i].what);
    if (!expect_result(chalk_nvme_queue_open(
                           w->nvme, &(struct chalk_nvme_queue_options){.nsid = 2, .depth = 65534}, &queue),
                       0, "the deepest queue"))
        return;
    expect(queue->info.depth >= DEPTH && queue->info.depth < 65534, "is as deep as the controller can");
    expect(queue->info.block_size == 4096, "and has the blocks of its namespace");
    chalk_nvme_queue_close(queue);
}

static void one_queue(struct world *w, bool interrupts, bool pages_only)
{
    const struct chalk_nvme_queue_options options = {
        .nsid = 1, .depth = DEPTH, .interrupts = interrupts, .pages_only = pages_only};

    if (!expect_result(chalk_nvme_queue_open(w->nvme, &options, &w->queue), 0,
                       interrupts ? "a queue with interrupts" : "a queue without interrupts"))
        return;
    expect((w->queue->info.boundary == 1) == !pages_only, "takes data as it should");
    bad_requests(w, !pages_only);
    good_requests(w);
    other_operations(w);
    long_requests(w);
    own_commands(w);
    many_requests(w);
    chalk_core_wait(0, 0, 0);
    if (interrupts)
        expect(*w->queue->interrupts != 0, "it has interrupted");
    else
        expect(w->queue->interrupts == NULL, "it has no interrupts");
    chalk_nvme_queue_close(w->queue);
}

/* Closes a queue under requests that were kicked, never polled for. */
static void closing(struct world *w)
{
    struct chalk_block_request requests[DEPTH];
    struct chalk_block_request *batch[DEPTH];
    struct outcome outcomes[DEPTH] = {0};
    struct chalk_dma segments[DEPTH];
    bool once = true, known = true;

    if (!expect_result(chalk_nvme_queue_open(
                           w->nvme, &(struct chalk_nvme_queue_options){.nsid = 1, .depth = DEPTH}, &w->queue),
                       0, "another queue"))
        return;
    for (unsigned i = 0; i < DEPTH; i++) {
        segments[i] = piece(w, i * CHALK_PAGE, CHALK_PAGE);
        requests[i] = (struct chalk_block_request){
            .op = CHALK_BLOCK_READ,
            .lba = i,
            .count = (uint32_t)(CHALK_PAGE / w->queue->info.block_size),
            .segments = &segments[i],
            .segment_count = 1,
            .done = note,
            .context = &outcomes[i],
        };
        batch[i] = &requests[i];
    }
    expect_result(chalk_block_submit(w->queue, batch, DEPTH), (int)DEPTH,
                  "with as many requests as it takes");
    chalk_block_kick(w->queue);
    chalk_nvme_queue_close(w->queue);
    for (unsigned i = 0; i < DEPTH; i++) {
        once &= outcomes[i].calls == 1;
        known &= outcomes[i].status == 0 || outcomes[i].status == -ECANCELED;
    }
    expect(once, "closed, calls each back once");
    expect(known, "finished or cancelled");
}

int chalk_main(int argc, char *argv[])
{
    static const char *const rounds[] = {"opening the controller", "opening it with interrupts",
                                         "opening it with doorbells in memory, if it can"};
    struct world w = {0};

    (void)argc;
    (void)argv;
    if (!open_nvme(32u << 20, &w.memory, &w.domain, &w.device))
        return 1;
    for (unsigned round = 0; round < 3; round++) {
        const struct chalk_nvme_options options = {
            .memory = w.memory, .domain = w.domain, .interrupts = round == 1, .shadow_doorbells = round == 2};

        if (!expect_result(chalk_nvme_open(w.device, &options, &w.nvme), 0, rounds[round]))
            break;
        if (expect_result(chalk_dma_get(w.memory, 8 * CHALK_PAGE, CHALK_PAGE, &w.buffer), 0, "a buffer") &&
            expect_result(chalk_dma_get(w.memory, LARGE, CHALK_PAGE, &w.large), 0, "and a large one")) {
            queues(&w);
            one_queue(&w, round == 1, true);
            one_queue(&w, round == 1, false);
            closing(&w);
            chalk_dma_put(w.memory, &w.large);
            chalk_dma_put(w.memory, &w.buffer);
        }
        chalk_nvme_close(w.nvme);
    }

    struct chalk_memory_usage usage;

    chalk_memory_get_usage(w.memory, &usage);
    expect(usage.shared_used == 0, "the driver has given its memory back");
    close_nvme(w.memory, w.domain, w.device);
    return twin_failures != 0;
}

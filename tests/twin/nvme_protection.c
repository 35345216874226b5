/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Metadata and protection information, made by the controller and by the driver, on the controller's third
 * namespace, whose format has eight bytes of metadata and protection of type 1. It is written to. Doorbells
 * are in memory.
 */
#include <chalk/clock.h>
#include <chalk/main.h>
#include <chalk/nvme.h>

#include <string.h>

#include "nvme_device.h"

#define NSID  3
#define MOST  2000u /* blocks: more than a command of QEMU's controller has */
#define BLOCK 512u

struct world {
    struct chalk_memory *memory;
    struct chalk_domain *domain;
    struct chalk_device *device;
    struct chalk_nvme *nvme;
    struct chalk_block_queue *queue;
    struct chalk_dma data, metadata;
};

static bool open_queue(struct world *w, enum chalk_nvme_protection protection, const char *what)
{
    const struct chalk_nvme_queue_options options = {.nsid = NSID, .depth = 4, .protection = protection};

    return expect_result(chalk_nvme_queue_open(w->nvme, &options, &w->queue), 0, what);
}

static int transfer(struct world *w, enum chalk_block_op op, uint64_t lba, uint32_t count, uint16_t tag)
{
    const struct chalk_dma data = {w->data.va, w->data.iova, (size_t)count * BLOCK};
    const struct chalk_dma metadata = {w->metadata.va, w->metadata.iova, (size_t)count * 8};
    struct chalk_block_request request = {.op = op,
                                          .lba = lba,
                                          .count = count,
                                          .segments = &data,
                                          .segment_count = 1,
                                          .metadata = w->queue->info.metadata_size != 0 ? &metadata : NULL,
                                          .tag = tag,
                                          .tag_mask = tag != 0 ? 0xffff : 0};

    return chalk_block_do(w->queue, &request, chalk_deadline(20 * CHALK_S));
}

static void fill(struct world *w, unsigned seed)
{
    unsigned char *bytes = w->data.va;

    for (size_t i = 0; i < MOST * BLOCK; i++)
        bytes[i] = (unsigned char)(i * 7 + i / 512 + seed);
}

static bool filled(const struct world *w, uint32_t count, unsigned seed)
{
    const unsigned char *bytes = w->data.va;
    bool same = true;

    for (size_t i = 0; i < count * BLOCK; i++)
        same &= bytes[i] == (unsigned char)(i * 7 + i / 512 + seed);
    return same;
}

static void by_controller(struct world *w)
{
    if (!open_queue(w, CHALK_NVME_PROTECT_CONTROLLER, "a queue that leaves protection to the controller"))
        return;
    expect(w->queue->info.metadata_size == 0, "moves no metadata");
    for (uint32_t count = 1; count <= MOST; count += MOST - 1) {
        fill(w, 1);
        expect_result(transfer(w, CHALK_BLOCK_WRITE, 10, count, 0x1234), 0, "writing");
        memset(w->data.va, 0, MOST * BLOCK);
        expect_result(transfer(w, CHALK_BLOCK_READ, 10, count, 0x1234), 0, "reading");
        expect(filled(w, count, 1), "gives what was written");
        expect_result(transfer(w, CHALK_BLOCK_READ, 10, count, 0), 0, "reading without looking at the tag");
        expect_result(transfer(w, CHALK_BLOCK_READ, 10, count, 0x1235), -EILSEQ, "reading with another tag");
    }
    expect_result(transfer(w, CHALK_BLOCK_COMPARE, 10, 1, 0), -ENOTSUP, "comparing");
    expect_result(transfer(w, CHALK_BLOCK_WRITE_ZEROES, 10, 5, 0x77), 0, "writing zeroes");
    expect_result(transfer(w, CHALK_BLOCK_READ, 10, 5, 0x77), 0, "whose protection is right, too");
    chalk_nvme_queue_close(w->queue);
}

static void by_driver(struct world *w)
{
    unsigned char *metadata = w->metadata.va;

    if (!open_queue(w, CHALK_NVME_PROTECT_DRIVER, "a queue whose driver protects"))
        return;
    expect(w->queue->info.metadata_size == 8, "moves metadata");
    for (uint32_t count = 1; count <= MOST; count += MOST - 1) {
        fill(w, 2);
        memset(metadata, 0xee, MOST * 8);
        expect_result(transfer(w, CHALK_BLOCK_WRITE, 20, count, 0x4321), 0,
                      "writing what the controller accepts");
        expect(metadata[2] == 0x43 && metadata[3] == 0x21 && metadata[7] == 20, "with the driver's tags");
        memset(w->data.va, 0, MOST * BLOCK);
        memset(metadata, 0, MOST * 8);
        expect_result(transfer(w, CHALK_BLOCK_READ, 20, count, 0x4321), 0, "reading what the driver accepts");
        expect(filled(w, count, 2), "gives what was written");
        expect(metadata[(count - 1) * 8 + 2] == 0x43, "and its metadata");
        expect_result(transfer(w, CHALK_BLOCK_COMPARE, 20, count, 0x4321), 0, "comparing");
        expect_result(transfer(w, CHALK_BLOCK_READ, 20, count, 0x4320), -EILSEQ, "reading with another tag");
    }
    expect_result(transfer(w, CHALK_BLOCK_READ, 3 * MOST, 1, 0), 0, "reading what was never written");
    chalk_nvme_queue_close(w->queue);
}

/* The metadata is the caller's, who can get it wrong, and then notices with a queue that looks at it. */
static void by_nobody(struct world *w)
{
    const struct chalk_dma data = {w->data.va, w->data.iova, BLOCK};
    struct chalk_dma metadata = {w->metadata.va, w->metadata.iova, 8};
    struct chalk_block_request request = {
        .op = CHALK_BLOCK_WRITE, .lba = 5, .count = 1, .segments = &data, .segment_count = 1};

    if (!open_queue(w, CHALK_NVME_PROTECT_NOT, "a queue without protection"))
        return;
    expect_result(chalk_block_do(w->queue, &request, chalk_deadline(20 * CHALK_S)), -EINVAL, "no metadata");
    request.metadata = &metadata;
    metadata.size = 16;
    expect_result(chalk_block_do(w->queue, &request, chalk_deadline(20 * CHALK_S)), -EINVAL,
                  "too much of it");
    metadata.size = 8;
    metadata.iova += 2;
    expect_result(chalk_block_do(w->queue, &request, chalk_deadline(20 * CHALK_S)), -EINVAL,
                  "metadata at an address that is no multiple of 4");
    metadata.iova -= 2;
    fill(w, 3);
    memset(w->metadata.va, 0x5a, 8);
    expect_result(transfer(w, CHALK_BLOCK_WRITE, 5, 1, 0), 0, "writing a block with any metadata");
    memset(w->metadata.va, 0, 8);
    expect_result(transfer(w, CHALK_BLOCK_READ, 5, 1, 0), 0, "reading it");
    expect(((unsigned char *)w->metadata.va)[7] == 0x5a, "gives the metadata");
    chalk_nvme_queue_close(w->queue);
    if (!open_queue(w, CHALK_NVME_PROTECT_CONTROLLER, "a queue that leaves protection to the controller"))
        return;
    expect_result(transfer(w, CHALK_BLOCK_READ, 5, 1, 0), -EILSEQ, "does not believe it");
    chalk_nvme_queue_close(w->queue);
}

int chalk_main(int argc, char *argv[])
{
    struct chalk_nvme_namespace ns;
    struct world w = {0};

    (void)argc;
    (void)argv;
    if (!open_nvme(8u << 20, &w.memory, &w.domain, &w.device))
        return 1;
    if (!expect_result(chalk_nvme_open(w.device,
                                       &(struct chalk_nvme_options){
                                           .memory = w.memory, .domain = w.domain, .shadow_doorbells = true},
                                       &w.nvme),
                       0, "opening the controller"))
        goto close_device;
    expect(chalk_nvme_get_info(w.nvme)->shadow_doorbells, "which finds doorbells in memory");
    expect_result(chalk_nvme_next_namespace(w.nvme, NSID - 1, &ns), 0, "the third namespace");
    expect(ns.metadata_size == 8 && ns.protection == 1 && !ns.interleaved, "has protection of type 1");
    expect_result(chalk_nvme_next_namespace(w.nvme, NSID, &ns), -ENOENT, "a fourth");
    expect_result(chalk_nvme_queue_open(
                      w.nvme,
                      &(struct chalk_nvme_queue_options){.nsid = 1, .protection = CHALK_NVME_PROTECT_DRIVER},
                      &w.queue),
                  -EINVAL, "protecting one that has none");
    if (expect_result(chalk_dma_get(w.memory, MOST * BLOCK, CHALK_PAGE, &w.data), 0, "memory for data") &&
        expect_result(chalk_dma_get(w.memory, MOST * 8, CHALK_PAGE, &w.metadata), 0, "and for metadata")) {
        by_controller(&w);
        by_driver(&w);
        by_nobody(&w);
        chalk_dma_put(w.memory, &w.metadata);
        chalk_dma_put(w.memory, &w.data);
    }
    chalk_nvme_close(w.nvme);
close_device:
    close_nvme(w.memory, w.domain, w.device);
    return twin_failures != 0;
}

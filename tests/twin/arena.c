/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One arena, two devices that know nothing of each other: a block goes from the disk, through the buffer of
 * QEMU's educational device (1234:11e8), back to the disk, and the processor copies none of it. The device's
 * DMA has 28 address bits, so the arena lies below that for both.
 */
#include <chalk/arena.h>
#include <chalk/clock.h>
#include <chalk/device.h>
#include <chalk/main.h>
#include <chalk/mmio.h>
#include <chalk/nvme.h>

#include <string.h>

#include "twin.h"

/* QEMU docs/specs/edu: registers of BAR 0, and where the device's own buffer is for its DMA. */
enum {
    DMA_SOURCE = 0x80,
    DMA_TARGET = 0x88,
    DMA_COUNT = 0x90,
    DMA_COMMAND = 0x98,
    DMA_START = 0x01,
    DMA_TO_MEMORY = 0x02,
    EDU_BUFFER = 0x40000,
    EDU_CLASS = 0x00ff00,
};
#define EDU_ADDRESS_MAX ((1ull << 28) - 1)

static struct chalk_memory *memory;
static struct chalk_arena *arena;

struct edu {
    struct chalk_domain *domain;
    struct chalk_device *device;
    struct chalk_mmio registers;
};

struct disk {
    struct chalk_domain *domain;
    struct chalk_device *device;
    struct chalk_nvme *nvme;
    struct chalk_block_queue *queue;
};

static bool edu_open(struct edu *edu)
{
    struct chalk_bus_info info = {0};

    return chalk_bus_find(EDU_CLASS, &info) == 0 &&
           chalk_device_open(info.name, &edu->domain, &edu->device) == 0 &&
           chalk_window_map(edu->device, 0, 0, 0x100, CHALK_UNCACHED, &edu->registers) == 0 &&
           chalk_pci_bus_master(edu->device, true) == 0;
}

static int edu_copy(struct edu *edu, uint64_t source, uint64_t target, size_t size, uint32_t direction)
{
    uint64_t deadline = chalk_deadline(5 * CHALK_S);

    chalk_mmio_write64(&edu->registers, DMA_SOURCE, source);
    chalk_mmio_write64(&edu->registers, DMA_TARGET, target);
    chalk_mmio_write64(&edu->registers, DMA_COUNT, size);
    chalk_mmio_write64(&edu->registers, DMA_COMMAND, DMA_START | direction);
    while (chalk_mmio_read64(&edu->registers, DMA_COMMAND) & DMA_START) {
        if (chalk_expired(deadline))
            return -ETIMEDOUT;
        chalk_pause();
    }
    return 0;
}

static bool disk_open(struct disk *disk)
{
    struct chalk_bus_info info = {0};

    return chalk_bus_find(CHALK_CLASS_NVME, &info) == 0 &&
           chalk_device_open(info.name, &disk->domain, &disk->device) == 0 &&
           chalk_memory_share(memory, disk->domain) == 0 &&
           chalk_nvme_open(disk->device,
                           &(struct chalk_nvme_options){.memory = memory, .domain = disk->domain},
                           &disk->nvme) == 0 &&
           chalk_nvme_queue_open(disk->nvme, &(struct chalk_nvme_queue_options){.nsid = 1, .depth = 4},
                                 &disk->queue) == 0;
}

static void disk_close(struct disk *disk)
{
    chalk_nvme_queue_close(disk->queue);
    chalk_nvme_close(disk->nvme);
    chalk_memory_unshare(memory, disk->domain);
    chalk_device_close(disk->device);
}

static int disk_do(struct disk *disk, unsigned op, uint64_t lba, const struct chalk_dma *page)
{
    struct chalk_dma segment = {page->va, page->iova, disk->queue->info.block_size};
    struct chalk_block_request request = {
        .op = op, .lba = lba, .count = 1, .segments = &segment, .segment_count = 1};

    return chalk_block_do(disk->queue, &request, chalk_deadline(10 * CHALK_S));
}

static void from_device_to_device(struct edu *edu, struct disk *disk)
{
    const unsigned both = CHALK_DEVICE_READS | CHALK_DEVICE_WRITES;
    size_t size = disk->queue->info.block_size;
    struct chalk_dma first, second, third;

    expect_result(chalk_arena_share(arena, disk->domain, both), 0, "the disk reaches the arena");
    expect_result(chalk_arena_share(arena, edu->domain, both), 0, "so does the other device");
    expect_result(chalk_arena_share(arena, edu->domain, both), 0, "which is told twice");
    expect_result(chalk_arena_share(arena, edu->domain, CHALK_DEVICE_READS), -EEXIST,
                  "and cannot be told otherwise meanwhile");
    expect_result(chalk_arena_get(arena, size, 1, &first), 0, "a page");
    expect_result(chalk_arena_get(arena, size, 1, &second), 0, "a second one");
    expect_result(chalk_arena_get(arena, size, 1, &third), 0, "a third one");
    expect(third.iova + size - 1 <= EDU_ADDRESS_MAX, "within 28 address bits");

    memset(first.va, 0x42, size);
    expect_result(disk_do(disk, CHALK_BLOCK_WRITE, 7, &first), 0, "block 7 is written");
    memset(first.va, 0, size);
    expect_result(disk_do(disk, CHALK_BLOCK_READ, 7, &first), 0, "and read back by the disk");
    expect_result(edu_copy(edu, first.iova, EDU_BUFFER, size, 0), 0, "fetched by the other device");
    expect_result(edu_copy(edu, EDU_BUFFER, second.iova, size, DMA_TO_MEMORY), 0, "returned elsewhere");
    expect_result(disk_do(disk, CHALK_BLOCK_WRITE, 8, &second), 0, "written from there to block 8");
    expect_result(disk_do(disk, CHALK_BLOCK_READ, 8, &third), 0, "block 8 is read");
    expect(memcmp(third.va, first.va, size) == 0 && *(char *)third.va == 0x42,
           "and has what block 7 had, though the processor copied nothing");

    chalk_arena_put(arena, &third);
    chalk_arena_put(arena, &second);
    chalk_arena_put(arena, &first);
    chalk_arena_unshare(arena, edu->domain);
    chalk_arena_unshare(arena, edu->domain);
    chalk_arena_unshare(arena, disk->domain);
}

/* What a device only reads, it reads; that it cannot write there is for the IOMMU to show (dma-fault). */
static void read_only(struct disk *disk)
{
    struct chalk_dma page;

    expect_result(chalk_arena_share(arena, disk->domain, CHALK_DEVICE_READS), 0, "the disk may only read");
    expect_result(chalk_arena_get(arena, CHALK_PAGE, 1, &page), 0, "a page");
    memset(page.va, 0x17, CHALK_PAGE);
    expect_result(disk_do(disk, CHALK_BLOCK_WRITE, 9, &page), 0, "which it writes to block 9");
    chalk_arena_put(arena, &page);
    chalk_arena_unshare(arena, disk->domain);
}

int chalk_main(int argc, char *argv[])
{
    struct edu edu = {0};
    struct disk disk = {0};

    (void)argc;
    (void)argv;
    expect_result(chalk_arena_create(&(struct chalk_arena_options){.size = (size_t)1 << 20,
                                                                   .max_address = EDU_ADDRESS_MAX,
                                                                   .name = "blocks"},
                                     &arena),
                  0, "an arena below 2^28");
    if (expect_result(chalk_memory_create(NULL, &memory), 0, "memory") &&
        expect(edu_open(&edu), "one device opens") && expect(disk_open(&disk), "and a disk") &&
        expect(edu.domain != disk.domain, "in domains of their own")) {
        from_device_to_device(&edu, &disk);
        read_only(&disk);
        disk_close(&disk);
        chalk_pci_bus_master(edu.device, false);
        chalk_device_close(edu.device);
        chalk_memory_destroy(memory);
        chalk_arena_destroy(arena);
    }
    return twin_failures != 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * trace-disk READS LBA BLOCKS: reads so many blocks of the first NVMe disk, and leaves the trace of that, two
 * rings, in BLOCKS blocks of the disk from LBA on. For data.py, which looks there.
 */
#include <chalk/clock.h>
#include <chalk/device.h>
#include <chalk/main.h>
#include <chalk/nvme.h>
#include <chalk/trace.h>
#include <chalk/trace_disk.h>

#include <stdio.h>
#include <stdlib.h>

#define RECORDS 4096

static struct chalk_trace reads, marks;
static uint64_t reads_records[RECORDS * CHALK_TRACE_RECORD / 8],
    marks_records[RECORDS * CHALK_TRACE_RECORD / 8];

static int read_traced(struct chalk_block_queue *queue, const struct chalk_dma *buffer, unsigned count)
{
    const struct chalk_dma segment = {buffer->va, buffer->iova, queue->info.block_size};
    int error = chalk_trace_init(&reads, 0, reads_records, RECORDS);

    if (error == 0)
        error = chalk_trace_init(&marks, 1, marks_records, RECORDS);
    queue->trace = &reads;
    for (unsigned i = 0; i < count && error == 0; i++) {
        struct chalk_block_request request = {
            .op = CHALK_BLOCK_READ, .lba = i, .count = 1, .segments = &segment, .segment_count = 1};

        chalk_trace_emit(&marks, CHALK_TRACE_MARK, 7, i, 0);
        error = chalk_block_do(queue, &request, chalk_deadline(20 * CHALK_S));
    }
    queue->trace = NULL;
    return error;
}

static int write_trace(struct chalk_block_queue *queue, const struct chalk_dma *buffer, uint64_t lba,
                       uint64_t blocks)
{
    static struct chalk_trace_disk disk;
    int error = chalk_trace_disk_start(&disk, queue, buffer, lba, blocks);

    if (error == 0)
        error = chalk_trace_write(&reads, chalk_trace_disk_line, &disk);
    if (error == 0)
        error = chalk_trace_write(&marks, chalk_trace_disk_line, &disk);
    if (error == 0)
        error = chalk_trace_disk_end(&disk);
    return error;
}

int chalk_main(int argc, char *argv[])
{
    unsigned reads_count;
    uint64_t lba, blocks;
    struct chalk_bus_info found = {0};
    struct chalk_memory *memory;
    struct chalk_domain *domain = NULL;
    struct chalk_device *device;
    struct chalk_block_queue *queue;
    struct chalk_nvme *nvme;
    struct chalk_dma buffer;
    int error;

    if (argc != 4)
        return 2;
    reads_count = (unsigned)atoi(argv[1]);
    lba = strtoull(argv[2], NULL, 10);
    blocks = strtoull(argv[3], NULL, 10);
    if (chalk_bus_find(CHALK_CLASS_NVME, &found) != 0 || chalk_memory_create(NULL, &memory) != 0 ||
        chalk_dma_get(memory, 64 << 10, CHALK_PAGE, &buffer) != 0 ||
        chalk_device_open(found.name, &domain, &device) != 0 || chalk_memory_share(memory, domain) != 0 ||
        chalk_nvme_open(device, &(struct chalk_nvme_options){.memory = memory, .domain = domain}, &nvme) !=
            0 ||
        chalk_nvme_queue_open(nvme, &(struct chalk_nvme_queue_options){.nsid = 1, .depth = 4}, &queue) != 0)
        return 2;
    error = read_traced(queue, &buffer, reads_count);
    if (error == 0)
        error = write_trace(queue, &buffer, lba, blocks);
    printf("%s\n", error == 0 ? "the trace is on the disk" : chalk_error_name(error));
    chalk_nvme_queue_close(queue);
    chalk_nvme_close(nvme);
    chalk_memory_unshare(memory, domain);
    chalk_device_close(device);
    chalk_dma_put(memory, &buffer);
    chalk_memory_destroy(memory);
    return error != 0;
}

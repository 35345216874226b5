/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A plugin that drives an NVMe device: it must start, work, stop, and start again inside a process that is
 * not Chalk's, and leave nothing of it behind.
 */
#include <chalk/clock.h>
#include <chalk/device.h>
#include <chalk/hosted.h>
#include <chalk/nvme.h>

#include <stdio.h>

int plugin_read_block(const char *address, unsigned char first[16]);

/* Opens everything, reads block 0, and closes everything. */
__attribute__((visibility("default"))) int plugin_read_block(const char *address, unsigned char first[16])
{
    struct chalk_memory *memory = NULL;
    struct chalk_domain *domain = NULL;
    struct chalk_device *device = NULL;
    struct chalk_nvme *nvme = NULL;
    struct chalk_block_queue *queue = NULL;
    struct chalk_dma buffer;

    int error = chalk_start(NULL);
    if (error)
        return error;
    error = chalk_memory_create(NULL, &memory);
    if (error)
        goto stop;
    error = chalk_device_open(address, &domain, &device);
    if (error)
        goto destroy;
    error = chalk_memory_share(memory, domain);
    if (error)
        goto close_device;
    error = chalk_nvme_open(device, &(struct chalk_nvme_options){.memory = memory, .domain = domain}, &nvme);
    if (error)
        goto unshare;
    error = chalk_nvme_queue_open(nvme, &(struct chalk_nvme_queue_options){.nsid = 1, .depth = 4}, &queue);
    if (error)
        goto close_nvme;
    error = chalk_dma_get(memory, queue->info.block_size, CHALK_PAGE, &buffer);
    if (error)
        goto close_queue;
    struct chalk_dma segment = {.va = buffer.va, .iova = buffer.iova, .size = queue->info.block_size};
    struct chalk_block_request request = {
        .op = CHALK_BLOCK_READ, .count = 1, .segments = &segment, .segment_count = 1};
    error = chalk_block_do(queue, &request, chalk_deadline(5 * CHALK_S));
    chalk_dma_observe(first, buffer.va, 16);
    chalk_dma_put(memory, &buffer);
close_queue:
    chalk_nvme_queue_close(queue);
close_nvme:
    chalk_nvme_close(nvme);
unshare:
    chalk_memory_unshare(memory, domain);
close_device:
    chalk_device_close(device);
destroy:
    chalk_memory_destroy(memory);
stop:
    chalk_stop();
    return error;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reads the first blocks of an NVMe disk and shows how each begins: everything from finding the controller to
 * closing it, in the order in which any program does it. The platform and the driver log why something
 * failed.
 */
#include <chalk/clock.h>
#include <chalk/device.h>
#include <chalk/error.h>
#include <chalk/main.h>
#include <chalk/nvme.h>

#include <stdio.h>
#include <string.h>

#define BLOCKS 4

static int read_blocks(struct chalk_block_queue *queue, struct chalk_memory *memory)
{
    /* Not on the stack: a request that is late is the device's, with all that it names, until its queue is
     * closed. */
    static struct chalk_block_request request;
    static struct chalk_dma buffer;
    const uint32_t size = queue->info.block_size;

    /* Memory that the device may write, with the address that the device knows it by. */
    int error = chalk_dma_get(memory, BLOCKS * size, CHALK_PAGE, &buffer);
    if (error)
        return error;
    buffer.size = BLOCKS * size; /* exactly what the request moves */

    /* One request, waited for. Many at once: chalk_block_submit(), chalk_block_kick(), chalk_block_poll(). */
    request = (struct chalk_block_request){
        .op = CHALK_BLOCK_READ, .lba = 0, .count = BLOCKS, .segments = &buffer, .segment_count = 1};
    error = chalk_block_do(queue, &request, chalk_deadline(5 * CHALK_S));
    for (unsigned i = 0; i < BLOCKS && error == 0; i++) {
        unsigned char start[16]; /* copied once: the device could still be writing the original */

        chalk_dma_observe(start, (char *)buffer.va + i * size, sizeof(start));
        printf("block %u:", i);
        for (unsigned j = 0; j < sizeof(start); j++)
            printf(" %02x", start[j]);
        printf("\n");
    }
    if (error != -ETIMEDOUT) /* then the device may still write into it */
        chalk_dma_put(memory, &buffer);
    return error;
}

/* Tells how to call the program. Returns the exit status: 2 for a wrong command line, as many programs do. */
static int usage(bool asked)
{
    fprintf(
        asked ? stdout : stderr,
        "usage: read-blocks [DEVICE]\n"
        "DEVICE is the PCI address of an NVMe disk, or vfio-user:SOCKET; if absent, the first on the bus.\n");
    return asked ? 0 : 2;
}

int chalk_main(int argc, char *argv[])
{
    struct chalk_bus_info found = {0};
    struct chalk_memory *memory = NULL;
    struct chalk_domain *domain = NULL; /* what the device may touch: nothing, until we share something */
    struct chalk_device *device = NULL;
    struct chalk_nvme *nvme = NULL;
    struct chalk_block_queue *queue = NULL;
    const char *name = argc > 1 ? argv[1] : found.name;

    if (argc > 2 || (argc == 2 && argv[1][0] == '-'))
        return usage(argc == 2 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0));
    if (argc < 2 && chalk_bus_find(CHALK_CLASS_NVME, &found) != 0) {
        fprintf(
            stderr,
            "read-blocks: no NVMe disk on the bus; name one by its PCI address, or as vfio-user:SOCKET\n");
        return 1;
    }
    int error = chalk_memory_create(NULL, &memory);
    if (!error)
        error = chalk_device_open(name, &domain, &device);
    if (!error)
        error = chalk_memory_share(memory, domain);
    if (!error)
        error = chalk_nvme_open(
            device, &(struct chalk_nvme_options){.memory = memory, .domain = domain, .name = name}, &nvme);
    if (!error)
        error =
            chalk_nvme_queue_open(nvme, &(struct chalk_nvme_queue_options){.nsid = 1, .depth = 8}, &queue);
    if (!error)
        error = read_blocks(queue, memory);
    if (error)
        fprintf(stderr, "read-blocks: cannot read %s: %s\n", name, chalk_error_name(error));

    /* Closed in the reverse order: when memory goes back, no device can reach it any more. */
    if (queue)
        chalk_nvme_queue_close(queue);
    if (nvme)
        chalk_nvme_close(nvme);
    if (device) {
        chalk_memory_unshare(memory, domain);
        chalk_device_close(device);
    }
    if (memory)
        chalk_memory_destroy(memory);
    return error ? 1 : 0;
}

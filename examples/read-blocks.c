/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads the first blocks of an NVMe disk and shows how each begins. The platform and the driver log errors.
 */
#include <chalk/clock.h>
#include <chalk/main.h>
#include <chalk/nvme.h>
#include <stdio.h>
#include <string.h>

static int read_blocks(struct chalk_nvme_disk *disk, unsigned count)
{
    static struct chalk_block_request request; /* if it is late, the device's until its queue is closed */
    const uint32_t size = disk->queue->info.block_size;
    struct chalk_dma buffer; /* memory that the device may write, and the address by which it knows it */
    int error = chalk_dma_get(disk->at.memory, count * size, CHALK_PAGE, &buffer);
    if (error)
        return error;
    buffer.size = count * size; /* exactly what the request moves */
    request = (struct chalk_block_request){
        .op = CHALK_BLOCK_READ, .lba = 0, .count = count, .segments = &buffer, .segment_count = 1};
    error = chalk_block_do(disk->queue, &request, chalk_deadline(5 * CHALK_S));
    for (unsigned i = 0; i < count && !error; i++) {
        unsigned char start[16]; /* copied once: the device could still be writing the original */
        chalk_dma_observe(start, (char *)buffer.va + i * size, sizeof(start));
        printf("block %u:", i);
        for (unsigned j = 0; j < sizeof(start); j++)
            printf(j == 15 ? " %02x\n" : " %02x", start[j]);
    }
    return error; /* the buffer goes with the disk's memory */
}

int chalk_main(int argc, char *argv[])
{
    struct chalk_nvme_disk disk;
    bool help = argc == 2 && (!strcmp(argv[1], "-h") || !strcmp(argv[1], "--help"));
    if (help || argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        fputs("usage: read-blocks [PCI ADDRESS | vfio-user:SOCKET]\n", help ? stdout : stderr);
        return help ? 0 : 2;
    }
    int error = chalk_nvme_attach(argc == 2 ? argv[1] : NULL, NULL, &disk);
    if (!error)
        error = read_blocks(&disk, 4);
    chalk_nvme_detach(&disk);
    return error ? 1 : 0;
}

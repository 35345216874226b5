/* SPDX-License-Identifier: BSD-2-Clause */
/* Prints the checksum of a disk's first block: a program that lives outside Chalk's tree. */
#include <chalk/clock.h>
#include <chalk/crc32c.h>
#include <chalk/main.h>
#include <chalk/nvme.h>
#include <stdio.h>

int chalk_main(int argc, char *argv[])
{
    static struct chalk_block_request read; /* if it is late, the device's until its queue is closed */
    struct chalk_nvme_disk disk;
    struct chalk_dma block;
    int error = chalk_nvme_attach(argc > 1 ? argv[1] : NULL, NULL, &disk);

    if (!error)
        error = chalk_dma_get(disk.at.memory, disk.queue->info.block_size, CHALK_PAGE, &block);
    if (!error) {
        block.size = disk.queue->info.block_size;
        read = (struct chalk_block_request){
            .op = CHALK_BLOCK_READ, .count = 1, .segments = &block, .segment_count = 1};
        error = chalk_block_do(disk.queue, &read, chalk_deadline(5 * CHALK_S));
    }
    if (!error)
        printf("%s: CRC-32C of block 0 is %08x\n", argv[0], chalk_crc32c(0, block.va, block.size));
    chalk_nvme_detach(&disk);
    return error ? 1 : 0;
}

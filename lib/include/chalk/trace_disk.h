/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Traces on a disk: where a program has no files, and its console is a slow serial line.
 *
 *     chalk_trace_disk_start(&disk, queue, &buffer, lba, count);
 *     chalk_trace_write(&trace, chalk_trace_disk_line, &disk);     one ring after the other
 *     chalk_trace_disk_end(&disk);
 *
 * The lines lie in the blocks one behind the other, as in a file; behind them is nothing but zeroes. So
 * tools/trace takes the disk, or the part of it, as it takes a log. Who traces `queue` stops before.
 */
#ifndef CHALK_TRACE_DISK_H
#define CHALK_TRACE_DISK_H

#include <chalk/block.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The fields are private. It stays where it is until the end, and until the queue was closed if there was an
 * error: the last write may still be the device's. */
struct chalk_trace_disk {
    struct chalk_block_queue *queue;
    struct chalk_dma buffer, segment;
    struct chalk_block_request request;
    uint64_t lba, end; /* of the next write; behind the last block */
    size_t used;       /* bytes in the buffer */
    int error;         /* the first one */
};

/*
 * Takes `count` blocks from `lba` on, which are overwritten. `buffer` is the caller's, of shared memory, at
 * least a block, and written as a whole: 64 KiB is a good size. Errors: -EINVAL (a smaller buffer, no
 * blocks), -ERANGE (beyond the last block).
 */
int chalk_trace_disk_start(struct chalk_trace_disk *disk, struct chalk_block_queue *queue,
                           const struct chalk_dma *buffer, uint64_t lba, uint64_t count);

/* For chalk_trace_write(), with the disk as its context. Errors: -ENOSPC (the blocks are full), or as
 * chalk_block_do(); once there was one, every call returns it. */
int chalk_trace_disk_line(void *disk, const char *line, size_t size);

/* Writes what is left, zeroes up to the last block, and flushes. 0, or the first error that there was. */
int chalk_trace_disk_end(struct chalk_trace_disk *disk);

#ifdef __cplusplus
}
#endif
#endif

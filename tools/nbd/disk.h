/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk for threads that are not Chalk's. One thread, which disk_open() starts, owns the controller and its
 * queue; any other may read and write by calls that return when it is done, any number of them at once. Their
 * data is copied, since it lies where no device can reach.
 */
#ifndef TOOLS_NBD_DISK_H
#define TOOLS_NBD_DISK_H

#include <chalk/block.h>

struct disk;

struct disk_options {
    const char *address; /* PCI address of an NVMe controller */
    uint32_t nsid;       /* 0: the first active namespace */
    bool poll;           /* never sleep: the least latency, and a whole processor */
    /* Called once if the device has gone, on a thread of the disk's: it is time for disk_close(), elsewhere.
     */
    void (*gone)(void);
};

/*
 * Brings platform, controller and queue up. On failure it has said why on stderr, has closed what was open,
 * and returns NULL. There is one disk at a time in a process; after disk_close() there may be another.
 */
struct disk *disk_open(const struct disk_options *options);

/* No call is under way any more. */
void disk_close(struct disk *disk);

const struct chalk_block_info *disk_info(const struct disk *disk);

/* Whether the device has an operation. */
bool disk_has(const struct disk *disk, enum chalk_block_op op);

/*
 * Does `op` with `size` bytes at byte `offset`, both multiples of the block size; a flush has none. `flags`
 * are a request's. `data` is NULL for an operation that moves none. More than one request can hold is done in
 * pieces, of which none follows one that failed. Returns 0, or the request's negative errno.
 */
int disk_do(struct disk *disk, enum chalk_block_op op, unsigned flags, void *data, uint64_t size,
            uint64_t offset);

#endif

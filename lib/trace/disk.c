/* SPDX-License-Identifier: BSD-2-Clause */
/* Bytes become blocks: one buffer, and one write at a time. */
#include <chalk/clock.h>
#include <chalk/error.h>
#include <chalk/trace_disk.h>
#include <string.h>

#define PATIENCE (20 * CHALK_S) /* for one write */

int chalk_trace_disk_start(struct chalk_trace_disk *disk, struct chalk_block_queue *queue,
                           const struct chalk_dma *buffer, uint64_t lba, uint64_t count)
{
    const struct chalk_block_info *info = &queue->info;
    size_t blocks = buffer->size / info->block_size;

    if (blocks == 0 || count == 0)
        return -EINVAL;
    if (lba > info->block_count || count > info->block_count - lba)
        return -ERANGE;
    if (blocks > info->max_blocks)
        blocks = info->max_blocks;
    *disk = (struct chalk_trace_disk){.queue = queue, .buffer = *buffer, .lba = lba, .end = lba + count};
    disk->buffer.size = blocks * info->block_size;
    return chalk_trace_disk_line(disk, "\n", 1); /* whatever lies before, the first line begins here */
}

static int perform(struct chalk_trace_disk *disk, struct chalk_block_request request)
{
    disk->request = request;
    disk->error = chalk_block_do(disk->queue, &disk->request, chalk_deadline(PATIENCE));
    return disk->error;
}

/* Writes the buffer, as much of it as there are blocks for. */
static int write_out(struct chalk_trace_disk *disk)
{
    const uint32_t block_size = disk->queue->info.block_size;
    uint32_t count = (uint32_t)(disk->buffer.size / block_size);

    if (count > disk->end - disk->lba)
        count = (uint32_t)(disk->end - disk->lba);
    disk->segment = (struct chalk_dma){disk->buffer.va, disk->buffer.iova, (size_t)count * block_size};
    if (disk->used > disk->segment.size)
        disk->error = -ENOSPC;
    else if (perform(disk, (struct chalk_block_request){.op = CHALK_BLOCK_WRITE,
                                                        .lba = disk->lba,
                                                        .count = count,
                                                        .segments = &disk->segment,
                                                        .segment_count = 1}) == 0)
        disk->lba += count;
    disk->used = 0;
    return disk->error;
}

int chalk_trace_disk_line(void *context, const char *line, size_t size)
{
    struct chalk_trace_disk *disk = context;

    while (disk->error == 0 && size > 0) {
        size_t room = disk->buffer.size - disk->used, part = size < room ? size : room;

        memcpy((char *)disk->buffer.va + disk->used, line, part);
        disk->used += part;
        line += part;
        size -= part;
        if (part == room)
            write_out(disk);
    }
    return disk->error;
}

int chalk_trace_disk_end(struct chalk_trace_disk *disk)
{
    while (disk->error == 0 && (disk->used > 0 || disk->lba < disk->end)) {
        memset((char *)disk->buffer.va + disk->used, 0, disk->buffer.size - disk->used);
        write_out(disk);
    }
    if (disk->error == 0 && disk->queue->info.volatile_cache)
        perform(disk, (struct chalk_block_request){.op = CHALK_BLOCK_FLUSH});
    return disk->error;
}

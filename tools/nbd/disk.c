/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The owner runs a loop, which sleeps until a message or an interrupt. A call takes an idle slot, which has a
 * buffer that the device reaches, sends it to the loop, and waits for its semaphore. There are as many slots
 * as the queue is deep; who finds no slot idle waits for one. A request that is split takes several places in
 * the queue, so that others may find it full all the same: they wait in line until one has ended.
 */
#include "disk.h"

#include <chalk/clock.h>
#include <chalk/error.h>
#include <chalk/hosted.h>
#include <chalk/loop.h>
#include <chalk/ring.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "../nvme/options.h"
#include "../nvme/session.h"

#define SLOTS     64 /* a power of two, and no more than a loop holds messages */
#define SLOT_SIZE (128u << 10)
#define LOOK_NS   CHALK_S /* between looks whether the device is still there */

struct slot {
    struct chalk_message message; /* first: the loop gets it, and gives it back */
    struct chalk_block_request request;
    struct chalk_dma buffer, data; /* all of it, and what the request is about */
    struct disk *disk;
    struct slot *next; /* in line */
    int status;
    sem_t finished;
};

struct disk {
    struct disk_options options;
    struct session session;
    struct chalk_loop *loop;
    struct chalk_block_poller poller;
    struct chalk_timer look;
    pthread_t owner;
    sem_t started;
    bool up;

    struct slot *line, **line_end; /* the owner's: those for which the queue has no place yet */

    uint32_t piece; /* bytes that a request moves, at most */
    struct chalk_ring idle;
    void *idle_slots[SLOTS];
    sem_t idle_count;
    struct slot slots[SLOTS];
};

static void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0) /* a signal came */
        ;
}

/* ---- on the owner's thread ---- */

static void finish(struct slot *slot, int status)
{
    slot->status = status;
    sem_post(&slot->finished);
}

/* False: the queue is full, and so another request will end. */
static bool place(struct slot *slot)
{
    struct chalk_block_request *request = &slot->request;
    int taken = chalk_block_submit(slot->disk->session.queue, &request, 1);

    if (taken < 0 && taken != -EAGAIN)
        finish(slot, taken);
    return taken != -EAGAIN;
}

static void finished(struct chalk_block_request *request, int status)
{
    struct slot *slot = request->context, *next;
    struct disk *disk = slot->disk;

    finish(slot, status);
    while ((slot = disk->line) != NULL) {
        next = slot->next; /* before another thread has it */
        if (!place(slot))
            return;
        disk->line = next;
    }
}

static void submit(struct chalk_message *message)
{
    struct slot *slot = (struct slot *)message;
    struct disk *disk = slot->disk;

    if (disk->line == NULL && place(slot))
        return;
    if (disk->line == NULL)
        disk->line_end = &disk->line;
    slot->next = NULL;
    *disk->line_end = slot;
    disk->line_end = &slot->next;
}

/* Whoever takes the device away waits until it is closed, whether there are requests or none. */
static void look(struct chalk_timer *timer)
{
    struct disk *disk = (struct disk *)((char *)timer - offsetof(struct disk, look));
    uint32_t identity;

    if (chalk_config_read(disk->session.device, 0, 4, &identity) != 0 || identity == UINT32_MAX)
        disk->options.gone();
    else
        chalk_timer_arm(chalk_loop_wheel(disk->loop), timer, chalk_deadline(LOOK_NS));
}

static bool make_slots(struct disk *disk)
{
    const struct chalk_block_info *info = &disk->session.queue->info;
    unsigned count = info->depth < SLOTS ? info->depth : SLOTS;
    uint64_t most = (uint64_t)info->max_blocks * info->block_size;
    struct chalk_dma memory;

    disk->piece = most < SLOT_SIZE ? (uint32_t)most : SLOT_SIZE;
    disk->piece -= disk->piece % info->block_size;
    if (disk->piece == 0) {
        complain("blocks of %" PRIu32 " bytes are not supported, but up to %u", info->block_size, SLOT_SIZE);
        return false;
    }
    if (session_get_buffers(&disk->session, (size_t)count * SLOT_SIZE, CHALK_PAGE, &memory) != 0) {
        complain("no memory for %u requests of %u bytes", count, SLOT_SIZE);
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        struct slot *slot = &disk->slots[i];

        slot->message.handle = submit;
        slot->disk = disk;
        slot->buffer = (struct chalk_dma){(char *)memory.va + (size_t)i * SLOT_SIZE,
                                          memory.iova + (size_t)i * SLOT_SIZE, SLOT_SIZE};
        chalk_ring_shared_put(&disk->idle, slot);
        sem_post(&disk->idle_count);
    }
    return true;
}

static bool bring_up(struct disk *disk)
{
    const struct session_options wanted = {
        .address = disk->options.address,
        .nsid = disk->options.nsid,
        .depth = SLOTS,
        .interrupts = !disk->options.poll,
    };
    int error = chalk_start(&(struct chalk_start_options){.handle_removal = true,
                                                          .patience = getenv("CHALK_PATIENCE"),
                                                          .reconnect = getenv("CHALK_RECONNECT")});

    if (error != 0) {
        complain("cannot start the platform: %s", chalk_error_name(error));
        return false;
    }
    if (!session_open(&disk->session, &wanted))
        goto stop;

    const struct chalk_loop_options loop = {
        .memory = disk->session.memory,
        .idle = disk->options.poll ? CHALK_IDLE_SPIN : CHALK_IDLE_ADAPT,
    };

    if ((error = chalk_loop_create(&loop, &disk->loop)) != 0) {
        complain("no memory for a loop: %s", chalk_error_name(error));
        goto close;
    }
    if (!make_slots(disk))
        goto destroy;
    chalk_block_poller_start(&disk->poller, disk->session.queue);
    chalk_loop_add(disk->loop, &disk->poller.poller);
    disk->look.fire = look;
    look(&disk->look);
    return true;
destroy:
    chalk_loop_destroy(disk->loop);
close:
    session_close(&disk->session);
stop:
    chalk_stop();
    return false;
}

static void take_down(struct disk *disk)
{
    chalk_loop_destroy(disk->loop);
    session_close(&disk->session);
    chalk_stop();
}

static void *own(void *argument)
{
    struct disk *disk = argument;

    disk->up = bring_up(disk);
    sem_post(&disk->started);
    if (disk->up) {
        chalk_loop_run(disk->loop);
        take_down(disk);
    }
    return NULL;
}

/* ---- on anybody's ---- */

/* Signals are for the threads that were there before. */
static int start_owner(struct disk *disk)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&disk->owner, NULL, own, disk);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

struct disk *disk_open(const struct disk_options *options)
{
    struct disk *disk = calloc(1, sizeof *disk);
    int error = disk ? 0 : ENOMEM;

    if (disk) {
        disk->options = *options;
        sem_init(&disk->started, 0, 0);
        sem_init(&disk->idle_count, 0, 0);
        for (unsigned i = 0; i < SLOTS; i++)
            sem_init(&disk->slots[i].finished, 0, 0);
        chalk_ring_init(&disk->idle, disk->idle_slots, SLOTS);
        error = start_owner(disk);
    }
    if (error != 0) {
        complain("cannot start a thread for %s: %s", options->address, strerror(error));
        free(disk);
        return NULL;
    }
    wait_for(&disk->started);
    if (disk->up)
        return disk;
    pthread_join(disk->owner, NULL);
    free(disk);
    return NULL;
}

void disk_close(struct disk *disk)
{
    chalk_loop_stop(disk->loop);
    pthread_join(disk->owner, NULL);
    free(disk);
}

const struct chalk_block_info *disk_info(const struct disk *disk)
{
    return &disk->session.queue->info;
}

bool disk_has(const struct disk *disk, enum chalk_block_op op)
{
    return (disk_info(disk)->operations >> op & 1) != 0;
}

/* Bytes of one request, at most. */
static uint64_t piece_of(const struct disk *disk, enum chalk_block_op op)
{
    const struct chalk_block_info *info = disk_info(disk);

    switch (op) {
    case CHALK_BLOCK_DISCARD:
        return (uint64_t)info->max_discard * info->block_size;
    case CHALK_BLOCK_WRITE_ZEROES:
        return (uint64_t)info->max_zeroes * info->block_size;
    default:
        return disk->piece;
    }
}

static int do_piece(struct disk *disk, const struct chalk_block_request *wanted, void *data, uint64_t size)
{
    struct slot *slot;
    int status;

    wait_for(&disk->idle_count);
    slot = chalk_ring_shared_take(&disk->idle);
    slot->request = *wanted;
    slot->request.done = finished;
    slot->request.context = slot;
    if (data) {
        slot->data = slot->buffer;
        slot->data.size = size;
        slot->request.segments = &slot->data;
        slot->request.segment_count = 1;
    }
    if (wanted->op == CHALK_BLOCK_WRITE)
        memcpy(slot->buffer.va, data, size);
    chalk_loop_send(disk->loop, &(struct chalk_message *){&slot->message}, 1);
    wait_for(&slot->finished);
    status = slot->status;
    if (wanted->op == CHALK_BLOCK_READ && status == 0)
        memcpy(data, slot->buffer.va, size);
    chalk_ring_shared_put(&disk->idle, slot);
    sem_post(&disk->idle_count);
    return status;
}

int disk_do(struct disk *disk, enum chalk_block_op op, unsigned flags, void *data, uint64_t size,
            uint64_t offset)
{
    uint32_t block = disk_info(disk)->block_size;
    uint64_t most = piece_of(disk, op);
    int status;

    if (!disk_has(disk, op))
        return -ENOTSUP;
    do {
        uint64_t piece = size < most ? size : most;
        const struct chalk_block_request request = {
            .op = op, .flags = (uint8_t)flags, .count = (uint32_t)(piece / block), .lba = offset / block};

        status = do_piece(disk, &request, data, piece);
        data = data ? (char *)data + piece : NULL;
        offset += piece;
        size -= piece;
    } while (size > 0 && status == 0);
    return status;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Block requests of tasks: submitted here, kicked and polled by the queue's poller once a turn, so that the
 * requests of all tasks share a doorbell.
 */
#include <block/given_up.h>
#include <chalk/clock.h>
#include <chalk/error.h>
#include <chalk/loop.h>

/* On the stack of the task that waits. */
struct await {
    struct chalk_task *task;
    bool finished;
    int status;
};

static void finished(struct chalk_block_request *request, int status)
{
    struct await *await = request->context;

    await->finished = true;
    await->status = status;
    chalk_task_wake(await->task);
}

/* While the queue is full, the poller sees to the requests before. */
static int submit(struct chalk_task *self, struct chalk_block_queue *queue,
                  struct chalk_block_request *request, uint64_t deadline)
{
    for (;;) {
        bool last_try = chalk_expired(deadline);
        int taken = chalk_block_submit(queue, &request, 1);

        if (taken > 0)
            return 0;
        if (taken < 0 && taken != -EAGAIN)
            return taken;
        if (last_try)
            return -EAGAIN;
        chalk_task_yield(self);
    }
}

int chalk_block_await(struct chalk_task *self, struct chalk_block_queue *queue,
                      struct chalk_block_request *request, uint64_t deadline)
{
    void (*done)(struct chalk_block_request *, int) = request->done;
    void *context = request->context;
    struct await await = {.task = self};
    int error;

    if (is_given_up(queue, request))
        return -EBUSY;
    request->done = finished;
    request->context = &await;
    error = submit(self, queue, request, deadline);
    if (error == 0) {
        while (!await.finished && error == 0)
            error = chalk_task_wait(self, deadline);
        if (!await.finished) {
            give_up(queue, request);
            return error;
        }
        error = await.status;
    }
    request->done = done;
    request->context = context;
    return error;
}

static unsigned poll_queue(struct chalk_poller *poller)
{
    struct chalk_block_poller *self = (struct chalk_block_poller *)poller;
    struct chalk_block_queue *queue = self->queue;
    bool under_way;
    int polled;

    chalk_block_kick(queue);
    polled = chalk_block_poll(queue, 0);
    under_way = polled >= 0 && queue->counters.submitted != queue->counters.completed;
    poller->awake = under_way && !queue->may_wait;
    poller->due = polled == 0 && queue->wait_ns != 0 ? chalk_deadline(queue->wait_ns) : 0;
    return polled > 0 ? (unsigned)polled : 0;
}

void chalk_block_poller_start(struct chalk_block_poller *poller, struct chalk_block_queue *queue)
{
    *poller =
        (struct chalk_block_poller){.poller = {.poll = poll_queue, .name = "block queue"}, .queue = queue};
}

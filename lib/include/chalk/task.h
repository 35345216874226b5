/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tasks: functions with a stack of their own, that can wait in the middle.
 *
 * A task belongs to one loop (<chalk/loop.h>) and so to one core. It runs until it waits, yields or returns;
 * nothing interrupts it, so that tasks of one loop share data without locks. While it waits its loop goes on.
 * Under its stack lies a guard page; where the memory is made of larger pages, or the platform allows no
 * more, there is none, and a word at the end of the stack is looked at instead, whenever the task stops
 * running.
 *
 *     static void copy(struct chalk_task *self, void *argument)
 *     {
 *         ...
 *         error = chalk_block_await(self, queue, &request, chalk_deadline(5 * CHALK_S));
 *         ...
 *     }
 *
 * A task is given its own handle, and hands it to what may wait for it. All functions that take `self` are
 * called by that task alone; all others by anything that runs on the loop's core, tasks included.
 */
#ifndef CHALK_TASK_H
#define CHALK_TASK_H

#include <chalk/platform.h>
#include <chalk/timer.h>

#ifdef __cplusplus
extern "C" {
#endif

struct chalk_loop;
struct chalk_block_queue;
struct chalk_block_request;

/* One of the tasks that are ready runs. */
enum chalk_task_state { CHALK_TASK_READY, CHALK_TASK_WAITING, CHALK_TASK_ENDED };

/* What the sanitizers want to know of a stack; unused without them. */
struct chalk_fiber {
    void *fake_stack;
    const void *bottom;
    size_t size;
    void *thread;
    struct chalk_fiber *from;
};

/* Lives at the top of its stack. What is above the line belongs to the queueing policy. */
struct chalk_task {
    uint64_t rank; /* what the policy sorts by: a priority, a deadline in ticks, ... */
    uint64_t order;
    struct chalk_task *next, *child;
    /* ---- */
    enum chalk_task_state state;
    int result; /* of its wait */
    struct chalk_loop *loop;
    void *stack_pointer; /* while it does not run */
    void *stack;         /* the lowest byte */
    uint32_t number;     /* in traces: its loop's first task is 1 */
    bool guarded;
    struct chalk_timer timer;
    void (*run)(struct chalk_task *self, void *argument);
    void *argument;
    struct chalk_task *next_task, **task_link; /* all tasks of the loop */
    size_t size;                               /* bytes of memory, the guard page included */
    struct chalk_fiber fiber;
    const char *name;    /* "task reader" */
    char stack_name[48]; /* "stack of task reader" */
};

struct chalk_task_options {
    const char *name;  /* for messages; copied, and cut to 32 characters. NULL: "unnamed" */
    size_t stack_size; /* bytes; 0: 32 KiB. Rounded up to pages; `struct chalk_task` is part of it */
    uint64_t rank;     /* for the queueing policy; FIFO does not look at it */
};

/*
 * Makes a task of `run`, ready to run; it ends when that returns. `options` may be NULL. *task, if `task` is
 * not NULL, is valid until then. The memory comes from the loop's chalk_memory, and stays with the loop for
 * other tasks. Errors: -ENOMEM, -EINVAL (a stack of less than 4 KiB).
 */
int chalk_task_start(struct chalk_loop *loop, const struct chalk_task_options *options,
                     void (*run)(struct chalk_task *self, void *argument), void *argument,
                     struct chalk_task **task);

/* Lets the other ready tasks run. */
void chalk_task_yield(struct chalk_task *self);

/*
 * Waits until chalk_task_wake() is called for this task, or until the deadline. Returns 0, or -ETIMEDOUT. A
 * task that waits for a condition checks it again after each wait. No other task of the loop runs between
 * that check and the next wait, so no wake is missed.
 */
int chalk_task_wait(struct chalk_task *self, uint64_t deadline);

/* Ends the wait of a task. Returns true if the task was waiting; if it was not, nothing is remembered, and
 * its next wait is not ended by this call. */
bool chalk_task_wake(struct chalk_task *task);

/* Waits for the deadline. */
void chalk_task_sleep(struct chalk_task *self, uint64_t deadline);

/*
 * Waits until an interrupt counter (chalk_vector_attach(), aimed at this core) differs from `seen`.
 * Interrupts that come together count together. Returns 0, or -ETIMEDOUT.
 */
int chalk_task_wait_counter(struct chalk_task *self, const CHALK_ATOMIC(uint32_t) *counter, uint32_t seen,
                            uint64_t deadline);

/*
 * One block request, from submission to the end, of a queue that a chalk_block_poller of this loop polls.
 * Returns what chalk_block_do() returns, and takes `done` and `context` of the request as it does; but other
 * tasks run meanwhile. -ETIMEDOUT: the request and its segments stay the device's until the queue is closed.
 */
int chalk_block_await(struct chalk_task *self, struct chalk_block_queue *queue,
                      struct chalk_block_request *request, uint64_t deadline);

/* ---- which task is next -------------------------------------------------------------------------- */

/*
 * A queueing policy: where ready tasks wait. Put this first in a struct of your own, and your two functions
 * decide. A task is put when it becomes ready, with the rank that it has then, and is not looked at again
 * until it was taken. Neither function may block or call the loop.
 */
struct chalk_queueing {
    void (*put)(struct chalk_queueing *queueing, struct chalk_task *task);
    struct chalk_task *(*take)(struct chalk_queueing *queueing); /* NULL: none is ready */
};

/* First come, first served: what a loop has if it is given no other. */
struct chalk_fifo {
    struct chalk_queueing queueing;
    struct chalk_task *first, **last;
};
struct chalk_queueing *chalk_fifo_start(struct chalk_fifo *fifo);

/* The lowest rank first (0 is the most urgent, 63 and above the least), first come first served within it. */
#define CHALK_PRIORITIES 64
struct chalk_priority {
    struct chalk_queueing queueing;
    uint64_t occupied; /* a bit for each rank */
    struct chalk_fifo ranks[CHALK_PRIORITIES];
};
struct chalk_queueing *chalk_priority_start(struct chalk_priority *priority);

/* The earliest deadline, which is the rank, first. */
struct chalk_edf {
    struct chalk_queueing queueing;
    struct chalk_task *root;
    uint64_t order;
};
struct chalk_queueing *chalk_edf_start(struct chalk_edf *edf);

/* What the policy sorts the task by, from the next time on that it becomes ready. */
static inline void chalk_task_rank(struct chalk_task *task, uint64_t rank)
{
    task->rank = rank;
}

#ifdef __cplusplus
}
#endif
#endif

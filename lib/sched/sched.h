/* SPDX-License-Identifier: BSD-2-Clause */
/* What a loop and its tasks are made of. */
#ifndef SCHED_SCHED_H
#define SCHED_SCHED_H

#include "inbox.h"

#include <chalk/loop.h>
#include <chalk/range.h>
#include <chalk/trace.h>
#include <stdatomic.h>

/* A task that waits for an interrupt counter; on its own stack. */
struct counter_wait {
    struct counter_wait *next, **link;
    const _Atomic(uint32_t) *counter;
    uint32_t seen;
    struct chalk_task *task;
};

struct chalk_loop {
    /* Used in every switch. */
    struct chalk_queueing *queueing; /* NULL: first come, first served, without a call */
    _Atomic(struct chalk_task *)
        running; /* NULL: the loop itself. Written here, and looked at by a watchdog */
    /* Without a policy: a ring, by `next`, of the tasks that are ready. Behind the last one is the first,
     * which stays in it while it runs. */
    struct chalk_task *last_ready;
    bool watched;                   /* there is a policy or a trace: no yield is short */
    uint64_t switches, last_switch; /* so far; and the last one in this turn */
    struct chalk_trace *trace;
    void *stack_pointer;                 /* the loop's, while a task runs */
    struct chalk_loop_counters counters; /* but for the switches */

    /* Used in every turn. */
    const _Atomic(uint32_t) *events;
    struct chalk_poller *pollers, **last_poller, *next_poller;
    struct counter_wait *counter_waits;
    struct chalk_task *ended; /* on whose stacks nobody runs any more, by `next` */
    bool busy;                /* in the turn before */
    uint64_t idle_since, next_look;
    uint64_t spin, spin_most;       /* ticks that CHALK_IDLE_ADAPT spins before it sleeps */
    _Atomic(uint64_t) turn_started; /* ticks */
    const char *_Atomic current;    /* what the turn is in while no task runs; NULL: nothing of anybody's */

    /* What senders look at. The loop writes none of it in a turn, so that it stays in their caches. */
    _Alignas(CHALK_RING_LINE) enum chalk_idle idle;
    unsigned core;
    _Atomic(bool) stop;
    struct inbox inbox;
    struct chalk_wheel wheel;

    /* Set-up. */
    struct chalk_memory *memory;
    struct chalk_task *tasks;
    struct chalk_ranges spare; /* stacks of tasks that have ended, by their pages */
    uint32_t task_number;      /* of the newest task */
    struct chalk_fiber fiber;
};

_Static_assert(sizeof(struct chalk_loop) < 32 << 10, "an idle loop takes less than 64 KiB");

#define TURN_TASKS 64 /* that run in one turn, before pollers and timers have theirs */

static inline struct chalk_task *loop_running(const struct chalk_loop *loop)
{
    return atomic_load_explicit(&loop->running, memory_order_relaxed);
}

static inline void loop_enters(struct chalk_loop *loop, const char *name)
{
    atomic_store_explicit(&loop->current, name, memory_order_relaxed);
}

/* switch.S */
int chalk_switch(void **from, void *to, int result);
void chalk_task_first(void);

/* task.c */
void chalk_task_main(struct chalk_task *task) __attribute__((noreturn));
void chalk_tasks_run(struct chalk_loop *loop);
void chalk_tasks_bury(struct chalk_loop *loop);    /* the stacks of those that have ended become spare */
void chalk_tasks_destroy(struct chalk_loop *loop); /* all of them */

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A run-to-completion loop for one core: pollers, timers, tasks, and messages from other cores.
 *
 * The loop is a component, not the owner: take it, replace it, or call chalk_loop_turn() from a loop of your
 * own. One turn takes messages, fires timers, calls every poller, and runs ready tasks; when there was
 * nothing to do the loop spins or sleeps, as it was told. Nothing is interrupted, so what runs on one loop
 * needs no locks. Hot paths take no lock, allocate nothing and enter no kernel.
 *
 * Everything but chalk_loop_send(), chalk_loop_stop() and chalk_loop_stuck() is called on the loop's core.
 */
#ifndef CHALK_LOOP_H
#define CHALK_LOOP_H

#include <chalk/memory.h>
#include <chalk/platform.h>
#include <chalk/task.h>
#include <chalk/timer.h>

#ifdef __cplusplus
extern "C" {
#endif

struct chalk_block_queue;
struct chalk_loop;
struct chalk_trace;

/* What the loop does when it has nothing to do. */
enum chalk_idle {
    CHALK_IDLE_SPIN,  /* looks again at once: the least latency, and the whole core */
    CHALK_IDLE_ADAPT, /* spins for a while, which adapts to how long sleeps turn out to be; then sleeps */
    CHALK_IDLE_WAIT,  /* sleeps, until an interrupt, a message or the next timer */
};

struct chalk_loop_options {
    struct chalk_memory *memory; /* for the loop and the stacks of its tasks; only this core uses it */
    unsigned core;               /* on which the loop runs */
    enum chalk_idle idle;
    struct chalk_queueing *queueing; /* the caller's, as long as the loop; NULL: first come, first served */
    uint64_t spin_ns;                /* CHALK_IDLE_ADAPT: for how long at most; 0: 50 us */
};

/* Errors: -ENOMEM, -ENOENT (no such core; logged), -EINVAL (`idle` is none of them; logged). */
int chalk_loop_create(const struct chalk_loop_options *options, struct chalk_loop **loop);

/*
 * Gives its memory back. Tasks that have not ended never run again: whatever might still wake them, or uses
 * their stacks, was closed before. Whoever sent to the loop has had the last message of its call handled, and
 * sends no more.
 */
void chalk_loop_destroy(struct chalk_loop *loop);

/*
 * Turns until chalk_loop_stop(): 0; or until the program was asked to end (chalk_exit_requested(), looked at
 * every 100 ms and after each sleep): -EINTR. May be called again. That request wakes core 0 alone: loops
 * that sleep on other cores are for the program to stop.
 */
int chalk_loop_run(struct chalk_loop *loop);

/* One turn, without sleeping. Whether there was anything to do. */
bool chalk_loop_turn(struct chalk_loop *loop);

/* Ends chalk_loop_run() after the turn. From any core. */
void chalk_loop_stop(struct chalk_loop *loop);

/* ---- timers -------------------------------------------------------------------------------------- */

/* The loop's wheel, for chalk_timer_arm() and chalk_timer_cancel(). */
struct chalk_wheel *chalk_loop_wheel(struct chalk_loop *loop);

/* ---- pollers ------------------------------------------------------------------------------------- */

/* Something to look at in every turn, in memory of the caller's. */
struct chalk_poller {
    unsigned (*poll)(struct chalk_poller *poller); /* returns how much there was to do */
    const char *name;                              /* for messages; not NULL */
    /* The poller's, to be changed at any time: something is under way that no interrupt, wake or timer will
     * announce, so the loop must not sleep. */
    bool awake;
    /* Likewise: ticks at which it has to be called again even if nothing has happened; 0: no need. */
    uint64_t due;
    struct chalk_poller *next; /* the loop's */
};

/* A poller is called from this turn or the next one on, after those that were added before. */
void chalk_loop_add(struct chalk_loop *loop, struct chalk_poller *poller);

/* Not called any more; may be called by pollers, and for the one that runs. It is one of this loop. */
void chalk_loop_remove(struct chalk_loop *loop, struct chalk_poller *poller);

/*
 * A poller for a block queue: one kick and one poll in every turn, for all requests of the tasks together.
 * While requests are under way the loop sleeps only if the queue's interrupts go to its core (`may_wait`),
 * and no longer than the queue lets it (`wait_ns`).
 */
struct chalk_block_poller {
    struct chalk_poller poller;
    struct chalk_block_queue *queue;
};
void chalk_block_poller_start(struct chalk_block_poller *poller, struct chalk_block_queue *queue);

/* ---- messages ------------------------------------------------------------------------------------ */

/*
 * Something to be done on another loop's core, outside of tasks. It is the first part of a struct of the
 * sender's, and belongs to the receiver from the moment that it was taken; the handler may send it back.
 */
struct chalk_message {
    void (*handle)(struct chalk_message *message);
};

#define CHALK_LOOP_MESSAGES 256 /* that a loop holds */

/*
 * Sends up to `count` messages, from any core, and returns how many were taken, the first ones; -EAGAIN if
 * none was, because the receiver has too many already. What one core sends arrives in order, and is seen with
 * everything that was written before. The receiver is woken only if it sleeps. When the last of these
 * messages is handled the loop is not touched any more: so it may be what tells the loop to stop, and be
 * destroyed.
 */
int chalk_loop_send(struct chalk_loop *loop, struct chalk_message *const *messages, unsigned count);

/* ---- looking at it ------------------------------------------------------------------------------- */

struct chalk_loop_counters {
    uint64_t busy_ticks, idle_ticks; /* in turns with something to do; in others, and asleep */
    uint64_t turns, sleeps;
    uint64_t polls;    /* calls of pollers */
    uint64_t switches; /* to a task */
    uint64_t messages, timers;
    unsigned tasks; /* that have not ended */
};
void chalk_loop_get_counters(const struct chalk_loop *loop, struct chalk_loop_counters *counters);

/*
 * From now on tasks, sleeps, and interrupts that tasks wait for are told to `trace`, the ring of this core
 * (<chalk/trace.h>). NULL: no more.
 */
void chalk_loop_trace(struct chalk_loop *loop, struct chalk_trace *trace);

/*
 * A watchdog's question, from any core: whether the loop has been in one turn for longer than `limit_ns`. A
 * message then names what has not returned: a poller, a task, a timer or a message.
 */
bool chalk_loop_stuck(const struct chalk_loop *loop, uint64_t limit_ns);

#ifdef __cplusplus
}
#endif
#endif

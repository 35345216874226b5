/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The loop: one turn after the other, and what lies between them when there is nothing to do.
 *
 * No wake-up is lost. The event word is read before anything is looked at, and chalk_core_wait() returns at
 * once if it has changed since. Senders of messages spare themselves the wake while the receiver does not
 * sleep: they publish, then a full fence, then look at `asleep`; the receiver counts itself there, then a
 * full fence, then looks for messages once more. One of the two sees the other.
 *
 * A message may be the last one of its loop, which is destroyed when it was handled. So `asleep` is no part
 * of the loop, and a sender touches nothing of that once its message can be seen.
 */
#include "sched.h"

#include <chalk/block.h>
#include <chalk/clock.h>
#include <chalk/core.h>
#include <chalk/error.h>
#include <chalk/log.h>
#include <string.h>

#define SPIN_NS  50000ull     /* about what a sleep and a wake cost hosted, several times */
#define SPIN_MIN 1000ull      /* ns */
#define LOOK_NS  100000000ull /* between looks for a request to end the program */
#define BURST    32           /* messages taken at once */

int chalk_loop_create(const struct chalk_loop_options *options, struct chalk_loop **result)
{
    struct chalk_core_info core;
    struct chalk_loop *loop;
    int error = chalk_core_check(options->core, "chalk_loop_create");

    if (error != 0)
        return error;
    if ((unsigned)options->idle > CHALK_IDLE_WAIT) {
        chalk_log(CHALK_ERROR, "chalk_loop_create(): idle is %u, no value of enum chalk_idle",
                  (unsigned)options->idle);
        return -EINVAL;
    }
    if (options->memory == NULL)
        chalk_misuse(
            "chalk_loop_create(): options->memory is NULL: the loop lives there, and its tasks' stacks");
    (void)chalk_core_get_info(options->core, &core);
    loop = chalk_memory_get(options->memory, sizeof *loop);
    if (loop == NULL)
        return -ENOMEM;
    loop->memory = options->memory;
    loop->core = options->core;
    loop->events = core.events;
    loop->idle = options->idle;
    loop->spin_most = chalk_ns_to_ticks(options->spin_ns != 0 ? options->spin_ns : SPIN_NS);
    loop->spin = loop->spin_most;
    loop->queueing = options->queueing;
    loop->watched = loop->queueing != NULL;
    loop->last_poller = &loop->pollers;
    chalk_wheel_start(&loop->wheel, chalk_ticks());
    atomic_store(&loop->turn_started, chalk_ticks());
    *result = loop;
    return 0;
}

void chalk_loop_destroy(struct chalk_loop *loop)
{
    chalk_tasks_destroy(loop);
    chalk_memory_put(loop->memory, loop, sizeof *loop);
}

struct chalk_wheel *chalk_loop_wheel(struct chalk_loop *loop)
{
    return &loop->wheel;
}

void chalk_loop_trace(struct chalk_loop *loop, struct chalk_trace *trace)
{
    loop->trace = trace;
    loop->watched = loop->queueing != NULL || trace != NULL;
}

/* ---- messages ---- */

/* Loops that sleep or are about to, of the cores whose numbers are the same in this modulus: where there are
 * two of them, one may be woken for nothing. */
static struct {
    _Alignas(CHALK_RING_LINE) _Atomic(uint32_t) loops;
} asleep[64];

static _Atomic(uint32_t) *asleep_of(unsigned core)
{
    return &asleep[core % (sizeof asleep / sizeof asleep[0])].loops;
}

int chalk_loop_send(struct chalk_loop *loop, struct chalk_message *const *messages, unsigned count)
{
    const bool may_sleep = loop->idle != CHALK_IDLE_SPIN; /* afterwards there may be no loop to ask */
    const unsigned core = loop->core;
    unsigned sent = inbox_put(&loop->inbox, messages, count);

    if (sent == 0)
        return count == 0 ? 0 : -EAGAIN;
    if (may_sleep) {
        atomic_thread_fence(memory_order_seq_cst);
        if (atomic_load_explicit(asleep_of(core), memory_order_relaxed) != 0)
            chalk_core_wake(core);
    }
    return (int)sent;
}

void chalk_loop_stop(struct chalk_loop *loop)
{
    unsigned core = loop->core;

    atomic_store_explicit(&loop->stop, true, memory_order_release);
    chalk_core_wake(core); /* the loop may be gone already, so it is not asked whether it sleeps */
}

/* As many as there can be, so that two loops that answer each other do not stay in here. */
static unsigned take_messages(struct chalk_loop *loop)
{
    struct chalk_message *messages[BURST];
    unsigned taken = 0, count;

    do {
        count = inbox_take(&loop->inbox, messages, BURST);
        for (unsigned i = 0; i < count; i++)
            messages[i]->handle(messages[i]);
        taken += count;
    } while (count == BURST && taken < CHALK_LOOP_MESSAGES);
    return taken;
}

/* ---- pollers ---- */

void chalk_loop_add(struct chalk_loop *loop, struct chalk_poller *poller)
{
    poller->next = NULL;
    *loop->last_poller = poller;
    loop->last_poller = &poller->next;
}

void chalk_loop_remove(struct chalk_loop *loop, struct chalk_poller *poller)
{
    struct chalk_poller **link = &loop->pollers;

    while (*link != NULL && *link != poller)
        link = &(*link)->next;
    chalk_assert(*link == poller);
    *link = poller->next;
    if (loop->last_poller == &poller->next)
        loop->last_poller = link;
    if (loop->next_poller == poller)
        loop->next_poller = poller->next;
}

static unsigned poll(struct chalk_loop *loop)
{
    unsigned work = 0;

    for (struct chalk_poller *poller = loop->pollers; poller != NULL; poller = loop->next_poller) {
        loop->next_poller = poller->next;
        loop_enters(loop, poller->name);
        work += poller->poll(poller);
        loop->counters.polls++;
    }
    return work;
}

static bool must_stay_awake(const struct chalk_loop *loop)
{
    for (const struct chalk_poller *poller = loop->pollers; poller != NULL; poller = poller->next)
        if (poller->awake)
            return true;
    return false;
}

static uint64_t next_deadline(const struct chalk_loop *loop)
{
    uint64_t next = chalk_wheel_next(&loop->wheel);

    for (const struct chalk_poller *poller = loop->pollers; poller != NULL; poller = poller->next)
        if (poller->due != 0 && poller->due < next)
            next = poller->due;
    return next;
}

/* ---- interrupts ---- */

/* Counters change in chalk_core_wait() only. */
static void look_at_counters(struct chalk_loop *loop)
{
    chalk_core_wait(loop->core, 0, 0);
    for (const struct counter_wait *wait = loop->counter_waits; wait != NULL; wait = wait->next) {
        uint32_t counter = atomic_load_explicit(wait->counter, memory_order_acquire);

        if (counter != wait->seen && chalk_task_wake(wait->task))
            chalk_trace_emit(loop->trace, CHALK_TRACE_INTERRUPT, wait->task->number, counter, 0);
    }
}

/* ---- turns ---- */

static void account(struct chalk_loop *loop, uint64_t now)
{
    uint64_t before = atomic_load_explicit(&loop->turn_started, memory_order_relaxed);

    if (loop->busy) {
        loop->counters.busy_ticks += now - before;
        loop->idle_since = now;
    } else {
        loop->counters.idle_ticks += now - before;
    }
    atomic_store_explicit(&loop->turn_started, now, memory_order_relaxed);
    loop->counters.turns++;
}

bool chalk_loop_turn(struct chalk_loop *loop)
{
    uint64_t now = chalk_ticks(), switches = loop->switches;
    unsigned messages, timers, polled;

    chalk_assert(loop_running(loop) == NULL);
    account(loop, now);
    if (loop->counter_waits != NULL)
        look_at_counters(loop);
    loop_enters(loop, "message");
    messages = take_messages(loop);
    loop_enters(loop, "timer");
    timers = chalk_wheel_turn(&loop->wheel, now);
    polled = poll(loop);
    loop_enters(loop, "queueing policy");
    chalk_tasks_run(loop);
    chalk_tasks_bury(loop);
    loop_enters(loop, NULL);
    loop->counters.messages += messages;
    loop->counters.timers += timers;
    loop->busy = (messages | timers | polled) != 0 || loop->switches != switches;
    return loop->busy;
}

/* ---- rest ---- */

/*
 * Sleeping pays if it lasts. So a sleep that was shorter than what might have been spun doubles the time
 * before the next one, and a longer one halves it.
 */
static void adapt(struct chalk_loop *loop, uint64_t slept)
{
    uint64_t least = chalk_ns_to_ticks(SPIN_MIN);

    loop->spin = slept < loop->spin_most ? 2 * loop->spin : loop->spin / 2;
    if (loop->spin > loop->spin_most)
        loop->spin = loop->spin_most;
    if (loop->spin < least)
        loop->spin = least;
}

/* Whether something came that does not change the event word, or had come before it was read. */
static bool must_not_sleep(struct chalk_loop *loop)
{
    return !inbox_empty(&loop->inbox) || atomic_load_explicit(&loop->stop, memory_order_relaxed) ||
           chalk_exit_requested();
}

static void sleep(struct chalk_loop *loop, uint32_t seen)
{
    uint64_t start = chalk_ticks();

    atomic_fetch_add_explicit(asleep_of(loop->core), 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    if (!must_not_sleep(loop)) {
        loop->counters.sleeps++;
        chalk_trace_emit(loop->trace, CHALK_TRACE_SLEEP, 0, 0, 0);
        chalk_core_wait(loop->core, seen, next_deadline(loop));
        chalk_trace_emit(loop->trace, CHALK_TRACE_WAKE, 0, 0, 0);
    }
    atomic_fetch_sub_explicit(asleep_of(loop->core), 1, memory_order_relaxed);
    loop->next_look = 0;
    adapt(loop, chalk_ticks() - start);
}

static void rest(struct chalk_loop *loop, uint32_t seen)
{
    uint64_t now = atomic_load_explicit(&loop->turn_started, memory_order_relaxed);

    if (loop->idle == CHALK_IDLE_SPIN || must_stay_awake(loop) ||
        (loop->idle == CHALK_IDLE_ADAPT && now - loop->idle_since < loop->spin))
        chalk_pause();
    else
        sleep(loop, seen);
}

static bool asked_to_end(struct chalk_loop *loop)
{
    uint64_t now = atomic_load_explicit(&loop->turn_started, memory_order_relaxed);

    if (now < loop->next_look)
        return false;
    loop->next_look = now + chalk_ns_to_ticks(LOOK_NS);
    return chalk_exit_requested();
}

int chalk_loop_run(struct chalk_loop *loop)
{
    int error = 0;

    while (!atomic_load_explicit(&loop->stop, memory_order_acquire) && error == 0) {
        uint32_t seen = atomic_load_explicit(loop->events, memory_order_acquire);

        if (!chalk_loop_turn(loop))
            rest(loop, seen);
        if (asked_to_end(loop))
            error = -EINTR;
    }
    atomic_store_explicit(&loop->stop, false, memory_order_relaxed);
    return error;
}

/* ---- looking at it ---- */

void chalk_loop_get_counters(const struct chalk_loop *loop, struct chalk_loop_counters *counters)
{
    *counters = loop->counters;
    counters->switches = loop->switches;
}

bool chalk_loop_stuck(const struct chalk_loop *loop, uint64_t limit_ns)
{
    const struct chalk_task *task = atomic_load_explicit(&loop->running, memory_order_acquire);
    const char *name = task != NULL ? task->name : atomic_load_explicit(&loop->current, memory_order_relaxed);
    uint64_t started = atomic_load_explicit(&loop->turn_started, memory_order_relaxed);
    uint64_t now = chalk_ticks();

    if (name == NULL || now < started || now - started < chalk_ns_to_ticks(limit_ns))
        return false;
    chalk_log(CHALK_WARNING, "the loop on core %u is stuck: %s has not returned for %llu ms", loop->core,
              name, (unsigned long long)(chalk_ticks_to_ns(now - started) / CHALK_MS));
    return true;
}

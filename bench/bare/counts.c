/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How many instructions things take on bare metal: for QEMU's -icount shift=0, where the time stamp counter
 * goes on by one an instruction (tools/metal --icount), every time alike. Prints a line each, "what:
 * instructions", for bench/core.py. The loops around what is counted are counted, too.
 *
 * The interrupts are sent by the core to itself. What is linked in front of interrupt_handle(), the C of
 * every interrupt, notes when it was entered; its own few instructions are part of the way to the task.
 */
#include <chalk/clock.h>
#include <chalk/loop.h>
#include <chalk/main.h>
#include <chalk/pool.h>
#include <chalk/ring.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define ROUNDS    101u
#define TIMES     1000u
#define MAX_BURST 32u

/* Intel SDM vol. 3 11.6.1; in emulation it is always in this mode, and at this place */
#define COMMAND      ((volatile uint32_t *)0xfee00300)
#define COMMAND_SELF (1u << 18 | 1u << 14)

/* Of the platform; see meson.build for the last two. */
int interrupt_attach(unsigned core, _Atomic(uint32_t) *counter);
void __real_interrupt_handle(uint64_t vector);
void __wrap_interrupt_handle(uint64_t vector);

static struct chalk_memory *memory;
static struct chalk_loop *loop;
static _Atomic(uint32_t) interrupts;
static uint32_t command;
static uint64_t raised, handled;

void __wrap_interrupt_handle(uint64_t vector)
{
    handled = chalk_ticks();
    __real_interrupt_handle(vector);
}

static inline void raise_interrupt(void)
{
    raised = chalk_ticks();
    *COMMAND = command;
}

/* ---- what was counted ---- */

static struct counts {
    uint64_t of[ROUNDS];
    unsigned count;
} handler, task;

static void note(struct counts *counts, uint64_t instructions)
{
    counts->of[counts->count++] = instructions;
}

static int compare(const void *one, const void *other)
{
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;

    return (a > b) - (a < b);
}

static void print(const char *what, uint64_t instructions, uint64_t times)
{
    printf("%s: %.1f\n", what, (double)instructions / (double)times);
}

static void print_median(const char *what, struct counts *counts)
{
    qsort(counts->of, counts->count, sizeof counts->of[0], compare);
    print(what, counts->of[counts->count / 2], 1);
}

/* ---- an interrupt to a core that waits ---- */

static void interrupt_to_handler(void)
{
    struct chalk_core_info core;

    chalk_core_get_info(0, &core);
    while (handler.count < ROUNDS) {
        uint32_t seen = *core.events;

        raise_interrupt();
        chalk_core_wait(0, seen, CHALK_FOREVER);
        note(&handler, handled - raised);
    }
    print_median("interrupt to handler", &handler);
}

/* ---- an interrupt to a task that waits, raised while the loop polls ---- */

static bool waiting;

static unsigned raise_once(struct chalk_poller *poller)
{
    (void)poller;
    if (!waiting)
        return 0;
    waiting = false;
    raise_interrupt();
    return 1;
}

static void wait_for_interrupts(struct chalk_task *self, void *argument)
{
    (void)argument;
    while (task.count < ROUNDS) {
        uint32_t seen = interrupts;

        waiting = true;
        chalk_task_wait_counter(self, &interrupts, seen, CHALK_FOREVER);
        note(&task, chalk_ticks() - raised);
    }
    chalk_loop_stop(loop);
}

static void interrupt_to_task(void)
{
    struct chalk_poller poller = {.poll = raise_once, .name = "who interrupts"};

    chalk_loop_add(loop, &poller);
    chalk_task_start(loop, NULL, wait_for_interrupts, NULL, NULL);
    chalk_loop_run(loop);
    chalk_loop_remove(loop, &poller);
    print_median("interrupt to task", &task);
}

/* ---- two tasks that take turns ---- */

static void yield_and_count(struct chalk_task *self, void *argument)
{
    uint64_t start = chalk_ticks();

    for (unsigned i = 0; i < TIMES; i++)
        chalk_task_yield(self);
    *(uint64_t *)argument = chalk_ticks() - start;
    chalk_loop_stop(loop);
}

static void yield(struct chalk_task *self, void *argument)
{
    (void)argument;
    for (unsigned i = 0; i < TIMES; i++)
        chalk_task_yield(self);
}

static void task_switch(void)
{
    uint64_t instructions = 0;

    chalk_task_start(loop, NULL, yield_and_count, &instructions, NULL);
    chalk_task_start(loop, NULL, yield, NULL, NULL);
    chalk_loop_run(loop);
    print("task switch", instructions, 2 * TIMES);
}

/* ---- rings and pools: in and out, on one core ---- */

static void single_ring(struct chalk_ring *ring, void **items, unsigned burst)
{
    uint64_t start = chalk_ticks();
    char what[32];

    for (unsigned i = 0; i < TIMES; i++) {
        chalk_ring_put_burst(ring, items, burst);
        chalk_ring_take_burst(ring, items, burst);
    }
    snprintf(what, sizeof what, "SPSC, one core, burst %u", burst);
    print(what, chalk_ticks() - start, TIMES);
}

static void shared_ring(struct chalk_ring *ring, void **items, unsigned burst)
{
    uint64_t start = chalk_ticks();
    char what[32];

    for (unsigned i = 0; i < TIMES; i++) {
        chalk_ring_shared_put_burst(ring, items, burst);
        chalk_ring_shared_take_burst(ring, items, burst);
    }
    snprintf(what, sizeof what, "MPMC, one core, burst %u", burst);
    print(what, chalk_ticks() - start, TIMES);
}

static void pool(struct chalk_pool_cache *cache, void **items, unsigned burst)
{
    uint64_t start = chalk_ticks();
    char what[32];

    for (unsigned i = 0; i < TIMES; i++)
        if (chalk_pool_get_burst(cache, items, burst) == 0)
            chalk_pool_put_burst(cache, items, burst);
    snprintf(what, sizeof what, "pool, burst %u", burst);
    print(what, chalk_ticks() - start, TIMES * burst);
}

static bool bursts(void)
{
    static void *slots[1024], *items[MAX_BURST];
    struct chalk_pool_options options = {.memory = memory, .object_size = 2048, .count = 512};
    struct chalk_ring ring;
    struct chalk_pool *objects;

    if (chalk_pool_create(&options, &objects) != 0)
        return false;
    for (unsigned burst = 1; burst <= MAX_BURST; burst *= burst == 1 ? 8 : 4) {
        chalk_ring_init(&ring, slots, 1024);
        single_ring(&ring, items, burst);
        chalk_ring_init(&ring, slots, 1024);
        shared_ring(&ring, items, burst);
        pool(chalk_pool_get_cache(objects, 0), items, burst);
    }
    chalk_pool_destroy(objects);
    return true;
}

/* ---- timers: a thousand, due in no order ---- */

static void fires(struct chalk_timer *timer)
{
    (void)timer;
}

static uint64_t in_no_order(unsigned i)
{
    return 1000000 + (uint64_t)(i * 7919 % TIMES) * 3000;
}

static void timers(void)
{
    static struct chalk_wheel wheel;
    static struct chalk_timer armed[TIMES];
    uint64_t now = 0, start, fired;

    chalk_wheel_start(&wheel, now);
    for (unsigned i = 0; i < TIMES; i++) {
        armed[i].fire = fires;
        chalk_timer_arm(&wheel, &armed[i], in_no_order(i));
    }
    start = chalk_ticks();
    for (unsigned i = 0; i < TIMES; i++) {
        chalk_timer_cancel(&wheel, &armed[i]);
        chalk_timer_arm(&wheel, &armed[i], in_no_order(i));
    }
    print("timer, arm and cancel", chalk_ticks() - start, TIMES);
    start = chalk_ticks();
    fired = chalk_wheel_turn(&wheel, in_no_order(0) + 3000 * TIMES);
    print("timer fires, a thousand a turn", chalk_ticks() - start, fired);
}

int chalk_main(int argc, char *argv[])
{
    int vector = interrupt_attach(0, &interrupts);

    (void)argc, (void)argv;
    if (vector < 0 || chalk_memory_create(NULL, &memory) != 0 ||
        chalk_loop_create(&(struct chalk_loop_options){.memory = memory}, &loop) != 0) {
        printf("no vector, or no memory\n");
        return 1;
    }
    command = COMMAND_SELF | (uint32_t)vector;
    interrupt_to_handler();
    interrupt_to_task();
    task_switch();
    timers();
    return !bursts();
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Fibers, time, and who runs next. */
#include "sim.h"

#include <chalk/error.h>
#include <chalk/platform.h>
#include <chalk/random.h>
#include <sched/fiber.h>
#include <stdatomic.h>
#include <string.h>

enum { DEVICE = SIM_CORES, HOME, FIBERS };

#define STACK      (256u << 10)
#define STEPS      4000000 /* switches in a run that does not hang */
#define IDLE_LOOKS 16      /* at the time, with nothing to do, before it begins to run */
#define IDLE_SHIFT 20      /* and then up to 2^20 ns at once */
#define POINT      8       /* basic blocks that a step seen from outside counts for */

enum state { FREE, RUNS, WAITS, SLEEPS };

static struct fiber {
    void *stack_pointer;
    struct chalk_fiber told;
    enum state state;
    uint32_t seen;
    unsigned looks; /* at the time, since there was something to do */
    bool looked;    /* at the time, since it last ran */
    uint64_t deadline;
    void (*entry)(unsigned core, void *argument);
    void *argument;
} fibers[FIBERS];
static _Alignas(64) char stacks[HOME][STACK];
static _Atomic(uint32_t) events[SIM_CORES];

static struct sim_options options;
static uint64_t random_state, now;
static unsigned current = HOME;
static uint64_t steps;
static long budget;

uint64_t sim_below(uint64_t bound)
{
    return chalk_random_below(&random_state, bound);
}

uint64_t sim_now(void)
{
    return now;
}

unsigned sim_running(void)
{
    return current;
}

/* ---- time ---- */

void sim_active(void)
{
    for (unsigned core = 0; core < SIM_CORES; core++)
        fibers[core].looks = 0;
}

static bool ready(unsigned core)
{
    const struct fiber *fiber = &fibers[core];

    return fiber->state == RUNS || (fiber->state >= WAITS && now >= fiber->deadline) ||
           (fiber->state == WAITS && (atomic_load(&events[core]) != fiber->seen || device_rings(core)));
}

/* What is due next, without anybody doing anything. */
static uint64_t next_due(void)
{
    uint64_t due = device_due();

    for (unsigned core = 0; core < SIM_CORES; core++)
        if (fibers[core].state >= WAITS && fibers[core].deadline < due)
            due = fibers[core].deadline;
    return due;
}

static void pass_time(uint64_t ns)
{
    now += ns;
    if (now > options.limit_ns)
        sim_fail("it hangs: %llu ms have passed", (unsigned long long)now / 1000000);
}

/* How often each core that does not wait has looked at the time, at least, since there was something to do.
 * 0: one of them has not looked since the time last ran. It may have something to do by now, and be stopped
 * in the middle of it, with a lock that others wait for. */
static unsigned least_looks(void)
{
    unsigned least = UINT32_MAX;

    for (unsigned core = 0; core < SIM_CORES; core++) {
        unsigned looks = fibers[core].looked ? fibers[core].looks : 0;

        if (ready(core) && looks < least)
            least = looks;
    }
    return device_ready() || device_interrupts() != 0 ? 0 : least;
}

/* Time runs when all who do not wait for it only look at it. */

unsigned long long sim_look(void)
{
    unsigned looks;

    sim_point();
    if (current == HOME)
        return now;
    fibers[current].looks++;
    fibers[current].looked = true;
    looks = least_looks();
    if (looks > IDLE_LOOKS) {
        unsigned shift = 8 + (looks - IDLE_LOOKS) / 2;
        uint64_t pass = 1ull << (shift < IDLE_SHIFT ? shift : IDLE_SHIFT), due = next_due();

        pass_time(due > now && pass > due - now ? due - now : pass);
        for (unsigned core = 0; core < SIM_CORES; core++)
            fibers[core].looked = false;
        sim_yield(); /* the others look as often */
    } else {
        pass_time(1 + sim_below(50));
    }
    return now;
}

/* ---- who runs ---- */

static unsigned choose(void)
{
    for (;;) {
        unsigned candidates[FIBERS + 1], count = 0, interrupts = device_interrupts(), choice;
        uint64_t due;

        for (unsigned core = 0; core < SIM_CORES; core++)
            if (ready(core))
                candidates[count++] = core;
        if (device_ready())
            candidates[count++] = DEVICE;
        if (interrupts != 0)
            candidates[count++] = FIBERS;
        if (++steps > STEPS)
            sim_fail("it hangs: %llu steps at %llu us", (unsigned long long)steps,
                     (unsigned long long)now / 1000);
        if (count == 0) {
            due = next_due();
            if (due == UINT64_MAX)
                sim_fail("it hangs: every core waits for ever");
            now = due > now ? due : now + 1;
            continue;
        }
        choice = candidates[sim_below(count)];
        if (choice != FIBERS)
            return choice;
        device_deliver((unsigned)sim_below(interrupts));
    }
}

static void switch_to(unsigned next)
{
    unsigned from = current;

    if (next == from)
        return;
    current = next;
    fiber_switch(&fibers[from].told, &fibers[next].told, fibers[from].state == FREE && from != HOME,
                 &fibers[from].stack_pointer, fibers[next].stack_pointer, 0);
}

void sim_yield(void)
{
    unsigned next;

    if (current == HOME)
        return;
    pass_time(1 + sim_below(50));
    next = choose();
    budget = 1 + (long)sim_below(2 * options.pace);
    switch_to(next);
}

void sim_point(void)
{
    budget -= POINT;
    if (budget <= 0)
        sim_yield();
}

/* Called at every basic block of what is compiled with -fsanitize-coverage=trace-pc. */
void __sanitizer_cov_trace_pc(void);
void __sanitizer_cov_trace_pc(void)
{
    if (--budget <= 0)
        sim_yield();
}

/* ---- fibers ---- */

/* What chalk_switch() finds on a stack that never ran. */
struct first_frame {
    uint32_t mxcsr;
    uint16_t x87, unused;
    uint64_t r15, r14, r13, r12, rbx, rbp;
    void (*rip)(void);
    uint64_t return_address[3]; /* of first(), which has none; so that its stack is aligned as if called */
};

static void __attribute__((noreturn)) first(void)
{
    struct fiber *fiber = &fibers[current];

    fiber_enter(&fiber->told);
    if (current == DEVICE)
        device_main();
    fiber->entry(current, fiber->argument);
    sim_trace("ends", 0, 0, 0, 0);
    fiber->state = FREE;
    switch_to(current == 0 ? HOME : choose());
    __builtin_unreachable();
}

static void make_fiber(unsigned i, void (*entry)(unsigned core, void *argument), void *argument)
{
    struct first_frame *frame = (struct first_frame *)(void *)(stacks[i] + STACK - sizeof *frame);

    _Static_assert(sizeof *frame % 16 == 8, "the frame's end is where a call leaves the stack pointer");
    fiber_start(&fibers[i].told, stacks[i], STACK);
    fiber_end(&fibers[i].told); /* what a run before left on it */
    fibers[i].entry = entry;
    fibers[i].argument = argument;
    fibers[i].state = RUNS;
    fibers[i].stack_pointer = frame;
    memset(frame, 0, sizeof *frame);
    frame->mxcsr = 0x1f80; /* psABI 3.2.1 and figure 3.4, as for tasks */
    frame->x87 = 0x37f;
    frame->rip = first;
}

void sim_run(const struct sim_options *run, void (*entry)(unsigned core, void *argument), void *argument)
{
    options = *run;
    random_state = run->seed;
    now = 1000;
    steps = 0;
    budget = 1;
    memset(fibers, 0, sizeof fibers);
    memset(events, 0, sizeof events);
    trace_begin(run);
    platform_begin();
    device_begin(run);
    make_fiber(DEVICE, NULL, NULL);
    make_fiber(0, entry, argument);
    switch_to(0);
    for (unsigned core = 0; core < SIM_CORES; core++)
        if (fibers[core].state != FREE)
            sim_fail("core %u still runs at the end", core);
}

/* ---- cores, as the contract has them ---- */

int chalk_core_get_info(unsigned core, struct chalk_core_info *info)
{
    if (core >= SIM_CORES)
        return -ENOENT;
    *info = (struct chalk_core_info){
        .core = core, .running = fibers[core].state != FREE, .events = &events[core]};
    return 0;
}

int chalk_core_start(unsigned core, void (*entry)(unsigned core, void *argument), void *argument)
{
    sim_point();
    if (core >= SIM_CORES)
        return -ENOENT;
    if (fibers[core].state != FREE)
        return -EBUSY;
    sim_trace("starts core %llu", core, 0, 0, 0);
    make_fiber(core, entry, argument);
    return 0;
}

void sim_ring_core(unsigned core)
{
    atomic_fetch_add(&events[core], 1);
}

void chalk_core_wake(unsigned core)
{
    sim_point();
    if (core < SIM_CORES) {
        sim_trace("wakes core %llu", core, 0, 0, 0);
        sim_ring_core(core);
    }
    sim_point();
}

static void wait_as(enum state state, uint32_t seen, uint64_t deadline)
{
    struct fiber *fiber = &fibers[current];

    fiber->seen = seen;
    fiber->deadline = deadline;
    fiber->state = state;
    sim_yield();
    fiber->state = RUNS;
}

void chalk_core_wait(unsigned core, uint32_t seen, uint64_t deadline)
{
    if (core != current)
        sim_fail("core %u waits as if it were core %u", current, core);
    sim_point();
    device_collect(core);
    if (deadline == 0 || atomic_load(&events[core]) != seen)
        return;
    sim_trace("waits, until %llu", deadline, 0, 0, 0);
    wait_as(WAITS, seen, deadline);
    sim_active();
    device_collect(core);
}

void sim_sleep(uint64_t ns)
{
    wait_as(SLEEPS, 0, now + ns);
}

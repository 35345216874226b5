/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An interrupt at each instruction of the wait window: bare, under -icount, where the local APIC's timer and
 * the time stamp counter go on by one an instruction. A wait is given deadlines that lie one tick further
 * each time, so that its timer goes off at every instruction on the way into the sleep and beyond; first as
 * the platform's own timer, then as a device's interrupt. Where one is lost, core 0 sleeps for ever, and core
 * 1 says so.
 */
#include <chalk/clock.h>
#include <chalk/core.h>
#include <chalk/main.h>

#include <stdatomic.h>
#include <stdio.h>

#define WINDOW 4000u /* ticks: a wait that has nothing to do needs some hundred to get to its sleep */
#define ROUNDS 5u

/* Intel SDM vol. 3 table 11-1; in emulation it is always in this mode, and at this place */
#define LVT_TIMER ((volatile uint32_t *)0xfee00320)

/* Of the platform, in an image only. */
extern int interrupt_attach(unsigned core, _Atomic(uint32_t) *counter) __attribute__((weak));

static _Atomic(uint32_t) step, interrupts;

static void watch(unsigned core, void *argument)
{
    (void)argument;
    for (uint32_t last = UINT32_MAX; step != last;) {
        last = step;
        chalk_sleep(core, 1 * CHALK_S);
    }
    printf("a wake-up was lost: core 0 sleeps on after step %u of %u\n", (unsigned)step, 2 * ROUNDS * WINDOW);
    chalk_exit(1);
}

/* Returns how many waits really slept: they took longer than the way to the sleep and back. */
static unsigned sweep(const struct chalk_core_info *info, uint64_t *latest)
{
    unsigned slept = 0;

    for (unsigned i = 0; i < ROUNDS * WINDOW; i++, step++) {
        uint32_t before = interrupts;
        uint64_t deadline = chalk_ticks() + i % WINDOW;

        chalk_core_wait(0, *info->events, deadline);
        uint64_t now = chalk_ticks(), late = now > deadline ? now - deadline : 0;
        slept += interrupts != before;
        if (late > *latest)
            *latest = late;
        chalk_core_wait(0, *info->events, 0); /* what is left of this one is not the next one's */
    }
    return slept;
}

int chalk_main(int argc, char *argv[])
{
    struct chalk_core_info info;
    uint64_t latest = 0;

    (void)argc, (void)argv;
    if (interrupt_attach == NULL || chalk_core_info(0, &info) != 0 || chalk_core_start(1, watch, NULL) != 0) {
        printf("this is for an image, on two cores\n");
        return 2;
    }
    sweep(&info, &latest);
    int vector = interrupt_attach(0, &interrupts);
    *LVT_TIMER = (uint32_t)vector;
    unsigned slept = sweep(&info, &latest);
    printf("%u waits, %u ended by a device's interrupt, none later than %u ticks\n", 2 * ROUNDS * WINDOW,
           slept, (unsigned)latest);
    return slept > ROUNDS * WINDOW / 2 && latest < WINDOW ? 0 : 1;
}

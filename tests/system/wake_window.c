/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An interrupt, or a wake, at each instruction of the wait window: bare, under -icount, where the local
 * APIC's timer and the time stamp counter go on by one an instruction, and the cores take turns.
 *
 * First a wait is given deadlines that lie one tick further each time, so that its timer goes off at every
 * instruction on the way into the sleep and beyond: as the platform's own timer, then as a device's
 * interrupt. Then core 0 sleeps until core 1 is at one instruction after the other on its way into a sleep,
 * stops it there by waking up, and wakes it. (QEMU goes on with core 0 when a timer goes off, so it has to be
 * this way round.) Who is not woken sleeps for ever, and the other core says so.
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
static atomic_bool swept;
static _Atomic(uint64_t) aim; /* when core 1 is to be woken; 0: not now */

static void lost(unsigned core)
{
    printf("a wake-up was lost: core %u sleeps on after step %u\n", core, (unsigned)step);
    chalk_exit(1);
}

static void watch(unsigned core, void *argument)
{
    (void)argument;
    for (uint32_t last = UINT32_MAX; !swept;) {
        if (step == last)
            lost(0);
        last = step;
        chalk_sleep(core, 1 * CHALK_S);
    }
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

/* Core 1, which is woken at one instruction further each time. */
static void sleeper(unsigned core, void *argument)
{
    struct chalk_core_info info;

    (void)argument;
    chalk_core_get_info(core, &info);
    for (unsigned i = 0; i < WINDOW; i++, step++) {
        uint32_t seen = *info.events;
        uint64_t start = chalk_ticks() + 10000; /* by then core 0 sleeps */

        aim = start + i;
        chalk_core_wake(0);
        while (!chalk_expired(start))
            chalk_pause();
        while (*info.events == seen)
            chalk_core_wait(core, seen, CHALK_FOREVER);
    }
}

static void wake_sleeper(const struct chalk_core_info *info)
{
    for (unsigned i = 0; i < WINDOW; i++) {
        uint64_t deadline = chalk_deadline(CHALK_S), when;

        while ((when = aim) == 0) {
            uint32_t seen = *info->events;

            if (chalk_expired(deadline))
                lost(1);
            if (aim == 0)
                chalk_core_wait(0, seen, deadline);
        }
        aim = 0;
        chalk_sleep_until(0, when);
        chalk_core_wake(1);
    }
}

int chalk_main(int argc, char *argv[])
{
    struct chalk_core_info info;
    uint64_t latest = 0;

    (void)argc, (void)argv;
    if (interrupt_attach == NULL || chalk_core_get_info(0, &info) != 0 ||
        chalk_core_start(1, watch, NULL) != 0) {
        printf("this is for an image, on two cores\n");
        return 2;
    }
    sweep(&info, &latest);
    int vector = interrupt_attach(0, &interrupts);
    *LVT_TIMER = (uint32_t)vector;
    unsigned slept = sweep(&info, &latest);
    swept = true;
    chalk_core_wake(1);
    if (chalk_core_join(0, 1, chalk_deadline(10 * CHALK_S)) != 0 || chalk_core_start(1, sleeper, NULL) != 0)
        return 1;
    wake_sleeper(&info);
    if (chalk_core_join(0, 1, chalk_deadline(10 * CHALK_S)) != 0)
        lost(1);
    printf("%u steps, %u waits ended by a device's interrupt, none later than %u ticks\n", (unsigned)step,
           slept, (unsigned)latest);
    return slept > ROUNDS * WINDOW / 2 && latest < WINDOW ? 0 : 1;
}

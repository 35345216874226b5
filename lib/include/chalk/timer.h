/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Timers: functions that are called when their deadline has come, from a wheel that somebody turns.
 *
 * A wheel is exact. A timer never fires before its deadline; those that are due fire in the order of their
 * deadlines, and of their arming where these are equal. Arming and cancelling cost the same whether there are
 * ten timers or a million: nothing is searched, allocated or divided. A wheel belongs to one core.
 *
 * The loop of <chalk/loop.h> has a wheel and turns it; a program with a loop of its own may take just this:
 *
 *     chalk_wheel_start(&wheel, chalk_ticks());
 *     chalk_timer_arm(&wheel, &timer, chalk_deadline(5 * CHALK_MS));
 *     for (;;)
 *         chalk_wheel_turn(&wheel, chalk_ticks());
 */
#ifndef CHALK_TIMER_H
#define CHALK_TIMER_H

#include <chalk/platform.h>

#ifdef __cplusplus
extern "C" {
#endif

struct chalk_timer_link {
    struct chalk_timer_link *next, *previous;
};

/* The caller's memory, zeroed at first, which stays where it is while the timer is armed. */
struct chalk_timer {
    struct chalk_timer_link link;            /* the wheel's; next is NULL while the timer is not armed */
    uint64_t deadline;                       /* ticks */
    void (*fire)(struct chalk_timer *timer); /* may arm and cancel any timer, this one too */
    unsigned slot;                           /* the wheel's */
};

/*
 * A digit of 6 bits for each level: 11 levels make 64 bits, so that ticks need no rounding and no deadline is
 * too far. A timer lies at the level of the highest digit in which its deadline differs from `now`, in the
 * slot of that digit.
 */
#define CHALK_WHEEL_LEVELS 11
#define CHALK_WHEEL_SLOTS  64

struct chalk_wheel {
    uint64_t now;                          /* ticks: up to where it was turned */
    uint32_t levels;                       /* a bit for each level that holds timers */
    uint64_t occupied[CHALK_WHEEL_LEVELS]; /* a bit for each slot that does */
    struct chalk_timer_link overdue;       /* armed when their deadline had come already */
    struct chalk_timer_link slots[CHALK_WHEEL_LEVELS * CHALK_WHEEL_SLOTS];
};

void chalk_wheel_start(struct chalk_wheel *wheel, uint64_t now);

/*
 * Has `timer` fire at the first turn at or after `deadline`; a deadline that has passed is the next turn's. A
 * timer that is armed already is moved.
 */
void chalk_timer_arm(struct chalk_wheel *wheel, struct chalk_timer *timer, uint64_t deadline);

/* Whether the timer was armed: then it will not fire. False, and nothing is done, if it has fired or never
 * was. */
bool chalk_timer_cancel(struct chalk_wheel *wheel, struct chalk_timer *timer);

static inline bool chalk_timer_armed(const struct chalk_timer *timer)
{
    return timer->link.next != NULL;
}

/*
 * Fires every timer whose deadline is `now` or earlier, and returns how many. What a timer arms with a
 * deadline that has passed fires in the next turn, so that a turn ends.
 */
unsigned chalk_wheel_turn(struct chalk_wheel *wheel, uint64_t now);

/*
 * When to turn the wheel again: never later than the next deadline; CHALK_FOREVER if no timer is armed. It
 * may be earlier, when several timers lie close together and far ahead; then that turn fires nothing, and
 * there are at most ten such turns before a timer's.
 */
uint64_t chalk_wheel_next(const struct chalk_wheel *wheel);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hierarchical timing wheel (Varghese and Lauck, "Hashed and hierarchical timing wheels", 1987, scheme 7)
 * with a bit for each slot that is in use, so that empty slots cost nothing however far time jumps.
 *
 * All timers of one slot agree with `now` in the digits above its level, and are ahead of it in that digit.
 * So the lowest level in use holds the earliest timers, and in it the first slot. When time reaches a slot
 * its timers move to lower levels; at level 0 a slot is one tick, and all of its timers are due. A timer that
 * is alone in the first slot is the next one, whatever its level, and need not move at all.
 */
#include <chalk/timer.h>

#define DIGIT_BITS 6
#define DIGIT      (CHALK_WHEEL_SLOTS - 1)
#define OVERDUE    (CHALK_WHEEL_LEVELS * CHALK_WHEEL_SLOTS) /* in place of a slot's number */

_Static_assert(1 << DIGIT_BITS == CHALK_WHEEL_SLOTS && DIGIT_BITS * CHALK_WHEEL_LEVELS >= 64,
               "the levels reach over all ticks");

static void list_start(struct chalk_timer_link *list)
{
    list->next = list->previous = list;
}

static bool list_empty(const struct chalk_timer_link *list)
{
    return list->next == list;
}

static void list_append(struct chalk_timer_link *list, struct chalk_timer_link *link)
{
    link->next = list;
    link->previous = list->previous;
    list->previous->next = link;
    list->previous = link;
}

/* Moves what is in `from` into `to`, which is not started. */
static void list_move(struct chalk_timer_link *to, struct chalk_timer_link *from)
{
    *to = *from;
    to->next->previous = to->previous->next = to;
    list_start(from);
}

static struct chalk_timer *timer_of(struct chalk_timer_link *link)
{
    return (struct chalk_timer *)link;
}

void chalk_wheel_start(struct chalk_wheel *wheel, uint64_t now)
{
    wheel->now = now;
    wheel->levels = 0;
    list_start(&wheel->overdue);
    for (unsigned level = 0; level < CHALK_WHEEL_LEVELS; level++)
        wheel->occupied[level] = 0;
    for (unsigned slot = 0; slot < CHALK_WHEEL_LEVELS * CHALK_WHEEL_SLOTS; slot++)
        list_start(&wheel->slots[slot]);
}

/* The level of the highest digit in which two times differ; the product is msb / 6 for every msb below 64. */
static unsigned level_between(uint64_t a, uint64_t b)
{
    unsigned msb = 63 - (unsigned)__builtin_clzll((a ^ b) | 1);

    return msb * 43 >> 8;
}

/* The deadline is now or later. */
static void place(struct chalk_wheel *wheel, struct chalk_timer *timer)
{
    unsigned level = level_between(timer->deadline, wheel->now);
    unsigned index = timer->deadline >> level * DIGIT_BITS & DIGIT;

    timer->slot = level * CHALK_WHEEL_SLOTS + index;
    wheel->levels |= 1u << level;
    wheel->occupied[level] |= 1ull << index;
    list_append(&wheel->slots[timer->slot], &timer->link);
}

static void forget(struct chalk_wheel *wheel, unsigned slot)
{
    unsigned level = slot / CHALK_WHEEL_SLOTS;

    wheel->occupied[level] &= ~(1ull << slot % CHALK_WHEEL_SLOTS);
    if (wheel->occupied[level] == 0)
        wheel->levels &= ~(1u << level);
}

static void take_out(struct chalk_wheel *wheel, struct chalk_timer *timer)
{
    struct chalk_timer_link *next = timer->link.next, *previous = timer->link.previous;

    next->previous = previous;
    previous->next = next;
    timer->link.next = NULL;
    if (next == previous && timer->slot != OVERDUE) /* both are the slot: it was the last one */
        forget(wheel, timer->slot);
}

void chalk_timer_arm(struct chalk_wheel *wheel, struct chalk_timer *timer, uint64_t deadline)
{
    if (chalk_timer_armed(timer))
        take_out(wheel, timer);
    timer->deadline = deadline;
    if (deadline > wheel->now) {
        place(wheel, timer);
    } else {
        timer->slot = OVERDUE;
        list_append(&wheel->overdue, &timer->link);
    }
}

bool chalk_timer_cancel(struct chalk_wheel *wheel, struct chalk_timer *timer)
{
    if (!chalk_timer_armed(timer))
        return false;
    take_out(wheel, timer);
    return true;
}

/* The first slot in use, and the time at which it begins. There is one. */
static unsigned first_slot(const struct chalk_wheel *wheel, uint64_t *start)
{
    unsigned level = (unsigned)__builtin_ctz(wheel->levels);
    unsigned index = (unsigned)__builtin_ctzll(wheel->occupied[level]);
    unsigned shift = level * DIGIT_BITS;

    *start = ((wheel->now >> shift & ~(uint64_t)DIGIT) | index) << shift;
    return level * CHALK_WHEEL_SLOTS + index;
}

static void fire(struct chalk_wheel *wheel, struct chalk_timer *timer)
{
    take_out(wheel, timer);
    timer->fire(timer);
}

static unsigned fire_overdue(struct chalk_wheel *wheel)
{
    struct chalk_timer_link due;
    unsigned fired = 0;

    for (list_move(&due, &wheel->overdue); !list_empty(&due); fired++)
        fire(wheel, timer_of(due.next));
    return fired;
}

/* Time has come to the beginning of the slot: its timers go where they belong as seen from there. */
static void spread(struct chalk_wheel *wheel, unsigned slot)
{
    struct chalk_timer_link timers, *next;

    list_move(&timers, &wheel->slots[slot]);
    forget(wheel, slot);
    for (struct chalk_timer_link *link = timers.next; link != &timers; link = next) {
        next = link->next;
        place(wheel, timer_of(link));
    }
}

unsigned chalk_wheel_turn(struct chalk_wheel *wheel, uint64_t now)
{
    unsigned fired = list_empty(&wheel->overdue) ? 0 : fire_overdue(wheel);

    while (wheel->levels != 0) {
        uint64_t start;
        unsigned slot = first_slot(wheel, &start);
        struct chalk_timer_link *timers = &wheel->slots[slot];
        struct chalk_timer *timer = timer_of(timers->next);
        bool alone = timers->next == timers->previous;

        if (start > now)
            break;
        if (slot < CHALK_WHEEL_SLOTS || (alone && timer->deadline <= now)) {
            wheel->now = timer->deadline;
            fire(wheel, timer);
            fired++;
        } else if (alone) { /* the next one, and it is not due: seen from `now` it lies lower */
            take_out(wheel, timer);
            wheel->now = now;
            place(wheel, timer);
            break;
        } else {
            wheel->now = start;
            spread(wheel, slot);
        }
    }
    if (now > wheel->now)
        wheel->now = now;
    return fired;
}

uint64_t chalk_wheel_next(const struct chalk_wheel *wheel)
{
    const struct chalk_timer_link *timers;
    uint64_t start;

    if (!list_empty(&wheel->overdue))
        return wheel->now;
    if (wheel->levels == 0)
        return CHALK_FOREVER;
    timers = &wheel->slots[first_slot(wheel, &start)];
    return timers->next == timers->previous ? timer_of(timers->next)->deadline : start;
}

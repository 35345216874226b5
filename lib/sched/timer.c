/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hierarchical timing wheel (Varghese and Lauck, "Hashed and hierarchical timing wheels", 1987, scheme 7)
 * with a bit for each slot that is in use, so that empty slots cost nothing however far time jumps.
 *
 * All timers of one slot agree with `now` in the digits above its level, and are ahead of it in that digit.
 * So the lowest level in use holds the earliest timers, and in it the first slot. When time has passed over a
 * slot its timers are sorted and fired; when it has only reached the slot they move to lower levels. A timer
 * that is alone in the first slot is the next one, whatever its level, and need not move at all.
 */
#include <chalk/timer.h>

#define DIGIT_BITS 6
#define DIGIT      (CHALK_WHEEL_SLOTS - 1)
#define FEW        4 /* timers of a slot: no pass of a radix sort pays */
#define MANY                                                                                                 \
    128 /* not left to an insertion sort after one pass, since that might take each past all others */
#define OVERDUE (CHALK_WHEEL_LEVELS * CHALK_WHEEL_SLOTS) /* in place of a slot's number */

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

static void list_insert(struct chalk_timer_link *after, struct chalk_timer_link *link)
{
    link->previous = after;
    link->next = after->next;
    link->next->previous = link;
    after->next = link;
}

static void list_append(struct chalk_timer_link *list, struct chalk_timer_link *link)
{
    list_insert(list->previous, link);
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

/* The list for a deadline that is now or later. */
static struct chalk_timer_link *list_for(struct chalk_wheel *wheel, struct chalk_timer *timer)
{
    unsigned level = level_between(timer->deadline, wheel->now);
    unsigned index = timer->deadline >> level * DIGIT_BITS & DIGIT;

    timer->slot = level * CHALK_WHEEL_SLOTS + index;
    wheel->levels |= 1u << level;
    wheel->occupied[level] |= 1ull << index;
    return &wheel->slots[timer->slot];
}

static void place(struct chalk_wheel *wheel, struct chalk_timer *timer)
{
    list_append(list_for(wheel, timer), &timer->link);
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

/* The first slot in use, and its first and last tick. There is one. */
static unsigned first_slot(const struct chalk_wheel *wheel, uint64_t *start, uint64_t *end)
{
    unsigned level = (unsigned)__builtin_ctz(wheel->levels);
    unsigned index = (unsigned)__builtin_ctzll(wheel->occupied[level]);
    unsigned shift = level * DIGIT_BITS;

    *start = ((wheel->now >> shift & ~(uint64_t)DIGIT) | index) << shift;
    *end = *start | (((uint64_t)1 << shift) - 1);
    return level * CHALK_WHEEL_SLOTS + index;
}

/* ---- firing ---- */

/* Fires the first of `due`; what is there counts as overdue, and may be cancelled. */
static void fire_first(struct chalk_timer_link *due)
{
    struct chalk_timer *timer = timer_of(due->next);

    due->next = timer->link.next;
    due->next->previous = due;
    timer->link.next = NULL;
    timer->fire(timer);
}

static unsigned fire_overdue(struct chalk_wheel *wheel)
{
    struct chalk_timer_link due;
    unsigned fired = 0;

    for (list_move(&due, &wheel->overdue); !list_empty(&due); fired++)
        fire_first(&due);
    return fired;
}

/* Time has come to a slot, and not over it: its timers go where they belong as seen from its beginning. */
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

static unsigned count_up_to(unsigned most, const struct chalk_timer_link *list)
{
    unsigned count = 0;

    for (; list != NULL && count < most; list = list->next)
        count++;
    return count;
}

/*
 * One pass of a radix sort: a list, of which only `next` is used, by the digit of its level. The slots of
 * that level are empty, and serve as the piles.
 */
static struct chalk_timer_link *sort_digit(struct chalk_wheel *wheel, unsigned level,
                                           struct chalk_timer_link *first)
{
    struct chalk_timer_link *piles = &wheel->slots[level * CHALK_WHEEL_SLOTS], result, *end = &result;
    uint64_t used = 0;

    for (struct chalk_timer_link *link = first; link != NULL; link = link->next) {
        unsigned digit = timer_of(link)->deadline >> level * DIGIT_BITS & DIGIT;

        piles[digit].previous->next = link;
        piles[digit].previous = link;
        used |= 1ull << digit;
    }
    for (; used != 0; used &= used - 1) {
        struct chalk_timer_link *pile = &piles[__builtin_ctzll(used)];

        end->next = pile->next;
        end = pile->previous;
        list_start(pile);
    }
    end->next = NULL;
    return result.next;
}

/*
 * Moves a slot's timers into `due`, sorted; those that are equal keep their order. An insertion sort, after
 * passes of a radix sort: none for few timers. The highest digit leaves little to do, unless they are
 * crowded; many might be, and have all their digits sorted.
 */
static void sort(struct chalk_wheel *wheel, unsigned slot, struct chalk_timer_link *due)
{
    struct chalk_timer_link *timers = &wheel->slots[slot], *first = timers->next, *next;
    unsigned level = slot / CHALK_WHEEL_SLOTS, count;

    timers->previous->next = NULL;
    list_start(timers);
    forget(wheel, slot);
    count = count_up_to(MANY, first);
    if (level > 0 && count > FEW)
        for (unsigned digit = count < MANY ? level - 1 : 0; digit < level; digit++)
            first = sort_digit(wheel, digit, first);
    list_start(due);
    for (; first != NULL; first = next) {
        struct chalk_timer_link *after = due->previous;

        next = first->next;
        timer_of(first)->slot = OVERDUE;
        while (after != due && timer_of(after)->deadline > timer_of(first)->deadline)
            after = after->previous;
        list_insert(after, first);
    }
}

/*
 * Fires the timers of a slot, all of them due. The wheel has no earlier ones; so if one appears in a level
 * below, it was armed just now, for a time in this slot, and the rest go back to take their turns with it:
 * before those of the same deadline, since they were armed before.
 */
static unsigned fire_slot(struct chalk_wheel *wheel, unsigned slot)
{
    const uint32_t below = (1u << slot / CHALK_WHEEL_SLOTS) - 1;
    struct chalk_timer_link due;
    unsigned fired = 0;

    sort(wheel, slot, &due);
    do {
        wheel->now = timer_of(due.next)->deadline;
        fire_first(&due);
        fired++;
    } while (!list_empty(&due) && (wheel->levels & below) == 0);
    while (!list_empty(&due)) {
        struct chalk_timer_link *last = due.previous;

        due.previous = last->previous;
        due.previous->next = &due;
        list_insert(list_for(wheel, timer_of(last)), last);
    }
    return fired;
}

unsigned chalk_wheel_turn(struct chalk_wheel *wheel, uint64_t now)
{
    unsigned fired = list_empty(&wheel->overdue) ? 0 : fire_overdue(wheel);

    while (wheel->levels != 0) {
        uint64_t start, end;
        unsigned slot = first_slot(wheel, &start, &end);
        struct chalk_timer_link *timers = &wheel->slots[slot];
        struct chalk_timer *timer = timer_of(timers->next);
        bool alone = timers->next == timers->previous;

        if (start > now)
            break;
        if (end <= now || (alone && timer->deadline <= now)) {
            fired += fire_slot(wheel, slot);
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
    uint64_t start, end;

    if (!list_empty(&wheel->overdue))
        return wheel->now;
    if (wheel->levels == 0)
        return CHALK_FOREVER;
    timers = &wheel->slots[first_slot(wheel, &start, &end)];
    return timers->next == timers->previous ? timer_of(timers->next)->deadline : start;
}

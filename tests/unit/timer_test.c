/* SPDX-License-Identifier: BSD-2-Clause */
/* The wheel beside the plainest thing that does the same: a list that is searched. */
#include "platform_fake.h"
#include <chalk/random.h>
#include <chalk/timer.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TIMERS 300

/* A timer, and what the reference knows of it. */
struct pair {
    struct chalk_timer timer;
    bool armed;
    uint64_t deadline; /* as the reference sees it: one that had passed counts as armed for `from` */
    uint64_t order;
};

static struct {
    struct chalk_wheel wheel;
    struct pair pairs[TIMERS];
    uint64_t now, order, seed;
    unsigned fired;
    bool rearm;
} w;

static int setup(void **state)
{
    (void)state;
    fake_reset();
    memset(&w, 0, sizeof w);
    w.now = 12345;
    w.seed = 1;
    chalk_wheel_start(&w.wheel, w.now);
    return 0;
}

static struct pair *earliest(void)
{
    struct pair *found = NULL;

    for (unsigned i = 0; i < TIMERS; i++) {
        struct pair *p = &w.pairs[i];

        if (p->armed && (!found || p->deadline < found->deadline ||
                         (p->deadline == found->deadline && p->order < found->order)))
            found = p;
    }
    return found;
}

static void fire(struct chalk_timer *timer);

static void arm(struct pair *p, uint64_t deadline)
{
    p->timer.fire = fire;
    p->armed = true;
    p->deadline = deadline > w.wheel.now ? deadline : 0; /* overdue: before all others, in order */
    p->order = w.order++;
    chalk_timer_arm(&w.wheel, &p->timer, deadline);
}

/* Mostly near, at times as far as numbers go. */
static uint64_t random_distance(void)
{
    unsigned bits = (unsigned)chalk_random_below(&w.seed, chalk_random_below(&w.seed, 20) == 0 ? 63 : 26);

    return chalk_random_below(&w.seed, 2ull << bits);
}

static void fire(struct chalk_timer *timer)
{
    struct pair *p = (struct pair *)timer, *first = earliest();

    assert_ptr_equal(p, first);
    assert_true(p->deadline <= w.now);
    assert_false(chalk_timer_armed(timer));
    assert_false(chalk_timer_cancel(&w.wheel, timer));
    p->armed = false;
    w.fired++;
    if (w.rearm &&
        chalk_random_below(&w.seed, 2) == 0) /* ahead, so that the reference needs no second list */
        arm(p, w.wheel.now + 1 + random_distance());
    if (w.rearm && chalk_random_below(&w.seed, 4) == 0) {
        struct pair *other = &w.pairs[chalk_random_below(&w.seed, TIMERS)];

        assert_int_equal(chalk_timer_cancel(&w.wheel, &other->timer), other->armed);
        other->armed = false;
    }
}

static void turn_to(uint64_t now)
{
    const struct pair *first;
    unsigned fired;

    w.now = now;
    w.fired = 0;
    fired = chalk_wheel_turn(&w.wheel, now);
    assert_int_equal(fired, w.fired);
    first = earliest();
    assert_true(!first || first->deadline > now);
    assert_true(chalk_wheel_next(&w.wheel) > now);
    assert_true(chalk_wheel_next(&w.wheel) <= (first ? first->deadline : CHALK_FOREVER));
    assert_true(first || chalk_wheel_next(&w.wheel) == CHALK_FOREVER);
}

/* Half a million operations over a time of many seconds. */
static void wheel_is_like_a_sorted_list(void **state)
{
    uint64_t fired = 0;

    (void)state;
    w.rearm = true;
    for (unsigned step = 0; step < 100000; step++) {
        struct pair *p = &w.pairs[chalk_random_below(&w.seed, TIMERS)];

        switch (chalk_random_below(&w.seed, 5)) {
        case 0:
        case 1:
            arm(p, w.now + random_distance());
            break;
        case 2:
            arm(p, chalk_random_below(&w.seed, w.now + 1));
            break;
        case 3:
            assert_int_equal(chalk_timer_cancel(&w.wheel, &p->timer), p->armed);
            p->armed = false;
            break;
        default:
            turn_to(w.now + (chalk_random_below(&w.seed, 2) ? random_distance() % 100000
                                                            : chalk_random_below(&w.seed, 1 << 22)));
            fired += w.fired;
        }
    }
    assert_true(fired > 20000);
    print_message("# %llu timers fired in %llu ms of time\n", (unsigned long long)fired,
                  (unsigned long long)w.now / 1000000);
}

/* Few and many, crowded in a tick and spread over minutes, all in one turn; some arm others in the midst of
 * it. */
static void late_turn_fires_in_order(void **state)
{
    static const unsigned counts[] = {2, 4, 5, 127, 128, TIMERS};

    (void)state;
    for (unsigned bits = 0; bits < 40; bits++)
        for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; i++) {
            w.rearm = i % 2;
            for (unsigned n = 0; n < counts[i]; n++)
                arm(&w.pairs[n], w.now + 1 + chalk_random_below(&w.seed, 1ull << bits));
            turn_to(w.now + (1ull << bits));
            assert_true(w.fired >= counts[i] / 2);
            for (unsigned n = 0; n < TIMERS; n++) { /* those that lie ahead still */
                chalk_timer_cancel(&w.wheel, &w.pairs[n].timer);
                w.pairs[n].armed = false;
            }
        }
}

/* Who sleeps until chalk_wheel_next() is never late, and rarely early. */
static void sleeper_is_woken_in_time(void **state)
{
    unsigned turns = 0, fired = 0;

    (void)state;
    for (unsigned i = 0; i < TIMERS; i++)
        arm(&w.pairs[i], w.now + chalk_random_below(&w.seed, 1000000000));
    while (earliest()) {
        uint64_t deadline = earliest()->deadline, next = chalk_wheel_next(&w.wheel);

        turn_to(next);
        turns++;
        assert_int_equal(w.fired > 0, next == deadline);
        fired += w.fired;
    }
    assert_int_equal(fired, TIMERS);
    assert_true(turns <= 2 * TIMERS);
}

static void deadline_in_the_past_is_the_next_turns(void **state)
{
    (void)state;
    arm(&w.pairs[0], w.now);
    arm(&w.pairs[1], 0);
    assert_true(chalk_wheel_next(&w.wheel) <= w.now);
    w.now++;
    assert_int_equal(chalk_wheel_turn(&w.wheel, w.now), 2);
    assert_int_equal(chalk_wheel_turn(&w.wheel, w.now), 0);
}

static void again(struct chalk_timer *timer)
{
    w.fired++;
    chalk_timer_arm(&w.wheel, timer, 0);
}

/* A timer that arms itself in the past cannot hold a turn up. */
static void turn_ends(void **state)
{
    struct chalk_timer timer = {.fire = again};

    (void)state;
    chalk_timer_arm(&w.wheel, &timer, w.now + 1);
    for (unsigned i = 1; i <= 5; i++) {
        assert_int_equal(chalk_wheel_turn(&w.wheel, w.now + 1), 1);
        assert_int_equal(w.fired, i);
    }
    assert_true(chalk_timer_cancel(&w.wheel, &timer));
    assert_int_equal(chalk_wheel_turn(&w.wheel, w.now + 1), 0);
}

static void cancelled_timers_do_not_fire(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        arm(&w.pairs[i], w.now + 5); /* one slot */
    for (unsigned i = 0; i < 3; i++) {
        assert_true(chalk_timer_cancel(&w.wheel, &w.pairs[i].timer));
        assert_false(chalk_timer_cancel(&w.wheel, &w.pairs[i].timer));
        w.pairs[i].armed = false;
    }
    assert_int_equal(w.wheel.levels, 0);
    turn_to(w.now + 100);
    assert_int_equal(w.fired, 0);
}

static void armed_timer_is_moved(void **state)
{
    (void)state;
    arm(&w.pairs[0], w.now + 10);
    arm(&w.pairs[0], w.now + 1000000);
    turn_to(w.now + 999999);
    assert_int_equal(w.fired, 0);
    turn_to(w.now + 1);
    assert_int_equal(w.fired, 1);
}

static void deadlines_reach_to_the_end_of_time(void **state)
{
    (void)state;
    arm(&w.pairs[0], CHALK_FOREVER);
    arm(&w.pairs[1], CHALK_FOREVER - 1);
    assert_true(chalk_wheel_next(&w.wheel) > w.now);
    turn_to(CHALK_FOREVER - 2);
    assert_int_equal(w.fired, 0);
    w.now = CHALK_FOREVER;
    assert_int_equal(chalk_wheel_turn(&w.wheel, CHALK_FOREVER), 2);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(wheel_is_like_a_sorted_list),
        TEST(late_turn_fires_in_order),
        TEST(sleeper_is_woken_in_time),
        TEST(deadline_in_the_past_is_the_next_turns),
        TEST(turn_ends),
        TEST(cancelled_timers_do_not_fire),
        TEST(armed_timer_is_moved),
        TEST(deadlines_reach_to_the_end_of_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* A loop's turns: pollers, messages, rest, and how it ends. */
#include "platform_fake.h"
#include <chalk/clock.h>
#include <chalk/error.h>
#include <chalk/loop.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct chalk_memory *memory;
static struct chalk_loop *loop;

static int setup_idle(enum chalk_idle idle)
{
    fake_reset();
    if (chalk_memory_create(NULL, &memory) != 0)
        return -1;
    return chalk_loop_create(&(struct chalk_loop_options){.memory = memory, .idle = idle}, &loop);
}

static int setup(void **state)
{
    (void)state;
    return setup_idle(CHALK_IDLE_WAIT);
}

static int setup_spin(void **state)
{
    (void)state;
    return setup_idle(CHALK_IDLE_SPIN);
}

static int setup_adapt(void **state)
{
    (void)state;
    return setup_idle(CHALK_IDLE_ADAPT);
}

static int teardown(void **state)
{
    struct chalk_memory_usage usage;

    (void)state;
    chalk_loop_destroy(loop);
    chalk_memory_get_usage(memory, &usage);
    chalk_memory_destroy(memory);
    return usage.private_used == 0 ? 0 : -1;
}

static struct chalk_loop_counters counters(void)
{
    struct chalk_loop_counters now;

    chalk_loop_get_counters(loop, &now);
    return now;
}

static void core_must_exist(void **state)
{
    struct chalk_loop *other;

    (void)state;
    assert_int_equal(chalk_loop_create(&(struct chalk_loop_options){.memory = memory, .core = 99}, &other),
                     -ENOENT);
    assert_true(fake_console_has("chalk_loop_create(): there is no core 99; there are 2, numbered from 0"));
    assert_int_equal(
        chalk_loop_create(&(struct chalk_loop_options){.memory = memory, .idle = (enum chalk_idle)3}, &other),
        -EINVAL);
    assert_true(fake_console_has("chalk_loop_create(): idle is 3"));
}

static void memory_is_needed(void **state)
{
    struct chalk_loop *other;

    (void)state;
    assert_true(fake_exits(chalk_loop_create(&(struct chalk_loop_options){.core = 0}, &other)));
    assert_true(fake_console_has("chalk_loop_create(): options->memory is NULL"));
}

static void idle_loop_takes_little_memory(void **state)
{
    struct chalk_memory_usage usage;

    (void)state;
    chalk_memory_get_usage(memory, &usage);
    print_message("# an idle loop takes %zu bytes\n", usage.private_used);
    assert_true(usage.private_used < 64 << 10);
}

/* ---- pollers ---- */

struct counting_poller {
    struct chalk_poller poller;
    struct counting_poller *removes; /* in its next call */
    unsigned calls, work;
};

static unsigned count_call(struct chalk_poller *poller)
{
    struct counting_poller *self = (struct counting_poller *)poller;

    self->calls++;
    if (self->removes)
        chalk_loop_remove(loop, &self->removes->poller);
    self->removes = NULL;
    return self->work;
}

static void pollers_may_remove_each_other(void **state)
{
    struct counting_poller p[4];

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        p[i] = (struct counting_poller){.poller = {.poll = count_call, .name = "counter"}};
        chalk_loop_add(loop, &p[i].poller);
    }
    chalk_loop_turn(loop);
    p[0].removes = &p[1]; /* the next one */
    p[2].removes = &p[2]; /* itself */
    p[3].removes = &p[0]; /* an earlier one */
    chalk_loop_turn(loop);
    chalk_loop_turn(loop);
    assert_int_equal(p[0].calls, 2);
    assert_int_equal(p[1].calls, 1);
    assert_int_equal(p[2].calls, 2);
    assert_int_equal(p[3].calls, 3);
    p[3].removes = &p[3];
    chalk_loop_turn(loop);
    chalk_loop_add(loop, &p[1].poller);
    chalk_loop_turn(loop);
    assert_int_equal(p[3].calls, 4);
    assert_int_equal(p[1].calls, 2);
    assert_int_equal(counters().polls, 4 + 3 + 1 + 1 + 1);
}

static void removing_what_was_never_added_is_a_mistake(void **state)
{
    struct counting_poller p = {.poller = {.poll = count_call, .name = "counter"}};

    (void)state;
    assert_true(fake_exits(chalk_loop_remove(loop, &p.poller)));
}

static void turn_says_whether_there_was_work(void **state)
{
    struct counting_poller p = {.poller = {.poll = count_call, .name = "counter"}};

    (void)state;
    assert_false(chalk_loop_turn(loop));
    chalk_loop_add(loop, &p.poller);
    assert_false(chalk_loop_turn(loop));
    p.work = 1;
    assert_true(chalk_loop_turn(loop));
}

/* ---- rest ---- */

static void stop(struct chalk_timer *timer)
{
    (void)timer;
    chalk_loop_stop(loop);
}

static void loop_that_waits_sleeps_until_the_next_timer(void **state)
{
    struct chalk_timer timer = {.fire = stop};
    struct chalk_loop_counters after;

    (void)state;
    chalk_timer_arm(chalk_loop_wheel(loop), &timer, chalk_deadline(CHALK_S));
    assert_int_equal(chalk_loop_run(loop), 0);
    after = counters();
    assert_int_equal(after.timers, 1);
    assert_true(after.sleeps >= 1 && after.sleeps < 5);
    assert_true(after.busy_ticks < after.idle_ticks / 1000);
}

static void loop_that_spins_never_sleeps(void **state)
{
    struct chalk_timer timer = {.fire = stop};

    (void)state;
    chalk_timer_arm(chalk_loop_wheel(loop), &timer, chalk_deadline(CHALK_MS));
    assert_int_equal(chalk_loop_run(loop), 0);
    assert_int_equal(counters().sleeps, 0);
    assert_int_equal(fake.waits, 0);
}

static void loop_with_a_poller_that_must_be_polled_stays_awake(void **state)
{
    struct counting_poller p = {.poller = {.poll = count_call, .name = "counter", .awake = true}};
    struct chalk_timer timer = {.fire = stop};

    (void)state;
    chalk_loop_add(loop, &p.poller);
    chalk_timer_arm(chalk_loop_wheel(loop), &timer, chalk_deadline(CHALK_MS));
    assert_int_equal(chalk_loop_run(loop), 0);
    assert_int_equal(counters().sleeps, 0);
    assert_true(p.calls > 100);
}

/* Its time comes twice while nothing else happens. */
static unsigned call_again(struct chalk_poller *poller)
{
    struct counting_poller *self = (struct counting_poller *)poller;

    self->calls++;
    if (poller->due != 0 && chalk_expired(poller->due))
        poller->due = chalk_deadline(CHALK_MS);
    return 0;
}

static void loop_sleeps_until_a_poller_is_due(void **state)
{
    struct counting_poller p = {.poller = {.poll = call_again, .name = "due"}};
    struct chalk_timer timer = {.fire = stop};

    (void)state;
    p.poller.due = chalk_deadline(CHALK_MS);
    chalk_loop_add(loop, &p.poller);
    chalk_timer_arm(chalk_loop_wheel(loop), &timer, chalk_deadline(5 * CHALK_MS / 2));
    assert_int_equal(chalk_loop_run(loop), 0);
    assert_int_equal(counters().sleeps, 3);
    assert_in_range(p.calls, 3, 4);
    p.poller.due = 0;
    chalk_timer_arm(chalk_loop_wheel(loop), &timer, chalk_deadline(5 * CHALK_MS / 2));
    assert_int_equal(chalk_loop_run(loop), 0);
    assert_int_equal(counters().sleeps, 4);
}

static unsigned ticks_left;
static uint64_t period;

static void tick(struct chalk_timer *timer)
{
    if (--ticks_left == 0)
        chalk_loop_stop(loop);
    else
        chalk_timer_arm(chalk_loop_wheel(loop), timer, chalk_deadline(period));
}

static void run_ticks(unsigned count, uint64_t ns)
{
    struct chalk_timer timer = {.fire = tick};

    ticks_left = count;
    period = ns;
    chalk_timer_arm(chalk_loop_wheel(loop), &timer, chalk_deadline(ns));
    assert_int_equal(chalk_loop_run(loop), 0);
}

static void adaptive_loop_sleeps_when_it_pays(void **state)
{
    struct chalk_loop_counters before, after;

    (void)state;
    run_ticks(20, 10 * CHALK_MS); /* rare events: it learns not to spin */
    before = counters();
    run_ticks(20, 10 * CHALK_MS);
    after = counters();
    assert_int_equal(after.sleeps - before.sleeps, 20);
    assert_true(after.turns - before.turns < 2000);
    run_ticks(20, 20000); /* frequent ones: it learns to spin */
    before = counters();
    run_ticks(20, 20000);
    assert_true(counters().sleeps - before.sleeps <= 1);
}

static void request_to_end_the_program_ends_the_loop(void **state)
{
    (void)state;
    fake.exit_requested = true;
    assert_int_equal(chalk_loop_run(loop), -EINTR);
}

/* ---- messages ---- */

struct numbered_message {
    struct chalk_message message;
    unsigned number;
    bool answer;
};

static unsigned last_number, handled;

static void handle(struct chalk_message *message)
{
    struct numbered_message *self = (struct numbered_message *)message;

    handled++;
    assert_true(self->number > last_number);
    last_number = self->number;
    if (self->answer) {
        self->number += 1000;
        assert_int_equal(chalk_loop_send(loop, &message, 1), 1);
    }
}

static void messages_arrive_in_order(void **state)
{
    struct numbered_message m[CHALK_LOOP_MESSAGES + 10];
    struct chalk_message *list[CHALK_LOOP_MESSAGES + 10];

    (void)state;
    last_number = handled = 0;
    for (unsigned i = 0; i < CHALK_LOOP_MESSAGES + 10; i++) {
        m[i] = (struct numbered_message){{handle}, i + 1, false};
        list[i] = &m[i].message;
    }
    assert_int_equal(chalk_loop_send(loop, list, 0), 0);
    assert_int_equal(chalk_loop_send(loop, list, 7), 7);
    assert_int_equal(chalk_loop_send(loop, list + 7, CHALK_LOOP_MESSAGES), CHALK_LOOP_MESSAGES - 7);
    assert_int_equal(chalk_loop_send(loop, list + CHALK_LOOP_MESSAGES, 10), -EAGAIN);
    assert_true(chalk_loop_turn(loop));
    assert_int_equal(handled, CHALK_LOOP_MESSAGES);
    assert_int_equal(chalk_loop_send(loop, list + CHALK_LOOP_MESSAGES, 10), 10);
    chalk_loop_turn(loop);
    assert_int_equal(last_number, CHALK_LOOP_MESSAGES + 10);
    assert_int_equal(counters().messages, CHALK_LOOP_MESSAGES + 10);
}

static void message_that_sends_itself_does_not_hold_the_turn_up(void **state)
{
    struct numbered_message m = {{handle}, 1, true};
    struct chalk_message *list = &m.message;

    (void)state;
    last_number = handled = 0;
    assert_int_equal(chalk_loop_send(loop, &list, 1), 1);
    for (unsigned i = 1; i <= 3; i++) {
        chalk_loop_turn(loop);
        assert_int_equal(handled, i);
    }
}

static void message_before_the_sleep_is_not_slept_through(void **state)
{
    struct numbered_message m = {{handle}, 1, false};
    struct chalk_message *list = &m.message;

    (void)state;
    last_number = handled = 0;
    chalk_loop_stop(loop); /* would otherwise sleep for ever, which the fake platform does not let pass */
    assert_int_equal(chalk_loop_run(loop), 0);
    assert_int_equal(chalk_loop_send(loop, &list, 1), 1);
    fake.exit_requested = true;
    assert_int_equal(chalk_loop_run(loop), -EINTR);
    assert_int_equal(handled, 1);
}

/* ---- the watchdog ---- */

static unsigned never_returns(struct chalk_poller *poller)
{
    (void)poller;
    assert_false(chalk_loop_stuck(loop, CHALK_S));
    fake.now += 2 * CHALK_S;
    assert_true(chalk_loop_stuck(loop, CHALK_S));
    assert_true(fake_console_has("the loop on core 0 is stuck: greedy has not returned for 2000 ms"));
    return 0;
}

static void poller_that_does_not_return_is_named(void **state)
{
    struct chalk_poller poller = {.poll = never_returns, .name = "greedy"};

    (void)state;
    chalk_loop_add(loop, &poller);
    chalk_loop_turn(loop);
    fake.now += 2 * CHALK_S;
    assert_false(chalk_loop_stuck(loop, CHALK_S)); /* between turns */
}

#define TEST(name)            cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_WITH(name, idle) cmocka_unit_test_setup_teardown(name, setup_##idle, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(core_must_exist),
        TEST(memory_is_needed),
        TEST(idle_loop_takes_little_memory),
        TEST(pollers_may_remove_each_other),
        TEST(removing_what_was_never_added_is_a_mistake),
        TEST(turn_says_whether_there_was_work),
        TEST(loop_that_waits_sleeps_until_the_next_timer),
        TEST_WITH(loop_that_spins_never_sleeps, spin),
        TEST(loop_with_a_poller_that_must_be_polled_stays_awake),
        TEST(loop_sleeps_until_a_poller_is_due),
        TEST_WITH(adaptive_loop_sleeps_when_it_pays, adapt),
        TEST(request_to_end_the_program_ends_the_loop),
        TEST(messages_arrive_in_order),
        TEST(message_that_sends_itself_does_not_hold_the_turn_up),
        TEST(message_before_the_sleep_is_not_slept_through),
        TEST(poller_that_does_not_return_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

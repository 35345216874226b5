/* SPDX-License-Identifier: BSD-2-Clause */
/* Tasks: that they keep what is theirs, wait and wake, and run in the order that the policy says. */
#include "platform_fake.h"
#include <chalk/block.h>
#include <chalk/clock.h>
#include <chalk/error.h>
#include <chalk/loop.h>
#include <chalk/random.h>
#include <chalk/trace.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sanitizer/asan_interface.h>

static struct chalk_memory *memory;
static struct chalk_loop *loop;
static char trail[4096]; /* what tasks have written */
static struct chalk_queueing *policy;

static void leave_mark(const char *mark)
{
    strncat(trail, mark, sizeof trail - strlen(trail) - 1);
}

static int setup(void **state)
{
    const struct chalk_memory_options options = {.private_size = 8 << 20};

    (void)state;
    fake_reset();
    trail[0] = 0;
    policy = NULL;
    if (chalk_memory_create(&options, &memory) != 0)
        return -1;
    return chalk_loop_create(&(struct chalk_loop_options){.memory = memory, .idle = CHALK_IDLE_WAIT}, &loop);
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

static void start(const char *name, uint64_t rank, void (*run)(struct chalk_task *, void *), void *argument)
{
    const struct chalk_task_options options = {.name = name, .rank = rank};

    assert_int_equal(chalk_task_start(loop, &options, run, argument, NULL), 0);
}

/* Ends the loop when no task is left. */
static unsigned watch_tasks(struct chalk_poller *poller)
{
    struct chalk_loop_counters counters;

    (void)poller;
    chalk_loop_get_counters(loop, &counters);
    if (counters.tasks == 0)
        chalk_loop_stop(loop);
    return 0;
}

static void run_to_the_end(void)
{
    struct chalk_poller poller = {.poll = watch_tasks, .name = "watcher"};

    chalk_loop_add(loop, &poller);
    assert_int_equal(chalk_loop_run(loop), 0);
    chalk_loop_remove(loop, &poller);
}

/* ---- switching ---- */

static void marks(struct chalk_task *self, void *argument)
{
    for (unsigned i = 0; i < 3; i++) {
        leave_mark(argument);
        chalk_task_yield(self);
    }
}

static void yielding_tasks_take_turns(void **state)
{
    (void)state;
    start("a", 0, marks, "a");
    start("b", 0, marks, "b");
    start("c", 0, marks, "c");
    run_to_the_end();
    assert_string_equal(trail, "abcabcabc");
}

/* Registers, the stack and the control words of floating point are a task's own. */
static void counts(struct chalk_task *self, void *argument)
{
    const uint64_t seed = (uintptr_t)argument;
    uint16_t x87 = seed % 2 ? 0x37f : 0xf7f, x87_now;
    uint32_t mxcsr = seed % 3 ? 0x1f80 : 0x7f80, mxcsr_now;
    volatile uint64_t numbers[64];
    double sum = 0;

    assert_int_equal((uintptr_t)__builtin_frame_address(0) % 16, 0);
    __asm__ volatile("fldcw %0; ldmxcsr %1" : : "m"(x87), "m"(mxcsr));
    for (unsigned i = 0; i < 64; i++)
        numbers[i] = chalk_random_at(seed, i);
    for (unsigned i = 0; i < 64; i++) {
        chalk_task_yield(self);
        assert_true(numbers[i] == chalk_random_at(seed, i));
        sum += (double)(numbers[i] & 0xff);
    }
    __asm__ volatile("fnstcw %0; stmxcsr %1" : "=m"(x87_now), "=m"(mxcsr_now));
    assert_int_equal(x87_now, x87);
    assert_int_equal(mxcsr_now & 0xffc0, mxcsr);
    assert_true(sum > 0);
}

static void switching_keeps_what_is_a_tasks_own(void **state)
{
    uint16_t x87;
    uint32_t mxcsr;

    (void)state;
    for (uintptr_t i = 1; i <= 20; i++)
        start("counter", 0, counts, (void *)i);
    run_to_the_end();
    __asm__ volatile("fnstcw %0; stmxcsr %1" : "=m"(x87), "=m"(mxcsr));
    assert_int_equal(x87, 0x37f);
    assert_int_equal(mxcsr & 0xffc0, 0x1f80);
}

static unsigned endings;

static void nothing(struct chalk_task *self, void *argument)
{
    (void)self, (void)argument;
    endings++;
}

static void begets(struct chalk_task *self, void *argument)
{
    (void)argument;
    for (unsigned i = 0; i < 1000; i++) {
        start("child", 0, nothing, NULL);
        chalk_task_yield(self);
    }
}

static void stacks_are_used_again(void **state)
{
    struct chalk_memory_usage usage;

    (void)state;
    endings = 0;
    start("parent", 0, begets, NULL);
    run_to_the_end();
    chalk_memory_get_usage(memory, &usage);
    assert_int_equal(endings, 1000);
    assert_true(usage.private_used < 4 << 20);
}

/* Stacks of many sizes, some of each: what has ended is used again by its size, and no byte more is taken. */
static void stacks_are_used_again_by_their_size(void **state)
{
    struct chalk_memory_usage first, usage;

    (void)state;
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < 40; i++) {
            size_t pages = 1 + (i * (round % 2 ? 3 : 7)) % 20;

            assert_int_equal(chalk_task_start(loop,
                                              &(struct chalk_task_options){.stack_size = pages * CHALK_PAGE},
                                              nothing, NULL, NULL),
                             0);
        }
        run_to_the_end();
        chalk_memory_get_usage(memory, round == 0 ? &first : &usage);
        if (round > 0)
            assert_int_equal(usage.private_used, first.private_used);
    }
}

static void bad_stacks_are_refused(void **state)
{
    (void)state;
    assert_int_equal(
        chalk_task_start(loop, &(struct chalk_task_options){.stack_size = 100}, nothing, NULL, NULL),
        -EINVAL);
    assert_int_equal(
        chalk_task_start(loop, &(struct chalk_task_options){.stack_size = 1 << 30}, nothing, NULL, NULL),
        -ENOMEM);
    assert_int_equal(
        chalk_task_start(loop, &(struct chalk_task_options){.stack_size = SIZE_MAX}, nothing, NULL, NULL),
        -ENOMEM);
}

static void overruns(struct chalk_task *self, void *argument)
{
    (void)argument;
    *(uint64_t *)self->stack = 0; /* what runs over writes here first, where no guard page can be */
    chalk_task_yield(self);
}

#define FRAMES 16384 /* bytes that they take at most */

static void overrun_without_a_guard_page_is_named(void **state)
{
    (void)state;
    fake_fail("chalk_page_guard", 0, -ENOTSUP);
    start("careless", 0, overruns, NULL);
    assert_true(fake_exits(chalk_loop_run(loop)));
    assert_true(fake_console_has("the stack of task careless has overflowed"));
    /* The program would have ended: this one goes on, outside of any task. The frames that were never left,
     * on this stack, are memory like any other. */
    ASAN_UNPOISON_MEMORY_REGION((char *)__builtin_frame_address(0) - FRAMES, FRAMES);
    chalk_memory_destroy(memory);
    assert_int_equal(setup(NULL), 0);
}

/* ---- waiting ---- */

static struct chalk_task *waiting;
static int result;
static uint64_t until;

static void waits(struct chalk_task *self, void *argument)
{
    waiting = self;
    result = chalk_task_wait(self, *(uint64_t *)argument);
    until = chalk_ticks();
}

static void wakes(struct chalk_task *self, void *argument)
{
    (void)argument;
    chalk_task_sleep(self, chalk_deadline(CHALK_MS));
    assert_true(chalk_task_wake(waiting));
    assert_false(chalk_task_wake(waiting)); /* ready now */
}

static void task_waits_until_it_is_woken(void **state)
{
    uint64_t deadline = CHALK_FOREVER;

    (void)state;
    start("sleeper", 0, waits, &deadline);
    start("waker", 0, wakes, NULL);
    run_to_the_end();
    assert_int_equal(result, 0);
}

static void task_woken_before_its_deadline_is_not_woken_again(void **state)
{
    uint64_t deadline = chalk_deadline(5 * CHALK_MS);

    (void)state;
    start("sleeper", 0, waits, &deadline);
    start("waker", 0, wakes, NULL);
    run_to_the_end();
    assert_int_equal(result, 0);
    assert_true(until < deadline);
}

static void task_waits_until_its_deadline(void **state)
{
    uint64_t deadline = chalk_deadline(5 * CHALK_MS), waits_before = fake.waits;

    (void)state;
    start("sleeper", 0, waits, &deadline);
    run_to_the_end();
    assert_int_equal(result, -ETIMEDOUT);
    assert_in_range(until - deadline, 0, 10000);
    assert_true(fake.waits - waits_before < 10); /* asleep, not spinning */
}

static void deadline_in_the_past_ends_the_wait_at_once(void **state)
{
    uint64_t deadline = 1;

    (void)state;
    start("sleeper", 0, waits, &deadline);
    run_to_the_end();
    assert_int_equal(result, -ETIMEDOUT);
}

/* ---- interrupts ---- */

static struct fake_device *device;
static _Atomic(uint32_t) counter;

static void waits_for_interrupts(struct chalk_task *self, void *argument)
{
    unsigned *seen = argument;

    for (uint32_t before = 0; before < 3; before = counter) {
        assert_int_equal(chalk_task_wait_counter(self, &counter, before, chalk_deadline(CHALK_S)), 0);
        *seen += 1;
    }
    assert_int_equal(chalk_task_wait_counter(self, &counter, counter, chalk_deadline(CHALK_MS)), -ETIMEDOUT);
    assert_int_equal(chalk_task_wait_counter(self, &counter, counter - 1, CHALK_FOREVER), 0);
}

static void interrupt(struct chalk_timer *timer)
{
    fake_interrupt(device, 0);
    fake_interrupt(device, 0); /* together with the first */
    chalk_timer_arm(chalk_loop_wheel(loop), timer, chalk_deadline(CHALK_MS));
}

static void interrupt_wakes_the_task_that_waits(void **state)
{
    struct chalk_domain *domain = NULL;
    struct chalk_timer timer = {.fire = interrupt};
    struct chalk_device *handle;
    unsigned seen = 0;

    (void)state;
    counter = 0;
    device = fake_device_add("0000:00:03.0", 1, 2, 0x010802);
    device->vector_count = 1;
    assert_int_equal(chalk_device_open("0000:00:03.0", &domain, &handle), 0);
    assert_int_equal(chalk_vector_attach(handle, 0, 0, &counter), 0);
    start("handler", 0, waits_for_interrupts, &seen);
    chalk_timer_arm(chalk_loop_wheel(loop), &timer, chalk_deadline(CHALK_MS));
    while (seen < 2)
        chalk_loop_turn(loop);
    chalk_timer_cancel(chalk_loop_wheel(loop), &timer);
    run_to_the_end();
    assert_int_equal(seen, 2);
    chalk_device_close(handle);
}

/* ---- traces ---- */

static void traced(struct chalk_task *self, void *argument)
{
    chalk_task_yield(self);
    if (argument == NULL)
        chalk_task_sleep(self, chalk_deadline(CHALK_MS));
}

/* What is in the ring as text: "+1" is task 1 entered, "-1w" left while it waits, "z" a sleep. */
static void read_trace(const struct chalk_trace *trace)
{
    struct chalk_trace_record record;
    uint64_t position = 0;
    char text[64], name[17] = "";

    while (chalk_trace_next(trace, &position, &record)) {
        memcpy(name, &record.value, 8);
        memcpy(name + 8, &record.other, 8);
        if (record.kind == CHALK_TRACE_RUN)
            snprintf(text, sizeof text, "+%u %s ", record.number, name);
        else if (record.kind == CHALK_TRACE_PARK)
            snprintf(text, sizeof text, "-%u%c ", record.number, "rwe"[record.value]);
        else
            snprintf(text, sizeof text, record.kind == CHALK_TRACE_SLEEP ? "z" : "! ");
        leave_mark(text);
    }
}

static void trace_tells_who_ran_and_why_it_stopped(void **state)
{
    static uint64_t records[256 * CHALK_TRACE_RECORD / sizeof(uint64_t)];
    struct chalk_trace trace;

    (void)state;
    assert_int_equal(chalk_trace_init(&trace, 0, records, 256), 0);
    chalk_loop_trace(loop, &trace);
    start("sleeper", 0, traced, NULL);
    start("a name of more than sixteen", 0, traced, "");
    run_to_the_end();
    read_trace(&trace);
    assert_string_equal(trail,
                        "+1 sleeper -1r +2 a name of more t -2r +1 sleeper -1w +2 a name of more t -2e "
                        "z! +1 sleeper -1e ");
    chalk_loop_trace(loop, NULL);
    start("untraced", 0, traced, "");
    run_to_the_end();
    assert_int_equal(trace.next, 12);
}

/* ---- policies ---- */

static void marks_once(struct chalk_task *self, void *argument)
{
    (void)self;
    leave_mark(argument);
}

static void other_policy(struct chalk_queueing *queueing)
{
    chalk_loop_destroy(loop);
    assert_int_equal(
        chalk_loop_create(
            &(struct chalk_loop_options){.memory = memory, .idle = CHALK_IDLE_WAIT, .queueing = queueing},
            &loop),
        0);
}

static void priorities_are_kept(void **state)
{
    struct chalk_priority priority;

    (void)state;
    other_policy(chalk_priority_start(&priority));
    start("e", 1000, marks_once, "e");
    start("c", 5, marks, "c");
    start("a", 0, marks_once, "a");
    start("d", 5, marks, "d");
    start("b", 1, marks, "b");
    start("f", 63, marks_once, "f");
    run_to_the_end();
    assert_string_equal(trail, "abbbcdcdcdef");
}

/* Against the plainest reference: of those put and not taken, the one with the least (rank, order). */
static void earliest_deadline_is_first(void **state)
{
    static struct chalk_task tasks[200];
    static bool there[200];
    struct chalk_edf edf;
    struct chalk_queueing *queueing = chalk_edf_start(&edf);
    uint64_t seed = 7;

    (void)state;
    for (unsigned step = 0; step < 50000; step++) {
        unsigned i = (unsigned)chalk_random_below(&seed, 200), best = 200;

        if (!there[i] && chalk_random_below(&seed, 5) > 1) {
            tasks[i].rank = chalk_random_below(&seed, 50);
            queueing->put(queueing, &tasks[i]);
            there[i] = true;
            continue;
        }
        for (unsigned j = 0; j < 200; j++)
            if (there[j] && (best == 200 || tasks[j].rank < tasks[best].rank ||
                             (tasks[j].rank == tasks[best].rank && tasks[j].order < tasks[best].order)))
                best = j;
        struct chalk_task *taken = queueing->take(queueing);
        assert_ptr_equal(taken, best == 200 ? NULL : &tasks[best]);
        if (best < 200)
            there[best] = false;
    }
}

static void rank_may_change(void **state)
{
    struct chalk_edf edf;

    (void)state;
    other_policy(chalk_edf_start(&edf));
    start("late", 30, marks, "l");
    start("soon", 10, marks, "s");
    start("later", 40, marks_once, "x");
    run_to_the_end();
    assert_string_equal(trail, "ssslllx");
}

/* ---- block requests ---- */

/* A queue of depth 2 that finishes what was kicked in the second poll after. */
static struct {
    struct chalk_block_queue queue; /* first */
    struct chalk_block_request *held[2];
    bool kicked[2];
    unsigned count, polls, kicks;
    bool silent;
    int status;
} model;

static int model_submit(struct chalk_block_queue *queue, struct chalk_block_request *const *requests,
                        unsigned count)
{
    (void)queue, (void)count;
    if (requests[0]->lba == UINT64_MAX)
        return -ERANGE;
    for (unsigned i = 0; i < 2; i++)
        if (!model.held[i]) {
            model.held[i] = requests[0];
            model.kicked[i] = false;
            model.queue.counters.submitted++;
            return 1;
        }
    return -EAGAIN;
}

static void model_kick(struct chalk_block_queue *queue)
{
    (void)queue;
    for (unsigned i = 0; i < 2; i++)
        model.kicked[i] = model.held[i] != NULL;
    model.kicks++;
}

static int model_poll(struct chalk_block_queue *queue, unsigned max)
{
    int done = 0;

    (void)queue, (void)max;
    if (model.silent || ++model.polls % 2)
        return 0;
    for (unsigned i = 0; i < 2; i++) {
        struct chalk_block_request *request = model.held[i];

        if (!request || !model.kicked[i])
            continue;
        model.held[i] = NULL;
        model.queue.counters.completed++;
        request->done(request, model.status);
        done++;
    }
    return done;
}

static const struct chalk_block_ops ops = {.submit = model_submit, .kick = model_kick, .poll = model_poll};

static void callers_own(struct chalk_block_request *request, int status)
{
    (void)request, (void)status;
    fail_msg("the caller's own callback was called");
}

static void reads(struct chalk_task *self, void *argument)
{
    struct chalk_block_request request = {.done = callers_own, .context = &model};

    (void)argument;
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(chalk_block_await(self, &model.queue, &request, chalk_deadline(CHALK_S)),
                         model.status);
        assert_ptr_equal(request.done, callers_own);
        assert_ptr_equal(request.context, &model);
    }
    request.lba = UINT64_MAX;
    assert_int_equal(chalk_block_await(self, &model.queue, &request, CHALK_FOREVER), -ERANGE);
    endings++;
}

static void run_on_model(void)
{
    struct chalk_block_poller poller;

    chalk_block_poller_start(&poller, &model.queue);
    chalk_loop_add(loop, &poller.poller);
    run_to_the_end();
    chalk_loop_remove(loop, &poller.poller);
}

static void tasks_read_by_straight_line_code(void **state)
{
    (void)state;
    memset(&model, 0, sizeof model);
    model.queue.ops = &ops;
    endings = 0;
    for (unsigned i = 0; i < 5; i++) /* more than the queue takes */
        start("reader", 0, reads, NULL);
    run_on_model();
    assert_int_equal(endings, 5);
    assert_int_equal(model.queue.counters.completed, 50);
    model.status = -EIO;
    start("reader", 0, reads, NULL);
    run_on_model();
    assert_int_equal(endings, 6);
}

static void sleeps_long(struct chalk_task *self, void *argument)
{
    (void)argument;
    chalk_task_sleep(self, chalk_deadline(10 * CHALK_S + 500 * CHALK_MS));
}

static void loop_looks_at_a_queue_that_does_not_interrupt(void **state)
{
    struct chalk_loop_counters counters;

    (void)state;
    memset(&model, 0, sizeof model);
    model.queue.ops = &ops;
    model.queue.may_wait = true;
    model.queue.wait_ns = 7 * CHALK_MS;
    endings = 0;
    start("reader", 0, reads, NULL);
    uint64_t before = chalk_ticks();
    run_on_model();
    assert_int_equal(endings, 1);
    assert_in_range(chalk_ticks_to_ns(chalk_ticks() - before), 9 * 7 * CHALK_MS, 10 * 7 * CHALK_MS);
    chalk_loop_get_counters(loop, &counters);
    assert_int_equal(counters.sleeps, 9); /* one a read; the first is done when it is looked for */
}

/* Nothing interrupts when a device goes: so a loop looks at its idle queues, too. */
static void loop_looks_at_an_idle_queue_once_a_second(void **state)
{
    struct chalk_loop_counters counters;

    (void)state;
    memset(&model, 0, sizeof model);
    model.queue.ops = &ops;
    model.queue.may_wait = true;
    model.queue.wait_ns = CHALK_S;
    start("sleeper", 0, sleeps_long, NULL);
    run_on_model();
    chalk_loop_get_counters(loop, &counters);
    assert_in_range(counters.sleeps, 10, 12);
}

static struct chalk_block_request late;

static void reads_in_vain(struct chalk_task *self, void *argument)
{
    (void)argument;
    assert_int_equal(chalk_block_await(self, &model.queue, &late, chalk_deadline(CHALK_MS)), -ETIMEDOUT);
    chalk_task_sleep(self, chalk_deadline(CHALK_MS));
    model.silent = false;
    chalk_task_sleep(self, chalk_deadline(CHALK_MS)); /* not cut short by the answer */
    assert_null(model.held[0]);
}

static void late_answer_wakes_nobody(void **state)
{
    (void)state;
    memset(&model, 0, sizeof model);
    model.queue.ops = &ops;
    model.silent = true;
    start("reader", 0, reads_in_vain, NULL);
    run_on_model();
    assert_int_equal(model.queue.counters.completed, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(yielding_tasks_take_turns),
        TEST(switching_keeps_what_is_a_tasks_own),
        TEST(stacks_are_used_again),
        TEST(stacks_are_used_again_by_their_size),
        TEST(bad_stacks_are_refused),
        TEST(overrun_without_a_guard_page_is_named),
        TEST(task_waits_until_it_is_woken),
        TEST(task_woken_before_its_deadline_is_not_woken_again),
        TEST(task_waits_until_its_deadline),
        TEST(deadline_in_the_past_ends_the_wait_at_once),
        TEST(interrupt_wakes_the_task_that_waits),
        TEST(trace_tells_who_ran_and_why_it_stopped),
        TEST(priorities_are_kept),
        TEST(earliest_deadline_is_first),
        TEST(rank_may_change),
        TEST(tasks_read_by_straight_line_code),
        TEST(loop_looks_at_a_queue_that_does_not_interrupt),
        TEST(loop_looks_at_an_idle_queue_once_a_second),
        TEST(late_answer_wakes_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The loop of <chalk/loop.h>, with real time, a real disk and, where there is a second core, another loop:
 * loop [MESSAGES]. It reads from the first NVMe controller, and writes nothing.
 */
#include <chalk/clock.h>
#include <chalk/core.h>
#include <chalk/device.h>
#include <chalk/loop.h>
#include <chalk/main.h>
#include <chalk/nvme.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "twin.h"

#define PATIENCE (60 * CHALK_S)
#define READERS  4
#define READS    20

static struct chalk_memory *memory;
static struct chalk_loop *loop;

/* ---- time ---- */

#define TIMERS 50

static struct {
    struct chalk_timer timers[TIMERS];
    unsigned fired;
    bool in_order, early;
} times;

static void note_time(struct chalk_timer *timer)
{
    times.in_order &= timer == &times.timers[(times.fired * 7) % TIMERS];
    times.early |= chalk_ticks() < timer->deadline;
    if (++times.fired == TIMERS)
        chalk_loop_stop(loop);
}

static void timers(void)
{
    struct chalk_wheel *wheel = chalk_loop_wheel(loop);
    struct chalk_timer cancelled = {.fire = note_time};

    memset(&times, 0, sizeof times);
    times.in_order = true;
    for (unsigned i = 0; i < TIMERS; i++) {
        times.timers[(i * 7) % TIMERS].fire = note_time;
        chalk_timer_arm(wheel, &times.timers[(i * 7) % TIMERS], chalk_deadline((i + 1) * CHALK_MS));
    }
    chalk_timer_arm(wheel, &cancelled, chalk_deadline(10 * CHALK_MS));
    expect(chalk_timer_cancel(wheel, &cancelled), "a timer that was armed can be cancelled");
    expect(!chalk_timer_cancel(wheel, &cancelled), "but not twice");
    expect_result(chalk_loop_run(loop), 0, "running until the last timer");
    expect(times.fired == TIMERS, "every timer fires once");
    expect(times.in_order, "in the order of their deadlines");
    expect(!times.early, "and none too early");
    expect(!chalk_timer_cancel(wheel, &times.timers[0]), "a timer that has fired cannot be cancelled");
}

/* ---- tasks ---- */

static unsigned running_tasks;
static int wait_result;
static bool slept_enough;

static void task_ends(void)
{
    if (--running_tasks == 0)
        chalk_loop_stop(loop);
}

static void sleeper(struct chalk_task *self, void *argument)
{
    uint64_t deadline = chalk_deadline(20 * CHALK_MS);

    (void)argument;
    wait_result = chalk_task_wait(self, deadline);
    slept_enough = chalk_ticks() >= deadline;
    task_ends();
}

/* Uses libc, and more stack than an interrupt would forgive. */
static void speaker(struct chalk_task *self, void *argument)
{
    char text[4096];

    for (unsigned i = 0; i < 3; i++) {
        memset(text, 'x', sizeof text);
        snprintf(text, sizeof text, "%s %u: %.2f", (const char *)argument, i, i * 0.25);
        chalk_task_yield(self);
        printf("       %s\n", text);
    }
    task_ends();
}

static void start(const char *name, void (*run)(struct chalk_task *, void *), void *argument)
{
    const struct chalk_task_options options = {.name = name};
    int error = chalk_task_start(loop, &options, run, argument, NULL);

    if (error == 0)
        running_tasks++;
    else
        expect_result(error, 0, "starting a task");
}

static void tasks(void)
{
    start("sleeper", sleeper, NULL);
    start("first", speaker, "first");
    start("second", speaker, "second");
    expect_result(chalk_loop_run(loop), 0, "running until the last task ends");
    expect_result(wait_result, -ETIMEDOUT, "a wait that nobody ends");
    expect(slept_enough, "lasts until its deadline");
    expect_result(chalk_task_start(loop, &(struct chalk_task_options){.stack_size = 1}, sleeper, NULL, NULL),
                  -EINVAL, "a task with a stack of one byte");
}

/* ---- what should not be ---- */

static unsigned late_timers, handled;
static bool stuck;

static void note_late(struct chalk_timer *timer)
{
    (void)timer;
    late_timers++;
}

static void waits_in_the_past(struct chalk_task *self, void *argument)
{
    (void)argument;
    wait_result = chalk_task_wait(self, 1);
    chalk_task_sleep(self, 1);
    task_ends();
}

static void note_message(struct chalk_message *message)
{
    (void)message;
    handled++;
}

/* Longer in one turn than the watchdog allows; a second core would ask the same. */
static unsigned linger(struct chalk_poller *poller)
{
    uint64_t deadline = chalk_deadline(3 * CHALK_MS);

    (void)poller;
    while (!chalk_expired(deadline))
        chalk_pause();
    stuck = chalk_loop_stuck(loop, 2 * CHALK_MS);
    return 0;
}

static void mistakes(void)
{
    static struct chalk_message messages_to_self[CHALK_LOOP_MESSAGES + 1];
    struct chalk_message *list[CHALK_LOOP_MESSAGES + 1];
    struct chalk_timer late = {.fire = note_late}, never = {.fire = note_late};
    struct chalk_poller greedy = {.poll = linger, .name = "greedy"};

    late_timers = handled = 0;
    stuck = false;
    chalk_timer_arm(chalk_loop_wheel(loop), &late, 1);
    chalk_timer_arm(chalk_loop_wheel(loop), &never, CHALK_FOREVER);
    chalk_loop_turn(loop);
    expect(late_timers == 1,
           "a timer in the past fires in the next turn, and one at the end of time does not");
    expect(chalk_timer_cancel(chalk_loop_wheel(loop), &never), "it can be cancelled");

    start("late", waits_in_the_past, NULL);
    expect_result(chalk_loop_run(loop), 0, "running a task that waits in the past");
    expect_result(wait_result, -ETIMEDOUT, "its wait");

    for (unsigned i = 0; i <= CHALK_LOOP_MESSAGES; i++) {
        messages_to_self[i].handle = note_message;
        list[i] = &messages_to_self[i];
    }
    expect_result(chalk_loop_send(loop, list, CHALK_LOOP_MESSAGES + 1), CHALK_LOOP_MESSAGES,
                  "sending more messages than a loop holds");
    expect_result(chalk_loop_send(loop, &list[CHALK_LOOP_MESSAGES], 1), -EAGAIN,
                  "sending the last one again");
    chalk_loop_turn(loop);
    expect(handled == CHALK_LOOP_MESSAGES, "those that were taken are handled");
    expect_result(chalk_loop_send(loop, &list[CHALK_LOOP_MESSAGES], 1), 1, "then there is room");
    chalk_loop_turn(loop);

    chalk_loop_add(loop, &greedy);
    chalk_loop_turn(loop);
    chalk_loop_remove(loop, &greedy);
    expect(stuck, "a turn that lasts too long is seen");
    chalk_loop_turn(loop);
    expect(!chalk_loop_stuck(loop, 0), "between turns nothing is stuck");
}

/* ---- a disk ---- */

struct world {
    struct chalk_domain *domain;
    struct chalk_device *device;
    struct chalk_nvme *nvme;
    struct chalk_block_queue *queue;
    bool read, refused;
};

/* Straight-line code, one block after the other; meanwhile the loop does other things. */
static void reader(struct chalk_task *self, void *argument)
{
    struct world *w = argument;
    const uint32_t size = w->queue->info.block_size;
    struct chalk_dma buffer;

    w->read &= chalk_dma_get(memory, size, CHALK_PAGE, &buffer) == 0;
    buffer.size = size;
    for (unsigned i = 0; i < READS && w->read; i++) {
        struct chalk_block_request request = {
            .op = CHALK_BLOCK_READ, .lba = i, .count = 1, .segments = &buffer, .segment_count = 1};

        w->read &= chalk_block_await(self, w->queue, &request, chalk_deadline(PATIENCE)) == 0;
    }
    struct chalk_block_request beyond = {.op = CHALK_BLOCK_READ,
                                         .lba = w->queue->info.block_count,
                                         .count = 1,
                                         .segments = &buffer,
                                         .segment_count = 1};

    w->refused &= chalk_block_await(self, w->queue, &beyond, chalk_deadline(PATIENCE)) == -ERANGE;
    chalk_dma_put(memory, &buffer);
    task_ends();
}

static void forget(struct chalk_block_request *request, int status)
{
    (void)status;
    *(bool *)request->context = true;
}

/* Waits for the interrupt itself, as a driver would that is written as a task. */
static void interrupt_waiter(struct chalk_task *self, void *argument)
{
    struct world *w = argument;
    bool done = false;
    struct chalk_block_request flush = {.op = CHALK_BLOCK_FLUSH, .done = forget, .context = &done};
    struct chalk_block_request *list = &flush;
    uint32_t seen = *w->queue->interrupts;
    uint64_t deadline = chalk_deadline(PATIENCE);
    int error = 0;

    expect_result(chalk_block_submit(w->queue, &list, 1), 1, "submitting a flush");
    chalk_block_kick(w->queue);
    while (!done && error == 0) {
        error = chalk_task_wait_counter(self, w->queue->interrupts, seen, deadline);
        seen = *w->queue->interrupts;
        chalk_block_poll(w->queue, 0);
    }
    expect_result(error, 0, "waiting for its interrupt");
    expect(done, "which says that it is done");
    task_ends();
}

static void one_queue(struct world *w, enum chalk_nvme_interrupts interrupts, const char *what)
{
    const struct chalk_nvme_queue_options options = {.nsid = 1, .depth = 2, .interrupts = interrupts};
    struct chalk_block_poller poller;

    if (!expect_result(chalk_nvme_queue_open(w->nvme, &options, &w->queue), 0, what))
        return;
    if (interrupts == CHALK_NVME_INTERRUPTS) {
        start("interrupt waiter", interrupt_waiter, w);
        expect_result(chalk_loop_run(loop), 0, "running until it has interrupted");
    }
    chalk_block_poller_start(&poller, w->queue);
    chalk_loop_add(loop, &poller.poller);
    w->read = w->refused = true;
    for (unsigned i = 0; i < READERS; i++) /* more than the queue is deep */
        start("reader", reader, w);
    expect_result(chalk_loop_run(loop), 0, "running until tasks have read");
    expect(w->read, "each has read its blocks");
    expect(w->refused, "and was refused what lies beyond the last");
    chalk_loop_remove(loop, &poller.poller);
    chalk_nvme_queue_close(w->queue);
}

static void disk(void)
{
    struct chalk_bus_info found;
    struct world w = {0};

    if (!expect_result(chalk_bus_find(CHALK_CLASS_NVME, &found), 0, "finding an NVMe controller") ||
        !expect_result(chalk_device_open(found.name, &w.domain, &w.device), 0, "opening it"))
        return;
    if (expect_result(chalk_memory_share(memory, w.domain), 0, "sharing memory with it")) {
        const struct chalk_nvme_options options = {.memory = memory, .domain = w.domain, .interrupts = true};

        if (expect_result(chalk_nvme_open(w.device, &options, &w.nvme), 0, "opening the controller")) {
            one_queue(&w, CHALK_NVME_POLLED, "a queue without interrupts");
            one_queue(&w, CHALK_NVME_INTERRUPTS, "a queue with interrupts");
            one_queue(&w, CHALK_NVME_ADAPTIVE, "an adaptive queue");
            chalk_nvme_close(w.nvme);
        }
        chalk_memory_unshare(memory, w.domain);
    }
    chalk_device_close(w.device);
}

/* ---- two loops ---- */

static unsigned long messages = 2000;

/* Goes there and back, and says where it is. */
struct ball {
    struct chalk_message message;
    unsigned long bounces;
};

static struct {
    struct chalk_loop *loop;
    enum chalk_idle idle;
    struct ball balls[8];
    unsigned long received, returned;
    unsigned done;
    int error;
    _Atomic(uint32_t) up;
} other;

static void bounce_back(struct chalk_message *message);

static void bounce(struct chalk_message *message)
{
    other.received++;
    message->handle = bounce_back;
    while (chalk_loop_send(loop, &message, 1) != 1)
        chalk_pause();
}

static void bounce_back(struct chalk_message *message)
{
    struct ball *ball = (struct ball *)message;

    other.returned++;
    ball->bounces++;
    if (other.returned + (8 - other.done) > messages) {
        if (++other.done == 8)
            chalk_loop_stop(loop);
        return;
    }
    message->handle = bounce;
    while (chalk_loop_send(other.loop, &message, 1) != 1)
        chalk_pause();
}

static void run_other(unsigned core, void *argument)
{
    struct chalk_memory *own;

    (void)argument;
    other.error = chalk_memory_create(NULL, &own);
    if (other.error == 0)
        other.error = chalk_loop_create(
            &(struct chalk_loop_options){.memory = own, .core = core, .idle = other.idle}, &other.loop);
    other.up = 1;
    chalk_core_wake(0);
    if (other.error != 0)
        return;
    chalk_loop_run(other.loop);
    chalk_loop_destroy(other.loop);
    chalk_memory_destroy(own);
}

static void two_loops(enum chalk_idle idle, const char *how)
{
    uint64_t deadline = chalk_deadline(PATIENCE);

    memset(&other, 0, sizeof other);
    other.idle = idle;
    if (!expect_result(chalk_core_start(1, run_other, NULL), 0, how))
        return;
    while (!other.up && !chalk_expired(deadline))
        chalk_pause();
    if (!expect(other.up && other.error == 0, "it is up"))
        return;
    for (unsigned i = 0; i < 8; i++) {
        struct chalk_message *message = &other.balls[i].message;

        message->handle = bounce;
        chalk_loop_send(other.loop, &message, 1);
    }
    expect_result(chalk_loop_run(loop), 0, "running until every message came back");
    expect(other.returned == messages && other.received == messages, "none was lost, none came twice");
    chalk_loop_stop(other.loop);
    expect_result(chalk_core_join(0, 1, chalk_deadline(PATIENCE)), 0, "the other loop ends");
}

/* ---- */

static void one_loop(enum chalk_idle idle, const char *how)
{
    const struct chalk_loop_options options = {.memory = memory, .idle = idle};
    struct chalk_loop_counters counters;

    if (!expect_result(chalk_loop_create(&options, &loop), 0, how))
        return;
    timers();
    tasks();
    mistakes();
    disk();
    two_loops(idle, "a second loop on core 1");
    chalk_loop_get_counters(loop, &counters);
    expect((counters.sleeps > 0) == (idle == CHALK_IDLE_WAIT) || idle == CHALK_IDLE_ADAPT,
           idle == CHALK_IDLE_SPIN ? "it never slept" : "it slept, if that was wanted");
    expect(counters.tasks == 0, "no task is left");
    chalk_loop_destroy(loop);
}

int chalk_main(int argc, char *argv[])
{
    struct chalk_memory_usage usage;

    if (argc > 1)
        messages = strtoul(argv[1], NULL, 10);
    if (!expect_result(chalk_memory_create(NULL, &memory), 0, "claiming memory"))
        return 1;
    expect_result(chalk_loop_create(&(struct chalk_loop_options){.memory = memory, .core = 5000}, &loop),
                  -ENOENT, "a loop on core 5000");
    one_loop(CHALK_IDLE_WAIT, "a loop that waits");
    one_loop(CHALK_IDLE_ADAPT, "a loop that spins, then waits");
    one_loop(CHALK_IDLE_SPIN, "a loop that spins");
    chalk_memory_get_usage(memory, &usage);
    expect(usage.private_used == 0 && usage.shared_used == 0, "all memory was given back");
    chalk_memory_destroy(memory);
    return twin_failures != 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Timers and tasks on one loop. Two timers tick with different periods; a task waits for them in
 * straight-line code. A program that is late fires its timers in the same order as one that is in time: so
 * the output is the same, on whatever it runs.
 */
#include <chalk/clock.h>
#include <chalk/error.h>
#include <chalk/loop.h>
#include <chalk/main.h>

#include <stdio.h>

#define END_MS 240

struct ticker {
    struct chalk_timer timer; /* first: what fires is the ticker */
    const char *name;
    unsigned period_ms, ticks;
    uint64_t start; /* ticks of the clock */
    struct chalk_loop *loop;
    struct chalk_task *waiter; /* to be woken at the end */
};

/* From one deadline to the next, not from now: what is late once does not stay late. */
static void arm(struct ticker *ticker)
{
    uint64_t ns = (uint64_t)(ticker->ticks + 1) * ticker->period_ms * CHALK_MS;

    chalk_timer_arm(chalk_loop_wheel(ticker->loop), &ticker->timer, ticker->start + chalk_ns_to_ticks(ns));
}

static void tick(struct chalk_timer *timer)
{
    struct ticker *ticker = (struct ticker *)timer;

    ticker->ticks++;
    printf("%3u ms: %s\n", ticker->ticks * ticker->period_ms, ticker->name);
    if (ticker->ticks * ticker->period_ms < END_MS)
        arm(ticker);
    else
        chalk_task_wake(ticker->waiter);
}

static void count_ticks(struct chalk_task *self, void *argument)
{
    struct ticker *tickers = argument;
    const uint64_t start = chalk_ticks();

    for (unsigned i = 0; i < 2; i++) {
        tickers[i].start = start;
        tickers[i].waiter = self;
        tickers[i].loop = self->loop;
        arm(&tickers[i]);
    }
    while (tickers[0].ticks * tickers[0].period_ms < END_MS ||
           tickers[1].ticks * tickers[1].period_ms < END_MS)
        chalk_task_wait(self, CHALK_FOREVER);
    printf("%u ticks and %u tocks\n", tickers[0].ticks, tickers[1].ticks);
    chalk_loop_stop(self->loop);
}

int chalk_main(int argc, char *argv[])
{
    struct ticker tickers[] = {
        {.timer.fire = tick, .name = "tick", .period_ms = 30},
        {.timer.fire = tick, .name = "tock", .period_ms = 80},
    };
    struct chalk_memory *memory = NULL;
    struct chalk_loop *loop = NULL;
    int error;

    (void)argc;
    (void)argv;
    error = chalk_memory_create(NULL, &memory);
    if (!error)
        error =
            chalk_loop_create(&(struct chalk_loop_options){.memory = memory, .idle = CHALK_IDLE_WAIT}, &loop);
    if (!error)
        error = chalk_task_start(loop, NULL, count_ticks, tickers, NULL);
    if (!error)
        error = chalk_loop_run(loop);
    if (error)
        fprintf(stderr, "ticker: %s\n", chalk_error_name(error));
    if (loop)
        chalk_loop_destroy(loop);
    if (memory)
        chalk_memory_destroy(memory);
    return error ? 1 : 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* loop-idle SECONDS: a loop that waits, with a timer that ends it and a task that nobody wakes. */
#include <chalk/clock.h>
#include <chalk/loop.h>
#include <chalk/main.h>

#include <stdio.h>
#include <stdlib.h>

static struct chalk_loop *loop;

static void end(struct chalk_timer *timer)
{
    (void)timer;
    chalk_loop_stop(loop);
}

static void wait_in_vain(struct chalk_task *self, void *argument)
{
    (void)argument;
    chalk_task_wait(self, CHALK_FOREVER);
}

int chalk_main(int argc, char *argv[])
{
    struct chalk_loop_options options = {.idle = CHALK_IDLE_WAIT};
    struct chalk_timer timer = {.fire = end};
    struct chalk_loop_counters counters;

    if (chalk_memory_create(NULL, &options.memory) != 0 || chalk_loop_create(&options, &loop) != 0 ||
        chalk_task_start(loop, NULL, wait_in_vain, NULL, NULL) != 0)
        return 2;
    chalk_timer_arm(chalk_loop_wheel(loop), &timer,
                    chalk_deadline(strtoull(argc > 1 ? argv[1] : "3", NULL, 10) * CHALK_S));
    if (chalk_loop_run(loop) != 0)
        return 2;
    chalk_loop_get_counters(loop, &counters);
    printf("%llu turns, %llu sleeps\n", (unsigned long long)counters.turns,
           (unsigned long long)counters.sleeps);
    chalk_loop_destroy(loop);
    chalk_memory_destroy(options.memory);
    return 0;
}

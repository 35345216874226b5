/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A scheduler of the application's own: two functions decide which task runs next. This one is "earliest
 * deadline first", as a sorted list: the rank of a task is the deadline of the job that it is at. (Chalk has
 * one as a heap, chalk_edf_start(), for those with many tasks.)
 */
#include <chalk/error.h>
#include <chalk/loop.h>
#include <chalk/main.h>

#include <stdio.h>

struct scheduler {
    struct chalk_queueing queueing; /* first: what the loop knows of it */
    struct chalk_task *ready;       /* the earliest deadline first */
};

static void put(struct chalk_queueing *queueing, struct chalk_task *task)
{
    struct chalk_task **link = &((struct scheduler *)queueing)->ready;

    while (*link != NULL && (*link)->rank <= task->rank)
        link = &(*link)->next;
    task->next = *link;
    *link = task;
}

static struct chalk_task *take(struct chalk_queueing *queueing)
{
    struct scheduler *scheduler = (struct scheduler *)queueing;
    struct chalk_task *task = scheduler->ready;

    if (task != NULL)
        scheduler->ready = task->next;
    return task;
}

/* Work that comes in jobs; each is to be done before the next one comes. Time here is made of jobs, too. */
struct work {
    const char *name;
    unsigned period, jobs;
};

static unsigned left; /* tasks */

static void do_jobs(struct chalk_task *self, void *argument)
{
    const struct work *work = argument;

    for (unsigned job = 1; job <= work->jobs; job++) {
        printf("%-7s job %u, due at %2u\n", work->name, job, job * work->period);
        chalk_task_rank(self, (job + 1) * work->period);
        chalk_task_yield(self);
    }
    if (--left == 0)
        chalk_loop_stop(self->loop);
}

int chalk_main(int argc, char *argv[])
{
    static struct work works[] = {{"logger", 30, 1}, {"camera", 10, 3}, {"motor", 4, 7}};
    struct scheduler scheduler = {.queueing = {put, take}};
    struct chalk_memory *memory = NULL;
    struct chalk_loop *loop = NULL;
    int error;

    (void)argc;
    (void)argv;
    error = chalk_memory_create(NULL, &memory);
    if (!error)
        error = chalk_loop_create(
            &(struct chalk_loop_options){.memory = memory, .queueing = &scheduler.queueing}, &loop);
    for (unsigned i = 0; i < sizeof(works) / sizeof(works[0]) && !error; i++) {
        const struct chalk_task_options options = {.name = works[i].name, .rank = works[i].period};

        error = chalk_task_start(loop, &options, do_jobs, &works[i], NULL);
        left++;
    }
    if (!error)
        error = chalk_loop_run(loop);
    if (error)
        fprintf(stderr, "own-scheduler: %s\n", chalk_error_name(error));
    if (loop)
        chalk_loop_destroy(loop);
    if (memory)
        chalk_memory_destroy(memory);
    return error ? 1 : 0;
}

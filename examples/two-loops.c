/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two cores, a loop on each, and messages between them: core 0 sends numbers, core 1 squares them. Nothing is
 * shared but the messages, and a message belongs to one side at a time, so there is nothing to lock.
 */
#include <chalk/clock.h>
#include <chalk/core.h>
#include <chalk/error.h>
#include <chalk/loop.h>
#include <chalk/main.h>

#include <stdatomic.h>
#include <stdio.h>

#define NUMBERS 10

struct job {
    struct chalk_message message; /* first: what arrives is the job */
    unsigned number, square;
};

static struct chalk_loop *home;
static struct chalk_loop *_Atomic worker; /* once it is up */
static _Atomic(int) failed;
static unsigned answers;

/* On core 0, in the order in which they were sent. */
static void take_answer(struct chalk_message *message)
{
    struct job *job = (struct job *)message;

    printf("%u squared is %u\n", job->number, job->square);
    if (++answers == NUMBERS)
        chalk_loop_stop(home);
}

/* On core 1. A loop takes 256 messages, and there are ten. */
static void square(struct chalk_message *message)
{
    struct job *job = (struct job *)message;

    job->square = job->number * job->number;
    message->handle = take_answer;
    chalk_loop_send(home, &message, 1);
}

static void run_worker(unsigned core, void *argument)
{
    struct chalk_memory *memory = NULL;
    struct chalk_loop *loop = NULL;
    int error;

    (void)argument;
    error = chalk_memory_create(NULL, &memory);
    if (!error)
        error = chalk_loop_create(
            &(struct chalk_loop_options){.memory = memory, .core = core, .idle = CHALK_IDLE_WAIT}, &loop);
    failed = error;
    worker = loop;
    if (!error)
        chalk_loop_run(loop);
    if (loop)
        chalk_loop_destroy(loop);
    if (memory)
        chalk_memory_destroy(memory);
}

static int square_numbers(void)
{
    struct job jobs[NUMBERS];
    int error = chalk_core_start(1, run_worker, NULL);

    if (error)
        return error;
    while (!worker && !failed)
        chalk_pause();
    if (failed)
        return failed;
    for (unsigned i = 0; i < NUMBERS; i++) {
        struct chalk_message *message = &jobs[i].message;

        jobs[i] = (struct job){{square}, i + 1, 0};
        chalk_loop_send(worker, &message, 1);
    }
    error = chalk_loop_run(home);
    chalk_loop_stop(worker);
    return error ? error : chalk_core_join(0, 1, chalk_deadline(CHALK_S));
}

int chalk_main(int argc, char *argv[])
{
    struct chalk_memory *memory = NULL;
    int error;

    (void)argc;
    (void)argv;
    error = chalk_memory_create(NULL, &memory);
    if (!error)
        error =
            chalk_loop_create(&(struct chalk_loop_options){.memory = memory, .idle = CHALK_IDLE_WAIT}, &home);
    if (!error)
        error = square_numbers();
    if (error)
        fprintf(stderr, "two-loops: %s\n", chalk_error_name(error));
    if (home)
        chalk_loop_destroy(home);
    if (memory)
        chalk_memory_destroy(memory);
    return error ? 1 : 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* How long a cache line takes from one processor to another and back: the median, in nanoseconds. `line A B`
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <chalk/clock.h>
#include <chalk/hosted.h>

#define ROUNDS 200000

static _Alignas(128) atomic_uint line;
static int processors[2];

static void pin(int processor)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        perror("bench-line");
}

/* Answers each odd number with the next even one. */
static void *answer(void *argument)
{
    (void)argument;
    pin(processors[1]);
    for (unsigned i = 1; i < 2 * ROUNDS; i += 2) {
        while (atomic_load_explicit(&line, memory_order_acquire) != i)
            chalk_pause();
        atomic_store_explicit(&line, i + 1, memory_order_release);
    }
    return NULL;
}

static int by_value(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

    return a < b ? -1 : a > b;
}

int main(int argc, char *argv[])
{
    static uint64_t samples[ROUNDS];
    pthread_t other;

    if (argc != 3 || chalk_start(NULL) != 0)
        return 2;
    processors[0] = atoi(argv[1]);
    processors[1] = atoi(argv[2]);
    pin(processors[0]);
    if (pthread_create(&other, NULL, answer, NULL) != 0)
        return 1;
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t before = chalk_ticks();

        atomic_store_explicit(&line, 2 * i + 1, memory_order_release);
        while (atomic_load_explicit(&line, memory_order_acquire) != 2 * i + 2)
            chalk_pause();
        samples[i] = chalk_ticks() - before;
    }
    pthread_join(other, NULL);
    qsort(samples, ROUNDS, sizeof samples[0], by_value);
    printf("%.1f\n", (double)samples[ROUNDS / 2] * (double)chalk_clock_info()->ns_mult / 4294967296.0);
    chalk_stop();
    return 0;
}

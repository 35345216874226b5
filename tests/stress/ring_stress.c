/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rings between threads, under ThreadSanitizer: millions of elements, none lost, none twice, none out of its
 * producer's order. Elements point to records that are written just before they are put and read once they
 * were taken, without atomics: so the sanitizer also judges whether a ring orders what it should.
 *
 *     ring-stress [ELEMENTS]    a test (the Test Anything Protocol); ELEMENTS of each producer, 200000 if not
 * said
 */
#include <chalk/random.h>
#include <chalk/ring.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_THREADS 3 /* of each side */
#define MAX_BURST   32

struct record {
    uint32_t producer;
    uint32_t sequence;
    uint32_t taken;
};

/* One way of using a ring: how many on each side, and with which calls. */
struct setup {
    const char *name;
    unsigned producers, consumers;
    uint32_t size;
    unsigned burst; /* at most; 0: the calls for one element */
};

static struct {
    struct setup setup;
    struct chalk_ring ring;
    uint32_t count; /* elements of each producer */
    struct record *records;
    void **slots;
    _Atomic(uint32_t) taken;  /* by all consumers */
    _Atomic(uint32_t) faults; /* things out of order */
    time_t deadline;
} run;

/* Waiting for the other side must not use up its processor; and a ring that lost something must not hang. */
static bool wait_a_little(void)
{
    sched_yield();
    return time(NULL) < run.deadline;
}

static unsigned put(void **items, unsigned count)
{
    const bool shared = run.setup.producers > 1;

    if (run.setup.burst == 0)
        return shared ? chalk_ring_shared_put(&run.ring, *items) : chalk_ring_put(&run.ring, *items);
    return shared ? chalk_ring_shared_put_burst(&run.ring, items, count)
                  : chalk_ring_put_burst(&run.ring, items, count);
}

static unsigned take(void **items, unsigned count)
{
    const bool shared = run.setup.consumers > 1;

    if (run.setup.burst == 0)
        return (*items = shared ? chalk_ring_shared_take(&run.ring) : chalk_ring_take(&run.ring)) != NULL;
    return shared ? chalk_ring_shared_take_burst(&run.ring, items, count)
                  : chalk_ring_take_burst(&run.ring, items, count);
}

static void *produce(void *argument)
{
    const uint32_t producer = (uint32_t)(uintptr_t)argument;
    struct record *records = run.records + (size_t)producer * run.count;
    uint64_t random = producer;
    void *items[MAX_BURST];

    for (uint32_t next = 0; next < run.count;) {
        uint32_t count = run.setup.burst ? 1 + (uint32_t)chalk_random_below(&random, run.setup.burst) : 1;

        if (count > run.count - next)
            count = run.count - next;
        for (uint32_t i = 0; i < count; i++) {
            records[next + i] = (struct record){producer, next + i, 0};
            items[i] = &records[next + i];
        }

        unsigned done = put(items, count);

        next += done;
        if (done == 0 && !wait_a_little())
            break;
    }
    return NULL;
}

static void *consume(void *argument)
{
    const uint32_t total = run.setup.producers * run.count;
    uint32_t expected[MAX_THREADS] = {0}; /* the least sequence that may come from each producer */
    uint64_t random = 100 + (uintptr_t)argument;
    void *items[MAX_BURST];

    while (run.taken < total) {
        unsigned count = run.setup.burst ? 1 + (unsigned)chalk_random_below(&random, run.setup.burst) : 1;
        unsigned done = take(items, count);

        for (unsigned i = 0; i < done; i++) {
            struct record *record = items[i];

            if (record->sequence < expected[record->producer] || record->taken++ != 0)
                run.faults++;
            expected[record->producer] = record->sequence + 1;
        }
        run.taken += done;
        if (done == 0 && !wait_a_little())
            break;
    }
    return NULL;
}

/* Whether all went well. */
static bool stress(const struct setup *setup, uint32_t count)
{
    const uint32_t total = setup->producers * count;
    pthread_t threads[2 * MAX_THREADS];
    unsigned thread_count = 0;
    uint32_t lost = 0;

    run.setup = *setup;
    run.count = count;
    run.taken = 0;
    run.faults = 0;
    run.deadline = time(NULL) + 60;
    run.records = calloc(total, sizeof(*run.records));
    run.slots = malloc(setup->size * sizeof(*run.slots));
    if (run.records == NULL || run.slots == NULL || chalk_ring_init(&run.ring, run.slots, setup->size) != 0)
        return false;
    for (uintptr_t i = 0; i < setup->producers; i++)
        if (pthread_create(&threads[thread_count++], NULL, produce, (void *)i) != 0)
            abort();
    for (uintptr_t i = 0; i < setup->consumers; i++)
        if (pthread_create(&threads[thread_count++], NULL, consume, (void *)i) != 0)
            abort();
    while (thread_count > 0)
        pthread_join(threads[--thread_count], NULL);
    for (uint32_t i = 0; i < total; i++)
        lost += run.records[i].taken != 1;
    printf("# %s: %u elements, %u not taken once, %u out of order\n", setup->name, total, lost, run.faults);
    free(run.records);
    free(run.slots);
    return lost == 0 && run.faults == 0 && chalk_ring_count(&run.ring) == 0;
}

int main(int argc, char *argv[])
{
    static const struct setup setups[] = {
        {"one to one, one at a time", 1, 1, 64, 0}, {"one to one, bursts", 1, 1, 64, 32},
        {"one to one, one slot", 1, 1, 1, 4},       {"two to one, one at a time", 2, 1, 64, 0},
        {"two to one, bursts", 2, 1, 64, 32},       {"one to two, bursts", 1, 2, 64, 32},
        {"two to two, one at a time", 2, 2, 64, 0}, {"two to two, bursts", 2, 2, 64, 32},
        {"three to three, few slots", 3, 3, 4, 8},
    };
    const unsigned count = sizeof(setups) / sizeof(*setups);
    const unsigned long elements = argc > 1 ? strtoul(argv[1], NULL, 10) : 200000;
    bool good = true;

    if (elements == 0 || elements > 100000000) {
        fprintf(stderr, "usage: ring-stress [ELEMENTS]    1 to 100000000\n");
        return 2;
    }
    printf("1..%u\n", count);
    for (unsigned i = 0; i < count; i++) {
        const bool passed = stress(&setups[i], (uint32_t)elements);

        printf("%sok %u - %s\n", passed ? "" : "not ", i + 1, setups[i].name);
        fflush(stdout);
        good &= passed;
    }
    return !good;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rings on one core: what is put comes out in order, in both worlds, with memory from chalk_memory_get().
 */
#include <chalk/main.h>
#include <chalk/memory.h>
#include <chalk/random.h>
#include <chalk/ring.h>

#include <inttypes.h>

#include "twin.h"

#define SIZE 64u

static void full_and_empty(void **slots, bool shared)
{
    struct chalk_ring ring;
    void *items[SIZE + 8], *out[SIZE + 8];
    unsigned in_order = 0;

    for (uintptr_t i = 0; i < SIZE + 8; i++)
        items[i] = (void *)(i + 1);
    expect_result(chalk_ring_init(&ring, slots, SIZE), 0, "a ring of 64 slots");
    expect((shared ? chalk_ring_shared_take(&ring) : chalk_ring_take(&ring)) == NULL, "is empty");

    unsigned put = shared ? chalk_ring_shared_put_burst(&ring, items, SIZE + 8)
                          : chalk_ring_put_burst(&ring, items, SIZE + 8);

    expect(put == SIZE && chalk_ring_count(&ring) == SIZE, "of 72 pointers it takes 64");
    expect(!(shared ? chalk_ring_shared_put(&ring, items) : chalk_ring_put(&ring, items)), "and no more");

    unsigned taken = shared ? chalk_ring_shared_take_burst(&ring, out, SIZE + 8)
                            : chalk_ring_take_burst(&ring, out, SIZE + 8);

    while (in_order < taken && out[in_order] == items[in_order])
        in_order++;
    expect(taken == SIZE && in_order == SIZE, "asked for 72 it gives the 64, in order");
    expect(chalk_ring_count(&ring) == 0, "and is empty again");
}

/* A seeded mix of bursts: the digest of what came out when is the same everywhere. */
static void mix(void **slots, bool shared)
{
    struct chalk_ring ring;
    uint64_t random = 7, digest = 0, next = 1;
    void *items[SIZE];

    chalk_ring_init(&ring, slots, SIZE);
    for (unsigned step = 0; step < 20000; step++) {
        const unsigned count = (unsigned)chalk_random_below(&random, SIZE + 1);

        if (chalk_random_next(&random) & 1) {
            for (unsigned i = 0; i < count; i++)
                items[i] = (void *)(uintptr_t)(next + i);
            next += shared ? chalk_ring_shared_put_burst(&ring, items, count)
                           : chalk_ring_put_burst(&ring, items, count);
        } else {
            const unsigned taken = shared ? chalk_ring_shared_take_burst(&ring, items, count)
                                          : chalk_ring_take_burst(&ring, items, count);

            for (unsigned i = 0; i < taken; i++)
                digest = chalk_random_at(digest ^ (uintptr_t)items[i], step);
        }
    }
    printf("20000 steps: %" PRIu64 " put, %u left, digest %016" PRIx64 "\n", next - 1,
           chalk_ring_count(&ring), digest);
}

int chalk_main(int argc, char *argv[])
{
    struct chalk_memory *memory = NULL;
    struct chalk_ring ring;

    (void)argc;
    (void)argv;
    if (!expect_result(chalk_memory_create(NULL, &memory), 0, "claiming memory"))
        return 1;

    void **slots = chalk_memory_get(memory, SIZE * sizeof(*slots));

    if (!expect(slots != NULL, "memory for the slots"))
        return 1;
    expect_result(chalk_ring_init(&ring, slots, 0), -EINVAL, "a ring of no slots");
    expect_result(chalk_ring_init(&ring, slots, SIZE - 1), -EINVAL, "a ring of 63 slots");
    for (int shared = 0; shared < 2; shared++) {
        printf("ends that are %s\n", shared ? "shared" : "one core's");
        full_and_empty(slots, shared);
        mix(slots, shared);
    }
    chalk_memory_put(memory, slots, SIZE * sizeof(*slots));
    chalk_memory_destroy(memory);
    return twin_failures != 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Rings, one thread: what comes out, in which order, and how many when there is not enough. */
#include <chalk/random.h>
#include <chalk/ring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Every test of semantics runs with both kinds of ends. */
struct kind {
    unsigned (*put_burst)(struct chalk_ring *, void *const *, unsigned);
    unsigned (*take_burst)(struct chalk_ring *, void **, unsigned);
    bool (*put)(struct chalk_ring *, void *);
    void *(*take)(struct chalk_ring *);
};
static const struct kind kinds[] = {
    {chalk_ring_put_burst, chalk_ring_take_burst, chalk_ring_put, chalk_ring_take},
    {chalk_ring_shared_put_burst, chalk_ring_shared_take_burst, chalk_ring_shared_put,
     chalk_ring_shared_take},
};

/* A ring of `size` slots that the sanitizer watches the edges of. */
static void **ring_make(struct chalk_ring *ring, uint32_t size)
{
    void **slots = malloc(size * sizeof(*slots));

    assert_int_equal(chalk_ring_init(ring, slots, size), 0);
    return slots;
}

static void *number(uint64_t n)
{
    return (void *)(uintptr_t)n;
}

static void size_is_a_power_of_two(void **state)
{
    static const uint32_t wrong[] = {0, 3, 5, 6, 7, 9, 100, 1023, 0x7fffffff, 0x80000001, 0xffffffff};
    struct chalk_ring ring;
    void *slot;

    (void)state;
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        assert_int_equal(chalk_ring_init(&ring, &slot, wrong[i]), -EINVAL);
    for (uint32_t size = 1; size; size <<= 1)
        assert_int_equal(chalk_ring_init(&ring, &slot, size), 0);
}

static void ends_are_on_lines_of_their_own(void **state)
{
    struct chalk_ring ring;

    (void)state;
    const uintptr_t lines[] = {(uintptr_t)&ring.mask, (uintptr_t)&ring.producer.next,
                               (uintptr_t)&ring.producer.done, (uintptr_t)&ring.consumer.next,
                               (uintptr_t)&ring.consumer.done};
    for (unsigned i = 0; i < 5; i++)
        for (unsigned k = 0; k < i; k++)
            assert_true(lines[i] / CHALK_RING_LINE != lines[k] / CHALK_RING_LINE);
}

static void one_at_a_time_every_slot_is_used(void **state)
{
    (void)state;
    for (const struct kind *kind = kinds; kind < kinds + 2; kind++)
        for (uint32_t size = 1; size <= 64; size *= 2) {
            struct chalk_ring ring;
            void **slots = ring_make(&ring, size);

            assert_null(kind->take(&ring));
            for (unsigned round = 0; round < 5; round++) {
                for (uint32_t i = 0; i < size; i++) {
                    assert_int_equal(chalk_ring_count(&ring), i);
                    assert_true(kind->put(&ring, number(100 + i)));
                }
                assert_false(kind->put(&ring, number(99)));
                assert_false(kind->put(&ring, number(98)));
                for (uint32_t i = 0; i < size; i++) {
                    assert_int_equal(chalk_ring_count(&ring), size - i);
                    assert_ptr_equal(kind->take(&ring), number(100 + i));
                }
                assert_null(kind->take(&ring));
            }
            free(slots);
        }
}

static void bursts_take_what_there_is(void **state)
{
    void *items[20], *out[20];

    (void)state;
    for (unsigned i = 0; i < 20; i++)
        items[i] = number(i + 1);
    for (const struct kind *kind = kinds; kind < kinds + 2; kind++) {
        struct chalk_ring ring;
        void **slots = ring_make(&ring, 16);

        memset(out, 0, sizeof(out));
        assert_int_equal(kind->take_burst(&ring, out, 20), 0);
        assert_int_equal(kind->put_burst(&ring, items, 0), 0);
        assert_int_equal(kind->put_burst(&ring, items, 10), 10);
        assert_int_equal(kind->put_burst(&ring, items + 10, 10), 6);
        assert_int_equal(kind->put_burst(&ring, items, 1), 0);
        assert_int_equal(kind->put_burst(&ring, items, 0), 0);
        assert_int_equal(chalk_ring_count(&ring), 16);
        assert_int_equal(kind->take_burst(&ring, out, 0), 0);
        assert_int_equal(kind->take_burst(&ring, out, 3), 3);
        assert_int_equal(kind->take_burst(&ring, out + 3, 17), 13);
        assert_int_equal(kind->take_burst(&ring, out, 1), 0);
        assert_memory_equal(out, items, 16 * sizeof(*out));
        assert_null(out[16]);
        free(slots);
    }
}

static void a_null_pointer_passes_in_a_burst(void **state)
{
    void *items[3] = {NULL, number(1), NULL}, *out[3] = {number(9), number(9), number(9)};

    (void)state;
    for (const struct kind *kind = kinds; kind < kinds + 2; kind++) {
        struct chalk_ring ring;
        void **slots = ring_make(&ring, 4);

        assert_int_equal(kind->put_burst(&ring, items, 3), 3);
        assert_int_equal(kind->take_burst(&ring, out, 3), 3);
        assert_memory_equal(out, items, sizeof(out));
        free(slots);
    }
}

/* Bursts of every size at every place, compared with a counter on each side; arrays of exactly that size. */
static void any_sequence_is_first_in_first_out(void **state)
{
    uint64_t random = 1;

    (void)state;
    for (const struct kind *kind = kinds; kind < kinds + 2; kind++)
        for (uint32_t size = 1; size <= 128; size *= 2) {
            struct chalk_ring ring;
            void **slots = ring_make(&ring, size);
            uint64_t put = 0, taken = 0;

            for (unsigned step = 0; step < 20000; step++) {
                unsigned count = (unsigned)chalk_random_below(&random, 2 * size + 2);
                void **items = malloc(count * sizeof(*items) + !count);

                if (chalk_random_next(&random) & 1) {
                    for (unsigned i = 0; i < count; i++)
                        items[i] = number(put + i);

                    unsigned room = size - (unsigned)(put - taken), want = count < room ? count : room;

                    assert_int_equal(kind->put_burst(&ring, items, count), want);
                    put += want;
                } else {
                    unsigned have = (unsigned)(put - taken), want = count < have ? count : have;

                    assert_int_equal(kind->take_burst(&ring, items, count), want);
                    for (unsigned i = 0; i < want; i++)
                        assert_ptr_equal(items[i], number(taken + i));
                    taken += want;
                }
                assert_int_equal(chalk_ring_count(&ring), put - taken);
                free(items);
            }
            assert_true(put > size * 100);
            free(slots);
        }
}

/* The ends are independent: any pairing of kinds is a ring. */
static void kinds_of_ends_combine(void **state)
{
    (void)state;
    for (const struct kind *producer = kinds; producer < kinds + 2; producer++)
        for (const struct kind *consumer = kinds; consumer < kinds + 2; consumer++) {
            struct chalk_ring ring;
            void **slots = ring_make(&ring, 8);

            for (uint64_t i = 1; i < 100; i++) {
                assert_true(producer->put(&ring, number(i)));
                assert_true(producer->put(&ring, number(i + 1)));
                assert_ptr_equal(consumer->take(&ring), number(i));
                assert_ptr_equal(consumer->take(&ring), number(i + 1));
            }
            free(slots);
        }
}

/* A shared end whose kept limit went back, as another core's late store makes it: no room comes or goes by
 * it. */
static void an_older_limit_changes_nothing(void **state)
{
    struct chalk_ring ring;
    void **slots = ring_make(&ring, 4);

    (void)state;
    for (uint64_t i = 1; i <= 8; i++) {
        assert_true(chalk_ring_shared_put(&ring, number(i)));
        assert_ptr_equal(chalk_ring_shared_take(&ring), number(i));
    }
    for (uint64_t i = 1; i <= 4; i++)
        assert_true(chalk_ring_shared_put(&ring, number(i)));
    ring.producer.limit = 4;
    ring.consumer.limit = 3;
    assert_false(chalk_ring_shared_put(&ring, number(5)));
    for (uint64_t i = 1; i <= 4; i++)
        assert_ptr_equal(chalk_ring_shared_take(&ring), number(i));
    ring.consumer.limit = 3;
    assert_null(chalk_ring_shared_take(&ring));
    ring.producer.limit = 4;
    for (uint64_t i = 5; i <= 8; i++)
        assert_true(chalk_ring_shared_put(&ring, number(i)));
    assert_false(chalk_ring_shared_put(&ring, number(9)));
    ring.consumer.limit = 3;
    for (uint64_t i = 5; i <= 8; i++)
        assert_ptr_equal(chalk_ring_shared_take(&ring), number(i));
    free(slots);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(size_is_a_power_of_two),
        cmocka_unit_test(ends_are_on_lines_of_their_own),
        cmocka_unit_test(one_at_a_time_every_slot_is_used),
        cmocka_unit_test(bursts_take_what_there_is),
        cmocka_unit_test(a_null_pointer_passes_in_a_burst),
        cmocka_unit_test(any_sequence_is_first_in_first_out),
        cmocka_unit_test(kinds_of_ends_combine),
        cmocka_unit_test(an_older_limit_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Pools: every object once, whoever has it; mistakes are named; nothing is lost between cores. */
#include "platform_fake.h"
#include <chalk/error.h>
#include <chalk/pool.h>
#include <chalk/random.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define COUNT 500

static struct chalk_memory *memory;
static struct chalk_pool *pool;
static struct chalk_pool_cache *cache;

static struct chalk_pool_options options(void)
{
    return (struct chalk_pool_options){
        .memory = memory, .name = "frames", .object_size = 200, .count = COUNT, .caches = 4};
}

static int setup(void **state)
{
    struct chalk_pool_options frames;

    (void)state;
    fake_reset();
    if (chalk_memory_create(NULL, &memory) != 0)
        return -1;
    frames = options();
    if (chalk_pool_create(&frames, &pool) != 0)
        return -1;
    cache = chalk_pool_get_cache(pool, 0);
    return 0;
}

static int teardown(void **state)
{
    struct chalk_memory_usage usage;

    (void)state;
    chalk_pool_destroy(pool);
    chalk_memory_get_usage(memory, &usage);
    chalk_memory_destroy(memory);
    return usage.private_used == 0 && usage.shared_used == 0 ? 0 : -1;
}

static void every_object_can_be_had_once(void **state)
{
    void *objects[COUNT + 1];

    (void)state;
    for (unsigned i = 0; i < COUNT; i++) {
        objects[i] = chalk_pool_get(cache);
        assert_non_null(objects[i]);
        assert_int_equal((uintptr_t)objects[i] % 64, 0);
        memset(objects[i], (int)i, 200);
    }
    assert_null(chalk_pool_get(cache));
    assert_int_equal(chalk_pool_left(pool), 0);
    for (unsigned i = 0; i < COUNT; i++) {
        for (unsigned at = 0; at < 200; at++)
            assert_int_equal(((unsigned char *)objects[i])[at], (unsigned char)i);
        chalk_pool_put(cache, objects[i]);
    }
    assert_int_equal(chalk_pool_left(pool), COUNT);
}

static void exhaustion_is_an_error_and_takes_nothing(void **state)
{
    void *objects[COUNT];

    (void)state;
    assert_int_equal(chalk_pool_get_burst(cache, objects, COUNT - 10), 0);
    assert_int_equal(chalk_pool_get_burst(cache, objects + COUNT - 10, 11), -ENOMEM);
    assert_int_equal(chalk_pool_left(pool), 10);
    assert_int_equal(chalk_pool_get_burst(cache, objects + COUNT - 10, 10), 0);
    assert_int_equal(chalk_pool_get_burst(cache, objects, 0), 0);
    chalk_pool_put_burst(cache, objects, COUNT);
    assert_int_equal(chalk_pool_left(pool), COUNT);
}

/* What one core's cache keeps, another core does not get; what was put beyond that, it does. */
static void objects_go_from_core_to_core(void **state)
{
    struct chalk_pool_cache *other = chalk_pool_get_cache(pool, 3);
    void *objects[COUNT];

    (void)state;
    assert_null(chalk_pool_get_cache(pool, 4));
    assert_int_equal(chalk_pool_get_burst(cache, objects, COUNT), 0);
    for (unsigned i = 0; i < COUNT; i++)
        chalk_pool_put(other, objects[i]);
    assert_int_equal(chalk_pool_get_burst(cache, objects, COUNT - 2 * CHALK_POOL_BATCH), 0);
    assert_int_equal(chalk_pool_get_burst(other, objects + COUNT - 2 * CHALK_POOL_BATCH, 1), 0);
    chalk_pool_put_burst(cache, objects, COUNT - 2 * CHALK_POOL_BATCH + 1);
}

static void handles(void **state)
{
    struct chalk_memory_usage usage;
    struct chalk_dma first;
    void *object = chalk_pool_get(cache);
    struct chalk_dma dma = chalk_pool_dma(pool, object);

    (void)state;
    chalk_memory_get_usage(memory, &usage);
    assert_int_equal(chalk_dma_get(memory, usage.shared_size - usage.shared_used, 1, &first), 0);
    assert_ptr_equal(dma.va, object);
    assert_int_equal(dma.size, 200);
    assert_int_equal(dma.iova - first.iova, (uintptr_t)object - (uintptr_t)first.va);
    chalk_dma_put(memory, &first);
    chalk_pool_put(cache, object);
}

static void what_cannot_be_made_is_refused(void **state)
{
    struct chalk_pool_options bad = options();
    struct chalk_memory_usage before, after;
    struct chalk_pool *none;

    (void)state;
    chalk_memory_get_usage(memory, &before);
    bad.object_size = 0;
    assert_int_equal(chalk_pool_create(&bad, &none), -EINVAL);
    bad = options();
    bad.count = 0;
    assert_int_equal(chalk_pool_create(&bad, &none), -EINVAL);
    bad = options();
    bad.align = 48;
    assert_int_equal(chalk_pool_create(&bad, &none), -EINVAL);
    bad = options();
    bad.align = (size_t)1 << 40; /* more than va and iova have in common */
    assert_int_equal(chalk_pool_create(&bad, &none), -EINVAL);
    bad = options();
    bad.object_size = SIZE_MAX / 4;
    assert_int_equal(chalk_pool_create(&bad, &none), -ENOMEM);
    bad = options();
    bad.count = 1u << 31;
    assert_int_equal(chalk_pool_create(&bad, &none), -ENOMEM);
    fake_console_clear();
    bad = options();
    bad.count = 1 << 16;
    assert_int_equal(chalk_pool_create(&bad, &none), -ENOMEM);
    assert_true(fake_console_has("pool frames needs 16384 KiB of shared and"));
    chalk_memory_get_usage(memory, &after);
    assert_memory_equal(&before, &after, sizeof before);
}

static void books_are_small(void **state)
{
    struct chalk_memory_options large = {.private_size = 4 << 20, .shared_size = 48 << 20};
    struct chalk_pool_options packets = {.name = "packets", .object_size = 2048, .count = 16384, .caches = 8};
    struct chalk_memory_usage usage;
    struct chalk_pool *large_pool;

    (void)state;
    assert_int_equal(chalk_memory_create(&large, &packets.memory), 0);
    assert_int_equal(chalk_pool_create(&packets, &large_pool), 0);
    chalk_memory_get_usage(packets.memory, &usage);
    assert_int_equal(usage.shared_used, 16384 * 2048);
    assert_true(usage.private_used * 100 < usage.shared_used * 2);
    print_message("# %zu bytes of books for %zu of objects\n", usage.private_used, usage.shared_used);
    chalk_pool_destroy(large_pool);
    chalk_memory_destroy(packets.memory);
}

static void putting_twice_is_named(void **state)
{
    void *object = chalk_pool_get(cache);

    (void)state;
    chalk_pool_put(cache, object);
    assert_true(fake_exits(chalk_pool_put(cache, object)));
    assert_int_equal(fake.exit_status, 134);
    assert_true(fake_console_has("pool frames: object "));
    assert_true(fake_console_has("put twice"));
    assert_true(fake_exits(chalk_pool_put(chalk_pool_get_cache(pool, 1), object)));
}

static void putting_what_is_not_an_object_is_named(void **state)
{
    struct chalk_memory *other;
    char *object = chalk_pool_get(cache);
    char local;

    (void)state;
    assert_int_equal(chalk_memory_create(&(struct chalk_memory_options){.name = "stranger"}, &other), 0);
    assert_true(fake_exits(chalk_pool_put(cache, object + 1)));
    assert_true(fake_console_has("frames puts into its pool"));
    assert_true(fake_exits(chalk_pool_put(cache, chalk_memory_get(other, 1))));
    assert_true(fake_console_has("claimed by stranger"));
    assert_true(fake_exits(chalk_pool_put(cache, &local)));
    assert_true(fake_console_has("claimed by nobody"));
    chalk_pool_put(cache, object);
    chalk_memory_destroy(other);
}

static void writing_to_what_was_put_is_found(void **state)
{
    char *object = chalk_pool_get(cache);

    (void)state;
    chalk_pool_put(cache, object);
    object[199] = 1;
    assert_true(fake_exits(chalk_pool_get(cache)));
    assert_true(fake_console_has("written to after it was put: byte 199 is 0x01"));
    cache->count++; /* as if it had not been asked for */
    memset(pool->out, 0, (COUNT + 63) / 64 * 8);
    memset(object, 0xdb, 200);
}

static void destroying_a_pool_in_use_is_refused(void **state)
{
    void *objects[3];

    (void)state;
    assert_int_equal(chalk_pool_get_burst(cache, objects, 3), 0);
    assert_true(fake_exits(chalk_pool_destroy(pool)));
    assert_true(fake_console_has("pool frames is destroyed while 3 of its 500"));
    chalk_pool_put_burst(cache, objects, 3);
}

/* One owner an object; four caches, bursts of all sizes, one thread. */
static void random_work_matches_the_model(void **state)
{
    static void *held[4][COUNT];
    unsigned counts[4] = {0}, owner[COUNT] = {0}, refused = 0;
    char *base = pool->objects.va;
    uint64_t random = 5;

    (void)state;
    for (unsigned round = 0; round < 30000; round++) {
        unsigned i = (unsigned)chalk_random_below(&random, 4);
        unsigned count = (unsigned)chalk_random_below(&random, chalk_random_below(&random, 10) ? 40 : 200);
        unsigned total = counts[0] + counts[1] + counts[2] + counts[3];

        if (chalk_random_below(&random, 100) < (round / 300 % 2 ? 65u : 35u)) {
            if (counts[i] + count > COUNT)
                continue;
            if (chalk_pool_get_burst(chalk_pool_get_cache(pool, i), held[i] + counts[i], count) != 0) {
                assert_true(count + 3 * 2 * CHALK_POOL_BATCH > COUNT - total); /* others keep no more */
                refused++;
                continue;
            }
            for (unsigned j = 0; j < count; j++, counts[i]++) {
                size_t index = (size_t)((char *)held[i][counts[i]] - base) / pool->stride;
                assert_in_range(index, 0, COUNT - 1);
                assert_int_equal(owner[index], 0);
                owner[index] = i + 1;
            }
        } else {
            unsigned from = (unsigned)chalk_random_below(&random, 4); /* got by one core, put by another */
            count = count < counts[from] ? count : counts[from];
            counts[from] -= count;
            for (unsigned j = 0; j < count; j++)
                owner[(size_t)((char *)held[from][counts[from] + j] - base) / pool->stride] = 0;
            chalk_pool_put_burst(chalk_pool_get_cache(pool, i), held[from] + counts[from], count);
        }
        total = counts[0] + counts[1] + counts[2] + counts[3];
        assert_int_equal(chalk_pool_left(pool), COUNT - total);
    }
    assert_true(refused > 100);
    for (unsigned i = 0; i < 4; i++)
        chalk_pool_put_burst(cache, held[i], counts[i]);
}

/* Each writes its mark into what it has, and finds it there: so nobody else had it. */
static void *work(void *argument)
{
    struct chalk_pool_cache *own = argument;
    uint64_t random = (uintptr_t)own;
    void *objects[32];

    for (unsigned round = 0; round < 3000; round++) {
        unsigned count = 1 + (unsigned)chalk_random_below(&random, 32);
        if (chalk_pool_get_burst(own, objects, count) != 0)
            continue;
        for (unsigned i = 0; i < count; i++)
            *(uint64_t *)objects[i] = (uintptr_t)own + i;
        for (unsigned i = 0; i < count; i++)
            if (*(uint64_t *)objects[i] != (uintptr_t)own + i)
                return "somebody else wrote to it";
        chalk_pool_put_burst(own, objects, count);
    }
    return NULL;
}

static void cores_share_a_pool(void **state)
{
    pthread_t threads[4];
    void *complaint;

    (void)state;
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, chalk_pool_get_cache(pool, i)), 0);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], &complaint), 0);
        if (complaint)
            fail_msg("%s", (char *)complaint);
    }
    assert_int_equal(chalk_pool_left(pool), COUNT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_object_can_be_had_once),     TEST(exhaustion_is_an_error_and_takes_nothing),
        TEST(objects_go_from_core_to_core),     TEST(handles),
        TEST(what_cannot_be_made_is_refused),   TEST(books_are_small),
        TEST(putting_twice_is_named),           TEST(putting_what_is_not_an_object_is_named),
        TEST(writing_to_what_was_put_is_found), TEST(destroying_a_pool_in_use_is_refused),
        TEST(random_work_matches_the_model),    TEST(cores_share_a_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

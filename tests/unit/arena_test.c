/* SPDX-License-Identifier: BSD-2-Clause */
/* Arenas: memory that several domains reach at the same addresses, each as far as it was granted. */
#include "platform_fake.h"
#include <chalk/arena.h>
#include <chalk/error.h>
#include <chalk/pool.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB  ((size_t)1 << 20)
#define BOTH (CHALK_DEVICE_READS | CHALK_DEVICE_WRITES)

static struct chalk_domain *network, *disk;
static struct chalk_arena *arena;

static int setup(void **state)
{
    struct chalk_arena_options options = {.size = MIB, .name = "packets"};

    (void)state;
    fake_reset();
    network = fake_domain_add();
    disk = fake_domain_add();
    return chalk_arena_create(&options, &arena);
}

/* Everything comes back, whatever a test did. */
static int teardown(void **state)
{
    struct chalk_claim left;

    (void)state;
    if (arena)
        chalk_arena_destroy(arena);
    fake_domain_remove(network);
    fake_domain_remove(disk);
    return chalk_claim_get(0, &left) == -ENOENT ? 0 : -1;
}

static void what_one_device_writes_another_reads(void **state)
{
    struct chalk_dma buffer;

    (void)state;
    assert_int_equal(chalk_arena_share(arena, network, BOTH), 0);
    assert_int_equal(chalk_arena_share(arena, disk, BOTH), 0);
    assert_int_equal(chalk_arena_get(arena, 3000, 1, &buffer), 0);
    assert_int_equal(buffer.iova, (uintptr_t)buffer.va + arena->iova_offset);
    strcpy(fake_dma(network, buffer.iova, 3000, CHALK_DEVICE_WRITES), "a packet");
    assert_string_equal(fake_dma(disk, buffer.iova, 3000, CHALK_DEVICE_READS), "a packet");
    chalk_arena_unshare(arena, network);
    assert_null(fake_dma(network, buffer.iova, 1, CHALK_DEVICE_READS));
    assert_non_null(fake_dma(disk, buffer.iova, 1, CHALK_DEVICE_READS));
    chalk_arena_put(arena, &buffer);
    chalk_arena_unshare(arena, disk);
}

static void each_domain_reaches_what_it_was_granted(void **state)
{
    uint64_t iova = arena->claim.iova;

    (void)state;
    assert_int_equal(chalk_arena_share(arena, disk, CHALK_DEVICE_READS), 0);
    assert_int_equal(chalk_arena_share(arena, network, CHALK_DEVICE_WRITES), 0);
    assert_non_null(fake_dma(disk, iova, MIB, CHALK_DEVICE_READS));
    assert_null(fake_dma(disk, iova, 1, CHALK_DEVICE_WRITES));
    assert_non_null(fake_dma(network, iova, MIB, CHALK_DEVICE_WRITES));
    assert_null(fake_dma(network, iova, 1, CHALK_DEVICE_READS));
    chalk_arena_unshare(arena, disk);
    chalk_arena_unshare(arena, network);
}

static void sharing_again_maps_once_and_has_one_protection(void **state)
{
    (void)state;
    assert_int_equal(chalk_arena_share(arena, disk, CHALK_DEVICE_READS), 0);
    assert_int_equal(chalk_arena_share(arena, disk, CHALK_DEVICE_READS), 0);
    assert_int_equal(fake.mappings, 1);
    assert_int_equal(chalk_arena_share(arena, disk, BOTH), -EEXIST);
    assert_true(fake_console_has("packets is shared with this domain already, for reading only"));
    chalk_arena_unshare(arena, disk);
    assert_int_equal(fake.mappings, 1);
    chalk_arena_unshare(arena, disk);
    assert_int_equal(fake.mappings, 0);
}

static void rings_need_both_directions(void **state)
{
    uint64_t iova = arena->claim.iova;

    (void)state;
    assert_int_equal(chalk_arena_share(arena, disk, CHALK_DEVICE_READS), 0);
    assert_true(fake_exits(chalk_grant_check(disk, iova, 64)));
    assert_true(fake_console_has("64 bytes"));
    assert_true(fake_console_has("reading only"));
    chalk_arena_unshare(arena, disk);
}

static void destroying_what_devices_reach_ends_the_program(void **state)
{
    (void)state;
    assert_int_equal(chalk_arena_share(arena, disk, BOTH), 0);
    assert_true(fake_exits(chalk_arena_destroy(arena)));
    assert_int_equal(fake.exit_status, 134);
    assert_true(fake_console_has("packets gives back 1024 KiB"));
    assert_true(fake_console_has("while devices still reach them"));
    chalk_arena_unshare(arena, disk);
}

static void arena_lies_where_it_is_told_to(void **state)
{
    char *span = fake_span_add(CHALK_SPAN_MODULE, 4 * MIB, CHALK_PAGE, 0x70000000, 0);
    struct chalk_arena_options options = {.size = MIB, .name = "there", .va = span + MIB};
    struct chalk_arena *there, *again;
    struct chalk_dma all;

    (void)state;
    assert_int_equal(chalk_arena_create(&options, &there), 0);
    assert_int_equal(chalk_arena_get(there, MIB, 1, &all), 0);
    assert_ptr_equal(all.va, span + MIB);
    assert_int_equal(all.iova, 0x70000000 + MIB);
    options.name = "the second one";
    assert_int_equal(chalk_arena_create(&options, &again), -EBUSY);
    assert_true(fake_console_has("the second one cannot claim 1024 KiB"));
    options.va = span + 3 * MIB + CHALK_PAGE;
    assert_int_equal(chalk_arena_create(&options, &again), -EINVAL);
    chalk_arena_destroy(there);
}

static void creation_that_fails_leaves_nothing(void **state)
{
    struct chalk_arena_options options = {.size = MIB, .max_address = 0xfff};
    struct chalk_arena *low;

    (void)state;
    assert_int_equal(chalk_arena_create(&options, &low), -ERANGE);
    options = (struct chalk_arena_options){.size = SIZE_MAX};
    assert_int_equal(chalk_arena_create(&options, &low), -ENOMEM);
    options.size = 0;
    assert_int_equal(chalk_arena_create(&options, &low), -EINVAL);
    options.size = 128 * MIB; /* beyond what the platform has */
    assert_int_equal(chalk_arena_create(&options, &low), -ENOMEM);
    chalk_arena_destroy(arena);
    arena = NULL;
}

static void exhaustion_is_an_error_and_takes_nothing(void **state)
{
    struct chalk_dma most, more;

    (void)state;
    assert_int_equal(chalk_arena_get(arena, MIB - CHALK_PAGE, 1, &most), 0);
    assert_int_equal(chalk_arena_get(arena, 2 * CHALK_PAGE, 1, &more), -ENOMEM);
    assert_int_equal(chalk_arena_get(arena, CHALK_PAGE, 1, &more), 0);
    chalk_arena_put(arena, &more);
    chalk_arena_put(arena, &most);
    assert_true(fake_exits(chalk_arena_put(arena, &most)));
    assert_true(fake_console_has("packets gives back"));
}

static void pool_lies_in_the_arena_that_it_was_given(void **state)
{
    struct chalk_memory *memory;
    struct chalk_pool *pool;

    (void)state;
    assert_int_equal(chalk_memory_create(NULL, &memory), 0);
    struct chalk_pool_options options = {
        .memory = memory, .arena = arena, .name = "packets", .object_size = 2048, .count = 64};
    assert_int_equal(chalk_pool_create(&options, &pool), 0);
    char *object = chalk_pool_get(chalk_pool_get_cache(pool, 0));
    assert_true(object >= arena->claim.va && object + 2048 <= arena->claim.va + arena->claim.size);
    assert_int_equal(chalk_pool_dma(pool, object).iova, (uintptr_t)object + arena->iova_offset);
    chalk_pool_put(chalk_pool_get_cache(pool, 0), object);
    chalk_pool_destroy(pool);
    assert_int_equal(arena->pages.used, 0);
    chalk_memory_destroy(memory);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_one_device_writes_another_reads),
        TEST(each_domain_reaches_what_it_was_granted),
        TEST(sharing_again_maps_once_and_has_one_protection),
        TEST(rings_need_both_directions),
        TEST(destroying_what_devices_reach_ends_the_program),
        TEST(arena_lies_where_it_is_told_to),
        TEST(creation_that_fails_leaves_nothing),
        TEST(exhaustion_is_an_error_and_takes_nothing),
        TEST(pool_lies_in_the_arena_that_it_was_given),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

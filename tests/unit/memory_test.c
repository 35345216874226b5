/* SPDX-License-Identifier: BSD-2-Clause */
/* Memories: where they come from, what devices reach of them, and what becomes of them. */
#include "platform_fake.h"
#include <chalk/error.h>
#include <chalk/memory.h>
#include <chalk/random.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)

static struct chalk_device *device;
static struct chalk_domain *domain;

static int setup(void **state)
{
    (void)state;
    fake_reset();
    fake_device_add("0000:00:01.0", 0x1234, 0x5678, 0xff0000);
    domain = NULL;
    return chalk_device_open("0000:00:01.0", &domain, &device);
}

static int teardown(void **state)
{
    (void)state;
    chalk_device_close(device);
    return 0;
}

static struct chalk_memory *create(size_t private_size, size_t shared_size)
{
    struct chalk_memory_options options = {.private_size = private_size, .shared_size = shared_size};
    struct chalk_memory *memory = NULL;

    assert_int_equal(chalk_memory_create(&options, &memory), 0);
    return memory;
}

/* Where the shared part is: all of it, handed out at once and given back. */
static struct chalk_dma shared_part(struct chalk_memory *memory)
{
    struct chalk_memory_usage usage;
    struct chalk_dma all;

    chalk_memory_get_usage(memory, &usage);
    assert_int_equal(chalk_dma_get(memory, usage.shared_size, CHALK_PAGE, &all), 0);
    chalk_dma_put(memory, &all);
    return all;
}

static bool all_zero(const void *memory, size_t size)
{
    const char *at = memory;

    for (size_t i = 0; i < size; i++)
        if (at[i])
            return false;
    return true;
}

static void defaults(void **state)
{
    struct chalk_memory_usage usage;
    struct chalk_memory *memory;

    (void)state;
    assert_int_equal(chalk_memory_create(NULL, &memory), 0);
    chalk_memory_get_usage(memory, &usage);
    assert_int_equal(usage.private_size, MIB);
    assert_int_equal(usage.shared_size, 4 * MIB);
    assert_int_equal(usage.private_used + usage.shared_used, 0);
    chalk_memory_destroy(memory);
}

/* Spans hold rubbish, and so does memory that was used before. */
static void what_is_handed_out_is_zeroed(void **state)
{
    struct chalk_memory *memory = create(64 << 10, 64 << 10);
    struct chalk_dma dma;

    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        char *address = chalk_memory_get(memory, 5000);
        assert_non_null(address);
        assert_int_equal((uintptr_t)address % CHALK_PAGE, 0);
        assert_true(all_zero(address, 2 * CHALK_PAGE));
        memset(address, 0xee, 2 * CHALK_PAGE);
        chalk_memory_put(memory, address, 5000);
        assert_int_equal(chalk_dma_get(memory, 5000, 1, &dma), 0);
        assert_int_equal(dma.size, 5000);
        assert_true(all_zero(dma.va, 2 * CHALK_PAGE));
        memset(dma.va, 0xee, 2 * CHALK_PAGE);
        chalk_dma_put(memory, &dma);
    }
    chalk_memory_destroy(memory);
}

static void everything_asked_for_can_be_had(void **state)
{
    struct chalk_memory *memory = create(3 * MIB, 5 * MIB);
    struct chalk_memory_usage usage;
    struct chalk_dma dma;

    (void)state;
    for (unsigned i = 0; i < 3 * MIB / CHALK_PAGE; i++)
        assert_non_null(chalk_memory_get(memory, CHALK_PAGE));
    assert_null(chalk_memory_get(memory, 1));
    for (unsigned i = 0; i < 5 * MIB / CHALK_PAGE; i++)
        assert_int_equal(chalk_dma_get(memory, 1, 1, &dma), 0);
    assert_int_equal(chalk_dma_get(memory, 1, 1, &dma), -ENOMEM);
    assert_false(fake_console_has("shared_size"));
    assert_int_equal(chalk_dma_get(memory, (size_t)64 << 20, 1, &dma), -ENOMEM);
    assert_true(fake_console_has("chalk_dma_get(): 65536 KiB are more than all shared memory"));
    assert_true(fake_console_has("a larger shared_size"));
    chalk_memory_get_usage(memory, &usage);
    assert_int_equal(usage.private_used, 3 * MIB);
    assert_int_equal(usage.shared_used, 5 * MIB);
    chalk_memory_destroy(memory);
}

static void devices_reach_the_shared_part_only(void **state)
{
    struct chalk_memory *memory = create(MIB, MIB);
    struct chalk_dma all = shared_part(memory), dma;
    char *private = chalk_memory_get(memory, MIB);

    (void)state;
    assert_non_null(private);
    assert_null(fake_dma(domain, all.iova, 1, CHALK_DEVICE_READS));
    assert_int_equal(chalk_memory_share(memory, domain), 0);
    assert_ptr_equal(fake_dma(domain, all.iova, all.size, CHALK_DEVICE_READS | CHALK_DEVICE_WRITES), all.va);
    assert_null(fake_dma(domain, all.iova - 1, 1, CHALK_DEVICE_READS));
    assert_null(fake_dma(domain, all.iova + all.size, 1, CHALK_DEVICE_READS));
    assert_true(private + MIB <= (char *)all.va || (char *)all.va + all.size <= private);
    assert_true((char *)memory < (char *)all.va || (char *)all.va + all.size <= (char *)memory);
    assert_int_equal(chalk_dma_get(memory, 100, 1, &dma), 0);
    assert_ptr_equal(fake_dma(domain, dma.iova, dma.size, CHALK_DEVICE_WRITES), dma.va);
    chalk_memory_unshare(memory, domain);
    assert_null(fake_dma(domain, all.iova, 1, CHALK_DEVICE_READS));
    chalk_memory_destroy(memory);
}

/* A device that overwrites all that it can reach, at any time: the allocator and its books do not notice. */
static void books_are_out_of_reach_of_devices(void **state)
{
    struct chalk_memory *memory = create(256 << 10, 256 << 10);
    struct chalk_dma all = shared_part(memory), held[64];
    void *private[8];
    uint64_t random = 1;

    (void)state;
    assert_int_equal(chalk_memory_share(memory, domain), 0);
    for (unsigned i = 0; i < 8; i++)
    private[i] = chalk_memory_get(memory, 8192);
    for (unsigned round = 0; round < 100; round++) {
        unsigned count = 0;
        char *reached = fake_dma(domain, all.iova, all.size, CHALK_DEVICE_WRITES);
        memset(reached, (int)chalk_random_next(&random), all.size);
        while (count < 64 && chalk_dma_get(memory, CHALK_PAGE, CHALK_PAGE, &held[count]) == 0)
            count++;
        assert_int_equal(count, 64);
        memset(reached, (int)chalk_random_next(&random), all.size);
        for (unsigned i = 0; i < count; i++) {
            assert_int_equal(held[i].iova, all.iova + i * CHALK_PAGE);
            chalk_dma_put(memory, &held[i]);
        }
        for (unsigned i = 0; i < 8; i++)
            assert_true(all_zero(private[i], 8192));
    }
    chalk_memory_unshare(memory, domain);
    chalk_memory_destroy(memory);
}

static void sharing_twice_takes_unsharing_twice(void **state)
{
    struct chalk_memory *memory = create(MIB, MIB);
    struct chalk_dma all = shared_part(memory);

    (void)state;
    assert_int_equal(chalk_memory_share(memory, domain), 0);
    assert_int_equal(chalk_memory_share(memory, domain), 0);
    chalk_memory_unshare(memory, domain);
    assert_non_null(fake_dma(domain, all.iova, 1, CHALK_DEVICE_READS));
    assert_true(fake_exits(chalk_memory_destroy(memory)));
    chalk_memory_unshare(memory, domain);
    assert_null(fake_dma(domain, all.iova, 1, CHALK_DEVICE_READS));
    assert_true(fake_exits(chalk_memory_unshare(memory, domain)));
    assert_true(fake_console_has("is unshared from a domain that it is not shared with"));
    chalk_memory_destroy(memory);
}

static void failed_sharing_leaves_nothing(void **state)
{
    struct chalk_memory *memory = create(MIB, MIB);

    (void)state;
    fake_fail("chalk_dma_map", 0, -ENOSPC);
    assert_int_equal(chalk_memory_share(memory, domain), -ENOSPC);
    assert_int_equal(fake.mappings, 0);
    assert_true(fake_exits(chalk_grant_check(domain, shared_part(memory).iova, 1)));
    chalk_memory_destroy(memory);
}

static void grants_are_counted_out(void **state)
{
    struct chalk_memory *memory = create(MIB, CHALK_PAGE);
    struct chalk_domain *domains[65];

    (void)state;
    for (unsigned i = 0; i < 65; i++) {
        domains[i] = fake_domain_add();
        assert_int_equal(chalk_memory_share(memory, domains[i]), i < 64 ? 0 : -ENOSPC);
    }
    assert_true(fake_console_has("64 domains"));
    for (unsigned i = 0; i < 65; i++) {
        if (i < 64)
            chalk_memory_unshare(memory, domains[i]);
        fake_domain_remove(domains[i]);
    }
    chalk_memory_destroy(memory);
}

static void dma_addresses(void **state)
{
    struct chalk_memory *memory = create(MIB, 4 * MIB);
    struct chalk_dma all = shared_part(memory), dma;

    (void)state;
    for (size_t align = 1; align <= MIB; align *= 2) {
        assert_int_equal(chalk_dma_get(memory, 100, align, &dma), 0);
        assert_int_equal(dma.iova % align, 0);
        assert_int_equal((uintptr_t)dma.va % align, 0);
        assert_int_equal(dma.iova % CHALK_PAGE, 0);
        assert_int_equal((char *)dma.va - (char *)all.va, dma.iova - all.iova);
    }
    assert_int_equal(chalk_dma_get(memory, 0, 1, &dma), -EINVAL);
    assert_int_equal(chalk_dma_get(memory, 1, 3, &dma), -EINVAL);
    assert_int_equal(chalk_dma_get(memory, 1, 5000, &dma), -EINVAL);
    assert_int_equal(chalk_dma_get(memory, 8 * MIB, 1, &dma), -ENOMEM);
    assert_int_equal(chalk_dma_get(memory, SIZE_MAX, 1, &dma), -ENOMEM);
    assert_int_equal(chalk_dma_get(memory, SIZE_MAX / 2, 1, &dma), -ENOMEM);
    assert_null(chalk_memory_get(memory, 0));
    assert_null(chalk_memory_get(memory, SIZE_MAX));
    chalk_memory_destroy(memory);
}

/* Pages of 4 KiB: only modulo 4 KiB are iovas aligned as addresses are. */
static void alignment_that_cannot_hold_for_both_addresses_is_refused(void **state)
{
    struct chalk_memory *memory;
    struct chalk_dma dma;

    (void)state;
    fake.grow_limit = 0;
    fake_span_add(CHALK_SPAN_RAM, 8 * MIB, 64 << 10, 0x40000000 + CHALK_PAGE, 0);
    memory = create(MIB, MIB);
    assert_int_equal(chalk_dma_get(memory, 1, 2 * CHALK_PAGE, &dma), -EINVAL);
    assert_int_equal(chalk_dma_get(memory, 1, CHALK_PAGE, &dma), 0);
    chalk_memory_destroy(memory);
}

static void putting_nothing_is_allowed(void **state)
{
    struct chalk_memory *memory = create(MIB, MIB);
    struct chalk_dma nothing = {0};

    (void)state;
    chalk_memory_put(memory, NULL, 4096);
    chalk_dma_put(memory, &nothing);
    chalk_memory_destroy(memory);
}

static void putting_twice_ends_the_program(void **state)
{
    struct chalk_memory *memory = create(MIB, MIB);
    char *address = chalk_memory_get(memory, 4096);
    struct chalk_dma dma;

    (void)state;
    assert_int_equal(chalk_dma_get(memory, 4096, 1, &dma), 0);
    chalk_memory_put(memory, address, 4096);
    assert_true(fake_exits(chalk_memory_put(memory, address, 4096)));
    chalk_dma_put(memory, &dma);
    assert_true(fake_exits(chalk_dma_put(memory, &dma)));
    assert_true(fake_exits(chalk_memory_put(memory, dma.va, 4096))); /* of the other part */
    chalk_memory_destroy(memory);
}

static void limit_of_addresses_binds_the_shared_part(void **state)
{
    struct chalk_memory_options options = {.shared_size = MIB, .max_address = 0xffffffff};
    struct chalk_memory *memory;

    (void)state;
    fake_span_add(CHALK_SPAN_RAM, 8 * MIB, 2 * MIB, 0x200000000, 0);
    fake_span_add(CHALK_SPAN_RAM, 8 * MIB, 2 * MIB, 0xffe00000, 0); /* of which 2 MiB lie below */
    assert_int_equal(chalk_memory_create(&options, &memory), 0);
    struct chalk_dma all = shared_part(memory);
    assert_in_range(all.iova, 0xffe00000, 0xffffffff - all.size + 1);
    chalk_memory_destroy(memory);

    options.max_address = 0xffe00000 + MIB - 1; /* exactly */
    assert_int_equal(chalk_memory_create(&options, &memory), 0);
    assert_int_equal(shared_part(memory).iova, 0xffe00000);
    chalk_memory_destroy(memory);

    options.max_address = 0xffe00000 + MIB - 2;
    fake.grow_limit = 0;
    assert_int_equal(chalk_memory_create(&options, &memory), -ENOMEM);
    options.max_address = 4095;
    fake.grow_limit = 64 * MIB;
    assert_int_equal(chalk_memory_create(&options, &memory), -ERANGE);
}

static void spans_that_are_there_are_used_before_any_is_grown(void **state)
{
    (void)state;
    fake_span_add(CHALK_SPAN_MODULE, 16 * MIB, CHALK_PAGE, 0, 0);
    char *span = fake_span_add(CHALK_SPAN_RAM, 8 * MIB, CHALK_PAGE, 0, 0);
    struct chalk_memory *memory = create(2 * MIB, 2 * MIB);

    assert_int_equal(fake.grows, 0);
    assert_in_range((char *)memory - span, 0, 8 * MIB - 1);
    assert_in_range((char *)shared_part(memory).va - span, 0, 8 * MIB - 1);
    struct chalk_memory *another = create(2 * MIB, 2 * MIB);
    assert_int_equal(fake.grows, 1);
    chalk_memory_destroy(memory);
    chalk_memory_destroy(another);
}

static void hole_of_exactly_the_size_is_filled(void **state)
{
    struct chalk_memory *held[3];

    (void)state;
    fake.grow_limit = 0;
    fake_span_add(CHALK_SPAN_RAM, 12 * CHALK_PAGE, CHALK_PAGE, 0, 0);
    for (unsigned i = 0; i < 3; i++) /* two pages of books, one that is private, one that is shared */
        held[i] = create(CHALK_PAGE, CHALK_PAGE);
    for (unsigned i = 0; i < 3; i++) {
        chalk_memory_destroy(held[i]);
        held[i] = create(CHALK_PAGE, CHALK_PAGE);
    }
    for (unsigned i = 0; i < 3; i++)
        chalk_memory_destroy(held[i]);
}

static void node_is_respected(void **state)
{
    struct chalk_memory_options options = {.private_size = MIB, .shared_size = MIB, .node = CHALK_NODE(1)};
    struct chalk_memory *memory;

    (void)state;
    fake.grow_limit = 0;
    fake_span_add(CHALK_SPAN_RAM, 16 * MIB, CHALK_PAGE, 0, CHALK_NODE(0));
    assert_int_equal(chalk_memory_create(&options, &memory), -ENOMEM);
    char *near = fake_span_add(CHALK_SPAN_RAM, 16 * MIB, CHALK_PAGE, 0, CHALK_NODE(1));
    assert_int_equal(chalk_memory_create(&options, &memory), 0);
    assert_in_range((char *)memory - near, 0, 16 * MIB - 1);
    assert_in_range((char *)shared_part(memory).va - near, 0, 16 * MIB - 1);
    chalk_memory_destroy(memory);
}

/* What an initializer leaves out is "any": no node 0 that nobody asked for. */
static void node_that_is_not_named_is_any(void **state)
{
    struct chalk_memory_options options = {.private_size = MIB, .shared_size = MIB};
    struct chalk_arena *arena;
    struct chalk_memory *memory;

    (void)state;
    fake.grow_limit = 0;
    fake_span_add(CHALK_SPAN_RAM, 16 * MIB, CHALK_PAGE, 0, CHALK_NODE(1));
    assert_int_equal(chalk_memory_create(&options, &memory), 0);
    assert_int_equal(chalk_memory_arena(memory)->claim.node, CHALK_NODE(1));
    chalk_memory_destroy(memory);
    assert_int_equal(chalk_arena_create(&(struct chalk_arena_options){.size = MIB}, &arena), 0);
    chalk_arena_destroy(arena);
    assert_int_equal(CHALK_NODE(-1), 0); /* of Linux and of ACPI: unknown */
    assert_int_equal(CHALK_NODE_NUMBER(CHALK_NODE(0)), 0);
    assert_int_equal(CHALK_NODE_NUMBER(0), -1);
}

/* A machine that does not say where its memory is has it on every node. */
static void unknown_nodes_will_do(void **state)
{
    struct chalk_memory_options options = {.private_size = MIB, .shared_size = MIB, .node = CHALK_NODE(1)};
    struct chalk_memory *memory;

    (void)state;
    fake.grow_limit = 0;
    fake_span_add(CHALK_SPAN_RAM, 16 * MIB, CHALK_PAGE, 0, 0);
    assert_int_equal(chalk_memory_create(&options, &memory), 0);
    chalk_memory_destroy(memory);
}

static void shared_part_in_large_pages_can_be_mapped_in_large_pages(void **state)
{
    (void)state;
    fake.grow_limit = 0;
    fake_span_add(CHALK_SPAN_RAM, 16 * MIB, 2 * MIB, 0, 0);
    struct chalk_memory *memory = create(MIB, 4 * MIB);
    struct chalk_dma all = shared_part(memory);

    assert_int_equal(all.iova % (2 * MIB), 0);
    assert_int_equal((uintptr_t)all.va % (2 * MIB), 0);
    chalk_memory_destroy(memory);
}

static void memory_comes_back(void **state)
{
    struct chalk_memory *memory;

    (void)state;
    for (unsigned i = 0; i < 1000; i++) {
        memory = create(MIB, 3 * MIB);
        assert_int_equal(chalk_memory_share(memory, domain), 0);
        assert_non_null(chalk_memory_get(memory, MIB));
        chalk_memory_unshare(memory, domain);
        chalk_memory_destroy(memory);
    }
    assert_true(fake.grows <= 2);
}

static void memories_never_overlap(void **state)
{
    struct chalk_memory *held[8] = {0};
    struct chalk_memory_usage usage;
    struct chalk_dma parts[8];
    char *privates[8];
    uint64_t random = 3;

    (void)state;
    for (unsigned round = 0; round < 400; round++) {
        unsigned i = (unsigned)chalk_random_below(&random, 8);
        if (held[i]) {
            /* what was written at the start is there still, so nobody else had it */
            chalk_memory_get_usage(held[i], &usage);
            for (size_t at = 0; at < usage.private_size; at += 1024)
                assert_int_equal(privates[i][at], (char)i);
            for (size_t at = 0; at < usage.shared_size; at += 1024)
                assert_int_equal(((char *)parts[i].va)[at], (char)(i + 100));
            chalk_memory_destroy(held[i]);
            held[i] = NULL;
            continue;
        }
        struct chalk_memory_options options = {
            .private_size = 1 + (size_t)chalk_random_below(&random, 2 * MIB),
            .shared_size = 1 + (size_t)chalk_random_below(&random, 3 * MIB)};
        assert_int_equal(chalk_memory_create(&options, &held[i]), 0);
        chalk_memory_get_usage(held[i], &usage);
        privates[i] = chalk_memory_get(held[i], usage.private_size);
        assert_non_null(privates[i]);
        assert_int_equal(chalk_dma_get(held[i], usage.shared_size, 1, &parts[i]), 0);
        memset(privates[i], (int)i, usage.private_size);
        memset(parts[i].va, (int)i + 100, usage.shared_size);
    }
    for (unsigned i = 0; i < 8; i++)
        if (held[i])
            chalk_memory_destroy(held[i]);
}

static void failed_creation_leaves_nothing(void **state)
{
    struct chalk_memory_options options = {.private_size = MIB, .shared_size = 4 * MIB};
    struct chalk_memory *memory;

    (void)state;
    fake_fail("chalk_span_grow", 0, -ENOMEM);
    assert_int_equal(chalk_memory_create(&options, &memory), -ENOMEM);
    for (unsigned i = 0; i < 50; i++) {
        fake.grow_limit = 2 * MIB - 2 * MIB * (i > 0); /* the private part fits, the shared one does not */
        assert_int_equal(chalk_memory_create(&options, &memory), -ENOMEM);
    }
    assert_int_equal(fake.grows, 1);
    options.private_size = SIZE_MAX;
    assert_int_equal(chalk_memory_create(&options, &memory), -ENOMEM);
    options.private_size = SIZE_MAX / 2;
    assert_int_equal(chalk_memory_create(&options, &memory), -ENOMEM);
    options.private_size = MIB;
    options.shared_size = SIZE_MAX - 1;
    assert_int_equal(chalk_memory_create(&options, &memory), -ENOMEM);
}

static void grant_check_ends_the_program_outside_of_grants(void **state)
{
    struct chalk_memory *memory = create(MIB, MIB), *other = create(MIB, MIB);
    struct chalk_dma all = shared_part(memory);
    struct chalk_domain *stranger = fake_domain_add();

    (void)state;
    assert_true(fake_exits(chalk_grant_check(domain, all.iova, 1)));
    assert_int_equal(chalk_memory_share(memory, domain), 0);
    assert_int_equal(chalk_memory_share(other, domain), 0);
    fake_console_clear();
    assert_false(fake_exits(chalk_grant_check(domain, all.iova, 1)));
    assert_false(fake_exits(chalk_grant_check(domain, all.iova, all.size)));
    assert_false(fake_exits(chalk_grant_check(domain, all.iova + all.size - 1, 1)));
    assert_false(fake_exits(chalk_grant_check(domain, shared_part(other).iova, all.size)));
    assert_string_equal(fake.console, "");
    assert_true(fake_exits(chalk_grant_check(domain, all.iova - 1, 2)));
    assert_true(fake_console_has("never shared"));
    assert_true(fake_exits(chalk_grant_check(domain, all.iova, SIZE_MAX)));
    assert_true(fake_exits(chalk_grant_check(domain, UINT64_MAX, SIZE_MAX)));
    assert_true(fake_exits(chalk_grant_check(domain, 0, 1)));
    assert_true(fake_exits(chalk_grant_check(stranger, all.iova, 1)));
    chalk_memory_unshare(memory, domain);
    assert_true(fake_exits(chalk_grant_check(domain, all.iova, 1)));
    chalk_memory_unshare(other, domain);
    chalk_memory_destroy(memory);
    chalk_memory_destroy(other);
    fake_domain_remove(stranger);
}

/* The build's own hook does nothing: loads are loads. */
static void observed_loads(void **state)
{
    static const uint64_t there = 0x1122334455667788;
    char copy[8];

    (void)state;
    assert_int_equal(chalk_dma_load16(&there), 0x7788);
    assert_int_equal(chalk_dma_load32(&there), 0x55667788);
    assert_int_equal(chalk_dma_load64(&there), there);
    chalk_dma_observe(copy, &there, 8);
    assert_memory_equal(copy, &there, 8);
}

static void *create_and_destroy(void *unused)
{
    struct chalk_memory_options options = {.private_size = 8192, .shared_size = 64 << 10};
    struct chalk_memory *memory;
    struct chalk_dma dma;

    (void)unused;
    for (unsigned i = 0; i < 300; i++) {
        if (chalk_memory_create(&options, &memory) != 0 || chalk_dma_get(memory, 64 << 10, 1, &dma) != 0)
            return "no memory";
        uint64_t mine = (uintptr_t)&dma ^ i;
        for (size_t at = 0; at < 8192; at++)
            memcpy((char *)dma.va + 8 * at, &mine, 8);
        for (size_t at = 0; at < 8192; at++)
            if (memcmp((char *)dma.va + 8 * at, &mine, 8) != 0)
                return "somebody else wrote to it";
        chalk_memory_destroy(memory);
    }
    return NULL;
}

static void cores_create_memories_at_the_same_time(void **state)
{
    pthread_t threads[4];
    void *complaint;

    (void)state;
    fake.step = 0;
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, create_and_destroy, NULL), 0);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], &complaint), 0);
        if (complaint)
            fail_msg("%s", (char *)complaint);
    }
    assert_true(fake.grows <= 8);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(defaults),
        TEST(what_is_handed_out_is_zeroed),
        TEST(everything_asked_for_can_be_had),
        TEST(devices_reach_the_shared_part_only),
        TEST(books_are_out_of_reach_of_devices),
        TEST(sharing_twice_takes_unsharing_twice),
        TEST(failed_sharing_leaves_nothing),
        TEST(grants_are_counted_out),
        TEST(dma_addresses),
        TEST(alignment_that_cannot_hold_for_both_addresses_is_refused),
        TEST(putting_nothing_is_allowed),
        TEST(putting_twice_ends_the_program),
        TEST(limit_of_addresses_binds_the_shared_part),
        TEST(spans_that_are_there_are_used_before_any_is_grown),
        TEST(hole_of_exactly_the_size_is_filled),
        TEST(node_is_respected),
        TEST(node_that_is_not_named_is_any),
        TEST(unknown_nodes_will_do),
        TEST(shared_part_in_large_pages_can_be_mapped_in_large_pages),
        TEST(memory_comes_back),
        TEST(memories_never_overlap),
        TEST(failed_creation_leaves_nothing),
        TEST(grant_check_ends_the_program_outside_of_grants),
        TEST(observed_loads),
        TEST(cores_create_memories_at_the_same_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

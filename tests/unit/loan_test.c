/* SPDX-License-Identifier: BSD-2-Clause */
/* Loans: what becomes of a program that does not respect what a device owns. */
#include "platform_fake.h"
#include <chalk/arena.h>
#include <chalk/error.h>
#include <chalk/loan.h>
#include <chalk/pool.h>
#include <chalk/stack.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define MIB  ((size_t)1 << 20)
#define BOTH (CHALK_DEVICE_READS | CHALK_DEVICE_WRITES)

int __asan_address_is_poisoned(const volatile void *address);

static struct chalk_domain *domain, *other;
static struct chalk_arena *arena;
static struct chalk_dma buffer;
static int first_request, second_request; /* keys */

static int setup(void **state)
{
    struct chalk_arena_options options = {.size = MIB, .name = "packets"};

    (void)state;
    fake_reset();
    domain = fake_domain_add();
    other = fake_domain_add();
    return chalk_arena_create(&options, &arena) || chalk_arena_share(arena, domain, BOTH) ||
           chalk_arena_share(arena, other, CHALK_DEVICE_READS) ||
           chalk_arena_get(arena, CHALK_PAGE, 1, &buffer);
}

static int teardown(void **state)
{
    (void)state;
    chalk_take_back(&first_request);
    chalk_take_back(&second_request);
    chalk_arena_put(arena, &buffer);
    chalk_arena_unshare(arena, domain);
    chalk_arena_unshare(arena, other);
    chalk_arena_destroy(arena);
    fake_domain_remove(domain);
    fake_domain_remove(other);
    return 0;
}

static void lend(const void *key, size_t offset, size_t size, unsigned protection)
{
    struct chalk_dma segment = {(char *)buffer.va + offset, buffer.iova + offset, size};

    chalk_lend(key, "card", domain, &segment, 1, protection);
}

/* The message names who lent and who is seen, and has a stack of each. */
static void expect_both_stacks(const char *what)
{
    const char *lent = strstr(fake.console, "this is where it was lent:"),
               *seen = strstr(fake.console, "and this is where that was seen:");

    assert_int_equal(fake.exit_status, 134);
    if (!fake_console_has(what))
        fail_msg("no \"%s\" in: %s", what, fake.console);
    assert_non_null(lent);
    assert_non_null(seen);
    assert_non_null(strstr(lent, "#1 "));
    assert_true(strstr(lent, "#1 ") < seen);
    assert_non_null(strstr(seen, "#1 "));
}

static void what_is_lent_is_poisoned_until_it_is_taken_back(void **state)
{
    char *bytes = buffer.va;

    (void)state;
    lend(&first_request, 512, 512, CHALK_DEVICE_WRITES);
    assert_false(__asan_address_is_poisoned(bytes + 511));
    assert_true(__asan_address_is_poisoned(bytes + 512));
    assert_true(__asan_address_is_poisoned(bytes + 1023));
    assert_false(__asan_address_is_poisoned(bytes + 1024));
    chalk_take_back(&first_request);
    assert_false(__asan_address_is_poisoned(bytes + 512));
    assert_string_equal(fake.console, "");
}

static void freeing_what_is_lent_ends_the_program(void **state)
{
    (void)state;
    lend(&first_request, 512, 512, CHALK_DEVICE_WRITES);
    assert_true(fake_exits(chalk_arena_put(arena, &buffer)));
    expect_both_stacks("packets gives back 4096 bytes");
    assert_true(fake_console_has("card still writes 512 bytes"));
}

static void unsharing_what_is_lent_ends_the_program(void **state)
{
    (void)state;
    lend(&first_request, 0, 512, CHALK_DEVICE_READS);
    chalk_arena_unshare(arena, other); /* whose devices have nothing */
    assert_int_equal(chalk_arena_share(arena, other, CHALK_DEVICE_READS), 0);
    assert_true(fake_exits(chalk_arena_unshare(arena, domain)));
    expect_both_stacks("packets unshares");
    assert_true(fake_console_has("card still reads 512 bytes"));
}

static void lending_twice_ends_the_program(void **state)
{
    (void)state;
    lend(&first_request, 0, 1024, CHALK_DEVICE_WRITES);
    assert_true(fake_exits(lend(&second_request, 1000, 512, CHALK_DEVICE_READS)));
    expect_both_stacks("card is lent 512 bytes");
    chalk_take_back(&first_request);
    fake_console_clear();
    lend(&first_request, 0, 1024, CHALK_DEVICE_READS);
    assert_true(fake_exits(lend(&second_request, 1000, 512, CHALK_DEVICE_WRITES)));
    expect_both_stacks("card still reads 1024 bytes");
}

/* Mirrors: the same bytes are written to two disks. */
static void two_devices_may_read_the_same(void **state)
{
    char *bytes = buffer.va;

    (void)state;
    strcpy(bytes, "a stripe");
    lend(&first_request, 0, 1024, CHALK_DEVICE_READS);
    lend(&second_request, 512, 1024, CHALK_DEVICE_READS);
    chalk_take_back(&first_request);
    assert_false(__asan_address_is_poisoned(bytes + 511));
    assert_true(__asan_address_is_poisoned(bytes + 512));
    assert_true(__asan_address_is_poisoned(bytes + 1024));
    chalk_take_back(&second_request);
    assert_false(__asan_address_is_poisoned(bytes + 512));
    assert_string_equal(fake.console, "");
}

static __attribute__((no_sanitize("address"))) void write_unseen(volatile char *byte)
{
    ++*byte;
}

static void changing_what_a_device_reads_is_found(void **state)
{
    (void)state;
    lend(&first_request, 0, 512, CHALK_DEVICE_READS);
    write_unseen((char *)buffer.va + 511);
    assert_true(fake_exits(chalk_take_back(&first_request)));
    expect_both_stacks("the program changed some of 512 bytes");
    assert_true(fake_console_has("while card read them"));
}

static void observed_load_of_what_is_lent_ends_the_program(void **state)
{
    (void)state;
    lend(&first_request, 0, 512, CHALK_DEVICE_WRITES);
    assert_true(fake_exits((void)chalk_dma_load32((char *)buffer.va + 64)));
    expect_both_stacks("the program reads 4 bytes");
    (void)chalk_dma_load32((char *)buffer.va + 512);
}

static void lending_what_was_not_granted_ends_the_program(void **state)
{
    struct chalk_dma segment = {.va = NULL, .iova = arena->claim.iova + MIB, .size = 1};

    (void)state;
    assert_true(fake_exits(chalk_lend(&first_request, "card", domain, &segment, 1, CHALK_DEVICE_READS)));
    assert_true(fake_console_has("card is lent 1 bytes"));
    assert_true(fake_console_has("never shared"));
    assert_true(fake_exits(chalk_lend(&first_request, "disk", other, &buffer, 1, CHALK_DEVICE_WRITES)));
    assert_true(fake_console_has("for writing only, which were shared with its domain for reading only"));
    chalk_lend(&first_request, "disk", other, &buffer, 1, CHALK_DEVICE_READS);
}

static void putting_what_is_lent_into_its_pool_ends_the_program(void **state)
{
    struct chalk_memory *memory;
    struct chalk_pool *pool;

    (void)state;
    assert_int_equal(chalk_memory_create(NULL, &memory), 0);
    struct chalk_pool_options options = {
        .memory = memory, .arena = arena, .name = "frames", .object_size = 2048, .count = 16};
    assert_int_equal(chalk_pool_create(&options, &pool), 0);
    struct chalk_pool_cache *cache = chalk_pool_get_cache(pool, 0);
    void *object = chalk_pool_get(cache);
    struct chalk_dma segment = chalk_pool_dma(pool, object);
    chalk_lend(&first_request, "card", domain, &segment, 1, CHALK_DEVICE_READS);
    assert_true(fake_exits(chalk_pool_put(cache, object)));
    expect_both_stacks("frames puts 2048 bytes");
    chalk_take_back(&first_request);
    chalk_pool_put(cache, object);
    chalk_pool_destroy(pool);
    chalk_memory_destroy(memory);
}

static void more_loans_than_records_are_let_pass(void **state)
{
    enum { MANY = 5000 };
    static char keys[MANY];

    (void)state;
    for (unsigned i = 0; i < MANY; i++)
        lend(&keys[i], 0, 16, CHALK_DEVICE_READS);
    assert_true(fake_console_has("the others are not watched"));
    for (unsigned i = 0; i < MANY; i++)
        chalk_take_back(&keys[i]);
    assert_false(__asan_address_is_poisoned(buffer.va));
}

static __attribute__((noinline)) void inner(struct chalk_stack *stack)
{
    chalk_stack_take(stack);
    __asm__ volatile(""); /* else the call is a jump */
}

static void stack_names_its_callers(void **state)
{
    struct chalk_stack stack;

    (void)state;
    inner(&stack);
    uintptr_t here = (uintptr_t)stack_names_its_callers;
    assert_true(stack.places[0] > here && stack.places[0] < here + 1024); /* not `inner` itself */
    assert_true(stack.places[1] != 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_lent_is_poisoned_until_it_is_taken_back),
        TEST(freeing_what_is_lent_ends_the_program),
        TEST(unsharing_what_is_lent_ends_the_program),
        TEST(lending_twice_ends_the_program),
        TEST(two_devices_may_read_the_same),
        TEST(changing_what_a_device_reads_is_found),
        TEST(observed_load_of_what_is_lent_ends_the_program),
        TEST(lending_what_was_not_granted_ends_the_program),
        TEST(putting_what_is_lent_into_its_pool_ends_the_program),
        TEST(more_loans_than_records_are_let_pass),
        TEST(stack_names_its_callers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

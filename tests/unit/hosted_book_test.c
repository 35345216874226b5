/* SPDX-License-Identifier: BSD-2-Clause */
/* What a device's process is told again after a restart: all of it once, and nothing that was taken back. */
#include "hosted/vfio_user/book.h"

#include <chalk/random.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PAGE = 4096, MANY = 65535 };

static struct book *book;

static int start(void **state)
{
    (void)state;
    book = calloc(1, sizeof *book);
    return book == NULL;
}

/* AddressSanitizer sees what is left of it. */
static int end(void **state)
{
    (void)state;
    book_free(book);
    return 0;
}

static int add(uint64_t page, uint64_t pages, int fd)
{
    const struct vfio_user_dma_map map = {.address = page * PAGE, .size = pages * PAGE, .offset = page};

    return book_add_map(book, &map, fd);
}

static unsigned count_maps(void)
{
    unsigned count = 0;

    for (const struct book_map *at = NULL; (at = book_next_map(book, at)) != NULL;)
        count++;
    return count;
}

static void set_irqs(uint32_t index, uint32_t start_at, uint32_t count, const int *fds)
{
    const struct vfio_irq_set set = {.index = index, .start = start_at, .count = count};

    assert_int_equal(book_set_irqs(book, &set, fds), 0);
}

/* The eventfd of a vector; -1: there is none, -2: two. */
static int irq_of(uint32_t index, uint32_t vector)
{
    int found = -1;

    for (const struct book_irq *at = NULL; (at = book_next_irq(book, at)) != NULL;)
        if (at->index == index && at->vector == vector)
            found = found == -1 ? at->fd : -2;
    return found;
}

static void maps_are_kept_as_they_were_told(void **state)
{
    const struct book_map *at;

    (void)state;
    assert_int_equal(add(7, 2, 31), 0);
    assert_int_equal(add(3, 1, -1), 0);
    assert_int_equal(add(8, 1, 5), -EEXIST);
    assert_int_equal(add(UINT64_MAX / PAGE, 1, 9), 0); /* up to the last address */
    at = book_next_map(book, NULL);
    assert_true(at->map.address == 3 * PAGE && at->fd == -1);
    at = book_next_map(book, at);
    assert_true(at->map.address == 7 * PAGE && at->map.size == 2 * PAGE && at->map.offset == 7 &&
                at->fd == 31);
    at = book_next_map(book, at);
    assert_true(at->fd == 9);
    assert_null(book_next_map(book, at));
    book_remove_map(book, 8 * PAGE); /* none begins there */
    assert_int_equal(count_maps(), 3);
    book_remove_map(book, 7 * PAGE);
    book_remove_map(book, 7 * PAGE);
    assert_int_equal(count_maps(), 2);
}

static void as_many_as_a_process_takes(void **state)
{
    uint64_t random = 1;
    unsigned left = MANY;

    (void)state;
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(add(i, 1, (int)i), 0);
    assert_int_equal(count_maps(), MANY);
    for (unsigned i = 0; i < MANY / 2; i++) {
        uint64_t page = chalk_random_below(&random, MANY);
        bool there = chalk_range_find(&book->maps, page * PAGE, page * PAGE) != NULL;

        book_remove_map(book, page * PAGE);
        left -= there;
    }
    assert_int_equal(count_maps(), left);
}

static void interrupts_replace_each_other(void **state)
{
    const int fds[] = {10, 11, 12, 13};

    (void)state;
    set_irqs(2, 0, 4, fds);
    set_irqs(1, 1, 1, fds);
    set_irqs(2, 2, 1, fds);
    assert_true(irq_of(2, 0) == 10 && irq_of(2, 1) == 11 && irq_of(2, 2) == 10 && irq_of(2, 3) == 13);
    set_irqs(2, 1, 2, NULL); /* silence for two of them */
    assert_true(irq_of(2, 0) == 10 && irq_of(2, 1) == -1 && irq_of(2, 2) == -1 && irq_of(2, 3) == 13);
    set_irqs(2, 0, 0, NULL); /* and for all of the kind */
    assert_true(irq_of(2, 0) == -1 && irq_of(2, 3) == -1 && irq_of(1, 1) == 10);
}

/* 2048 is the most vectors that MSI-X has (PCI 3.0 6.8.2.3). */
static void every_vector_of_a_device(void **state)
{
    unsigned count = 0;

    (void)state;
    for (unsigned round = 0; round < 2; round++)
        for (int i = 0; i < 2048; i++)
            set_irqs(2, (uint32_t)i, 1, &i);
    for (const struct book_irq *at = NULL; (at = book_next_irq(book, at)) != NULL; count++)
        assert_true(at->vector == count && at->fd == (int)count);
    assert_int_equal(count, 2048);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, end)
    const struct CMUnitTest tests[] = {
        TEST(maps_are_kept_as_they_were_told),
        TEST(as_many_as_a_process_takes),
        TEST(interrupts_replace_each_other),
        TEST(every_vector_of_a_device),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pages under the image's malloc, on a machine with more memory than the one that runs the test: what a
 * claim gives is address space. Where nothing is compared, its pages are all the same few.
 */
#define _GNU_SOURCE
#include "baremetal/x86_64/heap_runs.h"
#include "baremetal/x86_64/machine.h"

#include <chalk/claim.h>
#include <chalk/heap.h>
#include <chalk/random.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB  (1ull << 20)
#define PAGE 4096ull
#define SAME (8 * MIB) /* of memory that is behind all pages; and the books of a region are smaller */

enum { ANONYMOUS = MAP_ANONYMOUS | MAP_PRIVATE };

static struct {
    size_t ram, claimed, largest; /* bytes: of the machine, in claims, that a claim may have */
    unsigned claims, failures, loud;
    bool same;
} machine;

int chalk_claim_memory(size_t size, unsigned node, uint64_t max_address, const char *owner,
                       struct chalk_claim *claim)
{
    static int file = -1;

    (void)node, (void)max_address;
    size = (size + PAGE - 1) & ~(PAGE - 1);
    if (size > machine.ram - machine.claimed || size > machine.largest) {
        machine.failures++;
        machine.loud += memory_retries == 0;
        return -ENOMEM;
    }
    char *va = mmap(NULL, size, PROT_READ | PROT_WRITE, ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(va != MAP_FAILED);
    if (file < 0)
        assert_int_equal(ftruncate(file = memfd_create("pages", 0), (off_t)SAME), 0);
    for (size_t at = SAME; machine.same && at < size; at += SAME)
        assert_true(mmap(va + at, size - at < SAME ? size - at : SAME, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_FIXED, file, 0) != MAP_FAILED);
    *claim = (struct chalk_claim){.va = va, .size = size, .owner = owner, .page = PAGE};
    machine.claimed += size;
    machine.claims++;
    return 0;
}

void chalk_claim_release(struct chalk_claim *claim)
{
    machine.claimed -= claim->size;
    machine.claims--;
    munmap(claim->va, claim->size);
}

static void *get(size_t size)
{
    long address = heap_map(size, ANONYMOUS);

    return address == -ENOMEM ? NULL : (void *)address;
}

/* All that there is, in pieces; returns the bytes. */
static size_t get_all(size_t piece, void *pieces[], unsigned *count)
{
    for (*count = 0; (pieces[*count] = get(piece)) != NULL;)
        assert_true(++*count < 20000);
    return *count * piece;
}

static void put_all(size_t piece, void *pieces[], unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(heap_unmap((uint64_t)pieces[i], piece), 0);
}

static int setup(void **state)
{
    (void)state;
    machine.ram = 64 * MIB;
    machine.largest = SIZE_MAX;
    machine.failures = machine.loud = 0;
    machine.same = false;
    chalk_heap_limit(SIZE_MAX);
    return 0;
}

/* 64 regions of 64 MiB, which were all that there could be, hold as many such pieces and no more. */
static void all_of_a_large_machine_can_be_had(void **state)
{
    const size_t piece = 40 * MIB;
    static void *got[20000];
    unsigned count;

    (void)state;
    machine.ram = 3400 * MIB;
    machine.same = true;
    size_t bytes = get_all(piece, got, &count);
    if (bytes < machine.ram / 5 * 4)
        fail_msg("%zu MiB of %zu", (size_t)(bytes / MIB), (size_t)(machine.ram / MIB));
    assert_int_equal(machine.loud, 1); /* one message, for the piece that is not there */
    put_all(piece, got, count);
    assert_true(machine.claimed < 4 * MIB + piece * 2);
}

/* Claims are refused above 2 MiB, as where memory is in pieces: the table of regions grows. */
static void memory_in_pieces_can_be_had(void **state)
{
    static void *got[20000];
    unsigned count;

    (void)state;
    machine.ram = 400 * MIB;
    machine.largest = 2 * MIB;
    assert_true(get_all(MIB, got, &count) > 180 * MIB); /* of 2 MiB, the books leave one of 1 MiB */
    put_all(MIB, got, count);
    assert_true(machine.claimed < 4 * MIB);
    assert_true(get_all(512 * 1024, got, &count) > 280 * MIB);
    put_all(512 * 1024, got, count);
}

static void a_limit_is_kept(void **state)
{
    static void *got[20000];
    unsigned count;

    (void)state;
    machine.ram = 2000 * MIB;
    chalk_heap_limit(24 * MIB);
    size_t bytes = get_all(MIB, got, &count);
    assert_true(bytes >= 16 * MIB && bytes < 24 * MIB);
    assert_true(machine.claimed <= 24 * MIB + PAGE);
    put_all(MIB, got, count);
}

static void what_makes_no_sense_is_refused(void **state)
{
    (void)state;
    assert_int_equal(heap_map(0, ANONYMOUS), -EINVAL);
    assert_int_equal(heap_map(PAGE, MAP_PRIVATE), -EINVAL);
    assert_int_equal(heap_map(PAGE, ANONYMOUS | MAP_FIXED), -EINVAL);
    for (unsigned shift = 27; shift < 64; shift++) {
        assert_int_equal(heap_map(1ull << shift, ANONYMOUS), -ENOMEM);
        assert_int_equal(heap_map((1ull << shift) - 1, ANONYMOUS), -ENOMEM);
    }
    assert_int_equal(heap_map(SIZE_MAX, ANONYMOUS), -ENOMEM);
    char *page = get(PAGE);
    assert_int_equal(heap_unmap((uint64_t)page + 1, PAGE), -EINVAL);
    assert_int_equal(heap_unmap((uint64_t)page, 0), -EINVAL);
    assert_int_equal(heap_unmap((uint64_t)page, SIZE_MAX), -EINVAL);
    assert_int_equal(heap_unmap(PAGE, PAGE), -EINVAL);
    assert_int_equal(heap_unmap((uint64_t)page, PAGE), 0);
}

/* Pieces of many sizes, some given back in part: each is zero at first, and keeps what is written into it. */
static void pieces_do_not_overlap(void **state)
{
    enum { COUNT = 64 };
    static struct {
        unsigned char *at;
        size_t size;
    } pieces[COUNT];
    uint64_t random = 1;

    (void)state;
    for (unsigned step = 0; step < 2000; step++) {
        unsigned i = (unsigned)chalk_random_below(&random, COUNT);
        unsigned char *at = pieces[i].at;
        size_t size = pieces[i].size, part;

        if (at != NULL) {
            for (size_t n = 0; n < size; n += PAGE)
                assert_int_equal(at[n], i + 1);
            part =
                chalk_random_below(&random, 2) ? size : PAGE * chalk_random_below(&random, size / PAGE + 1);
            if (part > 0)
                assert_int_equal(heap_unmap((uint64_t)at, part), 0);
            pieces[i].at = part < size ? at + part : NULL;
            pieces[i].size -= part;
            continue;
        }
        size = PAGE * (1 + chalk_random_below(&random, chalk_random_below(&random, 8) == 0 ? 1000 : 100));
        at = get(size);
        pieces[i].at = at;
        pieces[i].size = at != NULL ? size : 0;
        for (size_t n = 0; at != NULL && n < size; n += PAGE) {
            assert_int_equal(at[n], 0);
            at[n] = (unsigned char)(i + 1);
        }
    }
    for (unsigned i = 0; i < COUNT; i++)
        if (pieces[i].at != NULL)
            assert_int_equal(heap_unmap((uint64_t)pieces[i].at, pieces[i].size), 0);
    assert_true(machine.claimed < 20 * MIB);
}

/* ---- the tree, beside an array of pages ---- */

static size_t lowest_of(const bool *free, size_t pages, size_t count)
{
    size_t run = 0;

    for (size_t i = 0; i < pages; i++) {
        run = free[i] ? run + 1 : 0;
        if (run == count)
            return i + 1 - count;
    }
    return HEAP_RUNS_NONE;
}

static void the_lowest_run_is_found(void **state)
{
    static const size_t sizes[] = {1, 2, 63, 64, 65, 127, 128, 129, 500, 1000, 4097};
    static bool free_pages[4097];
    struct heap_runs runs;
    uint64_t random = 7;

    (void)state;
    for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        const size_t pages = sizes[s];
        void *books = malloc(heap_runs_books(pages)); /* nothing beyond it is touched: AddressSanitizer */

        memset(free_pages, true, sizeof(free_pages));
        heap_runs_start(&runs, pages, books);
        for (unsigned step = 0; step < 1000; step++) {
            size_t count = 1 + chalk_random_below(&random, 1 + chalk_random_below(&random, pages));
            size_t page = chalk_random_below(&random, pages - count + 1), changed = 0;
            bool to_free = chalk_random_below(&random, 2);

            for (size_t i = page; i < page + count; i++) {
                changed += free_pages[i] != to_free;
                free_pages[i] = to_free;
            }
            assert_int_equal(heap_runs_set(&runs, page, count, to_free), changed);
            count = 1 + chalk_random_below(&random, 1 + chalk_random_below(&random, pages));
            assert_int_equal(heap_runs_lowest(&runs, count), lowest_of(free_pages, pages, count));
            size_t longest = heap_runs_longest(&runs);
            assert_true(longest == 0 || lowest_of(free_pages, pages, longest) != HEAP_RUNS_NONE);
            assert_int_equal(lowest_of(free_pages, pages, longest + 1), HEAP_RUNS_NONE);
        }
        assert_int_equal(heap_runs_lowest(&runs, 0), HEAP_RUNS_NONE);
        assert_int_equal(heap_runs_lowest(&runs, SIZE_MAX), HEAP_RUNS_NONE);
        free(books);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_makes_no_sense_is_refused, setup),
        cmocka_unit_test_setup(pieces_do_not_overlap, setup),
        cmocka_unit_test_setup(a_limit_is_kept, setup),
        cmocka_unit_test_setup(memory_in_pieces_can_be_had, setup),
        cmocka_unit_test_setup(all_of_a_large_machine_can_be_had, setup),
        cmocka_unit_test_setup(the_lowest_run_is_found, setup),
    };

    return cmocka_run_group_tests_name("heap", tests, NULL, NULL);
}

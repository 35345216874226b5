/* SPDX-License-Identifier: BSD-2-Clause */
/* Guard pages: memory made inaccessible, so that a stack which overflows says so instead of eating its
 * neighbour. */
#define _GNU_SOURCE
#include "guard.h"
#include "memory.h"
#include "state.h"
#include "sysfs.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <chalk/log.h>
#include <chalk/memory.h>

/*
 * The names of guarded pages, found by the page's address as the processor finds a page: four tables, by nine
 * bits each. The handler of the fault may look while tables are added; none goes before hosted_guard_stop().
 */
#define LEVELS     4
#define LEVEL_BITS 9

struct table {
    _Atomic(void *) entries[1 << LEVEL_BITS]; /* the tables below; of the last level, names. NULL: none */
};

static struct table root;

/*
 * Linux allows a process so many mappings (vm.max_map_count), and a guard page makes three of one. At most
 * three quarters of them are for guard pages: with all of them the program, and Chalk, could map nothing any
 * more.
 */
static long guard_count, guard_limit; /* guard_limit 0: not known yet */
static bool told;                     /* that the limit is reached */

static bool is_full(void)
{
    const long usual = 65530; /* Linux's own */

    if (guard_limit == 0)
        guard_limit = hosted_sysfs_number(usual, "/proc/sys/vm/max_map_count") / 4 * 3 / 2;
    if (guard_count < guard_limit)
        return false;
    if (!told)
        chalk_log(CHALK_WARNING,
                  "all %ld guard pages are in use that vm.max_map_count leaves room for, so further stacks "
                  "have none; root allows more with: sysctl vm.max_map_count=%ld",
                  guard_limit, 8 * guard_limit);
    told = true;
    return true;
}

/* Where the name of the page at `address` is kept. NULL: nowhere (yet), or, with `make`, no memory. */
static _Atomic(void *) *entry_of(uintptr_t address, bool make)
{
    struct table *table = &root;

    if (address >> (12 + LEVELS * LEVEL_BITS) != 0)
        return NULL;
    for (unsigned level = LEVELS;; level--) {
        _Atomic(void *) *entry =
            &table->entries[address >> (12 + (level - 1) * LEVEL_BITS) & ((1 << LEVEL_BITS) - 1)];

        if (level == 1)
            return entry;
        table = atomic_load(entry);
        if (table == NULL && make) {
            table = calloc(1, sizeof *table);
            atomic_store(entry, table);
        }
        if (table == NULL)
            return NULL;
    }
}

static int lift(void *page)
{
    _Atomic(void *) *entry = entry_of((uintptr_t)page, false);

    if (entry == NULL || atomic_load(entry) == NULL)
        return 0;
    if (mprotect(page, CHALK_PAGE, PROT_READ | PROT_WRITE) != 0)
        return -errno;
    atomic_store(entry, NULL);
    guard_count--;
    return 0;
}

static int guard_page(void *page, const char *name)
{
    _Atomic(void *) *entry = entry_of((uintptr_t)page, true);
    const bool is_new = entry != NULL && atomic_load(entry) == NULL;

    if (entry == NULL || (is_new && is_full()))
        return -ENOMEM;
    if (mprotect(page, CHALK_PAGE, PROT_NONE) != 0)
        /* EINVAL: a hugepage of somebody else's. ENOMEM: there are as many mappings as vm.max_map_count
         * allows. */
        return errno == EINVAL ? -ENOTSUP : -errno;
    atomic_store(entry, (void *)(uintptr_t)name);
    guard_count += is_new;
    return 0;
}

int chalk_page_guard(void *page, const char *name)
{
    struct chalk_span span;
    int error;

    if (page == NULL || (uintptr_t)page % CHALK_PAGE != 0)
        return -EINVAL;
    if (hosted_memory_span(page, &span) == 0 && span.page > CHALK_PAGE)
        return -ENOTSUP;
    hosted_lock();
    error = name != NULL ? guard_page(page, name) : lift(page);
    hosted_unlock();
    return error;
}

const char *hosted_guard_name(uintptr_t address)
{
    _Atomic(void *) *entry = entry_of(address, false);

    return entry != NULL ? atomic_load(entry) : NULL;
}

void hosted_guard_tell(uintptr_t address)
{
    const char *name = hosted_guard_name(address);

    if (name != NULL)
        chalk_log(CHALK_ERROR, "the guard page of the %s was touched at %p: it has overflowed", name,
                  (void *)address);
}

static void forget(struct table *table, unsigned level)
{
    for (unsigned i = 0; i < 1 << LEVEL_BITS; i++) {
        void *below = atomic_exchange(&table->entries[i], NULL);

        if (level == 1 || below == NULL)
            continue;
        forget(below, level - 1);
        free(below);
    }
}

void hosted_guard_stop(void)
{
    forget(&root, LEVELS);
    guard_count = guard_limit = 0;
    told = false;
}

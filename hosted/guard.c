/* SPDX-License-Identifier: BSD-2-Clause */
/* Guard pages: memory made inaccessible, so that a stack which overflows says so instead of eating its
 * neighbour. */
#define _GNU_SOURCE
#include "guard.h"
#include "memory.h"
#include "signals.h"
#include "state.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <chalk/log.h>
#include <chalk/memory.h>

/* Only ever pushed to, because the handler may be walking it: what was lifted is used again for another page.
 */
struct guard {
    struct guard *next;
    _Atomic(uintptr_t) page; /* 0: free */
    const char *name;
};

static _Atomic(struct guard *) guards;
static struct sigaction earlier;
static bool handling;

static struct guard *find(uintptr_t page)
{
    struct guard *guard = atomic_load(&guards);

    while (guard != NULL && atomic_load(&guard->page) != page)
        guard = guard->next;
    return guard;
}

static int lift(void *page)
{
    struct guard *guard = find((uintptr_t)page);

    if (guard == NULL)
        return 0;
    if (mprotect(page, CHALK_PAGE, PROT_READ | PROT_WRITE) != 0)
        return -errno;
    atomic_store(&guard->page, 0);
    return 0;
}

static int guard_page(void *page, const char *name)
{
    struct guard *guard = find((uintptr_t)page);

    if (guard == NULL)
        guard = find(0);
    if (guard == NULL) {
        guard = calloc(1, sizeof *guard);
        if (guard == NULL)
            return -ENOMEM;
        guard->next = atomic_load(&guards);
        atomic_store(&guards, guard);
    }
    if (mprotect(page, CHALK_PAGE, PROT_NONE) != 0)
        /* EINVAL: a hugepage of somebody else's. ENOMEM: there are as many mappings as vm.max_map_count
         * allows. */
        return errno == EINVAL ? -ENOTSUP : -errno;
    guard->name = name;
    atomic_store(&guard->page, (uintptr_t)page);
    return 0;
}

int chalk_page_guard(void *page, const char *name)
{
    int error;

    if (page == NULL || (uintptr_t)page % CHALK_PAGE != 0)
        return -EINVAL;
    if (hosted_memory_page(page) > CHALK_PAGE)
        return -ENOTSUP;
    hosted_lock();
    error = name != NULL ? guard_page(page, name) : lift(page);
    hosted_unlock();
    return error;
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
    uintptr_t address = (uintptr_t)info->si_addr;

    for (const struct guard *guard = atomic_load(&guards); guard != NULL; guard = guard->next)
        if (address - atomic_load(&guard->page) < CHALK_PAGE && address >= CHALK_PAGE)
            chalk_log(CHALK_ERROR, "the guard page of the %s was touched at %p: it has overflowed",
                      guard->name, info->si_addr);
    /* Without an earlier handler the access is repeated, and ends the process as if this one had never been
     * there. */
    if (!hosted_signal_chain(&earlier, signal, info, context))
        sigaction(signal, &earlier, NULL);
}

/* A handler cannot run on the stack that has just overflowed. */
static _Thread_local void *handler_stack;

void hosted_guard_enter(void)
{
    stack_t stack = {.ss_size = 32768};
    stack_t before;

    if (!handling || sigaltstack(NULL, &before) != 0 || (before.ss_flags & SS_DISABLE) == 0)
        return;
    stack.ss_sp = malloc(stack.ss_size);
    if (stack.ss_sp != NULL && sigaltstack(&stack, NULL) == 0)
        handler_stack = stack.ss_sp;
    else
        free(stack.ss_sp);
}

void hosted_guard_leave(void)
{
    if (handler_stack == NULL)
        return;
    sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL);
    free(handler_stack);
    handler_stack = NULL;
}

void hosted_guard_start(void)
{
    handling = hosted_signal_take(SIGSEGV, on_fault, SA_ONSTACK, &earlier);
    hosted_guard_enter();
}

void hosted_guard_stop(void)
{
    struct guard *guard = atomic_exchange(&guards, NULL);

    if (handling)
        hosted_signal_release(SIGSEGV, on_fault, &earlier);
    hosted_guard_leave();
    handling = false;
    while (guard != NULL) {
        struct guard *next = guard->next;

        free(guard);
        guard = next;
    }
}

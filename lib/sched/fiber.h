/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the sanitizers want to know of stacks, in code that was compiled for them; nothing in any other. See
 * <sanitizer/common_interface_defs.h> (fibers) and <sanitizer/tsan_interface.h>.
 */
#ifndef SCHED_FIBER_H
#define SCHED_FIBER_H

#include "sched.h"

#ifndef __has_feature
#define __has_feature(feature) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)

void __sanitizer_start_switch_fiber(void **fake_stack, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake_stack, const void **bottom, size_t *size);
void __asan_unpoison_memory_region(const volatile void *address, size_t size);

static inline void fiber_start(struct chalk_fiber *fiber, void *stack, size_t size)
{
    *fiber = (struct chalk_fiber){.bottom = stack, .size = size};
}

/* The frames of a task that ended were never left: its stack is memory like any other. */
static inline void fiber_end(struct chalk_fiber *fiber)
{
    __asan_unpoison_memory_region(fiber->bottom, fiber->size);
}

static inline void fiber_leave(struct chalk_fiber *from, struct chalk_fiber *to, bool for_good)
{
    to->from = from;
    __sanitizer_start_switch_fiber(for_good ? NULL : &from->fake_stack, to->bottom, to->size);
}

/* On the stack of `to`. Where it came from is told, too: only so the bounds of the loop's stack are known. */
static inline void fiber_enter(struct chalk_fiber *to)
{
    __sanitizer_finish_switch_fiber(to->fake_stack, &to->from->bottom, &to->from->size);
}

#elif defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)

void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);

static inline void fiber_start(struct chalk_fiber *fiber, void *stack, size_t size)
{
    (void)stack, (void)size;
    fiber->thread = __tsan_create_fiber(0);
}

static inline void fiber_end(struct chalk_fiber *fiber)
{
    __tsan_destroy_fiber(fiber->thread);
}

static inline void fiber_leave(struct chalk_fiber *from, struct chalk_fiber *to, bool for_good)
{
    (void)for_good;
    from->thread = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(to->thread, 0);
}

static inline void fiber_enter(struct chalk_fiber *to)
{
    (void)to;
}

#else

static inline void fiber_start(struct chalk_fiber *fiber, void *stack, size_t size)
{
    (void)fiber, (void)stack, (void)size;
}

static inline void fiber_end(struct chalk_fiber *fiber)
{
    (void)fiber;
}

static inline void fiber_leave(struct chalk_fiber *from, struct chalk_fiber *to, bool for_good)
{
    (void)from, (void)to, (void)for_good;
}

static inline void fiber_enter(struct chalk_fiber *to)
{
    (void)to;
}

#endif

/* chalk_switch(), told to the sanitizers. */
static inline int fiber_switch(struct chalk_fiber *from, struct chalk_fiber *to, bool for_good,
                               void **stack_pointer, void *target, int result)
{
    fiber_leave(from, to, for_good);
    result = chalk_switch(stack_pointer, target, result);
    fiber_enter(from);
    return result;
}

#endif

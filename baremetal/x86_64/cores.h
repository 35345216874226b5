/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a processor has of its own, found by %gs: the event word it sleeps on, the counters its interrupts add
 * to, its descriptors and its stacks. Those of core 0 are part of the image; the others' are taken off RAM at
 * the start, and used from when the core is first started.
 */
#ifndef CHALK_BAREMETAL_CORES_H
#define CHALK_BAREMETAL_CORES_H

#include "machine.h"

#include <stdatomic.h>

enum { STACK_DEVICE, STACK_EXCEPTION, STACK_DOUBLE_FAULT, STACK_NMI, STACK_MACHINE_CHECK, STACK_COUNT };

struct trap_stack {
    char guard[MEMORY_PAGE];
    char bytes[16384];
} __attribute__((aligned(MEMORY_PAGE)));

/* SDM vol. 3 8.7: the 64-bit task state segment */
struct task_state {
    uint32_t reserved0;
    uint64_t rsp[3], reserved1, ist[7], reserved2;
    uint16_t reserved3, io_map;
} __attribute__((packed));
_Static_assert(sizeof(struct task_state) == 104, "SDM vol. 3 figure 8-11");

enum core_state {
    CORE_FREE,     /* halted, or never started */
    CORE_STARTING, /* whoever starts it owns it */
    CORE_RUNNING,
    CORE_UNFIT, /* it has come, and found that it cannot be used */
};

/* Where a thread of libc begins: what clone(2) was asked for. */
struct thread_start {
    uint64_t rip, rsp, function, thread_pointer;
    _Atomic(int32_t) *cleared; /* when it ends; or NULL */
};

struct core {
    struct core *self; /* %gs:0 */
    unsigned number;
    uint32_t apic_id;

    /* Written by whoever wakes the core. */
    _Alignas(64) _Atomic(uint32_t) events;
    _Atomic(uint32_t) parked; /* it sleeps, or is about to: a wake must send an interrupt */

    /* By its interrupts. */
    _Alignas(64) _Atomic(bool) handling;        /* a counter may be in use */
    _Atomic(_Atomic(uint32_t) *) counters[256]; /* by vector */

    /* By whoever starts or stops it. */
    _Atomic(enum core_state) state;
    _Atomic(bool) flush; /* its TLB, at the next NMI, which clears this */
    bool guarded;        /* its stacks are */
    void (*entry)(unsigned core, void *argument);
    void *argument;
    struct thread_start thread;

    uint64_t gdt[5];
    struct task_state task_state;
    struct trap_stack *trap_stacks; /* STACK_COUNT */
    char stack_names[STACK_COUNT + 1][40];
    char *stack_guard, *stack, *stack_top; /* of what it runs */
};

/* The core that asks. */
static inline struct core *core_self(void)
{
    struct core *core;

    __asm__("mov %%gs:0, %0" : "=r"(core));
    return core;
}

/* NULL if there is no such core. */
struct core *core_get(unsigned number);

#endif

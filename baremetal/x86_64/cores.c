/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cores are the processors that the firmware tells of; the one that booted is core 0. Another one stands
 * still until it is given something to run: then it is reset and started (INIT, start-up interrupts), becomes
 * what core 0 is, and runs a thread of libc. When that ends it halts, and the next start resets it again. So
 * there is one way to start, nothing runs that was not asked for, and a boot takes as long with 64 cores as
 * with one.
 *
 * Sources: Intel SDM vol. 3 9.4 (start-up), 11.6 (interrupts between processors), 4.10.5 (TLB shootdown).
 *
 * Cores run with interrupts off, so what must not wait is sent as a non-maskable one: to stop, when the
 * program ends or panics, and to forget a translation.
 */
#include "cores.h"
#include "x86.h"

#include <chalk/clock.h>
#include <chalk/core.h>
#include <chalk/error.h>
#include <chalk/log.h>
#include <string.h>

#define START_NS    (5 * CHALK_S)
#define ANSWER_NS   (5 * CHALK_S)
#define STOP_NS     (100 * CHALK_MS)
#define COMPARISONS 4

extern const char startup[], startup_end[];                                /* boot.S */
extern const char trap_sleep_halt[];                                       /* trap.S */
extern char main_stack_guard[], main_stack_top[];                          /* boot.S */
_Noreturn void core_resume(uint64_t rip, uint64_t rsp, uint64_t function); /* trap.S */
_Noreturn void core_begin(void);
void core_interrupted(struct trap_frame *frame);

/* What another core has in memory. */
struct core_memory {
    union {
        struct core core;
        char whole_pages[2 * MEMORY_PAGE];
    };
    struct trap_stack trap_stacks[STACK_COUNT];
    char guard[MEMORY_PAGE];
    char stack[256 * 1024];
};
_Static_assert(sizeof(struct core_memory) % MEMORY_PAGE == 0, "whole pages");

static struct trap_stack first_trap_stacks[STACK_COUNT];
static struct core first = {
    .self = &first,
    .state = CORE_RUNNING,
    .trap_stacks = first_trap_stacks,
    .stack_guard = main_stack_guard,
    .stack = main_stack_guard + MEMORY_PAGE,
    .stack_top = main_stack_top,
};
static struct core *cores[ACPI_MAX_CORES] = {&first};
static unsigned core_count = 1;

static struct chalk_lock lock; /* one core starts at a time; none while a TLB is flushed */
static struct core *starting;
void *cores_starting_stack;                /* for boot.S */
static _Atomic(struct core *) stopper;     /* the one core that ends everything; NULL: none does */
static unsigned core_shift, package_shift; /* where these begin in an APIC identifier */

/* How far two time stamp counters are apart cannot be seen, but that one cannot have been right can. */
static struct {
    _Atomic(uint64_t) starter, started; /* 0: not yet */
    _Atomic(uint64_t) behind;           /* ticks */
} counters;

struct core *core_get(unsigned number)
{
    return number < core_count ? cores[number] : NULL;
}

struct core *core_first(void)
{
    return &first;
}

/* ---- at the start ---- */

void cores_copy_startup(void)
{
    if (boot.startup_page != 0)
        memcpy((void *)boot.startup_page, startup, (size_t)(startup_end - startup));
}

/* SDM vol. 3 9.9.3, CPUID leaf 0BH. Without it every processor is a core of one package. */
static void read_topology(void)
{
    package_shift = 31;
    if (cpuid(0, 0).a < 0xb || cpuid(0xb, 0).b == 0)
        return;
    core_shift = cpuid(0xb, 0).a & 31;    /* level 0: threads of a core */
    package_shift = cpuid(0xb, 1).a & 31; /* level 1: cores of a package */
}

static void make(struct core_memory *memory, uint32_t apic_id)
{
    struct core *core = &memory->core;

    memset(core, 0, sizeof *core);
    core->self = core;
    core->number = core_count;
    core->apic_id = apic_id;
    core->trap_stacks = memory->trap_stacks;
    core->stack_guard = memory->guard;
    core->stack = memory->stack;
    core->stack_top = memory->stack + sizeof memory->stack;
    cores[core_count++] = core;
}

void cores_start(void)
{
    uint32_t ids[ACPI_MAX_CORES];
    unsigned count = 0;

    first.apic_id = interrupt_apic_id();
    for (unsigned i = 0; i < acpi.core_count && count < ACPI_MAX_CORES - 1; i++)
        if (acpi.apic_ids[i] != first.apic_id && acpi.apic_ids[i] <= interrupt_apic_id_max())
            ids[count++] = acpi.apic_ids[i];
    if (count == 0)
        return;
    struct core_memory *memory = (void *)memory_take(count * sizeof *memory);
    if (boot.startup_page == 0 || memory == NULL) {
        chalk_log(CHALK_WARNING, "cores: no %s to start others in, so one is used; %s",
                  memory == NULL ? "memory below 4 GiB" : "page below 640 KiB",
                  memory == NULL ? "give the machine more (QEMU: -m 64M, tools/metal: --memory 64M)"
                                 : "boot by another loader");
        return;
    }
    for (unsigned i = 0; i < count; i++)
        make(&memory[i], ids[i]);
    read_topology();
}

/* ---- what the program asks ---- */

int chalk_core_get_info(unsigned number, struct chalk_core_info *info)
{
    struct core *core = core_get(number);

    if (core == NULL)
        return -ENOENT;
    *info = (struct chalk_core_info){
        .package = core->apic_id >> package_shift,
        .core = (core->apic_id & ((1u << package_shift) - 1)) >> core_shift,
        .thread = core->apic_id & ((1u << core_shift) - 1),
        .node = CHALK_NODE(acpi_core_node(&acpi, core->apic_id)),
        .running = atomic_load(&core->state) != CORE_FREE,
        .events = &core->events,
    };
    return 0;
}

/* ---- a core starts ---- */

/* Each in turn tells the other what its counter says, and the other's must not say less when it hears of it.
 */
static void compare_counters(_Atomic(uint64_t) *mine, _Atomic(uint64_t) *other, bool first_to_tell)
{
    uint64_t deadline = chalk_deadline(ANSWER_NS);

    for (unsigned i = 0; i < 2 * COMPARISONS; i++) {
        if ((i % 2 == 0) == first_to_tell) {
            atomic_store(mine, chalk_ticks());
            continue;
        }
        uint64_t told;
        while ((told = atomic_exchange(other, 0)) == 0 && !chalk_expired(deadline))
            chalk_pause();
        uint64_t now = chalk_ticks();
        if (now < told && told - now > atomic_load(&counters.behind))
            atomic_store(&counters.behind, told - now);
    }
}

/* The first C on another core: on the first page tables, its stack for device interrupts, and nothing else.
 */
_Noreturn void core_begin(void)
{
    struct core *core = starting;
    bool fit;

    cpu_start(core);
    memory_enter();
    interrupt_start_core();
    fit = cpu_take_caching();
    atomic_store(&core->state, fit ? CORE_RUNNING : CORE_UNFIT);
    if (!fit)
        for (;;)
            __asm__ volatile("cli; hlt");
    compare_counters(&counters.started, &counters.starter, false);
    msr_write(MSR_FS_BASE, core->thread.thread_pointer);
    core_resume(core->thread.rip, core->thread.rsp, core->thread.function);
}

static void wait_ns(uint64_t ns)
{
    uint64_t deadline = chalk_deadline(ns);

    while (!chalk_expired(deadline))
        chalk_pause();
}

/*
 * SDM vol. 3 9.4.4.1. The 10 ms after INIT that it asks for were for processors without an integrated APIC;
 * none of those is of x86-64-v2, and Linux has done without since 4.2 (smp_quirk_init_udelay).
 */
static bool bring_up(struct core *core)
{
    uint64_t deadline = chalk_deadline(START_NS);
    unsigned page = (unsigned)(boot.startup_page / MEMORY_PAGE);

    interrupt_send(core->apic_id, INTERRUPT_INIT);
    wait_ns(100000);
    interrupt_send(core->apic_id, INTERRUPT_STARTUP | page);
    wait_ns(200000);
    if (atomic_load(&core->state) == CORE_STARTING)
        interrupt_send(core->apic_id, INTERRUPT_STARTUP | page);
    while (atomic_load(&core->state) == CORE_STARTING && !chalk_expired(deadline))
        chalk_pause();
    return atomic_load(&core->state) == CORE_RUNNING;
}

static int start(struct core *core)
{
    core->parked = 0;
    core->flush = false;
    core->handling = false;
    atomic_store(&counters.starter, 0);
    atomic_store(&counters.started, 0);
    atomic_store(&counters.behind, 0);
    cores_starting_stack = core->trap_stacks[STACK_DEVICE].bytes + sizeof core->trap_stacks->bytes;
    if (!core->guarded)
        cpu_guard_stacks(core);
    core->guarded = true;
    if (!bring_up(core)) {
        bool came = atomic_load(&core->state) == CORE_UNFIT;

        interrupt_send(core->apic_id, INTERRUPT_INIT); /* whatever it does, it does no more */
        chalk_log(CHALK_ERROR, "core %u (APIC %u) %s; do without it, or update the firmware", core->number,
                  core->apic_id, came ? "cannot be made to cache memory as core 0 does" : "does not start");
        return -EAGAIN;
    }
    compare_counters(&counters.starter, &counters.started, true);
    if (atomic_load(&counters.behind) != 0)
        chalk_log(
            CHALK_WARNING,
            "the time stamp counters of cores %u and %u are %lu ticks apart or more, and so are deadlines; "
            "update the firmware",
            core_self()->number, core->number, (unsigned long)atomic_load(&counters.behind));
    return 0;
}

/* clone(2), by libc_thread() below and nobody else: the thread begins on the core that is being started. */
long core_clone(const struct system_call *call)
{
    struct core *core = starting;
    uint64_t stack = (uint64_t)call->b;

    if (core == NULL || stack < (uint64_t)core->stack || stack > (uint64_t)core->stack_top)
        return -EAGAIN; /* a thread that the program made itself: it would need a core, and has named none */
    core->thread = (struct thread_start){
        .rip = call->return_address,
        .rsp = stack,
        .function = (uint64_t)call->f,
        .thread_pointer = (uint64_t)call->e,
        .cleared = (_Atomic(int32_t) *)call->d,
    };
    *(int32_t *)call->c = (int32_t)core->number + 1;
    int error = start(core);
    return error != 0 ? error : (long)core->number + 1;
}

int chalk_core_start(unsigned number, void (*entry)(unsigned core, void *argument), void *argument)
{
    struct core *core = core_get(number);
    enum core_state is_free = CORE_FREE;
    int error;

    if (chalk_core_check(number, "chalk_core_start") != 0)
        return -ENOENT;
    if (!atomic_compare_exchange_strong(&core->state, &is_free, CORE_STARTING))
        return -EBUSY;
    chalk_lock_take(&lock);
    core->entry = entry;
    core->argument = argument;
    starting = core;
    error = libc_thread(core);
    starting = NULL;
    if (error != 0)
        atomic_store(&core->state, CORE_FREE);
    chalk_lock_release(&lock);
    return error;
}

/* From here on the core may be reset at any time, and its stack be given to another thread: nothing is
 * touched. */
_Noreturn void core_end(void)
{
    struct core *core = core_self();

    if (core->thread.cleared != NULL)
        atomic_store(core->thread.cleared, 0);
    atomic_store(&core->state, CORE_FREE);
    for (;;)
        __asm__ volatile("cli; hlt");
}

/* ---- all the others ---- */

static bool other_runs(const struct core *core)
{
    return core != core_self() && atomic_load(&core->state) == CORE_RUNNING;
}

static _Noreturn void stop(void)
{
    atomic_store(&core_self()->state, CORE_FREE);
    for (;;)
        __asm__ volatile("cli; hlt");
}

void cores_stop_others(void)
{
    struct core *before = NULL;

    if (!atomic_compare_exchange_strong(&stopper, &before, core_self()) && before != core_self())
        stop();
    for (unsigned i = 0; i < core_count; i++) {
        if (!other_runs(cores[i]))
            continue;
        interrupt_send(cores[i]->apic_id, INTERRUPT_NMI);
        uint64_t deadline = chalk_deadline(STOP_NS);
        while (other_runs(cores[i]) && !chalk_expired(deadline))
            chalk_pause();
    }
}

void cores_flush_others(void)
{
    chalk_lock_take(&lock);
    for (unsigned i = 0; i < core_count; i++)
        if (other_runs(cores[i])) {
            atomic_store(&cores[i]->flush, true);
            interrupt_send(cores[i]->apic_id, INTERRUPT_NMI);
        }
    uint64_t deadline = chalk_deadline(ANSWER_NS);
    for (unsigned i = 0; i < core_count; i++)
        while (other_runs(cores[i]) && atomic_load(&cores[i]->flush)) {
            if (chalk_expired(deadline))
                panic("core %u does not answer", i);
            chalk_pause();
        }
    chalk_lock_release(&lock);
}

/* A non-maskable interrupt: the only one that a core takes whatever it does. */
void core_interrupted(struct trap_frame *frame)
{
    struct core *core = core_self();

    if (atomic_load(&stopper) != NULL)
        stop();
    if (!atomic_load(&core->flush))
        panic_exception(frame);
    cr3_write(cr3_read());
    atomic_store(&core->flush, false);
    /* It came between `sti` and `hlt`, and what came with it has been handled by then: it must not sleep now.
     */
    if (frame->rip == (uint64_t)trap_sleep_halt)
        frame->rip++;
}

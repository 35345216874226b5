/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupts are taken in chalk_core_wait() and nowhere else: a core runs with them off. What a device sends
 * in the meantime waits in the local APIC, so that nothing ever runs between two instructions of the program,
 * counters change only where the contract says, and the window between looking and sleeping is closed by
 * `sti; hlt`, of which the processor makes one step. Source: Intel SDM vol. 3 chapter 11 (APIC), vol. 2 STI.
 */
#include "cores.h"
#include "x86.h"

#include <chalk/clock.h>
#include <chalk/core.h>
#include <chalk/error.h>

enum {
    VECTOR_FIRST = 0x30, /* below: where a stray 8259 would interrupt */
    VECTOR_LAST = 0xef,
    VECTOR_TIMER = 0xf0,
    VECTOR_WAKE = 0xf1,
    VECTOR_SPURIOUS = 0xff,
};

/* Table 11-1: offsets of xAPIC registers; MSR 0x800 + offset / 16 is the same in x2APIC mode */
enum {
    APIC_ID = 0x20,
    APIC_VERSION = 0x30,
    APIC_TASK_PRIORITY = 0x80,
    APIC_END_OF_INTERRUPT = 0xb0,
    APIC_SPURIOUS = 0xf0,
    APIC_IN_SERVICE = 0x100,
    APIC_LVT_CMCI = 0x2f0,
    APIC_COMMAND = 0x300,
    APIC_COMMAND_HIGH = 0x310,
    APIC_LVT_TIMER = 0x320,
    APIC_LVT_THERMAL = 0x330,
    APIC_LVT_COUNTERS = 0x340,
    APIC_LVT_LINT0 = 0x350,
    APIC_LVT_LINT1 = 0x360,
    APIC_LVT_ERROR = 0x370,
    APIC_INITIAL_COUNT = 0x380,
    APIC_CURRENT_COUNT = 0x390,
    APIC_DIVIDE = 0x3e0,
};
#define APIC_BASE_X2      (1ull << 10)
#define APIC_BASE_ENABLE  (1ull << 11)
#define APIC_BASE_ADDRESS 0x000ffffffffff000ull
#define LVT_MASKED        (1u << 16)
#define LVT_TSC_DEADLINE  (2u << 17)
#define LVT_NMI           (4u << 8)
#define SPURIOUS_ENABLE   (1u << 8)
#define DIVIDE_BY_1       0xbu
#define COMMAND_FIXED     0x4000u
#define COMMAND_PENDING   (1u << 12)

void trap_sleep(void); /* trap.S */

#define CALIBRATION_NS 200000ull
#define SEND_STEPS     1000000u     /* reads, of an interrupt that was not yet taken off */
#define LOOK_NS        100000000ull /* no sleep is longer, so that ^C on the console is seen */

static struct {
    bool x2, tsc_deadline;
    volatile uint32_t *registers;
    uint64_t timer_mult; /* 2^32 * timer counts a tick */
    bool told;           /* core 0, that the program was asked to end */
} interrupts;

/* ---- the local APIC ---- */

static uint32_t apic_read(unsigned offset)
{
    return interrupts.x2 ? (uint32_t)msr_read(MSR_X2APIC + offset / 16) : interrupts.registers[offset / 4];
}

static void apic_write(unsigned offset, uint32_t value)
{
    if (interrupts.x2)
        msr_write(MSR_X2APIC + offset / 16, value);
    else
        interrupts.registers[offset / 4] = value;
}

/* 11.12.5: from disabled to x2APIC the way leads through xAPIC. */
static void apic_enable(void)
{
    uint64_t base = msr_read(MSR_APIC_BASE) | APIC_BASE_ENABLE;

    msr_write(MSR_APIC_BASE, base);
    if (interrupts.x2)
        msr_write(MSR_APIC_BASE, base | APIC_BASE_X2);
}

static void apic_map(void)
{
    const uint32_t has_apic = 1u << 9, has_x2 = 1u << 21;
    const struct cpuid features = cpuid(1, 0);
    uint64_t address = msr_read(MSR_APIC_BASE) & APIC_BASE_ADDRESS;

    if (!(features.d & has_apic))
        machine_refuse("this processor has no local APIC; use a newer one (QEMU: -cpu max)");
    interrupts.x2 = (features.c & has_x2) != 0;
    interrupts.registers = (volatile uint32_t *)address;
    if (!interrupts.x2 && memory_map_device(address, MEMORY_PAGE, CHALK_UNCACHED) != 0)
        panic("the local APIC at 0x%lx cannot be mapped", (unsigned long)address);
}

uint64_t interrupt_registers(void)
{
    return (uint64_t)interrupts.registers;
}

uint32_t interrupt_apic_id(void)
{
    uint32_t id = apic_read(APIC_ID);

    return interrupts.x2 ? id : id >> 24;
}

uint32_t interrupt_apic_id_max(void)
{
    return interrupts.x2 ? UINT32_MAX - 1 : 0xfe; /* all ones is everybody */
}

void interrupt_send(uint32_t apic_id, uint32_t what)
{
    if (interrupts.x2) {
        /* 11.12.3: this write, unlike one to memory, may pass the stores that it is to tell of */
        __asm__ volatile("mfence; lfence" : : : "memory");
        msr_write(MSR_X2APIC + APIC_COMMAND / 16, (uint64_t)apic_id << 32 | what);
        return;
    }
    for (unsigned i = 0; i < SEND_STEPS && (apic_read(APIC_COMMAND) & COMMAND_PENDING); i++)
        chalk_pause();
    apic_write(APIC_COMMAND_HIGH, apic_id << 24);
    apic_write(APIC_COMMAND, what);
}

/* Firmware and loaders may leave interrupts in service, which block those of lower priority. */
static void finish_old_interrupts(void)
{
    for (unsigned vector = 0; vector < 256; vector++)
        if (apic_read(APIC_IN_SERVICE + vector / 32 * 16) & 1u << vector % 32)
            apic_write(APIC_END_OF_INTERRUPT, 0);
}

static void mask_local_sources(void)
{
    unsigned last =
        apic_read(APIC_VERSION) >> 16 & 0xff; /* 11.4.8: a register that is not there faults in x2APIC mode */

    apic_write(APIC_LVT_TIMER, LVT_MASKED | VECTOR_TIMER);
    apic_write(APIC_LVT_LINT0, LVT_MASKED);
    apic_write(APIC_LVT_LINT1, LVT_NMI);
    apic_write(APIC_LVT_ERROR, LVT_MASKED | VECTOR_SPURIOUS);
    if (last >= 4)
        apic_write(APIC_LVT_COUNTERS, LVT_MASKED);
    if (last >= 5)
        apic_write(APIC_LVT_THERMAL, LVT_MASKED);
    if (last >= 6)
        apic_write(APIC_LVT_CMCI, LVT_MASKED);
}

/* 11.5.4. The deadline mode needs no rate; the counting mode's is compared with the time stamp counter. */
static void timer_calibrate(void)
{
    const uint32_t has_deadline = 1u << 24;

    interrupts.tsc_deadline = (cpuid(1, 0).c & has_deadline) != 0;
    if (interrupts.tsc_deadline)
        return;
    apic_write(APIC_DIVIDE, DIVIDE_BY_1);
    apic_write(APIC_INITIAL_COUNT, UINT32_MAX);
    uint64_t start = chalk_ticks(), end = start + chalk_ns_to_ticks(CALIBRATION_NS);
    while (chalk_ticks() < end)
        chalk_pause();
    uint32_t counted = UINT32_MAX - apic_read(APIC_CURRENT_COUNT);
    interrupts.timer_mult = ((uint64_t)counted << 32) / (chalk_ticks() - start);
    apic_write(APIC_INITIAL_COUNT, 0);
}

static void timer_start(void)
{
    if (interrupts.tsc_deadline) {
        apic_write(APIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR_TIMER);
        __asm__ volatile("mfence" : : : "memory"); /* 11.5.4.1: before the first deadline */
        return;
    }
    apic_write(APIC_DIVIDE, DIVIDE_BY_1);
    apic_write(APIC_LVT_TIMER, VECTOR_TIMER);
}

static void timer_set(uint64_t deadline)
{
    uint64_t now = chalk_ticks();
    uint64_t count =
        deadline > now ? (uint64_t)((unsigned __int128)(deadline - now) * interrupts.timer_mult >> 32) : 0;

    if (interrupts.tsc_deadline)
        msr_write(MSR_TSC_DEADLINE, deadline);
    else
        apic_write(APIC_INITIAL_COUNT, count < 1 ? 1 : count > UINT32_MAX ? UINT32_MAX : (uint32_t)count);
}

void interrupt_start_core(void)
{
    apic_enable();
    apic_write(APIC_TASK_PRIORITY, 0);
    apic_write(APIC_SPURIOUS, SPURIOUS_ENABLE | VECTOR_SPURIOUS);
    mask_local_sources();
    finish_old_interrupts();
    timer_start();
}

void interrupt_start(void)
{
    apic_map();
    apic_enable();
    timer_calibrate();
    interrupt_start_core();
}

uint32_t cpu_apic_id(unsigned core)
{
    return core_get(core)->apic_id;
}

/* ---- vectors ---- */

/*
 * The only C that runs in an interrupt: trap.S calls it, with interrupts off, on a stack of its own.
 * `handling` and the counter are read in the order opposite to that of interrupt_detach(), which waits until
 * it is of no use.
 */
void interrupt_handle(uint64_t vector)
{
    struct core *core = core_self();

    if (vector == VECTOR_SPURIOUS)
        return; /* 11.9: not in service, so nothing to end */
    atomic_store(&core->handling, true);
    _Atomic(uint32_t) *counter = atomic_load(&core->counters[vector]);
    if (counter != NULL) {
        atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&core->events, 1, memory_order_release);
    }
    atomic_store_explicit(&core->handling, false, memory_order_release);
    apic_write(APIC_END_OF_INTERRUPT, 0);
}

int interrupt_attach(unsigned number, _Atomic(uint32_t) *counter)
{
    struct core *core = core_get(number);

    for (int vector = VECTOR_FIRST; vector <= VECTOR_LAST; vector++) {
        _Atomic(uint32_t) *none = NULL;

        if (atomic_compare_exchange_strong(&core->counters[vector], &none, counter))
            return vector;
    }
    return -ENOSPC;
}

void interrupt_detach(unsigned number, int vector)
{
    struct core *core = core_get(number);

    if (vector < VECTOR_FIRST || vector > VECTOR_LAST)
        return;
    atomic_store(&core->counters[vector], NULL);
    while (core != core_self() && atomic_load(&core->handling))
        chalk_pause();
}

/* ---- waiting ---- */

/*
 * One of the two sees the other: the sleeper sets `parked` and then looks at the event word, the waker
 * changes the word and then looks at `parked`, and both orders are those of locked instructions.
 */
void chalk_core_wake(unsigned number)
{
    struct core *core = core_get(number);

    if (core == NULL) {
        (void)chalk_core_check(number, "chalk_core_wake");
        chalk_exit(134); /* as a failed assertion */
    }
    atomic_fetch_add(&core->events, 1);
    if (atomic_load_explicit(&core->parked, memory_order_relaxed) && atomic_exchange(&core->parked, 0))
        interrupt_send(core->apic_id, COMMAND_FIXED | VECTOR_WAKE);
}

/* Takes what is pending: `sti` has effect after the instruction that follows it. */
static void collect(void)
{
    __asm__ volatile("sti; nop; cli" : : : "memory");
}

/* Core 0 sleeps in short pieces, because nothing but a look tells of a ^C. */
static void sleep_until(struct core *core, uint32_t seen, uint64_t deadline)
{
    uint64_t look = core->number == 0 ? chalk_deadline(LOOK_NS) : CHALK_FOREVER;

    timer_set(deadline < look ? deadline : look);
    atomic_store(&core->parked, 1);
    if (atomic_load(&core->events) == seen)
        trap_sleep();
    atomic_store_explicit(&core->parked, 0, memory_order_relaxed);
}

void chalk_core_wait(unsigned number, uint32_t seen, uint64_t deadline)
{
    struct core *core = core_self();

    if (core->number != number)
        chalk_misuse("chalk_core_wait(): core %u runs this, not core %u: each core waits for itself",
                     core->number, number);
    for (;;) {
        collect();
        if (atomic_load_explicit(&core->events, memory_order_acquire) != seen || chalk_expired(deadline))
            return;
        if (number == 0 && !interrupts.told && chalk_exit_requested()) {
            interrupts.told = true;
            chalk_core_wake(number);
            return;
        }
        sleep_until(core, seen, deadline);
    }
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the program wants of its processor: descriptor tables, a stack for each kind of trap, and the features
 * that compiled code takes for granted. Source: Intel SDM vol. 3.
 *
 * Every vector switches to a stack of its own kind, so a trap neither destroys the red zone of what it
 * interrupts nor needs that stack to be sound. Kinds that may interrupt each other have different stacks.
 */
#include "cores.h"
#include "x86.h"

#include <chalk/log.h>

static const char *const stack_names[STACK_COUNT] = {
    [STACK_DEVICE] = "device interrupt stack",     [STACK_EXCEPTION] = "exception stack",
    [STACK_DOUBLE_FAULT] = "double fault stack",   [STACK_NMI] = "NMI stack",
    [STACK_MACHINE_CHECK] = "machine check stack",
};

extern const char trap_stubs[][16], trap_syscall[]; /* trap.S */
extern const uint64_t boot_gdt[3];                  /* boot.S */

/* 6.14.1: a 64-bit interrupt gate */
struct gate {
    uint16_t offset_low, selector;
    uint8_t stack, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};
_Static_assert(sizeof(struct gate) == 16, "SDM vol. 3 figure 6-8");

struct table_pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

#define SELECTOR_CODE  0x08
#define SELECTOR_TASK  0x18
#define GATE_INTERRUPT 0x8e /* present, ring 0, interrupts off on entry */
#define DESCRIPTOR_TSS 0x89ull

enum { VECTOR_NMI = 2, VECTOR_DOUBLE_FAULT = 8, VECTOR_MACHINE_CHECK = 18, VECTOR_FIRST_DEVICE = 32 };

static struct gate idt[256]; /* one for all cores */

static unsigned stack_of(unsigned vector)
{
    switch (vector) {
    case VECTOR_NMI:
        return STACK_NMI;
    case VECTOR_DOUBLE_FAULT:
        return STACK_DOUBLE_FAULT;
    case VECTOR_MACHINE_CHECK:
        return STACK_MACHINE_CHECK;
    default:
        return vector < VECTOR_FIRST_DEVICE ? STACK_EXCEPTION : STACK_DEVICE;
    }
}

static void make_gates(void)
{
    for (unsigned i = 0; i < 256; i++) {
        uint64_t stub = (uint64_t)trap_stubs[i];

        idt[i] = (struct gate){.offset_low = (uint16_t)stub,
                               .selector = SELECTOR_CODE,
                               .stack = (uint8_t)(stack_of(i) + 1),
                               .type = GATE_INTERRUPT,
                               .offset_middle = (uint16_t)(stub >> 16),
                               .offset_high = (uint32_t)(stub >> 32)};
    }
}

static void load_descriptors(struct core *core)
{
    uint64_t task = (uint64_t)&core->task_state, limit = sizeof core->task_state - 1;

    for (unsigned i = 0; i < STACK_COUNT; i++)
        core->task_state.ist[i] = (uint64_t)(&core->trap_stacks[i] + 1);
    core->task_state.io_map = sizeof core->task_state;
    for (unsigned i = 0; i < 3; i++)
        core->gdt[i] = boot_gdt[i];
    /* 3.5 and 8.2.3: base and limit in pieces */
    core->gdt[3] = limit | (task & 0xffffff) << 16 | DESCRIPTOR_TSS << 40 | (task >> 24 & 0xff) << 56;
    core->gdt[4] = task >> 32;
    const struct table_pointer g = {sizeof core->gdt - 1, (uint64_t)core->gdt},
                               i = {sizeof idt - 1, (uint64_t)idt};
    __asm__ volatile("lgdt %0; lidt %1; ltr %w2" : : "m"(g), "m"(i), "r"(SELECTOR_TASK) : "memory");
    msr_write(MSR_GS_BASE, (uint64_t)core);
}

/* psABI 3.4.1: a program starts with x87 at full precision and no floating-point exceptions. Reset leaves
 * single. */
static void reset_floating_point(void)
{
    const uint32_t all_masked = 0x1f80;

    cr0_write((cr0_read() | CR0_MONITOR | CR0_NUMERIC_ERROR) & ~(CR0_EMULATE | CR0_TASK_SWITCHED));
    cr4_write(cr4_read() | CR4_OSFXSR | CR4_OSXMMEXCPT);
    __asm__ volatile("fninit; ldmxcsr %0" : : "m"(all_masked));
}

/* SDM vol. 1 13.3: a component may be enabled if CPUID.0xD.0 has it; AVX needs SSE, AVX-512's three go
 * together. */
static void enable_vector_state(void)
{
    const uint64_t x87_sse = 0x3, avx = 0x4, avx512 = 0xe0;
    uint64_t state = x87_sse;
    const uint32_t xsave = 1u << 26;

    if (!(cpuid(1, 0).c & xsave))
        return;
    cr4_write(cr4_read() | CR4_OSXSAVE);
    struct cpuid r = cpuid(0xd, 0);
    if (r.a & avx)
        state |= avx;
    if ((r.a & avx) && (r.a & avx512) == avx512)
        state |= avx512;
    __asm__ volatile("xsetbv" : : "a"((uint32_t)state), "d"(0), "c"(0));
}

/* Every object is compiled for x86-64-v2: psABI 3.1.1. */
static void check_level(void)
{
    const uint32_t sse3 = 1u << 0, ssse3 = 1u << 9, cx16 = 1u << 13, sse4_1 = 1u << 19, sse4_2 = 1u << 20,
                   popcnt = 1u << 23, level = sse3 | ssse3 | cx16 | sse4_1 | sse4_2 | popcnt;
    const uint32_t no_execute = 1u << 20;

    if ((cpuid(1, 0).c & level) != level || !(cpuid(0x80000001, 0).d & no_execute))
        machine_refuse("this processor is below x86-64-v2 with no-execute pages; use a newer one "
                       "(QEMU: -cpu max)");
}

/* 12.12.3: pages choose by PCD and PWT: 0 write-back, 1 write-combining, 2 UC-, 3 uncached; 4-7 the same. */
#define PAT 0x0007010600070106ull

/*
 * What else decides how a core caches memory must be the same on all (12.11.8). Firmware sets it on all, but
 * it may not survive an INIT (in QEMU's TCG it does not), so that core 0's is written down, and given to the
 * others.
 */
#define MTRR_VARIABLE_MAX 32u
static uint64_t caching[12 + 2 * MTRR_VARIABLE_MAX];

/* The i-th register, the one that enables the others last; 0: no more. */
static uint32_t caching_register(unsigned i)
{
    static const uint32_t fixed[] = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
                                     0x26b, 0x26c, 0x26d, 0x26e, 0x26f};
    const unsigned fixed_count = sizeof fixed / sizeof fixed[0];
    const uint32_t has_mtrr = 1u << 12;

    if (!(cpuid(1, 0).d & has_mtrr))
        return 0;
    unsigned variable = (unsigned)(msr_read(MSR_MTRR_CAPABILITY) & 0xff);
    if (variable > MTRR_VARIABLE_MAX)
        variable = MTRR_VARIABLE_MAX;
    if (i < fixed_count)
        return fixed[i];
    i -= fixed_count;
    return i < 2 * variable ? MSR_MTRR_VARIABLE + i : i == 2 * variable ? MSR_MTRR_DEFAULT : 0;
}

void cpu_keep_caching(void)
{
    for (unsigned i = 0; caching_register(i) != 0; i++)
        caching[i] = msr_read(caching_register(i));
}

static bool caches_as_kept(void)
{
    bool same = (cr0_read() & (CR0_CACHE_DISABLE | CR0_NOT_WRITE_THROUGH)) == 0 && msr_read(MSR_PAT) == PAT;

    for (unsigned i = 0; caching_register(i) != 0; i++)
        same &= msr_read(caching_register(i)) == caching[i];
    return same;
}

/* 12.11.8: nothing is cached while they change. */
bool cpu_take_caching(void)
{
    if (caches_as_kept())
        return true;
    cr0_write(cr0_read() | CR0_CACHE_DISABLE);
    __asm__ volatile("wbinvd" : : : "memory");
    msr_write(MSR_MTRR_DEFAULT, 0);
    for (unsigned i = 0; caching_register(i) != 0; i++)
        msr_write(caching_register(i), caching[i]);
    __asm__ volatile("wbinvd" : : : "memory");
    cr0_write(cr0_read() & ~CR0_CACHE_DISABLE);
    cr3_write(cr3_read());
    return caches_as_kept();
}

void cpu_start(struct core *core)
{
    if (core->number == 0)
        make_gates();
    load_descriptors(core);
    check_level();
    cr0_write((cr0_read() | CR0_WRITE_PROTECT) & ~(CR0_CACHE_DISABLE | CR0_NOT_WRITE_THROUGH));
    cr4_write(cr4_read() | CR4_MCE);
    msr_write(MSR_PAT, PAT);
    reset_floating_point();
    enable_vector_state();
    /* libc's `syscall` comes to us, in the same ring, with flags as they are (SDM vol. 2, SYSCALL). */
    msr_write(MSR_EFER, msr_read(MSR_EFER) | EFER_SCE | EFER_NXE);
    msr_write(MSR_STAR, (uint64_t)SELECTOR_CODE << 32);
    msr_write(MSR_LSTAR, (uint64_t)trap_syscall);
    msr_write(MSR_FMASK, 0);
}

static void guard(struct core *core, unsigned i, char *page, const char *name)
{
    chalk_format(core->stack_names[i], sizeof core->stack_names[i], "%s of core %u", name, core->number);
    int error = memory_guard(page, core->stack_names[i]);

    if (error != 0)
        panic("no guard page for the %s: error %d", core->stack_names[i], error);
}

void cpu_guard_stacks(struct core *core)
{
    for (unsigned i = 0; i < STACK_COUNT; i++)
        guard(core, i, core->trap_stacks[i].guard, stack_names[i]);
    guard(core, STACK_COUNT, core->stack_guard, "main stack");
}

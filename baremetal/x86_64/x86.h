/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The instructions that C has no word for. Register numbers are those of the Intel SDM (vol. 3 2.5 control
 * registers, vol. 4 model-specific registers), whose sections are everywhere those of December 2023: other
 * editions number them otherwise.
 */
#ifndef CHALK_BAREMETAL_X86_H
#define CHALK_BAREMETAL_X86_H

#include <stdint.h>

#define MSR_APIC_BASE       0x01bu
#define MSR_MTRR_CAPABILITY 0x0feu
#define MSR_MTRR_VARIABLE   0x200u /* base and mask in turn */
#define MSR_PAT             0x277u
#define MSR_MTRR_DEFAULT    0x2ffu
#define MSR_TSC_DEADLINE    0x6e0u
#define MSR_X2APIC          0x800u /* plus the register's xAPIC offset / 16 */
#define MSR_EFER            0xc0000080u
#define MSR_STAR            0xc0000081u
#define MSR_LSTAR           0xc0000082u
#define MSR_FMASK           0xc0000084u
#define MSR_FS_BASE         0xc0000100u
#define MSR_GS_BASE         0xc0000101u

#define EFER_SCE 0x001ull
#define EFER_NXE 0x800ull

#define CR0_MONITOR           (1ull << 1)
#define CR0_EMULATE           (1ull << 2)
#define CR0_TASK_SWITCHED     (1ull << 3)
#define CR0_NUMERIC_ERROR     (1ull << 5)
#define CR0_WRITE_PROTECT     (1ull << 16)
#define CR0_NOT_WRITE_THROUGH (1ull << 29)
#define CR0_CACHE_DISABLE     (1ull << 30)
#define CR4_MCE               (1ull << 6)
#define CR4_OSFXSR            (1ull << 9)
#define CR4_OSXMMEXCPT        (1ull << 10)
#define CR4_OSXSAVE           (1ull << 18)

struct cpuid {
    uint32_t a, b, c, d;
};

static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid r;

    __asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(subleaf));
    return r;
}

static inline void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void out16(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void out32(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint8_t in8(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline uint16_t in16(uint16_t port)
{
    uint16_t value;

    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline uint32_t in32(uint16_t port)
{
    uint32_t value;

    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline uint64_t msr_read(uint32_t msr)
{
    uint32_t low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
    return low | (uint64_t)high << 32;
}

static inline void msr_write(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" : : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(msr) : "memory");
}

#define X86_CONTROL_REGISTER(n)                                                                              \
    static inline uint64_t cr##n##_read(void)                                                                \
    {                                                                                                        \
        uint64_t value;                                                                                      \
                                                                                                             \
        __asm__ volatile("mov %%cr" #n ", %0" : "=r"(value) : : "memory");                                   \
        return value;                                                                                        \
    }                                                                                                        \
    static inline void cr##n##_write(uint64_t value)                                                         \
    {                                                                                                        \
        __asm__ volatile("mov %0, %%cr" #n : : "r"(value) : "memory");                                       \
    }

X86_CONTROL_REGISTER(0)
X86_CONTROL_REGISTER(2)
X86_CONTROL_REGISTER(3)
X86_CONTROL_REGISTER(4)
#undef X86_CONTROL_REGISTER

static inline void invlpg(uint64_t address)
{
    __asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}

#endif

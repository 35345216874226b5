/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that a device reads and writes.
 *
 * Such memory has a handle, struct chalk_dma, from an allocator of <chalk/memory.h>. Between submission and
 * completion it belongs to the device. Memory that a device may write is read only through the observed loads
 * below: once, into a local, then checked; never read back and trusted a second time. In the instrumented
 * build they call hooks, for recorders, fuzzers and sanitizers.
 */
#ifndef CHALK_DMA_H
#define CHALK_DMA_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A piece of memory that devices know: `size` bytes at `va` for us, at `iova` for every device it was shared
 * with. */
struct chalk_dma {
    void *va;
    uint64_t iova;
    size_t size;
};

#ifdef CHALK_INSTRUMENTED
/* Called before every observed load, and after it with what it gave. */
void chalk_dma_hook(const volatile void *address, size_t size);
void chalk_dma_seen(const volatile void *address, const void *value, size_t size);
/* The driver says that a device may read these bytes from now on: a command, a descriptor. It orders nothing.
 */
void chalk_dma_publish(const void *address, size_t size);
#else
static inline void chalk_dma_hook(const volatile void *address, size_t size)
{
    (void)address;
    (void)size;
}

static inline void chalk_dma_seen(const volatile void *address, const void *value, size_t size)
{
    (void)address;
    (void)value;
    (void)size;
}

static inline void chalk_dma_publish(const void *address, size_t size)
{
    (void)address;
    (void)size;
}
#endif

/* Observed loads: one volatile load of that width, with acquire: later loads are not done before it. */
#define CHALK_DMA_LOAD(bits)                                                                                 \
    static inline uint##bits##_t chalk_dma_load##bits(const volatile void *address)                          \
    {                                                                                                        \
        chalk_dma_hook(address, bits / 8);                                                                   \
        uint##bits##_t value = __atomic_load_n((const volatile uint##bits##_t *)address, __ATOMIC_ACQUIRE);  \
        chalk_dma_seen(address, &value, bits / 8);                                                           \
        return value;                                                                                        \
    }

CHALK_DMA_LOAD(16)
CHALK_DMA_LOAD(32)
CHALK_DMA_LOAD(64)
#undef CHALK_DMA_LOAD

/* One store of that width, neither split, merged nor left out: to memory that a device reads. */
static inline void chalk_dma_store32(void *address, uint32_t value)
{
    *(volatile uint32_t *)address = value;
}

static inline void chalk_dma_store64(void *address, uint64_t value)
{
    *(volatile uint64_t *)address = value;
}

/* Copies `size` bytes that a device may be writing into `local`, each byte read once. */
static inline void chalk_dma_observe(void *local, const volatile void *address, size_t size)
{
    chalk_dma_hook(address, size);
    __asm__ volatile("" ::: "memory");
    __builtin_memcpy(local, (const void *)address, size);
    __asm__ volatile("" ::: "memory");
    chalk_dma_seen(address, local, size);
}

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Device registers.
 *
 * A window (chalk_window_map()) is mapped, and then an access is one volatile load or store of exactly that
 * width; or it is served by calls (a vfio-user device, a recorder, a simulator). The test between them is one
 * predictable branch. Offsets are bytes from the start of the window; the caller keeps them aligned and
 * inside.
 *
 * Ordering (x86): uncached accesses stay in program order with each other, and a store to a register is not
 * seen before earlier stores to write-back memory. So a doorbell needs no fence, only that the compiler keeps
 * the order, which these functions ensure. Memory in a write-combined window needs chalk_wc_flush() first.
 */
#ifndef CHALK_MMIO_H
#define CHALK_MMIO_H

#include <chalk/platform.h>

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct chalk_mmio;

struct chalk_mmio_ops {
    uint64_t (*read)(const struct chalk_mmio *window, size_t offset, unsigned width);
    void (*write)(const struct chalk_mmio *window, size_t offset, unsigned width, uint64_t value);
};

struct chalk_mmio {
    uintptr_t base;                   /* address of byte 0, where mapped */
    const struct chalk_mmio_ops *ops; /* NULL: mapped */
    size_t size;                      /* bytes */
    void *owner;                      /* the ops' */
    uint64_t origin;                  /* the ops': where the window starts, in their terms */
    /* Becomes true, and every core wakes, when the platform learns that the device is lost: its registers
     * read as all ones then. NULL: the platform does not learn it, only a register read does. */
    const CHALK_ATOMIC(bool) *lost;
};

#define CHALK_MMIO_ACCESS(bits)                                                                              \
    static inline uint##bits##_t chalk_mmio_read##bits(const struct chalk_mmio *window, size_t offset)       \
    {                                                                                                        \
        if (__builtin_expect(window->ops != NULL, 0))                                                        \
            return (uint##bits##_t)window->ops->read(window, offset, bits / 8);                              \
        uint##bits##_t value = *(volatile uint##bits##_t *)(window->base + offset);                          \
        __asm__ volatile("" ::: "memory");                                                                   \
        return value;                                                                                        \
    }                                                                                                        \
    static inline void chalk_mmio_write##bits(const struct chalk_mmio *window, size_t offset,                \
                                              uint##bits##_t value)                                          \
    {                                                                                                        \
        __asm__ volatile("" ::: "memory");                                                                   \
        if (__builtin_expect(window->ops != NULL, 0))                                                        \
            window->ops->write(window, offset, bits / 8, value);                                             \
        else                                                                                                 \
            *(volatile uint##bits##_t *)(window->base + offset) = value;                                     \
    }

CHALK_MMIO_ACCESS(8)
CHALK_MMIO_ACCESS(16)
CHALK_MMIO_ACCESS(32)
CHALK_MMIO_ACCESS(64)
#undef CHALK_MMIO_ACCESS

/* `size` bytes at `offset` of a window, as a window of their own: what is accessed often needs no offset
 * then. */
static inline struct chalk_mmio chalk_mmio_part(const struct chalk_mmio *window, size_t offset, size_t size)
{
    struct chalk_mmio part = *window;

    part.base += offset;
    part.origin += offset;
    part.size = size;
    return part;
}

/* Makes earlier stores to write-combined memory visible before any later store (SDM vol. 3, 12.3.1). */
static inline void chalk_wc_flush(void)
{
    __asm__ volatile("sfence" ::: "memory");
}

#ifdef __cplusplus
}
#endif
#endif

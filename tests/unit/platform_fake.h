/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The platform contract for unit tests: one process, no hardware, nothing that a test did not ask for.
 *
 * Memory is filled with rubbish and has iovas that are unlike its addresses; time moves only when somebody
 * looks at it; devices are a configuration space and windows that a test's model serves; interrupts are
 * raised by hand; the console is a string. Every call can be made to fail. What a device would read or write
 * goes through fake_dma(), which knows what was mapped: a model that reaches for anything else gets NULL.
 *
 *     static int setup(void **state) { fake_reset(); ... }
 *
 * One thread at a time is core 0. Only the span calls may be used by several threads.
 */
#ifndef PLATFORM_FAKE_H
#define PLATFORM_FAKE_H

#include <chalk/mmio.h>
#include <chalk/platform.h>
#include <setjmp.h>

/* ---- the whole of it ------------------------------------------------------------------------------ */

#define FAKE_VECTORS 8

struct fake_device {
    struct chalk_bus_info info; /* `name` and what a scan shows */
    uint8_t config[4096];       /* as the device has it; the driver's writes arrive here */
    bool gone;                  /* unplugged: configuration space reads as ones */
    bool tells;                 /* the platform learns that, and tells by `lost` of the windows */
    _Atomic(bool) lost;
    int held; /* not 0: what chalk_device_open() returns, say -EBUSY */
    struct {
        uint64_t size; /* bytes, 0: there is no such BAR */
        const struct chalk_mmio_ops
            *ops;     /* the model: window->owner is `model`, window->origin the offset in the BAR */
        void *memory; /* or memory that is mapped, when ops is NULL */
    } bars[6];
    void *model;
    unsigned vector_count;                    /* MSI-X entries, at most FAKE_VECTORS */
    int (*reset)(struct fake_device *device); /* NULL: chalk_device_reset() says -ENOTSUP */

    /* what the driver did */
    bool open;
    unsigned opens, resets, config_writes;
    struct chalk_domain *domain;
    struct {
        unsigned core;
        _Atomic(uint32_t) *counter; /* NULL: detached; an interrupt is then lost, and counted */
    } vectors[FAKE_VECTORS];
    unsigned lost_interrupts;
};

struct fake {
    struct fake_device devices[4];
    unsigned device_count;

    /* Time: chalk_ticks() moves `now` on by `step` ticks and returns it. One tick is one nanosecond at first.
     */
    uint64_t now, step;
    struct chalk_clock clock;

    /* Called whenever the program looks at the time or waits, so that a model works behind its back. */
    void (*idle)(void *argument);
    void *idle_argument;
    uint64_t waits; /* calls of chalk_core_wait() */

    char console[16384]; /* what was written, terminated */
    size_t console_size;
    size_t console_chunk; /* at most so many bytes a write; 0: all */
    const char *input;    /* what chalk_console() reads; NULL: nothing */

    bool exit_requested;
    int exit_status; /* of the last fake_exits() */

    uint64_t next_iova;  /* of the next span, rounded up to its pages */
    uint64_t grow_limit; /* bytes that chalk_span_grow() may still hand out */
    size_t grow_page;    /* of spans grown with page 0 */
    bool apart;          /* spans are files that a device's process can be given */
    unsigned grows;      /* successful calls */
    unsigned mappings;   /* ranges mapped at this moment, in all domains */
};
extern struct fake fake;

/* Everything back to the start: no spans, no devices, 64 MiB to grow, an empty console. For a test's setup.
 */
void fake_reset(void);

/* ---- what tests put in ---------------------------------------------------------------------------- */

/* A span that is there from the start, filled with 0xa5. iova 0: the next free one. Returns its address. */
void *fake_span_add(enum chalk_span_kind kind, size_t size, size_t page, uint64_t iova, unsigned node);

/* The i-th span goes, as a hosted program's can; those behind it move up. */
void fake_span_remove(unsigned i);

/* A device with this identity, its memory BARs still to be filled in; `name` such as "0000:00:03.0". */
struct fake_device *fake_device_add(const char *name, uint16_t vendor, uint16_t device, uint32_t class_code);

/* A domain without a device. */
struct chalk_domain *fake_domain_add(void);
void fake_domain_remove(struct chalk_domain *domain);

/* The `after`-th next call (from 0) of the platform function `call` ("chalk_dma_map") returns `error`. */
void fake_fail(const char *call, unsigned after, int error);

/* The device raises an interrupt: it is seen by the next chalk_core_wait() of the core it was aimed at. */
void fake_interrupt(struct fake_device *device, unsigned vector);

/* ---- what tests and models look at ---------------------------------------------------------------- */

/*
 * What a device of `domain` finds at `iova`: the memory, if all `size` bytes are mapped with `protection`
 * (enum chalk_protection), or NULL, which an IOMMU would report as a fault.
 */
void *fake_dma(const struct chalk_domain *domain, uint64_t iova, size_t size, unsigned protection);

/* The same with the device's own rules: bus mastering must be on. */
void *fake_device_dma(const struct fake_device *device, uint64_t iova, size_t size, unsigned protection);

/* Whether the console has `text` somewhere; fake_console_clear() empties it. */
bool fake_console_has(const char *text);
void fake_console_clear(void);

/* Whether `statement` ends the program (fake.exit_status says how): for failed assertions. */
#define fake_exits(statement)                                                                                \
    ({                                                                                                       \
        fake_exit_armed = true;                                                                              \
        bool exited_ = setjmp(fake_exit_place) != 0;                                                         \
        if (!exited_) {                                                                                      \
            statement;                                                                                       \
        }                                                                                                    \
        fake_exit_armed = false;                                                                             \
        exited_;                                                                                             \
    })
extern jmp_buf fake_exit_place;
extern bool fake_exit_armed;

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A whole driver in one file: QEMU's educational device (1234:11e8, QEMU docs/specs/edu), which computes
 * factorials, copies memory by DMA and interrupts. Everything that any driver does is here once, in the order
 * of a device's life: find, attach with memory, map a window, attach a vector, master the bus; use; and back.
 * docs/driver.md walks through it.
 */
#include <chalk/attach.h>
#include <chalk/clock.h>
#include <chalk/device.h>
#include <chalk/error.h>
#include <chalk/main.h>
#include <chalk/mmio.h>

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* Registers: offsets into BAR 0. The device's own buffer is at BUFFER, for DMA only. */
enum {
    IDENTITY = 0x00,
    IDENTITY_EDU = 0x010000ed,
    FACTORIAL = 0x08,
    STATUS = 0x20,
    STATUS_BUSY = 0x01,
    STATUS_INTERRUPT = 0x80, /* when the factorial is there */
    INTERRUPT_STATUS = 0x24,
    INTERRUPT_ACKNOWLEDGE = 0x64,
    DMA_SOURCE = 0x80,
    DMA_TARGET = 0x88,
    DMA_COUNT = 0x90,
    DMA_COMMAND = 0x98,
    DMA_START = 0x01,
    DMA_TO_MEMORY = 0x02,
    WINDOW_SIZE = 0x100,
    BUFFER = 0x40000,
};

#define ADDRESS_MAX ((1ull << 28) - 1) /* its DMA has 28 address bits */

struct edu {
    struct chalk_attachment at; /* the device, and memory that it can reach */
    struct chalk_mmio registers;
    _Atomic(uint32_t) interrupts; /* goes up in chalk_core_wait() */
};

static int edu_open(struct edu *edu, const char *name)
{
    const struct chalk_memory_options memory = {.shared_size = CHALK_PAGE, .max_address = ADDRESS_MAX};
    int error = chalk_attach(name, &memory, &edu->at);
    if (!error)
        error = chalk_window_map(edu->at.device, 0, 0, WINDOW_SIZE, CHALK_UNCACHED, &edu->registers);
    if (!error)
        error = chalk_vector_attach(edu->at.device, 0, 0, &edu->interrupts);
    if (!error)
        error = chalk_pci_bus_master(edu->at.device, true);
    return error;
}

/* Why it interrupts; 0: it does not, and the interrupt was somebody else's, or nobody's. */
static int edu_reason(struct edu *edu, uint32_t *reason)
{
    *reason = chalk_mmio_read32(&edu->registers, INTERRUPT_STATUS);
    if (*reason == UINT32_MAX)
        return -ENODEV;
    if (*reason)
        chalk_mmio_write32(&edu->registers, INTERRUPT_ACKNOWLEDGE, *reason);
    return chalk_vector_rearm(edu->at.device, 0);
}

/* Sleeps until the device says that it interrupts, then quiets it, and lets it interrupt again. */
static int edu_wait(struct edu *edu, uint32_t before, uint64_t deadline)
{
    struct chalk_core_info core;
    uint32_t reason = 0;

    chalk_core_get_info(0, &core);
    for (;;) {
        /* In this order no wake-up is lost: the event word, then the counter, then the wait. */
        uint32_t seen = atomic_load(core.events), now = atomic_load(&edu->interrupts);
        int error = now != before ? edu_reason(edu, &reason) : 0;
        if (error || reason)
            return error;
        if (chalk_expired(deadline))
            return -ETIMEDOUT;
        before = now;
        chalk_core_wait(0, seen, deadline);
    }
}

static int edu_factorial(struct edu *edu, uint32_t n, uint32_t *result)
{
    uint32_t before = atomic_load(&edu->interrupts);

    chalk_mmio_write32(&edu->registers, STATUS, STATUS_INTERRUPT);
    chalk_mmio_write32(&edu->registers, FACTORIAL, n);
    int error = edu_wait(edu, before, chalk_deadline(2 * CHALK_S));
    if (error)
        fprintf(stderr, "edu: no interrupt within 2 s for %u!\n", n);
    else
        *result = chalk_mmio_read32(&edu->registers, FACTORIAL);
    return error;
}

static int edu_copy(struct edu *edu, uint64_t source, uint64_t target, size_t size, uint32_t direction)
{
    uint64_t deadline = chalk_deadline(2 * CHALK_S);

    chalk_mmio_write64(&edu->registers, DMA_SOURCE, source);
    chalk_mmio_write64(&edu->registers, DMA_TARGET, target);
    chalk_mmio_write64(&edu->registers, DMA_COUNT, size);
    chalk_mmio_write64(&edu->registers, DMA_COMMAND, DMA_START | direction);
    for (;;) {
        bool late = chalk_expired(deadline); /* asked first: whoever slept too long looks once more */
        uint64_t command = chalk_mmio_read64(&edu->registers, DMA_COMMAND);
        if (!(command & DMA_START))
            return 0;
        if (late || command == UINT64_MAX) {
            fprintf(stderr, "edu: a copy was not finished within 2 s\n");
            return late ? -ETIMEDOUT : -ENODEV;
        }
        chalk_pause();
    }
}

/* Sends a text to the device's buffer and fetches it back. */
static int show_copy(struct edu *edu)
{
    static const char text[] = "there and back again";
    char seen[sizeof(text)];
    struct chalk_dma page;

    int error = chalk_dma_get(edu->at.memory, CHALK_PAGE, CHALK_PAGE, &page);
    if (error)
        return error;
    memcpy(page.va, text, sizeof(text));
    error = edu_copy(edu, page.iova, BUFFER, sizeof(text), 0);
    if (!error) {
        memset(page.va, 0, CHALK_PAGE);
        error = edu_copy(edu, BUFFER, page.iova, sizeof(text), DMA_TO_MEMORY);
    }
    if (error) /* the page may still be the device's */
        return error;
    chalk_dma_observe(seen, page.va, sizeof(seen));
    chalk_dma_put(edu->at.memory, &page);
    if (memcmp(seen, text, sizeof(text)) != 0) {
        fprintf(stderr, "edu: what came back is not what was sent\n");
        return -EIO;
    }
    printf("copied: %s\n", seen);
    return 0;
}

static int show_identity(struct edu *edu)
{
    uint32_t identity = chalk_mmio_read32(&edu->registers, IDENTITY);

    printf("identity %08x\n", identity);
    if (identity == IDENTITY_EDU)
        return 0;
    fprintf(stderr, "edu: not an edu device, or it is gone\n");
    return -ENODEV;
}

int chalk_main(int argc, char *argv[])
{
    struct chalk_bus_info info = {0};
    struct edu edu = {0};
    uint32_t result;

    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        bool asked = argc == 2 && (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0);

        fprintf(
            asked ? stdout : stderr,
            "usage: edu [DEVICE]\n"
            "DEVICE is a PCI address, or vfio-user:SOCKET; if absent, the first edu device on the bus.\n");
        return asked ? 0 : 2;
    }
    while (argc < 2 && chalk_bus_next(&info) == 0)
        if (info.vendor == 0x1234 && info.device == 0x11e8)
            break;
    if (argc < 2 && info.vendor != 0x1234) {
        fprintf(
            stderr,
            "edu: no edu device on the bus; name one by its PCI address, or as vfio-user:SOCKET, or attach "
            "one (tools/vm and tools/metal: --device edu)\n");
        return 1;
    }
    int error = edu_open(&edu, argc > 1 ? argv[1] : info.name);
    if (!error)
        error = show_identity(&edu);
    for (uint32_t n = 3; n <= 12 && !error; n += 3) {
        error = edu_factorial(&edu, n, &result);
        if (!error)
            printf("%u! = %u\n", n, result);
    }
    if (!error)
        error = show_copy(&edu);
    if (error)
        fprintf(stderr, "edu: %s\n", chalk_error_name(error));
    chalk_detach(&edu.at); /* vectors and windows go with the device */
    return error ? 1 : 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Where a driver touches its device: the calls of the platform, the registers, and the memory that both use.
 */
#include "seam.h"

#include <chalk/dma.h>
#include <chalk/mmio.h>
#include <chalk/platform.h>
#include <inttypes.h>
#include <memory/loans.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ZEROES 8 /* so many in a row are counted, not shown */

/* Whether the platform itself is at work: what it does for a call of the driver's is no step of the driver's.
 */
static bool inside;

#define BELOW(call)                                                                                          \
    ({                                                                                                       \
        bool outer_ = inside;                                                                                \
        inside = true;                                                                                       \
        int error_ = (call);                                                                                 \
        inside = outer_;                                                                                     \
        error_;                                                                                              \
    })

__attribute__((format(printf, 3, 4))) static void step(void *answer, size_t size, const char *format, ...)
{
    char text[SEAM_STEP_SIZE];
    va_list list;

    if (inside)
        return;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    seam_step(text, answer, size);
}

/* ---- bytes ----------------------------------------------------------------------------------------- */

char *seam_print(char *text, const void *bytes, size_t size)
{
    const unsigned char *byte = bytes;

    for (size_t i = 0; i < size;) {
        size_t zeroes = 0;

        while (i + zeroes < size && byte[i + zeroes] == 0)
            zeroes++;
        if (zeroes >= ZEROES) {
            text += sprintf(text, "-%zu-", zeroes);
            i += zeroes;
        } else {
            text += sprintf(text, "%02x", byte[i++]);
        }
    }
    *text = 0;
    return text;
}

bool seam_parse(const char *text, void *bytes, size_t size)
{
    unsigned char *byte = bytes;
    size_t i = 0;

    while (i < size) {
        unsigned value;
        size_t zeroes;
        int length = 0;

        if (sscanf(text, "-%zu-%n", &zeroes, &length) == 1 && length != 0) {
            if (zeroes > size - i)
                return false;
            memset(byte + i, 0, zeroes);
            i += zeroes;
        } else if (sscanf(text, "%2x%n", &value, &length) == 1 && length == 2) {
            byte[i++] = (unsigned char)value;
        } else {
            return false;
        }
        text += length;
    }
    return *text == 0;
}

/* ---- memory ---------------------------------------------------------------------------------------- */

/* The address that devices have for memory of a span. */
static bool find_iova(const volatile void *address, uint64_t *iova)
{
    struct chalk_span span;

    for (unsigned i = 0; chalk_span_get(i, &span) == 0; i++)
        if ((uintptr_t)address - (uintptr_t)span.va < span.size) {
            *iova = span.iova + ((uintptr_t)address - (uintptr_t)span.va);
            return true;
        }
    return false;
}

static void observe(const volatile void *address, void *value, size_t size)
{
    uint64_t iova;

    if (find_iova(address, &iova))
        step(value, size, "observe %#" PRIx64 "/%zu", iova, size);
}

void chalk_dma_hook(const volatile void *address, size_t size)
{
    chalk_loan_check("the program", "reads", (const void *)(uintptr_t)address, size, NULL);
    if (seam_replays)
        observe(address, (void *)(uintptr_t)address, size);
}

void chalk_dma_seen(const volatile void *address, const void *value, size_t size)
{
    if (!seam_replays)
        observe(address, (void *)(uintptr_t)value, size);
}

void chalk_dma_publish(const void *address, size_t size)
{
    char text[SEAM_TEXT_SIZE(128)];
    uint64_t iova;

    if (size > 128)
        abort();
    seam_print(text, address, size);
    if (find_iova(address, &iova))
        step(NULL, 0, "publish %#" PRIx64 "/%zu %s", iova, size, text);
    else
        step(NULL, 0, "publish own/%zu %s", size, text); /* in memory of the device's own */
}

/* ---- the platform ---------------------------------------------------------------------------------- */

#define SEAM(call, ...)                                                                                      \
    int __real_##call(__VA_ARGS__);                                                                          \
    int __wrap_##call(__VA_ARGS__);                                                                          \
    int __wrap_##call(__VA_ARGS__)

SEAM(chalk_config_read, struct chalk_device *device, unsigned offset, unsigned width, uint32_t *value)
{
    int error = BELOW(__real_chalk_config_read(device, offset, width, value));

    if (error == 0)
        step(value, width, "config read %#x/%u", offset, width);
    return error;
}

SEAM(chalk_config_write, struct chalk_device *device, unsigned offset, unsigned width, uint32_t value)
{
    step(NULL, 0, "config write %#x/%u %#x", offset, width, value);
    return BELOW(__real_chalk_config_write(device, offset, width, value));
}

SEAM(chalk_device_reset, struct chalk_device *device, uint64_t deadline)
{
    int error = BELOW(__real_chalk_device_reset(device, deadline));

    step(&error, sizeof error, "reset");
    return error;
}

SEAM(chalk_vector_attach, struct chalk_device *device, unsigned vector, unsigned core,
     CHALK_ATOMIC(uint32_t) *counter)
{
    int error = BELOW(__real_chalk_vector_attach(device, vector, core, counter));

    step(&error, sizeof error, "vector %u %s", vector, counter != NULL ? "on" : "off");
    return error;
}

SEAM(chalk_dma_map, struct chalk_domain *domain, void *va, size_t size, uint64_t iova, unsigned protection)
{
    step(NULL, 0, "map %#" PRIx64 "/%zu %u", iova, size, protection);
    return BELOW(__real_chalk_dma_map(domain, va, size, iova, protection));
}

SEAM(chalk_dma_unmap, struct chalk_domain *domain, uint64_t iova, size_t size)
{
    step(NULL, 0, "unmap %#" PRIx64 "/%zu", iova, size);
    return BELOW(__real_chalk_dma_unmap(domain, iova, size));
}

/* Commands hold addresses, so a replayer's memory has to be where the recorder's was. */
SEAM(chalk_span_grow, size_t size, size_t page, unsigned node, uint64_t max_address, struct chalk_span *span)
{
    uint64_t place[2];
    int error = seam_replays ? 0 : BELOW(__real_chalk_span_grow(size, page, node, max_address, span));

    if (error == 0 && !seam_replays)
        memcpy(place, (uint64_t[]){span->iova, span->page}, sizeof place);
    if (error == 0)
        step(place, sizeof place, "grow %zu", size);
    if (seam_replays) {
        seam_place_span(place[0]);
        error = BELOW(__real_chalk_span_grow(size, place[1], node, max_address, span));
    }
    return error;
}

/* ---- registers ------------------------------------------------------------------------------------- */

static struct seen_window {
    struct chalk_mmio real;
    uint64_t start; /* in its BAR */
    unsigned bar;
} windows[16];
static unsigned window_count;

static uint64_t window_read(const struct chalk_mmio *window, size_t offset, unsigned width)
{
    const struct seen_window *seen = window->owner;
    size_t at = window->origin + offset;
    uint64_t value = width == 1   ? chalk_mmio_read8(&seen->real, at)
                     : width == 2 ? chalk_mmio_read16(&seen->real, at)
                     : width == 4 ? chalk_mmio_read32(&seen->real, at)
                                  : chalk_mmio_read64(&seen->real, at);

    step(&value, width, "read %u %#" PRIx64 "/%u", seen->bar, seen->start + at, width);
    return value;
}

static void window_write(const struct chalk_mmio *window, size_t offset, unsigned width, uint64_t value)
{
    const struct seen_window *seen = window->owner;
    size_t at = window->origin + offset;

    step(NULL, 0, "write %u %#" PRIx64 "/%u %#" PRIx64, seen->bar, seen->start + at, width, value);
    switch (width) {
    case 1:
        return chalk_mmio_write8(&seen->real, at, (uint8_t)value);
    case 2:
        return chalk_mmio_write16(&seen->real, at, (uint16_t)value);
    case 4:
        return chalk_mmio_write32(&seen->real, at, (uint32_t)value);
    default:
        return chalk_mmio_write64(&seen->real, at, value);
    }
}

void seam_begin(void)
{
    window_count = 0;
}

SEAM(chalk_window_map, struct chalk_device *device, unsigned bar, uint64_t offset, size_t size,
     enum chalk_attribute attribute, struct chalk_mmio *window)
{
    static const struct chalk_mmio_ops ops = {.read = window_read, .write = window_write};
    struct seen_window *seen = &windows[window_count];
    int error;

    if (window_count == sizeof windows / sizeof *windows)
        abort();
    error = BELOW(__real_chalk_window_map(device, bar, offset, size, attribute, &seen->real));
    step(&error, sizeof error, "window %u %#" PRIx64 "/%zu", bar, offset, size);
    if (error != 0)
        return error;
    if (attribute == CHALK_WRITE_COMBINE && seen->real.ops == NULL) { /* memory, which is only written */
        *window = seen->real;
        return 0;
    }
    window_count++;
    seen->start = offset;
    seen->bar = bar;
    *window = (struct chalk_mmio){.size = size, .ops = &ops, .owner = seen};
    return 0;
}

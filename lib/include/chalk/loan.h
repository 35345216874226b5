/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who owns the bytes of a buffer: the program, or the device that it was lent to. The instrumented build
 * knows.
 *
 * A driver lends a request's data when it submits the request, and takes it back before it calls back:
 *
 *     chalk_lend(request, name, domain, request->segments, request->segment_count, CHALK_DEVICE_WRITES);
 *     ...
 *     chalk_take_back(request);
 *
 * Meanwhile the data is the device's, and the program ends, with a message that has the stack of who lent it
 * and the stack of who does not respect that, when it
 *   - lends what was not shared with the domain, or not for that;
 *   - lends it again, unless both devices only read;
 *   - gives it back to an allocator, or unshares it;
 *   - touches it: in code that AddressSanitizer watches at once. In other code, when it is read by the
 *     observed loads of <chalk/dma.h>; and what devices only read has a checksum, so that a change shows when
 *     it is taken back.
 *
 * In other builds all of this is nothing.
 */
#ifndef CHALK_LOAN_H
#define CHALK_LOAN_H

#include <chalk/dma.h>
#include <chalk/platform.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef CHALK_INSTRUMENTED

/*
 * Lends `count` segments until they are taken back under the same `key`. `device` is its name in messages,
 * and stays valid as long; `protection` says what the device does (enum chalk_protection).
 */
void chalk_lend(const void *key, const char *device, const struct chalk_domain *domain,
                const struct chalk_dma *segments, unsigned count, unsigned protection);

/* Takes back all that was lent under `key`, if anything was. */
void chalk_take_back(const void *key);

#else

static inline void chalk_lend(const void *key, const char *device, const struct chalk_domain *domain,
                              const struct chalk_dma *segments, unsigned count, unsigned protection)
{
    (void)key;
    (void)device;
    (void)domain;
    (void)segments;
    (void)count;
    (void)protection;
}

static inline void chalk_take_back(const void *key)
{
    (void)key;
}

#endif

#ifdef __cplusplus
}
#endif
#endif

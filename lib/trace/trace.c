/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A ring of records that its core writes and never waits for, and that others read with care.
 *
 * The position of a record says when it is lost: the owner, at position `next`, may be writing over the
 * record that is a ring's size older. So a reader copies a record, looks at `next` again, and believes the
 * copy only if it was not that old. For this the owner's stores to a slot must not be seen before its earlier
 * move of `next` (the fence in record), nor the reader look at `next` before it has copied (the fence in
 * next): H.-J. Boehm, "Can seqlocks get along with programming language memory models?", 2012. On x86 both
 * only hold the compiler back.
 */
#include <chalk/clock.h>
#include <chalk/crc32c.h>
#include <chalk/error.h>
#include <chalk/log.h>
#include <chalk/trace.h>
#include <string.h>

#define WORDS     (sizeof(struct chalk_trace_record) / sizeof(uint64_t))
#define MAX_COUNT ((uint32_t)1 << 24)

_Static_assert(sizeof(struct chalk_trace_record) == CHALK_TRACE_RECORD, "four words, and no padding");

int chalk_trace_init(struct chalk_trace *trace, unsigned core, void *records, uint32_t count)
{
    if (!records || (uintptr_t)records % sizeof(uint64_t) != 0 || core > UINT16_MAX || count < 2 ||
        count > MAX_COUNT || (count & (count - 1)) != 0)
        return -EINVAL;
    memset(records, 0, (size_t)count * CHALK_TRACE_RECORD);
    *trace = (struct chalk_trace){.words = records, .mask = count - 1, .core = (uint16_t)core};
    return 0;
}

/* ---- the owner ------------------------------------------------------------------------------------- */

void chalk_trace_append(struct chalk_trace *trace, unsigned kind, uint32_t number, uint64_t value,
                        uint64_t other)
{
    uint64_t *slot = trace->words + (trace->next & trace->mask) * WORDS;
    uint64_t ticks = chalk_ticks();

    __atomic_thread_fence(__ATOMIC_RELEASE); /* this slot is not touched before `next` was moved to it */
    __atomic_store_n(&slot[0], ticks, __ATOMIC_RELAXED);
    __atomic_store_n(&slot[1], (kind & 0xffff) | (uint64_t)trace->core << 16 | (uint64_t)number << 32,
                     __ATOMIC_RELAXED);
    __atomic_store_n(&slot[2], value, __ATOMIC_RELAXED);
    __atomic_store_n(&slot[3], other, __ATOMIC_RELAXED);
    __atomic_store_n(&trace->next, trace->next + 1, __ATOMIC_RELEASE);
}

/* ---- readers --------------------------------------------------------------------------------------- */

bool chalk_trace_next(const struct chalk_trace *trace, uint64_t *position, struct chalk_trace_record *record)
{
    uint64_t next = __atomic_load_n(&trace->next, __ATOMIC_ACQUIRE);

    while (*position < next) {
        uint64_t oldest = next > trace->mask ? next - trace->mask : 0, words[WORDS];

        if (*position < oldest)
            *position = oldest;
        for (unsigned i = 0; i < WORDS; i++)
            words[i] =
                __atomic_load_n(&trace->words[(*position & trace->mask) * WORDS + i], __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        next = __atomic_load_n(&trace->next, __ATOMIC_RELAXED);
        if (next - *position > trace->mask)
            continue; /* it is being overwritten, or was */
        *record = (struct chalk_trace_record){
            .ticks = words[0],
            .kind = (uint16_t)words[1],
            .core = (uint16_t)(words[1] >> 16),
            .number = (uint32_t)(words[1] >> 32),
            .value = words[2],
            .other = words[3],
        };
        ++*position;
        return true;
    }
    return false;
}

/* ---- lines ----------------------------------------------------------------------------------------- */

#define PREFIX   "chalk-trace: "
#define A_LINE   3 /* records: 96 bytes, which are 128 letters without padding */
#define A_LETTER 6 /* bits */

struct writer {
    int (*write)(void *context, const char *line, size_t size);
    void *context;
    uint64_t count; /* records written */
    uint32_t crc;   /* of them */
};

/* Base64 (RFC 4648 4); the size is a multiple of 3 bytes, but for the last line's. Returns the letters. */
static size_t encode(char *text, const unsigned char *bytes, size_t size)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t length = 0;

    for (size_t i = 0; i < size; i += 3) {
        uint32_t bits = (uint32_t)bytes[i] << 16;

        bits |= i + 1 < size ? (uint32_t)bytes[i + 1] << 8 : 0;
        bits |= i + 2 < size ? (uint32_t)bytes[i + 2] : 0;
        for (unsigned letter = 4; letter-- > 0; bits &= ((uint32_t)1 << letter * A_LETTER) - 1)
            text[length++] = alphabet[bits >> letter * A_LETTER];
    }
    for (size_t padding = (3 - size % 3) % 3; padding > 0; padding--)
        text[length - padding] = '=';
    return length;
}

static int write_records(struct writer *writer, const struct chalk_trace_record *records, unsigned count)
{
    char line[CHALK_TRACE_LINE] = PREFIX;
    size_t size = count * sizeof(*records), length = sizeof(PREFIX) - 1;

    writer->count += count;
    writer->crc = chalk_crc32c(writer->crc, records, size);
    length += encode(line + length, (const unsigned char *)records, size);
    line[length++] = '\n';
    return writer->write(writer->context, line, length);
}

int chalk_trace_write(const struct chalk_trace *trace,
                      int (*write)(void *context, const char *line, size_t size), void *context)
{
    const struct chalk_clock *clock = chalk_clock_info();
    const uint64_t most = __atomic_load_n(&trace->next, __ATOMIC_RELAXED) + trace->mask;
    struct writer writer = {write, context, 0, 0};
    struct chalk_trace_record records[A_LINE];
    char line[CHALK_TRACE_LINE];
    uint64_t position = 0;
    int length, error;

    length = chalk_format(line, sizeof(line), PREFIX "ring %u %llu %llu %llu\n", trace->core,
                          (unsigned long long)clock->hertz, (unsigned long long)clock->wall_ns,
                          (unsigned long long)clock->wall_ticks);
    error = write(context, line, (size_t)length);
    while (error == 0) {
        unsigned count = 0;

        while (count < A_LINE && position < most && chalk_trace_next(trace, &position, &records[count]))
            count++;
        if (count == 0)
            break;
        error = write_records(&writer, records, count);
    }
    if (error != 0)
        return error;
    length = chalk_format(line, sizeof(line), PREFIX "end %u %llu %llu %08x\n", trace->core,
                          (unsigned long long)writer.count, (unsigned long long)(position - writer.count),
                          writer.crc);
    return write(context, line, (size_t)length);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Traces: what happened on a core, and when, in a ring of fixed-size records that forgets the oldest.
 *
 * A ring lies in the application's memory and belongs to one core, which writes it without locks. Whatever
 * can be traced holds a pointer to the ring of its core: a queue (`trace` of struct chalk_block_queue), a
 * loop, the application itself. NULL means off, and then a trace point costs the test of that pointer: one
 * branch that is always predicted, and no call. There is no global switch and no registry: who owns a queue
 * decides whether it is traced.
 *
 *     static struct chalk_trace trace;
 *
 *     chalk_trace_init(&trace, 0, chalk_memory_get(memory, 1024 * CHALK_TRACE_RECORD), 1024);
 *     queue->trace = &trace;
 *     ...
 *     chalk_trace_write(&trace, to_stdout, NULL);
 *
 * Any core may read a ring, also while its owner writes: a record that is overwritten meanwhile is left out,
 * and never seen in halves. What chalk_trace_write() gives is lines of text, for a file or for a console that
 * others write to as well; tools/trace finds them there, and makes of them what Perfetto opens.
 */
#ifndef CHALK_TRACE_H
#define CHALK_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a record tells. The numbers are in files: they are never given to something else. */
enum chalk_trace_kind {
    /* The application's: `number` and both values are its own. A begin and the end with its number enclose
     * what the core did in between. */
    CHALK_TRACE_MARK = 1,
    CHALK_TRACE_BEGIN = 2,
    CHALK_TRACE_END = 3,

    /* The scheduler's. */
    CHALK_TRACE_RUN = 16,   /* the core enters a task. number: its own, value, other: 16 bytes of its name */
    CHALK_TRACE_PARK = 17,  /* and leaves it. number: the same, value: its state (enum chalk_task_state) */
    CHALK_TRACE_SLEEP = 18, /* the core has nothing to do, and waits */
    CHALK_TRACE_WAKE = 19,  /* and goes on */

    /* An interrupt that a task has waited for. number: the task's, value: the counter */
    CHALK_TRACE_INTERRUPT = 32,

    /*
     * Block requests. A request is submitted when it is in the queue, before the kick; it is complete when
     * its completion was found, before the callback. value: the request's address, which ties the two.
     */
    CHALK_TRACE_READ = 48,     /* number: blocks, other: lba */
    CHALK_TRACE_WRITE = 49,    /* the same */
    CHALK_TRACE_FLUSH = 50,    /* the same, both 0 */
    CHALK_TRACE_COMPLETE = 51, /* number: 0 or a negative errno, other: the device's words */
    CHALK_TRACE_DISCARD = 52,  /* number: blocks, other: lba */
    CHALK_TRACE_WRITE_ZEROES = 53,
    CHALK_TRACE_COMPARE = 54,
    CHALK_TRACE_VERIFY = 55,
    CHALK_TRACE_DRIVER = 56, /* a command of the device's own */
};

struct chalk_trace_record {
    uint64_t ticks;
    uint16_t kind; /* enum chalk_trace_kind */
    uint16_t core; /* whose ring it was */
    uint32_t number;
    uint64_t value, other;
};
#define CHALK_TRACE_RECORD 32 /* bytes of it */

/* The fields are private, and the owner's; readers follow `next`. */
struct chalk_trace {
    uint64_t *words; /* four a record */
    uint64_t mask;   /* records, less one */
    uint64_t next;   /* the position of the next record: counts up for ever */
    uint16_t core;
};

/*
 * Makes an empty ring for core `core`. `records` is the caller's, `count` * CHALK_TRACE_RECORD bytes, a
 * multiple of 8 in address, and belongs to the ring for as long as it is used; it is touched here, so that no
 * page fault comes later. `count` is a power of two from 2 to 2^24, and the ring holds one less: the last
 * slot is where the next record is being written. Errors: -EINVAL.
 */
int chalk_trace_init(struct chalk_trace *trace, unsigned core, void *records, uint32_t count);

/* Writes a record, with the time. For chalk_trace_emit(), when tracing is on. */
void chalk_trace_append(struct chalk_trace *trace, unsigned kind, uint32_t number, uint64_t value,
                        uint64_t other);

/* The trace point: called on the ring's core, outside of interrupt handlers; nothing when `trace` is NULL. */
static inline void chalk_trace_emit(struct chalk_trace *trace, unsigned kind, uint32_t number, uint64_t value,
                                    uint64_t other)
{
    if (__builtin_expect(trace != NULL, 0))
        chalk_trace_append(trace, kind, number, value, other);
}

/*
 * Copies the record at *position, or else the oldest one after it that is still there, and moves *position
 * behind it: by more than one, if records were lost. Start with 0. false: there is none yet.
 */
bool chalk_trace_next(const struct chalk_trace *trace, uint64_t *position, struct chalk_trace_record *record);

/* The longest line of chalk_trace_write(), with its newline. */
#define CHALK_TRACE_LINE 160

/*
 * Writes what is in the ring as lines of text, oldest first; docs/tracing.md has the format. `write` is
 * called once a line, newline included, and returns 0, or what this call is then to end with and return: such
 * as -EIO. Records that come while it works are included, at most as many as the ring has slots.
 */
int chalk_trace_write(const struct chalk_trace *trace,
                      int (*write)(void *context, const char *line, size_t size), void *context);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nvme-perf: how fast one core drives one queue, and what that costs the core.
 *
 * Submitting and reaping are timed apart, since only they are the driver's: the rest of a request's life is
 * the device's. The loop does no division, no allocation and no system call; it looks at the world outside
 * every 10 ms.
 */
#include <chalk/clock.h>
#include <chalk/error.h>
#include <chalk/main.h>
#include <chalk/random.h>
#include <chalk/trace.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "histogram.h"
#include "options.h"
#include "session.h"

struct io {
    struct chalk_block_request request;
    struct chalk_dma data;
    uint64_t submitted_at; /* ticks */
    int status;
};

/* What one run measured. */
struct figures {
    struct histogram latency;       /* ticks from submission until its completion was reaped */
    struct histogram submit, reap;  /* ticks a request, of the calls that moved at least one */
    uint64_t finished, ticks;       /* requests, and how long they took */
    uint64_t doorbells, interrupts; /* over all of the run */
};

struct perf {
    struct session session;
    struct chalk_block_queue *queue;
    bool random, interrupts;
    enum chalk_block_op op;
    uint64_t size;   /* bytes a request */
    uint32_t count;  /* blocks a request */
    uint64_t places; /* requests that fit into the namespace side by side */
    uint64_t stream, next_place;

    struct io *ios;
    struct io **idle; /* a stack: those that were just reaped are on top */
    unsigned idle_count;
    struct chalk_block_request **batch;
    uint64_t *reciprocal; /* 2^32 / n */

    struct figures *figures;
    bool failed, interrupted;

    struct chalk_trace trace;
    void *records; /* of the trace; NULL: there is none */
};

static bool make_ios(struct perf *p)
{
    unsigned depth = p->queue->info.depth;
    struct chalk_dma memory;

    p->ios = calloc(depth, sizeof(*p->ios));
    p->idle = calloc(depth, sizeof(*p->idle));
    p->batch = calloc(depth, sizeof(*p->batch));
    p->reciprocal = calloc(depth + 1, sizeof(*p->reciprocal));
    p->figures = calloc(1, sizeof(*p->figures));
    if (!p->ios || !p->idle || !p->batch || !p->reciprocal || !p->figures ||
        chalk_dma_get(p->session.memory, depth * p->size, CHALK_PAGE, &memory) != 0) {
        complain("no memory for %u requests of %" PRIu64 " bytes; give a smaller --depth or --size", depth,
                 p->size);
        return false;
    }
    for (uint64_t i = 0; p->op == CHALK_BLOCK_WRITE && i < memory.size / 8; i++)
        ((uint64_t *)memory.va)[i] = chalk_random_next(&p->stream);
    for (unsigned i = 0; i < depth; i++) {
        p->ios[i].data =
            (struct chalk_dma){(char *)memory.va + i * p->size, memory.iova + i * p->size, p->size};
        p->idle[p->idle_count++] = &p->ios[i];
        p->reciprocal[i + 1] = (1ull << 32) / (i + 1);
    }
    return true;
}

/* Traces the queue, into a ring that holds at least `events`. */
static bool start_trace(struct perf *p, uint64_t events)
{
    uint32_t count = 2;

    while (count - 1 < events)
        count *= 2;
    p->records = calloc(count, CHALK_TRACE_RECORD);
    if (!p->records || chalk_trace_init(&p->trace, 0, p->records, count) != 0) {
        complain("no memory for a trace of %" PRIu64 " events; give a smaller --trace", events);
        return false;
    }
    p->queue->trace = &p->trace;
    return true;
}

static int print_line(void *context, const char *line, size_t size)
{
    (void)context;
    return fwrite(line, 1, size, stdout) == size ? 0 : -EIO;
}

static bool print_trace(struct perf *p)
{
    p->queue->trace = NULL;
    if (chalk_trace_write(&p->trace, print_line, NULL) == 0 && fflush(stdout) == 0)
        return true;
    complain("the trace could not be printed: standard output takes no more");
    return false;
}

static void drop_ios(struct perf *p)
{
    free(p->records);
    free(p->figures);
    free(p->reciprocal);
    free(p->batch);
    free(p->idle);
    free(p->ios);
}

/* As little as can be, for it runs inside the timed call. */
static void reaped(struct chalk_block_request *request, int status)
{
    struct perf *p = request->context;
    struct io *io = (struct io *)((char *)request - offsetof(struct io, request));

    io->status = status;
    p->idle[p->idle_count++] = io;
}

static uint64_t share(const struct perf *p, uint64_t ticks, unsigned requests)
{
    return (uint64_t)(((unsigned __int128)ticks * p->reciprocal[requests]) >> 32);
}

static uint64_t choose_place(struct perf *p)
{
    if (p->random)
        return chalk_random_below(&p->stream, p->places);

    uint64_t place = p->next_place++;

    if (p->next_place == p->places)
        p->next_place = 0;
    return place;
}

/* Submits up to `most` requests behind one doorbell. Returns how many. */
static unsigned submit(struct perf *p, uint64_t most)
{
    unsigned count = p->idle_count < most ? p->idle_count : (unsigned)most;
    uint64_t start, end;
    int taken;

    if (count == 0)
        return 0;
    for (unsigned i = 0; i < count; i++) {
        struct io *io = p->idle[--p->idle_count];

        io->request = (struct chalk_block_request){
            .op = p->op,
            .count = p->count,
            .lba = choose_place(p) * p->count,
            .segments = &io->data,
            .segment_count = 1,
            .done = reaped,
            .context = p,
        };
        p->batch[i] = &io->request;
    }
    start = chalk_ticks();
    taken = chalk_block_submit(p->queue, p->batch, count);
    chalk_block_kick(p->queue);
    end = chalk_ticks();
    if (taken != (int)count) {
        complain("submitting %u requests failed after %d: %s", count, taken < 0 ? 0 : taken,
                 taken < 0 ? chalk_error_name(taken) : "the queue is full");
        p->failed = true;
        count = taken < 0 ? 0 : (unsigned)taken;
    }
    for (unsigned i = 0; i < count; i++)
        ((struct io *)((char *)p->batch[i] - offsetof(struct io, request)))->submitted_at = start;
    if (count > 0)
        histogram_add(&p->figures->submit, share(p, end - start, count), count);
    return count;
}

/* Returns how many requests were reaped. */
static unsigned reap(struct perf *p)
{
    unsigned before = p->idle_count;
    uint64_t start = chalk_ticks();
    int result = chalk_block_poll(p->queue, 0);
    uint64_t end = chalk_ticks();
    unsigned count = p->idle_count - before;

    if (result < 0) {
        complain("the controller has failed: %s", chalk_error_name(result));
        p->failed = true;
    }
    for (unsigned i = before; i < p->idle_count; i++) {
        const struct io *io = p->idle[i];

        if (io->status != 0 && !p->failed) {
            complain("%s of %" PRIu32 " blocks from block %" PRIu64 " failed: %s",
                     p->op == CHALK_BLOCK_WRITE ? "write" : "read", io->request.count, io->request.lba,
                     chalk_error_name(io->status));
            p->failed = true;
        }
        histogram_add(&p->figures->latency, end - io->submitted_at, 1);
    }
    if (count > 0)
        histogram_add(&p->figures->reap, share(p, end - start, count), count);
    return count;
}

static double seconds_of(uint64_t ticks)
{
    return (double)ticks / (double)chalk_clock_info()->hertz;
}

static void print_progress(const struct perf *p, const char *phase, uint64_t start, uint64_t finished,
                           uint64_t ticks, uint64_t now)
{
    double rate = (double)finished / seconds_of(ticks);

    complain("%s, %.0f s: %.0f IOPS, %.1f MiB/s", phase, seconds_of(now - start), rate,
             rate * (double)p->size / (1 << 20));
}

static void rest(struct perf *p, uint32_t seen)
{
    struct chalk_trace *trace = p->interrupts ? p->queue->trace : NULL; /* a pause is no sleep */

    chalk_trace(trace, CHALK_TRACE_SLEEP, 0, 0, 0);
    session_rest(p->interrupts, seen);
    chalk_trace(trace, CHALK_TRACE_WAKE, 0, 0, 0);
}

/* Keeps the queue full until `most` requests were submitted or `duration` ticks have passed, and empties it.
 */
static void run(struct perf *p, const char *phase, uint64_t most, uint64_t duration)
{
    struct figures *f = p->figures;
    const uint64_t start = chalk_ticks(), look = chalk_ns_to_ticks(10 * CHALK_MS),
                   tell = chalk_ns_to_ticks(CHALK_S);
    uint64_t look_at = start + look, told_at = start, told = 0, submitted = 0;
    uint32_t interrupts = p->queue->interrupts;

    memset(f, 0, sizeof(*f));
    f->doorbells = p->queue->counters.doorbells;
    for (bool more = true; more || f->finished < submitted;) {
        uint32_t seen = *p->session.events;
        uint64_t now;
        unsigned count;

        if (more)
            submitted += submit(p, most - submitted);
        count = reap(p);
        f->finished += count;
        if (count == 0)
            rest(p, seen);
        now = chalk_ticks();
        if (now - start >= duration || submitted == most || p->failed || p->interrupted)
            more = false;
        if (now < look_at)
            continue;
        look_at = now + look;
        if (chalk_exit_requested())
            p->interrupted = true;
        if (now - told_at >= tell) {
            print_progress(p, phase, start, f->finished - told, now - told_at, now);
            told_at = now;
            told = f->finished;
        }
    }
    f->ticks = chalk_ticks() - start;
    f->doorbells = p->queue->counters.doorbells - f->doorbells;
    f->interrupts = p->queue->interrupts - interrupts;
}

static double per_io(const struct figures *f, uint64_t what)
{
    return f->finished ? (double)what / (double)f->finished : 0;
}

static double iops(const struct figures *f)
{
    return f->ticks ? (double)f->finished / seconds_of(f->ticks) : 0;
}

static uint64_t latency_ns(const struct figures *f, unsigned per_million)
{
    return chalk_ticks_to_ns(histogram_at(&f->latency, per_million));
}

static void print_text(const struct perf *p, const char *unit)
{
    const struct figures *f = p->figures;

    printf("%s %s of %" PRIu64 " bytes, depth %u, %s, namespace %" PRIu32 "\n",
           p->random ? "random" : "sequential", p->op == CHALK_BLOCK_WRITE ? "write" : "read", p->size,
           p->queue->info.depth, p->interrupts ? "by interrupt" : "polled", p->session.ns.nsid);
    printf("  requests    %" PRIu64 " in %.3f s\n", f->finished, seconds_of(f->ticks));
    printf("  rate        %.0f IOPS, %.1f MiB/s\n", iops(f), iops(f) * (double)p->size / (1 << 20));
    printf("  latency     p50 %.1f us, p99 %.1f us, p99.9 %.1f us, min %.1f us, max %.1f us\n",
           (double)latency_ns(f, 500000) / 1000, (double)latency_ns(f, 990000) / 1000,
           (double)latency_ns(f, 999000) / 1000, (double)chalk_ticks_to_ns(f->latency.least) / 1000,
           (double)chalk_ticks_to_ns(f->latency.most) / 1000);
    printf("  doorbells   %.3f a request\n", per_io(f, f->doorbells));
    printf("  interrupts  %.3f a request\n", per_io(f, f->interrupts));
    printf("  submit      %" PRIu64 " %ss a request (median), %" PRIu64 " at least\n",
           histogram_at(&f->submit, 500000), unit, f->submit.least);
    printf("  reap        %" PRIu64 " %ss a request (median), %" PRIu64 " at least\n",
           histogram_at(&f->reap, 500000), unit, f->reap.least);
}

static void print_json(const struct perf *p, const char *unit)
{
    const struct figures *f = p->figures;

    printf("{\"pattern\": \"%s\", \"op\": \"%s\", \"size\": %" PRIu64 ", \"depth\": %u, \"interrupts\": %s, "
           "\"namespace\": %" PRIu32 ", ",
           p->random ? "random" : "sequential", p->op == CHALK_BLOCK_WRITE ? "write" : "read", p->size,
           p->queue->info.depth, p->interrupts ? "true" : "false", p->session.ns.nsid);
    printf("\"requests\": %" PRIu64 ", \"seconds\": %.6f, \"iops\": %.1f, \"mib_per_s\": %.3f, ", f->finished,
           seconds_of(f->ticks), iops(f), iops(f) * (double)p->size / (1 << 20));
    printf("\"latency_ns\": {\"p50\": %" PRIu64 ", \"p99\": %" PRIu64 ", \"p99_9\": %" PRIu64
           ", \"min\": %" PRIu64 ", \"max\": %" PRIu64 "}, ",
           latency_ns(f, 500000), latency_ns(f, 990000), latency_ns(f, 999000),
           chalk_ticks_to_ns(f->latency.least), chalk_ticks_to_ns(f->latency.most));
    printf("\"doorbells_per_io\": %.4f, \"interrupts_per_io\": %.4f, ", per_io(f, f->doorbells),
           per_io(f, f->interrupts));
    printf("\"submit_ticks\": {\"median\": %" PRIu64 ", \"min\": %" PRIu64 "}, "
           "\"reap_ticks\": {\"median\": %" PRIu64 ", \"min\": %" PRIu64 "}, \"tick\": \"%s\"}\n",
           histogram_at(&f->submit, 500000), f->submit.least, histogram_at(&f->reap, 500000), f->reap.least,
           unit);
}

/* Holds the request size against the namespace. */
static bool fit(struct perf *p, uint64_t depth)
{
    const struct chalk_block_info *info = &p->queue->info;
    uint64_t largest = (uint64_t)info->max_blocks * info->block_size;
    uint64_t whole =
        info->block_count > UINT64_MAX / info->block_size ? UINT64_MAX : info->block_count * info->block_size;

    if (depth > info->depth)
        complain("--depth %" PRIu64 ": the controller's queues hold at most %u requests", depth, info->depth);
    else if (p->size % info->block_size != 0)
        complain("--size %" PRIu64 ": not a multiple of the namespace's block size, %" PRIu32, p->size,
                 info->block_size);
    else if (p->size > largest)
        complain("--size %" PRIu64 ": the controller takes at most %" PRIu64 " bytes a request", p->size,
                 largest);
    else if (p->size > whole)
        complain("--size %" PRIu64 ": namespace %" PRIu32 " has only %" PRIu64 " bytes", p->size,
                 p->session.ns.nsid, whole);
    else
        return true;
    return false;
}

static int measure(struct perf *p, uint64_t most, uint64_t seconds, bool warm_up)
{
    uint64_t duration = seconds ? chalk_ns_to_ticks(seconds * CHALK_S) : UINT64_MAX;

    if (warm_up)
        run(p, "warming up", most == UINT64_MAX ? most : most / 10 + 1,
            duration == UINT64_MAX ? duration : duration / 10);
    if (!p->failed && !p->interrupted)
        run(p, "measuring", most, duration);
    if (p->interrupted)
        complain("interrupted");
    return p->failed ? EXIT_BAD : p->interrupted ? EXIT_INTERRUPTED : EXIT_GOOD;
}

int chalk_main(int argc, char *argv[])
{
    struct session_options wanted = {0};
    static struct perf p;
    const char *pattern = "random", *op = "read";
    uint64_t nsid = 0, depth = 32, seconds = 0, count = 0, seed = 1, size = 4096, trace = 0;
    bool warm_up = false, json = false, overwrite = false, instructions = false;
    const struct option options[] = {
        {"pattern", OPTION_WORD, &pattern, 0, 0, "random|sequential", NULL, "random if absent"},
        {"op", OPTION_WORD, &op, 0, 0, "read|write", NULL, "read if absent"},
        {"namespace", OPTION_NUMBER, &nsid, 1, UINT32_MAX - 1, NULL, "N",
         "its identifier; the first one if absent"},
        {"size", OPTION_NUMBER, &size, 1, 64u << 20, NULL, "BYTES", "a request; 4096 if absent"},
        {"depth", OPTION_NUMBER, &depth, 1, 65534, NULL, "N", "requests in flight; 32 if absent"},
        {"seconds", OPTION_NUMBER, &seconds, 1, 86400, NULL, "S", "how long to measure; 5 if absent"},
        {"count", OPTION_NUMBER, &count, 1, UINT64_MAX / 2, NULL, "N",
         "requests to measure, instead of seconds"},
        {"seed", OPTION_NUMBER, &seed, 0, UINT32_MAX, NULL, "N",
         "of the random places and contents; 1 if absent"},
        {"interrupts", OPTION_FLAG, &p.interrupts, 0, 0, NULL, NULL, "sleep until the controller interrupts"},
        {"warmup", OPTION_FLAG, &warm_up, 0, 0, NULL, NULL, "first run a tenth as long, unmeasured"},
        {"overwrite", OPTION_FLAG, &overwrite, 0, 0, NULL, NULL, "yes, destroy what the namespace holds"},
        {"ticks-are-instructions", OPTION_FLAG, &instructions, 0, 0, NULL, NULL,
         "say so: true under QEMU's -icount shift=0"},
        {"json", OPTION_FLAG, &json, 0, 0, NULL, NULL, "the figures on one line, for programs"},
        {"trace", OPTION_NUMBER, &trace, 1, 1u << 20, NULL, "N",
         "at the end print the last N events or more, for tools/trace"},
    };
    const struct command command = {
        .name = "nvme-perf",
        .summary = "Measures how fast one core drives one queue of an NVMe namespace.",
        .options = options,
        .option_count = sizeof(options) / sizeof(options[0]),
        .operand = "ADDRESS",
        .operand_help = "PCI address of the controller; the first one on the bus if absent",
    };
    int status;

    if (!options_parse(&command, argc, argv, &wanted.address, &status))
        return status;
    if (seconds != 0 && count != 0) {
        complain("--seconds and --count: give only one of them");
        return EXIT_USAGE;
    }
    wanted.nsid = (uint32_t)nsid;
    wanted.depth = (unsigned)depth;
    wanted.interrupts = p.interrupts;
    wanted.buffer_size = depth * size;
    if (!session_open(&p.session, &wanted))
        return EXIT_BAD;

    p.queue = p.session.queue;
    p.random = strcmp(pattern, "random") == 0;
    p.op = strcmp(op, "write") == 0 ? CHALK_BLOCK_WRITE : CHALK_BLOCK_READ;
    p.size = size;
    p.stream = seed;
    status = EXIT_USAGE;
    if (fit(&p, depth) && (p.op == CHALK_BLOCK_READ ||
                           session_may_write(&p.session, 0, p.queue->info.block_count, overwrite))) {
        const char *unit = instructions ? "instruction" : "tick";

        p.count = (uint32_t)(size / p.queue->info.block_size);
        p.places = p.queue->info.block_count / p.count;
        status = EXIT_BAD;
        if (make_ios(&p) && (trace == 0 || start_trace(&p, trace))) {
            status = measure(&p, count ? count : UINT64_MAX, count ? 0 : seconds ? seconds : 5, warm_up);
            if (status != EXIT_BAD)
                (json ? print_json : print_text)(&p, unit);
            if (trace != 0 && !print_trace(&p))
                status = EXIT_BAD;
        }
    }
    session_close(&p.session);
    drop_ios(&p); /* closing may still call requests back */
    return status;
}

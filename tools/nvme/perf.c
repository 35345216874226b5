/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nvme-perf: how fast cores drive queues of an NVMe namespace, one each, and what that costs them.
 */
#include <chalk/clock.h>
#include <chalk/core.h>
#include <chalk/error.h>
#include <chalk/main.h>
#include <chalk/trace.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "options.h"
#include "worker.h"

#define MAX_CORES 64u

static const char *const modes[] = {
    [CHALK_NVME_POLLED] = "polled",
    [CHALK_NVME_INTERRUPTS] = "interrupt",
    [CHALK_NVME_ADAPTIVE] = "adaptive",
};

struct perf {
    struct session session;
    struct plan plan;
    struct worker *workers;
    unsigned cores;
    struct figures *figures; /* of all workers */
    bool histogram;

    struct chalk_trace trace;
    void *records; /* of the trace; NULL: there is none */
};

/* ---- tracing --------------------------------------------------------------------------------------- */

/* Traces the queue, into a ring that holds at least `events`. */
static bool start_trace(struct perf *p, uint64_t events)
{
    uint32_t count = 2;

    while (count - 1 < events)
        count *= 2;
    p->records = session_get_memory(&p->session, count, CHALK_TRACE_RECORD);
    if (!p->records || chalk_trace_init(&p->trace, 0, p->records, count) != 0) {
        complain("no memory for a trace of %" PRIu64 " events; give a smaller --trace", events);
        return false;
    }
    p->workers[0].queue->trace = &p->trace;
    return true;
}

static int print_line(void *context, const char *line, size_t size)
{
    (void)context;
    return fwrite(line, 1, size, stdout) == size ? 0 : -EIO;
}

static bool print_trace(struct perf *p)
{
    p->workers[0].queue->trace = NULL;
    if (chalk_trace_write(&p->trace, print_line, NULL) == 0 && fflush(stdout) == 0)
        return true;
    complain("the trace was not printed: standard output could not be written");
    return false;
}

/* ---- running --------------------------------------------------------------------------------------- */

static void on_core(unsigned core, void *argument)
{
    (void)core;
    worker_run(argument, NULL, 0);
}

static void check_on_core(unsigned core, void *argument)
{
    (void)core;
    worker_check(argument);
}

/* Runs all workers, each on its core, to their ends. Returns whether none has failed. */
static bool run_all(struct perf *p, void (*entry)(unsigned core, void *argument))
{
    bool good = true;

    for (unsigned i = 1; i < p->cores; i++) {
        int error = chalk_core_start(i, entry, &p->workers[i]);

        if (error != 0) {
            complain("cannot start core %u: %s", i, chalk_error_name(error));
            p->workers[i].failed = p->plan.stop = true;
        }
    }
    if (entry == on_core)
        worker_run(&p->workers[0], p->workers, p->cores);
    else
        entry(0, &p->workers[0]);
    for (unsigned i = 1; i < p->cores; i++)
        (void)chalk_core_join(0, i, CHALK_FOREVER);
    for (unsigned i = 0; i < p->cores; i++)
        good &= !p->workers[i].failed;
    return good;
}

/* `most` requests in all, or `duration` ticks; and adds up what all workers measured. */
static bool run(struct perf *p, const char *phase, uint64_t most, uint64_t duration)
{
    struct figures *sum = p->figures;
    bool good;

    for (unsigned i = 0; i < p->cores; i++) {
        p->workers[i].phase = phase;
        p->workers[i].most = most == UINT64_MAX ? most : most / p->cores + (i < most % p->cores);
        p->workers[i].duration = duration;
    }
    good = run_all(p, on_core);
    memset(sum, 0, sizeof(*sum));
    for (unsigned i = 0; i < p->cores; i++) {
        const struct figures *f = p->workers[i].figures;

        histogram_merge(&sum->latency, &f->latency);
        histogram_merge(&sum->submit, &f->submit);
        histogram_merge(&sum->reap, &f->reap);
        sum->finished += f->finished;
        sum->doorbells += f->doorbells;
        sum->interrupts += f->interrupts;
        sum->ticks = f->ticks > sum->ticks ? f->ticks : sum->ticks;
    }
    return good;
}

static uint64_t verified(const struct perf *p)
{
    uint64_t count = 0;

    for (unsigned i = 0; i < p->cores; i++)
        count += p->workers[i].verified;
    return count;
}

static int measure(struct perf *p, uint64_t most, uint64_t nanoseconds, bool warm_up)
{
    uint64_t duration = nanoseconds ? chalk_ns_to_ticks(nanoseconds) : UINT64_MAX;
    bool good = true;

    if (warm_up)
        good = run(p, "warming up", most == UINT64_MAX ? most : most / 10 + 1,
                   duration == UINT64_MAX ? duration : duration / 10);
    if (good && !p->plan.interrupted)
        good = run(p, "measuring", most, duration);
    if (good && !p->plan.interrupted && p->plan.verify)
        good = run_all(p, check_on_core);
    if (p->plan.interrupted)
        complain("interrupted");
    return !good ? EXIT_BAD : p->plan.interrupted ? EXIT_INTERRUPTED : EXIT_GOOD;
}

/* ---- printing -------------------------------------------------------------------------------------- */

static double seconds_of(uint64_t ticks)
{
    return (double)ticks / (double)chalk_clock_info()->hertz;
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

static const char *op_of(const struct perf *p)
{
    return p->plan.reads == 100 ? "read" : p->plan.reads == 0 ? "write" : "mixed";
}

/* How many requests took how long: from each power of two of microseconds to the next. */
static unsigned count_latencies(const struct figures *f, uint64_t counts[65])
{
    unsigned used = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t us, count = f->latency.buckets[i];
        unsigned place;

        if (count == 0)
            continue;
        us = chalk_ticks_to_ns(histogram_edge(i)) / 1000;
        place = us == 0 ? 0 : 64 - (unsigned)__builtin_clzll(us);
        counts[place] += count;
        used = place + 1 > used ? place + 1 : used;
    }
    return used;
}

static uint64_t least_us(unsigned place)
{
    return place == 0 ? 0 : (uint64_t)1 << (place - 1);
}

static void print_histogram(const struct figures *f)
{
    uint64_t counts[65] = {0};
    unsigned used = count_latencies(f, counts);

    for (unsigned i = 0; i < used; i++) {
        unsigned bar = f->finished ? (unsigned)(counts[i] * 50 / f->finished) : 0;

        if (counts[i] != 0)
            printf("  from %8" PRIu64 " us %12" PRIu64 "  %.*s\n", least_us(i), counts[i], (int)bar,
                   "##################################################");
    }
}

static void print_text(const struct perf *p, const char *unit)
{
    const struct figures *f = p->figures;

    printf("%s %s of %" PRIu64 " bytes, depth %u, %s, namespace %" PRIu32,
           p->plan.random ? "random" : "sequential", op_of(p), p->plan.size, p->plan.depth,
           modes[p->plan.interrupts], p->session.ns.nsid);
    if (p->plan.reads != 0 && p->plan.reads != 100)
        printf(", %u%% reads", p->plan.reads);
    if (p->cores != 1)
        printf(", %u cores", p->cores);
    if (chalk_nvme_get_info(p->session.nvme)->controller_memory.used != 0)
        printf(", commands in the controller's memory");
    if (chalk_nvme_get_info(p->session.nvme)->shadow_doorbells)
        printf(", doorbells in memory");
    printf("\n");
    printf("  requests    %" PRIu64 " in %.3f s\n", f->finished, seconds_of(f->ticks));
    printf("  rate        %.0f IOPS, %.1f MiB/s\n", iops(f), iops(f) * (double)p->plan.size / (1 << 20));
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
    if (p->plan.verify)
        printf("  verified    %" PRIu64 " request%s: all as they were written\n", verified(p),
               PLURAL(verified(p)));
    if (p->histogram)
        print_histogram(f);
}

static void print_json_histogram(const struct figures *f)
{
    uint64_t counts[65] = {0};
    unsigned used = count_latencies(f, counts);
    char from[24];

    json_open_object("latency_us_from");
    for (unsigned i = 0; i < used; i++) {
        snprintf(from, sizeof(from), "%" PRIu64, least_us(i));
        if (counts[i] != 0)
            json_put_number(from, counts[i]);
    }
    json_close();
}

static void print_json_latency(const struct figures *f)
{
    json_open_object("latency_ns");
    json_put_number("p50", latency_ns(f, 500000));
    json_put_number("p99", latency_ns(f, 990000));
    json_put_number("p99_9", latency_ns(f, 999000));
    json_put_number("min", chalk_ticks_to_ns(f->latency.least));
    json_put_number("max", chalk_ticks_to_ns(f->latency.most));
    json_close();
}

static void print_json_ticks(const char *name, const struct histogram *histogram)
{
    json_open_object(name);
    json_put_number("median", histogram_at(histogram, 500000));
    json_put_number("min", histogram->least);
    json_close();
}

static void print_json(const struct perf *p, const char *unit)
{
    const struct figures *f = p->figures;

    json_open_object(NULL);
    json_put_text("pattern", p->plan.random ? "random" : "sequential");
    json_put_text("op", op_of(p));
    json_put_number("size", p->plan.size);
    json_put_number("depth", p->plan.depth);
    json_put_text("mode", modes[p->plan.interrupts]);
    json_put_number("namespace", p->session.ns.nsid);
    json_put_number("cores", p->cores);
    json_put_number("reads_percent", p->plan.reads);
    if (p->plan.verify)
        json_put_number("verified", verified(p));
    if (p->histogram)
        print_json_histogram(f);
    json_put_number("requests", f->finished);
    json_put_real("seconds", seconds_of(f->ticks), 6);
    json_put_real("iops", iops(f), 1);
    json_put_real("mib_per_s", iops(f) * (double)p->plan.size / (1 << 20), 3);
    print_json_latency(f);
    json_put_real("doorbells_per_io", per_io(f, f->doorbells), 4);
    json_put_real("interrupts_per_io", per_io(f, f->interrupts), 4);
    print_json_ticks("submit_ticks", &f->submit);
    print_json_ticks("reap_ticks", &f->reap);
    json_put_text("tick", unit);
    json_put_boolean("interrupted", p->plan.interrupted);
    json_close();
}

/* ---- options --------------------------------------------------------------------------------------- */

/* Opens a worker on each core. Otherwise it has been said why not, and this is what to exit with. */
static int open_workers(struct perf *p)
{
    unsigned queues = chalk_nvme_get_info(p->session.nvme)->queues;
    int status = EXIT_GOOD;

    if (!session_has_plain_blocks(&p->session))
        return EXIT_BAD;
    if (p->cores > queues) {
        complain("--cores %u: %s grants only %u of the queues, and each core needs one", p->cores,
                 p->session.bus.name, queues);
        return EXIT_USAGE;
    }
    p->workers = calloc(p->cores, sizeof(*p->workers));
    p->figures = calloc(1, sizeof(*p->figures));
    if (!p->workers || !p->figures) {
        complain("no memory for %u core%s; give fewer --cores", p->cores, PLURAL(p->cores));
        return EXIT_BAD;
    }
    for (unsigned i = 0; i < p->cores && status == EXIT_GOOD; i++)
        status = worker_open(&p->workers[i], &p->session, &p->plan, i, p->cores);
    return status;
}

static void close_workers(struct perf *p)
{
    for (unsigned i = 0; p->workers && i < p->cores; i++)
        worker_close(&p->workers[i]);
    free(p->workers);
    free(p->figures);
}

int chalk_main(int argc, char *argv[])
{
    struct session_options wanted = {0};
    static struct perf p;
    const char *pattern = "random", *op = "read", *mode = modes[CHALK_NVME_POLLED];
    uint64_t nsid = 0, depth = 32, nanoseconds = 0, count = 0, seed = 1, size = 4096, trace = 0, cores = 1,
             coalesce = 0, coalesce_us = 100, reads = 70;
    bool warm_up = false, json = false, overwrite = false, instructions = false;
    const struct option options[] = {
        {"pattern", OPTION_WORD, &pattern, 0, 0, "random|sequential", NULL,
         "the order of places; random if absent"},
        {"op", OPTION_WORD, &op, 0, 0, "read|write|mixed", NULL, "what to do there; read if absent"},
        {"reads", OPTION_NUMBER, &reads, 1, 99, NULL, "PERCENT",
         "of a hundred requests of --op mixed; 70 if absent"},
        {"namespace", OPTION_NUMBER, &nsid, 1, UINT32_MAX - 1, NULL, "N",
         "identifier of the namespace; the first one if absent"},
        {"size", OPTION_NUMBER, &size, 1, 64u << 20, NULL, "BYTES", "size of each request; 4096 if absent"},
        {"depth", OPTION_NUMBER, &depth, 1, 65534, NULL, "N",
         "requests in flight on each core; 32 if absent"},
        {"cores", OPTION_NUMBER, &cores, 1, MAX_CORES, NULL, "N",
         "cores, each with a queue and a part of the namespace; 1 if absent"},
        {"seconds", OPTION_SECONDS, &nanoseconds, CHALK_MS, 86400 * CHALK_S, NULL, "S",
         "how long to measure, such as 0.5; 5 if absent"},
        {"count", OPTION_NUMBER, &count, 1, UINT64_MAX / 2, NULL, "N",
         "requests to measure, instead of seconds"},
        {"seed", OPTION_NUMBER, &seed, 0, UINT32_MAX, NULL, "N",
         "start of the random places and contents; 1 if absent"},
        {"mode", OPTION_WORD, &mode, 0, 0, "polled|interrupt|adaptive", NULL,
         "how completions are waited for; polled if absent"},
        {"coalesce", OPTION_NUMBER, &coalesce, 2, 256, NULL, "N",
         "delay interrupts until there are N completions"},
        {"coalesce-us", OPTION_NUMBER, &coalesce_us, 100, 25500, NULL, "US",
         "the longest such delay, in microseconds; 100 if absent"},
        {"cmb", OPTION_FLAG, &wanted.controller_memory, 0, 0, NULL, NULL,
         "keep commands in the controller's memory"},
        {"shadow-doorbells", OPTION_FLAG, &wanted.shadow_doorbells, 0, 0, NULL, NULL,
         "ring doorbells in memory, if the controller supports that"},
        {"warmup", OPTION_FLAG, &warm_up, 0, 0, NULL, NULL,
         "run for a tenth as long first, and do not measure that"},
        {"verify", OPTION_FLAG, &p.plan.verify, 0, 0, NULL, NULL,
         "compare what is read with what was written; at the end, all of it"},
        {"overwrite", OPTION_FLAG, &overwrite, 0, 0, NULL, NULL, "yes, destroy what the namespace holds"},
        {"ticks-are-instructions", OPTION_FLAG, &instructions, 0, 0, NULL, NULL,
         "name ticks instructions: right under QEMU's -icount shift=0"},
        {"histogram", OPTION_FLAG, &p.histogram, 0, 0, NULL, NULL, "also count requests by their latency"},
        {"json", OPTION_FLAG, &json, 0, 0, NULL, NULL, "the figures as one line of JSON"},
        {"trace", OPTION_NUMBER, &trace, 1, 1u << 20, NULL, "N",
         "record a trace, and print its last N or more events for tools/trace"},
    };
    const struct command command = {
        .name = "nvme-perf",
        .summary = "Measures how fast cores drive queues of an NVMe namespace, one each.",
        .options = options,
        .option_count = sizeof(options) / sizeof(options[0]),
        .operand = "ADDRESS",
        .operand_help = SESSION_ADDRESS_HELP,
    };
    int status;

    if (!options_parse(&command, argc, argv, &wanted.address, &status))
        return status;
    if (nanoseconds != 0 && count != 0) {
        complain("--seconds and --count: give only one of them");
        return EXIT_USAGE;
    }
    if (p.plan.verify && strcmp(op, "read") == 0) {
        complain("--verify needs --op write or --op mixed: only what this run wrote can be compared");
        return EXIT_USAGE;
    }
    if (coalesce != 0 && strcmp(mode, modes[CHALK_NVME_POLLED]) == 0) {
        complain("--coalesce: interrupts occur only with --mode interrupt or adaptive");
        return EXIT_USAGE;
    }
    if (trace != 0 && cores != 1) {
        complain("--trace needs --cores 1: it records one core");
        return EXIT_USAGE;
    }
    if (cores > chalk_core_count()) {
        complain("--cores %" PRIu64 ": this machine has %u for this program", cores, chalk_core_count());
        return EXIT_USAGE;
    }
    p.cores = (unsigned)cores;
    p.plan.depth = (unsigned)depth;
    while (strcmp(modes[p.plan.interrupts], mode) != 0)
        p.plan.interrupts++;
    p.plan.random = strcmp(pattern, "random") == 0;
    p.plan.reads = strcmp(op, "read") == 0 ? 100 : strcmp(op, "write") == 0 ? 0 : (unsigned)reads;
    p.plan.size = size;
    p.plan.seed = seed;
    wanted.nsid = (uint32_t)nsid;
    wanted.depth = p.plan.depth;
    wanted.queues = p.cores;
    wanted.interrupts = p.plan.interrupts;
    wanted.coalesce = (unsigned)coalesce;
    wanted.coalesce_us = (unsigned)coalesce_us;
    if (!session_open(&p.session, &wanted))
        return session_failed();

    status = open_workers(&p);
    if (status == EXIT_GOOD && p.plan.reads != 100 &&
        !session_may_write(&p.session, 0, p.session.ns.size, overwrite))
        status = EXIT_USAGE;
    if (status == EXIT_GOOD && trace != 0 && !start_trace(&p, trace))
        status = EXIT_BAD;
    if (status == EXIT_GOOD) {
        status = measure(&p, count ? count : UINT64_MAX,
                         count         ? 0
                         : nanoseconds ? nanoseconds
                                       : 5 * CHALK_S,
                         warm_up);
        if (status != EXIT_BAD)
            (json ? print_json : print_text)(&p, instructions ? "instruction" : "tick");
        if (trace != 0 && !print_trace(&p))
            status = EXIT_BAD;
    }
    close_workers(&p);
    session_close(&p.session);
    return status;
}

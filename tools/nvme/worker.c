/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The loop of one core. Submitting and reaping are timed apart, since only they are the driver's: the rest of
 * a request's life is the device's. The loop does no division, no allocation and no system call; it looks at
 * the world outside every 10 ms.
 *
 * To verify, the state of each place is kept in a byte: how often it was written, from 1 on and round again
 * (0: never), and whether a request for it is under way, so that no two overlap. A block's content follows
 * from its number and that count.
 */
#include "worker.h"

#include <chalk/clock.h>
#include <chalk/error.h>
#include <chalk/random.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "pattern.h"

#define BUSY        0x80u
#define GENERATIONS 127u

/* ---- life ------------------------------------------------------------------------------------------ */

static bool open_queue(struct worker *w, struct session *session)
{
    const struct chalk_nvme_queue_options options = {
        .nsid = session->ns.nsid,
        .depth = w->plan->depth,
        .core = w->core,
        .interrupts = w->plan->interrupts,
    };
    struct chalk_core_info core;
    int error = chalk_core_get_info(w->core, &core);

    if (error == 0)
        error = chalk_nvme_queue_open(session->nvme, &options, &w->queue);
    if (error != 0) {
        complain("cannot open a queue for core %u on namespace %" PRIu32 " of %s: %s", w->core,
                 session->ns.nsid, session->bus.name, chalk_error_name(error));
        return false;
    }
    w->events = core.events;
    return true;
}

static bool make_ios(struct worker *w, struct session *session)
{
    const struct plan *plan = w->plan;
    unsigned depth = w->queue->info.depth;

    w->ios = session_get_memory(session, depth, sizeof(*w->ios));
    w->idle = session_get_memory(session, depth, sizeof(*w->idle));
    w->batch = session_get_memory(session, depth, sizeof(*w->batch));
    w->reciprocal = session_get_memory(session, depth + 1, sizeof(*w->reciprocal));
    w->figures = calloc(1, sizeof(*w->figures));
    if (!w->ios || !w->idle || !w->batch || !w->reciprocal || !w->figures ||
        session_get_buffers(session, depth * plan->size, CHALK_PAGE, &w->buffers) != 0) {
        complain("no memory for %u request%s of %" PRIu64 " bytes; give a smaller --depth or --size", depth,
                 PLURAL(depth), plan->size);
        return false;
    }
    for (uint64_t i = 0; plan->reads < 100 && i < w->buffers.size / 8; i++)
        ((uint64_t *)w->buffers.va)[i] = chalk_random_next(&w->stream);
    for (unsigned i = 0; i < depth; i++) {
        w->ios[i].data = (struct chalk_dma){(char *)w->buffers.va + i * plan->size,
                                            w->buffers.iova + i * plan->size, plan->size};
        w->idle[w->idle_count++] = &w->ios[i];
        w->reciprocal[i + 1] = (1ull << 32) / (i + 1);
    }
    return true;
}

static bool remember_places(struct worker *w)
{
    w->scratch = malloc(w->queue->info.block_size);
    w->written = session_get_memory(w->session, w->places, 1);
    if (w->scratch && w->written)
        return true;
    complain("--verify: no memory for a byte for each of %" PRIu64 " places", w->places);
    return false;
}

/* Holds the requests against the queue and the namespace. */
static bool fit(const struct worker *w, const struct session *session, unsigned count)
{
    const struct chalk_block_info *info = &w->queue->info;
    const struct plan *plan = w->plan;
    uint64_t largest = (uint64_t)info->max_blocks * info->block_size;
    uint64_t blocks = plan->size / info->block_size; /* of one request */
    uint64_t places = blocks != 0 ? info->block_count / blocks / count : 0;

    if (plan->depth > info->depth)
        complain("--depth %u: the controller's queues hold at most %u request%s", plan->depth, info->depth,
                 PLURAL(info->depth));
    else if (plan->size % info->block_size != 0)
        complain("--size %" PRIu64 ": not a multiple of the namespace's block size, %" PRIu32, plan->size,
                 info->block_size);
    else if (plan->size > largest)
        complain("--size %" PRIu64 ": the controller takes at most %" PRIu64 " bytes a request", plan->size,
                 largest);
    else if (places == 0)
        complain("--size %" PRIu64 ": namespace %" PRIu32 " has only %" PRIu64 " bytes for each of %u core%s",
                 plan->size, session->ns.nsid, info->block_count / count * info->block_size, count,
                 PLURAL(count));
    else if (plan->verify && places < 2ull * info->depth)
        complain("--verify: namespace %" PRIu32
                 " is too small for %u request%s of this size on each of %u core%s",
                 session->ns.nsid, info->depth, PLURAL(info->depth), count, PLURAL(count));
    else
        return true;
    return false;
}

int worker_open(struct worker *w, struct session *session, struct plan *plan, unsigned index, unsigned count)
{
    *w = (struct worker){.plan = plan, .session = session, .core = index, .stream = plan->seed + index};
    if (!open_queue(w, session))
        return EXIT_BAD;
    if (!fit(w, session, count))
        return EXIT_USAGE;
    w->count = (uint32_t)(plan->size / w->queue->info.block_size);
    w->places = w->queue->info.block_count / w->count / count;
    w->first = index * w->places;
    return make_ios(w, session) && (!plan->verify || remember_places(w)) ? EXIT_GOOD : EXIT_BAD;
}

void worker_close(struct worker *w)
{
    if (w->queue)
        chalk_nvme_queue_close(w->queue); /* which may still call requests back */
    if (w->buffers.va)
        session_put_buffers(w->session, &w->buffers);
    session_put_memory(w->session, w->written);
    free(w->scratch);
    free(w->figures);
    session_put_memory(w->session, w->reciprocal);
    session_put_memory(w->session, w->batch);
    session_put_memory(w->session, w->idle);
    session_put_memory(w->session, w->ios);
}

static void fail(struct worker *w)
{
    w->failed = true;
    w->plan->stop = true;
}

/* ---- what is written and read ---------------------------------------------------------------------- */

static uint64_t pattern_of(const struct worker *w, uint64_t place)
{
    return w->plan->seed * (GENERATIONS + 1) + (w->written[place] & ~BUSY);
}

static void fill(struct worker *w, const struct io *io)
{
    const uint32_t size = w->queue->info.block_size;

    w->written[io->place] = (uint8_t)((w->written[io->place] % GENERATIONS) + 1);
    for (uint32_t i = 0; i < w->count; i++)
        pattern_fill((uint64_t *)((char *)io->data.va + (size_t)i * size), size / 8, io->request.lba + i,
                     pattern_of(w, io->place));
}

static void compare(struct worker *w, const struct io *io)
{
    const uint32_t size = w->queue->info.block_size;

    for (uint32_t i = 0; i < w->count; i++) {
        pattern_fill(w->scratch, size / 8, io->request.lba + i, pattern_of(w, io->place));
        if (memcmp(w->scratch, (char *)io->data.va + (size_t)i * size, size) == 0)
            continue;
        if (!w->failed)
            complain("block %" PRIu64 " is not what was written to it", io->request.lba + i);
        fail(w);
        return;
    }
    w->verified++;
}

static uint64_t choose_place(struct worker *w)
{
    uint64_t place;

    do {
        if (w->plan->random) {
            place = chalk_random_below(&w->stream, w->places);
        } else {
            place = w->next_place++;
            if (w->next_place == w->places)
                w->next_place = 0;
        }
    } while (w->written && (w->written[place] & BUSY) != 0); /* at most half of them are */
    return place;
}

static bool choose_read(struct worker *w)
{
    if (w->plan->reads == 100 || w->plan->reads == 0)
        return w->plan->reads == 100;
    return chalk_random_below(&w->stream, 100) < w->plan->reads;
}

/* As little as can be, for it runs inside the timed call. */
static void reaped(struct chalk_block_request *request, int status)
{
    struct worker *w = request->context;
    struct io *io = (struct io *)((char *)request - offsetof(struct io, request));

    io->status = status;
    w->idle[w->idle_count++] = io;
}

static void prepare(struct worker *w, struct io *io, bool read, uint64_t place)
{
    io->place = place;
    io->request = (struct chalk_block_request){
        .op = read ? CHALK_BLOCK_READ : CHALK_BLOCK_WRITE,
        .count = w->count,
        .lba = (w->first + place) * w->count,
        .segments = &io->data,
        .segment_count = 1,
        .done = reaped,
        .context = w,
    };
    if (!w->written)
        return;
    if (!read)
        fill(w, io);
    w->written[place] |= BUSY;
}

static void retire(struct worker *w, const struct io *io)
{
    if (io->status != 0 && !w->failed) {
        complain("%s of %" PRIu32 " blocks from block %" PRIu64 " failed: %s",
                 io->request.op == CHALK_BLOCK_WRITE ? "write" : "read", io->request.count, io->request.lba,
                 chalk_error_name(io->status));
        fail(w);
    }
    if (!w->written)
        return;
    w->written[io->place] &= (uint8_t)~BUSY;
    if (io->status == 0 && io->request.op == CHALK_BLOCK_READ && w->written[io->place] != 0)
        compare(w, io);
}

/* ---- the loop -------------------------------------------------------------------------------------- */

static uint64_t share(const struct worker *w, uint64_t ticks, unsigned requests)
{
    return (uint64_t)(((unsigned __int128)ticks * w->reciprocal[requests]) >> 32);
}

/* Submits the first `count` of the batch behind one doorbell, timed. Returns how many were taken. The queue
 * can be full before: a large request takes a place in it for each of its commands. Those that it has no room
 * for come first the next time. */
static unsigned send(struct worker *w, unsigned count)
{
    uint64_t start = chalk_ticks(), end;
    int result = chalk_block_submit(w->queue, w->batch, count);
    unsigned taken = result > 0 ? (unsigned)result : 0;

    chalk_block_kick(w->queue);
    end = chalk_ticks();
    for (unsigned i = 0; i < taken; i++)
        ((struct io *)((char *)w->batch[i] - offsetof(struct io, request)))->submitted_at = start;
    if (taken > 0)
        histogram_add(&w->figures->submit, share(w, end - start, taken), taken);
    w->waiting = count - taken;
    if (w->waiting == 0)
        return taken;
    if (result < 0 && result != -EAGAIN) {
        if (!w->failed)
            complain("submitting %u requests failed: %s", count, chalk_error_name(result));
        fail(w);
        w->waiting = 0; /* no callback will come */
    }
    memmove(w->batch, w->batch + taken, w->waiting * sizeof *w->batch);
    return taken;
}

/* Those that wait, and up to `most` new ones. */
static unsigned submit(struct worker *w, uint64_t most)
{
    unsigned count = w->waiting;

    for (; w->idle_count > 0 && most > 0; most--) {
        struct io *io = w->idle[--w->idle_count];

        prepare(w, io, choose_read(w), choose_place(w));
        w->batch[count++] = &io->request;
    }
    return count > 0 ? send(w, count) : 0;
}

/* Returns how many requests were reaped. */
static unsigned reap(struct worker *w)
{
    unsigned before = w->idle_count;
    uint64_t start = chalk_ticks();
    int result = chalk_block_poll(w->queue, 0);
    uint64_t end = chalk_ticks();
    unsigned count = w->idle_count - before;

    if (result < 0) {
        if (!w->failed)
            complain("the controller has failed: %s", chalk_error_name(result));
        fail(w);
    }
    for (unsigned i = before; i < w->idle_count; i++) {
        histogram_add(&w->figures->latency, end - w->idle[i]->submitted_at, 1);
        retire(w, w->idle[i]);
    }
    if (count > 0)
        histogram_add(&w->figures->reap, share(w, end - start, count), count);
    return count;
}

static void rest(struct worker *w, uint32_t seen)
{
    struct chalk_trace *trace = w->queue->may_wait ? w->queue->trace : NULL; /* a pause is no sleep */

    chalk_trace_emit(trace, CHALK_TRACE_SLEEP, 0, 0, 0);
    if (w->queue->may_wait)
        chalk_core_wait(w->core, seen, chalk_deadline(100 * CHALK_MS));
    else
        chalk_pause();
    chalk_trace_emit(trace, CHALK_TRACE_WAKE, 0, 0, 0);
}

static double seconds_of(uint64_t ticks)
{
    return (double)ticks / (double)chalk_clock_info()->hertz;
}

/* What all of them have finished since this was told last; a line a second. */
static void tell(const struct worker *w, const struct worker *all, unsigned count, uint64_t start,
                 uint64_t *told_at, uint64_t *told)
{
    uint64_t now = chalk_ticks(), finished = 0;
    double rate;

    if (now - *told_at < chalk_ns_to_ticks(CHALK_S))
        return;
    for (unsigned i = 0; i < count; i++)
        finished += all[i].told;
    rate = (double)(finished - *told) / seconds_of(now - *told_at);
    complain("%s, %.0f s: %.0f IOPS, %.1f MiB/s", w->phase, seconds_of(now - start), rate,
             rate * (double)w->plan->size / (1 << 20));
    *told_at = now;
    *told = finished;
}

/* Interrupts up to now, those that nobody has waited for included. */
static uint32_t taken(const struct worker *w)
{
    chalk_core_wait(w->core, 0, 0);
    return w->queue->interrupts ? *w->queue->interrupts : 0;
}

void worker_run(struct worker *w, const struct worker *all, unsigned count)
{
    struct figures *f = w->figures;
    const uint64_t start = chalk_ticks(), look = chalk_ns_to_ticks(10 * CHALK_MS);
    uint64_t look_at = start + look, told_at = start, told = 0, submitted = 0;
    uint32_t interrupts = taken(w);

    memset(f, 0, sizeof(*f));
    w->told = 0;
    f->doorbells = w->queue->counters.doorbells;
    for (bool more = true; more || w->waiting > 0 || f->finished < submitted;) {
        uint32_t seen = *w->events;
        uint64_t now;
        unsigned reaped_now;

        submitted += submit(w, more ? w->most - submitted - w->waiting : 0);
        reaped_now = reap(w);
        f->finished += reaped_now;
        if (reaped_now == 0)
            rest(w, seen);
        now = chalk_ticks();
        if (now - start >= w->duration || submitted == w->most || w->failed)
            more = false;
        if (now < look_at)
            continue;
        look_at = now + look;
        w->told = f->finished;
        if (all && chalk_exit_requested())
            w->plan->interrupted = w->plan->stop = true;
        if (w->plan->stop)
            more = false;
        if (all)
            tell(w, all, count, start, &told_at, &told);
    }
    f->ticks = chalk_ticks() - start;
    f->doorbells = w->queue->counters.doorbells - f->doorbells;
    f->interrupts = taken(w) - interrupts;
}

void worker_check(struct worker *w)
{
    unsigned depth = w->queue->info.depth;

    for (uint64_t place = 0; (place < w->places || w->idle_count < depth) && !w->failed;) {
        uint32_t seen = *w->events;
        unsigned count = w->waiting;

        for (; place < w->places && w->idle_count > 0 && !w->plan->stop; place++) {
            struct io *io;

            if (w->written[place] == 0)
                continue;
            io = w->idle[--w->idle_count];
            prepare(w, io, true, place);
            w->batch[count++] = &io->request;
        }
        if (count > 0)
            (void)send(w, count);
        if (reap(w) == 0)
            rest(w, seen);
        if (w->plan->stop && w->idle_count == depth)
            return;
    }
}

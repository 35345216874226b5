/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One core of nvme-perf: a queue of its own, requests for it, and a part of the namespace that no other core
 * touches. Opened and closed on core 0; run on its own.
 */
#ifndef TOOLS_NVME_WORKER_H
#define TOOLS_NVME_WORKER_H

#include <chalk/block.h>
#include <chalk/trace.h>

#include "histogram.h"
#include "session.h"

/* What all workers do. Constant while they run, but for `stop`. */
struct plan {
    bool random, verify;
    enum chalk_nvme_interrupts interrupts;
    unsigned depth;
    unsigned reads; /* of a hundred requests */
    uint64_t size;  /* bytes a request */
    uint64_t seed;
    _Atomic(bool) stop; /* one has failed, or somebody asked for the end */
    _Atomic(bool) interrupted;
};

/* What one run measured. */
struct figures {
    struct histogram latency;       /* ticks from submission until its completion was reaped */
    struct histogram submit, reap;  /* ticks a request, of the calls that moved at least one */
    uint64_t finished, ticks;       /* requests, and how long they took */
    uint64_t doorbells, interrupts; /* over all of the run */
};

struct io {
    struct chalk_block_request request;
    struct chalk_dma data;
    uint64_t place;        /* which of the worker's */
    uint64_t submitted_at; /* ticks */
    int status;
};

struct worker {
    struct plan *plan;
    unsigned core;
    const _Atomic(uint32_t) *events; /* of that core */
    struct chalk_block_queue *queue;
    uint32_t count;         /* blocks a request */
    uint64_t first, places; /* its part of the namespace, in requests side by side */
    uint64_t stream, next_place;

    struct session *session; /* that the memory is of */
    struct chalk_dma buffers;
    struct io *ios;
    struct io **idle; /* a stack: those that were just reaped are on top */
    unsigned idle_count;
    struct chalk_block_request **batch;
    unsigned waiting;     /* of the batch: prepared, and not taken yet */
    uint64_t *reciprocal; /* 2^32 / n */

    uint8_t *written;  /* with verify, a place's state: see worker.c */
    uint64_t *scratch; /* a block */
    uint64_t verified; /* requests whose data was compared */

    struct figures *figures;
    _Atomic(uint64_t) told; /* requests finished, now and then */
    bool failed;

    const char *phase;       /* of the run that is asked for */
    uint64_t most, duration; /* requests and ticks, at most */
};

/*
 * Opens a queue on core `index`, with a part of the session's namespace: the same for each of `count`
 * workers. Returns EXIT_GOOD; otherwise it has said why not, and what was opened is worker_close()'s.
 */
int worker_open(struct worker *worker, struct session *session, struct plan *plan, unsigned index,
                unsigned count);
void worker_close(struct worker *worker);

/*
 * Keeps the queue full until `most` requests were submitted or `duration` ticks have passed, and empties it.
 * `all`, of `count`: whose progress is told, when this is the first of them; NULL: it is not.
 */
void worker_run(struct worker *worker, const struct worker *all, unsigned count);

/* Reads every place that was written, and compares. */
void worker_check(struct worker *worker);

#endif

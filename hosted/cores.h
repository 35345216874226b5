/* SPDX-License-Identifier: BSD-2-Clause */
/* Cores: a processor number, the thread that runs there, and the event word that it waits on. */
#ifndef HOSTED_CORES_H
#define HOSTED_CORES_H

#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct source;

enum core_state {
    CORE_FREE,
    CORE_STARTED, /* by chalk_core_start() */
    CORE_ENDED,   /* its entry has returned; the thread is to be joined */
    CORE_ADOPTED, /* the caller's own thread */
};

struct core {
    /* Written by whoever wakes the core, and by the core. */
    _Alignas(64) _Atomic(uint32_t) events;
    _Atomic(uint32_t) parked;  /* it sleeps or is about to: a wake must write to wake_fd */
    _Atomic(uint32_t) changed; /* sources came or went */
    int wake_fd; /* stays open until the platform stops, as anybody may be about to write to it */

    /* The thread's own, while it runs. */
    _Alignas(64) bool uses_ring;
    unsigned reads; /* in flight in the ring */
    struct io_uring ring;
    struct pollfd *polls; /* without a ring: what ppoll() looks at, and whose it is */
    struct source **polled;
    unsigned poll_count, poll_room;

    /* Under `lock`. */
    _Alignas(64) pthread_mutex_t lock;
    struct source *sources;
    bool open;        /* a thread waits on the sources: */
    pthread_t thread; /* this one */

    /* Under hosted_lock(). */
    _Atomic(enum core_state) state;
    unsigned processor; /* Linux's number of it, or UINT_MAX: none of its own */
    pthread_t started;  /* to be joined */
    void (*entry)(unsigned, void *);
    void *argument;
};

int hosted_cores_start(void);

/*
 * Wakes the other cores, and gives them up to a second to end. False, with a message, if one still runs. Not
 * under hosted_lock(), which they may need for ending.
 */
bool hosted_cores_await(void);

/* The calling thread, now the only one, is core 0 no longer. */
void hosted_cores_stop(void);

/* Wakes all that run. From any thread, and from signal handlers. */
void hosted_cores_wake(void);

/* NULL if there is no such core. */
struct core *hosted_core(unsigned number);

/* Of a core that has to be there: `call` is the function that was given its number, for the message with
 * which the program ends if it is not. */
struct core *hosted_core_of(unsigned number, const char *call);

#endif

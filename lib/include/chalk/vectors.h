/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The interrupt vectors of a device, and the queues that share them. Vector 0 is the driver's own (of an
 * admin queue, or of all events but a queue's). A queue gets a vector of its own while one is left; after
 * that it shares one that goes to its core, with as few others as possible; and if none goes there it is
 * polled. An interrupt is a hint: each queue that shares a vector looks, and finds something or nothing.
 *
 * A vector to which no queue listens is turned off: by its mask bit in the MSI-X table, if the platform lets
 * a driver reach that, since it costs a register; otherwise it is detached.
 *
 * chalk_vectors_get() and chalk_vectors_put() belong to one core at a time, as opening a device's queues
 * does; any core may call the others, for a vector that it uses.
 */
#ifndef CHALK_VECTORS_H
#define CHALK_VECTORS_H

#include <chalk/lock.h>
#include <chalk/mmio.h>
#include <chalk/platform.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CHALK_VECTORS_MAX 64

struct chalk_vector {
    CHALK_ATOMIC(uint32_t) interrupts; /* counted by chalk_core_wait() */
    unsigned core;                     /* to which they go, while it is in use */
    unsigned users;                    /* queues; the driver's own use of vector 0 is not counted */
    unsigned listeners;                /* of its users, those that want to be interrupted */
    bool off;                          /* since there are none */
};

struct chalk_vectors {
    struct chalk_device *device;
    const char *kind, *name; /* for messages: "NVMe", "0000:00:03.0" */
    unsigned count;          /* of the device, or fewer, if the platform has fewer; 0: it is polled */
    struct chalk_lock lock;  /* of listeners */
    struct chalk_mmio table; /* the MSI-X table, if vectors can be masked there; else its size is 0 */
    bool table_tried;
    bool ran_short; /* logged */
    struct chalk_vector vectors[CHALK_VECTORS_MAX];
};

/* Reads how many vectors the device's MSI-X capability has, CHALK_VECTORS_MAX at most. The names stay the
 * caller's, and valid. `listens`: the driver itself listens to vector 0. Nothing is attached. */
void chalk_vectors_init(struct chalk_vectors *vectors, struct chalk_device *device, const char *kind,
                        const char *name, bool listens);

/* Attaches vector 0, which goes to `core`; after a reset of the device once more. Errors: -ENOTSUP (there are
 * none), as chalk_vector_attach(); then count is 0. */
int chalk_vectors_attach_own(struct chalk_vectors *vectors, unsigned core);
void chalk_vectors_detach_own(struct chalk_vectors *vectors);

/*
 * A vector for one more queue, of `core`, which listens to it. *vector is NULL if none goes to that core: the
 * queue is polled. Errors, logged: -ENOTSUP (there are no vectors), as chalk_vector_attach().
 */
int chalk_vectors_get(struct chalk_vectors *vectors, unsigned core, struct chalk_vector **vector);

/* One queue less; `listens`: it listens still. */
void chalk_vectors_put(struct chalk_vectors *vectors, struct chalk_vector *vector, bool listens);

/*
 * Turns a queue's interrupts on and off. A vector is off only while all that share it have turned them off.
 * When listen() has returned 0, what the device completes from then on interrupts. Errors: as
 * chalk_vector_attach(); then they stay off.
 */
int chalk_vector_listen(struct chalk_vectors *vectors, struct chalk_vector *vector);
void chalk_vector_quiet(struct chalk_vectors *vectors, struct chalk_vector *vector);

/* After a reset of the function, which may have turned all interrupts on: turns off what was off. */
void chalk_vector_settle(struct chalk_vectors *vectors, struct chalk_vector *vector);

/* Returns whether a vector can be masked, which it finds out with this one, which listens. If not, turning
 * one off takes a call of the platform. */
bool chalk_vectors_can_mask(struct chalk_vectors *vectors, struct chalk_vector *vector);

/* The number of a vector in the device. */
static inline unsigned chalk_vector_index(const struct chalk_vectors *vectors,
                                          const struct chalk_vector *vector)
{
    return (unsigned)(vector - vectors->vectors);
}

#ifdef __cplusplus
}
#endif
#endif

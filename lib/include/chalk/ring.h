/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rings: bounded first-in first-out queues of pointers between cores, without locks.
 *
 * A ring has two ends. Each end is used by one core alone, or shared by several; the caller says which by the
 * function that it calls, and always calls the same kind for one end of one ring:
 *
 *                            one core                 several cores
 *     puts (producers)       chalk_ring_put()         chalk_ring_shared_put()
 *     takes (consumers)      chalk_ring_take()        chalk_ring_shared_take()
 *
 * So one structure is the SPSC, MPSC, SPMC and MPMC ring. What one producer puts is taken in that order, each
 * pointer once; and what the producer wrote before it put a pointer, the consumer sees once it has taken it.
 * A ring holds as many pointers as it has slots. Nothing allocates, waits for room, or sleeps: a full ring
 * takes less than it was offered, an empty one gives less than was asked, down to nothing, and says how many.
 *
 *     static void *slots[256];
 *     static struct chalk_ring ring;
 *
 *     chalk_ring_init(&ring, slots, 256);
 *     if (!chalk_ring_put(&ring, request)) ...              it was full: the request is still ours
 *     while ((request = chalk_ring_take(&ring)) != NULL) ...
 *
 * Elements are pointers because what goes between cores is the ownership of something, and its address is the
 * handle that everybody knows already; small numbers fit as well. Records would need a size in every copy
 * loop.
 *
 * A shared end is not wait-free: between the claim of slots and their publication (a copy, some ten
 * instructions) the others that use this end wait for their turn. On a core of one's own that is nothing;
 * threads that share a processor may lose the rest of a time slice.
 *
 * To sleep until something comes, publication is not enough: put, then a full fence, then look whether the
 * consumer sleeps; see chalk_core_wait().
 */
#ifndef CHALK_RING_H
#define CHALK_RING_H

#include <chalk/clock.h>
#include <chalk/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * How it works. Positions count up for ever (64 bits: 500 years at 1 GHz), so that none comes twice, and the
 * later one is the greater; position p is in slot p modulo the size. Each end claims the positions from
 * `next` on, copies, and publishes them by moving `done`; at an end with one user nothing is claimed between
 * calls, and `done` says it all. The other end may go as far as `done`; the producers a ring's size further
 * than the consumers'.
 *
 *     consumers' done <= consumers' next <= producers' done <= producers' next <= consumers' done + size
 *
 * Reading the other end's `done` costs a cache miss when that end is busy, so what it allowed the last time
 * is kept in `limit`, and it is read again only when that does not suffice. A claim of all that is allowed
 * leaves nothing worth keeping: then `limit` stays, behind what is claimed. What is private to an end and
 * what the other end reads are on lines of their own; two lines apart, because processors fetch lines in
 * pairs (Intel 64 Optimization Reference Manual, "Spatial Prefetcher").
 *
 * The order of memory, all that is needed, is checked in tests/proof/ring.pml, which names each of these:
 *
 * publish: `done` is stored with release, and loaded with acquire by the other end: the slots were copied.
 *
 * hand on: a shared `limit` is stored with release and loaded with acquire: one producer may use the room
 * that another one saw. It may also go back, behind what is claimed: then it promises less than there is,
 * never more.
 *
 * in turn: at a shared end `done` moves in the order of claims, each move after an acquire of the former, so
 * that one load of it vouches for the copies of everybody before.
 *
 * The atomics are the compiler's, with C11's meaning: C and C++ have no spelling in common that is the
 * language's.
 */
#define CHALK_RING_LINE 128

struct chalk_ring_end {
    uint64_t next __attribute__((aligned(CHALK_RING_LINE))); /* the first position not claimed; if shared */
    uint64_t limit;                                          /* claims may go up to here, as far as we know */
    uint64_t done __attribute__((aligned(CHALK_RING_LINE))); /* the first position not published */
};

/* The fields are private. It may lie anywhere, aligned as its type, and does not move. */
struct chalk_ring {
    void **slots;
    uint64_t mask; /* the size - 1 */
    struct chalk_ring_end producer, consumer;
};

/*
 * Makes an empty ring of `size` slots, a power of two up to 2^31. `slots` is the caller's, 8 * size bytes (of
 * chalk_memory_get(), say), and belongs to the ring for as long as it is used; nothing needs to be undone.
 * Other cores may use the ring once they were told of it. Errors: -EINVAL (no power of two).
 */
static inline int chalk_ring_init(struct chalk_ring *ring, void **slots, uint32_t size)
{
    if (size == 0 || (size & (size - 1)) != 0)
        return -EINVAL;
    __builtin_memset(ring, 0, sizeof(*ring));
    ring->slots = slots;
    ring->mask = size - 1;
    ring->producer.limit = size;
    return 0;
}

/* How many pointers it holds when it is full. */
static inline uint64_t chalk_ring_size(const struct chalk_ring *ring)
{
    return ring->mask + 1;
}

/*
 * How many pointers wait to be taken. Any core may ask; the answer is exact while neither end is used,
 * between 0 and the size always. What the only consumer sees is there, and what the only producer sees free
 * is free.
 */
static inline unsigned chalk_ring_count(const struct chalk_ring *ring)
{
    uint64_t taken = __atomic_load_n(&ring->consumer.done, __ATOMIC_ACQUIRE);
    uint64_t put = __atomic_load_n(&ring->producer.done, __ATOMIC_ACQUIRE);

    return (unsigned)(put - taken < chalk_ring_size(ring) ? put - taken : chalk_ring_size(ring));
}

/* ---- claims and publication: the same for both ends ---------------------------------------------------- */

/*
 * Claims up to `count` positions from *start on, for the only user of `end`; returns how many. `lead` is how
 * far this end may be ahead of the other's `done`: the size for producers, 0 for consumers.
 */
static inline unsigned chalk_ring_claim(struct chalk_ring_end *end, const struct chalk_ring_end *other,
                                        uint64_t lead, unsigned count, uint64_t *start)
{
    uint64_t next = end->done; /* what its only user claimed is published */

    *start = next;
    if (next + count > end->limit) {
        uint64_t limit = __atomic_load_n(&other->done, __ATOMIC_ACQUIRE) + lead;

        if (__builtin_expect(limit <= next + count, 1))
            return (unsigned)(limit - next);
        end->limit = limit;
    }
    return count;
}

static inline void chalk_ring_publish(struct chalk_ring_end *end, uint64_t position)
{
    __atomic_store_n(&end->done, position, __ATOMIC_RELEASE);
}

/*
 * The same among several. `next` is acquired, and released by who moves it, so that a `done` read after it is
 * not older: else a ring might look full that is not. `found` is what the exchange reads, and equals `next`
 * once it succeeds; what follows uses `next`, which is there before the locked instruction has ended.
 */
static inline unsigned chalk_ring_shared_claim(struct chalk_ring_end *end, const struct chalk_ring_end *other,
                                               uint64_t lead, unsigned count, uint64_t *start)
{
    uint64_t found = __atomic_load_n(&end->next, __ATOMIC_ACQUIRE), next, claimed;

    do {
        next = found;
        claimed = next + count;
        if (claimed > __atomic_load_n(&end->limit, __ATOMIC_ACQUIRE)) {
            uint64_t limit = __atomic_load_n(&other->done, __ATOMIC_ACQUIRE) + lead;

            if (limit <= next)
                return 0;
            if (limit > claimed)
                __atomic_store_n(&end->limit, limit, __ATOMIC_RELEASE);
            else
                claimed = limit;
        }
    } while (
        !__atomic_compare_exchange_n(&end->next, &found, claimed, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    *start = next;
    return (unsigned)(claimed - next);
}

static inline void chalk_ring_shared_publish(struct chalk_ring_end *end, uint64_t start, uint64_t position)
{
    while (__atomic_load_n(&end->done, __ATOMIC_ACQUIRE) != start)
        chalk_pause();
    __atomic_store_n(&end->done, position, __ATOMIC_RELEASE);
}

/* ---- copies -------------------------------------------------------------------------------------------- */

/* By memcpy, because the caller's array may be one of pointers to anything; four at a time are two moves. */
static inline void chalk_ring_copy(void **to, void *const *from, unsigned count)
{
    for (; count >= 4; count -= 4, to += 4, from += 4)
        __builtin_memcpy(to, from, 4 * sizeof(*to));
    if (count & 2) {
        __builtin_memcpy(to, from, 2 * sizeof(*to));
        to += 2;
        from += 2;
    }
    if (count & 1)
        __builtin_memcpy(to, from, sizeof(*to));
}

static inline void chalk_ring_copy_in(struct chalk_ring *ring, uint64_t start, void *const *items,
                                      unsigned count)
{
    uint64_t at = start & ring->mask;
    unsigned rest = (unsigned)(chalk_ring_size(ring) - at);

    if (count == 1) { /* what a burst is when there is little to do: nothing wraps */
        __builtin_memcpy(ring->slots + at, items, sizeof(*items));
    } else if (__builtin_expect(count <= rest, 1)) {
        chalk_ring_copy(ring->slots + at, items, count);
    } else {
        chalk_ring_copy(ring->slots + at, items, rest);
        chalk_ring_copy(ring->slots, items + rest, count - rest);
    }
}

static inline void chalk_ring_copy_out(struct chalk_ring *ring, uint64_t start, void **items, unsigned count)
{
    uint64_t at = start & ring->mask;
    unsigned rest = (unsigned)(chalk_ring_size(ring) - at);

    if (count == 1) {
        __builtin_memcpy(items, ring->slots + at, sizeof(*items));
    } else if (__builtin_expect(count <= rest, 1)) {
        chalk_ring_copy(items, ring->slots + at, count);
    } else {
        chalk_ring_copy(items, ring->slots + at, rest);
        chalk_ring_copy(items + rest, ring->slots, count - rest);
    }
}

/* ---- an end used by one core --------------------------------------------------------------------------- */

/* Puts the first pointers of `items` (an array of pointers to anything), as many as there is room for of
 * `count`; returns how many. They are there for the consumer all at once. */
static inline unsigned chalk_ring_put_burst(struct chalk_ring *ring, void *const *items, unsigned count)
{
    uint64_t start;

    count = chalk_ring_claim(&ring->producer, &ring->consumer, chalk_ring_size(ring), count, &start);
    if (count == 0)
        return 0;
    chalk_ring_copy_in(ring, start, items, count);
    chalk_ring_publish(&ring->producer, start + count);
    return count;
}

/* Takes the oldest pointers into `items`, as many as there are of `count`; returns how many. */
static inline unsigned chalk_ring_take_burst(struct chalk_ring *ring, void **items, unsigned count)
{
    uint64_t start;

    count = chalk_ring_claim(&ring->consumer, &ring->producer, 0, count, &start);
    if (count == 0)
        return 0;
    chalk_ring_copy_out(ring, start, items, count);
    chalk_ring_publish(&ring->consumer, start + count);
    return count;
}

/* Puts one; false when the ring is full. */
static inline bool chalk_ring_put(struct chalk_ring *ring, void *item)
{
    uint64_t start;

    if (chalk_ring_claim(&ring->producer, &ring->consumer, chalk_ring_size(ring), 1, &start) == 0)
        return false;
    ring->slots[start & ring->mask] = item;
    chalk_ring_publish(&ring->producer, start + 1);
    return true;
}

/* Takes the oldest; NULL when the ring is empty. (Whoever puts NULL pointers takes with the burst.) */
static inline void *chalk_ring_take(struct chalk_ring *ring)
{
    uint64_t start;

    if (chalk_ring_claim(&ring->consumer, &ring->producer, 0, 1, &start) == 0)
        return NULL;

    void *item = ring->slots[start & ring->mask];

    chalk_ring_publish(&ring->consumer, start + 1);
    return item;
}

/* ---- an end shared by several cores: the same, for any number of callers at once ----------------------- */

static inline unsigned chalk_ring_shared_put_burst(struct chalk_ring *ring, void *const *items,
                                                   unsigned count)
{
    uint64_t start;

    count = chalk_ring_shared_claim(&ring->producer, &ring->consumer, chalk_ring_size(ring), count, &start);
    if (count == 0)
        return 0;
    chalk_ring_copy_in(ring, start, items, count);
    chalk_ring_shared_publish(&ring->producer, start, start + count);
    return count;
}

static inline unsigned chalk_ring_shared_take_burst(struct chalk_ring *ring, void **items, unsigned count)
{
    uint64_t start;

    count = chalk_ring_shared_claim(&ring->consumer, &ring->producer, 0, count, &start);
    if (count == 0)
        return 0;
    chalk_ring_copy_out(ring, start, items, count);
    chalk_ring_shared_publish(&ring->consumer, start, start + count);
    return count;
}

static inline bool chalk_ring_shared_put(struct chalk_ring *ring, void *item)
{
    uint64_t start;

    if (chalk_ring_shared_claim(&ring->producer, &ring->consumer, chalk_ring_size(ring), 1, &start) == 0)
        return false;
    ring->slots[start & ring->mask] = item;
    chalk_ring_shared_publish(&ring->producer, start, start + 1);
    return true;
}

static inline void *chalk_ring_shared_take(struct chalk_ring *ring)
{
    uint64_t start;

    if (chalk_ring_shared_claim(&ring->consumer, &ring->producer, 0, 1, &start) == 0)
        return NULL;

    void *item = ring->slots[start & ring->mask];

    chalk_ring_shared_publish(&ring->consumer, start, start + 1);
    return item;
}

#ifdef __cplusplus
}
#endif
#endif

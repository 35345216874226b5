/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where messages from many cores wait for one. Unlike in a <chalk/ring.h>, a slot says itself that it was
 * filled. So one cache line goes from core to core with a message, not two, and a sender that is held up
 * between its claim and the store holds up nothing but what comes behind it.
 *
 * Positions count up for ever; position p is in slot p modulo the size. The order of memory, all that is
 * needed, is checked in tests/proof/inbox.pml, which names each of these:
 *
 * Fill: a slot is stored with release, and loaded with acquire. What was written before the message was sent
 * is seen with it.
 *
 * Free: slots are emptied before `taken` says so, with release, and filled again by who has acquired that.
 * Else what was filled might be emptied.
 *
 * Limit: what one sender knows of `taken` is handed on to the others, with release and acquire. It may go
 * back, even behind `next`; then it promises less than there is, never more.
 *
 * Wake: the receiver, before it sleeps, looks at the first slot alone. Whoever fills that one looks after it
 * whether the receiver sleeps, so it does not matter who else did before.
 */
#ifndef SCHED_INBOX_H
#define SCHED_INBOX_H

#include <chalk/loop.h>
#include <chalk/ring.h>
#include <stdatomic.h>

/* All zero is an empty one. */
struct inbox {
    /* The senders'. */
    _Alignas(CHALK_RING_LINE) _Atomic(uint64_t) next; /* the first position not claimed */
    _Atomic(uint64_t) limit;                          /* claims may go up to here, as far as we know */

    _Alignas(CHALK_RING_LINE) _Atomic(struct chalk_message *) slots[CHALK_LOOP_MESSAGES];

    /* The receiver's. */
    _Alignas(CHALK_RING_LINE) _Atomic(uint64_t) taken; /* the first position that may not be empty */
};

_Static_assert((CHALK_LOOP_MESSAGES & (CHALK_LOOP_MESSAGES - 1)) == 0, "modulo is a mask");

static inline _Atomic(struct chalk_message *) *inbox_slot(struct inbox *inbox, uint64_t position)
{
    return &inbox->slots[position % CHALK_LOOP_MESSAGES];
}

/* How many of the `count` positions from `next` on are free. */
static inline unsigned inbox_room(struct inbox *inbox, uint64_t next, unsigned count)
{
    int64_t room = (int64_t)(atomic_load_explicit(&inbox->limit, memory_order_acquire) - next);

    if (room < (int64_t)count) {
        uint64_t limit = atomic_load_explicit(&inbox->taken, memory_order_acquire) + CHALK_LOOP_MESSAGES;

        atomic_store_explicit(&inbox->limit, limit, memory_order_release);
        room = (int64_t)(limit - next);
    }
    return room <= 0 ? 0 : room < (int64_t)count ? (unsigned)room : count;
}

/*
 * Puts up to `count` messages, and returns how many. Nothing is touched after the last of them was stored.
 * `next` is acquired, and released by who moves it, so that a `taken` read after it is not older: else the
 * inbox might look full that is not.
 */
static inline unsigned inbox_put(struct inbox *inbox, struct chalk_message *const *messages, unsigned count)
{
    uint64_t next = atomic_load_explicit(&inbox->next, memory_order_acquire);
    unsigned claimed;

    do {
        claimed = inbox_room(inbox, next, count);
        if (claimed == 0)
            return 0;
    } while (!atomic_compare_exchange_weak_explicit(&inbox->next, &next, next + claimed, memory_order_acq_rel,
                                                    memory_order_acquire));
    for (unsigned i = 0; i < claimed; i++)
        atomic_store_explicit(inbox_slot(inbox, next + i), messages[i], memory_order_release);
    return claimed;
}

/* Takes up to `most` messages, in the order of their claims, and returns how many. The receiver's. */
static inline unsigned inbox_take(struct inbox *inbox, struct chalk_message **messages, unsigned most)
{
    uint64_t taken = atomic_load_explicit(&inbox->taken, memory_order_relaxed);
    unsigned count = 0;

    for (; count < most; count++) {
        _Atomic(struct chalk_message *) *slot = inbox_slot(inbox, taken + count);

        messages[count] = atomic_load_explicit(slot, memory_order_acquire);
        if (messages[count] == NULL)
            break;
        atomic_store_explicit(slot, NULL, memory_order_relaxed);
    }
    if (count != 0)
        atomic_store_explicit(&inbox->taken, taken + count, memory_order_release);
    return count;
}

/* Whether there is nothing to take. The receiver's. */
static inline bool inbox_empty(struct inbox *inbox)
{
    uint64_t taken = atomic_load_explicit(&inbox->taken, memory_order_relaxed);

    return atomic_load_explicit(inbox_slot(inbox, taken), memory_order_acquire) == NULL;
}

#endif

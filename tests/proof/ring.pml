/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The protocol of <chalk/ring.h>, for spin: every interleaving of PRODUCERS that put ITEMS pointers each and
 * CONSUMERS that take them all, in bursts of 1 to BURST, through a ring of SIZE slots. An end with one user
 * runs the code for one, an end with several the shared code. Shown is that
 *
 *   - no slot is touched by two that are not ordered: there is no data race in the sense of C11;
 *   - each pointer is taken once, and none is lost: else the consumers never end, or a wrong slot is read;
 *   - each consumer takes the pointers of a producer in the order in which that one put them.
 *
 * Interleaving alone would take the processor to be sequentially consistent, and could not miss a fence. So
 * memory order is modelled as C11 defines it (5.1.2.4): every thread has a view, of how many accesses to each
 * slot happened before what it does now. A store with release leaves the view of its thread with the value, one
 * that is relaxed leaves nothing; a load with acquire adds what lies there. Whoever touches a slot must know of all
 * accesses before. Loads give the newest value: an older one, which C11 allows, is in each place what would have been
 * seen earlier, since `next` and `done` only grow and an older `limit` is a case that the model has anyway.
 * Not modelled is the order of `next`: it is not needed for any of this, only that nothing looks full that is not.
 *
 * Each order and each check can be taken away by its name (spin -DLIMIT_RELEASE=0); ring_model.py does so, and
 * the proof has to fail.
 */
#ifndef PRODUCERS
#define PRODUCERS 2
#endif
#ifndef CONSUMERS
#define CONSUMERS 2
#endif
#ifndef ITEMS
#define ITEMS 2
#endif
#ifndef BURST
#define BURST 2
#endif
#ifndef SIZE
#define SIZE 2
#endif

#ifndef DONE_RELEASE /* publish: the slots were copied before `done` says so */
#define DONE_RELEASE 1
#endif
#ifndef DONE_ACQUIRE /* publish: and who reads it touches them after that */
#define DONE_ACQUIRE 1
#endif
#ifndef LIMIT_RELEASE /* hand on: what one producer knows of the consumers ... */
#define LIMIT_RELEASE 1
#endif
#ifndef LIMIT_ACQUIRE /* ... another one learns with the limit */
#define LIMIT_ACQUIRE 1
#endif
#ifndef TURN_ACQUIRE /* in turn: a later `done` vouches for the earlier copies */
#define TURN_ACQUIRE 1
#endif
#ifndef TURN_WAIT /* in turn: at all */
#define TURN_WAIT 1
#endif
#ifndef ROOM_CHECK /* claims end at the limit */
#define ROOM_CHECK 1
#endif
#ifndef CLAIM_ATOMIC /* `next` moves by compare and exchange */
#define CLAIM_ATOMIC 1
#endif

#define THREADS (PRODUCERS + CONSUMERS)
#define TOTAL   (PRODUCERS * ITEMS)
#define PUT     0
#define TAKE    1

/* The ring: two ends, PUT and TAKE. A pointer is its producer's number and a count. */
byte next[2];
byte atomic_value[4]; /* at DONE(end) and LIMIT(end) */
byte slot[SIZE];

/* Accesses to each slot so far; how many of them a thread knows of; how many each atomic's value tells of. */
byte accesses[SIZE];
byte view[THREADS * SIZE];
byte atomic_view[4 * SIZE];

/* What has been taken. */
byte taken;
byte latest[CONSUMERS * PRODUCERS];

#define DONE(end)   (end)
#define LIMIT(end)  (2 + (end))
#define OTHER(end)  (1 - (end))
#define LEAD(end)   ((end) == PUT -> SIZE : 0)
#define SHARED(end) ((end) == PUT -> PRODUCERS > 1 : CONSUMERS > 1)

/* Atomic loads and stores, by the thread `me`. */
inline load(result, which, acquire)
{
    d_step {
        result = atomic_value[which];
        if
        :: acquire ->
            for (s : 0 .. SIZE - 1) {
                if
                :: atomic_view[(which) * SIZE + s] > view[me * SIZE + s] ->
                    view[me * SIZE + s] = atomic_view[(which) * SIZE + s]
                :: else
                fi
            }
        :: else
        fi;
        s = 0
    }
}

inline store(value, which, release)
{
    d_step {
        atomic_value[which] = value;
        for (s : 0 .. SIZE - 1) {
            atomic_view[(which) * SIZE + s] = (release -> view[me * SIZE + s] : 0)
        }
        s = 0
    }
}

/* chalk_ring_claim(): `start` and `count` are what it gets, `count` at most BURST. */
inline claim(end)
{
    start = atomic_value[DONE(end)];
    if
    :: start + count > atomic_value[LIMIT(end)] && ROOM_CHECK ->
        load(seen, DONE(OTHER(end)), DONE_ACQUIRE);
        seen = seen + LEAD(end);
        if
        :: seen <= start + count -> count = seen - start
        :: else -> atomic_value[LIMIT(end)] = seen
        fi
    :: else
    fi
}

/* chalk_ring_shared_claim() */
inline shared_claim(end)
{
    start = next[end];
    do
    :: claimed = start + count;
        load(seen, LIMIT(end), LIMIT_ACQUIRE);
        if
        :: claimed > seen && ROOM_CHECK ->
            load(seen, DONE(OTHER(end)), DONE_ACQUIRE);
            seen = seen + LEAD(end);
            if
            :: seen <= start -> claimed = start
            :: seen > start && seen <= claimed -> claimed = seen
            :: seen > claimed -> store(seen, LIMIT(end), LIMIT_RELEASE)
            fi
        :: else
        fi;
        if
        :: claimed == start -> count = 0; break
        :: claimed > start && !CLAIM_ATOMIC -> next[end] = claimed; count = claimed - start; break
        :: else
            d_step {
                if
                :: next[end] == start -> next[end] = claimed; success = true
                :: else -> start = next[end]; success = false
                fi
            }
            if
            :: success -> count = claimed - start; break
            :: else
            fi
        fi
    od
}

/* chalk_ring_publish() and chalk_ring_shared_publish() */
inline publish(end)
{
    if
    :: SHARED(end) && TURN_WAIT ->
        do
        :: atomic_value[DONE(end)] == start -> break /* blocks until then */
        od;
        load(seen, DONE(end), TURN_ACQUIRE)
    :: else
    fi;
    store(start + count, DONE(end), DONE_RELEASE)
}

/* A plain access to the slot of position start + i. */
inline touch(end)
{
    d_step {
        place = (start + i) % SIZE;
        assert(view[me * SIZE + place] == accesses[place]);
        accesses[place]++;
        view[me * SIZE + place] = accesses[place];
        if
        :: end == PUT -> slot[place] = number * (ITEMS + 1) + sent + 1; sent++
        :: else ->
            from = slot[place] / (ITEMS + 1);
            item = slot[place] % (ITEMS + 1);
            assert(item > latest[number * PRODUCERS + from]);
            latest[number * PRODUCERS + from] = item;
            slot[place] = 0;
            taken++;
            from = 0;
            item = 0
        fi;
        place = 0
    }
}

#define VARIABLES                                                                                                     \
    byte s, i, start, count, claimed, seen, place, from, item, sent;                                                   \
    bool success

inline transfer(end)
{
    if
    :: SHARED(end) -> shared_claim(end)
    :: else -> claim(end)
    fi;
    if
    :: count > 0 ->
        i = 0;
        do
        :: i < count -> touch(end); i++
        :: else -> break
        od;
        publish(end)
    :: else
    fi;
    d_step {
        i = 0; start = 0; claimed = 0; seen = 0; success = false
    }
}

proctype producer(byte me, number)
{
    VARIABLES;

    do
    :: sent < ITEMS ->
        select(count : 1 .. (ITEMS - sent < BURST -> ITEMS - sent : BURST));
        transfer(PUT)
    :: else -> break
    od
}

proctype consumer(byte me, number)
{
    VARIABLES;

    do
    :: taken < TOTAL ->
        select(count : 1 .. BURST);
        transfer(TAKE)
    :: else -> break
    od
}

init {
    byte n;

    atomic {
        atomic_value[LIMIT(PUT)] = SIZE;
        for (n : 0 .. PRODUCERS - 1) {
            run producer(n, n)
        }
        for (n : 0 .. CONSUMERS - 1) {
            run consumer(PRODUCERS + n, n)
        }
    }
    /* Whatever is taken was put, once: with as many taken as put, nothing is lost. */
    _nr_pr == 1;
    assert(taken == TOTAL && atomic_value[DONE(PUT)] == TOTAL && atomic_value[DONE(TAKE)] == TOTAL)
}

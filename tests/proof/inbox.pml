/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How messages come to a loop, for spin: lib/sched/inbox.h, and the sleep of lib/sched/loop.c. Every interleaving of SENDERS
 * that send ITEMS messages each, in bursts of 1 to BURST, and of a receiver that takes them all, through SIZE slots, and
 * sleeps when it finds none. Shown is that
 *
 *   - a message is seen as it was written, and a slot is emptied before it is filled again, in the sense of C11;
 *   - each message is taken once, and those of a sender in their order;
 *   - none is lost, and the receiver does not sleep while there is one: else it never ends.
 *
 * Memory order is modelled as in ring.pml: every thread has a view, of the messages that were written and of how often each
 * slot was emptied, before what it does now. A store with release leaves the view of its thread with the value, one that is
 * relaxed leaves nothing; a load with acquire adds what lies there. `next` is taken to have no order: it is needed only so
 * that nothing looks full that is not. The fences between filling and the look at `parked` (`asleep` of loop.c), and between
 * `parked` and the look at the slot, are those of wait.pml; here they are the order of the lines.
 *
 * Each rule can be taken away by its name (spin -DFILL_RELEASE=0); model.py does so, and the proof has to fail.
 */
#ifndef SENDERS
#define SENDERS 2
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

#ifndef FILL_RELEASE /* fill: the message was written before it is there */
#define FILL_RELEASE 1
#endif
#ifndef FILL_ACQUIRE /* fill: and read after */
#define FILL_ACQUIRE 1
#endif
#ifndef FREE_RELEASE /* free: slots were emptied before `taken` moves */
#define FREE_RELEASE 1
#endif
#ifndef FREE_ACQUIRE /* free: and are filled after */
#define FREE_ACQUIRE 1
#endif
#ifndef LIMIT_RELEASE /* limit: what one sender knows of the receiver ... */
#define LIMIT_RELEASE 1
#endif
#ifndef LIMIT_ACQUIRE /* ... another one learns with it */
#define LIMIT_ACQUIRE 1
#endif
#ifndef ROOM_CHECK /* claims end at the limit */
#define ROOM_CHECK 1
#endif
#ifndef ROOM_SIGNED /* the limit may lie behind `next` */
#define ROOM_SIGNED 1
#endif
#ifndef CLAIM_ATOMIC /* `next` moves by compare and exchange */
#define CLAIM_ATOMIC 1
#endif
#ifndef WAKE_AFTER_FILL /* wake: who has filled looks whether the receiver sleeps */
#define WAKE_AFTER_FILL 1
#endif
#ifndef LOOK_LAST /* wake: the receiver looks once more after it says that it sleeps */
#define LOOK_LAST 1
#endif

#define TOTAL    (SENDERS * ITEMS)
#define RECEIVER SENDERS
#define TAKEN    SIZE /* the atomics: slots, then these */
#define LIMIT    (SIZE + 1)
#define ATOMICS  (SIZE + 2)

/* A message is its number, from 1; an empty slot is 0. */
byte next;
byte value[ATOMICS];
bool parked, pending;

/* What has happened: messages written, a bit each; times that a slot was emptied. Then, what threads know of it, and what
 * lies with each atomic. */
byte emptied[SIZE];
byte known_written[SENDERS + 1], told_written[ATOMICS];
byte known_emptied[(SENDERS + 1) * SIZE], told_emptied[ATOMICS * SIZE];

inline load(result, which, acquire)
{
    d_step {
        result = value[which];
        if
        :: acquire ->
            known_written[me] = known_written[me] | told_written[which];
            for (s : 0 .. SIZE - 1) {
                if
                :: told_emptied[(which) * SIZE + s] > known_emptied[me * SIZE + s] ->
                    known_emptied[me * SIZE + s] = told_emptied[(which) * SIZE + s]
                :: else
                fi
            }
        :: else
        fi;
        s = 0
    }
}

inline store(what, which, release)
{
    d_step {
        value[which] = what;
        told_written[which] = (release -> known_written[me] : 0);
        for (s : 0 .. SIZE - 1) {
            told_emptied[(which) * SIZE + s] = (release -> known_emptied[me * SIZE + s] : 0)
        }
        s = 0
    }
}

/* inbox_put(): `start` and `count` are what it gets. */
inline claim()
{
    start = next;
    do
    :: wanted = count;
        load(seen, LIMIT, LIMIT_ACQUIRE);
        room = (ROOM_SIGNED || seen >= start -> seen - start : seen - start + 256);
        if
        :: room < wanted && ROOM_CHECK -> /* inbox_room() */
            load(seen, TAKEN, FREE_ACQUIRE);
            seen = seen + SIZE;
            store(seen, LIMIT, LIMIT_RELEASE);
            room = seen - start;
            if
            :: room <= 0 -> wanted = 0
            :: room > 0 && room < wanted -> wanted = room
            :: else
            fi
        :: else
        fi;
        if
        :: wanted == 0 -> count = 0; break
        :: wanted > 0 && !CLAIM_ATOMIC -> next = start + wanted; count = wanted; break
        :: else
            d_step {
                if
                :: next == start -> next = start + wanted; success = true
                :: else -> start = next; success = false
                fi
            }
            if
            :: success -> count = wanted; break
            :: else
            fi
        fi
    od
}

proctype sender(byte me)
{
    byte s, i, start, count, wanted, seen, sent;
    short room;
    bool success;

    do
    :: sent < ITEMS ->
        select(count : 1 .. (ITEMS - sent < BURST -> ITEMS - sent : BURST));
        claim();
        i = 0;
        do
        :: i < count ->
            d_step {
                seen = (start + i) % SIZE;
                assert(known_emptied[me * SIZE + seen] == emptied[seen] && value[seen] == 0);
                known_written[me] = known_written[me] | (1 << (me * ITEMS + sent))
            }
            store(me * ITEMS + sent + 1, seen, FILL_RELEASE);
            sent++;
            i++
        :: else -> break
        od;
        if
        :: count > 0 && WAKE_AFTER_FILL && parked -> pending = true
        :: else
        fi;
        d_step {
            i = 0; start = 0; count = 0; wanted = 0; seen = 0; room = 0; success = false
        }
    :: else -> break
    od
}

/* inbox_take(), as often as there is something; then sleep() of loop.c. */
proctype receiver(byte me)
{
    byte s, item, place, taken, count;
    byte latest[SENDERS];

    do
    :: taken < TOTAL ->
        do
        :: count < BURST ->
            place = (taken + count) % SIZE;
            load(item, place, FILL_ACQUIRE);
            if
            :: item == 0 -> break
            :: else
            fi;
            d_step {
                assert(known_written[me] & (1 << (item - 1)));
                assert(item > latest[(item - 1) / ITEMS]);
                latest[(item - 1) / ITEMS] = item;
                emptied[place]++;
                known_emptied[me * SIZE + place] = emptied[place]
            }
            store(0, place, false);
            count++
        :: else -> break
        od;
        if
        :: count > 0 ->
            taken = taken + count;
            count = 0;
            store(taken, TAKEN, FREE_RELEASE)
        :: else ->
            parked = true;
            place = taken % SIZE;
            if
            :: !LOOK_LAST || value[place] == 0 -> atomic { pending -> pending = false }
            :: else
            fi;
            parked = false
        fi
    :: else -> break
    od;
    assert(next == TOTAL)
}

init
{
    byte n;

    atomic {
        for (n : 0 .. SENDERS - 1) {
            run sender(n)
        }
        run receiver(RECEIVER)
    }
}

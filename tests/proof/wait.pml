/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a core sleeps and is woken, for spin: chalk_core_wait() and chalk_core_wake() of baremetal/x86_64/interrupts.c. What
 * hosted/events.c does is the same, with an eventfd's count for the pending interrupt. WAKERS cores give a sleeper WAKES
 * pieces of work each, and wake it for each of them; the sleeper reads its event word, looks for work, and waits with what
 * it read. Shown is that it finds all of it: where a wake-up is lost it sleeps for ever, which spin reports as an invalid
 * end state.
 *
 * Processors are not sequentially consistent: stores wait in a buffer while later loads are done (SDM vol. 3 9.2.3.4).
 * So each core has such a buffer here, for the one store of its that matters, which reaches memory at any time after; a
 * locked instruction waits for that. The contract's other store, the work itself, comes before a locked instruction.
 *
 * Each rule can be taken away by its name (spin -DPARK_LOCKED=0); model.py does so, and the proof has to fail.
 */
#ifndef WAKERS
#define WAKERS 2
#endif
#ifndef WAKES
#define WAKES 2
#endif

#ifndef PARK_LOCKED /* `parked` is set by a locked instruction: the look at the event word comes after it */
#define PARK_LOCKED 1
#endif
#ifndef WAKE_LOCKED /* so is the event word changed: the look at `parked` comes after it */
#define WAKE_LOCKED 1
#endif
#ifndef LOOK_LAST /* the event word is looked at after `parked` is set, not before */
#define LOOK_LAST 1
#endif
#ifndef LATE_STI /* interrupts come on with the hlt, not before */
#define LATE_STI 1
#endif
#ifndef NMI_SKIPS /* a non-maskable interrupt that comes between the two goes on behind the hlt */
#define NMI_SKIPS 1
#endif

byte work, events;
bool parked, pending; /* the interrupt, in the local APIC */

/* Store buffers: `parked` of the sleeper, the event word of a waker. */
bool parked_waits, parked_value;
byte events_wait[WAKERS]; /* how many were added and not yet seen */

inline park(value, locked)
{
    atomic {
        if
        :: locked -> parked_waits = false; parked = value
        :: else -> parked_waits = true; parked_value = value
        fi
    }
}


active proctype sleeper()
{
    byte seen, found;

    do
    :: seen = events;
        found = work;
        if
        :: found == WAKERS * WAKES -> break
        :: else
        fi;
        /* chalk_core_wait() */
        do
        :: pending = false; /* collect() */
            if
            :: events != seen -> break
            :: else
            fi;
            if
            :: LOOK_LAST -> park(true, PARK_LOCKED)
            :: else
            fi;
            if
            :: events == seen ->
                if
                :: !LOOK_LAST -> park(true, PARK_LOCKED)
                :: else
                fi;
                /* trap_sleep(): sti */
                if
                :: !LATE_STI -> atomic { pending -> pending = false; goto halt }
                :: true
                fi;
                if
                :: true -> skip
                :: true -> /* a non-maskable interrupt, and when it returns what is pending comes before the hlt */
                    atomic { pending = false };
                    if
                    :: NMI_SKIPS -> goto awake
                    :: else
                    fi
                fi;
halt:           atomic { pending -> pending = false };
awake:          skip
            :: else
            fi;
            park(false, false)
        od
    od
}

proctype waker(byte me)
{
    byte i;
    bool was;

    for (i : 1 .. WAKES) {
        atomic { work++ }
        atomic {
            if
            :: WAKE_LOCKED -> events++
            :: else -> events_wait[me]++
            fi
        }
        if
        :: parked ->
            /* a locked exchange */
            atomic {
                events_wait[me] == 0;
                was = parked;
                parked = false
            }
            if
            :: was -> pending = true
            :: else
            fi
        :: else
        fi
    }
}

/* Buffers drain, some time. */
active proctype memory()
{
    byte me;

end:do
    :: atomic { parked_waits -> parked_waits = false; parked = parked_value }
    :: atomic { events_wait[0] > 0 -> events_wait[0]--; events++ }
    :: atomic { events_wait[WAKERS - 1] > 0 -> events_wait[WAKERS - 1]--; events++ }
    od
}

init
{
    byte i;

    atomic {
        for (i : 0 .. WAKERS - 1) {
            run waker(i)
        }
    }
}

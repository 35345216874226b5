/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is run: how the device misbehaves, what the program does, and the seed of all choices in between. It
 * is drawn from a number, or read from a text, which is a script for models (docs/models.md) with lines of
 * two more kinds:
 *
 *     for nvme
 *     run 0x5eed pace 40 cores 2 depth 4 interrupts drains shadow
 *     core 1: write 8 4
 *     core 0: reset
 *     completion io 3: ignore
 */
#ifndef TESTS_SIM_SCENARIO_H
#define TESTS_SIM_SCENARIO_H

#include "sim.h"

/* The first five are of blocks, and of these WRITE to DISCARD change them. */
enum op {
    OP_READ,
    OP_COMPARE,
    OP_WRITE,
    OP_ZEROES,
    OP_DISCARD,
    OP_FLUSH,
    OP_CANCEL,
    OP_RESET,
    OP_DRAIN,
    OP_PAUSE,
    OP_WARM, /* of core 0, which is told of events */
    OP_IDLE, /* waits for what is under way, and goes on looking with nothing in flight */
    OP_FILL, /* submits requests until all that can be in flight are, or all but so many */
    OP_COUNT
};

static inline bool op_has_blocks(enum op op)
{
    return op <= OP_DISCARD;
}

static inline bool op_changes(enum op op)
{
    return op >= OP_WRITE && op <= OP_DISCARD;
}

static inline bool op_has_number(enum op op)
{
    return op == OP_PAUSE || op == OP_FILL;
}

/* How a program hears of what is done. */
enum hearing { POLLS, INTERRUPTS, ADAPTS, HEARINGS };

struct step {
    unsigned core;
    enum op op;
    uint32_t lba, count; /* OP_PAUSE: nanoseconds are lba; OP_FILL: requests that are left out */
};

enum { SCENARIO_STEPS = 64, SCENARIO_DEPTH = 8, SCENARIO_BLOCKS = 16 /* of each core */ };

struct scenario {
    uint64_t seed;
    unsigned pace, cores, depth;
    enum hearing hearing;
    bool drains; /* it waits for the last requests, or leaves them to the queue's end */
    bool shadow; /* the device finds doorbells in memory */
    bool mixed;  /* core 1 uses a disk with larger blocks */
    bool tells;  /* the platform tells when the device is lost */
    bool deaf;   /* or would tell, but does not learn it */
    /* Admin commands have 100 ms, which is enough to send one again a few times; else 5 ms. */
    bool patient;
    struct step steps[SCENARIO_STEPS];
    unsigned count;
    struct script script;
};

/* A driver under simulation. */
struct driver {
    const struct script_names *names; /* the device's, for scripts */
    bool steps;                       /* the program takes those that a scenario has; else it has its own */
    /* Ways to misbehave: those of a device that answers everything, but not always with success; the same,
     * with few failures that pass; those of one
     * that does not answer, or is gone; lies; and changes of what the device is. A rule each, where %1 is the
     * number of an event, %2 a time, %3 any number, %4 a range of events, %5 three events or fewer. NULL
     * after the last. */
    const char *const *failures, *const *passing, *const *faults, *const *lies, *const *changes;
    /* Runs a scenario. If something does not hold, the process ends (sim_fail()). */
    void (*run)(const struct scenario *scenario);
};
extern const struct driver driver;

/* Draws the one of this number. */
void scenario_draw(struct scenario *scenario, uint64_t number);
/* Reads one; or says what is wrong with it, and ends the process. */
void scenario_read(struct scenario *scenario, const char *path);
void scenario_print(const struct scenario *scenario);
/* For drivers: runs `entry` in a new world with this device; if something does not hold, the scenario is
 * printed. */
void scenario_run(const struct scenario *scenario, struct model *model, bool honest,
                  void (*entry)(unsigned core, void *argument));

/* Nothing of it lies: what the device says it did is what it did. */
bool rule_honest(const struct script_rule *rule);
bool scenario_honest(const struct scenario *scenario);

#endif

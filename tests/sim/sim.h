/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The deterministic world: the platform contract in one process and one thread. Cores and the device are
 * fibers, of which one runs at a time; which one, and for how long, is drawn from a seed. They are switched
 * at every call of the platform, at every access to a register or to memory that a device writes, and between
 * any two basic blocks of the library (-fsanitize-coverage=trace-pc). Writes to registers are posted: they
 * arrive later, in order, and a read waits for them. Interrupts arrive later, in any order.
 *
 * Time is virtual. It creeps while there is something to do; when all wait for it, it jumps to what is due
 * next. The same seed gives the same steps in the same binary.
 */
#ifndef TESTS_SIM_H
#define TESTS_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/models/model.h"

enum { SIM_CORES = 3, SIM_PACE_MAX = 4096 };

/* ---- a run --------------------------------------------------------------------------------------- */

struct sim_options {
    uint64_t seed;
    unsigned pace;         /* basic blocks that run before a switch, on average */
    uint64_t limit_ns;     /* a run that takes longer hangs */
    struct model *model;   /* the device on the bus; its world is given to it */
    bool honest;           /* it reaches only for memory that it was given: anything else fails the run */
    bool tells;            /* the platform learns when the device is lost */
    bool deaf;             /* it has a word for that, but does not: the device's process goes on */
    void (*explain)(void); /* prints what is run, if it fails */
};

#define SIM_DEVICE "sim:0"

extern struct world sim_world;

/* Runs `entry` on core 0 of a new world, and the others as they are started, until it returns. */
void sim_run(const struct sim_options *options, void (*entry)(unsigned core, void *argument), void *argument);

/* A number below `bound`, from the seed of the run. */
uint64_t sim_below(uint64_t bound);
uint64_t sim_now(void);

/* The run has failed: says so, with its trace, and ends the process. */
_Noreturn void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- the trace ----------------------------------------------------------------------------------- */

/* A line of the trace. `format` stays where it is, and has at most four conversions, of unsigned long long.
 */
void sim_trace(const char *format, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
/* A number for all that was traced in this run: equal for equal runs. */
uint64_t sim_trace_hash(void);
/* Also print each line when it is traced. */
extern bool sim_verbose;

/* ---- trace.c, for the scheduler ------------------------------------------------------------------- */

/* What the sanitizers find is shown with its trace, too. */
void trace_watch(void);
void trace_begin(const struct sim_options *options);
/* The number of what is run, for its failure. */
void trace_name(uint64_t seed);

/* ---- scheduler.c, for the platform and the device ------------------------------------------------ */

/* Who runs: a core, or else the device. */
unsigned sim_running(void);
/* Somebody else may run here. */
void sim_point(void);
/* Somebody else runs, if there is anybody. */
void sim_yield(void);
/* There was something to do: time creeps. */
void sim_active(void);
void sim_ring_core(unsigned core);
/* The calling core sleeps until the time, whatever happens. */
void sim_sleep(uint64_t ns);

/* ---- device.c ------------------------------------------------------------------------------------ */

void device_begin(const struct sim_options *options);
/* The device's fiber. */
_Noreturn void device_main(void);
bool device_ready(void);
uint64_t device_due(void);
/* When it was seen to be lost; UINT64_MAX: it is there. */
uint64_t device_lost_since(void);
/* How often its function was reset. */
unsigned device_resets(void);
/* Interrupts on their way. */
unsigned device_interrupts(void);
void device_deliver(unsigned which);
/* Whether some have reached the core, and it has not collected them; and that it does: then its counters and
 * its event word change, as in both worlds in no other place. */
bool device_rings(unsigned core);
void device_collect(unsigned core);

/* ---- store.c: the stores of a model, whose requests finish in any order --------------------------- */

enum { SIM_STORES = 2 };

struct store;
/* One of `size` bytes, zeroes, for the next run; a slow one is sometimes later than any driver waits. */
struct store *store_begin_run(unsigned which, size_t size, bool slow);
uint64_t store_due(void);

/* ---- platform.c ---------------------------------------------------------------------------------- */

/* Maps the memory that all runs use, one after the other: once, before the processes of the runs are forked,
 * so that none of them has to allocate its pages again. A run reads only what it has written. */
void platform_map(void);
void platform_begin(void);
/* The device's own view of memory: NULL if it may not. `*size` gets no more than what is there in one piece.
 */
char *platform_reach(uint64_t address, size_t *size, unsigned reach);

#endif

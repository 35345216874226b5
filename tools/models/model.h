/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device model: what a PCI device does, in C, and nothing else. It has no thread, calls no operating system
 * and knows no clock: it is told of accesses to its registers, is run now and then, and reaches memory, time
 * and interrupts through its world. So the same code can be served to another process (server.h) and be run
 * step by step by a test.
 *
 * All calls to a model come from one thread at a time. A model trusts no address, length or index that it
 * finds in memory or is given through a register.
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pci.h"
#include "script.h"

struct model;
struct world;

/* ---- what a device can do to the machine ---- */

enum reach { REACH_READ = 1, REACH_WRITE = 2 };

struct world_ops {
    /* The memory that [address, address + size) is, for as long as `generation` stays the same; NULL if some
     * of it is not mapped, or not for that, or not in one piece, or can only be copied. */
    void *(*view)(struct world *world, uint64_t address, size_t size, unsigned reach);
    /* Moves bytes; false, having moved some or none, if the device may not. */
    bool (*copy)(struct world *world, uint64_t address, void *bytes, size_t size, bool to_memory);
    /* A message-signalled interrupt. */
    void (*interrupt)(struct world *world, unsigned vector);
    /* The level of the interrupt pin. */
    void (*pin)(struct world *world, bool high);
    uint64_t (*now)(struct world *world); /* nanoseconds */
    /* Reads and writes where the device may not, as hardware would that asks nobody. Whether some of it was
     * let through. NULL: there is no way. */
    bool (*trespass)(struct world *world);
};

struct world {
    const struct world_ops *ops;
    unsigned generation; /* changes when a view ends */
    bool slow; /* bytes were moved in a way that takes long: others wait for whoever runs the model */
};

/* ---- what a device is ---- */

#define MODEL_BARS 6

/* A base address register. Of some of it, the program's accesses may go straight to memory that the model
 * looks at when it is run, if whoever runs it does that without being asked: doorbells. */
struct model_bar {
    uint64_t size; /* 0: there is none */
    uint64_t shared_offset, shared_size;
};

struct model_class {
    const char *name;
    struct pci_identity identity;
    struct model_bar bars[MODEL_BARS];
    unsigned vectors; /* 0: it has a pin */
    const struct script_names *names;
    /* Registers. `width` is 1, 2, 4 or 8, and the access lies in the BAR. */
    uint64_t (*read)(struct model *model, unsigned bar, uint64_t offset, unsigned width);
    void (*write)(struct model *model, unsigned bar, uint64_t offset, unsigned width, uint64_t value);
    /* Does what there is to do. Returns whether anything was. Sets `due`. */
    bool (*run)(struct model *model);
    /* A function reset. */
    void (*reset)(struct model *model);
};

#define NEVER UINT64_MAX

struct model {
    const struct model_class *class;
    struct world *world;
    struct pci config;
    void *shared[MODEL_BARS]; /* the memory of the shared part of each BAR */
    uint64_t due;             /* when it has to be run again, even if nobody touches it; NEVER */
    int wake;                 /* a descriptor that can be read when it has to be run; -1 */
    struct script *script;    /* of its misbehaviour; NULL: it behaves */
};

/* Makes the configuration space, and gives it a world. The rest of the model is its own. */
void model_init(struct model *model, const struct model_class *class, struct world *world);

/* ---- for whoever runs it: its class, or what its script makes of that ---- */

uint64_t model_read(struct model *model, unsigned bar, uint64_t offset, unsigned width);
void model_write(struct model *model, unsigned bar, uint64_t offset, unsigned width, uint64_t value);
/* Of the configuration space, in which both lie. */
void model_read_config(struct model *model, unsigned offset, void *bytes, unsigned size);
void model_write_config(struct model *model, unsigned offset, const void *bytes, unsigned size);
bool model_run_script(struct model *model);
/* When it has to be run again. */
uint64_t model_due(const struct model *model);
/* A function reset. */
void model_reset(struct model *model);
/* It has been plugged in. */
void model_power_on(struct model *model);

static inline bool model_run(struct model *model)
{
    return model->script == NULL ? model->class->run(model) : model_run_script(model);
}

/* ---- for the model itself ---- */

/* Tells the script of an event. A rule says what is to happen instead of the right thing; NULL: that. */
const struct script_rule *model_ask_script(struct model *model, enum script_when when, uint64_t which);

static inline const struct script_rule *model_event(struct model *model, enum script_when when,
                                                    uint64_t which)
{
    return model->script == NULL ? NULL : model_ask_script(model, when, which);
}

void model_interrupt(struct model *model, unsigned vector);
void model_pin(struct model *model, bool high);

static inline void *model_view(struct model *model, uint64_t address, size_t size, unsigned reach)
{
    return model->world->ops->view(model->world, address, size, reach);
}

static inline bool model_load(struct model *model, uint64_t address, void *bytes, size_t size)
{
    return model->world->ops->copy(model->world, address, bytes, size, false);
}

static inline bool model_store(struct model *model, uint64_t address, const void *bytes, size_t size)
{
    return model->world->ops->copy(model->world, address, (void *)(uintptr_t)bytes, size, true);
}

static inline uint64_t model_now(struct model *model)
{
    return model->world->ops->now(model->world);
}

#endif

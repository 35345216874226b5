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
};

struct world {
    const struct world_ops *ops;
    unsigned generation; /* changes when a view ends */
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
};

/* Makes the configuration space, and gives it a world. The rest of the model is its own. */
void model_init(struct model *model, const struct model_class *class, struct world *world);

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

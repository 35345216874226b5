/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device's side: a model in a fiber of its own, its world, and what is on its way between it and the
 * cores. Every piece of memory that it moves is a step.
 */
#include "sim.h"

#include <chalk/device.h>
#include <chalk/error.h>
#include <chalk/mmio.h>
#include <chalk/platform.h>
#include <stdatomic.h>
#include <string.h>

enum { POSTED = 64, VECTORS = 128, FLYING = 256 };

struct posted {
    uint64_t offset, value;
    unsigned bar, width;
};

struct chalk_device {
    struct model *model;
    bool honest, open;
    bool tells, deaf; /* the platform learns when it is lost; or has a word for it in vain */
    _Atomic(bool) lost;
    uint64_t lost_since;
    unsigned resets; /* of its function */
    bool running;    /* in mid-step */
    bool dirty;      /* perhaps it has something to do */
    struct posted posted[POSTED];
    unsigned first, count;
    struct {
        unsigned core;
        CHALK_ATOMIC(uint32_t) *counter;
        uint32_t pending;  /* arrived, and not yet collected */
        bool masked, held; /* the mask bit in the table; an interrupt waits for it to be cleared */
    } vectors[VECTORS];
    unsigned flying[FLYING], flying_count; /* interrupts on their way */
    bool pin, pin_masked;
    unsigned windows;
};

static struct chalk_device device;

/* ---- its world ---- */

static void *view(struct world *world, uint64_t address, size_t size, unsigned reach)
{
    (void)world, (void)address, (void)size, (void)reach;
    return NULL; /* by copies only: each is seen */
}

static bool copy(struct world *world, uint64_t address, void *bytes, size_t size, bool to_memory)
{
    char *at = bytes;

    (void)world;
    sim_trace(to_memory ? "writes %llu bytes at 0x%llx" : "reads %llu bytes at 0x%llx", size, address, 0, 0);
    while (size > 0) {
        size_t piece = size;
        char *memory;

        sim_point();
        if (!pci_masters(&device.model->config))
            return false;
        if (piece > 8 && sim_below(2) == 0) /* in pieces; 8 bytes are never split */
            piece = 8 + (sim_below(piece - 7) & ~(size_t)7);
        memory = platform_reach(address, &piece, to_memory ? REACH_WRITE : REACH_READ);
        if (memory == NULL) {
            if (device.honest)
                sim_fail("the device was sent to 0x%llx, which it may not %s", (unsigned long long)address,
                         to_memory ? "write" : "read");
            return false;
        }
        memcpy(to_memory ? memory : at, to_memory ? at : memory, piece);
        address += piece;
        at += piece;
        size -= piece;
    }
    sim_point();
    return true;
}

static void send_interrupt(unsigned vector)
{
    if (vector < VECTORS && device.vectors[vector].masked) {
        device.vectors[vector].held = true;
    } else if (vector < VECTORS && device.flying_count < FLYING && pci_masters(&device.model->config)) {
        sim_trace("interrupts, vector %llu", vector, 0, 0, 0);
        device.flying[device.flying_count++] = vector;
    }
}

static void interrupt(struct world *world, unsigned vector)
{
    (void)world;
    send_interrupt(vector);
    sim_point();
}

/* Turns a vector on or off, by the bit in its entry of the MSI-X table [PCI 3.0 6.8.3.2]. */
static void mask(unsigned vector, bool masked)
{
    bool held = device.vectors[vector].held && !masked;

    device.vectors[vector].masked = masked;
    device.vectors[vector].held &= masked;
    if (held)
        send_interrupt(vector);
}

static void show_pin(void)
{
    if (device.pin && !device.pin_masked && device.vectors[0].counter != NULL) {
        device.pin_masked = true; /* until it is rearmed */
        sim_trace("interrupts, pin", 0, 0, 0, 0);
        device.flying[device.flying_count++] = 0;
    }
}

static void pin(struct world *world, bool high)
{
    (void)world;
    device.pin = high;
    show_pin();
}

static uint64_t world_now(struct world *world)
{
    (void)world;
    return sim_now();
}

static const struct world_ops ops = {view, copy, interrupt, pin, world_now, NULL};
struct world sim_world = {.ops = &ops};

/* The vector whose control word is there; or VECTORS. */
static unsigned control_of(unsigned bar, uint64_t offset)
{
    const struct model_class *class = device.model->class;
    uint64_t in_table = offset - class->identity.msix_table;

    return class->vectors != 0 && bar == class->identity.msix_bar && in_table < class->vectors * 16ull &&
                   in_table % 16 == 12
               ? (unsigned)(in_table / 16)
               : VECTORS;
}

/* ---- its fiber ---- */

void device_begin(const struct sim_options *options)
{
    device = (struct chalk_device){.model = options->model,
                                   .honest = options->honest,
                                   .tells = options->tells,
                                   .deaf = options->deaf,
                                   .lost_since = UINT64_MAX,
                                   .dirty = true};
    model_power_on(options->model);
}

bool device_ready(void)
{
    return device.running || device.dirty || device.count != 0 || sim_now() >= device_due();
}

uint64_t device_due(void)
{
    uint64_t due = model_due(device.model), store = store_due();

    if (device.lost_since != UINT64_MAX)
        return UINT64_MAX; /* what its store has is of no use any more */
    return due < store ? due : store;
}

uint64_t device_lost_since(void)
{
    return device.lost_since;
}

unsigned device_resets(void)
{
    return device.resets;
}

/* What the platform does that learns of it. */
static void notice_loss(void)
{
    if (device.lost_since != UINT64_MAX || device.model->script == NULL || !device.model->script->vanished)
        return;
    device.lost_since = sim_now();
    sim_trace("is lost", 0, 0, 0, 0);
    if (!device.tells)
        return;
    atomic_store(&device.lost, true);
    for (unsigned core = 0; core < SIM_CORES; core++)
        sim_ring_core(core);
}

static void take_posted(void)
{
    struct posted posted = device.posted[device.first];

    device.first = (device.first + 1) % POSTED;
    device.count--;
    device.dirty = true;
    sim_trace("is written %llu at 0x%llx", posted.value, posted.offset, 0, 0);
    if (control_of(posted.bar, posted.offset) != VECTORS)
        mask(control_of(posted.bar, posted.offset), (posted.value & 1) != 0);
    else
        model_write(device.model, posted.bar, posted.offset, posted.width, posted.value);
}

_Noreturn void device_main(void)
{
    for (;;) {
        device.running = true;
        if (device.count != 0)
            take_posted();
        else
            device.dirty = model_run(device.model);
        device.running = false;
        notice_loss();
        if (device.dirty)
            sim_active();
        sim_yield();
    }
}

/* What was written has arrived, and no step is half done. */
static void settle(void)
{
    while (device.running || device.count != 0)
        sim_yield();
}

/* ---- interrupts ---- */

unsigned device_interrupts(void)
{
    return device.flying_count;
}

void device_deliver(unsigned which)
{
    unsigned vector = device.flying[which];

    device.flying[which] = device.flying[--device.flying_count];
    if (device.vectors[vector].counter == NULL)
        return;
    sim_trace("vector %llu reaches core %llu", vector, device.vectors[vector].core, 0, 0);
    device.vectors[vector].pending++;
    sim_active();
}

bool device_rings(unsigned core)
{
    for (unsigned i = 0; i < VECTORS; i++)
        if (device.vectors[i].pending != 0 && device.vectors[i].core == core)
            return true;
    return false;
}

void device_collect(unsigned core)
{
    for (unsigned i = 0; i < VECTORS; i++)
        if (device.vectors[i].pending != 0 && device.vectors[i].core == core) {
            atomic_fetch_add(device.vectors[i].counter, device.vectors[i].pending);
            device.vectors[i].pending = 0;
            sim_ring_core(core);
        }
}

int chalk_vector_attach(struct chalk_device *opened, unsigned vector, unsigned core,
                        CHALK_ATOMIC(uint32_t) *counter)
{
    unsigned vectors = opened->model->class->vectors;

    sim_point();
    if (vector >= (vectors != 0 ? vectors : 1))
        return -ERANGE;
    if (core >= SIM_CORES)
        return -EINVAL;
    sim_trace(counter != NULL ? "attaches vector %llu to core %llu" : "detaches vector %llu", vector, core, 0,
              0);
    device.vectors[vector].core = core;
    device.vectors[vector].counter = counter;
    device.vectors[vector].pending = 0;
    mask(vector, false); /* its entry is written anew */
    show_pin();
    return 0;
}

int chalk_vector_rearm(struct chalk_device *opened, unsigned vector)
{
    sim_point();
    if (opened->model->class->vectors != 0)
        return vector < opened->model->class->vectors ? 0 : -ERANGE;
    if (vector != 0)
        return -ERANGE;
    settle(); /* what quiets the device arrives before an interrupt controller has been told */
    device.pin_masked = false;
    show_pin();
    return 0;
}

/* ---- opening, configuration ---- */

int chalk_bus_next(struct chalk_bus_info *info)
{
    const struct pci_identity *identity = &device.model->class->identity;

    if (info->cursor != 0)
        return -ENOENT;
    *info = (struct chalk_bus_info){.cursor = 1,
                                    .name = SIM_DEVICE,
                                    .vendor = identity->vendor,
                                    .device = identity->device,
                                    .class_code = identity->class_code,
                                    .revision = identity->revision};
    return 0;
}

static void set_master(bool on)
{
    uint16_t command;

    model_read_config(device.model, CHALK_PCI_COMMAND, &command, sizeof command);
    command = (uint16_t)(on ? command | CHALK_PCI_COMMAND_MASTER : command & ~CHALK_PCI_COMMAND_MASTER);
    model_write_config(device.model, CHALK_PCI_COMMAND, &command, sizeof command);
}

int device_open(struct chalk_device **opened);
int device_open(struct chalk_device **opened)
{
    if (device.open)
        return -EBUSY;
    settle();
    set_master(false);
    device.open = true;
    *opened = &device;
    return 0;
}

void device_close(void);
void device_close(void)
{
    if (!device.open)
        sim_fail("a device is closed that is not open");
    settle();
    set_master(false);
    memset(device.vectors, 0, sizeof device.vectors);
    device.flying_count = 0;
    device.open = false;
}

int chalk_device_reset(struct chalk_device *opened, uint64_t deadline)
{
    uint16_t vendor;

    opened->resets++;
    sim_trace("resets the function", 0, 0, 0, 0);
    settle();
    device.flying_count = 0;
    model_reset(device.model);
    sim_sleep(100000000); /* PCIe 6.6.2 */
    model_read_config(device.model, 0, &vendor, sizeof vendor);
    return vendor == 0xffff ? -ENODEV : sim_now() > deadline ? -ETIMEDOUT : 0;
}

static bool is_config(unsigned offset, unsigned width)
{
    return (width == 1 || width == 2 || width == 4) && offset % width == 0 && offset + width <= 4096;
}

int chalk_config_read(struct chalk_device *opened, unsigned offset, unsigned width, uint32_t *value)
{
    sim_point();
    if (!is_config(offset, width))
        return -EINVAL;
    settle();
    *value = 0;
    if (offset + width <= PCI_SPACE)
        model_read_config(opened->model, offset, value, width);
    sim_trace("reads %llx from configuration 0x%llx", *value, offset, 0, 0);
    return 0;
}

int chalk_config_write(struct chalk_device *opened, unsigned offset, unsigned width, uint32_t value)
{
    sim_point();
    if (!is_config(offset, width))
        return -EINVAL;
    settle();
    sim_trace("writes %llx to configuration 0x%llx", value, offset, 0, 0);
    if (offset + width <= PCI_SPACE)
        model_write_config(opened->model, offset, &value, width);
    sim_point();
    return 0;
}

/* ---- registers ---- */

static uint64_t window_read(const struct chalk_mmio *window, size_t offset, unsigned width)
{
    unsigned bar = (unsigned)(window->origin >> 60);
    uint64_t at = (window->origin & ~(15ull << 60)) + offset, value;

    sim_point();
    settle();
    value = control_of(bar, at) != VECTORS ? device.vectors[control_of(bar, at)].masked
                                           : model_read(device.model, bar, at, width);
    notice_loss();
    sim_trace("reads 0x%llx from register 0x%llx", value, at, 0, 0);
    sim_point();
    return value;
}

static void window_write(const struct chalk_mmio *window, size_t offset, unsigned width, uint64_t value)
{
    uint64_t at = (window->origin & ~(15ull << 60)) + offset;

    sim_point();
    while (device.count == POSTED)
        sim_yield();
    sim_trace("writes 0x%llx to register 0x%llx", value, at, 0, 0);
    device.posted[(device.first + device.count++) % POSTED] = (struct posted){
        .bar = (unsigned)(window->origin >> 60), .offset = at, .width = width, .value = value};
    sim_active();
    sim_point();
}

int chalk_window_map(struct chalk_device *opened, unsigned bar, uint64_t offset, size_t size,
                     enum chalk_attribute attribute, struct chalk_mmio *window)
{
    static const struct chalk_mmio_ops window_ops = {window_read, window_write};
    const struct model_bar *bars = opened->model->class->bars;

    (void)attribute;
    sim_point();
    if (bar >= MODEL_BARS || bars[bar].size == 0)
        return -ENODEV;
    if (offset > bars[bar].size || size > bars[bar].size - offset)
        return -ERANGE;
    *window = (struct chalk_mmio){.size = size,
                                  .ops = &window_ops,
                                  .origin = (uint64_t)bar << 60 | offset,
                                  .lost = device.tells || device.deaf ? &device.lost : NULL};
    return 0;
}

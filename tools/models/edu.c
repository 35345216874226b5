/* SPDX-License-Identifier: BSD-2-Clause */
/* See edu.h. Both things that it does take a millisecond, so that a driver has to wait. */
#include "edu.h"

#include <string.h>

enum {
    IDENTITY = 0x00,
    LIVENESS = 0x04,
    FACTORIAL = 0x08,
    STATUS = 0x20,
    STATUS_BUSY = 0x01,
    STATUS_INTERRUPT = 0x80,
    INTERRUPT_STATUS = 0x24,
    INTERRUPT_RAISE = 0x60,
    INTERRUPT_ACKNOWLEDGE = 0x64,
    DMA_SOURCE = 0x80,
    DMA_TARGET = 0x88,
    DMA_COUNT = 0x90,
    DMA_COMMAND = 0x98,
    DMA_START = 0x01,
    DMA_TO_MEMORY = 0x02,
    DMA_INTERRUPT = 0x04,
    COPY = DMA_COMMAND,
    BUFFER = 0x40000,
    INTERRUPT_FACTORIAL = 0x001,
    INTERRUPT_DMA = 0x100,
};

#define ADDRESS_MASK ((1ull << 28) - 1)
#define WORK_NS      1000000

static struct edu_model *edu_of(struct model *model)
{
    return (struct edu_model *)(void *)model;
}

static void set_due(struct edu_model *edu)
{
    edu->model.due = edu->factorial_due < edu->copy_due ? edu->factorial_due : edu->copy_due;
}

static void set_interrupts(struct edu_model *edu, uint32_t interrupts)
{
    edu->interrupts = interrupts;
    model_pin(&edu->model, interrupts != 0);
}

static uint64_t *dma_register(struct edu_model *edu, uint64_t offset)
{
    switch (offset & ~4ull) {
    case DMA_SOURCE:
        return &edu->source;
    case DMA_TARGET:
        return &edu->target;
    case DMA_COUNT:
        return &edu->count;
    case DMA_COMMAND:
        return &edu->command;
    default:
        return NULL;
    }
}

/* Below DMA_SOURCE accesses have 4 bytes, above 4 or 8; others are answered with all ones. */
static bool wrong(uint64_t offset, unsigned width)
{
    return offset % width != 0 || (width != 4 && (width != 8 || offset < DMA_SOURCE));
}

static uint64_t edu_read(struct model *model, unsigned bar, uint64_t offset, unsigned width)
{
    struct edu_model *edu = edu_of(model);
    const uint64_t *dma = dma_register(edu, offset);
    uint64_t value = 0;

    (void)bar;
    if (wrong(offset, width))
        return UINT64_MAX;
    if (dma != NULL) {
        memcpy(&value, (const char *)dma + offset % 8, width);
        return value;
    }
    switch (offset) {
    case IDENTITY:
        return 0x010000ed;
    case LIVENESS:
        return edu->liveness;
    case FACTORIAL:
        return edu->factorial;
    case STATUS:
        return edu->status;
    case INTERRUPT_STATUS:
        return edu->interrupts;
    default:
        return UINT64_MAX;
    }
}

/* Work that takes its time. A script may have it never begun, and does with the data what it wants. */
static void begin(struct edu_model *edu, uint64_t work, uint64_t *due)
{
    const struct script_rule *rule = model_event(&edu->model, WHEN_COMMAND, work);

    edu->spoiling = rule;
    *due = rule != NULL && rule->what == WHAT_IGNORE ? NEVER : model_now(&edu->model) + WORK_NS;
}

/* Whether the work is done now. A script may have it done later or never. */
static bool is_done(struct edu_model *edu, uint64_t work, uint64_t *due, uint64_t now)
{
    const struct script_rule *rule;

    if (now < *due)
        return false;
    rule = edu->late == due ? NULL : model_event(&edu->model, WHEN_COMPLETION, work);
    edu->late = rule != NULL && rule->what == WHAT_LATE ? due : NULL;
    *due = edu->late == due ? now + rule->value : NEVER;
    return rule == NULL;
}

static void edu_write(struct model *model, unsigned bar, uint64_t offset, unsigned width, uint64_t value)
{
    struct edu_model *edu = edu_of(model);
    uint64_t *dma = dma_register(edu, offset);

    (void)bar;
    if (wrong(offset, width))
        return;
    if (dma != NULL) {
        if ((edu->command & DMA_START) != 0)
            return; /* what it is doing does not change any more */
        memcpy((char *)dma + offset % 8, &value, width);
        if ((edu->command & DMA_START) != 0)
            begin(edu, COPY, &edu->copy_due);
    } else if (offset == LIVENESS) {
        edu->liveness = ~(uint32_t)value;
    } else if (offset == FACTORIAL && (edu->status & STATUS_BUSY) == 0) {
        edu->factorial = (uint32_t)value;
        edu->status |= STATUS_BUSY;
        begin(edu, FACTORIAL, &edu->factorial_due);
    } else if (offset == STATUS) {
        edu->status = (edu->status & ~(uint32_t)STATUS_INTERRUPT) | ((uint32_t)value & STATUS_INTERRUPT);
    } else if (offset == INTERRUPT_RAISE) {
        set_interrupts(edu, edu->interrupts | (uint32_t)value);
    } else if (offset == INTERRUPT_ACKNOWLEDGE) {
        set_interrupts(edu, edu->interrupts & ~(uint32_t)value);
    }
    set_due(edu);
}

static void finish_factorial(struct edu_model *edu)
{
    uint32_t product = 1;

    for (uint32_t n = edu->factorial, steps = 0; n > 1 && product != 0 && steps < 64; n--, steps++)
        product *= n; /* modulo 2^32: 34! and all after it are 0 */
    script_spoil(edu->model.script, edu->spoiling, &product, sizeof product);
    edu->factorial = product;
    edu->status &= ~(uint32_t)STATUS_BUSY;
    if ((edu->status & STATUS_INTERRUPT) != 0)
        set_interrupts(edu, edu->interrupts | INTERRUPT_FACTORIAL);
}

static void finish_copy(struct edu_model *edu)
{
    bool to_memory = (edu->command & DMA_TO_MEMORY) != 0;
    uint64_t inside = (to_memory ? edu->source : edu->target) - BUFFER;
    uint64_t address = (to_memory ? edu->target : edu->source) & ADDRESS_MASK;

    if (inside <= EDU_BUFFER && edu->count <= EDU_BUFFER - inside) {
        size_t size = (size_t)edu->count;

        if (to_memory)
            size = script_spoil(edu->model.script, edu->spoiling, edu->buffer + inside, size);
        edu->model.world->ops->copy(edu->model.world, address, edu->buffer + inside, size, to_memory);
    }
    edu->command &= ~(uint64_t)DMA_START;
    if ((edu->command & DMA_INTERRUPT) != 0)
        set_interrupts(edu, edu->interrupts | INTERRUPT_DMA);
}

static bool edu_run(struct model *model)
{
    struct edu_model *edu = edu_of(model);
    uint64_t now = model_now(model);

    if (now < model->due)
        return false;
    if (is_done(edu, FACTORIAL, &edu->factorial_due, now))
        finish_factorial(edu);
    if (is_done(edu, COPY, &edu->copy_due, now))
        finish_copy(edu);
    set_due(edu);
    return true;
}

static void edu_reset(struct model *model)
{
    struct edu_model *edu = edu_of(model);

    edu->liveness = edu->factorial = edu->status = 0;
    edu->source = edu->target = edu->count = edu->command = 0;
    edu->factorial_due = edu->copy_due = NEVER;
    edu->spoiling = NULL;
    edu->late = NULL;
    memset(edu->buffer, 0, sizeof edu->buffer);
    set_interrupts(edu, 0);
    set_due(edu);
}

/* ---- what a script can do to it ---- */

#define HAS(what) (1u << WHAT_##what)

static const struct script_name names[] = {
    {WHEN_COMMAND, "factorial", FACTORIAL, UINT64_MAX},
    {WHEN_COMMAND, "copy", COPY, UINT64_MAX},
    {WHEN_COMPLETION, "factorial", FACTORIAL, UINT64_MAX},
    {WHEN_COMPLETION, "copy", COPY, UINT64_MAX},
    {WHEN_READ, "identity", IDENTITY, UINT64_MAX},
    {WHEN_READ, "factorial", FACTORIAL, UINT64_MAX},
    {WHEN_READ, "status", STATUS, UINT64_MAX},
    {WHEN_READ, "interrupt-status", INTERRUPT_STATUS, UINT64_MAX},
    {WHEN_READ, "dma-command", DMA_COMMAND, UINT64_MAX},
    {WHEN_WRITE, "factorial", FACTORIAL, UINT64_MAX},
    {WHEN_WRITE, "interrupt-acknowledge", INTERRUPT_ACKNOWLEDGE, UINT64_MAX},
    {WHEN_WRITE, "dma-command", DMA_COMMAND, UINT64_MAX},
};

const struct script_names edu_names = {
    .device = "edu",
    .names = names,
    .count = sizeof names / sizeof names[0],
    .commands = HAS(IGNORE) | HAS(GARBAGE) | HAS(FILL) | HAS(PUT) | HAS(SHORT),
    .completions = HAS(IGNORE) | HAS(LATE),
};

static const struct model_class edu_class = {
    .name = "edu",
    .identity = {.vendor = 0x1234, .device = 0x11e8, .class_code = 0x00ff00, .revision = 0x10},
    .bars = {{.size = 1 << 20}},
    .names = &edu_names,
    .read = edu_read,
    .write = edu_write,
    .run = edu_run,
    .reset = edu_reset,
};

void edu_model_init(struct edu_model *edu, struct world *world)
{
    memset(edu, 0, sizeof *edu);
    model_init(&edu->model, &edu_class, world);
    edu_reset(&edu->model);
}

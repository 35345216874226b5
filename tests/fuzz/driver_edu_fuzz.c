/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The whole program of examples/edu.c, and a device that answers what the input says: see answers.h.
 *
 * Whatever that is, the program ends in time, with a word on what went wrong if something did, and everything
 * is given back. It never takes for a copy what is none; and if no answer was a lie, all are right.
 */
#include "answers.h"

#include "tools/models/edu.h"

#include <chalk/clock.h>
#include <chalk/error.h>
#include <chalk/main.h>
#include <platform_fake.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LONGEST (13 * CHALK_S) /* four factorials and two copies, of 2 s each */

static const char right[] = "identity 010000ed\n"
                            "3! = 6\n"
                            "6! = 720\n"
                            "9! = 362880\n"
                            "12! = 479001600\n"
                            "copied: there and back again\n";

static struct fake_device *device;
static struct edu_model model;
static char said[1024];

/* What the program prints. */
int say(const char *format, ...) __attribute__((format(printf, 1, 2)));
int say(const char *format, ...)
{
    size_t size = strlen(said);
    va_list list;
    int length;

    va_start(list, format);
    length = vsnprintf(said + size, sizeof said - size, format, list);
    va_end(list);
    return length;
}

/* ---- the model's world ----------------------------------------------------------------------------- */

static void *view(struct world *world, uint64_t address, size_t size, unsigned reach)
{
    (void)world, (void)address, (void)size, (void)reach;
    return NULL;
}

static bool copy(struct world *world, uint64_t address, void *bytes, size_t size, bool to_memory)
{
    void *memory =
        fake_device_dma(device, address, size, to_memory ? CHALK_DEVICE_WRITES : CHALK_DEVICE_READS);

    (void)world;
    if (memory != NULL)
        memcpy(to_memory ? memory : bytes, to_memory ? bytes : memory, size);
    return memory != NULL;
}

static void interrupt(unsigned vector)
{
    fake_interrupt(device, vector % FAKE_VECTORS);
}

static void pin(struct world *world, bool high)
{
    (void)world;
    if (high)
        interrupt(0);
}

static void message(struct world *world, unsigned vector)
{
    (void)world;
    interrupt(vector);
}

static uint64_t now(struct world *world)
{
    (void)world;
    return fake.now;
}

static uint64_t read_register(const struct chalk_mmio *window, size_t offset, unsigned width)
{
    return device->gone ? UINT64_MAX : model_read(&model.model, 0, window->origin + offset, width);
}

static void write_register(const struct chalk_mmio *window, size_t offset, unsigned width, uint64_t value)
{
    if (!device->gone)
        model_write(&model.model, 0, window->origin + offset, width, value);
}

static void unplug(void)
{
    device->gone = true;
}

/* Who waits, waits no longer than until the model has something to do. */
static void work(void)
{
    static uint64_t waits;
    uint64_t due = model_due(&model.model);

    if (fake.waits != waits && due != NEVER && due > fake.now)
        fake.now = due;
    waits = fake.waits;
    if (!device->gone)
        model_run(&model.model);
}

/* ---- a life ---------------------------------------------------------------------------------------- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct world_ops ops = {view, copy, message, pin, now, NULL};
    static const struct chalk_mmio_ops registers = {read_register, write_register};
    static const struct answers_device answers = {unplug, interrupt, work};
    static struct world world = {.ops = &ops};
    char program[] = "edu", name[] = "0000:00:05.0", *arguments[] = {program, name, NULL};
    int status;

    fake_reset();
    fake.next_iova = 1 << 20; /* within its 28 bits */
    said[0] = '\0';
    device = fake_device_add(name, 0x1234, 0x11e8, 0x00ff00);
    device->bars[0].size = 1 << 20;
    device->bars[0].ops = &registers;
    device->model = &model;
    edu_model_init(&model, &world);
    answers_begin(data, size, &answers);
    answers_end(answers_take() % 3);
    answers_limit(LONGEST);
    status = chalk_main(2, arguments);

    REQUIRE(!device->open && fake.mappings == 0);
    REQUIRE(status == 0 || strstr(said, "edu: ") != NULL);
    REQUIRE(status != 0 || strstr(said, "copied: there and back again\n") != NULL);
    REQUIRE(status != 0 || strstr(said, "identity 010000ed\n") == said);
    REQUIRE(answers_lies != 0 || (status == 0 && strcmp(said, right) == 0) ||
            fake.now > CHALK_S); /* ANSWER_LATER */
    return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* See stub.h. Citations as in drivers/nvme/registers.h. */
#include "stub.h"
#include <chalk/device.h>
#include <chalk/error.h>
#include <chalk/mmio.h>

#include <drivers/nvme/registers.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMORY   ((size_t)16 << 20)
#define DATASIZE ((uint64_t)1 << 30) /* of the namespace, bytes */

struct ring {
    struct nvme_command *commands;
    struct nvme_completion *completions;
    uint32_t entries, head; /* of the submission queue */
    uint32_t posted, phase; /* of the completion queue */
};

static struct {
    uint32_t cc, csts;
    uint64_t asq, acq;
    struct ring admin, io;
} stub;
unsigned stub_register_accesses;
unsigned stub_namespaces = 1;

static _Alignas(4096) uint8_t memory[MEMORY]; /* iova: its own address */
static _Alignas(4096) volatile uint32_t doorbells[1024];
static uint8_t config[4096];

/* ---- the device ------------------------------------------------------------------------------------ */

static void complete(struct ring *ring, unsigned id, const struct nvme_command *command, uint32_t result)
{
    struct nvme_completion *entry = &ring->completions[ring->posted];

    entry->result = result;
    entry->origin = id << 16 | ring->head;
    entry->outcome = command->cdw0 >> 16 | ring->phase << 16;
    if (++ring->posted == ring->entries) {
        ring->posted = 0;
        ring->phase ^= 1;
    }
}

/* Of the namespaces above one [Base 5.17.2.2]. */
static void list_namespaces(uint32_t after, uint32_t list[1024])
{
    for (unsigned i = 0; i < 1024; i++)
        list[i] = after + i < stub_namespaces ? after + i + 1 : 0;
}

static void identify(const struct nvme_command *command)
{
    void *answer = (void *)(uintptr_t)command->prp1;

    if ((command->cdw10 & 0xff) == 1)
        *(struct nvme_identify_controller *)answer = (struct nvme_identify_controller){
            .vid = 1, .mdts = 5, .sqes = 0x66, .cqes = 0x44, .nn = stub_namespaces, .vwc = 1};
    else if ((command->cdw10 & 0xff) == 2)
        list_namespaces(command->nsid, answer);
    else if ((command->cdw10 & 0xff) == 0)
        *(struct nvme_identify_namespace *)answer =
            (struct nvme_identify_namespace){.nsze = DATASIZE / 512, .lbaf[0] = 9 << 16};
}

static void admin(const struct nvme_command *command)
{
    uint8_t opcode = command->cdw0 & 0xff;
    uint32_t entries = (command->cdw10 >> 16) + 1, id = command->cdw10 & 0xffff, result = 0;

    if (opcode == NVME_IDENTIFY)
        identify(command);
    else if (opcode == NVME_SET_FEATURES && id == NVME_FEATURE_QUEUES)
        result = (STUB_QUEUES - 1) << 16 | (STUB_QUEUES - 1);
    else if (opcode == NVME_CREATE_CQ && id == 1)
        stub.io =
            (struct ring){.completions = (void *)(uintptr_t)command->prp1, .entries = entries, .phase = 1};
    else if (opcode == NVME_CREATE_SQ && id == 1)
        stub.io.commands = (void *)(uintptr_t)command->prp1;
    complete(&stub.admin, 0, command, result);
}

unsigned stub_run(void)
{
    struct ring *ring = &stub.io;
    unsigned ran = 0;

    for (; ring->head != doorbells[0]; ran++) {
        const struct nvme_command *command = &ring->commands[ring->head];

        ring->head = ring->head + 1 == ring->entries ? 0 : ring->head + 1;
        complete(ring, 1, command, 0);
    }
    return ran;
}

static uint64_t read_register(const struct chalk_mmio *window, size_t offset, unsigned width)
{
    (void)width;
    stub_register_accesses++;
    switch (window->origin + offset) {
    case NVME_CAP:
        return 1023 | 1u << 24; /* MQES, CAP.TO */
    case NVME_CAP + 4:
        return NVME_CAP_CSS_NVM >> 32;
    case NVME_VS:
        return 0x010400;
    case NVME_CC:
        return stub.cc;
    case NVME_CSTS:
        return stub.csts;
    default:
        return 0;
    }
}

static void write_register(const struct chalk_mmio *window, size_t offset, unsigned width, uint64_t value)
{
    struct ring *ring = &stub.admin;

    (void)width;
    stub_register_accesses++;
    switch (window->origin + offset) {
    case NVME_CC:
        stub.cc = (uint32_t)value;
        stub.csts = (value & NVME_CC_EN) != 0 ? NVME_CSTS_RDY : 0;
        if ((value & NVME_CC_SHN_MASK) != 0)
            stub.csts |= NVME_CSTS_SHST_DONE;
        break;
    case NVME_AQA:
        *ring = (struct ring){.entries = (uint32_t)(value & 0xfff) + 1, .phase = 1};
        break;
    case NVME_ASQ:
        stub.asq = value;
        break;
    case NVME_ASQ + 4:
        ring->commands = (void *)(uintptr_t)(stub.asq | value << 32);
        break;
    case NVME_ACQ:
        stub.acq = value;
        break;
    case NVME_ACQ + 4:
        ring->completions = (void *)(uintptr_t)(stub.acq | value << 32);
        break;
    case NVME_REGISTERS_SIZE: /* the admin submission queue's doorbell */
        while (ring->head != value) {
            const struct nvme_command *command = &ring->commands[ring->head];

            ring->head = ring->head + 1 == ring->entries ? 0 : ring->head + 1;
            /* An event that never comes. */
            if ((command->cdw0 & 0xff) != 0x0c)
                admin(command);
        }
        break;
    default:
        break;
    }
}

static const struct chalk_mmio_ops registers = {.read = read_register, .write = write_register};

/* ---- the platform ---------------------------------------------------------------------------------- */

struct chalk_domain {
    int nothing;
};
struct chalk_device {
    int nothing;
};
static struct chalk_domain the_domain;
static struct chalk_device the_device;

int chalk_span_get(unsigned i, struct chalk_span *span)
{
    static struct chalk_span_books books;

    if (i != 0)
        return -ENOENT;
    *span = (struct chalk_span){
        .va = memory, .size = sizeof memory, .iova = (uintptr_t)memory, .page = 4096, .books = &books};
    return 0;
}

int chalk_span_grow(size_t size, size_t page, unsigned node, uint64_t max_address, struct chalk_span *span)
{
    (void)size, (void)page, (void)node, (void)max_address, (void)span;
    return -ENOMEM;
}

int chalk_device_open(const char *name, struct chalk_domain **domain, struct chalk_device **device)
{
    (void)name;
    config[0] = 1;
    config[10] = 0x08; /* 01 08 02: NVMe */
    config[9] = 0x02;
    config[11] = 0x01;
    *domain = &the_domain;
    *device = &the_device;
    return 0;
}

void chalk_device_close(struct chalk_device *device)
{
    (void)device;
}

int chalk_device_reset(struct chalk_device *device, uint64_t deadline)
{
    (void)device, (void)deadline;
    return -ENOTSUP;
}

int chalk_config_read(struct chalk_device *device, unsigned offset, unsigned width, uint32_t *value)
{
    (void)device;
    *value = 0;
    memcpy(value, config + offset, width);
    return 0;
}

int chalk_config_write(struct chalk_device *device, unsigned offset, unsigned width, uint32_t value)
{
    (void)device;
    memcpy(config + offset, &value, width);
    return 0;
}

int chalk_window_map(struct chalk_device *device, unsigned bar, uint64_t offset, size_t size,
                     enum chalk_attribute attribute, struct chalk_mmio *window)
{
    (void)device, (void)bar, (void)attribute;
    *window = (struct chalk_mmio){.size = size, .ops = &registers, .origin = offset};
    if (offset == NVME_DOORBELL(1, 4)) {
        window->ops = NULL;
        window->base = (uintptr_t)doorbells;
    }
    return 0;
}

int chalk_dma_map(struct chalk_domain *domain, void *va, size_t size, uint64_t iova, unsigned protection)
{
    (void)domain, (void)va, (void)size, (void)iova, (void)protection;
    return 0;
}

int chalk_dma_unmap(struct chalk_domain *domain, uint64_t iova, size_t size)
{
    (void)domain, (void)iova, (void)size;
    return 0;
}

int chalk_vector_attach(struct chalk_device *device, unsigned vector, unsigned core,
                        _Atomic(uint32_t) *counter)
{
    (void)device, (void)vector, (void)core, (void)counter;
    return -ENOTSUP;
}

int chalk_core_get_info(unsigned core, struct chalk_core_info *info)
{
    static const _Atomic(uint32_t) events;

    *info = (struct chalk_core_info){.running = true, .events = &events};
    return core == 0 ? 0 : -ENOENT;
}

int chalk_core_start(unsigned core, void (*entry)(unsigned core, void *argument), void *argument)
{
    (void)core, (void)entry, (void)argument;
    return -ENOTSUP;
}

void chalk_core_wait(unsigned core, uint32_t seen, uint64_t deadline)
{
    (void)core, (void)seen, (void)deadline;
}

bool chalk_exit_requested(void)
{
    return false;
}

void chalk_core_wake(unsigned core)
{
    (void)core;
}

const struct chalk_clock *chalk_clock_info(void)
{
    static const struct chalk_clock clock = {
        .hertz = 1000000000, .ns_mult = 1ull << 32, .ticks_mult = 1ull << 32};

    return &clock;
}

long chalk_console(void *bytes, size_t size, bool write_)
{
    return write_ ? write(2, bytes, size) : 0;
}

void chalk_exit(int status)
{
    exit(status);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hostile vfio-user client: its messages come from the fuzzer, with the header and the descriptors that
 * make them messages; and so do the memory that it lends and the registers that it writes. Both models are
 * served, also with a script that has them misbehave.
 */
#define _GNU_SOURCE
#include "tools/models/edu.h"
#include "tools/models/nvme.h"
#include "tools/models/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chalk/clock.h>
#include <chalk/device.h>
#include <chalk/hosted.h>

#define MEMORY (1 << 20)

static const uint8_t *data;
static size_t left;
static struct server server;
static struct nvme_model nvme;
static struct edu_model edu;
static uint8_t *memory; /* what is lent */
static int memory_fd, client;

unsigned long long fake_ticks(void);
unsigned long long fake_ticks(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (unsigned long long)high << 32 | low;
}

long chalk_console(void *bytes, size_t size, bool write)
{
    (void)bytes;
    return write ? (long)size : 0;
}

static uint64_t take(unsigned size)
{
    uint64_t value = 0;
    unsigned some = size < left ? size : (unsigned)left;

    memcpy(&value, data, some);
    data += some;
    left -= some;
    return value;
}

static void send_message(uint16_t command, const void *body, size_t size, int fd)
{
    struct vfio_user_header header = {.id = 1, .command = command, .flags = (uint32_t)take(1) & 0x1f};
    struct iovec part = {(void *)(uintptr_t)body, size};
    char answers[4096];

    message_send(client, &header, &part, 1, &fd, fd >= 0, chalk_deadline(CHALK_S));
    if (server.client >= 0 && commands_serve(&server) != 0) {
        close(server.client);
        server.client = -1;
    }
    while (recv(client, answers, sizeof answers, MSG_DONTWAIT) > 0)
        ;
}

static void send_bytes(void)
{
    uint8_t body[256];
    uint16_t command = (uint16_t)(take(1) % 20);
    size_t size = take(1);
    uint8_t kind = (uint8_t)take(1);
    int fd = kind == 1 ? dup(memory_fd) : kind == 2 ? eventfd(0, EFD_CLOEXEC) : -1;

    for (size_t i = 0; i < size; i++)
        body[i] = (uint8_t)take(1);
    send_message(command, body, size, fd);
    if (fd >= 0)
        close(fd);
}

static void write_register(void)
{
    struct {
        struct vfio_user_access access;
        uint64_t value;
    } body = {
        .access = {.offset = take(2), .region = take(1) & 1 ? VFIO_PCI_CONFIG_REGION_INDEX : 0, .count = 4}};

    body.value = take(4);
    send_message(VFIO_USER_REGION_WRITE, &body, sizeof body.access + 4, -1);
}

/* Puts something where a model may look: a queue, a list, a descriptor. */
static void write_memory(void)
{
    size_t at = take(2) * 8 % (MEMORY - 64), size = take(1) % 64;

    for (size_t i = 0; i < size; i++)
        memory[at + i] = (uint8_t)take(1);
}

static void lend(void)
{
    struct vfio_user_dma_map map = {.argsz = sizeof map, .flags = 3, .address = 0, .size = MEMORY};
    int fd = dup(memory_fd);

    send_message(VFIO_USER_DMA_MAP, &map, sizeof map, fd);
    close(fd);
}

/* A command of the administration queue, which is at 0, with its completions at 4096, or of the queue for
 * I/O, whose are the pages after them; all of 16 entries. */
static void submit(struct nvme_model *model, unsigned queue)
{
    struct nvme_command command = {.cdw0 = (uint32_t)take(1) | (uint32_t)(take(1) & 0xc0) << 8,
                                   .nsid = (uint32_t)take(1),
                                   .prp1 = take(2) << 4,
                                   .prp2 = take(2) << 4,
                                   .cdw10 = (uint32_t)take(4),
                                   .cdw11 = (uint32_t)take(4),
                                   .cdw12 = (uint32_t)take(4),
                                   .cdw13 = (uint32_t)take(2)};
    uint32_t tail = model->doorbells[2 * queue] % 16;

    if (command.nsid == 0xff) /* all of them */
        command.nsid = UINT32_MAX;
    memcpy(memory + 8192 * queue + 64 * tail, &command, sizeof command);
    model->doorbells[2 * queue] = (tail + 1) % 16;
    model->doorbells[2 * queue + 1] = model->cqs[queue].tail;
    model_run(&model->model);
}

static void admin(const struct nvme_command *command)
{
    uint32_t tail = nvme.doorbells[0] % 16;

    memcpy(memory + 64 * tail, command, sizeof *command);
    nvme.doorbells[0] = (tail + 1) % 16;
    nvme.model.class->run(&nvme.model);
    nvme.doorbells[1] = nvme.cqs[0].tail;
}

/* A controller that is enabled, with a queue for I/O: the fuzzer would take long to find it. */
static void enable(void)
{
    static const struct {
        uint64_t offset, value;
    } writes[] = {{NVME_CC, 0},
                  {NVME_AQA, 0x000f000f},
                  {NVME_ASQ, 0},
                  {NVME_ACQ, 4096},
                  {NVME_CC, NVME_CC_EN | NVME_CC_IOSQES | NVME_CC_IOCQES}};

    nvme.model.config.bytes[CHALK_PCI_COMMAND] |= CHALK_PCI_COMMAND_MASTER;
    lend();
    for (unsigned i = 0; i < sizeof writes / sizeof writes[0]; i++)
        nvme.model.class->write(&nvme.model, 0, writes[i].offset, writes[i].offset == NVME_ACQ ? 8 : 4,
                                writes[i].value);
    admin(&(struct nvme_command){.cdw0 = NVME_CREATE_CQ,
                                 .prp1 = 8192 + 4096,
                                 .cdw10 = NVME_QUEUE(1, 16),
                                 .cdw11 = NVME_QUEUE_CONTIGUOUS});
    admin(&(struct nvme_command){.cdw0 = NVME_CREATE_SQ,
                                 .prp1 = 8192,
                                 .cdw10 = NVME_QUEUE(1, 16),
                                 .cdw11 = 1u << 16 | NVME_QUEUE_CONTIGUOUS});
}

/* A few rules of any kind. Nobody answers a device that trespasses, and one that shrinks memory shrinks ours.
 */
static void misbehave(struct script *script)
{
    memset(script, 0, sizeof *script);
    for (unsigned i = (unsigned)take(1) % 4; i > 0; i--) {
        struct script_rule rule = {.when = take(1) % WHEN_COUNT,
                                   .what = take(1) % WHAT_COUNT,
                                   .first = take(1) % 8 + 1,
                                   .last = UINT64_MAX,
                                   .value = take(2),
                                   .offset = take(1),
                                   .width = 1u << take(1) % 4};

        if (rule.what != WHAT_TRESPASS && rule.what != WHAT_SHRINK)
            script_add(script, &rule);
    }
    server.model->script = script->count > 0 ? script : NULL;
}

/* Namespaces as they are at first: without and with zones, and capacity for more. */
static void make_namespaces(void)
{
    nvme.spare = MEMORY;
    nvme.namespaces[0] = (struct nvme_namespace){.attached = true, .shift = 9, .blocks = MEMORY >> 9};
    nvme.namespaces[1] = (struct nvme_namespace){.attached = true,
                                                 .shift = 9,
                                                 .blocks = MEMORY >> 9,
                                                 .zone_size = 64,
                                                 .zone_capacity = 48,
                                                 .max_open = 2,
                                                 .max_active = 3};
    if (store_open("ram", MEMORY, &nvme.namespaces[0].store) != 0 ||
        store_open("ram", MEMORY, &nvme.namespaces[1].store) != 0 ||
        nvme_make_zones(&nvme.namespaces[1]) != 0)
        abort();
}

/* The fuzzer may have deleted some, and made others. */
static void remake_namespaces(void)
{
    for (unsigned i = 0; i < NVME_MODEL_NAMESPACES; i++) {
        free(nvme.namespaces[i].zones);
        store_close(nvme.namespaces[i].store);
        memset(&nvme.namespaces[i], 0, sizeof nvme.namespaces[i]);
    }
    make_namespaces();
}

static void begin(void)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        abort();
    server.client = pair[0];
    client = pair[1];
    server.twin = -1;
    server.agreed = true;
    server.client_data_max = VFIO_USER_DATA_MAX;
}

static void end(void)
{
    close(client);
    if (server.client >= 0)
        close(server.client);
    if (server.twin >= 0)
        close(server.twin);
    server.client = server.twin = -1;
    commands_forget(&server);
    for (unsigned i = 0; i < SERVER_VECTORS; i++) {
        if (server.vectors[i] >= 0)
            close(server.vectors[i]);
        server.vectors[i] = -1;
    }
    model_power_on(server.model);
    server.model->script = NULL;
    if (server.model == &nvme.model)
        remake_namespaces();
    memory_return_all(&server);
}

static void set_up(void)
{
    if (chalk_start(NULL) != 0)
        abort();
    server.world.ops = &server_world_ops;
    if (eventfds_open(&server) != 0)
        abort();
    memset(server.vectors, 0xff, sizeof server.vectors);
    memset(server.shared, 0xff, sizeof server.shared);
    memory_fd = memfd_create("lent", MFD_CLOEXEC);
    if (ftruncate(memory_fd, MEMORY) != 0)
        abort();
    memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
    if (memory == MAP_FAILED)
        abort();
    make_namespaces();
    nvme.serial = "fuzz";
    server.model = &edu.model;
    edu_model_init(&edu, &server.world);
    nvme_model_init(&nvme, &server.world);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct script script;
    static bool ready;

    if (!ready)
        set_up();
    ready = true;
    data = bytes;
    left = size;
    server.model = (take(1) & 1) != 0 ? &nvme.model : &edu.model;
    begin();
    misbehave(&script);
    if (server.model == &nvme.model && (take(1) & 3) != 0)
        enable();
    while (left > 0 && server.client >= 0) {
        switch (take(1) % 6) {
        case 0:
            send_bytes();
            break;
        case 1:
            write_register();
            break;
        case 2:
            write_memory();
            break;
        case 3:
            lend();
            break;
        case 4:
            if (server.model == &nvme.model)
                submit(&nvme, take(1) & 1);
            break;
        default:
            server.model->due = 0;
            for (unsigned i = 0; i < 4; i++)
                model_run(server.model);
            if (server.model->script != NULL && hostile_deeds(&server) != 0)
                left = 0;
        }
    }
    end();
    return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Several controllers and namespaces at once, of 512- and of 4096-byte blocks, a queue on each: requests go
 * round among them, and what comes back is what was written there and nowhere else. All NVMe controllers on
 * the bus take part.
 */
#include <chalk/clock.h>
#include <chalk/device.h>
#include <chalk/main.h>
#include <chalk/nvme.h>

#include <string.h>

#include "twin.h"

#define CONTROLLERS 4u
#define QUEUES      8u
#define ROUNDS      64u
#define PIECE       8192u /* bytes a request */

struct controller {
    char name[CHALK_NAME_SIZE];
    struct chalk_domain *domain;
    struct chalk_device *device;
    struct chalk_nvme *nvme;
    bool shared;
};

struct disk {
    struct chalk_block_queue *queue;
    unsigned number;
    struct chalk_dma data;
    struct chalk_block_request request;
    unsigned rounds; /* finished */
    bool flying, failed;
};

static struct controller controllers[CONTROLLERS];
static struct disk disks[QUEUES];
static unsigned controller_count, disk_count;

static bool open_controller(struct controller *c, struct chalk_memory *memory)
{
    const struct chalk_nvme_options options = {.memory = memory, .name = c->name};
    struct chalk_nvme_options with_domain = options;

    if (chalk_device_open(c->name, &c->domain, &c->device) != 0)
        return false;
    c->shared = chalk_memory_share(memory, c->domain) == 0;
    with_domain.domain = c->domain;
    return c->shared && chalk_nvme_open(c->device, &with_domain, &c->nvme) == 0;
}

static bool open_disks(struct controller *c, struct chalk_memory *memory)
{
    struct chalk_nvme_namespace ns = {0};

    while (disk_count < QUEUES && chalk_nvme_next_namespace(c->nvme, ns.nsid, &ns) == 0) {
        const struct chalk_nvme_queue_options options = {.nsid = ns.nsid, .depth = 8};
        struct disk *disk = &disks[disk_count];

        if (chalk_nvme_queue_open(c->nvme, &options, &disk->queue) != 0 ||
            chalk_dma_get(memory, PIECE, CHALK_PAGE, &disk->data) != 0)
            return false;
        disk->number = disk_count++;
        printf("       disk %u has blocks of %u bytes\n", disk->number, ns.block_size);
    }
    return true;
}

static void landed(struct chalk_block_request *request, int status)
{
    struct disk *disk = request->context;

    disk->flying = false;
    disk->failed |= status != 0;
    disk->rounds++;
}

static uint8_t byte_of(const struct disk *disk, unsigned round, size_t i)
{
    return (uint8_t)(disk->number * 31 + round * 7 + i);
}

/* The next round of a disk: one piece is written or read, at the same byte of each. */
static void start(struct disk *disk, enum chalk_block_op op)
{
    const uint32_t size = disk->queue->info.block_size;
    struct chalk_block_request *batch = &disk->request;
    unsigned char *bytes = disk->data.va;

    for (size_t i = 0; i < PIECE; i++)
        bytes[i] = op == CHALK_BLOCK_WRITE ? byte_of(disk, disk->rounds, i) : 0;
    disk->request = (struct chalk_block_request){
        .op = op,
        .count = PIECE / size,
        .lba = (uint64_t)disk->rounds * (PIECE / size),
        .segments = &disk->data,
        .segment_count = 1,
        .done = landed,
        .context = disk,
    };
    disk->flying = true;
    if (chalk_block_submit(disk->queue, &batch, 1) != 1)
        landed(&disk->request, -EIO);
    chalk_block_kick(disk->queue);
}

static bool right(const struct disk *disk)
{
    const unsigned char *bytes = disk->data.va;

    for (size_t i = 0; i < PIECE; i++)
        if (bytes[i] != byte_of(disk, disk->rounds - 1, i))
            return false;
    return true;
}

/* All disks at once, each at its own pace. */
static bool go_round(enum chalk_block_op op)
{
    uint64_t deadline = chalk_deadline(60 * CHALK_S);
    unsigned finished = 0;

    for (unsigned i = 0; i < disk_count; i++)
        disks[i].rounds = 0;
    for (unsigned i = 0; i < disk_count; i++)
        start(&disks[i], op);
    while (finished < disk_count && !chalk_expired(deadline)) {
        finished = 0;
        for (unsigned i = 0; i < disk_count; i++) {
            chalk_block_poll(disks[i].queue, 0);
            if (!disks[i].flying && op == CHALK_BLOCK_READ && !right(&disks[i]))
                disks[i].failed = true;
            if (!disks[i].flying && disks[i].rounds < ROUNDS)
                start(&disks[i], op);
            finished += disks[i].rounds == ROUNDS;
        }
    }
    for (unsigned i = 0; i < disk_count; i++)
        finished += disks[i].failed ? QUEUES + 1 : 0;
    return finished == disk_count;
}

static void close_all(struct chalk_memory *memory)
{
    while (disk_count > 0) {
        struct disk *disk = &disks[--disk_count];

        chalk_nvme_queue_close(disk->queue);
        chalk_dma_put(memory, &disk->data);
    }
    while (controller_count > 0) {
        struct controller *c = &controllers[--controller_count];

        if (c->nvme)
            chalk_nvme_close(c->nvme);
        if (c->shared)
            chalk_memory_unshare(memory, c->domain);
        if (c->device)
            chalk_device_close(c->device);
    }
}

int chalk_main(int argc, char *argv[])
{
    const struct chalk_memory_options options = {.shared_size = 8u << 20};
    struct chalk_bus_info found = {0};
    struct chalk_memory_usage usage;
    struct chalk_memory *memory;
    bool good = true;

    (void)argc;
    (void)argv;
    if (!expect_result(chalk_memory_create(&options, &memory), 0, "claiming memory"))
        return 1;
    while (controller_count < CONTROLLERS && chalk_bus_next(&found) == 0) {
        struct controller *c = &controllers[controller_count];

        if (found.class_code != CHALK_CLASS_NVME)
            continue;
        memcpy(c->name, found.name, sizeof(c->name));
        controller_count++;
        good &= open_controller(c, memory) && open_disks(c, memory);
    }
    printf("       %u controllers, %u disks\n", controller_count, disk_count);
    if (expect(good && controller_count > 1 && disk_count > controller_count, "all are open at once")) {
        expect(go_round(CHALK_BLOCK_WRITE), "each is written to, all at once");
        expect(go_round(CHALK_BLOCK_READ), "each has what was written to it");
    }
    close_all(memory);
    chalk_memory_get_usage(memory, &usage);
    expect(usage.shared_used == 0, "all memory came back");
    chalk_memory_destroy(memory);
    return twin_failures != 0;
}

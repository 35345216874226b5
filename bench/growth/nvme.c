/* SPDX-License-Identifier: BSD-2-Clause */
/* What there can be many of in an NVMe controller, that of ../nvme/stub.h: see measure.h. */
#include "measure.h"

#include <bench/nvme/stub.h>
#include <chalk/memory.h>
#include <chalk/nvme.h>

static struct chalk_nvme *nvme;

static void start_controller(void)
{
    static const struct chalk_memory_options sizes = {.shared_size = 8 << 20, .private_size = 4 << 20};
    struct chalk_domain *domain = NULL;
    struct chalk_memory *memory;
    struct chalk_device *device;

    stub_namespaces = total;
    expect(chalk_memory_create(&sizes, &memory) == 0 && chalk_device_open(STUB_NAME, &domain, &device) == 0 &&
               chalk_memory_share(memory, domain) == 0,
           "setting up");
    expect(chalk_nvme_open(device, &(struct chalk_nvme_options){.memory = memory, .domain = domain}, &nvme) ==
               0,
           "opening the controller");
}

/* ---- namespaces ---- */

static void next_namespace(unsigned i)
{
    struct chalk_nvme_namespace ns;

    expect(chalk_nvme_next_namespace(nvme, i, &ns) == 0 && ns.nsid == i + 1, "the next namespace");
}

/* ---- queues ---- */

static struct chalk_block_queue *open_queue(void)
{
    static const struct chalk_nvme_queue_options options = {.nsid = 1, .depth = 4};
    struct chalk_block_queue *queue;

    expect(chalk_nvme_queue_open(nvme, &options, &queue) == 0, "a queue");
    return queue;
}

static void start_queues(void)
{
    start_controller();
    for (unsigned i = 0; i < total - ROUNDS; i++)
        open_queue();
}

/* One more, again and again. */
static void open_and_close(unsigned i)
{
    if (i >= total - ROUNDS)
        chalk_nvme_queue_close(open_queue());
}

static const struct operation operations[] = {
    {"nvme-namespace", start_controller, next_namespace},
    {"nvme-queue", start_queues, open_and_close},
};

int main(int argc, char *argv[])
{
    return measure(argc, argv, operations, sizeof operations / sizeof operations[0]);
}

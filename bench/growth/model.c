/* SPDX-License-Identifier: BSD-2-Clause */
/* What there can be many of in a device's process, chalk-model: see measure.h. */
#include "measure.h"

#include <tools/models/session.h>

#define PAGE 4096

static struct model model;
static struct server server;

static void start_maps(void)
{
    server.model = &model;
}

/* From the last address down, as Chalk hands them out. */
static uint64_t address_of(unsigned i)
{
    return (uint64_t)(total - i) * PAGE;
}

static void lend(unsigned i)
{
    const struct vfio_user_dma_map map = {.argsz = sizeof map,
                                          .flags = VFIO_USER_DMA_READABLE | VFIO_USER_DMA_WRITEABLE,
                                          .address = address_of(i),
                                          .size = PAGE};

    expect(memory_lend(&server, &map, -1) == 0, "lending");
}

static void start_returns(void)
{
    start_maps();
    for (unsigned i = 0; i < total; i++)
        lend(i);
}

static void give_back(unsigned i)
{
    uint64_t size = PAGE;

    if (i >= total - ROUNDS)
        expect(memory_return(&server, address_of(i - (total - ROUNDS)), &size) == 0 && size == PAGE,
               "returning");
}

static const struct operation operations[] = {
    {"model-map", start_maps, lend},
    {"model-map-back", start_returns, give_back},
};

int main(int argc, char *argv[])
{
    return measure(argc, argv, operations, sizeof operations / sizeof operations[0]);
}

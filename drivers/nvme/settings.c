/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The settings that a controller forgets when it is disabled, and the I/O queues that it grants.
 *
 * A controller that refuses a setting is used without it. Above all one that grants no I/O queues still has
 * an admin queue, through which its logs say what is wrong with it.
 */
#include "nvme.h"
#include <chalk/device.h>

#define QUEUES_WANTED (NVME_QUEUES - 1u) /* for I/O */

/* ---- doorbells ------------------------------------------------------------------------------------- */

/* Where in BAR 0 something else begins behind the doorbells: the vectors, if they are there. */
static uint64_t doorbells_end(const struct chalk_nvme *nvme)
{
    uint64_t end = UINT64_MAX;
    unsigned msix;

    if (chalk_pci_capability(nvme->device, CHALK_PCI_CAP_MSIX, 0, &msix) != 0)
        return end;
    for (unsigned field = CHALK_PCI_MSIX_TABLE; field <= CHALK_PCI_MSIX_PENDING;
         field += CHALK_PCI_MSIX_PENDING - CHALK_PCI_MSIX_TABLE) {
        uint32_t place;

        if (chalk_config_read(nvme->device, msix + field, 4, &place) == 0 &&
            (place & CHALK_PCI_MSIX_BAR) == 0 && place >= NVME_REGISTERS_SIZE && place < end)
            end = place;
    }
    return end;
}

static int map(struct chalk_nvme *nvme, unsigned queues, struct chalk_mmio *window)
{
    uint32_t stride = nvme->info.doorbell_stride;

    return chalk_window_map(nvme->device, 0, NVME_DOORBELL(1, stride), 2 * (size_t)queues * stride,
                            CHALK_UNCACHED, window);
}

/* The largest window of doorbells that fits before `end`, and into the BAR, for at most `most` queues.
 * Returns how many queues it is for. */
static unsigned map_most(struct chalk_nvme *nvme, unsigned most, uint64_t end)
{
    uint32_t stride = nvme->info.doorbell_stride;
    unsigned fit = 0;

    while (most != 0 && NVME_DOORBELL(1, stride) + 2ull * most * stride > end)
        most--;
    while (fit < most) {
        unsigned middle = fit + (most - fit + 1) / 2;
        struct chalk_mmio window;

        if (map(nvme, middle, &window) == 0) {
            nvme->doorbells = window;
            fit = middle;
        } else {
            most = middle - 1;
        }
    }
    return fit;
}

int chalk_nvme_map_doorbells(struct chalk_nvme *nvme)
{
    uint32_t stride = nvme->info.doorbell_stride, granted = nvme->info.queues;
    uint64_t end = UINT64_MAX;
    int error = -ERANGE;

    if (nvme->doorbells.size != 0)
        return 0;
    /* Vectors are in no page with registers that are used often [PCI 3.0 6.8.2], so one page is free. */
    if (NVME_DOORBELL(1, stride) + 2ull * granted * stride > 2 * NVME_REGISTERS_SIZE)
        end = doorbells_end(nvme);
    if (NVME_DOORBELL(1, stride) + 2ull * granted * stride <= end)
        error = map(nvme, granted, &nvme->doorbells);
    if (error != -ERANGE)
        return error;
    nvme->info.queues = (uint16_t)map_most(nvme, granted, end);
    chalk_log(
        CHALK_WARNING,
        "NVMe %s: grants %u I/O queues, but its BAR 0 has doorbells, %u bytes apart, for no more than %u",
        nvme->name, granted, stride, nvme->info.queues);
    return 0;
}

/* ---- settings -------------------------------------------------------------------------------------- */

/* Which I/O command sets are used, if there is a choice [Base 5.27.1.21]. */
static int set_command_sets(struct chalk_nvme *nvme)
{
    const struct nvme_command command = {
        .cdw0 = NVME_SET_FEATURES,
        .cdw10 = NVME_FEATURE_COMMAND_SETS,
        .cdw11 = nvme->command_sets,
    };
    struct nvme_admin_call call = {.what = "Set Features (I/O command set profile)", .mends = nvme->open};
    int error = nvme_has_command_sets(nvme) ? chalk_nvme_admin_run(nvme, &call, &command) : 0;

    return call.status != 0 ? 0 : error;
}

/* How many I/O queues there may be. After a reset no more than there are doorbells for, which stay as they
 * were mapped at first. */
static int ask_for_queues(struct chalk_nvme *nvme)
{
    const uint32_t wanted = QUEUES_WANTED - 1; /* the feature counts from 0 [Base 5.27.1.5] */
    const struct nvme_command command = {
        .cdw0 = NVME_SET_FEATURES,
        .cdw10 = NVME_FEATURE_QUEUES,
        .cdw11 = wanted << 16 | wanted,
    };
    struct nvme_admin_call call = {.what = "Set Features (number of queues)", .mends = nvme->open};
    size_t mapped = nvme->doorbells.size / (2 * (size_t)nvme->info.doorbell_stride);
    uint32_t granted, most = mapped != 0 ? (uint32_t)mapped : QUEUES_WANTED;
    int error = chalk_nvme_admin_run(nvme, &call, &command);

    nvme->queues_status = call.status;
    if (call.status != 0 && error != 0) {
        nvme->info.queues = 0;
        chalk_log(CHALK_WARNING, "NVMe %s: no I/O queues: its admin queue is all that can be used",
                  nvme->name);
        return 0;
    }
    if (error != 0)
        return error;
    granted = ((call.result & 0xffff) < call.result >> 16 ? call.result & 0xffff : call.result >> 16) + 1;
    nvme->info.queues = (uint16_t)(granted < most ? granted : most);
    return 0;
}

int chalk_nvme_configure(struct chalk_nvme *nvme)
{
    int error = set_command_sets(nvme);

    if (error == 0)
        error = ask_for_queues(nvme);
    if (error == 0)
        error = chalk_nvme_coalesce(nvme);
    if (error == 0)
        error = chalk_nvme_shadow_configure(nvme);
    if (error == 0)
        error = chalk_nvme_behaviour_configure(nvme);
    return error == 0 ? chalk_nvme_events_configure(nvme) : error;
}

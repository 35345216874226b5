/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A controller that is in trouble is reset, or fails for good. The table is in recovery.c.
 *
 * The core that finds the trouble takes the controller over, and has it to itself until it is done; whoever
 * finds trouble meanwhile waits for that. The epoch tells all others: a queue that sees another than its own
 * has no pair any more, and the controller has done no DMA since for what was in flight in it.
 */
#include "nvme.h"
#include <chalk/device.h>

/*
 * True: the controller, which was well in epoch `seen`, is this core's to mend. False: it has been seen to
 * since, by another core or one that came here first, and is as it will stay.
 */
static bool take_over(struct chalk_nvme *nvme, uint32_t seen)
{
    uint32_t epoch = seen;

    if (NVME_STATE(seen) == NVME_LIVE &&
        atomic_compare_exchange_strong(&nvme->epoch, &epoch, NVME_EPOCH(seen, NVME_MENDING)))
        return true;
    while (nvme_state(nvme) == NVME_MENDING)
        chalk_pause(); /* who mends it has deadlines */
    return false;
}

/* Owners of queues may be asleep, for completions that do not come any more. */
static void publish(struct chalk_nvme *nvme, uint32_t epoch)
{
    atomic_store_explicit(&nvme->epoch, epoch, memory_order_release);
    for (unsigned id = 1; id < NVME_QUEUES; id++)
        if ((nvme->queue_ids >> id & 1) != 0)
            chalk_core_wake(nvme->cores[id]);
}

int chalk_nvme_fatal_error(int error)
{
    return error == -ENODEV || error == -EPROTO || error == -ETIMEDOUT ? error : -EIO;
}

/* The end: no DMA, and no way back. */
static void end(struct chalk_nvme *nvme, int error)
{
    chalk_nvme_stop(nvme);
    nvme->error = chalk_nvme_fatal_error(error);
    publish(nvme, NVME_EPOCH(nvme_epoch(nvme), NVME_STOPPED));
    chalk_nvme_admin_cancel(nvme, nvme->error);
}

bool chalk_nvme_fail(struct chalk_nvme *nvme, uint32_t seen, int error)
{
    if (!take_over(nvme, seen))
        return false;
    end(nvme, error);
    return true;
}

/* From a controller that does no DMA to one that takes admin commands, with its settings. */
static int revive(struct chalk_nvme *nvme)
{
    int error;

    chalk_nvme_admin_cancel(nvme, -EIO);
    chalk_nvme_admin_rewind(nvme);
    error = chalk_nvme_reread_capabilities(nvme);
    if (error == 0)
        error = chalk_nvme_enable(nvme);
    if (error == 0)
        error = chalk_nvme_renew(nvme);
    return error == 0 ? chalk_nvme_configure(nvme) : error;
}

/* By the controller's own reset, or if that does not do, by its function's. */
static int restart(struct chalk_nvme *nvme)
{
    int error = chalk_nvme_disable(nvme, 0);

    if (error == 0)
        error = revive(nvme);
    if (error == 0 || error == -ENODEV)
        return error;
    chalk_log(CHALK_WARNING, "NVMe %s: a controller reset did not help (%s); resetting the whole function",
              nvme->name, chalk_error_name(error));
    error = chalk_device_reset(nvme->device, chalk_deadline(5 * CHALK_S));
    return error == 0 ? revive(nvme) : error;
}

/* Who was told that the controller has to be reset, at level `said`, is told the end as well. */
static int mend(struct chalk_nvme *nvme, enum chalk_level said)
{
    uint64_t start = chalk_ticks();
    int error = restart(nvme);

    if (error != 0) {
        end(nvme, error);
        if (error == -ENODEV)
            chalk_log(CHALK_ERROR, "NVMe %s: gone during its reset", nvme->name);
        else
            chalk_log(CHALK_ERROR, "NVMe %s: cannot be reset (%s); stopped", nvme->name,
                      chalk_error_name(error));
        return nvme->error;
    }
    chalk_log(said, "NVMe %s: reset, in %u ms", nvme->name,
              (unsigned)(chalk_ticks_to_ns(chalk_ticks() - start) / CHALK_MS));
    publish(nvme, NVME_EPOCH(nvme_epoch(nvme) + NVME_GENERATION, NVME_LIVE));
    return 0;
}

bool chalk_nvme_recover(struct chalk_nvme *nvme, uint32_t seen, int error)
{
    if (!take_over(nvme, seen))
        return false;
    if (!nvme->open || atomic_fetch_add(&nvme->strikes, 1) >= NVME_STRIKES) {
        if (nvme->open)
            chalk_log(CHALK_ERROR, "NVMe %s: reset %u times, without completing a request; stopped",
                      nvme->name, NVME_STRIKES);
        end(nvme, error);
    } else {
        (void)mend(nvme, CHALK_WARNING);
    }
    return true;
}

/* ---- is it there? ---------------------------------------------------------------------------------- */

/* Nobody's registers read as all ones; behind some bridges, as behind QEMU's, they read as zeroes, but its
 * configuration does not. */
static bool gone(const struct chalk_nvme *nvme, uint32_t csts)
{
    uint32_t identity = 0;

    return csts == NVME_GONE || (csts == 0 && (chalk_config_read(nvme->device, 0, 4, &identity) == -ENODEV ||
                                               identity == UINT32_MAX));
}

bool chalk_nvme_is_gone(const struct chalk_nvme *nvme)
{
    return nvme_is_lost(nvme) || gone(nvme, chalk_mmio_read32(&nvme->registers, NVME_CSTS));
}

bool chalk_nvme_look(struct chalk_nvme *nvme, uint32_t seen, const char *what, uint32_t *csts)
{
    nvme_look_later(nvme);
    *csts = nvme_is_lost(nvme) ? NVME_GONE : chalk_mmio_read32(&nvme->registers, NVME_CSTS);
    if ((*csts & (NVME_CSTS_RDY | NVME_CSTS_CFS)) == NVME_CSTS_RDY)
        return true;
    if (nvme_epoch(nvme) != seen)
        return false; /* another core is about it */
    if (gone(nvme, *csts)) {
        *csts = NVME_GONE;
        if (chalk_nvme_fail(nvme, seen, -ENODEV))
            chalk_log(CHALK_ERROR, "NVMe %s: gone%s%s; was it unplugged?", nvme->name,
                      what != NULL ? " during " : "", what != NULL ? what : "");
    } else {
        chalk_log(CHALK_ERROR, "NVMe %s: %s 0x%08x; %s", nvme->name,
                  (*csts & NVME_CSTS_CFS) != 0 ? "fatal status" : "it has stopped by itself, status", *csts,
                  nvme->open ? "resetting it" : "stopped");
        (void)chalk_nvme_recover(nvme, seen, -EIO);
    }
    return false;
}

int chalk_nvme_reset(struct chalk_nvme *nvme)
{
    if (take_over(nvme, nvme_epoch(nvme)))
        return mend(nvme, CHALK_INFO);
    /* Another core did it meanwhile, and somebody may be at it again. */
    return nvme_state(nvme) == NVME_STOPPED ? nvme->error : 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A controller's life: found, reset, enabled, shut down; and how it is stopped.
 *
 * The order is the device's and the platform's: reset, map, rings, vectors, bus master on, enable; and back.
 * A controller that does not follow is stopped by the gentlest means that works, because the memory that it
 * knows must not be used for anything else while it may still write there.
 */
#include "nvme.h"
#include <chalk/core.h>
#include <chalk/device.h>

#define PCI_CLASS 0x08 /* class code 31:8, revision 7:0 [PCI 3.0 6.2.1] */

#define MOST_TO_BECOME_READY 1200 /* half seconds */

static uint32_t status(const struct chalk_nvme *nvme)
{
    return chalk_mmio_read32(&nvme->registers, NVME_CSTS);
}

/* 64-bit registers are read and written in two halves, which every controller has to allow [PCIe 3.1.2]. */
static uint64_t read64(const struct chalk_nvme *nvme, size_t offset)
{
    uint64_t low = chalk_mmio_read32(&nvme->registers, offset);

    return (uint64_t)chalk_mmio_read32(&nvme->registers, offset + 4) << 32 | low;
}

static void write64(const struct chalk_nvme *nvme, size_t offset, uint64_t value)
{
    chalk_mmio_write32(&nvme->registers, offset, (uint32_t)value);
    chalk_mmio_write32(&nvme->registers, offset + 4, (uint32_t)(value >> 32));
}

/*
 * Waits until the status register's bits in `mask` are `value`. Errors: -ETIMEDOUT; -ENODEV (gone); -EIO
 * (fatal status, which will not change by waiting).
 */
static int wait_status(const struct chalk_nvme *nvme, uint32_t mask, uint32_t value, uint64_t timeout_ns,
                       uint32_t *csts)
{
    uint64_t deadline = chalk_deadline(timeout_ns);

    for (;;) {
        bool late = chalk_expired(deadline);

        *csts = status(nvme);
        if (*csts == NVME_GONE)
            return -ENODEV;
        if ((*csts & mask) == value)
            return 0;
        if ((*csts & NVME_CSTS_CFS) != 0 && value != 0)
            return -EIO;
        if (late)
            return -ETIMEDOUT;
        /* It takes milliseconds at the least: leave the bus to others in between. */
        for (uint64_t rest = chalk_deadline(10000); !chalk_expired(rest);)
            chalk_pause();
    }
}

int chalk_nvme_disable(const struct chalk_nvme *nvme, uint64_t patience_ns)
{
    uint32_t cc = chalk_mmio_read32(&nvme->registers, NVME_CC), csts = status(nvme);
    int error;

    if (csts == NVME_GONE)
        return -ENODEV;
    /* To clear CC.EN before the controller is ready has undefined results [Base 3.1.3.5]. */
    if ((cc & NVME_CC_EN) != 0 && (csts & (NVME_CSTS_RDY | NVME_CSTS_CFS)) == 0) {
        error = wait_status(nvme, NVME_CSTS_RDY, NVME_CSTS_RDY, patience_ns, &csts);
        if (error == -ENODEV || error == -ETIMEDOUT)
            return error;
    }
    chalk_mmio_write32(&nvme->registers, NVME_CC, cc & ~(NVME_CC_EN | NVME_CC_SHN_MASK));
    return wait_status(nvme, NVME_CSTS_RDY, 0, nvme->ready_ns, &csts);
}

/*
 * A controller that cannot be disabled is reset. Without bus mastering it cannot start another transfer, and
 * reading its configuration back pushes those under way ahead of the answer (PCI 3.0 3.2.5). If even that
 * cannot be reached, the device is off the bus.
 */
void chalk_nvme_stop(const struct chalk_nvme *nvme)
{
    uint32_t command;
    int error = chalk_nvme_disable(nvme, 0);

    if (error != 0 && error != -ENODEV)
        (void)chalk_device_reset(nvme->device, chalk_deadline(5 * CHALK_S));
    (void)chalk_pci_bus_master(nvme->device, false);
    (void)chalk_config_read(nvme->device, CHALK_PCI_COMMAND, 2, &command);
}

/* ---- those that are open -------------------------------------------------------------------------- */

/* A device has one controller, and that one driver: two would take its admin queue from each other. */
static struct {
    struct chalk_lock lock;
    struct chalk_nvme *first;
} controllers;

/* Returns false if the device has a controller that is open. */
static bool enter(struct chalk_nvme *nvme)
{
    const struct chalk_nvme *other;

    chalk_lock_take(&controllers.lock);
    for (other = controllers.first; other != NULL && other->device != nvme->device;)
        other = other->next;
    if (other == NULL) {
        nvme->next = controllers.first;
        controllers.first = nvme;
    }
    chalk_lock_release(&controllers.lock);
    return other == NULL;
}

static void leave(const struct chalk_nvme *nvme)
{
    struct chalk_nvme **link = &controllers.first;

    chalk_lock_take(&controllers.lock);
    while (*link != nvme)
        link = &(*link)->next;
    *link = nvme->next;
    chalk_lock_release(&controllers.lock);
}

/* If it is not, its memory may be another's: it is not touched. */
static bool is_open(const struct chalk_nvme *nvme)
{
    const struct chalk_nvme *other;

    chalk_lock_take(&controllers.lock);
    for (other = controllers.first; other != NULL && other != nvme;)
        other = other->next;
    chalk_lock_release(&controllers.lock);
    return other != NULL;
}

/* ---- opening --------------------------------------------------------------------------------------- */

/* Whether configuration space says that this is an NVMe controller, and how many vectors it has. */
static int inspect(struct chalk_nvme *nvme, const char *name)
{
    uint32_t identity = UINT32_MAX, class_code;
    int error = chalk_config_read(nvme->device, 0, 4, &identity);

    if (name != NULL)
        chalk_format(nvme->name, sizeof nvme->name, "%s", name);
    else
        chalk_format(nvme->name, sizeof nvme->name, "%04x:%04x", identity & 0xffff, identity >> 16);
    if (error == 0)
        error = chalk_config_read(nvme->device, PCI_CLASS, 4, &class_code);
    if (error != 0 || identity == UINT32_MAX) {
        chalk_log(CHALK_ERROR, "NVMe %s: the device does not answer; is it plugged in?", nvme->name);
        return -ENODEV;
    }
    class_code >>= 8;
    if (class_code != CHALK_CLASS_NVME) {
        chalk_log(CHALK_ERROR, "NVMe %s: not an NVMe controller: its class code is %06x, not %06x",
                  nvme->name, class_code, CHALK_CLASS_NVME);
        return -ENODEV;
    }
    chalk_vectors_init(&nvme->vectors, nvme->device, "NVMe", nvme->name, nvme->interrupts);
    nvme->info.vectors = (uint16_t)nvme->vectors.count;
    return 0;
}

/* Without this the controller reads its first command from where it may not, and all that shows is its
 * silence. */
static int check_memory(const struct chalk_nvme *nvme)
{
    const struct chalk_arena *arena = chalk_memory_arena(nvme->memory);

    if (chalk_arena_protection(arena, nvme->domain) == (CHALK_DEVICE_READS | CHALK_DEVICE_WRITES))
        return 0;
    chalk_log(
        CHALK_ERROR,
        "NVMe %s: the memory for its queues (%s) is not shared with its domain for reading and writing; call "
        "chalk_memory_share() before chalk_nvme_open()",
        nvme->name, arena->name);
    return -EFAULT;
}

int chalk_nvme_window(struct chalk_nvme *nvme, size_t offset, size_t size, struct chalk_mmio *window)
{
    int error = chalk_window_map(nvme->device, 0, offset, size, CHALK_UNCACHED, window);

    if (error != 0)
        chalk_log(CHALK_ERROR, "NVMe %s: there are no registers 0x%zx-0x%zx in its BAR 0: %s", nvme->name,
                  offset, offset + size - 1, chalk_error_name(error));
    return error;
}

static int set_bus_master(const struct chalk_nvme *nvme, bool on)
{
    int error = chalk_pci_bus_master(nvme->device, on);

    if (error != 0)
        chalk_log(CHALK_ERROR, "NVMe %s: its configuration space does not answer (%s); was it unplugged?",
                  nvme->name, chalk_error_name(error));
    return error;
}

/* The larger of what the two registers say in half seconds, and one more, since that may be rounded. CRTO
 * goes up to nine hours, of which a controller that lies gets ten minutes. */
static uint64_t time_to_become_ready(const struct chalk_nvme *nvme)
{
    uint32_t time = NVME_CAP_TO(nvme->cap), longer = 0;

    if ((nvme->cap & NVME_CAP_CRWMS) != 0)
        longer = chalk_mmio_read32(&nvme->registers, NVME_CRTO) & 0xffff;
    if (longer > MOST_TO_BECOME_READY)
        longer = MOST_TO_BECOME_READY;
    return ((longer > time ? longer : time) + 1) * 500 * CHALK_MS;
}

/* Maps the registers, takes the controller out of whatever state it was left in, and reads what it can do. */
static int take_control(struct chalk_nvme *nvme)
{
    int error = set_bus_master(nvme, false); /* memory decoding on */

    if (error == 0)
        error = chalk_nvme_window(nvme, 0, NVME_REGISTERS_SIZE, &nvme->registers);
    if (error != 0)
        return error;
    nvme->cap = read64(nvme, NVME_CAP);
    if (nvme->cap == UINT64_MAX || status(nvme) == NVME_GONE) {
        chalk_log(CHALK_ERROR, "NVMe %s: its registers read as all ones: the device is gone, or asleep",
                  nvme->name);
        return -ENODEV;
    }
    nvme->ready_ns = time_to_become_ready(nvme);

    error = chalk_nvme_disable(nvme, nvme->ready_ns);
    if (error == -ETIMEDOUT || error == -EIO) {
        chalk_log(CHALK_WARNING,
                  "NVMe %s: stays in the state in which it was found (status 0x%08x); resetting it",
                  nvme->name, status(nvme));
        error = chalk_device_reset(nvme->device, chalk_deadline(5 * CHALK_S));
        if (error == 0)
            error = chalk_pci_bus_master(nvme->device, false);
        if (error == 0)
            error = chalk_nvme_disable(nvme, nvme->ready_ns);
    }
    if (error == -ENODEV)
        chalk_log(CHALK_ERROR, "NVMe %s: gone while it was being disabled", nvme->name);
    else if (error != 0)
        chalk_log(CHALK_ERROR, "NVMe %s: cannot be disabled (status 0x%08x); power the machine off and on",
                  nvme->name, status(nvme));
    return error;
}

/* What the capabilities register promises, where this driver needs it. */
static int check_capabilities(struct chalk_nvme *nvme)
{
    nvme->page_shift = 12 + NVME_CAP_MPSMIN(nvme->cap);
    if ((nvme->cap & NVME_CAP_CSS_NVM) == 0 || nvme->page_shift > 16) {
        chalk_log(CHALK_ERROR, "NVMe %s: not supported: %s (CAP 0x%016llx)", nvme->name,
                  nvme->page_shift > 16 ? "it needs pages above 64 KiB" : "no NVM command set",
                  (unsigned long long)nvme->cap);
        return -ENOTSUP;
    }
    if (NVME_CAP_MQES(nvme->cap) == 0) { /* "The minimum value is 1h" [Base 3.1.3.1] */
        chalk_log(CHALK_ERROR, "NVMe %s: reports queues of a single entry (CAP 0x%016llx)", nvme->name,
                  (unsigned long long)nvme->cap);
        return -EPROTO;
    }
    nvme->info.page_size = 1u << nvme->page_shift;
    nvme->info.version = chalk_mmio_read32(&nvme->registers, NVME_VS);
    nvme->info.doorbell_stride = 4u << NVME_CAP_DSTRD(nvme->cap);
    nvme->info.max_queue_entries =
        (uint16_t)(NVME_CAP_MQES(nvme->cap) < 0xffff ? NVME_CAP_MQES(nvme->cap) + 1 : 0xffff);
    chalk_nvme_cmb_detect(nvme);
    return 0;
}

int chalk_nvme_reread_capabilities(struct chalk_nvme *nvme)
{
    /* How far apart doorbells are, how large pages are: memory and windows were made for these. */
    const uint64_t fixed = NVME_CAP_CSS_NVM | 0xfull << 32 | 0xfull << 48;
    uint64_t cap = read64(nvme, NVME_CAP);
    uint32_t entries = NVME_CAP_MQES(cap) < 0xffff ? NVME_CAP_MQES(cap) + 1 : 0xffff;

    if (cap == UINT64_MAX)
        return -ENODEV;
    if (((cap ^ nvme->cap) & fixed) != 0 || entries < 2) {
        chalk_log(CHALK_ERROR,
                  "NVMe %s: its registers are others after its reset (CAP 0x%016llx, was 0x%016llx)",
                  nvme->name, (unsigned long long)cap, (unsigned long long)nvme->cap);
        return -EPROTO;
    }
    if (entries < nvme->info.max_queue_entries)
        nvme->info.max_queue_entries = (uint16_t)entries;
    nvme->info.version = chalk_mmio_read32(&nvme->registers, NVME_VS);
    /* What it offers now and did not before is left alone. */
    nvme->cap =
        (cap & ~(NVME_CAP_CSS_ALL | NVME_CAP_CMBS)) | (cap & nvme->cap & (NVME_CAP_CSS_ALL | NVME_CAP_CMBS));
    if (time_to_become_ready(nvme) > nvme->ready_ns)
        nvme->ready_ns = time_to_become_ready(nvme);
    return 0;
}

/* Gives the controller its admin queue and starts it [Base 3.5.1]. */
int chalk_nvme_enable(struct chalk_nvme *nvme)
{
    uint32_t csts;
    int error;

    chalk_mmio_write32(&nvme->registers, NVME_AQA, NVME_AQA_SIZES(NVME_ADMIN_ENTRIES));
    write64(nvme, NVME_ASQ, nvme->admin.commands.iova);
    write64(nvme, NVME_ACQ, nvme->admin.completions.iova);
    chalk_nvme_cmb_configure(nvme);

    /* Before CC.EN: some controllers look only then whether MSI-X is on. Without it, completions are polled
     * for. */
    (void)chalk_vectors_attach_own(&nvme->vectors, nvme->core);
    nvme->info.vectors = (uint16_t)nvme->vectors.count;
    if (nvme->info.vectors == 0) {
        nvme->interrupts = false;
        chalk_mmio_write32(&nvme->registers, NVME_INTMS, UINT32_MAX); /* nor may its pin disturb others */
    }

    error = set_bus_master(nvme, true);
    if (error != 0)
        return error;
    chalk_mmio_write32(&nvme->registers, NVME_CC,
                       NVME_CC_EN | (nvme_has_command_sets(nvme) ? NVME_CC_CSS_ALL : NVME_CC_CSS_NVM) |
                           NVME_CC_MPS(nvme->page_shift) | NVME_CC_AMS_RR | NVME_CC_IOSQES | NVME_CC_IOCQES);
    error = wait_status(nvme, NVME_CSTS_RDY, NVME_CSTS_RDY, nvme->ready_ns, &csts);
    if (error == -ENODEV)
        chalk_log(CHALK_ERROR, "NVMe %s: gone while it was being enabled", nvme->name);
    else if (error == -EIO)
        chalk_log(CHALK_ERROR, "NVMe %s: fatal status 0x%08x after it was enabled", nvme->name, csts);
    else if (error != 0)
        chalk_log(CHALK_ERROR,
                  "NVMe %s: not ready %u ms after it was enabled (status 0x%08x, CAP.TO is %u ms)",
                  nvme->name, (unsigned)(nvme->ready_ns / CHALK_MS), csts, NVME_CAP_TO(nvme->cap) * 500);
    return error;
}

/*
 * Enables it for the first time. One that a process plays may have been restarted between two of the writes
 * that configure it, and then finds no admin queue where it looks: so they are made once more.
 */
static int enable_first(struct chalk_nvme *nvme)
{
    int error = chalk_nvme_enable(nvme);

    if (error != -EIO)
        return error;
    error = chalk_nvme_disable(nvme, nvme->ready_ns);
    if (error == 0) {
        chalk_nvme_admin_rewind(nvme);
        error = chalk_nvme_enable(nvme);
    }
    if (error != 0 && error != -ENODEV)
        chalk_log(CHALK_ERROR, "NVMe %s: cannot be enabled (status 0x%08x); power the machine off and on",
                  nvme->name, status(nvme));
    return error;
}

/* Undoes what open() did, as far as it came. The controller does no DMA any more. */
static void dismantle(struct chalk_nvme *nvme)
{
    leave(nvme);
    (void)chalk_pci_bus_master(nvme->device, false);
    chalk_vectors_detach_own(&nvme->vectors);
    chalk_nvme_admin_close(nvme);
    if (nvme->shadow.va != NULL)
        chalk_dma_put(nvme->memory, &nvme->shadow);
    if (nvme->behaviour.va != NULL)
        chalk_dma_put(nvme->memory, &nvme->behaviour);
    if (nvme->events.log.va != NULL)
        chalk_dma_put(nvme->memory, &nvme->events.log);
    if (nvme->answer.va != NULL)
        chalk_dma_put(nvme->memory, &nvme->answer);
    chalk_memory_put(nvme->memory, nvme, sizeof *nvme);
}

int chalk_nvme_open(struct chalk_device *device, const struct chalk_nvme_options *options,
                    struct chalk_nvme **opened)
{
    struct chalk_nvme *nvme;
    int error;

    chalk_assert(device != NULL && options != NULL && options->memory != NULL && options->domain != NULL);
    chalk_assert(options->coalesce != 1 && options->coalesce <= 256 && options->coalesce_us <= 25500);
    if (chalk_core_check(options->core, "chalk_nvme_open") != 0)
        return -EINVAL;
    nvme = chalk_memory_get(options->memory, sizeof *nvme);
    if (nvme == NULL) {
        chalk_log(CHALK_ERROR, "NVMe %s: no memory for a controller: it needs %zu KiB of private memory",
                  options->name != NULL ? options->name : "controller", sizeof *nvme / 1024 + 1);
        return -ENOMEM;
    }
    nvme->device = device;
    if (!enter(nvme)) {
        chalk_log(CHALK_ERROR, "NVMe %s: its controller is open already; close that first",
                  options->name != NULL ? options->name : "controller");
        chalk_memory_put(options->memory, nvme, sizeof *nvme);
        return -EBUSY;
    }
    atomic_init(&nvme->epoch, NVME_STOPPED);
    nvme_look_later(nvme);
    nvme->error = -EIO;
    nvme->domain = options->domain;
    nvme->memory = options->memory;
    nvme->core = options->core;
    nvme->queue_ids = 1; /* the admin queue's */
    nvme->interrupts = options->interrupts;
    nvme->coalesce = options->coalesce;
    nvme->coalesce_us = options->coalesce_us;
    nvme->info.shadow_doorbells = options->shadow_doorbells;
    nvme->cmb.wanted = options->controller_memory;
    nvme->timeout_ns = options->timeout_ns != 0 ? options->timeout_ns : 5 * CHALK_S;

    error = inspect(nvme, options->name);
    if (error == 0)
        error = check_memory(nvme);
    if (error == 0)
        error = take_control(nvme);
    if (error == 0)
        error = check_capabilities(nvme);
    if (error == 0)
        error = chalk_nvme_admin_open(nvme);
    if (error == 0)
        error = chalk_dma_get(nvme->memory, 2 * (size_t)nvme->info.page_size, nvme->info.page_size,
                              &nvme->answer);
    if (error == -ENOMEM)
        chalk_log(CHALK_ERROR,
                  "NVMe %s: no memory for a controller: it needs %u KiB of shared memory; give its "
                  "chalk_memory a larger shared_size",
                  nvme->name, 4 * nvme->info.page_size / 1024);
    if (error == -EINVAL) { /* within larger pages than the program's, iovas are not as addresses */
        chalk_log(CHALK_ERROR,
                  "NVMe %s: not supported: it needs pages of %u KiB; give the program huge pages", nvme->name,
                  nvme->info.page_size / 1024);
        error = -ENOTSUP;
    }
    if (error == 0) {
        chalk_grant_check(nvme->domain, nvme->answer.iova, nvme->answer.size);
        atomic_store_explicit(&nvme->epoch, NVME_LIVE, memory_order_release);
        error = enable_first(nvme);
        if (error == 0)
            error = chalk_nvme_identify_controller(nvme);
        if (error == 0 && nvme_has_command_sets(nvme))
            error = chalk_nvme_choose_command_sets(nvme);
        if (error == 0)
            error = chalk_nvme_configure(nvme);
        if (error == 0)
            error = chalk_nvme_identify_limits(nvme);
        if (error == 0 && nvme->info.queues != 0)
            error = chalk_nvme_map_doorbells(nvme);
        if (error != 0)
            (void)chalk_nvme_fail(nvme, nvme_epoch(nvme), error);
    }
    if (error != 0) { /* the status of a command is none of the errors of opening */
        dismantle(nvme);
        return error == -ENOTSUP || error == -ENOMEM || error == -ERANGE || error == -EFAULT
                   ? error
                   : chalk_nvme_fatal_error(error);
    }
    nvme->open = true;
    *opened = nvme;
    return 0;
}

/* ---- closing --------------------------------------------------------------------------------------- */

/* Lets the controller write its caches and books to the medium before it is disabled [Base 3.6.1]. */
static void shut_down(struct chalk_nvme *nvme)
{
    uint32_t cc = chalk_mmio_read32(&nvme->registers, NVME_CC), csts;
    int error;

    chalk_mmio_write32(&nvme->registers, NVME_CC, (cc & ~NVME_CC_SHN_MASK) | NVME_CC_SHN_NORMAL);
    error = wait_status(nvme, NVME_CSTS_SHST_MASK, NVME_CSTS_SHST_DONE, nvme->shutdown_ns, &csts);
    if (error == -ETIMEDOUT)
        chalk_log(CHALK_WARNING, "NVMe %s: shutdown not finished after %u ms (status 0x%08x); resetting it",
                  nvme->name, (unsigned)(nvme->shutdown_ns / CHALK_MS), csts);
    else if (error != 0)
        chalk_log(CHALK_WARNING, "NVMe %s: %s (status 0x%08x); what its cache held may be lost", nvme->name,
                  error == -ENODEV ? "gone before it was shut down" : "failed in shutdown", csts);
}

void chalk_nvme_close(struct chalk_nvme *nvme)
{
    uint32_t command;

    if (nvme == NULL || !is_open(nvme))
        chalk_misuse("chalk_nvme_close(): this controller is not open: it was closed already");
    if (nvme->queue_ids != 1)
        chalk_misuse("NVMe %s: closed while %d of its queues are open; close these first", nvme->name,
                     __builtin_popcountll(nvme->queue_ids & ~1ull));
    if (nvme_is_lost(nvme)) /* or the device was closed before, which this tells */
        (void)chalk_config_read(nvme->device, CHALK_PCI_COMMAND, 2, &command);
    if (nvme_state(nvme) == NVME_LIVE) {
        shut_down(nvme);
        (void)chalk_nvme_fail(nvme, nvme_epoch(nvme), -ECANCELED);
    }
    dismantle(nvme);
}

const struct chalk_nvme_info *chalk_nvme_get_info(const struct chalk_nvme *nvme)
{
    return &nvme->info;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Windows: parts of a BAR, mapped where the transport lets us, else served by its reads and writes. What may
 * be mapped is a list of areas: a kernel may hold back the page of the MSI-X table, and a device model wants
 * to see each access to its registers. A window is wholly one or the other.
 */
#define _GNU_SOURCE
#include "device.h"
#include "memory.h"
#include "reason.h"
#include "state.h"
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chalk/clock.h>
#include <chalk/device.h>
#include <chalk/lock.h>
#include <chalk/log.h>
#include <chalk/memory.h>
#include <chalk/mmio.h>

_Static_assert(VFIO_PCI_BAR5_REGION_INDEX == REGION_BARS - 1, "BARs come first");

/* ---- served ---- */

/* A device that does not answer reads as all ones, here as on the bus. */
static uint64_t served_read(const struct chalk_mmio *window, size_t offset, unsigned width)
{
    const struct region *region = window->owner;
    uint64_t value = 0;

    if (offset > window->size || width > window->size - offset || hosted_device_lost(region->device) ||
        region->device->transport->read(region, window->origin + offset, &value, width) != 0)
        return UINT64_MAX;
    return value;
}

static void served_write(const struct chalk_mmio *window, size_t offset, unsigned width, uint64_t value)
{
    const struct region *region = window->owner;

    if (offset <= window->size && width <= window->size - offset && !hosted_device_lost(region->device))
        region->device->transport->write(region, window->origin + offset, &value, width);
}

static const struct chalk_mmio_ops served = {served_read, served_write};

/* ---- mapped ---- */

/*
 * All that is mapped, of all devices. The lock is for whoever is not under hosted_lock(): a thread that has
 * it touches no register, so one that faults at a register can wait for it.
 */
static struct window *windows;
static struct chalk_lock busy;

/* What a window is replaced by, piece after piece: a file of all ones, made in advance, because a signal
 * handler cannot do more than map it. What is then written is a private copy of it. */
#define ONES_SIZE ((size_t)1 << 20)
static int ones = -1;

static int make_ones(const char *name)
{
    void *va = MAP_FAILED;
    int fd, error = 0;
    char why[160];

    if (!hosted_memory_file_fits(ONES_SIZE, why, sizeof why)) {
        chalk_log(CHALK_ERROR, "%s: its registers cannot be mapped: %s", name, why);
        return -ENOMEM;
    }
    fd = memfd_create("chalk-ones", MFD_CLOEXEC);
    if (fd >= 0 && ftruncate(fd, ONES_SIZE) == 0)
        va = mmap(NULL, ONES_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (va == MAP_FAILED)
        error = -errno;
    if (error == 0) {
        memset(va, 0xff, ONES_SIZE);
        munmap(va, ONES_SIZE);
        ones = fd;
    } else if (fd >= 0) {
        close(fd);
    }
    return error;
}

/* Each piece is replaced at once: no read finds anything in between. */
static bool replace(const struct window *window)
{
    for (size_t done = 0, size; done < window->size; done += size) {
        size = window->size - done < ONES_SIZE ? window->size - done : ONES_SIZE;
        if (mmap((char *)window->va + done, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, ones, 0) ==
            MAP_FAILED) {
            chalk_log(CHALK_ERROR, "%s: its registers cannot be replaced by pages of ones: %s",
                      window->region->device->name, hosted_reason(errno));
            return false;
        }
    }
    return true;
}

bool hosted_windows_lose(struct chalk_device *device)
{
    bool done = true;

    chalk_lock_take(&busy);
    for (const struct window *window = windows; window != NULL; window = window->next)
        if (window->region->device == device)
            done = replace(window) && done;
    chalk_lock_release(&busy);
    return done;
}

int hosted_windows_remap(struct chalk_device *device)
{
    int error = 0;

    chalk_lock_take(&busy);
    for (const struct window *window = windows; window != NULL; window = window->next)
        if (window->region->device == device &&
            mmap(window->va, window->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, window->region->fd,
                 (off_t)(window->region->offset + window->offset)) == MAP_FAILED)
            error = -errno;
    chalk_lock_release(&busy);
    return error;
}

struct chalk_device *hosted_windows_owner(const void *address)
{
    struct chalk_device *owner = NULL;

    chalk_lock_take(&busy);
    for (const struct window *window = windows; window != NULL; window = window->next)
        if ((uintptr_t)address - (uintptr_t)window->va < window->size)
            owner = window->region->device;
    chalk_lock_release(&busy);
    return owner;
}

static void add(struct window *window)
{
    chalk_lock_take(&busy);
    window->next = windows;
    windows = window;
    if (hosted_device_lost(window->region->device))
        (void)replace(window);
    chalk_lock_release(&busy);
}

/* Takes one of the device's off the list, and returns it. */
static struct window *take(const struct chalk_device *device)
{
    struct window **link = &windows, *window;

    chalk_lock_take(&busy);
    while (*link != NULL && (*link)->region->device != device)
        link = &(*link)->next;
    window = *link;
    if (window != NULL)
        *link = window->next;
    chalk_lock_release(&busy);
    return window;
}

static bool mappable(const struct region *region, uint64_t offset, size_t size)
{
    for (unsigned i = 0; i < region->area_count; i++)
        if (offset >= region->areas[i].first && offset + (size - 1) <= region->areas[i].last)
            return true;
    return false;
}

static uint64_t page_down(uint64_t offset)
{
    return offset & ~(uint64_t)(CHALK_PAGE - 1);
}

static uint64_t page_up(uint64_t offset)
{
    return page_down(offset + CHALK_PAGE - 1);
}

/* Maps these pages of the region: once, however often they are asked for until the device closes. */
static int map_pages(const struct region *region, uint64_t offset, size_t size, void **va)
{
    struct window *window;
    int error = ones < 0 ? make_ones(region->device->name) : 0;

    for (window = windows; window != NULL; window = window->next)
        if (window->region == region && window->offset == offset && window->size == size) {
            *va = window->va;
            return 0;
        }
    if (error != 0)
        return error;
    window = malloc(sizeof *window);
    if (window == NULL)
        return -ENOMEM;
    *window = (struct window){.size = size, .region = region, .offset = offset};
    window->va =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, region->fd, (off_t)(region->offset + offset));
    if (window->va == MAP_FAILED) {
        error = -errno;
        free(window);
        return error;
    }
    add(window);
    *va = window->va;
    return 0;
}

/* VFIO maps registers uncached, whatever is asked: also right for CHALK_WRITE_COMBINE, only slower. */
static int map_window(const struct region *region, uint64_t offset, struct chalk_mmio *mmio)
{
    uint64_t first = page_down(offset);
    void *va = NULL;
    int error = map_pages(region, first, (size_t)(page_up(offset + mmio->size) - first), &va);

    mmio->base = (uintptr_t)va + (uintptr_t)(offset - first);
    return error;
}

int chalk_window_map(struct chalk_device *device, unsigned bar, uint64_t offset, size_t size,
                     enum chalk_attribute attribute, struct chalk_mmio *window)
{
    struct region *region = &device->regions[bar < REGION_BARS ? bar : 0];
    uint32_t address;
    int error = 0;

    (void)attribute;
    hosted_device_check(device, "chalk_window_map");
    if (bar >= REGION_BARS || region->size == 0) {
        chalk_log(CHALK_ERROR, "%s has nothing at base address register %u", device->name, bar);
        return -ENODEV;
    }
    if (chalk_config_read(device, 0x10 + 4 * bar, 4, &address) != 0) {
        chalk_log(CHALK_ERROR, "%s: base address register %u cannot be used: the device does not answer",
                  device->name, bar);
        return -ENODEV;
    }
    /* Bit 0 of a BAR says that it is I/O ports (PCI 3.0 6.2.5.1). */
    if ((address & 1) != 0 && !device->transport->ports) {
        chalk_log(CHALK_ERROR, "%s has I/O ports at base address register %u, not memory", device->name, bar);
        return -ENODEV;
    }
    if (size == 0 || offset > region->size || size > region->size - offset) {
        chalk_log(CHALK_ERROR, "%s: base address register %u has 0x%llx bytes, not 0x%zx of them at 0x%llx",
                  device->name, bar, (unsigned long long)region->size, size, (unsigned long long)offset);
        return -ERANGE;
    }
    *window = (struct chalk_mmio){.size = size, .owner = region, .origin = offset};
    if (device->transport->tells_loss || hosted_watch_listens(device))
        window->lost = &device->lost;
    hosted_lock();
    if (mappable(region, offset, size))
        error = map_window(region, offset, window);
    else
        window->ops = &served;
    hosted_unlock();
    if (error != 0)
        chalk_log(CHALK_ERROR, "%s: 0x%zx bytes at 0x%llx of base address register %u cannot be mapped: %s",
                  device->name, size, (unsigned long long)offset, bar, hosted_reason(error));
    return error;
}

/* ---- what the transport says about regions ---- */

/* More than this is no description of a region: 4000 areas. */
#define MAX_REGION_INFO 65536

/* Closes the file that it is mapped from, if that is its own. */
static void forget_file(struct region *region)
{
    if (region->fd >= 0 && region->fd != region->device->fd)
        close(region->fd);
    region->fd = -1;
}

/*
 * Whether the file is memory: a memfd, or a file of tmpfs or hugetlbfs, the only ones that have seals.
 * Another file system may be the other process's own (FUSE): each access to a mapping of it, and fstat() too,
 * waits for that process, and cannot be killed. So this asks Linux alone.
 */
static bool is_memory(const struct region *region)
{
    if (fcntl(region->fd, F_GET_SEALS) >= 0)
        return true;
    chalk_log(
        CHALK_WARNING,
        "%s: region %u is served by messages, which are slower: its file is not memory; let its process\n"
        "  use a memfd, or a folder on tmpfs such as /dev/shm",
        region->device->name, region->index);
    return false;
}

/* How much of a region its file has. Behind its end a mapping of it ends with a signal. */
static uint64_t filed(const struct region *region)
{
    struct stat status;

    if (region->fd == region->device->fd)
        return region->size; /* Linux's own */
    if (fstat(region->fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size < 0 ||
        (uint64_t)status.st_size < region->offset)
        return 0;
    return (uint64_t)status.st_size - region->offset;
}

/* Of an area that can be mapped, the whole pages; the last page of a BAR need not be a whole one. One that
 * the file has not all of is not mapped. */
static void add_area(struct region *region, uint64_t offset, uint64_t size)
{
    uint64_t first = page_up(offset), end;

    if (offset >= region->size)
        return;
    end = size < region->size - offset ? page_down(offset + size) : region->size;
    if (first < end && end <= filed(region))
        region->areas[region->area_count++] = (struct range){first, end - 1};
}

static int set_areas(struct region *region, const struct vfio_region_info *info, size_t size)
{
    size_t at = (info->flags & VFIO_REGION_INFO_FLAG_CAPS) != 0 ? info->cap_offset : 0;
    const struct vfio_region_info_cap_sparse_mmap *sparse = NULL;

    if ((info->flags & VFIO_REGION_INFO_FLAG_MMAP) == 0 || region->size == 0 || region->fd < 0 ||
        (region->fd != region->device->fd && !is_memory(region)))
        return 0;
    for (unsigned steps = 0;
         at != 0 && at % 8 == 0 && at <= size - sizeof(struct vfio_info_cap_header) && steps < 16; steps++) {
        const struct vfio_region_info_cap_sparse_mmap *cap = (const void *)((const char *)info + at);

        if (cap->header.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP && at + sizeof *cap <= size &&
            cap->nr_areas <= (size - at - sizeof *cap) / sizeof cap->areas[0])
            sparse = cap;
        at = cap->header.next;
    }
    region->areas = calloc(sparse != NULL ? sparse->nr_areas + 1 : 1, sizeof *region->areas);
    if (region->areas == NULL)
        return -ENOMEM;
    if (sparse == NULL)
        add_area(region, 0, region->size);
    for (unsigned i = 0; sparse != NULL && i < sparse->nr_areas; i++)
        add_area(region, sparse->areas[i].offset, sparse->areas[i].size);
    return 0;
}

static int open_region(struct chalk_device *device, unsigned index, struct region *region)
{
    struct vfio_region_info head = {.argsz = sizeof head, .index = index};
    struct vfio_region_info *info;
    uint32_t room;
    int error;

    region->index = index;
    error = device->transport->region_info(device, &head, &region->fd);
    if (error != 0)
        return error == -EINVAL ? 0 : error; /* -EINVAL: the device has no such region */
    room = head.argsz < sizeof head       ? sizeof head
           : head.argsz < MAX_REGION_INFO ? head.argsz
                                          : MAX_REGION_INFO;
    info = calloc(1, room);
    if (info == NULL)
        return -ENOMEM;
    info->argsz = room;
    info->index = index;
    forget_file(region); /* asked again, it comes again */
    error = device->transport->region_info(device, info, &region->fd);
    if (error == 0 &&
        (info->size > INT64_MAX - CHALK_PAGE || info->offset > INT64_MAX - CHALK_PAGE - info->size))
        error = -EPROTO;
    if (error == 0) {
        region->size = info->size;
        region->offset = info->offset;
        error = set_areas(region, info, room);
    }
    free(info);
    if (error == -EPROTO)
        chalk_log(CHALK_ERROR, "%s: invalid description of region %u", device->name, index);
    return error;
}

int hosted_regions_open(struct chalk_device *device)
{
    int error = open_region(device, VFIO_PCI_CONFIG_REGION_INDEX, &device->regions[REGION_CONFIG]);

    for (unsigned bar = 0; bar < REGION_BARS && error == 0; bar++)
        error = open_region(device, bar, &device->regions[bar]);
    return error;
}

void hosted_regions_close(struct chalk_device *device)
{
    struct window *window;

    while ((window = take(device)) != NULL) {
        munmap(window->va, window->size);
        free(window);
    }
    if (windows == NULL && ones >= 0) {
        close(ones);
        ones = -1;
    }
    for (unsigned i = 0; i < REGION_COUNT; i++) {
        free(device->regions[i].areas);
        forget_file(&device->regions[i]);
    }
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* A device's life under VFIO: opened with bus mastering off, configured, reset, closed with nothing left
 * behind. */
#include "pci.h"
#include "state.h"
#include "sysfs.h"
#include "vfio.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <chalk/clock.h>
#include <chalk/device.h>
#include <chalk/log.h>

static struct chalk_device *devices;

/* ---- configuration space ---- */

/* No device has vendor 0xffff, which is what nobody's answer reads as (PCI 3.0 6.1). */
static bool gone(const struct chalk_device *device)
{
    uint16_t vendor;

    return pread(device->fd, &vendor, sizeof vendor, (off_t)device->regions[REGION_CONFIG].offset) !=
               (ssize_t)sizeof vendor ||
           vendor == 0xffff;
}

int chalk_config_read(struct chalk_device *device, unsigned offset, unsigned width, uint32_t *value)
{
    const struct region *region = &device->regions[REGION_CONFIG];
    uint32_t ones = width == 4 ? UINT32_MAX : (1u << 8 * (width & 3)) - 1;

    if ((width != 1 && width != 2 && width != 4) || offset % width != 0 || offset > 4096 - width)
        return -EINVAL;
    *value = 0;
    if (offset + width > region->size)
        *value = ones; /* as a conventional device answers above 255 */
    else if (pread(device->fd, value, width, (off_t)(region->offset + offset)) != (ssize_t)width)
        return errno == ENODEV ? -ENODEV : -EIO;
    return *value == ones && gone(device) ? -ENODEV : 0;
}

int chalk_config_write(struct chalk_device *device, unsigned offset, unsigned width, uint32_t value)
{
    const struct region *region = &device->regions[REGION_CONFIG];

    if ((width != 1 && width != 2 && width != 4) || offset % width != 0 || offset > 4096 - width)
        return -EINVAL;
    if (offset + width > region->size)
        return 0; /* as the bus does: nobody takes it */
    if (pwrite(device->fd, &value, width, (off_t)(region->offset + offset)) != (ssize_t)width)
        return errno == ENODEV ? -ENODEV : -EIO;
    return 0;
}

/* Registers answer, but no DMA. */
static int quiet(struct chalk_device *device)
{
    uint32_t command;
    int error = chalk_config_read(device, CHALK_PCI_COMMAND, 2, &command);

    if (error != 0)
        return error;
    command = (command | CHALK_PCI_COMMAND_MEMORY) & ~(uint32_t)CHALK_PCI_COMMAND_MASTER;
    return chalk_config_write(device, CHALK_PCI_COMMAND, 2, command);
}

/* ---- open ---- */

static int open_file(struct chalk_device *device)
{
    struct vfio_device_info info = {.argsz = sizeof info};
    int error;

    device->fd = ioctl(device->group->fd, VFIO_GROUP_GET_DEVICE_FD, device->name);
    if (device->fd < 0) {
        error = -errno;
        chalk_log(CHALK_ERROR, "%s cannot be opened: %s", device->name, strerror(errno));
        return error;
    }
    fcntl(device->fd, F_SETFD, FD_CLOEXEC);
    if (ioctl(device->fd, VFIO_DEVICE_GET_INFO, &info) != 0 || (info.flags & VFIO_DEVICE_FLAGS_PCI) == 0) {
        chalk_log(CHALK_ERROR, "%s cannot be opened: VFIO does not show it as a PCI device", device->name);
        return -ENXIO;
    }
    device->has_reset = (info.flags & VFIO_DEVICE_FLAGS_RESET) != 0;
    error = hosted_regions_open(device);
    if (error == 0)
        error = quiet(device);
    return error != 0 ? error : hosted_interrupts_open(device);
}

/* Undoes as much of an open as was done. */
static void release(struct chalk_device *device)
{
    if (device->fd >= 0) {
        quiet(device);
        hosted_interrupts_close(device);
        hosted_regions_close(device);
        close(device->fd);
    }
    if (device->group != NULL) {
        device->group->devices--;
        hosted_group_drop(device->domain, device->group);
    }
    if (device->domain != NULL) {
        device->domain->devices--;
        hosted_domain_drop(device->domain);
    }
    free(device);
}

/* Finds or opens the device's group and, unless the caller has one, a domain for it. */
static int enter_domain(struct chalk_device *device, struct chalk_domain *wanted)
{
    struct chalk_domain *domain;
    struct group *group;
    char number[16];
    int error;

    if (hosted_sysfs_link(number, sizeof number, "/sys/bus/pci/devices/%s/iommu_group", device->name) <= 0)
        return hosted_cure_no_iommu(device->name);
    error = hosted_cure_driver(device->name);
    if (error != 0)
        return error;
    group = hosted_group_find((unsigned)strtoul(number, NULL, 10), &domain);
    if (group != NULL && wanted != NULL && wanted != domain) {
        chalk_log(CHALK_ERROR,
                  "%s cannot join the domain of %s: the hardware ties it to that of %s (IOMMU group %s)",
                  device->name, wanted->name, domain->name, number);
        return -EXDEV;
    }
    if (group != NULL && wanted == NULL)
        chalk_log(CHALK_WARNING,
                  "%s shares the domain of %s: the hardware cannot keep them apart (IOMMU group %s)",
                  device->name, domain->name, number);
    if (group == NULL)
        domain = wanted;
    if (domain == NULL) {
        error = hosted_domain_new(device->name, &domain);
        if (error != 0)
            return error;
    }
    device->domain = domain;
    domain->devices++;
    if (group == NULL) {
        error = hosted_group_open(domain, (unsigned)strtoul(number, NULL, 10), device->name, &group);
        if (error != 0)
            return error;
    }
    device->group = group;
    group->devices++;
    return 0;
}

static int open_named(const char *name, struct chalk_domain *domain, struct chalk_device **opened)
{
    struct chalk_device *device;
    int error;

    if (!hosted_sysfs_exists("/sys/bus/pci/devices/%s", name)) {
        chalk_log(CHALK_ERROR, "there is no device %s; those that there are are shown by: lspci -D", name);
        return -ENODEV;
    }
    for (device = devices; device != NULL; device = device->next)
        if (strcmp(device->name, name) == 0) {
            chalk_log(CHALK_ERROR, "%s is in use: this program has opened it already", name);
            return -EBUSY;
        }
    device = calloc(1, sizeof *device);
    if (device == NULL)
        return -ENOMEM;
    device->fd = -1;
    strcpy(device->name, name);
    error = enter_domain(device, domain);
    if (error == 0)
        error = open_file(device);
    if (error != 0) {
        release(device);
        return error;
    }
    device->next = devices;
    devices = device;
    *opened = device;
    return 0;
}

int chalk_device_open(const char *text, struct chalk_domain **domain, struct chalk_device **device)
{
    char name[CHALK_NAME_SIZE];
    int error;

    if (strncmp(text, "vfio-user:", 10) == 0) {
        chalk_log(CHALK_ERROR,
                  "%s cannot be opened: vfio-user devices are not supported yet; name a PCI address", text);
        return -ENOTSUP;
    }
    if (hosted_pci_name(text, name) != 0) {
        chalk_log(CHALK_ERROR,
                  "'%.64s' is no device: name a PCI address such as 0000:00:03.0 (lspci -D shows them)",
                  text);
        return -EINVAL;
    }
    hosted_lock();
    error = open_named(name, *domain, device);
    if (error == 0)
        *domain = (*device)->domain;
    hosted_unlock();
    return error;
}

/* ---- reset and close ---- */

/*
 * The kernel waits for the function as PCIe 6.6.2 wants, 100 ms and, if it answers with retry status, up to a
 * minute; no deadline of ours can cut that short. What the deadline ends is trying again, while somebody else
 * holds the function, and waiting for an answer afterwards.
 */
static int reset(struct chalk_device *device, uint64_t deadline)
{
    uint32_t vendor;

    while (ioctl(device->fd, VFIO_DEVICE_RESET) != 0) {
        if (errno != EAGAIN && errno != EBUSY)
            return errno == ENODEV ? -ENODEV : -ETIMEDOUT;
        if (chalk_expired(deadline))
            return -ETIMEDOUT;
        nanosleep(&(struct timespec){.tv_nsec = CHALK_MS}, NULL);
    }
    while (chalk_config_read(device, 0, 2, &vendor) != 0) {
        if (chalk_expired(deadline))
            return -ETIMEDOUT;
        nanosleep(&(struct timespec){.tv_nsec = CHALK_MS}, NULL);
    }
    return quiet(device); /* the kernel has restored the command register with the rest */
}

int chalk_device_reset(struct chalk_device *device, uint64_t deadline)
{
    if (!device->has_reset)
        return -ENOTSUP;
    return reset(device, deadline);
}

static void close_device(struct chalk_device *device)
{
    struct chalk_device **link = &devices;

    while (*link != device)
        link = &(*link)->next;
    *link = device->next;
    release(device);
}

void chalk_device_close(struct chalk_device *device)
{
    if (device == NULL)
        return;
    hosted_lock();
    close_device(device);
    hosted_unlock();
}

void hosted_devices_stop(void)
{
    while (devices != NULL) {
        chalk_log(CHALK_WARNING, "%s was still open", devices->name);
        close_device(devices);
    }
}

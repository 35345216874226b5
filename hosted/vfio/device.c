/* SPDX-License-Identifier: BSD-2-Clause */
/* A device under Linux's VFIO: found by its PCI address, put into its group's domain, and spoken to by
 * ioctl(). */
#include "../reason.h"
#include "../sysfs.h"
#include "vfio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chalk/log.h>

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
        error = hosted_container_new(device->name, &domain);
        if (error != 0)
            return error;
    }
    hosted_domain_join(domain, device);
    if (group == NULL) {
        error = hosted_group_open(domain, (unsigned)strtoul(number, NULL, 10), device->name, &group);
        if (error != 0)
            return error;
    }
    device->group = group;
    group->devices++;
    return 0;
}

static int open_device(struct chalk_device *device, struct chalk_domain *wanted)
{
    struct vfio_device_info info = {.argsz = sizeof info};
    int error;

    if (!hosted_sysfs_exists("/sys/bus/pci/devices/%s", device->name)) {
        chalk_log(CHALK_ERROR, "there is no device %s; this machine's devices are listed by: lspci -D",
                  device->name);
        return -ENODEV;
    }
    error = enter_domain(device, wanted);
    if (error != 0)
        return error;
    device->fd = ioctl(device->group->fd, VFIO_GROUP_GET_DEVICE_FD, device->name);
    if (device->fd < 0) {
        error = -errno;
        chalk_log(CHALK_ERROR, "%s cannot be opened: %s", device->name, hosted_reason(errno));
        return error;
    }
    fcntl(device->fd, F_SETFD, FD_CLOEXEC);
    if (ioctl(device->fd, VFIO_DEVICE_GET_INFO, &info) != 0 || (info.flags & VFIO_DEVICE_FLAGS_PCI) == 0) {
        chalk_log(CHALK_ERROR, "%s cannot be opened: VFIO does not show it as a PCI device", device->name);
        return -ENXIO;
    }
    device->has_reset = (info.flags & VFIO_DEVICE_FLAGS_RESET) != 0;
    return 0;
}

static void close_device(struct chalk_device *device)
{
    if (device->fd >= 0)
        close(device->fd);
    if (device->group != NULL) {
        device->group->devices--;
        hosted_group_drop(device->domain, device->group);
    }
}

static int region_info(struct chalk_device *device, struct vfio_region_info *info, int *fd)
{
    *fd = device->fd;
    return ioctl(device->fd, VFIO_DEVICE_GET_REGION_INFO, info) == 0 ? 0 : -errno;
}

static int outcome(ssize_t moved, size_t size)
{
    return moved == (ssize_t)size ? 0 : moved < 0 && errno == ENODEV ? -ENODEV : -EIO;
}

static int read_region(const struct region *region, uint64_t offset, void *bytes, size_t size)
{
    return outcome(pread(region->device->fd, bytes, size, (off_t)(region->offset + offset)), size);
}

static int write_region(const struct region *region, uint64_t offset, const void *bytes, size_t size)
{
    return outcome(pwrite(region->device->fd, bytes, size, (off_t)(region->offset + offset)), size);
}

static int irq_info(struct chalk_device *device, struct vfio_irq_info *info)
{
    return ioctl(device->fd, VFIO_DEVICE_GET_IRQ_INFO, info) == 0 ? 0 : -errno;
}

static int set_irqs(struct chalk_device *device, const struct vfio_irq_set *set)
{
    int result = ioctl(device->fd, VFIO_DEVICE_SET_IRQS, set);

    return result < 0 ? -errno : result;
}

/*
 * The kernel waits for the function as PCIe 6.6.2 wants, 100 ms and, if it answers with retry status, up to a
 * minute; no deadline of ours can cut that short. While somebody else holds the function it does not begin.
 */
static int reset(struct chalk_device *device, uint64_t deadline)
{
    (void)deadline;
    if (ioctl(device->fd, VFIO_DEVICE_RESET) == 0)
        return 0;
    return errno == EAGAIN || errno == EBUSY ? -EAGAIN : errno == ENODEV ? -ENODEV : -ETIMEDOUT;
}

const struct transport hosted_vfio = {
    .open = open_device,
    .close = close_device,
    .end_domain = hosted_container_end,
    .region_info = region_info,
    .read = read_region,
    .write = write_region,
    .irq_info = irq_info,
    .set_irqs = set_irqs,
    .reset = reset,
    .map = hosted_container_map,
    .unmap = hosted_container_unmap,
};

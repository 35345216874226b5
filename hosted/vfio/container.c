/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Domains are VFIO containers, and groups are what joins them: the least that the hardware can keep apart. A
 * group is in one container, so a device whose group is open already shares that one's domain.
 */
#define _GNU_SOURCE
#include "../iova.h"
#include "../reason.h"
#include "vfio.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <chalk/log.h>

#define CONTAINER "/dev/vfio/vfio"

static int failed(const char *name, const char *what)
{
    int error = -errno;

    chalk_log(CHALK_ERROR, "%s cannot be opened: %s: %s", name, what, hosted_reason(errno));
    return error;
}

/* ---- the container ---- */

static int check_container(int fd, const char *name)
{
    int version = ioctl(fd, VFIO_GET_API_VERSION);

    if (version != VFIO_API_VERSION) {
        chalk_log(CHALK_ERROR, "%s cannot be opened: Linux has version %d of the VFIO interface, not %d",
                  name, version, VFIO_API_VERSION);
        return -ENXIO;
    }
    if (ioctl(fd, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) != 1) {
        chalk_log(
            CHALK_ERROR,
            "%s cannot be opened: VFIO has no type 1 IOMMU; root loads it with: modprobe vfio_iommu_type1",
            name);
        return -ENXIO;
    }
    return 0;
}

int hosted_container_new(const char *name, struct chalk_domain **domain)
{
    int error = hosted_cure_node(name, CONTAINER, "/sys/class/misc/vfio/dev");
    int fd;

    if (error != 0)
        return error;
    fd = open(CONTAINER, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
            return hosted_cure_missing_module(name);
        if (errno == EACCES || errno == EPERM)
            return hosted_cure_access(name, CONTAINER);
        return failed(name, CONTAINER);
    }
    error = check_container(fd, name);
    *domain = error == 0 ? hosted_domain_new(name, &hosted_vfio) : NULL;
    if (*domain == NULL) {
        close(fd);
        return error != 0 ? error : -ENOMEM;
    }
    (*domain)->fd = fd;
    return 0;
}

void hosted_container_end(struct chalk_domain *domain)
{
    while (domain->groups != NULL)
        hosted_group_drop(domain, domain->groups);
    close(domain->fd);
}

/* ---- what its IOMMU can translate ---- */

/* What holds where the kernel is too old to say: 39 bits but for the interrupt window. */
static const struct range usual[] = {{0, 0xfedfffff}, {0xfef00000, HOSTED_IOVA_EASY}};

/* The capabilities of VFIO_IOMMU_GET_INFO are a chain of offsets into its answer. */
static int parse_ranges(struct chalk_domain *domain, const struct vfio_iommu_type1_info *info, size_t size)
{
    size_t at = (info->flags & VFIO_IOMMU_INFO_CAPS) != 0 ? info->cap_offset : 0;

    for (unsigned steps = 0; at != 0 && steps < 16; steps++) {
        const struct vfio_iommu_type1_info_cap_iova_range *cap = (const void *)((const char *)info + at);

        if (at > size - sizeof cap->header)
            break;
        if (cap->header.id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE && at + sizeof *cap <= size &&
            cap->nr_iovas <= (size - at - sizeof *cap) / sizeof cap->iova_ranges[0]) {
            _Static_assert(sizeof cap->iova_ranges[0] == sizeof(struct range), "one layout");
            return hosted_domain_set_ranges(domain, (const struct range *)(const void *)cap->iova_ranges,
                                            cap->nr_iovas);
        }
        at = cap->header.next;
    }
    return hosted_domain_set_ranges(domain, usual, 2);
}

static int read_ranges(struct chalk_domain *domain)
{
    struct vfio_iommu_type1_info head = {.argsz = sizeof head};
    struct vfio_iommu_type1_info *info;
    int error;

    if (ioctl(domain->fd, VFIO_IOMMU_GET_INFO, &head) != 0)
        return -errno;
    info = calloc(1, head.argsz);
    if (info == NULL)
        return -ENOMEM;
    info->argsz = head.argsz;
    error =
        ioctl(domain->fd, VFIO_IOMMU_GET_INFO, info) != 0 ? -errno : parse_ranges(domain, info, head.argsz);
    free(info);
    return error;
}

/* Spans that come later stay out of this IOMMU's holes; for earlier ones chalk_dma_map() checks. */
static int exclude_holes(const struct chalk_domain *domain)
{
    uint64_t next = 0;
    int error = 0;

    for (unsigned i = 0; i < domain->range_count && error == 0; i++) {
        if (domain->ranges[i].first > next)
            error = hosted_iova_exclude(next, domain->ranges[i].first - 1);
        if (domain->ranges[i].last == UINT64_MAX)
            return error;
        next = domain->ranges[i].last + 1;
    }
    return error != 0 ? error : hosted_iova_exclude(next, UINT64_MAX);
}

/* ---- groups ---- */

struct group *hosted_group_find(unsigned number, struct chalk_domain **domain)
{
    for (*domain = hosted_domains(); *domain != NULL; *domain = (*domain)->next)
        for (struct group *group = (*domain)->groups; group != NULL; group = group->next)
            if (group->number == number)
                return group;
    return NULL;
}

/*
 * A process that was just killed may still be letting go of its device, which takes a reset of it: 0.1 s and
 * more. So "busy" is an answer only when it still stands after a second.
 */
static int open_patiently(const char *path)
{
    for (unsigned tries = 0;; tries++) {
        int fd = open(path, O_RDWR | O_CLOEXEC);

        if (fd >= 0 || errno != EBUSY || tries == 50)
            return fd;
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
}

static int open_group(unsigned number, const char *name)
{
    struct vfio_group_status status = {.argsz = sizeof status};
    char path[64], number_of[64];
    int fd, error;

    snprintf(path, sizeof path, "/dev/vfio/%u", number);
    snprintf(number_of, sizeof number_of, "/sys/class/vfio/%u/dev", number);
    error = hosted_cure_node(name, path, number_of);
    if (error != 0)
        return error;
    fd = open_patiently(path);
    if (fd < 0) {
        if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
            return hosted_cure_no_file(name, path);
        if (errno == EACCES || errno == EPERM)
            return hosted_cure_access(name, path);
        if (errno != EBUSY)
            return failed(name, path);
        chalk_log(CHALK_ERROR, "%s is in use by another process; its number is shown by: fuser -v %s", name,
                  path);
        return -EBUSY;
    }
    if (ioctl(fd, VFIO_GROUP_GET_STATUS, &status) != 0 || (status.flags & VFIO_GROUP_FLAGS_VIABLE) == 0) {
        close(fd);
        return hosted_cure_not_viable(name, number);
    }
    return fd;
}

static int join(struct chalk_domain *domain, int fd, unsigned number, const char *name)
{
    int error;

    if (ioctl(fd, VFIO_GROUP_SET_CONTAINER, &domain->fd) != 0) {
        if (errno == EPERM)
            return hosted_cure_not_viable(name, number);
        return failed(name, "its group cannot join the domain");
    }
    if (domain->groups == NULL && ioctl(domain->fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) != 0) {
        if (errno != EPERM)
            return failed(name, "the IOMMU cannot be used");
        chalk_log(CHALK_ERROR,
                  "%s cannot be opened: the IOMMU cannot check interrupts. If the device is trusted, root "
                  "allows it with:\n"
                  "  echo 1 > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
                  name);
        return -ENXIO;
    }
    error = read_ranges(domain);
    if (error == 0)
        error = exclude_holes(domain);
    if (error != 0)
        chalk_log(CHALK_ERROR,
                  "%s cannot be opened: the addresses that its IOMMU translates cannot be read: %s", name,
                  hosted_reason(error));
    return error;
}

int hosted_group_open(struct chalk_domain *domain, unsigned number, const char *name, struct group **group)
{
    int fd = open_group(number, name);
    struct group *made;
    int error;

    if (fd < 0)
        return fd;
    error = join(domain, fd, number, name);
    made = error == 0 ? calloc(1, sizeof *made) : NULL;
    if (made == NULL) {
        close(fd); /* and with it the group leaves the container */
        return error != 0 ? error : -ENOMEM;
    }
    *made = (struct group){.next = domain->groups, .fd = fd, .number = number};
    domain->groups = made;
    *group = made;
    return 0;
}

void hosted_group_drop(struct chalk_domain *domain, struct group *group)
{
    struct group **link = &domain->groups;

    if (group->devices != 0)
        return;
    while (*link != group)
        link = &(*link)->next;
    *link = group->next;
    close(group->fd);
    free(group);
}

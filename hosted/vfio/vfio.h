/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linux's VFIO: a container is what the IOMMU translates with (our domain), groups are what the hardware can
 * keep apart, and a device is a descriptor.
 */
#ifndef HOSTED_VFIO_H
#define HOSTED_VFIO_H

#include "../device.h"

struct group {
    struct group *next;
    int fd;
    unsigned number;
    unsigned devices; /* that are open */
};

/* container.c: the domain's life. */

/* A new domain. Errors: -ENXIO (no VFIO), -EACCES, -ENOMEM; said why. */
int hosted_container_new(const char *name, struct chalk_domain **domain);
void hosted_container_end(struct chalk_domain *domain);
/* Finds the group in any domain; NULL if it is not open. */
struct group *hosted_group_find(unsigned number, struct chalk_domain **domain);
/* Opens group `number`, for the sake of device `name`, and puts it into the domain. Errors as
 * chalk_device_open(). */
int hosted_group_open(struct chalk_domain *domain, unsigned number, const char *name, struct group **group);
/* Closes it when it has no device left. */
void hosted_group_drop(struct chalk_domain *domain, struct group *group);

/* mapping.c: the IOMMU's tables. */

int hosted_container_map(struct chalk_domain *domain, const struct mapping *mapping);
int hosted_container_unmap(struct chalk_domain *domain, const struct mapping *mapping);

/* cure.c: messages that say what keeps VFIO from a device. Each returns the errno for it;
 * hosted_cure_driver() and hosted_cure_node() return 0 if all is well. */

int hosted_cure_no_iommu(const char *name);
int hosted_cure_driver(const char *name);
int hosted_cure_missing_module(const char *name);
/* Whether the file at `path` has the device number that Linux tells in the file `number_of` of /sys. */
int hosted_cure_node(const char *name, const char *path, const char *number_of);
int hosted_cure_no_file(const char *name, const char *path);
int hosted_cure_access(const char *name, const char *path);
int hosted_cure_not_viable(const char *name, unsigned group);

#endif

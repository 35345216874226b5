/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What VFIO gives: a container is what the IOMMU translates with (our domain), groups are what the hardware
 * can keep apart, and a device is a descriptor with regions and interrupts. Source:
 * Documentation/driver-api/vfio.rst and <linux/vfio.h>. Everything here is under hosted_lock().
 */
#ifndef HOSTED_VFIO_H
#define HOSTED_VFIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <chalk/platform.h>

struct core;
struct source;

struct range {
    uint64_t first, last;
};

/* Memory that a domain's devices reach. */
struct mapping {
    uint64_t iova;
    size_t size;
    void *va;
    unsigned protection;
    unsigned count; /* how often it was mapped */
};

struct group {
    struct group *next;
    int fd;
    unsigned number;
    unsigned devices; /* that are open */
};

struct chalk_domain {
    struct chalk_domain *next;
    int fd; /* the container's */
    struct group *groups;
    unsigned devices;
    char name[CHALK_NAME_SIZE]; /* of the device that it was made for */
    struct range *ranges;       /* of addresses that the IOMMU translates, ascending */
    unsigned range_count;
    struct mapping *mappings; /* by iova, disjoint */
    size_t mapping_count, mapping_room;
};

/* A BAR, or configuration space. */
struct region {
    uint64_t size;       /* 0: there is none */
    uint64_t offset;     /* in the device's file */
    struct range *areas; /* that can be mapped */
    unsigned area_count;
};

/* What is mapped of a BAR. */
struct window {
    struct window *next;
    void *va;
    size_t size;
    off_t offset; /* in the device's file */
};

enum { REGION_BARS = 6, REGION_CONFIG = 6, REGION_COUNT };

struct chalk_device {
    struct chalk_device *next;
    char name[CHALK_NAME_SIZE];
    int fd;
    bool has_reset;
    struct chalk_domain *domain;
    struct group *group;
    struct region regions[REGION_COUNT];
    struct window *windows;
    /* Interrupts: of which kind (an index of VFIO's), how many vectors, and who listens to each. */
    unsigned irq_index, vector_count;
    bool irq_enabled;
    struct listener {
        struct core *core;
        struct source *source;
    } * listeners;
};

/* container.c: the domain's life. */

/* A new domain. Errors: -ENXIO (no VFIO), -EACCES, -ENOMEM; said why. */
int hosted_domain_new(const char *name, struct chalk_domain **domain);
/* Frees it when it has no device left. */
void hosted_domain_drop(struct chalk_domain *domain);
struct chalk_domain *hosted_domains(void);
/* Finds the group in any domain; NULL if it is not open. */
struct group *hosted_group_find(unsigned number, struct chalk_domain **domain);
/* Opens group `number`, for the sake of device `name`, and puts it into the domain. Errors as
 * chalk_device_open(). */
int hosted_group_open(struct chalk_domain *domain, unsigned number, const char *name, struct group **group);
/* Closes it when it has no device left. */
void hosted_group_drop(struct chalk_domain *domain, struct group *group);

/* cure.c: messages that say what keeps VFIO from a device. Each returns the errno for it, the second 0 if all
 * is well. */

int hosted_cure_no_iommu(const char *name);
int hosted_cure_driver(const char *name);
int hosted_cure_missing_module(const char *name);
int hosted_cure_no_file(const char *name, const char *path);
int hosted_cure_access(const char *name, const char *path);
int hosted_cure_not_viable(const char *name, unsigned group);

/* windows.c */

int hosted_regions_open(struct chalk_device *device);
void hosted_regions_close(struct chalk_device *device);

/* interrupts.c */

int hosted_interrupts_open(struct chalk_device *device);
void hosted_interrupts_close(struct chalk_device *device);

/* domain.c: what is mapped goes with the domain. */

void hosted_mappings_drop(struct chalk_domain *domain);

/* device.c */

/* Closes what is still open. */
void hosted_devices_stop(void);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Devices as Linux's VFIO describes them: a device has regions, which are read, written and perhaps mapped,
 * and interrupts, which signal eventfds; a domain has mappings of memory. How any of it reaches the device is
 * its transport's: by ioctl() to the kernel (vfio/), or by messages to another process (vfio_user/), which
 * carry the same structures. Source: Documentation/driver-api/vfio.rst and <linux/vfio.h>. Everything here is
 * under hosted_lock().
 */
#ifndef HOSTED_DEVICE_H
#define HOSTED_DEVICE_H

#include <linux/vfio.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <chalk/platform.h>
#include <chalk/range.h>

struct core;
struct source;

struct range {
    uint64_t first, last;
};

/* Memory that a domain's devices reach. */
struct mapping {
    struct chalk_range range; /* of device addresses: iova and size */
    uint64_t iova;
    size_t size;
    void *va;
    unsigned protection;
    unsigned count; /* how often it was mapped */
    bool by_file;   /* a process gets the file that it lies in, else the bytes by messages */
};

struct chalk_domain {
    struct chalk_domain *next;
    const struct transport *transport;
    struct chalk_device *members;
    char name[CHALK_NAME_SIZE]; /* of the device that it was made for */
    struct range *ranges;       /* of addresses that its devices can use, ascending */
    unsigned range_count;
    struct chalk_ranges mappings; /* by iova */
    size_t mapping_count;
    bool ended; /* its last device was closed */

    /* of vfio/ */
    int fd; /* the container's */
    struct group *groups;
};

/* A BAR, or configuration space. */
struct region {
    struct chalk_device *device;
    unsigned index;      /* VFIO's */
    uint64_t size;       /* 0: there is none */
    int fd;              /* the file it is mapped from */
    uint64_t offset;     /* in that file */
    struct range *areas; /* that can be mapped */
    unsigned area_count;
};

/* What is mapped of a BAR. */
struct window {
    struct window *next; /* of all devices' */
    void *va;
    size_t size;
    const struct region *region;
    uint64_t offset; /* in the region */
};

enum { REGION_BARS = 6, REGION_CONFIG = 6, REGION_COUNT };

struct chalk_device {
    struct chalk_device *next;
    char name[CHALK_NAME_SIZE];
    const struct transport *transport;
    bool has_reset;
    bool opened; /* by its transport */
    struct chalk_domain *domain;
    struct chalk_device *next_member; /* of the domain */
    struct region regions[REGION_COUNT];
    atomic_bool lost;    /* it reads as all ones from now on */
    struct watch *watch; /* for that; NULL: nobody wants to know */
    /* Interrupts: of which kind (an index of VFIO's), how many vectors, and who listens to each. */
    unsigned irq_index, vector_count;
    bool irq_enabled;
    struct listener {
        struct core *core;
        struct source *source;
    } * listeners;

    /* of vfio/ */
    int fd;
    struct group *group;

    /* of vfio_user/ */
    struct peer *peer;
    struct book *book; /* NULL: a process that ends is not waited for */
};

/* Errors are negative errno values: -ENODEV if the device has gone. */
struct transport {
    /*
     * Finds the device and makes `opened` true; puts it into the domain `wanted`, or into one that it finds
     * or makes when that is NULL. Says why it fails. Errors: as chalk_device_open(). close() undoes what it
     * did.
     */
    int (*open)(struct chalk_device *device, struct chalk_domain *wanted);
    void (*close)(struct chalk_device *device);
    /* With the domain's last device. */
    void (*end_domain)(struct chalk_domain *domain);

    /* Fills up to info->argsz bytes; afterwards argsz is what all of it takes. `*fd` is the file that the
     * region can be mapped from, closed with the region if it is not the device's own. -EINVAL: no such
     * region. */
    int (*region_info)(struct chalk_device *device, struct vfio_region_info *info, int *fd);
    int (*read)(const struct region *region, uint64_t offset, void *bytes, size_t size);
    int (*write)(const struct region *region, uint64_t offset, const void *bytes, size_t size);
    bool takes_files; /* map() may hand out the file of the memory */
    bool ports;       /* a BAR of I/O ports is no other than one of memory */
    bool tells_loss;  /* by itself, when a device goes */

    int (*irq_info)(struct chalk_device *device, struct vfio_irq_info *info);
    /* Returns also how many vectors are to be had, if that is fewer. An eventfd of -1 is silence. */
    int (*set_irqs)(struct chalk_device *device, const struct vfio_irq_set *set);

    /* Returns when the device was reset. -EAGAIN: not now, try again. */
    int (*reset)(struct chalk_device *device, uint64_t deadline);

    /* Says why it fails. */
    int (*map)(struct chalk_domain *domain, const struct mapping *mapping);
    int (*unmap)(struct chalk_domain *domain, const struct mapping *mapping);
};

extern const struct transport hosted_vfio, hosted_vfio_user;

/* What the names of hosted_vfio_user's devices begin with; the path of a socket follows. */
#define HOSTED_VFIO_USER "vfio-user:"

/* device.c */

/* Reads `size` bytes of the configuration space of a device that is open, or else is opened for as long.
 * Errors: as chalk_device_open(). */
int hosted_device_peek(const char *name, void *bytes, size_t size);

/*
 * Two ways in which a device goes that is open, from any thread: it is not there any more; or it is, but is
 * not the program's any more, and does no DMA before its driver can know of it. For the driver they are one:
 * everything of it reads as all ones, what is written is for nobody, and every core wakes and may look. It
 * stays so until it is closed. False, and said: some of its registers are still what they were.
 */
bool hosted_device_gone(struct chalk_device *device);
bool hosted_device_take_away(struct chalk_device *device);
static inline bool hosted_device_lost(const struct chalk_device *device)
{
    return atomic_load(&device->lost);
}

/* Closes what is still open. */
void hosted_devices_stop(void);

/* Ends the program, with a message, if the device is not open. `call` is the contract's function that has got
 * it. */
void hosted_device_check(const struct chalk_device *device, const char *call);

/* Forgets the domains that have ended. */
void hosted_domains_stop(void);

/* domain.c */

/* An empty one. NULL if there is no memory. */
struct chalk_domain *hosted_domain_new(const char *name, const struct transport *transport);
void hosted_domain_join(struct chalk_domain *domain, struct chalk_device *device);
/* Its domain ends with its last device. */
void hosted_domain_leave(struct chalk_device *device);
struct chalk_domain *hosted_domains(void);
/* Errors: -ENOMEM. */
int hosted_domain_set_ranges(struct chalk_domain *domain, const struct range *ranges, unsigned count);
/*
 * What a device without descriptors does instead of DMA: moves `size` bytes between `bytes` and the memory
 * mapped at `iova`, as far as its protection allows. From any thread. Errors: -EFAULT.
 */
int hosted_domain_move(const struct chalk_domain *domain, uint64_t iova, void *bytes, size_t size,
                       bool to_memory);

/* windows.c */

int hosted_regions_open(struct chalk_device *device);
void hosted_regions_close(struct chalk_device *device);

/* What is mapped of the device reads as all ones from here on. From any thread, and from signal handlers.
 * False, and said: not all of it. */
bool hosted_windows_lose(struct chalk_device *device);
/* Maps what is mapped of the device again, from its regions' files, which are others now. Errors: as mmap(2).
 */
int hosted_windows_remap(struct chalk_device *device);
/* Whose registers are at that address; NULL: nobody's. The same. */
struct chalk_device *hosted_windows_owner(const void *address);

/* interrupts.c */

int hosted_interrupts_open(struct chalk_device *device);
void hosted_interrupts_close(struct chalk_device *device);

/* How many interrupts of a kind (an index of VFIO's) signal eventfds. */
unsigned hosted_vectors(struct chalk_device *device, unsigned index);
/* Sets the eventfds of `count` of them from `start` on; -1 is silence. Returns 0, a negative errno, or how
 * many are to be had. */
int hosted_set_eventfds(struct chalk_device *device, unsigned index, unsigned start, unsigned count,
                        const int32_t *fds);

#endif

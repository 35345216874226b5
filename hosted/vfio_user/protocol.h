/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The vfio-user protocol: VFIO's ioctls as messages over a UNIX socket, with the same structures behind a
 * header, descriptors as ancillary data, and a few messages that the kernel does by other means. Version 0.1;
 * source: QEMU's docs/interop/vfio-user.rst. Both sides use this file: the transport here, and the server of
 * tools/models.
 */
#ifndef VFIO_USER_PROTOCOL_H
#define VFIO_USER_PROTOCOL_H

#include <linux/vfio.h>
#include <stdint.h>

enum {
    VFIO_USER_MAJOR = 0,
    VFIO_USER_MINOR = 1,
};

enum vfio_user_command {
    VFIO_USER_VERSION = 1,
    VFIO_USER_DMA_MAP = 2,
    VFIO_USER_DMA_UNMAP = 3,
    VFIO_USER_DEVICE_GET_INFO = 4,        /* struct vfio_device_info, as far as num_irqs */
    VFIO_USER_DEVICE_GET_REGION_INFO = 5, /* struct vfio_region_info */
    VFIO_USER_DEVICE_GET_IRQ_INFO = 7,    /* struct vfio_irq_info */
    VFIO_USER_DEVICE_SET_IRQS = 8,        /* struct vfio_irq_set; its eventfds are ancillary data */
    VFIO_USER_REGION_READ = 9,
    VFIO_USER_REGION_WRITE = 10,
    VFIO_USER_DMA_READ = 11, /* this and the next are the server's */
    VFIO_USER_DMA_WRITE = 12,
    VFIO_USER_DEVICE_RESET = 13,
};

struct vfio_user_header {
    uint16_t id; /* the sender's, and repeated in the reply */
    uint16_t command;
    uint32_t size; /* of the message, with this header */
    uint32_t flags;
    uint32_t error; /* an errno value, or 0, in a reply with the error flag */
};
_Static_assert(sizeof(struct vfio_user_header) == 16, "Header");

#define VFIO_USER_TYPE     0x0fu
#define VFIO_USER_REPLY    0x01u
#define VFIO_USER_NO_REPLY 0x10u /* none is wanted */
#define VFIO_USER_ERROR    0x20u

/* JSON with a zero at its end follows. */
struct vfio_user_version {
    uint16_t major, minor;
};
_Static_assert(sizeof(struct vfio_user_version) == 4, "VFIO_USER_VERSION");

struct vfio_user_dma_map {
    uint32_t argsz;
    uint32_t flags; /* readable 0, writeable 1 */
    uint64_t offset;
    uint64_t address;
    uint64_t size;
};
_Static_assert(sizeof(struct vfio_user_dma_map) == 32, "VFIO_USER_DMA_MAP");

#define VFIO_USER_DMA_READABLE  1u
#define VFIO_USER_DMA_WRITEABLE 2u

struct vfio_user_dma_unmap {
    uint32_t argsz;
    uint32_t flags;
    uint64_t address;
    uint64_t size;
};
_Static_assert(sizeof(struct vfio_user_dma_unmap) == 24, "VFIO_USER_DMA_UNMAP");

struct vfio_user_device_info {
    uint32_t argsz;
    uint32_t flags; /* VFIO_DEVICE_FLAGS_... */
    uint32_t num_regions;
    uint32_t num_irqs;
};
_Static_assert(sizeof(struct vfio_user_device_info) == 16, "VFIO_USER_DEVICE_GET_INFO");

/* Of a region; the data follows. */
struct vfio_user_access {
    uint64_t offset;
    uint32_t region;
    uint32_t count;
};
_Static_assert(sizeof(struct vfio_user_access) == 16, "VFIO_USER_REGION_READ, VFIO_USER_REGION_WRITE");

/* By the device, of memory; the data follows. */
struct vfio_user_dma_access {
    uint64_t address;
    uint64_t count;
};
_Static_assert(sizeof(struct vfio_user_dma_access) == 16, "VFIO_USER_DMA_READ, VFIO_USER_DMA_WRITE");

/* What holds unless a side says otherwise in its version message. */
#define VFIO_USER_DATA_MAX (1u << 20) /* bytes of data in a message */
#define VFIO_USER_MAPS_MAX 65535u
#define VFIO_USER_FDS_MAX  1u

#endif

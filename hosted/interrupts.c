/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupts: the transport signals an eventfd for each vector, and the vector's core reads it. The first
 * attach turns MSI-X on with every vector that the device has, because VFIO cannot add vectors later without
 * turning it off in between, and some devices (QEMU's NVMe) look at MSI-X only when they are enabled; later
 * ones change one eventfd.
 */
#include "device.h"
#include "events.h"
#include "reason.h"
#include "state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chalk/core.h>
#include <chalk/log.h>

/* The most that a device can have (PCI 3.0 6.8.2.3). */
#define MAX_VECTORS 2048

unsigned hosted_vectors(struct chalk_device *device, unsigned index)
{
    struct vfio_irq_info info = {.argsz = sizeof info, .index = index};

    if (device->transport->irq_info(device, &info) != 0 || (info.flags & VFIO_IRQ_INFO_EVENTFD) == 0)
        return 0;
    return info.count < MAX_VECTORS ? info.count : MAX_VECTORS;
}

int hosted_interrupts_open(struct chalk_device *device)
{
    device->irq_index = VFIO_PCI_MSIX_IRQ_INDEX;
    device->vector_count = hosted_vectors(device, VFIO_PCI_MSIX_IRQ_INDEX);
    if (device->vector_count == 0) {
        device->irq_index = VFIO_PCI_INTX_IRQ_INDEX;
        device->vector_count = hosted_vectors(device, VFIO_PCI_INTX_IRQ_INDEX);
    }
    device->listeners = calloc(device->vector_count + 1, sizeof *device->listeners);
    return device->listeners != NULL ? 0 : -ENOMEM;
}

int hosted_set_eventfds(struct chalk_device *device, unsigned index, unsigned start, unsigned count,
                        const int32_t *fds)
{
    size_t size = sizeof(struct vfio_irq_set) + count * sizeof *fds;
    struct vfio_irq_set *set = calloc(1, size);
    int result;

    if (set == NULL)
        return -ENOMEM;
    *set = (struct vfio_irq_set){
        .argsz = (uint32_t)size,
        .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
        .index = index,
        .start = start,
        .count = count,
    };
    memcpy(set->data, fds, count * sizeof *fds);
    result = device->transport->set_irqs(device, set);
    free(set);
    return result;
}

static int set_vectors(struct chalk_device *device, unsigned start, unsigned count, const int32_t *fds)
{
    return hosted_set_eventfds(device, device->irq_index, start, count, fds);
}

static int signal_nothing(struct chalk_device *device, uint32_t action, uint32_t count)
{
    struct vfio_irq_set set = {
        .argsz = sizeof set,
        .flags = VFIO_IRQ_SET_DATA_NONE | action,
        .index = device->irq_index,
        .count = count,
    };

    return device->transport->set_irqs(device, &set);
}

/* Turns all vectors on, silent but for one. Linux may have fewer to give than the device has. */
static int enable(struct chalk_device *device, unsigned vector, int fd)
{
    int32_t *fds = malloc(device->vector_count * sizeof *fds);
    unsigned count = device->vector_count;
    int result;

    if (fds == NULL)
        return -ENOMEM;
    memset(fds, 0xff, count * sizeof *fds);
    fds[vector] = fd;
    result = set_vectors(device, 0, count, fds);
    if (result > 0 && vector < (unsigned)result && (unsigned)result < count) {
        count = (unsigned)result;
        chalk_log(CHALK_WARNING, "%s has %u interrupt vectors, but Linux grants only %u", device->name,
                  device->vector_count, count);
        result = set_vectors(device, 0, count, fds);
    }
    free(fds);
    if (result == 0) {
        device->vector_count = count;
        device->irq_enabled = true;
    }
    return result > 0 ? -ERANGE : result;
}

static void silence(struct chalk_device *device, unsigned vector)
{
    struct listener *listener = &device->listeners[vector];
    int32_t none = -1;

    if (listener->source == NULL)
        return;
    if (device->irq_index == VFIO_PCI_INTX_IRQ_INDEX) {
        signal_nothing(device, VFIO_IRQ_SET_ACTION_TRIGGER, 0);
        device->irq_enabled = false;
    } else {
        set_vectors(device, vector, 1, &none);
    }
    hosted_source_remove(listener->core, listener->source);
    *listener = (struct listener){0};
}

static int listen_to(struct chalk_device *device, unsigned vector, struct core *core,
                     _Atomic(uint32_t) *counter)
{
    struct source *source;
    int32_t fd = eventfd(0, EFD_CLOEXEC); /* blocking: io_uring ends a read of another with EAGAIN */
    int error;

    if (fd < 0)
        return -errno;
    error = hosted_source_add(core, fd, counter, &source);
    if (error != 0) {
        close(fd);
        return error;
    }
    error = device->irq_enabled ? set_vectors(device, vector, 1, &fd) : enable(device, vector, fd);
    if (error != 0) {
        hosted_source_remove(core, source);
        return error;
    }
    device->listeners[vector] = (struct listener){core, source};
    return 0;
}

int chalk_vector_attach(struct chalk_device *device, unsigned vector, unsigned number,
                        _Atomic(uint32_t) *counter)
{
    int error = 0;

    hosted_device_check(device, "chalk_vector_attach");
    if (device->vector_count == 0) {
        chalk_log(CHALK_ERROR, "%s has no MSI-X and no interrupt pin that Linux passes on; poll it",
                  device->name);
        return -ENOTSUP;
    }
    if (vector >= device->vector_count) {
        chalk_log(CHALK_ERROR, "%s has no interrupt vector %u: it has %u, numbered from 0", device->name,
                  vector, device->vector_count);
        return -ERANGE;
    }
    if (counter != NULL && chalk_core_check(number, "chalk_vector_attach") != 0)
        return -EINVAL;
    hosted_lock();
    silence(device, vector);
    if (counter != NULL)
        error = listen_to(device, vector, hosted_core(number), counter);
    hosted_unlock();
    if (error != 0)
        chalk_log(CHALK_ERROR, "%s: interrupt vector %u cannot be used: %s", device->name, vector,
                  hosted_reason(error));
    if (counter != NULL && error == 0)
        chalk_core_wake(number); /* it may be asleep, and is to listen from now on */
    return error;
}

int chalk_vector_rearm(struct chalk_device *device, unsigned vector)
{
    hosted_device_check(device, "chalk_vector_rearm");
    if (device->vector_count == 0)
        return -ENOTSUP;
    if (vector >= device->vector_count)
        return -ERANGE;
    if (device->irq_index != VFIO_PCI_INTX_IRQ_INDEX)
        return 0;
    if (!device->irq_enabled)
        return -EINVAL;
    return signal_nothing(device, VFIO_IRQ_SET_ACTION_UNMASK, 1);
}

void hosted_interrupts_close(struct chalk_device *device)
{
    for (unsigned vector = 0; device->listeners != NULL && vector < device->vector_count; vector++)
        silence(device, vector);
    if (device->irq_enabled)
        signal_nothing(device, VFIO_IRQ_SET_ACTION_TRIGGER, 0);
    device->irq_enabled = false;
    free(device->listeners);
    device->listeners = NULL;
}

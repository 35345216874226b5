/* SPDX-License-Identifier: BSD-2-Clause */
/* A device's life: opened with bus mastering off, configured, reset, closed with nothing left behind. */
#include "device.h"
#include "cores.h"
#include "memory.h"
#include "pci.h"
#include "reason.h"
#include "state.h"
#include "watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <chalk/clock.h>
#include <chalk/device.h>
#include <chalk/error.h>
#include <chalk/log.h>

static struct chalk_device *devices;

/* Those closed last stay in memory, so that whoever still uses one is told. */
static struct chalk_device *closed[8];
static unsigned closed_next;

static void keep_closed(struct chalk_device *device)
{
    free(closed[closed_next]);
    closed[closed_next] = device;
    closed_next = (closed_next + 1) % (sizeof closed / sizeof closed[0]);
}

void hosted_device_check(const struct chalk_device *device, const char *call)
{
    if (!device->opened)
        chalk_misuse("%s(): %s is not open: it was closed already", call, device->name);
}

/* ---- configuration space ---- */

/* Linux answers for vendor and device itself, be there a device or not. But there is no header of layout
 * 0x7f, which is what nobody's answer reads as (PCI 3.0 6.2.1). */
#define CONFIG_HEADER_TYPE 0x0e

static bool gone(const struct chalk_device *device)
{
    uint8_t header;

    return hosted_device_lost(device) ||
           device->transport->read(&device->regions[REGION_CONFIG], CONFIG_HEADER_TYPE, &header, 1) != 0 ||
           header == 0xff;
}

int chalk_config_read(struct chalk_device *device, unsigned offset, unsigned width, uint32_t *value)
{
    const struct region *region = &device->regions[REGION_CONFIG];
    uint32_t ones = width == 4 ? UINT32_MAX : (1u << 8 * (width & 3)) - 1;
    int error = 0;

    hosted_device_check(device, "chalk_config_read");
    if ((width != 1 && width != 2 && width != 4) || offset % width != 0 || offset > 4096 - width)
        return -EINVAL;
    *value = 0;
    if (offset + width > region->size || hosted_device_lost(device))
        *value = ones; /* as a conventional device answers above 255 */
    else
        error = device->transport->read(region, offset, value, width);
    if (error != 0 || (*value != ones && offset >= 4) || !gone(device))
        return error;
    *value = ones;
    return -ENODEV;
}

/* Reading it back pushes the DMA that is under way ahead of the answer (PCI 3.0 3.2.5). */
static void stop_dma(const struct chalk_device *device)
{
    const struct transport *transport = device->transport;
    const struct region *region = &device->regions[REGION_CONFIG];
    uint16_t command;

    if (transport->read(region, CHALK_PCI_COMMAND, &command, sizeof command) != 0 || command == UINT16_MAX ||
        (command & CHALK_PCI_COMMAND_MASTER) == 0)
        return;
    command &= (uint16_t)~CHALK_PCI_COMMAND_MASTER;
    transport->write(region, CHALK_PCI_COMMAND, &command, sizeof command);
    transport->read(region, CHALK_PCI_COMMAND, &command, sizeof command);
}

int chalk_config_write(struct chalk_device *device, unsigned offset, unsigned width, uint32_t value)
{
    const struct region *region = &device->regions[REGION_CONFIG];
    int error;

    hosted_device_check(device, "chalk_config_write");
    if ((width != 1 && width != 2 && width != 4) || offset % width != 0 || offset > 4096 - width)
        return -EINVAL;
    if (hosted_device_lost(device))
        return -ENODEV;
    if (offset + width > region->size)
        return 0; /* as the bus does: nobody takes it */
    error = device->transport->write(region, offset, &value, width);
    if (hosted_device_lost(device))
        stop_dma(device); /* it went while this was on its way */
    return error;
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

/* ---- gone ---- */

bool hosted_device_gone(struct chalk_device *device)
{
    bool done;

    atomic_store(&device->lost, true);
    done = hosted_windows_lose(device);
    hosted_cores_wake();
    return done;
}

bool hosted_device_take_away(struct chalk_device *device)
{
    bool done;

    stop_dma(device);
    done = hosted_device_gone(device);
    stop_dma(device); /* its driver may have been about to start it */
    return done;
}

/* ---- open ---- */

/* Of what the transport has opened. */
static int set_up(struct chalk_device *device)
{
    int error = hosted_regions_open(device);

    if (error == 0)
        error = quiet(device);
    if (error == 0)
        error = hosted_interrupts_open(device);
    if (error == 0)
        error = hosted_watch_open(device);
    if (error != 0 && !hosted_device_lost(device)) /* what it was lost by has been said */
        chalk_log(CHALK_ERROR, "%s cannot be opened: %s", device->name,
                  error == -ENODEV ? "it does not answer" : hosted_reason(error));
    return error;
}

static int bring_up(struct chalk_device *device, struct chalk_domain *domain)
{
    int error;

    for (unsigned i = 0; i < REGION_COUNT; i++)
        device->regions[i] = (struct region){.device = device, .fd = -1};
    error = device->transport->open(device, domain);
    if (error != 0)
        return error;
    device->opened = true;
    return set_up(device);
}

/* Undoes as much of an open as was done. */
static void release(struct chalk_device *device)
{
    if (device->opened) {
        hosted_watch_close(device);
        quiet(device);
        hosted_interrupts_close(device);
        hosted_regions_close(device);
    }
    device->transport->close(device);
    hosted_domain_leave(device);
    device->opened = false;
    atomic_store(&device->lost, true); /* for whoever has a window of it */
    keep_closed(device);
}

static struct chalk_device *find_open(const char *name)
{
    struct chalk_device *device = devices;

    while (device != NULL && strcmp(device->name, name) != 0)
        device = device->next;
    return device;
}

static int open_named(const char *name, const struct transport *transport, struct chalk_domain *domain,
                      struct chalk_device **opened)
{
    struct chalk_device *device;
    int error;

    if (find_open(name) != NULL) {
        chalk_log(CHALK_ERROR, "%s is in use: this program has opened it already", name);
        return -EBUSY;
    }
    if (domain != NULL && domain->transport != transport) {
        chalk_log(CHALK_ERROR, "%s cannot join the domain of %s: one of them is a process", name,
                  domain->name);
        return -EXDEV;
    }
    device = calloc(1, sizeof *device);
    if (device == NULL)
        return -ENOMEM;
    device->fd = -1;
    device->transport = transport;
    strcpy(device->name, name);
    error = bring_up(device, domain);
    if (error != 0) {
        release(device);
        return error;
    }
    device->next = devices;
    devices = device;
    *opened = device;
    return 0;
}

static void close_device(struct chalk_device *device)
{
    struct chalk_device **link = &devices;

    while (*link != device)
        link = &(*link)->next;
    *link = device->next;
    release(device);
}

#define SOCKET_PATH_MAX 107 /* unix(7) */
_Static_assert(sizeof HOSTED_VFIO_USER + SOCKET_PATH_MAX <= CHALK_NAME_SIZE, "a name has room for a path");

/* Says what `text`, which is no name of a device, may have been meant for. */
static void refuse_name(const char *text)
{
    struct stat status;

    if (stat(text, &status) == 0 && S_ISSOCK(status.st_mode))
        chalk_log(CHALK_ERROR, "%.108s is a socket: to open the device behind it, write vfio-user:%.108s",
                  text, text);
    else
        chalk_log(
            CHALK_ERROR,
            "'%.64s' is not the name of a device: write a PCI address such as 0000:00:03.0 (lspci -D lists "
            "them), or vfio-user: and the path of a socket",
            text);
}

/* Finds the transport of a device, and its name there. Returns 0 or -EINVAL (logged). */
static int parse(const char *text, char name[CHALK_NAME_SIZE], const struct transport **transport)
{
    *transport = &hosted_vfio;
    if (strncmp(text, HOSTED_VFIO_USER, strlen(HOSTED_VFIO_USER)) != 0) {
        if (hosted_pci_name(text, name) == 0)
            return 0;
        refuse_name(text);
        return -EINVAL;
    }
    *transport = &hosted_vfio_user;
    if (text[strlen(HOSTED_VFIO_USER)] == '\0') {
        chalk_log(CHALK_ERROR, "%s names no socket: its path is missing, for example vfio-user:/tmp/disk",
                  text);
        return -EINVAL;
    }
    if (strlen(text) <= strlen(HOSTED_VFIO_USER) + SOCKET_PATH_MAX) {
        strcpy(name, text);
        return 0;
    }
    chalk_log(CHALK_ERROR, "%.*s... cannot be opened: the path of a socket has at most %d characters",
              CHALK_NAME_SIZE, text, SOCKET_PATH_MAX);
    return -EINVAL;
}

int chalk_device_open(const char *text, struct chalk_domain **domain, struct chalk_device **device)
{
    const struct transport *transport;
    char name[CHALK_NAME_SIZE];
    int error = parse(text, name, &transport);

    if (error != 0)
        return error;
    hosted_lock();
    error = open_named(name, transport, *domain, device);
    if (error == 0) {
        *domain = (*device)->domain;
        hosted_memory_for_devices();
    }
    hosted_unlock();
    return error;
}

int hosted_device_peek(const char *text, void *bytes, size_t size)
{
    const struct transport *transport;
    char name[CHALK_NAME_SIZE];
    int error = parse(text, name, &transport);
    struct chalk_device *device = error == 0 ? find_open(name) : NULL;
    bool was_open = device != NULL;

    if (error == 0 && !was_open)
        error = open_named(name, transport, NULL, &device);
    if (error != 0)
        return error;
    error = device->transport->read(&device->regions[REGION_CONFIG], 0, bytes, size);
    if (!was_open)
        close_device(device);
    return error;
}

/* ---- reset and close ---- */

/* Before something is tried again: whether there is still time for it, and a device. */
static int rest(const struct chalk_device *device, uint64_t deadline)
{
    if (hosted_device_lost(device))
        return -ENODEV;
    if (chalk_expired(deadline))
        return -ETIMEDOUT;
    nanosleep(&(struct timespec){.tv_nsec = CHALK_MS}, NULL);
    return 0;
}

/* What the deadline ends is trying again, while somebody else holds the function, and waiting for an answer
 * afterwards. */
static int reset(struct chalk_device *device, uint64_t deadline)
{
    uint32_t vendor;
    int error;

    while ((error = device->transport->reset(device, deadline)) == -EAGAIN)
        if ((error = rest(device, deadline)) != 0)
            return error;
    if (error != 0)
        return error;
    while (chalk_config_read(device, 0, 2, &vendor) != 0)
        if ((error = rest(device, deadline)) != 0)
            return error;
    return quiet(device); /* the command register was restored with the rest */
}

int chalk_device_reset(struct chalk_device *device, uint64_t deadline)
{
    hosted_device_check(device, "chalk_device_reset");
    if (!device->has_reset)
        return -ENOTSUP;
    if (gone(device)) /* Linux would wait for its answer for a minute */
        return -ENODEV;
    return reset(device, deadline);
}

void chalk_device_close(struct chalk_device *device)
{
    if (device == NULL)
        return;
    hosted_device_check(device, "chalk_device_close");
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
    for (unsigned i = 0; i < sizeof closed / sizeof closed[0]; i++) {
        free(closed[i]);
        closed[i] = NULL;
    }
    hosted_domains_stop();
}

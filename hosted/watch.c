/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Devices that are taken away from the program. Linux asks for one back, and waits until it is closed, when
 * somebody unbinds or removes it; it tells of errors that the bus cannot recover from; and it answers an
 * access to registers that are not there any more with SIGBUS. To the driver they all are what it knows from
 * the bus: the device reads as all ones.
 *
 * The questions come while a driver spins on its rings and calls nobody: so a thread sleeps for each device
 * until one comes.
 */
#include "watch.h"
#include "reason.h"
#include "signals.h"
#include "state.h"
#include "thread.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chalk/log.h>

struct watch {
    pthread_t thread;
    bool started;
    struct pollfd polls[3]; /* by these: */
};
enum { STOP, REQUEST, FAILURE };

/* ---- what Linux asks ---- */

static void *watch(void *argument)
{
    struct chalk_device *device = argument;
    struct pollfd *polls = device->watch->polls;

    while (poll(polls, 3, -1) <= 0)
        ;
    if (polls[STOP].revents != 0)
        return NULL;
    if (polls[FAILURE].revents != 0)
        chalk_log(
            CHALK_ERROR,
            "%s: an error on the bus took it out of service; dmesg tells which, and a program that opens "
            "it again may use it again",
            device->name);
    else
        chalk_log(CHALK_WARNING,
                  "%s: the system wants this device back, and waits until the program has closed it; "
                  "its driver finds it gone",
                  device->name);
    (void)hosted_device_take_away(device);
    return NULL;
}

/* An eventfd for the one interrupt of a kind; or -1, as not every device has it. */
static int listen_to(struct chalk_device *device, unsigned index)
{
    int32_t fd;
    int error;

    if (hosted_vectors(device, index) != 1)
        return -1;
    fd = eventfd(0, EFD_CLOEXEC);
    error = fd < 0 ? -errno : hosted_set_eventfds(device, index, 0, 1, &fd);
    if (error == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    chalk_log(CHALK_WARNING, "%s: requests of the system to give it back will not be noticed: %s",
              device->name, hosted_reason(error));
    return -1;
}

int hosted_watch_open(struct chalk_device *device)
{
    struct watch *made;
    int error;

    if (!hosted_options()->handle_removal)
        return 0;
    made = device->watch = calloc(1, sizeof *made);
    if (made == NULL)
        return -ENOMEM;
    made->polls[REQUEST] = (struct pollfd){listen_to(device, VFIO_PCI_REQ_IRQ_INDEX), POLLIN, 0};
    made->polls[FAILURE] = (struct pollfd){listen_to(device, VFIO_PCI_ERR_IRQ_INDEX), POLLIN, 0};
    made->polls[STOP] = (struct pollfd){eventfd(0, EFD_CLOEXEC), POLLIN, 0};
    if (made->polls[STOP].fd < 0)
        return -errno;
    if (made->polls[REQUEST].fd < 0 && made->polls[FAILURE].fd < 0)
        return 0;
    error = hosted_thread_start(&made->thread, watch, device);
    made->started = error == 0;
    return error;
}

bool hosted_watch_listens(const struct chalk_device *device)
{
    return device->watch != NULL && device->watch->started;
}

void hosted_watch_close(struct chalk_device *device)
{
    struct watch *made = device->watch;

    if (made == NULL)
        return;
    if (made->started) {
        eventfd_write(made->polls[STOP].fd, 1);
        pthread_join(made->thread, NULL);
    }
    for (unsigned i = 0; i < 3; i++)
        if (made->polls[i].fd >= 0)
            close(made->polls[i].fd);
    free(made);
    device->watch = NULL;
}

/* ---- registers that are not there any more ---- */

static struct sigaction earlier;
static bool handling;

/*
 * The thread was at a register, and so inside of nothing that what follows needs. When it returns the access
 * is repeated, and finds a page of ones.
 */
static void on_bus_error(int signal, siginfo_t *info, void *context)
{
    struct chalk_device *device = info->si_code == BUS_ADRERR ? hosted_windows_owner(info->si_addr) : NULL;
    int saved = errno;

    if (device != NULL && !hosted_device_lost(device))
        chalk_log(CHALK_ERROR, "%s: its registers cannot be reached any more; its driver finds it gone",
                  device->name);
    if ((device == NULL || !hosted_device_take_away(device)) &&
        !hosted_signal_chain(&earlier, signal, info, context))
        sigaction(signal, &earlier, NULL);
    errno = saved;
}

void hosted_watch_start(void)
{
    handling = hosted_signal_take(SIGBUS, on_bus_error, SA_ONSTACK, &earlier);
}

void hosted_watch_stop(void)
{
    if (handling)
        hosted_signal_release(SIGBUS, on_bus_error, &earlier);
    handling = false;
}

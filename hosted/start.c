/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Up and down: the order in which the parts of the hosted platform start and stop. Nothing happens before
 * chalk_start(), and after chalk_stop() the process is as it was.
 */
#include "clock.h"
#include "cores.h"
#include "crash.h"
#include "device.h"
#include "guard.h"
#include "iova.h"
#include "level.h"
#include "memory.h"
#include "pci.h"
#include "signals.h"
#include "state.h"
#include "vfio_user/patience.h"
#include "watch.h"

#include <errno.h>
#include <stdlib.h>

#include <chalk/log.h>
#include <chalk/main.h>
#include <chalk/version.h>

/* The level of messages is Chalk's own matter, so an embedding program need not ask for this. */
static void take_log_level(void)
{
    const char *name = getenv("CHALK_LOG");

    if (name != NULL)
        (void)chalk_log_level_named(name); /* which says what is wrong with it */
}

static bool seconds(const char *list, const char *option, const char *variable)
{
    if (patience_valid(list))
        return true;
    chalk_log(CHALK_ERROR, "%s '%s' (%s) is not a list of seconds, such as 60 or 60,vfio-user:/run/disk=600",
              option, list, variable);
    return false;
}

static int start(void)
{
    int error;

    hosted_level_link();
    if (!seconds(hosted_options()->patience, "patience", "CHALK_PATIENCE") ||
        !seconds(hosted_options()->reconnect, "reconnect", "CHALK_RECONNECT"))
        return -EINVAL;
    hosted_clock_start();
    hosted_iova_start();
    error = hosted_cores_start();
    if (error != 0) {
        hosted_iova_stop();
        return error;
    }
    if (hosted_options()->handle_signals) {
        hosted_signals_start();
        hosted_crash_start();
    }
    if (hosted_options()->handle_removal)
        hosted_watch_start();
    return 0;
}

int chalk_start(const struct chalk_start_options *wanted)
{
    int error;

    pthread_mutex_lock(&hosted_state.lock);
    if (hosted_state.up) {
        error = -EBUSY;
    } else {
        take_log_level();
        hosted_state.options = wanted != NULL ? *wanted : (struct chalk_start_options){0};
        error = chalk_version_check();
        if (error == 0)
            error = start();
        hosted_state.up = error == 0;
    }
    pthread_mutex_unlock(&hosted_state.lock);
    return error;
}

void chalk_stop(void)
{
    bool alone = hosted_cores_await();

    if (chalk_main_ended != NULL)
        chalk_main_ended();
    hosted_lock();
    if (alone) { /* else other cores still use all of this */
        hosted_devices_stop();
        hosted_signals_stop(); /* its handler wakes a core */
        hosted_crash_stop();
        hosted_guard_stop();
        hosted_watch_stop();
        hosted_cores_stop();
        hosted_memory_stop();
        hosted_iova_stop();
        hosted_pci_stop();
        hosted_state.up = false;
    }
    hosted_unlock();
}

void chalk_exit(int status)
{
    exit(status);
}

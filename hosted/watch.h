/* SPDX-License-Identifier: BSD-2-Clause */
/* Devices that are taken away from the program: see handle_removal in <chalk/hosted.h>. */
#ifndef HOSTED_WATCH_H
#define HOSTED_WATCH_H

#include "device.h"

/* Begins and ends to listen for requests to give this device back. Errors: -EMFILE, -ENFILE, -ENOMEM,
 * -EAGAIN. */
int hosted_watch_open(struct chalk_device *device);
void hosted_watch_close(struct chalk_device *device);
/* Whether a thread waits for such requests. */
bool hosted_watch_listens(const struct chalk_device *device);

/* From here on an access to a register that Linux answers with SIGBUS reads as all ones. */
void hosted_watch_start(void);
void hosted_watch_stop(void);

#endif

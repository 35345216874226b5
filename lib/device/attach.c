/* SPDX-License-Identifier: BSD-2-Clause */
/* See chalk/attach.h. The device is opened first: its absence is the likeliest error, and costs no memory. */
#include <chalk/attach.h>
#include <chalk/device.h>
#include <string.h>

int chalk_attach(const char *name, const struct chalk_memory_options *options,
                 struct chalk_attachment *attachment)
{
    struct chalk_attachment made = {0};
    int error;

    memset(attachment, 0, sizeof *attachment);
    error = chalk_device_open(name, &made.domain, &made.device);
    if (error != 0)
        return error;
    error = chalk_memory_create(options, &made.memory);
    if (error == 0) {
        error = chalk_memory_share(made.memory, made.domain);
        if (error == 0) {
            *attachment = made;
            return 0;
        }
        chalk_memory_destroy(made.memory);
    }
    chalk_device_close(made.device);
    return error;
}

void chalk_detach(struct chalk_attachment *attachment)
{
    if (attachment->device == NULL)
        return;
    (void)chalk_pci_bus_master(attachment->device, false); /* it may be gone */
    chalk_memory_unshare(attachment->memory, attachment->domain);
    chalk_device_close(attachment->device);
    chalk_memory_destroy(attachment->memory);
    memset(attachment, 0, sizeof *attachment);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* A disk in one call: what chalk_nvme_attach() of chalk/nvme.h opens, in order. */
#include <chalk/attach.h>
#include <chalk/device.h>
#include <chalk/error.h>
#include <chalk/log.h>
#include <chalk/nvme.h>
#include <string.h>

static int open_controller(struct chalk_nvme_disk *disk, const char *name)
{
    const struct chalk_nvme_options options = {
        .memory = disk->at.memory,
        .domain = disk->at.domain,
        .name = name,
    };

    return chalk_nvme_open(disk->at.device, &options, &disk->nvme);
}

static int open_queue(struct chalk_nvme_disk *disk, const char *name,
                      const struct chalk_nvme_queue_options *given)
{
    struct chalk_nvme_queue_options options = given != NULL ? *given : (struct chalk_nvme_queue_options){0};
    struct chalk_nvme_namespace ns;
    int error;

    if (options.nsid == 0) {
        error = chalk_nvme_next_namespace(disk->nvme, 0, &ns);
        if (error == -ENOENT)
            chalk_log(CHALK_ERROR, "NVMe %s: no active namespace; nvme create-ns and nvme attach-ns make one",
                      name);
        if (error != 0)
            return error;
        options.nsid = ns.nsid;
    }
    return chalk_nvme_queue_open(disk->nvme, &options, &disk->queue);
}

int chalk_nvme_attach(const char *name, const struct chalk_nvme_queue_options *queue,
                      struct chalk_nvme_disk *disk)
{
    struct chalk_bus_info first;
    int error = 0;

    memset(disk, 0, sizeof *disk);
    if (name == NULL) {
        error = chalk_bus_find(CHALK_CLASS_NVME, &first);
        name = first.name;
        if (error != 0)
            chalk_log(CHALK_ERROR, "no NVMe controller on the bus: name one, by its PCI address or as "
                                   "vfio-user:SOCKET");
    }
    if (error == 0)
        error = chalk_attach(name, NULL, &disk->at);
    if (error == 0)
        error = open_controller(disk, name);
    if (error == 0)
        error = open_queue(disk, name, queue);
    if (error != 0)
        chalk_nvme_detach(disk);
    return error;
}

void chalk_nvme_detach(struct chalk_nvme_disk *disk)
{
    if (disk->queue != NULL)
        chalk_nvme_queue_close(disk->queue);
    if (disk->nvme != NULL)
        chalk_nvme_close(disk->nvme);
    chalk_detach(&disk->at);
    memset(disk, 0, sizeof *disk);
}

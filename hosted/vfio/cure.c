/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What keeps VFIO from a device, and the command that mends it. Linux answers all of it with a handful of
 * errno values; what is really missing shows in /sys.
 */
#include "../sysfs.h"
#include "vfio.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <chalk/log.h>

/* The command that takes a device away from `driver` (empty: from none) and gives it to vfio-pci. */
static void rebind_command(char *text, size_t size, const char *name, const char *driver)
{
    const char *unbind = driver[0] != '\0' ? " && echo $D > driver/unbind" : "";

    snprintf(text, size,
             "modprobe vfio-pci; D=%s; cd /sys/bus/pci/devices/$D && echo vfio-pci > driver_override%s; "
             "echo $D > /sys/bus/pci/drivers_probe",
             name, unbind);
}

int hosted_cure_missing_module(const char *name)
{
    chalk_log(CHALK_ERROR,
              "%s cannot be opened: Linux's VFIO is not loaded; root loads it with: modprobe vfio-pci", name);
    return -ENXIO;
}

int hosted_cure_no_iommu(const char *name)
{
    chalk_log(
        CHALK_ERROR,
        "%s cannot be opened: the IOMMU is off, and without one a device could write anywhere;\n"
        "  turn VT-d or AMD-Vi on in the firmware, and boot Linux with intel_iommu=on (AMD: amd_iommu=on)",
        name);
    return -ENXIO;
}

/* All of VFIO's drivers, vfio-pci and those for one device, have it in their names. */
static bool is_vfio(const char *driver)
{
    return strstr(driver, "vfio") != NULL;
}

int hosted_cure_driver(const char *name)
{
    const char *missing =
        hosted_sysfs_exists("/sys/bus/pci/drivers/vfio-pci") ? "" : ", and VFIO is not loaded";
    char driver[64], command[512];

    hosted_sysfs_link(driver, sizeof driver, "/sys/bus/pci/devices/%s/driver", name);
    if (is_vfio(driver))
        return 0;
    rebind_command(command, sizeof command, name, driver);
    if (driver[0] == '\0') {
        chalk_log(CHALK_ERROR, "%s is bound to no driver%s; root gives it to VFIO with:\n  %s", name, missing,
                  command);
        return -ENXIO;
    }
    chalk_log(CHALK_ERROR,
              "%s is held by Linux's driver %s%s; root gives it to VFIO (when nothing uses it any more) "
              "with:\n  %s",
              name, driver, missing, command);
    return -EBUSY;
}

/* Linux's own number of the file is in /sys, where `number_of` says. */
int hosted_cure_node(const char *name, const char *path, const char *number_of)
{
    unsigned major_number, minor_number;
    struct stat file;
    char text[32];

    if (hosted_sysfs_text(text, sizeof text, "%s", number_of) <= 0 ||
        sscanf(text, "%u:%u", &major_number, &minor_number) != 2 || stat(path, &file) != 0 ||
        (S_ISCHR(file.st_mode) && file.st_rdev == makedev(major_number, minor_number)))
        return 0;
    chalk_log(
        CHALK_ERROR,
        "%s cannot be opened: %s is not the file of its VFIO, which is character device %u:%u (see %s); root "
        "makes it anew with:\n  rm %s && mknod %s c %u %u",
        name, path, major_number, minor_number, number_of, path, path, major_number, minor_number);
    return -ENXIO;
}

int hosted_cure_no_file(const char *name, const char *path)
{
    chalk_log(CHALK_ERROR,
              "%s cannot be opened: it is VFIO's, but there is no %s; is /dev complete? See: ls -l /dev/vfio",
              name, path);
    return -ENXIO;
}

int hosted_cure_access(const char *name, const char *path)
{
    chalk_log(CHALK_ERROR, "%s cannot be opened: no permission for %s; root gives it with: chown %u %s", name,
              path, (unsigned)geteuid(), path);
    return -EACCES;
}

/* Drivers that do no DMA on behalf of anybody, and so may stay (vfio.rst, "VFIO Usage Example"). */
static bool harmless(const char *driver)
{
    return driver[0] == '\0' || is_vfio(driver) || strcmp(driver, "pcieport") == 0 ||
           strcmp(driver, "pci-stub") == 0;
}

int hosted_cure_not_viable(const char *name, unsigned group)
{
    char path[64], driver[64], command[512];
    bool named = false;
    struct dirent *entry;
    DIR *folder;

    snprintf(path, sizeof path, "/sys/kernel/iommu_groups/%u/devices", group);
    folder = opendir(path);
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        hosted_sysfs_link(driver, sizeof driver, "/sys/bus/pci/devices/%s/driver", entry->d_name);
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, name) == 0 || harmless(driver))
            continue;
        rebind_command(command, sizeof command, entry->d_name, driver);
        chalk_log(
            CHALK_ERROR,
            "%s cannot be opened: the hardware cannot keep it apart from %s (IOMMU group %u), which Linux's "
            "driver %s holds;\n  root gives that to VFIO too with: %s",
            name, entry->d_name, group, driver, command);
        named = true;
    }
    if (folder != NULL)
        closedir(folder);
    if (!named)
        chalk_log(CHALK_ERROR, "%s cannot be opened: IOMMU group %u is not viable; see: ls -l %s/*/driver",
                  name, group, path);
    return -EPERM;
}

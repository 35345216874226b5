/* SPDX-License-Identifier: BSD-2-Clause */
/* See image.h. tools/runner/disks.py knows the same formats. */
#define _GNU_SOURCE
#include "image.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

/* Where a format has its mark. They are those of QEMU's own block/. A fixed VHD image has its only mark at
 * the end, and so does a DMG. */
static const struct {
    int offset; /* below 0: from the end */
    unsigned length;
    const char *mark;
    const char *name;
} formats[] = {
    {0, 8, "QFI\xfb\0\0\0\x01", "qcow"},
    {0, 4, "QFI\xfb", "qcow2"},
    {0, 4, "QED\0", "qed"},
    {0, 4, "KDMV", "vmdk"},
    {0, 4, "COWD", "vmdk"},
    {0, 21, "# Disk DescriptorFile", "vmdk"},
    {0x40, 4, "\x7f\x10\xda\xbe", "vdi"},
    {0, 8, "vhdxfile", "vhdx"},
    {0, 8, "conectix", "vpc"},
    {-512, 8, "conectix", "vpc"},
    {0, 16, "WithoutFreeSpace", "parallels"},
    {0, 16, "WithouFreSpacExt", "parallels"},
    {0, 22, "Bochs Virtual HD Image", "bochs"},
    {-512, 4, "koly", "dmg"},
};

static bool has(int fd, int64_t offset, const char *mark, unsigned length)
{
    char found[32];

    return offset >= 0 && pread(fd, found, length, offset) == (ssize_t)length &&
           memcmp(found, mark, length) == 0;
}

const char *image_format(int fd, uint64_t size)
{
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        int64_t offset = formats[i].offset >= 0 ? formats[i].offset : (int64_t)size + formats[i].offset;

        if (has(fd, offset, formats[i].mark, formats[i].length))
            return formats[i].name;
    }
    return NULL;
}

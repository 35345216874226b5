/* SPDX-License-Identifier: BSD-2-Clause */
/* Formats of disk images that are not raw: the bytes of such a file are not those of the disk. */
#ifndef MODEL_IMAGE_H
#define MODEL_IMAGE_H

#include <stdint.h>

/* The format of an open file of `size` bytes, by qemu-img's name for it; NULL if none is known. */
const char *image_format(int fd, uint64_t size);

#endif

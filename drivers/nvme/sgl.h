/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Scatter gather lists: the other way in which a command says where its data is [Base 4.1.2].
 *
 * A descriptor is a piece of memory, of any size. One goes into the command; more go into a list, to which
 * that one then points. So a piece of many pages needs no list, and pieces may begin and end anywhere.
 */
#ifndef NVME_SGL_H
#define NVME_SGL_H

#include "data.h"
#include "registers.h"

/*
 * Describes `data` by at most `room` descriptors in `list` (at `list_iova` for the device), or by the one in
 * *first alone. Addresses and sizes are multiples of `align`, a power of two. Returns 0; -EINVAL when they
 * are not, a piece is empty, there are fewer bytes than `data` says, or more than 4 GiB in one; -E2BIG when
 * they are more than `room`.
 */
int chalk_nvme_sgl(const struct nvme_data *data, uint32_t align, struct nvme_sgl *list, unsigned room,
                   uint64_t list_iova, struct nvme_sgl *first);

#endif

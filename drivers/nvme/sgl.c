/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Scatter gather lists, from scatter segments. Pure: what it writes depends on its arguments alone.
 */
#include "sgl.h"

int chalk_nvme_sgl(const struct nvme_data *data, uint32_t align, struct nvme_sgl *list, unsigned room,
                   uint64_t list_iova, struct nvme_sgl *first)
{
    uint64_t left = data->bytes;
    unsigned count = 0;

    for (; left != 0; count++) {
        struct nvme_piece piece = nvme_piece(data, count, left);

        if (piece.size == 0)
            return -EINVAL;
        if (count == room)
            return -E2BIG;
        if (((piece.address | piece.size) & (align - 1)) != 0 || piece.size > UINT32_MAX)
            return -EINVAL;
        left -= piece.size;
        *first = (struct nvme_sgl){
            .address = piece.address, .length = (uint32_t)piece.size, .type = NVME_SGL_DATA};
        if (count != 0 || left != 0)
            list[count] = *first;
    }
    if (count == 0)
        return -EINVAL;
    if (count > 1)
        *first = (struct nvme_sgl){
            .address = list_iova, .length = count * (uint32_t)sizeof *list, .type = NVME_SGL_LAST};
    return 0;
}

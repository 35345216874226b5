/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Protection information that the driver makes and checks itself, so that the way between the program and the
 * controller is covered, too. Numbers in it are big-endian [NVM 5.2.1].
 */
#include "protection.h"
#include <string.h>

#define NO_CHECK 0xffff /* an application tag that turns the checks of its block off [NVM 5.2.1.2] */

struct tuple {
    uint8_t guard[2], tag[2], reference[4];
};
_Static_assert(sizeof(struct tuple) == 8, "NVM 5.2.1: protection information is 8 bytes");

uint16_t chalk_nvme_crc16(uint16_t crc, const void *bytes, size_t size)
{
    /* Of each half byte, in the upper bits. */
    static const uint16_t table[16] = {0x0000, 0x8bb7, 0x9cd9, 0x176e, 0xb205, 0x39b2, 0x2edc, 0xa56b,
                                       0xefbd, 0x640a, 0x7364, 0xf8d3, 0x5db8, 0xd60f, 0xc161, 0x4ad6};
    const uint8_t *at = bytes;

    for (; size != 0; size--, at++) {
        crc = (uint16_t)(crc << 4) ^ table[crc >> 12 ^ *at >> 4];
        crc = (uint16_t)(crc << 4) ^ table[crc >> 12 ^ (*at & 0xf)];
    }
    return crc;
}

/* The guard of the next block of the data, which may lie in several segments, and of what its metadata has
 * before the protection information; not of what it has behind it [NVM 5.2.1]. */
static uint16_t next_guard(const struct nvme_protected *how, struct nvme_data *data, const uint8_t *metadata)
{
    size_t size = how->block_size;
    uint16_t crc = 0;

    while (size != 0) {
        size_t left = data->segments->size - data->skip, piece = left < size ? left : size;

        crc = chalk_nvme_crc16(crc, (const uint8_t *)data->segments->va + data->skip, piece);
        size -= piece;
        data->skip += piece;
        if (piece == left) {
            data->segments++;
            data->skip = 0;
        }
    }
    return chalk_nvme_crc16(crc, metadata, how->offset);
}

static uint32_t big_endian(const uint8_t *bytes, unsigned count)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < count; i++)
        value = value << 8 | bytes[i];
    return value;
}

void chalk_nvme_protect(const struct nvme_protected *how, const struct nvme_data *data, uint8_t *metadata)
{
    struct nvme_data at = *data;
    uint64_t lba = how->lba;

    for (uint64_t done = 0; done < data->bytes;
         done += how->block_size, lba++, metadata += how->metadata_size) {
        uint16_t guard = next_guard(how, &at, metadata);
        const struct tuple tuple = {
            .guard = {(uint8_t)(guard >> 8), (uint8_t)guard},
            .tag = {(uint8_t)(how->tag >> 8), (uint8_t)how->tag},
            .reference = {(uint8_t)(lba >> 24), (uint8_t)(lba >> 16), (uint8_t)(lba >> 8), (uint8_t)lba},
        };

        memcpy(metadata + how->offset, &tuple, sizeof tuple);
    }
}

int chalk_nvme_protection_check(const struct nvme_protected *how, const struct nvme_data *data,
                                const uint8_t *metadata, uint64_t *wrong, const char **what)
{
    struct nvme_data at = *data;
    uint64_t lba = how->lba;

    for (uint64_t done = 0; done < data->bytes;
         done += how->block_size, lba++, metadata += how->metadata_size) {
        uint16_t guard = next_guard(how, &at, metadata);
        struct tuple tuple;

        chalk_dma_observe(&tuple, metadata + how->offset, sizeof tuple);
        if (big_endian(tuple.tag, 2) == NO_CHECK)
            continue;
        *what = big_endian(tuple.guard, 2) != guard                            ? "guard"
                : ((big_endian(tuple.tag, 2) ^ how->tag) & how->tag_mask) != 0 ? "application tag"
                : big_endian(tuple.reference, 4) != (uint32_t)lba              ? "reference tag"
                                                                               : NULL;
        if (*what != NULL) {
            *wrong = lba;
            return -EILSEQ;
        }
    }
    return 0;
}

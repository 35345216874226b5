/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * End-to-end protection information of type 1 [NVM 5.2]: eight bytes of metadata a block, by which whoever
 * reads it can tell that it is the block that was written, there and by whom.
 */
#ifndef NVME_PROTECTION_H
#define NVME_PROTECTION_H

#include "data.h"

struct nvme_protected {
    uint32_t block_size;
    uint16_t metadata_size; /* bytes a block, of which these are eight */
    uint16_t offset;        /* where in them */
    uint64_t lba;           /* of the first block */
    uint16_t tag, tag_mask; /* see struct chalk_block_request */
};

/* Fills in the protection information of the blocks in `data`; `metadata` has room for it, and holds the
 * caller's bytes already. */
void chalk_nvme_protect(const struct nvme_protected *how, const struct nvme_data *data, uint8_t *metadata);

/*
 * Compares it. Returns 0, or -EILSEQ with the number of the first block that does not match in *wrong, and
 * what of it.
 */
int chalk_nvme_protection_check(const struct nvme_protected *how, const struct nvme_data *data,
                                const uint8_t *metadata, uint64_t *wrong, const char **what);

/* CRC-16 of T10-DIF: polynomial 8bb7h, begun with 0, bits as they are (SBC-3 4.22.4). */
uint16_t chalk_nvme_crc16(uint16_t crc, const void *bytes, size_t size);

#endif

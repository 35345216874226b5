/* SPDX-License-Identifier: BSD-2-Clause */
/* CRC-32C (Castagnoli), the checksum of iSCSI, ext4 and NVMe: RFC 3720 12.1, with the vectors of its B.4. */
#ifndef CHALK_CRC32C_H
#define CHALK_CRC32C_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The checksum of everything before, whose checksum is `crc`, and these `size` bytes. It starts with 0:
 * crc32c(0, "ab") is crc32c(crc32c(0, "a"), "b").
 */
uint32_t chalk_crc32c(uint32_t crc, const void *bytes, size_t size);

#ifdef __cplusplus
}
#endif
#endif

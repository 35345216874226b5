/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CRC-32C by the processor's own instruction, which every x86-64-v2 has (SDM vol. 2: CRC32, SSE4.2).
 */
#include <chalk/crc32c.h>
#include <string.h>

uint32_t chalk_crc32c(uint32_t crc, const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    uint64_t state = ~crc;

    for (; size >= 8; size -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        state = __builtin_ia32_crc32di(state, word);
    }
    for (; size; size--)
        state = __builtin_ia32_crc32qi((uint32_t)state, *at++);
    return ~(uint32_t)state;
}

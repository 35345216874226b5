/* SPDX-License-Identifier: BSD-2-Clause */
/* Protection information: what is made is accepted, and nothing else is. */
#include "drivers/nvme/protection.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define BLOCKS 4
#define SIZE   512

static uint8_t bytes[BLOCKS * SIZE], metadata[BLOCKS * 16];
static struct chalk_dma segments[3];
static struct nvme_data data;
static struct nvme_protected how;

static int setup(void **state)
{
    static const size_t cuts[] = {0, 100, 3 * SIZE + 1, sizeof bytes};

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 5 + i / 256);
    memset(metadata, 0xee, sizeof metadata);
    for (unsigned i = 0; i < 3; i++)
        segments[i] = (struct chalk_dma){.va = bytes + cuts[i], .size = cuts[i + 1] - cuts[i]};
    data = (struct nvme_data){.segments = segments, .count = 3, .bytes = sizeof bytes};
    how = (struct nvme_protected){.block_size = SIZE,
                                  .metadata_size = 16,
                                  .offset = 8,
                                  .lba = 0x1fffffffe,
                                  .tag = 0x1234,
                                  .tag_mask = 0xff00};
    return 0;
}

static int check(uint64_t *wrong)
{
    const char *what;

    return chalk_nvme_protection_check(&how, &data, metadata, wrong, &what);
}

static void the_crc_is_the_standard_s(void **state)
{
    uint8_t zeroes[32] = {0}, ones[32];

    (void)state;
    memset(ones, 0xff, sizeof ones);
    assert_int_equal(chalk_nvme_crc16(0, "123456789", 9), 0xd0db);
    assert_int_equal(chalk_nvme_crc16(0, zeroes, sizeof zeroes), 0);
    assert_int_equal(chalk_nvme_crc16(0, ones, sizeof ones), 0xa293);
    assert_int_equal(chalk_nvme_crc16(chalk_nvme_crc16(0, "12345", 5), "6789", 4), 0xd0db);
}

static void what_is_made_is_accepted(void **state)
{
    uint64_t wrong;

    (void)state;
    chalk_nvme_protect(&how, &data, metadata);
    assert_int_equal(check(&wrong), 0);
    assert_int_equal(metadata[7], 0xee); /* what is not protection information is the caller's */
    assert_memory_equal(metadata + 10, "\x12\x34\xff\xff\xff\xfe", 6);
    assert_memory_equal(metadata + 42, "\x12\x34\x00\x00\x00\x00", 6); /* reference tags have 32 bits */
}

/* The guard is of the metadata, too, up to the protection information [NVM 5.2.1]. */
static void the_guard_covers_the_metadata_before_it(void **state)
{
    uint8_t block[SIZE + 8];
    uint16_t guard;

    (void)state;
    for (how.offset = 0; how.offset <= 8; how.offset += 8) {
        memset(metadata, 0xee, sizeof metadata);
        memcpy(block, bytes, SIZE);
        memcpy(block + SIZE, metadata, 8);
        guard = chalk_nvme_crc16(0, block, SIZE + how.offset);
        chalk_nvme_protect(&how, &data, metadata);
        assert_int_equal(metadata[how.offset] << 8 | metadata[how.offset + 1], guard);
    }
}

static void every_bit_counts_at(uint16_t offset)
{
    uint64_t wrong;

    how.offset = offset;
    chalk_nvme_protect(&how, &data, metadata);
    for (size_t bit = 0; bit < sizeof bytes * 8; bit++) {
        bytes[bit / 8] ^= 1 << bit % 8;
        assert_int_equal(check(&wrong), -EILSEQ);
        assert_int_equal(wrong, how.lba + bit / 8 / SIZE);
        bytes[bit / 8] ^= 1 << bit % 8;
    }
    for (size_t bit = 0; bit < sizeof metadata * 8; bit++) {
        /* But for what is behind, and the second byte of the tag, which is not asked for. */
        bool matters = bit / 8 % 16 < offset + 8u && bit / 8 % 16 != offset + 3u;

        metadata[bit / 8] ^= 1 << bit % 8;
        assert_int_equal(check(&wrong), matters ? -EILSEQ : 0);
        metadata[bit / 8] ^= 1 << bit % 8;
    }
}

static void every_bit_counts(void **state)
{
    (void)state;
    every_bit_counts_at(0);
    every_bit_counts_at(8);
}

static void blocks_may_be_exempt(void **state)
{
    uint64_t wrong;

    (void)state;
    chalk_nvme_protect(&how, &data, metadata);
    bytes[SIZE] ^= 1;
    assert_int_equal(check(&wrong), -EILSEQ);
    memset(metadata + 16 + 10, 0xff, 2);
    assert_int_equal(check(&wrong), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_crc_is_the_standard_s, setup),
        cmocka_unit_test_setup(what_is_made_is_accepted, setup),
        cmocka_unit_test_setup(the_guard_covers_the_metadata_before_it, setup),
        cmocka_unit_test_setup(every_bit_counts, setup),
        cmocka_unit_test_setup(blocks_may_be_exempt, setup),
    };

    return cmocka_run_group_tests_name("nvme_protection", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* CRC-32C and the seeded generator, against published numbers. */
#include <chalk/crc32c.h>
#include <chalk/random.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* RFC 3720 B.4: the digests are listed there as the bytes on the wire, least significant first. */
static void vectors_of_rfc_3720(void **state)
{
    static const unsigned char command[48] = {
        0x01, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x18,
        0x28, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    };
    unsigned char bytes[32];

    (void)state;
    memset(bytes, 0, 32);
    assert_int_equal(chalk_crc32c(0, bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, 32);
    assert_int_equal(chalk_crc32c(0, bytes, 32), 0x62a8ab43);
    for (unsigned i = 0; i < 32; i++)
        bytes[i] = (unsigned char)i;
    assert_int_equal(chalk_crc32c(0, bytes, 32), 0x46dd794e);
    for (unsigned i = 0; i < 32; i++)
        bytes[i] = (unsigned char)(31 - i);
    assert_int_equal(chalk_crc32c(0, bytes, 32), 0x113fdb5c);
    assert_int_equal(chalk_crc32c(0, command, 48), 0xd9963a56);
    assert_int_equal(chalk_crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(chalk_crc32c(0, NULL, 0), 0);
}

/* The definition: one bit at a time, with the reflected polynomial. */
static uint32_t by_definition(uint32_t crc, const unsigned char *bytes, size_t size)
{
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (unsigned k = 0; k < 8; k++)
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    }
    return ~crc;
}

static void pieces_of_any_size_add_up(void **state)
{
    uint64_t random = 5;

    (void)state;
    for (size_t size = 0; size < 200; size++) {
        unsigned char *bytes = malloc(size + 1) /* any alignment */;
        for (size_t i = 0; i < size; i++)
            bytes[i] = (unsigned char)chalk_random_next(&random);
        uint32_t whole = by_definition(0, bytes, size);
        assert_int_equal(chalk_crc32c(0, bytes, size), whole);
        for (size_t cut = 0; cut <= size; cut++)
            assert_int_equal(chalk_crc32c(chalk_crc32c(0, bytes, cut), bytes + cut, size - cut), whole);
        free(bytes);
    }
}

/* The first outputs of the authors' SplitMix64 for the seed 1234567. */
static void generator_is_splitmix64(void **state)
{
    static const uint64_t expected[] = {6457827717110365317u, 3203168211198807973u, 9817491932198370423u,
                                        4593380528125082431u, 16408922859458223821u};
    uint64_t random = 1234567;

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(chalk_random_at(1234567, i), expected[i]);
        assert_int_equal(chalk_random_next(&random), expected[i]);
    }
}

static void bounded_numbers_stay_below_and_reach_everything(void **state)
{
    unsigned seen[7] = {0};
    uint64_t random = 1;

    (void)state;
    for (unsigned i = 0; i < 70000; i++) {
        uint64_t number = chalk_random_below(&random, 7);
        assert_true(number < 7);
        seen[number]++;
        assert_int_equal(chalk_random_below(&random, 1), 0);
    }
    for (unsigned i = 0; i < 7; i++)
        assert_in_range(seen[i], 9500, 10500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors_of_rfc_3720),
        cmocka_unit_test(pieces_of_any_size_add_up),
        cmocka_unit_test(generator_is_splitmix64),
        cmocka_unit_test(bounded_numbers_stay_below_and_reach_everything),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parser of ACPI tables, given whole tables, tables cut at every length, and tables that lie.
 *
 * Firmware is built in a small physical memory. Each time the parser asks for bytes it gets a copy of exactly
 * that many, so that AddressSanitizer sees one byte read too far, wherever it is.
 */
#include "baremetal/x86_64/acpi_tables.h"

#include <chalk/error.h>
#include <chalk/random.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
    BASE = 0xe0000,
    SIZE = 0x8000,
    RSDP = BASE,
    RSDT = BASE + 0x100,
    XSDT = BASE + 0x200,
    TABLES = BASE + 0x400
};

static struct firmware {
    uint8_t bytes[SIZE];
    uint32_t end; /* memory ends here */
    uint32_t next, madt, mcfg, hpet, fadt, dsdt;
} firmware;

static void *copies[4096];
static unsigned copy_count;

static const void *at(const struct acpi_memory *memory, uint64_t physical, size_t size)
{
    (void)memory;
    if (physical < BASE || physical >= firmware.end || size > firmware.end - physical)
        return NULL;
    assert_true(copy_count < sizeof(copies) / sizeof(copies[0]));
    return copies[copy_count++] = memcpy(malloc(size), firmware.bytes + (physical - BASE), size);
}

static int parse(struct acpi *found)
{
    static const struct acpi_memory memory = {at};
    int result = acpi_parse(&memory, RSDP, found);

    while (copy_count > 0)
        free(copies[--copy_count]);
    return result;
}

static uint8_t *bytes(uint32_t physical)
{
    return firmware.bytes + (physical - BASE);
}

static void put(uint32_t physical, uint64_t value, size_t width)
{
    memcpy(bytes(physical), &value, width);
}

static uint32_t length_of(uint32_t table)
{
    uint32_t length;

    memcpy(&length, bytes(table) + 4, 4);
    return length;
}

static void sum(uint32_t start, uint32_t size, uint32_t checksum)
{
    uint8_t total = 0;

    put(checksum, 0, 1);
    for (uint32_t i = 0; i < size; i++)
        total = (uint8_t)(total + bytes(start)[i]);
    put(checksum, (uint8_t)-total, 1);
}

/* Says that the table is `length` long, with the checksum that goes with it. */
static void seal(uint32_t table, uint32_t length)
{
    put(table + 4, length, 4);
    sum(table, length, table + 9);
}

static uint32_t table(const char *signature, const void *body, uint32_t size)
{
    uint32_t physical = firmware.next;

    memcpy(bytes(physical), signature, 4);
    memcpy(bytes(physical + 36), body, size);
    seal(physical, 36 + size);
    firmware.next += (36 + size + 15) & ~15u;
    return physical;
}

static void point(uint32_t root, const char *signature, uint32_t width, const uint64_t *entries,
                  uint32_t count)
{
    memcpy(bytes(root), signature, 4);
    for (uint32_t i = 0; i < count; i++)
        put(root + 36 + i * width, entries[i], width);
    seal(root, 36 + count * width);
}

static void root_pointer(unsigned revision)
{
    memcpy(bytes(RSDP), "RSD PTR ", 8);
    put(RSDP + 15, revision, 1);
    put(RSDP + 16, RSDT, 4);
    sum(RSDP, 20, RSDP + 8);
    put(RSDP + 20, 36, 4);
    put(RSDP + 24, XSDT, 8);
    sum(RSDP, 36, RSDP + 32);
}

static const uint8_t madt_body[] = {
    0, 0,  0xe0, 0xfe, 1, 0, 0,    0,                            /* local APIC, flags */
    0, 8,  0,    0,    1, 0, 0,    0,                            /* processor, APIC 0, enabled */
    1, 12, 0,    0,    0, 0, 0xc0, 0xfe, 0, 0, 0, 0,             /* I/O APIC */
    0, 8,  1,    2,    1, 0, 0,    0,                            /* processor, APIC 2, enabled */
    0, 8,  2,    3,    2, 0, 0,    0,                            /* processor that may be plugged in */
    0, 8,  3,    0xff, 1, 0, 0,    0,                            /* nobody */
    9, 16, 0,    0,    2, 0, 0,    0,    1, 0, 0, 0, 4, 0, 0, 0, /* x2APIC 2, once more */
    9, 16, 0,    0,    0, 1, 0,    0,    1, 0, 0, 0, 5, 0, 0, 0, /* x2APIC 256 */
    5, 12, 0,    0,    0, 0, 0xd0, 0xfe, 0, 0, 0, 0,             /* local APIC address override */
};
static const uint8_t mcfg_body[] = {
    0, 0, 0, 0,   0,    0, 0, 0, 0, 0, 0,    0xb0, 0, 0, 0, 0,
    0, 0, 0, 255, 0,    0, 0, 0,                               /* 0xb0000000, buses 0-255 */
    0, 0, 0, 0,   0x40, 0, 0, 0, 1, 0, 0x10, 0x1f, 0, 0, 0, 0, /* 2^38, segment 1, 16-31 */
};
static const uint8_t hpet_body[] = {1,    0xa2, 0x86, 0x80, 0, 64, 0, 0, 0, 0,
                                    0xd0, 0xfe, 0,    0,    0, 0,  0, 0, 0, 0};
static const uint8_t dsdt_body[] = {0x10, 0x20, 0x08, '_', 'S', '4',  '_', 0x12, 0x08, '_',  'S',
                                    '5',  '_',  0x12, 6,   4,   0x0a, 5,   0x01, 0x00, 0x00, 0x99};

static uint32_t fadt(uint32_t dsdt)
{
    uint8_t body[244 - 36] = {0};

    memcpy(body + 40 - 36, &dsdt, 4);
    body[48 - 36] = 0xb2; /* SMI command */
    body[52 - 36] = 2;
    memcpy(body + 64 - 36, &(uint32_t){0x604}, 4);
    memcpy(body + 76 - 36, &(uint32_t){0x608}, 4);
    body[91 - 36] = 4;
    body[172 - 36] = 1; /* extended PM1a: a port, and another one */
    memcpy(body + 176 - 36, &(uint64_t){0x704}, 8);
    return table("FACP", body, sizeof(body));
}

static int setup(void **state)
{
    (void)state;
    memset(&firmware, 0, sizeof(firmware));
    firmware.end = BASE + SIZE;
    firmware.next = TABLES;
    firmware.madt = table("APIC", madt_body, sizeof(madt_body));
    firmware.mcfg = table("MCFG", mcfg_body, sizeof(mcfg_body));
    firmware.hpet = table("HPET", hpet_body, sizeof(hpet_body));
    firmware.dsdt = table("DSDT", dsdt_body, sizeof(dsdt_body));
    firmware.fadt = fadt(firmware.dsdt);
    uint64_t tables[] = {firmware.fadt, firmware.madt, firmware.mcfg, firmware.hpet};
    point(RSDT, "RSDT", 4, tables, 4);
    point(XSDT, "XSDT", 8, tables, 4);
    root_pointer(2);
    return 0;
}

static void assert_whole(const struct acpi *found)
{
    assert_int_equal(found->core_count, 3);
    assert_int_equal(found->apic_ids[0], 0);
    assert_int_equal(found->apic_ids[1], 2);
    assert_int_equal(found->apic_ids[2], 256);
    assert_int_equal(found->local_apic, 0xfed00000);
    assert_int_equal(found->segment_count, 2);
    assert_int_equal(found->segments[0].base, 0xb0000000);
    assert_int_equal(found->segments[0].last_bus, 255);
    assert_int_equal(found->segments[1].base, 1ull << 38);
    assert_int_equal(found->segments[1].segment, 1);
    assert_int_equal(found->segments[1].first_bus, 0x10);
    assert_int_equal(found->segments[1].last_bus, 0x1f);
    assert_int_equal(found->hpet, 0xfed00000);
    assert_int_equal(found->pm1a_control, 0x704);
    assert_int_equal(found->pm1b_control, 0);
    assert_int_equal(found->pm_timer, 0x608);
    assert_int_equal(found->smi_command, 0xb2);
    assert_int_equal(found->smi_acpi_enable, 2);
    assert_int_equal(found->sleep_type_a, 5);
    assert_int_equal(found->sleep_type_b, 1);
    assert_int_equal(found->io_apic_count, 1);
    assert_int_equal(found->io_apics[0], 0xfec00000);
}

static void whole_tables_are_understood(void **state)
{
    struct acpi found;

    (void)state;
    assert_int_equal(parse(&found), 0);
    assert_whole(&found);
}

static void revision_0_uses_the_32_bit_root(void **state)
{
    struct acpi found;

    (void)state;
    root_pointer(0);
    memset(bytes(XSDT), 0xff, 64);
    assert_int_equal(parse(&found), 0);
    assert_whole(&found);
}

static void a_broken_64_bit_root_falls_back(void **state)
{
    struct acpi found;

    (void)state;
    bytes(XSDT)[40] ^= 1;
    assert_int_equal(parse(&found), 0);
    assert_whole(&found);
    bytes(RSDP)[33] ^= 1; /* reserved, but in the extended checksum */
    assert_int_equal(parse(&found), 0);
    assert_whole(&found);
    bytes(RSDT)[40] ^= 1;
    assert_int_equal(parse(&found), -EPROTO);
    assert_int_equal(found.core_count, 0);
    assert_int_equal(found.sleep_type_a, 0xffff);
}

static void no_root_pointer_is_noticed(void **state)
{
    struct acpi found;

    (void)state;
    bytes(RSDP)[9] ^= 1;
    assert_int_equal(parse(&found), -ENOENT);
    setup(NULL);
    bytes(RSDP)[0] = 'r';
    assert_int_equal(parse(&found), -ENOENT);
}

static void a_wrong_checksum_loses_that_table_only(void **state)
{
    struct acpi found;

    (void)state;
    bytes(firmware.madt)[50] ^= 4;
    assert_int_equal(parse(&found), 0);
    assert_int_equal(found.core_count, 0);
    assert_int_equal(found.segment_count, 2);
    setup(NULL);
    bytes(firmware.mcfg)[50] ^= 4;
    assert_int_equal(parse(&found), 0);
    assert_int_equal(found.core_count, 3);
    assert_int_equal(found.segment_count, 0);
    setup(NULL);
    bytes(firmware.dsdt)[50] ^= 4;
    assert_int_equal(parse(&found), 0);
    assert_int_equal(found.pm1a_control, 0x704);
    assert_int_equal(found.sleep_type_a, 0xffff);
}

/* Memory that ends at any byte: nothing is read beyond it. */
static void memory_may_end_anywhere(void **state)
{
    struct acpi found;
    uint32_t end = firmware.next;

    (void)state;
    for (firmware.end = BASE; firmware.end < end; firmware.end++)
        if (parse(&found) == 0)
            assert_true(firmware.end >= RSDT + 36);
    assert_int_equal(parse(&found), 0);
    assert_whole(&found);
}

/* Tables that say that they are shorter than they are, with a checksum to match. */
static void every_table_may_be_cut_at_every_length(void **state)
{
    const size_t offsets[] = {offsetof(struct firmware, madt), offsetof(struct firmware, mcfg),
                              offsetof(struct firmware, hpet), offsetof(struct firmware, fadt),
                              offsetof(struct firmware, dsdt)};
    struct acpi found;

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        setup(NULL);
        uint32_t cut;
        memcpy(&cut, (uint8_t *)&firmware + offsets[i], 4);
        for (uint32_t length = length_of(cut); length-- > 0;) {
            seal(cut, length);
            assert_int_equal(parse(&found), 0);
            assert_true(found.core_count <= 3 && found.segment_count <= 2);
            assert_true(found.sleep_type_a == 5 || found.sleep_type_a == 0xffff);
            if (length < 36)
                memset(bytes(cut) + 10, 0, 26); /* sealing below the header writes into it */
        }
    }
    for (uint32_t length = 0; length <= 36 + 4 * 8; length++) {
        setup(NULL);
        seal(XSDT, length);
        assert_int_equal(parse(&found), 0);
        assert_true(length < 36 ? found.core_count == 3 : found.core_count == (length >= 36 + 16 ? 3 : 0));
    }
}

static void a_length_beyond_memory_is_refused(void **state)
{
    const uint32_t lengths[] = {SIZE, 17u << 20, 0x7fffffff, 0x80000000, 0xffffffff};
    struct acpi found;

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        put(firmware.madt + 4, lengths[i], 4);
        assert_int_equal(parse(&found), 0);
        assert_int_equal(found.core_count, 0);
        assert_int_equal(found.segment_count, 2);
        put(firmware.mcfg + 4, lengths[i], 4);
        assert_int_equal(parse(&found), 0);
        assert_int_equal(found.segment_count, 0);
        setup(NULL);
    }
}

static void tables_that_name_themselves_end(void **state)
{
    const uint64_t loops[] = {RSDT, XSDT, RSDP, 0, UINT64_MAX, UINT64_MAX - 35, firmware.madt, firmware.madt};
    struct acpi found;

    (void)state;
    point(RSDT, "RSDT", 4, loops, 8);
    point(XSDT, "XSDT", 8, loops, 8);
    assert_int_equal(parse(&found), 0);
    assert_int_equal(found.core_count, 3);
    assert_int_equal(found.segment_count, 0);
    put(RSDP + 24, RSDP, 8); /* the root pointer as its own root table */
    sum(RSDP, 36, RSDP + 32);
    assert_int_equal(parse(&found), 0);
    put(RSDP + 16, RSDP, 4);
    sum(RSDP, 20, RSDP + 8);
    assert_int_equal(parse(&found), -EPROTO);
    setup(NULL);
    put(firmware.fadt + 40, firmware.fadt, 4); /* the FADT as its own DSDT */
    seal(firmware.fadt, 244);
    assert_int_equal(parse(&found), 0);
    assert_int_equal(found.sleep_type_a, 0xffff);
}

static void entries_of_no_length_end_the_table(void **state)
{
    const uint8_t lengths[] = {0, 1, 200, 255};
    struct acpi found;

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        put(firmware.madt + 44 + 8 + 1, lengths[i], 1); /* the I/O APIC, after the first processor */
        seal(firmware.madt, 36 + sizeof(madt_body));
        assert_int_equal(parse(&found), 0);
        assert_int_equal(found.core_count, 1);
        assert_int_equal(found.local_apic, 0xfee00000);
    }
    for (uint8_t length = 2; length < 8; length++) { /* a processor too short to have flags */
        setup(NULL);
        put(firmware.madt + 44 + 1, length, 1);
        seal(firmware.madt, 36 + sizeof(madt_body));
        assert_int_equal(parse(&found), 0);
    }
}

static void more_processors_than_fit_are_left_out(void **state)
{
    uint8_t body[8 + 300 * 16] = {0};
    struct acpi found;

    (void)state;
    for (unsigned i = 0; i < 300; i++)
        memcpy(body + 8 + i * 16, (uint8_t[]){9, 16, 0, 0, (uint8_t)i, (uint8_t)(i >> 8), 0, 0, 1}, 9);
    firmware.madt = table("APIC", body, sizeof(body));
    point(XSDT, "XSDT", 8, (uint64_t[]){firmware.madt}, 1);
    assert_int_equal(parse(&found), 0);
    assert_int_equal(found.core_count, ACPI_MAX_CORES);
    assert_int_equal(found.apic_ids[ACPI_MAX_CORES - 1], ACPI_MAX_CORES - 1);
}

/* One entry of SRAT: memory, or a processor by its local APIC or x2APIC. */
static size_t near(uint8_t *to, unsigned kind, uint64_t what, uint64_t size, uint32_t node)
{
    static const uint8_t lengths[] = {16, 40, 24};
    const uint32_t enabled = 1;

    memset(to, 0, lengths[kind]);
    to[0] = (uint8_t)kind;
    to[1] = lengths[kind];
    if (kind == 0) {
        to[2] = (uint8_t)node;
        to[3] = (uint8_t)what;
        memcpy(to + 4, &enabled, 4);
        memcpy(to + 9, (uint8_t *)&node + 1, 3);
    } else if (kind == 1) {
        memcpy(to + 2, &node, 4);
        memcpy(to + 8, &what, 8);
        memcpy(to + 16, &size, 8);
        memcpy(to + 28, &enabled, 4);
    } else {
        memcpy(to + 4, &node, 4);
        memcpy(to + 8, &what, 4);
        memcpy(to + 12, &enabled, 4);
    }
    return lengths[kind];
}

static uint32_t srat(const uint8_t *entries, size_t size, uint8_t revision)
{
    uint8_t body[2048] = {0};

    memcpy(body + 12, entries, size);
    uint32_t at = table("SRAT", body, 12 + (uint32_t)size);
    put(at + 8, revision, 1);
    seal(at, 36 + 12 + (uint32_t)size);
    point(XSDT, "XSDT", 8, (uint64_t[]){firmware.madt, at}, 2);
    return at;
}

static void memory_and_processors_know_their_node(void **state)
{
    uint8_t entries[256];
    struct acpi found;
    size_t size = 0;

    (void)state;
    size += near(entries + size, 1, 0, 0xa0000, 0);
    size += near(entries + size, 1, 0x100000, 0x7f00000, 0);
    size += near(entries + size, 1, 0x8000000, 0x8000000, 1);
    size += near(entries + size, 0, 0, 0, 0);
    size += near(entries + size, 0, 5, 0, 0x101);
    size += near(entries + size, 2, 700, 0, 1);
    srat(entries, size, 3);
    assert_int_equal(parse(&found), 0);
    assert_int_equal(acpi_memory_node(&found, 0x100000, 0x8000000), 0);
    assert_int_equal(acpi_memory_node(&found, 0x8000000, 0x10000000), 1);
    assert_int_equal(acpi_memory_node(&found, 0x7fff000, 0x8001000), -1);
    assert_int_equal(acpi_memory_node(&found, 0x10000000, 0x10001000), -1);
    assert_int_equal(acpi_core_node(&found, 0), 0);
    assert_int_equal(acpi_core_node(&found, 5), 0x101);
    assert_int_equal(acpi_core_node(&found, 700), 1);
    assert_int_equal(acpi_core_node(&found, 1), -1);
    srat(entries, size, 1);
    assert_int_equal(parse(&found), 0);
    assert_int_equal(acpi_core_node(&found, 5), 1); /* revision 1: the upper bits are reserved */
}

static void nodes_that_make_no_sense_are_ignored(void **state)
{
    static const struct {
        uint64_t start, size;
        uint32_t node;
    } lies[] = {{0x100000, 0, 0},
                {1ull << 52, 1, 0},
                {0x100000, UINT64_MAX, 0},
                {UINT64_MAX, 2, 0},
                {0x100000, 0x1000, UINT32_MAX},
                {0x20000800, 0x1000, 1}}; /* in the middle of what is another's */
    struct acpi found;
    uint8_t entries[96];

    (void)state;
    for (unsigned i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        size_t size = near(entries, 1, 0x20000000, 0x1000, 7);

        size += near(entries + size, 1, lies[i].start, lies[i].size, lies[i].node);
        srat(entries, size, 3);
        assert_int_equal(parse(&found), 0);
        assert_int_equal(found.range_count, 1);
        assert_int_equal(acpi_memory_node(&found, 0x20000000, 0x20001000), 7);
    }
    for (unsigned length = 0; length < 256; length++) { /* entries of any length end somewhere */
        size_t size = near(entries, 0, 3, 0, 1);

        uint32_t at = srat(entries, size, 3);
        put(at + 48 + 1, length, 1);
        seal(at, 48 + (uint32_t)size);
        assert_int_equal(parse(&found), 0);
        assert_int_equal(acpi_core_node(&found, 3), length == 16 ? 1 : -1);
        firmware.next = at;
    }
}

static void configuration_space_that_cannot_be_is_ignored(void **state)
{
    static const struct {
        uint64_t base;
        uint8_t first, last;
    } lies[] = {
        {0, 0, 255}, {0xb0000001, 0, 255}, {1ull << 52, 0, 255}, {UINT64_MAX << 20, 0, 1}, {1 << 28, 2, 1}};
    struct acpi found;

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        put(firmware.mcfg + 44, lies[i].base, 8);
        put(firmware.mcfg + 54, lies[i].first, 1);
        put(firmware.mcfg + 55, lies[i].last, 1);
        seal(firmware.mcfg, 36 + sizeof(mcfg_body));
        assert_int_equal(parse(&found), 0);
        assert_int_equal(found.segment_count, 1); /* the other one */
        assert_int_equal(found.segments[0].segment, 1);
    }
}

static void buses_that_are_there_twice_count_once(void **state)
{
    struct acpi found;

    (void)state;
    put(firmware.mcfg + 60 + 8, 0, 2); /* the second range, 16-31, in segment 0, which has 0-255 */
    seal(firmware.mcfg, 36 + sizeof(mcfg_body));
    assert_int_equal(parse(&found), 0);
    assert_int_equal(found.segment_count, 1);
    assert_int_equal(found.segments[0].base, 0xb0000000);
    put(firmware.mcfg + 44 + 11, 15, 1);
    seal(firmware.mcfg, 36 + sizeof(mcfg_body));
    assert_int_equal(parse(&found), 0);
    assert_int_equal(found.segment_count, 2);
}

static void registers_of_the_wrong_kind_are_not_ports(void **state)
{
    struct acpi found;

    (void)state;
    put(firmware.fadt + 172, 0, 1); /* PM1a in memory */
    put(firmware.hpet + 40, 1, 1);  /* an HPET in port space */
    seal(firmware.fadt, 244);
    seal(firmware.hpet, 36 + sizeof(hpet_body));
    assert_int_equal(parse(&found), 0);
    assert_int_equal(found.pm1a_control, 0);
    assert_int_equal(found.hpet, 0);
    put(firmware.fadt + 172, 1, 1);
    put(firmware.fadt + 176, 0x12345678, 8); /* beyond the ports */
    seal(firmware.fadt, 244);
    assert_int_equal(parse(&found), 0);
    assert_int_equal(found.pm1a_control, 0);
    put(firmware.fadt + 112, 1 << 20, 4); /* hardware-reduced: no such registers at all */
    seal(firmware.fadt, 244);
    assert_int_equal(parse(&found), 0);
    assert_int_equal(found.pm_timer, 0);
    assert_int_equal(found.sleep_type_a, 0xffff);
}

static void sleep_types_are_found_or_refused(void **state)
{
    static const struct {
        uint8_t aml[24];
        uint16_t a, b;
    } cases[] = {
        {{0x08, '_', 'S', '5', '_', 0x12, 6, 4, 0x0a, 7, 0x0a, 6, 0}, 7, 6},
        {{0x08, '\\', '_', 'S', '5', '_', 0x12, 4, 2, 0x00, 0x01}, 0, 1},
        {{0x08, '_', 'S', '5', '_', 0x12, 0x48, 0, 2, 0x0b, 3, 0, 0x0a, 2, 0},
         3,
         2}, /* two bytes of length */
        {{0x08, '_', 'S', '5', '_', 0x12, 0xff, 0xff, 0xff, 0xff, 2, 1, 1}, 0xffff, 0xffff},
        {{0x08, '_', 'S', '5', '_', 0x12, 1, 2, 0x0a, 5, 0x0a, 5},
         0xffff,
         0xffff}, /* a package without contents */
        {{0x08, '_', 'S', '5', '_', 0x12, 4, 2, 0x0a, 5, 0x0a, 5},
         0xffff,
         0xffff}, /* that ends in its second */
        {{0x08, '_', 'S', '5', '_', 0x12, 6, 1, 0x0a, 5, 0x0a, 5}, 0xffff, 0xffff}, /* of one element */
        {{0x08, '_', 'S', '5', '_', 0x12, 6, 2, 0x0a, 8, 0x0a, 5}, 0xffff, 0xffff}, /* four bits */
        {{0x08, '_', 'S', '5', '_', 0x12, 6, 2, 0x0d, 'x', 0, 0}, 0xffff, 0xffff},  /* a string */
        {{0x0a, '_', 'S', '5', '_', 0x12, 6, 2, 0x0a, 5, 0x0a, 5},
         0xffff,
         0xffff}, /* not a name's definition */
    };
    struct acpi found;

    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        setup(NULL);
        firmware.dsdt = table("DSDT", cases[i].aml, sizeof(cases[i].aml));
        put(firmware.fadt + 40, firmware.dsdt, 4);
        seal(firmware.fadt, 244);
        assert_int_equal(parse(&found), 0);
        assert_int_equal(found.sleep_type_a, cases[i].a);
        assert_int_equal(found.sleep_type_b, cases[i].b);
    }
}

/* ---- host bridges of the DSDT --------------------------------------------------------------------- */

static uint8_t aml[2048];
static size_t aml_size;

static void emit(const void *data, size_t size)
{
    assert_true(size <= sizeof(aml) - aml_size);
    memcpy(aml + aml_size, data, size);
    aml_size += size;
}

#define EMIT(...)  emit((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))
#define NAME(text) emit(text, 4)

/* Puts a length of two bytes, which counts itself, before what was emitted since `start` (20.2.4). */
static void package(size_t start)
{
    size_t length = aml_size - start + 2;

    memmove(aml + start + 2, aml + start, aml_size - start);
    aml[start] = (uint8_t)(0x40 | (length & 15));
    aml[start + 1] = (uint8_t)(length >> 4);
    aml_size += 2;
}

/* Name(_CRS, ResourceTemplate() { buses, memory, end }) */
static void emit_resources(uint16_t first_bus, uint16_t last_bus, uint32_t start, uint32_t end,
                           uint32_t moved)
{
    const uint16_t buses[] = {0, first_bus, last_bus, 0, (uint16_t)(last_bus - first_bus + 1)};
    const uint32_t space[] = {0, start, end, moved, end - start + 1};
    size_t at;

    EMIT(0x08);
    NAME("_CRS");
    EMIT(0x11);
    at = aml_size;
    EMIT(0x0a, 16 + 26 + 2);
    EMIT(0x88, 13, 0, 2, 12, 0);
    emit(buses, sizeof(buses));
    EMIT(0x87, 23, 0, 0, 12, 1);
    emit(space, sizeof(space));
    EMIT(0x79, 0);
    package(at);
}

/* Scope(\_SB) { Device(PCI0) { names, Device(GSI0) { _CRS }, Method(_CBA) { Return(base) }, _CRS } } */
static void emit_bridge(bool by_method, uint32_t base, uint16_t first_bus, uint16_t last_bus)
{
    size_t scope, device, inner, method;

    aml_size = 0;
    EMIT(0x10);
    scope = aml_size;
    EMIT('\\');
    NAME("_SB_");
    EMIT(0x5b, 0x82);
    device = aml_size;
    NAME("PCI0");
    EMIT(0x08);
    NAME("_HID");
    EMIT(0x0d, 'P', 'N', 'P', '0', 'A', '0', '8', 0);
    EMIT(0x08);
    NAME("_SEG");
    EMIT(0x0a, 3);
    EMIT(0x08);
    NAME("_PRT");
    EMIT(0x13, 4, 0x0a, 0, 0);
    EMIT(0x5b, 0x82);
    inner = aml_size;
    NAME("GSI0");
    emit_resources(7, 9, 0x1000, 0x1fff, 0); /* not the bridge's */
    package(inner);
    EMIT(by_method ? 0x14 : 0x08);
    method = aml_size;
    NAME("_CBA");
    if (by_method)
        EMIT(0, 0xa4);
    EMIT(0x0c);
    emit(&base, 4);
    if (by_method)
        package(method);
    emit_resources(first_bus, last_bus, 0xc0000000, 0xdfffffff, 0);
    package(device);
    package(scope);
}

static void use_aml(void)
{
    firmware.dsdt = table("DSDT", aml, aml_size);
    put(firmware.fadt + 40, firmware.dsdt, 4);
    put(firmware.fadt + 140, firmware.dsdt, 8);
    seal(firmware.fadt, 244);
    point(XSDT, "XSDT", 8, (uint64_t[]){firmware.fadt, firmware.madt}, 2); /* no MCFG */
}

static void host_bridges_of_the_dsdt_are_understood(void **state)
{
    struct acpi found;

    (void)state;
    for (unsigned by_method = 0; by_method < 2; by_method++) {
        setup(NULL);
        emit_bridge(by_method, 0xe0000000, 0x10, 0x7f);
        use_aml();
        put(firmware.fadt + 112, 1 << 20,
            4); /* as of machines that have nothing but that: hardware-reduced */
        seal(firmware.fadt, 244);
        assert_int_equal(parse(&found), 0);
        assert_int_equal(found.segment_count, 1);
        assert_int_equal(found.segments[0].base, 0xe0000000);
        assert_int_equal(found.segments[0].segment, 3);
        assert_int_equal(found.segments[0].first_bus, 0x10);
        assert_int_equal(found.segments[0].last_bus, 0x7f);
        assert_int_equal(found.window_count, 1);
        assert_int_equal(found.windows[0].start, 0xc0000000);
        assert_int_equal(found.windows[0].end, 0xe0000000);
    }
}

static void mcfg_goes_before_the_dsdt(void **state)
{
    struct acpi found;

    (void)state;
    emit_bridge(true, 0xe0000000, 0, 255);
    use_aml();
    point(XSDT, "XSDT", 8, (uint64_t[]){firmware.fadt, firmware.mcfg}, 2);
    assert_int_equal(parse(&found), 0);
    assert_int_not_equal(found.segments[0].base, 0xe0000000);
    assert_int_equal(found.window_count, 0);
}

static void bridges_that_cannot_be_are_left_out(void **state)
{
    static const struct {
        uint32_t base;
        uint16_t first, last;
    } lies[] = {
        {0, 0, 255}, {0xe0001000, 0, 255}, {0xe0000000, 5, 4}, {0xe0000000, 0, 256}, {0xe0000000, 0, 0xffff}};
    struct acpi found;

    (void)state;
    for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        setup(NULL);
        emit_bridge(true, lies[i].base, lies[i].first, lies[i].last);
        use_aml();
        assert_int_equal(parse(&found), 0);
        assert_int_equal(found.segment_count, 0);
    }
}

/* Bytes changed and cut anywhere: what is found keeps its bounds, and nothing beyond the table is touched. */
static void any_dsdt_has_an_end(void **state)
{
    uint64_t random = 1;
    unsigned understood = 0;

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        struct acpi found;

        setup(NULL);
        emit_bridge(i % 2, 0xe0000000, 0, 255);
        for (uint64_t n = chalk_random_below(&random, 4); n > 0; n--)
            aml[chalk_random_below(&random, aml_size)] = (uint8_t)chalk_random_next(&random);
        if (chalk_random_below(&random, 4) == 0)
            aml_size = chalk_random_below(&random, aml_size + 1);
        use_aml();
        assert_int_equal(parse(&found), 0);
        assert_true(found.segment_count <= ACPI_MAX_SEGMENTS && found.window_count <= ACPI_MAX_WINDOWS);
        for (unsigned w = 0; w < found.window_count; w++)
            assert_true(found.windows[w].start != 0 && found.windows[w].start < found.windows[w].end);
        for (unsigned n = 0; n < found.segment_count; n++)
            assert_true(found.segments[n].base != 0 &&
                        found.segments[n].first_bus <= found.segments[n].last_bus);
        understood += found.segment_count;
    }
    assert_true(understood > 5000);
}

/* Devices in devices, deeper than anyone makes them. */
static void depth_is_bounded(void **state)
{
    struct acpi found;

    (void)state;
    aml_size = 0;
    for (unsigned i = 0; i < 300; i++) {
        memmove(aml + 8, aml, aml_size);
        memcpy(aml, (const uint8_t[]){0x5b, 0x82, 0, 0, 'A', 'B', 'C', 'D'}, 8);
        aml_size += 8;
        aml[2] = (uint8_t)(0x40 | ((aml_size - 2) & 15));
        aml[3] = (uint8_t)((aml_size - 2) >> 4);
        if (aml_size > sizeof(aml) - 16)
            break;
    }
    use_aml();
    assert_int_equal(parse(&found), 0);
    assert_int_equal(found.segment_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(whole_tables_are_understood, setup),
        cmocka_unit_test_setup(revision_0_uses_the_32_bit_root, setup),
        cmocka_unit_test_setup(a_broken_64_bit_root_falls_back, setup),
        cmocka_unit_test_setup(no_root_pointer_is_noticed, setup),
        cmocka_unit_test_setup(a_wrong_checksum_loses_that_table_only, setup),
        cmocka_unit_test_setup(memory_may_end_anywhere, setup),
        cmocka_unit_test_setup(every_table_may_be_cut_at_every_length, setup),
        cmocka_unit_test_setup(a_length_beyond_memory_is_refused, setup),
        cmocka_unit_test_setup(tables_that_name_themselves_end, setup),
        cmocka_unit_test_setup(entries_of_no_length_end_the_table, setup),
        cmocka_unit_test_setup(more_processors_than_fit_are_left_out, setup),
        cmocka_unit_test_setup(memory_and_processors_know_their_node, setup),
        cmocka_unit_test_setup(nodes_that_make_no_sense_are_ignored, setup),
        cmocka_unit_test_setup(configuration_space_that_cannot_be_is_ignored, setup),
        cmocka_unit_test_setup(buses_that_are_there_twice_count_once, setup),
        cmocka_unit_test_setup(registers_of_the_wrong_kind_are_not_ports, setup),
        cmocka_unit_test_setup(sleep_types_are_found_or_refused, setup),
        cmocka_unit_test_setup(host_bridges_of_the_dsdt_are_understood, setup),
        cmocka_unit_test_setup(mcfg_goes_before_the_dsdt, setup),
        cmocka_unit_test_setup(bridges_that_cannot_be_are_left_out, setup),
        cmocka_unit_test_setup(any_dsdt_has_an_end, setup),
        cmocka_unit_test_setup(depth_is_bounded, setup),
    };
    return cmocka_run_group_tests_name("acpi", tests, NULL, NULL);
}

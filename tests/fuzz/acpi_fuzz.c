/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A fuzzer of the parser of ACPI tables.
 *
 * Random bytes would end at the first checksum. So the input is a list of tables, each {what, how, length,
 * contents}: it gets the header, checksum and root table that firmware would give it, unless `how` asks for a
 * lie. The parser is given copies of exactly the bytes that it asks for. The same bytes are read as the terms
 * of a DSDT.
 */
#include "baremetal/x86_64/acpi_aml.h"
#include "baremetal/x86_64/acpi_tables.h"

#include <chalk/error.h>
#include <stdlib.h>
#include <string.h>

enum {
    BASE = 0xe0000,
    SIZE = 0x10000,
    RSDP = BASE,
    RSDT = BASE + 0x100,
    TABLES = BASE + 0x1000,
    MAX_TABLES = 300
};
enum { RAW = 1, WRONG_LENGTH = 2, NAMES_DSDT = 4, IS_ROOT = 8, WIDE = 16 };

static uint8_t memory_bytes[SIZE];
static void *copies[1 << 16];
static unsigned copy_count;

static const void *at(const struct acpi_memory *memory, uint64_t physical, size_t size)
{
    (void)memory;
    if (physical < BASE || physical >= BASE + SIZE || size > BASE + SIZE - physical)
        return NULL;
    if (copy_count == sizeof(copies) / sizeof(copies[0]))
        abort(); /* the parser's work is not bounded */
    return copies[copy_count++] = memcpy(malloc(size), memory_bytes + (physical - BASE), size);
}

static void sum(uint32_t start, uint32_t size, uint32_t checksum)
{
    uint8_t *bytes = memory_bytes + (start - BASE), total = 0;

    memory_bytes[checksum - BASE] = 0;
    for (uint32_t i = 0; i < size; i++)
        total = (uint8_t)(total + bytes[i]);
    memory_bytes[checksum - BASE] = (uint8_t)-total;
}

static void header(uint32_t table, const char *signature, uint32_t length)
{
    memcpy(memory_bytes + (table - BASE), signature, 4);
    memcpy(memory_bytes + (table - BASE) + 4, &length, 4);
}

static void check_bridges(const struct acpi *found)
{
    if (found->segment_count > ACPI_MAX_SEGMENTS || found->window_count > ACPI_MAX_WINDOWS)
        abort();
    for (unsigned i = 0; i < found->segment_count; i++)
        if (found->segments[i].base == 0 || found->segments[i].first_bus > found->segments[i].last_bus)
            abort();
    for (unsigned i = 0; i < found->window_count; i++)
        if (found->windows[i].start == 0 || found->windows[i].start >= found->windows[i].end)
            abort();
}

static void read_as_terms(const uint8_t *data, size_t size)
{
    uint8_t *terms = malloc(size > 0 ? size : 1);
    static struct acpi found;

    memset(&found, 0, sizeof(found));
    memcpy(terms, data, size);
    aml_host_bridges(terms, size, &found);
    check_bridges(&found);
    free(terms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const signatures[] = {"APIC", "MCFG", "HPET", "FACP", "DSDT", "RSDT", "XSDT", "SRAT"};
    static const struct acpi_memory memory = {at};
    uint32_t next = TABLES, dsdt = 0, count = 0, root = RSDT;
    uint64_t tables[MAX_TABLES];
    bool wide = false;
    struct acpi found;

    read_as_terms(data, size);
    memset(memory_bytes, 0, sizeof(memory_bytes));
    while (size >= 4 && count < MAX_TABLES) {
        unsigned what = data[0] % 8;
        uint32_t how = data[1], length = data[2] | (uint32_t)data[3] << 8;

        data += 4, size -= 4;
        if (length > size)
            length = (uint32_t)size;
        if (36 + length > BASE + SIZE - next)
            break;
        memcpy(memory_bytes + (next - BASE) + 36, data, length);
        if ((how & NAMES_DSDT) && length >= 8)
            memcpy(memory_bytes + (next - BASE) + 40, &dsdt, 4);
        if (!(how & RAW)) {
            header(next, signatures[what], how & WRONG_LENGTH ? length : 36 + length);
            sum(next, how & WRONG_LENGTH ? length : 36 + length, next + 9);
        }
        if (what == 4)
            dsdt = next;
        if (how & IS_ROOT)
            root = next;
        wide |= (how & WIDE) != 0;
        tables[count++] = next;
        next += (36 + length + 15) & ~15u;
        data += length, size -= length;
        if (next >= BASE + SIZE - 64)
            break;
    }
    for (uint32_t i = 0; i < count; i++)
        memcpy(memory_bytes + (RSDT - BASE) + 36 + i * (wide ? 8 : 4), &tables[i], wide ? 8 : 4);
    header(RSDT, wide ? "XSDT" : "RSDT", 36 + count * (wide ? 8 : 4));
    sum(RSDT, 36 + count * (wide ? 8 : 4), RSDT + 9);
    memcpy(memory_bytes, "RSD PTR ", 8);
    memory_bytes[15] = wide ? 2 : 0;
    memcpy(memory_bytes + 16, &root, 4);
    sum(RSDP, 20, RSDP + 8);
    memory_bytes[20] = 36;
    memcpy(memory_bytes + 24, &root, 4);
    sum(RSDP, 36, RSDP + 32);

    acpi_parse(&memory, RSDP, &found);
    if (found.core_count > ACPI_MAX_CORES)
        abort();
    check_bridges(&found);
    if (found.io_apic_count > ACPI_MAX_IO_APICS || found.range_count > ACPI_MAX_RANGES ||
        found.affinity_count > ACPI_MAX_CORES)
        abort();
    for (unsigned i = 0; i < found.range_count; i++)
        for (unsigned j = 0; j < i; j++)
            if (found.ranges[i].start < found.ranges[j].end && found.ranges[j].start < found.ranges[i].end)
                abort();
    if ((found.sleep_type_a > 7 && found.sleep_type_a != 0xffff) ||
        (found.sleep_type_b > 7) != (found.sleep_type_a > 7))
        abort();
    while (copy_count > 0)
        free(copies[--copy_count]);
    return 0;
}

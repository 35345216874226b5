/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the firmware's tables say, believed only as far as it was checked.
 *
 * Nothing here follows a pointer that a table gives without asking whether so many bytes are there, and no
 * table can make it follow more than two: root pointer -> root table -> table (-> DSDT). So a table that
 * names itself costs one step. Fields are read through get(), for which a field beyond the end of its table
 * is zero: older revisions of a table are shorter, and zero is what the specification gives to "absent".
 * Numbers in comments: ACPI 6.5.
 */
#include "acpi_tables.h"
#include "acpi_aml.h"

#include <chalk/error.h>
#include <chalk/log.h>
#include <string.h>

enum {
    HEADER_SIZE = 36,      /* 5.2.6 */
    MAX_LENGTH = 16 << 20, /* of one table; the largest known DSDTs are below 1 MiB */
    MAX_ENTRIES = 256,     /* of a root table */
    SYSTEM_MEMORY = 0,     /* 5.2.3.2: generic address, address space identifier */
    SYSTEM_IO = 1,
    GENERIC_ADDRESS = 4,        /* offset of the address in it */
    HARDWARE_REDUCED = 1 << 20, /* 5.2.9, flags */
    SLEEP_TYPE_MAX = 7,         /* 4.8.3.2.1: three bits */
};

struct table {
    const uint8_t *bytes;
    size_t length;
};

static uint64_t get(const struct table *table, size_t offset, size_t width)
{
    uint64_t value = 0;

    if (offset < table->length && width <= table->length - offset)
        memcpy(&value, table->bytes + offset, width);
    return value;
}

static bool sums_to_zero(const uint8_t *bytes, size_t size)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + bytes[i]);
    return sum == 0;
}

/* A whole table with that signature; what is wrong with it is said, unless it is merely another table. */
static bool load(const struct acpi_memory *memory, uint64_t physical, const char *signature,
                 struct table *table)
{
    struct table header = {physical != 0 ? memory->at(memory, physical, HEADER_SIZE) : NULL, HEADER_SIZE};
    const char *fault = NULL;

    if (header.bytes == NULL || memcmp(header.bytes, signature, 4) != 0)
        return false;
    table->length = get(&header, 4, 4);
    table->bytes = NULL;
    if (table->length < HEADER_SIZE || table->length > MAX_LENGTH)
        fault = "has an impossible length";
    else if ((table->bytes = memory->at(memory, physical, table->length)) == NULL)
        fault = "leaves memory";
    else if (!sums_to_zero(table->bytes, table->length))
        fault = "has a wrong checksum";
    if (fault != NULL)
        chalk_log(CHALK_WARNING, "acpi: table %s at 0x%lx %s; the firmware is at fault, and it is ignored",
                  signature, (unsigned long)physical, fault);
    return fault == NULL;
}

/* ---- MADT: processors (5.2.12) ------------------------------------------------------------------- */

static void add_core(struct acpi *found, uint64_t apic_id, uint64_t flags)
{
    if (!(flags & 1)) /* 5.2.12.2: enabled; others may at most be plugged in later */
        return;
    for (unsigned i = 0; i < found->core_count; i++)
        if (found->apic_ids[i] == apic_id) /* listed as a local APIC and as a local x2APIC */
            return;
    if (found->core_count == ACPI_MAX_CORES) {
        chalk_log(CHALK_WARNING, "acpi: only the first %d processors are used", ACPI_MAX_CORES);
        return;
    }
    found->apic_ids[found->core_count++] = (uint32_t)apic_id;
}

static void parse_madt(const struct acpi_memory *memory, const struct table *madt, struct acpi *found)
{
    (void)memory;
    found->local_apic = get(madt, 36, 4);
    for (size_t at = 44; at + 2 <= madt->length;) {
        size_t length = madt->bytes[at + 1];

        if (length < 2 || length > madt->length - at) {
            chalk_log(CHALK_WARNING, "acpi: MADT entry at byte %zu has length %zu; the rest is ignored", at,
                      length);
            return;
        }
        struct table entry = {madt->bytes + at, length};
        switch (madt->bytes[at]) {
        case 0: /* 5.2.12.2: processor local APIC; 255 is the broadcast identifier */
            if (length >= 8 && get(&entry, 3, 1) != 0xff)
                add_core(found, get(&entry, 3, 1), get(&entry, 4, 4));
            break;
        case 1: /* 5.2.12.3: I/O APIC */
            if (length >= 12 && found->io_apic_count < ACPI_MAX_IO_APICS)
                found->io_apics[found->io_apic_count++] = get(&entry, 4, 4);
            break;
        case 5: /* 5.2.12.8: local APIC address override */
            if (length >= 12)
                found->local_apic = get(&entry, 4, 8);
            break;
        case 9: /* 5.2.12.12: processor local x2APIC */
            if (length >= 16 && get(&entry, 4, 4) != UINT32_MAX)
                add_core(found, get(&entry, 4, 4), get(&entry, 8, 4));
            break;
        default:
            break;
        }
        at += length;
    }
}

/* ---- MCFG: memory-mapped configuration space (PCI Firmware 3.3, 4.1.2) ---------------------------- */

static bool overlaps(const struct acpi *found, uint64_t segment, uint64_t first, uint64_t last)
{
    for (unsigned i = 0; i < found->segment_count; i++)
        if (found->segments[i].segment == segment && first <= found->segments[i].last_bus &&
            last >= found->segments[i].first_bus)
            return true;
    return false;
}

static void parse_mcfg(const struct acpi_memory *memory, const struct table *mcfg, struct acpi *found)
{
    const uint64_t bus_size = 1 << 20;

    (void)memory;
    for (size_t at = 44; at + 16 <= mcfg->length; at += 16) {
        uint64_t base = get(mcfg, at, 8), segment = get(mcfg, at + 8, 2), first = get(mcfg, at + 10, 1),
                 last = get(mcfg, at + 11, 1);

        /* A bus that is there twice would have each of its devices twice, to be opened twice. */
        if (base == 0 || base % bus_size != 0 || base >= 1ull << 52 || first > last ||
            overlaps(found, segment, first, last)) {
            chalk_log(CHALK_WARNING, "acpi: MCFG entry at byte %zu makes no sense; ignored", at);
            continue;
        }
        if (found->segment_count == ACPI_MAX_SEGMENTS) {
            chalk_log(CHALK_WARNING, "acpi: only the first %d PCI segments are used", ACPI_MAX_SEGMENTS);
            return;
        }
        found->segments[found->segment_count].base = base;
        found->segments[found->segment_count].segment = (uint16_t)segment;
        found->segments[found->segment_count].first_bus = (uint8_t)first;
        found->segments[found->segment_count].last_bus = (uint8_t)last;
        found->segment_count++;
    }
}

/* ---- SRAT: who is near whom (5.2.16) --------------------------------------------------------------- */

static void add_affinity(struct acpi *found, uint64_t apic_id, uint64_t node)
{
    for (unsigned i = 0; i < found->affinity_count; i++)
        if (found->affinities[i].apic_id == apic_id)
            return;
    if (found->affinity_count == ACPI_MAX_CORES || node > INT32_MAX)
        return;
    found->affinities[found->affinity_count].apic_id = (uint32_t)apic_id;
    found->affinities[found->affinity_count++].node = (int)node;
}

/* Memory is of one node, so what overlaps other memory is believed no more than what has no end. */
static void add_range(struct acpi *found, size_t at, uint64_t start, uint64_t size, uint64_t node)
{
    bool sound = size != 0 && start < 1ull << 52 && size <= (1ull << 52) - start && node <= INT32_MAX;

    for (unsigned i = 0; sound && i < found->range_count; i++)
        sound = start >= found->ranges[i].end || start + size <= found->ranges[i].start;
    if (!sound) {
        chalk_log(CHALK_WARNING, "acpi: SRAT entry at byte %zu makes no sense; ignored", at);
    } else if (found->range_count == ACPI_MAX_RANGES) {
        chalk_log(CHALK_WARNING, "acpi: only the first %d ranges of memory have NUMA nodes", ACPI_MAX_RANGES);
    } else {
        found->ranges[found->range_count].start = start;
        found->ranges[found->range_count].end = start + size;
        found->ranges[found->range_count++].node = (int)node;
    }
}

static void parse_srat(const struct acpi_memory *memory, const struct table *srat, struct acpi *found)
{
    const uint64_t high = get(srat, 8, 1) >= 2 ? UINT32_MAX : 0xff; /* revision 1 has nodes of 8 bits */

    (void)memory;
    for (size_t at = 48; at + 2 <= srat->length;) {
        size_t length = srat->bytes[at + 1];

        if (length < 2 || length > srat->length - at) {
            chalk_log(CHALK_WARNING, "acpi: SRAT entry at byte %zu has length %zu; the rest is ignored", at,
                      length);
            return;
        }
        struct table entry = {srat->bytes + at, length};
        switch (srat->bytes[at]) {
        case 0: /* 5.2.16.1: processor local APIC */
            if (length >= 16 && (get(&entry, 4, 4) & 1))
                add_affinity(found, get(&entry, 3, 1), (get(&entry, 2, 1) | get(&entry, 9, 3) << 8) & high);
            break;
        case 1: /* 5.2.16.2: memory */
            if (length >= 40 && (get(&entry, 28, 4) & 1))
                add_range(found, at, get(&entry, 8, 8), get(&entry, 16, 8), get(&entry, 2, 4) & high);
            break;
        case 2: /* 5.2.16.3: processor local x2APIC */
            if (length >= 24 && (get(&entry, 12, 4) & 1))
                add_affinity(found, get(&entry, 8, 4), get(&entry, 4, 4));
            break;
        default:
            break;
        }
        at += length;
    }
}

int acpi_core_node(const struct acpi *found, uint32_t apic_id)
{
    for (unsigned i = 0; i < found->affinity_count; i++)
        if (found->affinities[i].apic_id == apic_id)
            return found->affinities[i].node;
    return -1;
}

int acpi_memory_node(const struct acpi *found, uint64_t start, uint64_t end)
{
    for (unsigned i = 0; i < found->range_count; i++)
        if (start >= found->ranges[i].start && end <= found->ranges[i].end)
            return found->ranges[i].node;
    return -1;
}

/* ---- HPET (IA-PC HPET 1.0a, 3.2.4) ---------------------------------------------------------------- */

static void parse_hpet(const struct acpi_memory *memory, const struct table *hpet, struct acpi *found)
{
    (void)memory;
    if (get(hpet, 40, 1) == SYSTEM_MEMORY)
        found->hpet = get(hpet, 40 + GENERIC_ADDRESS, 8);
}

/* ---- FADT: power management ports (5.2.9), and \_S5_ in the DSDT it names ------------------------- */

/* The port of a register block: the extended field if it is filled in (then it must be a port), else the old
 * one. */
static uint16_t port(const struct table *fadt, size_t old, size_t extended)
{
    uint64_t address = get(fadt, extended + GENERIC_ADDRESS, 8);

    if (address == 0)
        address = get(fadt, old, 4);
    else if (get(fadt, extended, 1) != SYSTEM_IO)
        return 0;
    return address <= UINT16_MAX - 3 ? (uint16_t)address : 0;
}

/* One integer constant of AML (20.2.3) that fits the field, and the step over it; false for anything else. */
static bool aml_sleep_type(const struct table *aml, size_t *at, uint16_t *value)
{
    uint64_t op = *at < aml->length ? aml->bytes[*at] : UINT64_MAX, number;
    size_t width = op == 0x0a ? 1 : op == 0x0b ? 2 : op == 0x0c ? 4 : 0; /* byte, word, dword prefix */

    if (op > 1 && width == 0) /* ZeroOp and OneOp are their own values */
        return false;
    if (width > aml->length - *at - 1)
        return false;
    number = width == 0 ? op : get(aml, *at + 1, width);
    *at += 1 + width;
    *value = (uint16_t)number;
    return number <= SLEEP_TYPE_MAX;
}

/*
 * Name(\_S5_, Package() {a, b, ...}) is found by its bytes, because an interpreter of AML for two numbers
 * would be larger than the rest of this platform: 0x08 ['\'] "_S5_" 0x12 PkgLength NumElements a b
 * (20.2.5.1, 20.2.5.4, 7.4.2).
 */
static void find_s5(const struct table *dsdt, struct acpi *found)
{
    for (size_t at = HEADER_SIZE + 1; at + 7 <= dsdt->length; at++) {
        const uint8_t *name = dsdt->bytes + at;

        if (memcmp(name, "_S5_\x12", 5) != 0 || !(name[-1] == 0x08 || (name[-1] == '\\' && name[-2] == 0x08)))
            continue;
        size_t package = at + 5, field = 0;
        size_t length = aml_package(name + 5, dsdt->length - package, &field);
        size_t value = package + field;
        if (length < field + 1 || dsdt->bytes[value] < 2)
            continue;
        struct table aml = {dsdt->bytes, package + length};
        uint16_t a, b;
        value++;
        if (aml_sleep_type(&aml, &value, &a) && aml_sleep_type(&aml, &value, &b)) {
            found->sleep_type_a = a;
            found->sleep_type_b = b;
            return;
        }
    }
}

static void parse_fadt(const struct acpi_memory *memory, const struct table *fadt, struct acpi *found)
{
    struct table dsdt;
    uint64_t address = get(fadt, 140, 8);

    bool reduced = get(fadt, 112, 4) & HARDWARE_REDUCED; /* these registers do not exist then (4.1) */

    address = address != 0 ? address : get(fadt, 40, 4);
    if (load(memory, address, "DSDT", &dsdt)) {
        found->dsdt = address;
        if (!reduced)
            find_s5(&dsdt, found);
    }
    if (reduced)
        return;
    found->pm1a_control = port(fadt, 64, 172);
    found->pm1b_control = port(fadt, 68, 184);
    if (get(fadt, 91, 1) == 4)
        found->pm_timer = port(fadt, 76, 208);
    if (get(fadt, 48, 4) <= UINT16_MAX)
        found->smi_command = (uint16_t)get(fadt, 48, 4);
    found->smi_acpi_enable = (uint8_t)get(fadt, 52, 1);
}

/* ---- the way there (5.2.5 to 5.2.8) --------------------------------------------------------------- */

static const struct {
    const char *signature;
    void (*parse)(const struct acpi_memory *, const struct table *, struct acpi *);
} parsers[] = {{"APIC", parse_madt},
               {"MCFG", parse_mcfg},
               {"HPET", parse_hpet},
               {"FACP", parse_fadt},
               {"SRAT", parse_srat}};

enum { PARSER_COUNT = sizeof(parsers) / sizeof(parsers[0]) };

static bool load_rsdp(const struct acpi_memory *memory, uint64_t physical, struct table *rsdp)
{
    rsdp->bytes = memory->at(memory, physical, ACPI_RSDP_SIZE);
    rsdp->length = ACPI_RSDP_SIZE;
    return rsdp->bytes != NULL && memcmp(rsdp->bytes, "RSD PTR ", 8) == 0 &&
           sums_to_zero(rsdp->bytes, ACPI_RSDP_SIZE);
}

bool acpi_is_rsdp(const struct acpi_memory *memory, uint64_t physical)
{
    struct table rsdp;

    return load_rsdp(memory, physical, &rsdp);
}

/* The XSDT, if the root pointer is of revision 2 and whole; 0 if not. */
static uint64_t xsdt_address(const struct acpi_memory *memory, uint64_t physical, const struct table *rsdp)
{
    struct table whole = {NULL, 36};

    if (get(rsdp, 15, 1) < 2 || (whole.bytes = memory->at(memory, physical, whole.length)) == NULL)
        return 0;
    whole.length = get(&whole, 20, 4);
    if (whole.length < 36 || whole.length > 4096)
        return 0;
    whole.bytes = memory->at(memory, physical, whole.length);
    return whole.bytes != NULL && sums_to_zero(whole.bytes, whole.length) ? get(&whole, 24, 8) : 0;
}

int acpi_parse(const struct acpi_memory *memory, uint64_t physical, struct acpi *found)
{
    struct table rsdp, root;
    bool parsed[PARSER_COUNT] = {false};
    size_t width = 8;
    uint64_t xsdt;

    memset(found, 0, sizeof(*found));
    found->sleep_type_a = found->sleep_type_b = UINT16_MAX;
    if (!load_rsdp(memory, physical, &rsdp))
        return -ENOENT;
    xsdt = xsdt_address(memory, physical, &rsdp);
    if (xsdt == 0 || !load(memory, xsdt, "XSDT", &root)) {
        width = 4;
        if (!load(memory, get(&rsdp, 16, 4), "RSDT", &root))
            return -EPROTO;
    }
    size_t end =
        root.length < HEADER_SIZE + MAX_ENTRIES * width ? root.length : HEADER_SIZE + MAX_ENTRIES * width;
    for (size_t at = HEADER_SIZE; at + width <= end; at += width) {
        for (unsigned i = 0; i < PARSER_COUNT; i++) {
            struct table table;

            if (parsed[i] || !load(memory, get(&root, at, width), parsers[i].signature, &table))
                continue;
            parsers[i].parse(memory, &table, found);
            parsed[i] = true; /* where a table is there twice, the first whole one counts */
        }
    }
    struct table dsdt;
    if (found->segment_count == 0 && found->dsdt != 0 && load(memory, found->dsdt, "DSDT", &dsdt))
        aml_host_bridges(dsdt.bytes + HEADER_SIZE, dsdt.length - HEADER_SIZE, found);
    return 0;
}

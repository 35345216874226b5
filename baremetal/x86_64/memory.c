/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The address space: every physical address at its own value, with the permissions and the memory type that
 * its use asks for. Source: Intel SDM vol. 3 4.5 (four-level paging), 12.12 (page attribute table; set in
 * cpu.c).
 *
 * RAM is mapped by the largest pages that lie wholly in it, so that starting costs the same with 64 MiB and
 * with 1 TiB; a page is split when one of its 4 KiB is to be guarded. What nobody mapped faults.
 */
#include "machine.h"
#include "x86.h"

#include <chalk/error.h>
#include <chalk/log.h>
#include <string.h>

#define PRESENT       0x001ull
#define WRITABLE      0x002ull
#define WRITE_COMBINE 0x008ull /* PWT: entry 1 of the PAT */
#define UNCACHED      0x018ull /* PCD, PWT: entry 3 */
#define LARGE         0x080ull
#define DEVICE        0x200ull /* ours to use: a device's, not RAM */
#define GUARD         0x400ull /* ours to use, in entries that are not present: chalk_page_guard() */
#define NAME_SHIFT    12       /* where such an entry keeps the name's address, of at most 47 bits */
#define NO_EXECUTE    (1ull << 63)
#define ADDRESS       0x000ffffffffff000ull

#define MIB             0x100000ull
#define LEVEL_SHIFT(l)  (12 + 9 * ((l)-1)) /* level 1: 4 KiB, 2: 2 MiB, 3: 1 GiB */
#define LEVEL_SIZE(l)   (1ull << LEVEL_SHIFT(l))
#define SPAN_MAX        (sizeof boot.ram / sizeof boot.ram[0])
#define MAPPED_AT_START (1ull << 32) /* boot.S */
#define TABLES_MAX      (64 * MIB)   /* 16 TiB by 2 MiB */
#define LEAST_RAM       (4 * MIB)

extern const char chalk_image_start[], chalk_text_start[], chalk_text_end[], chalk_constants_end[],
    chalk_image_end[];

static struct {
    uint64_t *root;
    uint64_t next_table, tables_end; /* pages kept for page tables */
    bool stale;                      /* an entry that was there has changed: other cores may remember it */
    unsigned largest;                /* level of the largest pages that the processor has */
    uint64_t address_end;            /* of what its physical addresses can name */
} memory;

static struct chalk_lock lock; /* of the tables */

/* ---- page tables ---- */

static uint64_t *table_get(void)
{
    uint64_t *table = (uint64_t *)memory.next_table;

    if (memory.next_table == memory.tables_end)
        return NULL;
    memory.next_table += MEMORY_PAGE;
    memset(table, 0, MEMORY_PAGE);
    return table;
}

static uint64_t *table_of(uint64_t entry)
{
    return (uint64_t *)(entry & ADDRESS);
}

/* Puts a table that says the same in place of a large page. */
static int split(uint64_t *entry, unsigned level)
{
    uint64_t *table = table_get(), old = *entry;

    if (table == NULL)
        return -ENOMEM;
    for (unsigned i = 0; i < 512; i++)
        table[i] = (level == 2 ? old & ~LARGE : old) + i * LEVEL_SIZE(level - 1);
    *entry = (uint64_t)table | PRESENT | WRITABLE;
    return 0;
}

/* The entry for `address` at `level`, with the tables above it made and large pages split. NULL: no memory.
 */
static uint64_t *entry_make(uint64_t address, unsigned level)
{
    uint64_t *table = memory.root;

    for (unsigned l = 4;; l--) {
        uint64_t *entry = &table[address >> LEVEL_SHIFT(l) & 511];

        if (l == level)
            return entry;
        if (!(*entry & PRESENT)) {
            uint64_t *below = table_get();

            if (below == NULL)
                return NULL;
            *entry = (uint64_t)below | PRESENT | WRITABLE;
        } else if ((*entry & LARGE) && split(entry, l) != 0) {
            return NULL;
        }
        table = table_of(*entry);
    }
}

/* The entry that decides about `address`, and its level; an entry that is not present ends the walk. */
static uint64_t entry_find(uint64_t address, unsigned *level)
{
    const uint64_t *table = memory.root;

    for (*level = 4;; --*level) {
        uint64_t entry = table[address >> LEVEL_SHIFT(*level) & 511];

        if (*level == 1 || !(entry & PRESENT) || (entry & LARGE))
            return entry;
        table = table_of(entry);
    }
}

static unsigned level_for(uint64_t start, uint64_t end)
{
    unsigned level = memory.largest;

    while (level > 1 && ((start & (LEVEL_SIZE(level) - 1)) != 0 || end - start < LEVEL_SIZE(level)))
        level--;
    return level;
}

/* A large page needs an entry that holds no table yet: one that does is filled in, level by level, instead.
 */
static int map(uint64_t start, uint64_t end, uint64_t flags)
{
    for (unsigned level; start < end; start += LEVEL_SIZE(level)) {
        uint64_t *entry;

        for (level = level_for(start, end);; level--) {
            entry = entry_make(start, level);
            if (entry == NULL)
                return -ENOMEM;
            if (level == 1 || !(*entry & PRESENT) || (*entry & LARGE))
                break;
        }
        uint64_t old = *entry;
        *entry = start | flags | PRESENT | (level > 1 ? LARGE : 0);
        memory.stale |= (old & PRESENT) && old != *entry;
        invlpg(start);
    }
    return 0;
}

static void map_or_panic(uint64_t start, uint64_t end, uint64_t flags)
{
    if (map(start, end, flags) != 0)
        panic("no page tables left for 0x%lx-0x%lx", start, end);
}

static int map_device(uint64_t physical, size_t size, enum chalk_attribute attribute)
{
    uint64_t flags =
        WRITABLE | NO_EXECUTE | DEVICE | (attribute == CHALK_WRITE_COMBINE ? WRITE_COMBINE : UNCACHED);
    unsigned level;

    if (size == 0 || physical >= memory.address_end || size > memory.address_end - physical)
        return -EINVAL;
    uint64_t start = physical & ~(MEMORY_PAGE - 1),
             end = (physical + size + MEMORY_PAGE - 1) & ~(MEMORY_PAGE - 1);
    for (uint64_t at = start; at < end; at = (at & ~(LEVEL_SIZE(level) - 1)) + LEVEL_SIZE(level)) {
        uint64_t entry = entry_find(at, &level);

        if ((entry & GUARD) || ((entry & PRESENT) && !(entry & DEVICE)))
            return -EINVAL; /* a device that claims to be where RAM is */
    }
    return map(start, end, flags);
}

int memory_map_device(uint64_t physical, size_t size, enum chalk_attribute attribute)
{
    bool stale;
    int error;

    chalk_lock_take(&lock);
    memory.stale = false;
    error = map_device(physical, size, attribute);
    stale = memory.stale;
    chalk_lock_release(&lock);
    if (stale)
        cores_flush_others();
    return error;
}

static int guard(void *page, const char *name)
{
    uint64_t address = (uint64_t)page;

    if (address % MEMORY_PAGE != 0 || address >= memory.address_end)
        return -EINVAL;
    uint64_t *entry = entry_make(address, 1);
    if (entry == NULL)
        return -ENOMEM;
    *entry = name != NULL ? (uint64_t)name << NAME_SHIFT | GUARD : address | PRESENT | WRITABLE | NO_EXECUTE;
    invlpg(address);
    return 0;
}

int memory_guard(void *page, const char *name)
{
    int error;

    chalk_lock_take(&lock);
    error = guard(page, name);
    chalk_lock_release(&lock);
    return error;
}

int chalk_page_guard(void *page, const char *name)
{
    int error = memory_guard(page, name);

    if (error == 0 && name != NULL) /* what was not there is not remembered: SDM vol. 3 4.10.2.3 */
        cores_flush_others();
    return error;
}

/* ---- what is where ---- */

const char *memory_guarded(uint64_t address)
{
    unsigned level;
    uint64_t entry;

    if (memory.root == NULL || address >= memory.address_end)
        return NULL;
    entry = entry_find(address, &level);
    return (entry & (GUARD | PRESENT)) == GUARD ? (const char *)(entry >> NAME_SHIFT) : NULL;
}

const char *memory_describe(uint64_t address)
{
    unsigned level;
    uint64_t entry;

    if (address < MEMORY_PAGE)
        return "page 0, a null pointer";
    if (address >= (uint64_t)chalk_text_start && address < (uint64_t)chalk_text_end)
        return "the program's text";
    if (address >= (uint64_t)chalk_image_start && address < (uint64_t)chalk_constants_end)
        return "the program's constants";
    if (memory.root == NULL)
        return "memory";
    if (address >= memory.address_end)
        return "no memory, beyond the address space";
    entry = entry_find(address, &level);
    if (!(entry & PRESENT))
        return "no memory, an address that nobody mapped";
    if (entry & DEVICE)
        return "a device";
    return address < (uint64_t)chalk_image_end ? "the program's data" : "memory";
}

bool memory_readable(uint64_t address)
{
    unsigned level;

    if (address % 8 != 0 || memory.root == NULL || address >= memory.address_end)
        return memory.root == NULL && address % 8 == 0 && address < MAPPED_AT_START;
    return (entry_find(address, &level) & (PRESENT | DEVICE)) == PRESENT;
}

/* ---- spans ---- */

int chalk_span_get(unsigned i, struct chalk_span *span)
{
    static struct chalk_span_books books[SPAN_MAX + sizeof boot.modules / sizeof boot.modules[0]];
    const struct boot_range *ram = &boot.ram[i];

    *span = (struct chalk_span){.page = MEMORY_PAGE, .kind = CHALK_SPAN_RAM};
    if (i < boot.ram_count) {
        span->iova = ram->start;
        span->size = ram->end - ram->start;
        span->node = CHALK_NODE(acpi_memory_node(&acpi, ram->start, ram->end));
    } else if (i - boot.ram_count < boot.module_count) {
        const struct boot_module *module = &boot.modules[i - boot.ram_count];

        span->kind = CHALK_SPAN_MODULE;
        span->iova = module->start;
        span->size = (module->end - module->start + MEMORY_PAGE - 1) & ~(MEMORY_PAGE - 1);
        memcpy(span->name, module->name, sizeof span->name);
    } else {
        return -ENOENT;
    }
    span->va = (void *)span->iova;
    span->books = &books[i];
    return 0;
}

int chalk_span_grow(size_t size, size_t page, unsigned node, uint64_t max_address, struct chalk_span *span)
{
    char where[32] = "", below[48] = "";

    (void)page, (void)span;
    if (memory_retries != 0)
        return -ENOMEM;
    if (node != 0)
        chalk_format(where, sizeof where, " on NUMA node %d", CHALK_NODE_NUMBER(node));
    if (max_address != UINT64_MAX)
        chalk_format(below, sizeof below, " at or below 0x%llx", (unsigned long long)max_address);
    chalk_log(CHALK_ERROR,
              "memory: no %zu KiB of RAM are free in one piece%s%s; a machine with more has them (QEMU: -m, "
              "tools/metal: --memory)",
              (size + 1023) / 1024, where, below);
    return -ENOMEM;
}

/* ---- start ---- */

/* Takes `size` bytes off the end of a range: of the last one large enough that begins below `below`. */
static uint64_t take(uint64_t size, uint64_t below)
{
    for (unsigned i = boot.ram_count; i-- > 0;) {
        struct boot_range *r = &boot.ram[i];
        uint64_t end = r->end < below ? r->end : below;

        if (r->start >= end || end - r->start < size)
            continue;
        if (end == r->end) {
            end -= size;
            r->end = end;
            if (r->start == end) { /* nothing is left: no span */
                memmove(r, r + 1, (boot.ram_count - i - 1) * sizeof *r);
                boot.ram_count--;
            }
            return end;
        }
        if (boot.ram_count == SPAN_MAX)
            continue;
        memmove(r + 2, r + 1, (boot.ram_count - i - 1) * sizeof *r);
        r[1] = (struct boot_range){end, r->end};
        r->end = end - size;
        boot.ram_count++;
        return r->end;
    }
    return 0;
}

/* Where the memory of one NUMA node ends and another's begins, a span does, too. */
static void split_at(uint64_t address)
{
    for (unsigned i = 0; i < boot.ram_count; i++) {
        struct boot_range *r = &boot.ram[i];

        if (address <= r->start || address >= r->end || boot.ram_count == SPAN_MAX)
            continue;
        memmove(r + 2, r + 1, (boot.ram_count - i - 1) * sizeof *r);
        r[1] = (struct boot_range){address, r->end};
        r->end = address;
        boot.ram_count++;
        return;
    }
}

static void split_by_node(void)
{
    for (unsigned i = 0; i < acpi.range_count; i++) {
        split_at((acpi.ranges[i].start + MEMORY_PAGE - 1) & ~(MEMORY_PAGE - 1));
        split_at(acpi.ranges[i].end & ~(MEMORY_PAGE - 1));
    }
}

void *memory_take(uint64_t size)
{
    return (void *)take(size, MAPPED_AT_START);
}

void memory_enter(void)
{
    cr3_write((uint64_t)memory.root);
}

static uint64_t clamp(uint64_t value, uint64_t least, uint64_t most)
{
    return value < least ? least : value > most ? most : value;
}

void memory_start(void)
{
    const struct cpuid features = cpuid(0x80000001, 0), widths = cpuid(0x80000008, 0);
    const uint32_t gigabyte_pages = 1u << 26;
    struct boot_range ram[SPAN_MAX];
    uint64_t total = 0, tables_size;
    unsigned count;

    split_by_node();
    count = boot.ram_count;
    for (unsigned i = 0; i < count; i++) {
        ram[i] = boot.ram[i];
        total += ram[i].end - ram[i].start;
    }
    if (total < LEAST_RAM)
        machine_refuse(
            "too little memory: %lu KiB of RAM are free, %lu KiB are needed; give the machine more "
            "(QEMU: -m 64M, tools/metal: --memory 64M)",
            total / 1024, (uint64_t)LEAST_RAM / 1024);
    memory.largest = features.d & gigabyte_pages ? 3 : 2;
    memory.address_end = 1ull << clamp(widths.a & 0xff, 36, 47);

    /* A table maps 2 MiB by 4 KiB or 1 GiB by 2 MiB: enough for the latter everywhere, the former for a half
     * of 64 GiB. More would take low memory that a large machine has no more of than a small one. */
    tables_size = (clamp(total / 1024, 0, TABLES_MAX) + MIB / 2) & ~(MEMORY_PAGE - 1);
    memory.next_table = take(tables_size, MAPPED_AT_START);
    if (memory.next_table == 0)
        machine_refuse("memory is too scattered: no %lu KiB in one piece; give the machine more "
                       "(QEMU: -m 64M, tools/metal: --memory 64M)",
                       tables_size / 1024);
    memory.tables_end = memory.next_table + tables_size;
    memory.root = table_get();

    for (unsigned i = 0; i < count; i++)
        map_or_panic(ram[i].start, ram[i].end, WRITABLE | NO_EXECUTE);
    for (unsigned i = 0; i < boot.module_count; i++)
        map_or_panic(boot.modules[i].start & ~(MEMORY_PAGE - 1),
                     (boot.modules[i].end + MEMORY_PAGE - 1) & ~(MEMORY_PAGE - 1), NO_EXECUTE);
    map_or_panic((uint64_t)chalk_image_start, (uint64_t)chalk_text_end, 0);
    map_or_panic((uint64_t)chalk_text_end, (uint64_t)chalk_constants_end, NO_EXECUTE);
    map_or_panic((uint64_t)chalk_constants_end, (uint64_t)chalk_image_end, WRITABLE | NO_EXECUTE);
    memory_enter();
}

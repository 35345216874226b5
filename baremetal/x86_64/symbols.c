/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names for addresses, from the table that link/ld puts into the image: it survives strip, because it is
 * data.
 */
#include "machine.h"

#include <chalk/stack.h>

struct symbol {
    uint32_t address;
    uint32_t name; /* offset from the table's start */
};

/* Sorted by address; names follow. Empty (start == end) when the image was linked without link/ld. */
struct symbol_table {
    uint32_t count;
    uint32_t program; /* offset of the program's name */
    struct symbol symbols[];
};

extern const struct symbol_table chalk_symbols_start[];
extern const char chalk_symbols_end[], chalk_text_start[], chalk_text_end[];

static const char *name_at(uint32_t offset)
{
    return (const char *)chalk_symbols_start + offset;
}

static bool have_table(void)
{
    const char *end = chalk_symbols_end;

    __asm__("" : "+r"(end)); /* two symbols, which the compiler takes for different objects */
    return (const char *)chalk_symbols_start != end;
}

const char *symbols_program(void)
{
    return have_table() ? name_at(chalk_symbols_start->program) : "image";
}

const char *symbols_find(uint64_t address, uint64_t *offset)
{
    const struct symbol *s = chalk_symbols_start->symbols;
    uint32_t low = 0, high;

    if (!have_table() || address < (uint64_t)chalk_text_start || address >= (uint64_t)chalk_text_end)
        return NULL;
    for (high = chalk_symbols_start->count; low < high;) {
        uint32_t middle = low + (high - low) / 2;

        if (s[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return NULL;
    *offset = address - s[low - 1].address;
    return name_at(s[low - 1].name);
}

void chalk_stack_name(uintptr_t place, char *text, size_t size)
{
    uint64_t offset = 0;
    const char *name = symbols_find(place, &offset);

    chalk_format(text, size, "0x%08lx %s+0x%lx", place, name != NULL ? name : "?", offset);
}

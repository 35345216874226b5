/* SPDX-License-Identifier: BSD-2-Clause */
/* The names of PCI devices: what people write, and what Linux calls them. */
#include "pci.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Hexadecimal digits up to `end`, at most `digits` of them. */
static bool parse_hex(const char **text, unsigned digits, char end, unsigned long *value)
{
    const char *start = *text;

    *value = 0;
    for (; **text != '\0' && **text != end; (*text)++) {
        char c = **text;
        char lower = (char)(c | 0x20);

        if (c >= '0' && c <= '9')
            *value = *value * 16 + (unsigned long)(c - '0');
        else if (lower >= 'a' && lower <= 'f')
            *value = *value * 16 + (unsigned long)(lower - 'a' + 10);
        else
            return false;
    }
    if (**text != end || *text == start || *text - start > (long)digits)
        return false;
    *text += end != '\0';
    return true;
}

int hosted_pci_name(const char *text, char name[CHALK_NAME_SIZE])
{
    const char *first = strchr(text, ':');
    unsigned long domain = 0, bus, slot, function;

    /* A domain has up to 8 digits: that of an Intel VMD is 10000. */
    if (first != NULL && strchr(first + 1, ':') != NULL && !parse_hex(&text, 8, ':', &domain))
        return -EINVAL;
    if (!parse_hex(&text, 2, ':', &bus) || !parse_hex(&text, 2, '.', &slot) ||
        !parse_hex(&text, 1, '\0', &function))
        return -EINVAL;
    if (slot > 31 || function > 7)
        return -EINVAL;
    snprintf(name, CHALK_NAME_SIZE, "%04lx:%02lx:%02lx.%lx", domain, bus, slot, function);
    return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* See patience.h. */
#include "patience.h"

#include <stdlib.h>
#include <string.h>

#include <chalk/clock.h>

/* A year: no product of it overflows. */
#define MOST_SECONDS (365ul * 24 * 3600)

/* One entry: [NAME=]SECONDS, up to a comma or the end. Returns what follows it, or NULL if it is none. */
static const char *entry(const char *list, const char **name, size_t *length, uint64_t *ns)
{
    size_t size = strcspn(list, ",");
    const char *number = list;
    unsigned long seconds;
    char *end;

    for (const char *at = list; at < list + size; at++)
        if (*at == '=')
            number = at + 1;
    *name = list;
    *length = number > list ? (size_t)(number - list) - 1 : 0;
    if (*number < '0' || *number > '9' || (list[size] == ',' && list[size + 1] == '\0'))
        return NULL;
    seconds = strtoul(number, &end, 10);
    if (end != list + size || seconds == 0 || seconds > MOST_SECONDS)
        return NULL;
    *ns = seconds * CHALK_S;
    return list + size + (list[size] == ',');
}

bool patience_valid(const char *list)
{
    const char *name;
    size_t length;
    uint64_t ns;

    if (list == NULL)
        return true;
    do
        list = entry(list, &name, &length, &ns);
    while (list != NULL && *list != '\0');
    return list != NULL;
}

uint64_t patience_for(const char *list, const char *device, uint64_t otherwise)
{
    uint64_t found = otherwise, ns;
    const char *name;
    bool named = false;
    size_t length;

    while (list != NULL && *list != '\0') {
        list = entry(list, &name, &length, &ns);
        if (list != NULL && length == 0 && !named)
            found = ns;
        if (list != NULL && length == strlen(device) && memcmp(name, device, length) == 0 && length > 0) {
            found = ns;
            named = true;
        }
    }
    return found;
}

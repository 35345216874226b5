/* SPDX-License-Identifier: BSD-2-Clause */
/* See json.h, and RFC 8259. One pass over the text, by recursive descent; values are skipped, never stored.
 */
#include "json.h"

#include <stddef.h>
#include <string.h>

#define DEPTH 16

static const char *space(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

/* Each of these returns what follows the value at `at`, or NULL if there is none. */

static const char *skip_string(const char *at)
{
    if (*at++ != '"')
        return NULL;
    for (; *at != '"'; at++) {
        if (*at == '\\')
            at++;
        if ((unsigned char)*at < 0x20)
            return NULL;
    }
    return at + 1;
}

static const char *skip_word(const char *at)
{
    static const char *const words[] = {"true", "false", "null"};

    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strncmp(at, words[i], strlen(words[i])) == 0)
            return at + strlen(words[i]);
    return NULL;
}

static const char *skip_number(const char *at)
{
    size_t length = strspn(at, "+-.0123456789eE");

    return length > 0 ? at + length : NULL;
}

static const char *skip(const char *at, unsigned depth);

/* What is between brackets; members of an object have names. */
static const char *skip_list(const char *at, char close, unsigned depth)
{
    at = space(at + 1);
    if (*at == close)
        return at + 1;
    for (;;) {
        if (close == '}') {
            at = skip_string(at);
            at = at != NULL ? space(at) : NULL;
            if (at == NULL || *at++ != ':')
                return NULL;
        }
        at = skip(space(at), depth + 1);
        if (at == NULL)
            return NULL;
        at = space(at);
        if (*at == close)
            return at + 1;
        if (*at++ != ',')
            return NULL;
        at = space(at);
    }
}

static const char *skip(const char *at, unsigned depth)
{
    if (depth == DEPTH)
        return NULL;
    switch (*at) {
    case '{':
        return skip_list(at, '}', depth);
    case '[':
        return skip_list(at, ']', depth);
    case '"':
        return skip_string(at);
    case 't':
    case 'f':
    case 'n':
        return skip_word(at);
    default:
        return skip_number(at);
    }
}

bool json_valid(const char *text)
{
    const char *end = skip(space(text), 0);

    return end != NULL && *space(end) == '\0';
}

/* The value of the member `name` (of `length` characters) of the object at `at`, NULL if there is none. */
static const char *member(const char *at, const char *name, size_t length)
{
    if (*at != '{')
        return NULL;
    at = space(at + 1);
    while (*at == '"') {
        bool found = strncmp(at + 1, name, length) == 0 && at[1 + length] == '"';

        at = space(space(skip_string(at)) + 1);
        if (found)
            return at;
        at = space(skip(at, 0));
        if (*at == ',')
            at = space(at + 1);
    }
    return NULL;
}

static const char *find(const char *text, const char *path)
{
    const char *at = space(text);

    while (at != NULL && *path != '\0') {
        size_t length = strcspn(path, ".");

        at = member(at, path, length);
        path += length + (path[length] == '.');
    }
    return at;
}

bool json_number(const char *text, const char *path, uint32_t *value)
{
    const char *at = find(text, path);
    uint64_t sum = 0;

    if (at == NULL || *at < '0' || *at > '9')
        return false;
    for (; *at >= '0' && *at <= '9'; at++)
        sum = sum <= UINT32_MAX ? sum * 10 + (uint64_t)(*at - '0') : sum;
    if (*at != '\0' && strchr(".eE", *at) != NULL)
        return false;
    *value = sum <= UINT32_MAX ? (uint32_t)sum : UINT32_MAX;
    return true;
}

bool json_boolean(const char *text, const char *path, bool *value)
{
    const char *at = find(text, path);

    if (at == NULL || (*at != 't' && *at != 'f'))
        return false;
    *value = *at == 't';
    return true;
}

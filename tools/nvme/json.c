/* SPDX-License-Identifier: BSD-2-Clause */
/* See json.h. There is one document at a time, so its state is static. */
#include "json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include <chalk/error.h>

#define DEPTH 8

static char closing[DEPTH]; /* the brackets that are open */
static bool begun[DEPTH];   /* has a member */
static unsigned depth;

static void put_text(const char *text)
{
    putchar('"');
    for (; *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;

        if (byte == '"' || byte == '\\')
            printf("\\%c", byte);
        else if (byte < ' ' || byte > '~')
            printf("\\u%04x", byte);
        else
            putchar(byte);
    }
    putchar('"');
}

/* What stands before a value: the comma, and in an object its name. */
static void put_name(const char *name)
{
    if (depth == 0)
        return;
    chalk_assert((name != NULL) == (closing[depth - 1] == '}'));
    if (begun[depth - 1])
        printf(", ");
    begun[depth - 1] = true;
    if (name != NULL) {
        put_text(name);
        printf(": ");
    }
}

static void open_bracket(const char *name, char opening, char close)
{
    put_name(name);
    chalk_assert(depth < DEPTH);
    putchar(opening);
    closing[depth] = close;
    begun[depth++] = false;
}

void json_open_object(const char *name)
{
    open_bracket(name, '{', '}');
}

void json_open_list(const char *name)
{
    open_bracket(name, '[', ']');
}

void json_close(void)
{
    chalk_assert(depth > 0);
    putchar(closing[--depth]);
    if (depth == 0)
        putchar('\n');
}

void json_put_number(const char *name, uint64_t value)
{
    put_name(name);
    printf("%" PRIu64, value);
}

void json_put_signed(const char *name, int64_t value)
{
    put_name(name);
    printf("%" PRId64, value);
}

void json_put_real(const char *name, double value, int digits)
{
    put_name(name);
    printf("%.*f", digits, isfinite(value) ? value : 0.0); /* JSON has no infinity [RFC 8259 6] */
}

void json_put_boolean(const char *name, bool value)
{
    put_name(name);
    printf("%s", value ? "true" : "false");
}

void json_put_null(const char *name)
{
    put_name(name);
    printf("null");
}

void json_put_text(const char *name, const char *text)
{
    put_name(name);
    put_text(text);
}

void json_put_bytes(const char *name, const void *bytes, size_t size)
{
    put_name(name);
    putchar('"');
    for (size_t i = 0; i < size; i++)
        printf("%02x", ((const unsigned char *)bytes)[i]);
    putchar('"');
}

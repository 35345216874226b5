/* SPDX-License-Identifier: BSD-2-Clause */
/* A console that keeps what the hosted platform says, for tests that make up the Linux below it. */
#ifndef HOSTED_CONSOLE_H
#define HOSTED_CONSOLE_H

#include <chalk/platform.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct {
    char text[4096]; /* the first of it, terminated */
    size_t size;
} console;

static bool console_echo; /* on standard error, too: of a child */

static inline bool said(const char *text)
{
    return strstr(console.text, text) != NULL;
}

static inline void console_clear(void)
{
    memset(&console, 0, sizeof console);
}

long chalk_console(void *bytes, size_t size, bool write)
{
    if (!write)
        return 0;
    if (console_echo && fwrite(bytes, 1, size, stderr) != size)
        return -EIO;
    if (size < sizeof console.text - console.size) {
        memcpy(console.text + console.size, bytes, size);
        console.size += size;
    }
    return (long)size;
}

#endif

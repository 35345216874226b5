/* SPDX-License-Identifier: BSD-2-Clause */
/* Small files and links of /sys, read whole: what Linux says about devices, processors and pages. */
#include "sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int make_path(char path[PATH_MAX], const char *format, va_list list)
{
    int length = vsnprintf(path, PATH_MAX, format, list);

    return length < 0 || length >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static int read_text(char *text, size_t size, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length;

    text[0] = '\0';
    if (fd < 0)
        return -errno;
    length = read(fd, text, size - 1);
    if (length < 0)
        length = -errno;
    close(fd);
    text[length > 0 ? length : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return length < 0 ? (int)length : (int)strlen(text);
}

int hosted_sysfs_text(char *text, size_t size, const char *format, ...)
{
    char path[PATH_MAX];
    va_list list;
    int error;

    va_start(list, format);
    error = make_path(path, format, list);
    va_end(list);
    text[0] = '\0';
    return error != 0 ? error : read_text(text, size, path);
}

long hosted_sysfs_number(long otherwise, const char *format, ...)
{
    char path[PATH_MAX], text[32], *end;
    va_list list;
    long number;
    int error;

    va_start(list, format);
    error = make_path(path, format, list);
    va_end(list);
    if (error != 0 || read_text(text, sizeof text, path) <= 0)
        return otherwise;
    number = strtol(text, &end, 10);
    return end == text ? otherwise : number;
}

int hosted_sysfs_link(char *name, size_t size, const char *format, ...)
{
    char path[PATH_MAX], target[PATH_MAX];
    const char *last;
    va_list list;
    ssize_t length;
    int error;

    va_start(list, format);
    error = make_path(path, format, list);
    va_end(list);
    name[0] = '\0';
    if (error != 0)
        return error;
    length = readlink(path, target, sizeof target - 1);
    if (length < 0)
        return -errno;
    target[length] = '\0';
    last = strrchr(target, '/');
    last = last != NULL ? last + 1 : target;
    if (strlen(last) >= size)
        return -ENAMETOOLONG;
    strcpy(name, last);
    return (int)strlen(name);
}

bool hosted_sysfs_exists(const char *format, ...)
{
    char path[PATH_MAX];
    va_list list;
    int error;

    va_start(list, format);
    error = make_path(path, format, list);
    va_end(list);
    return error == 0 && access(path, F_OK) == 0;
}

unsigned hosted_list_rank(const char *list, unsigned id)
{
    unsigned rank = 0;

    while (*list >= '0' && *list <= '9') {
        char *end;
        unsigned long first = strtoul(list, &end, 10);
        unsigned long last = first;

        if (*end == '-')
            last = strtoul(end + 1, &end, 10);
        if (first >= id || last < first)
            break;
        rank += (unsigned)((last < id ? last + 1 : id) - first);
        list = *end == ',' ? end + 1 : end;
    }
    return rank;
}

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

static bool take_number(const char **text, unsigned long *number)
{
    char *end;

    if (**text < '0' || **text > '9')
        return false;
    *number = strtoul(*text, &end, 10);
    *text = end;
    return true;
}

/* The next number or range of the list, and the comma behind it. */
static bool take_range(const char **list, unsigned long *first, unsigned long *last)
{
    if (!take_number(list, first))
        return false;
    *last = *first;
    if (**list == '-') {
        ++*list;
        if (!take_number(list, last))
            return false;
    }
    *list += **list == ',';
    return *last >= *first;
}

bool hosted_list_valid(const char *list)
{
    unsigned long first, last, next = 0;

    while (*list != '\0') {
        if (!take_range(&list, &first, &last) || first < next)
            return false;
        next = last + 1;
    }
    return next > 0;
}

unsigned hosted_list_rank(const char *list, unsigned id)
{
    unsigned long first, last;
    unsigned rank = 0;

    while (take_range(&list, &first, &last) && first < id)
        rank += (unsigned)((last < id ? last + 1 : id) - first);
    return rank;
}

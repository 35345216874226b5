/* SPDX-License-Identifier: BSD-2-Clause */
/* Small files and links of /sys, read whole. Paths are printf formats. */
#ifndef HOSTED_SYSFS_H
#define HOSTED_SYSFS_H

#include <stdbool.h>
#include <stddef.h>

/* The first line of a file, without its newline. Returns its length; or a negative errno, and an empty text.
 */
int hosted_sysfs_text(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The number in a file, or `otherwise`. */
long hosted_sysfs_number(long otherwise, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The last component of what a link points to. Returns its length; or a negative errno, and an empty name. */
int hosted_sysfs_link(char *name, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

bool hosted_sysfs_exists(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Whether it is a list of numbers such as "0-3,8,10-11", ascending, and not an empty one. */
bool hosted_list_valid(const char *list);

/* How many numbers of a list are below `id`; text that is no list ends it. */
unsigned hosted_list_rank(const char *list, unsigned id);

#endif

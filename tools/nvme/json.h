/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One JSON document a line on standard output (RFC 8259), for --json: objects and lists, nested up to 8 deep.
 *
 * Each function writes one member. `name` is the member's name in an object; NULL in a list, and for the
 * outermost value. The caller closes what it opened; the newline follows the outermost close.
 */
#ifndef TOOLS_NVME_JSON_H
#define TOOLS_NVME_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void json_open_object(const char *name);
void json_open_list(const char *name);
void json_close(void);

void json_put_number(const char *name, uint64_t value);
void json_put_signed(const char *name, int64_t value);
void json_put_real(const char *name, double value, int digits); /* that many behind the point */
void json_put_boolean(const char *name, bool value);
void json_put_null(const char *name);

/* A string. Any bytes: what is not printable ASCII is written as \u00XX. */
void json_put_text(const char *name, const char *text);

/* Bytes, as a string of two hexadecimal digits each. */
void json_put_bytes(const char *name, const void *bytes, size_t size);

#endif

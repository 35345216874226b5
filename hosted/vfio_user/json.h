/* SPDX-License-Identifier: BSD-2-Clause */
/* Just enough JSON for the capabilities in a version message: small objects of numbers and booleans. */
#ifndef VFIO_USER_JSON_H
#define VFIO_USER_JSON_H

#include <stdbool.h>
#include <stdint.h>

/* Whether `text` is one JSON value, at most 16 deep. */
bool json_valid(const char *text);

/*
 * Finds the member that `path` names, such as "capabilities.twin_socket.fd_index", in a valid text. Whether
 * it is there and is a natural number (UINT32_MAX stands for all above), or true or false: then `*value` has
 * it.
 */
bool json_number(const char *text, const char *path, uint32_t *value);
bool json_boolean(const char *text, const char *path, bool *value);

#endif

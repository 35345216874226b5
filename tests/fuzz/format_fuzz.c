/* SPDX-License-Identifier: BSD-2-Clause */
/* chalk_format() with any format, whose arguments are integers: the first byte is the size of the buffer. */
#include <chalk/log.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#pragma GCC diagnostic ignored "-Wformat-nonliteral"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char format[20]; /* too short to ask for more than the arguments below: "%*d" takes two */

    if (size < 1 || size > sizeof format)
        return 0;
    size_t room = data[0];
    memcpy(format, data + 1, size - 1);
    format[size - 1] = 0;
    unsigned digits = 0;
    for (char *c = format; *c; c++) {
        digits = *c >= '0' && *c <= '9' ? digits + 1 : 0;
        if (*c == 's' || digits > 5) /* no strings; and no fields that take a second */
            *c = 'd';
    }
    char *text = malloc(room + 1); /* the sanitizer guards what is behind it */
    text[room] = '!';
    int wanted = chalk_format(text, room, format, 1L, -1L, 300L, 4L, 0L, INT64_MIN, INT64_MAX, 0xffL, 9L, 10L,
                              11L, 12L, 13L, 14L);
    if (wanted < 0 || text[room] != '!')
        abort();
    if (room && strlen(text) != ((size_t)wanted < room ? (size_t)wanted : room - 1) && !strchr(format, 'c'))
        abort();
    free(text);
    return 0;
}

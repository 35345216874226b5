/* SPDX-License-Identifier: BSD-2-Clause */
/* A script of any bytes, of which those above 127 stand for words that mean something: what is accepted is
 * printed, and read again as the same; what is refused is said why. */
#include "tools/models/script.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct script_name names[] = {{WHEN_COMMAND, "read", 2, UINT64_MAX},
                                           {WHEN_COMMAND, "io", 0x100, UINT64_MAX - 0xff},
                                           {WHEN_READ, "cap", 0, UINT64_MAX},
                                           {WHEN_WRITE, "cc", 0x14, UINT64_MAX}};
static const char *const habits[] = {"hums", NULL};
static const struct script_names device = {
    .device = "nvme",
    .names = names,
    .count = sizeof names / sizeof names[0],
    .commands = UINT32_MAX,
    .completions = UINT32_MAX,
    .opcodes = 0xff,
    .habits = habits,
    .reshapes = true,
};

/* Its rules, as lines. */
static void print(const struct script *script, char *text, size_t size)
{
    size_t length = (size_t)snprintf(text, size, "for any\n");
    char line[256];

    for (unsigned i = 0; i < script->count; i++) {
        script_print(script, &device, i, line, sizeof line);
        length += (size_t)snprintf(text + length, size - length, "%s\n", line);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
static size_t write_out(const uint8_t *data, size_t size, char *text, size_t room)
{
    static const char *const words[] = {"for any\n",  "\ncommand ", "\ncompletion ",
                                        "\nread ",    "\nwrite ",   "\ninterrupt ",
                                        "\nmessage ", "\ntime ",    "read ",
                                        "cap ",       "cc ",        "reset ",
                                        "3",          "5-7",        "9-",
                                        "12ms",       ": ",         "ignore",
                                        "late ",      "twice",      "value ",
                                        "put ",       "0x10 ",      "4 ",
                                        "io-",        "io-0x19 ",   "garbage",
                                        "vanish",     "storm ",     "short ",
                                        "size ",      "close",      "\nalways: ",
                                        "hums",       "reshape ",   "#",
                                        "\n"};
    size_t length = 0;

    for (size_t i = 0; i < size; i++) {
        const char *word = words[data[i] % (sizeof words / sizeof words[0])];
        size_t more = data[i] < 128 ? 1 : strlen(word);

        if (more > room - length)
            break;
        memcpy(text + length, data[i] < 128 ? (const char *)data + i : word, more);
        length += more;
    }
    return length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[8192], first[SCRIPT_RULES * 256], second[SCRIPT_RULES * 256];
    static struct script script;
    size_t length = write_out(data, size, text, sizeof text);
    char *exact = malloc(length + (length == 0)),
         error[512] = ""; /* the sanitizer guards what is behind it */

    memcpy(exact, text, length);
    if (script_parse(&script, &device, "fuzz", exact, length, error, sizeof error) != 0) {
        if (strncmp(error, "fuzz:", 5) != 0)
            abort();
        free(exact);
        return 0;
    }
    free(exact);
    print(&script, first, sizeof first);
    if (script_parse(&script, &device, "fuzz", first, strlen(first), error, sizeof error) != 0)
        abort();
    print(&script, second, sizeof second);
    if (strcmp(first, second) != 0)
        abort();
    for (unsigned i = 0; i < 16; i++)
        script_event(&script, i % WHEN_COUNT, i);
    script_time(&script, 1);
    script_due(&script);
    return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* input lines: numbers the lines of standard input. input bytes: their count and CRC-32C, read(2) as it
 * comes. */
#include <chalk/crc32c.h>
#include <chalk/main.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void number_lines(void)
{
    char line[256];

    for (unsigned i = 1; fgets(line, sizeof line, stdin) != NULL; i++) {
        printf("%u: %s", i, line);
        fflush(stdout);
    }
    printf("end of input%s\n", getchar() == EOF ? "" : ", or not");
}

static void count_bytes(void)
{
    static char bytes[1000];
    unsigned long total = 0;
    uint32_t crc = 0;
    ssize_t size;

    while ((size = read(STDIN_FILENO, bytes, sizeof bytes)) > 0) {
        crc = chalk_crc32c(crc, bytes, (size_t)size);
        total += (unsigned long)size;
    }
    printf("%lu bytes, %08x\n", total, crc);
}

int chalk_main(int argc, char *argv[])
{
    if (argc == 2 && strcmp(argv[1], "lines") == 0)
        number_lines();
    else if (argc == 2 && strcmp(argv[1], "bytes") == 0)
        count_bytes();
    else
        return 2;
    return 0;
}

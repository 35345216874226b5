/* SPDX-License-Identifier: BSD-2-Clause */
/* entropy: what getrandom(2) says on this machine. */
#include <chalk/main.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

int chalk_main(int argc, char *argv[])
{
    unsigned char bytes[100], zero[100] = {0};
    ssize_t got = getrandom(bytes, sizeof bytes, 0);

    (void)argc, (void)argv;
    if (got < 0)
        printf("getrandom: %s\n", errno == ENOSYS ? "ENOSYS" : strerror(errno));
    else
        printf("getrandom: %zd bytes%s\n", got, memcmp(bytes, zero, sizeof bytes) == 0 ? ", all zero" : "");
    return 0;
}

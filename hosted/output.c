/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See output.h. exit() flushes as well, but drops the error: figures for a file that is full would be lost in
 * silence. And with a standard descriptor closed, what is printed would go into whatever is opened first: the
 * memory of a device, for example.
 */
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <chalk/log.h>

void hosted_output_start(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY); /* the lowest free one: fd */
    signal(SIGXFSZ, SIG_IGN);
}

int hosted_output_finish(int status)
{
    int failed = ferror(stdout);
    int error = fflush(stdout) != 0 ? errno : 0;

    if (error == 0 && !failed)
        return status;
    chalk_log(CHALK_ERROR, "standard output is not complete: %s",
              error != 0 ? strerror(error) : "an earlier write failed"); /* whose errno is lost */
    return status != 0 ? status : 1;
}

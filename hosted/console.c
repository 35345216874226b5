/* SPDX-License-Identifier: BSD-2-Clause */
/* The console: standard error out, standard input in. It needs nothing started, and is safe in a signal
 * handler. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include <chalk/platform.h>

static long write_all(const char *bytes, size_t size)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = write(STDERR_FILENO, bytes + done, size - done);

        if (n < 0 && errno == EAGAIN) {
            struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};

            poll(&room, 1, -1);
        } else if (n < 0 && errno != EINTR) {
            return done > 0 ? (long)done : -errno;
        } else if (n > 0) {
            done += (size_t)n;
        }
    }
    return (long)done;
}

static long read_some(char *bytes, size_t size)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    ssize_t n;

    if (poll(&input, 1, 0) <= 0 || (input.revents & POLLIN) == 0)
        return 0;
    n = read(STDIN_FILENO, bytes, size);
    return n < 0 ? -errno : n;
}

long chalk_console(void *bytes, size_t size, bool write)
{
    return write ? write_all(bytes, size) : read_some(bytes, size);
}

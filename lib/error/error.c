/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What errors mean, and the end of a program that made a mistake of its own.
 */
#include <chalk/error.h>
#include <chalk/log.h>
#include <chalk/platform.h>

const char *chalk_error_name(int error)
{
    switch (error) {
    case 0:
        return "success";
    case -EPERM:
        return "not permitted";
    case -ENOENT:
        return "not found";
    case -EINTR:
        return "interrupted";
    case -EIO:
        return "input/output error";
    case -ENXIO:
        return "nothing there to serve it";
    case -E2BIG:
        return "too big";
    case -EBADF:
        return "not an open file";
    case -EAGAIN:
        return "try again";
    case -ENOMEM:
        return "out of memory";
    case -EACCES:
        return "access denied";
    case -EFAULT:
        return "memory that a device cannot use";
    case -EBUSY:
        return "in use";
    case -EEXIST:
        return "exists already";
    case -EXDEV:
        return "belongs to another domain";
    case -ENODEV:
        return "no such device, or it is gone";
    case -EINVAL:
        return "invalid argument";
    case -ENFILE:
        return "too many open files on this machine";
    case -EMFILE:
        return "too many open files";
    case -ENOTTY:
        return "not for this kind of file";
    case -EFBIG:
        return "file too large";
    case -ENOSPC:
        return "no room left";
    case -ESPIPE:
        return "not a file with positions";
    case -EROFS:
        return "read-only";
    case -ERANGE:
        return "out of range";
    case -ENAMETOOLONG:
        return "name too long";
    case -ENOSYS:
        return "not implemented";
    case -EPROTO:
        return "the device broke the protocol";
    case -EBADMSG:
        return "corrupt data";
    case -EOVERFLOW:
        return "value too large";
    case -EILSEQ:
        return "the data does not match, or its protection";
    case -ERESTART:
        return "to be begun again";
    case -ENOTSUP:
        return "not supported";
    case -EADDRINUSE:
        return "address in use";
    case -ECONNABORTED:
        return "connection given up";
    case -ECONNRESET:
        return "connection lost";
    case -ETIMEDOUT:
        return "timed out";
    case -ECONNREFUSED:
        return "connection refused";
    case -ECANCELED:
        return "canceled";
    default:
        return "unknown error";
    }
}

void chalk_assert_failed(const char *expression, const char *file, int line)
{
    chalk_log(CHALK_ERROR, "%s:%d: assertion failed: %s", file, line, expression);
    chalk_exit(134); /* what a shell shows for SIGABRT */
}

void chalk_misuse(const char *format, ...)
{
    char text[512];
    va_list list;

    va_start(list, format);
    chalk_format_list(text, sizeof text, format, list);
    va_end(list);
    chalk_log(CHALK_ERROR, "%s", text);
    chalk_exit(134);
}

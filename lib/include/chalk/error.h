/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Errors are negative errno values. The outside world's errors (a device, a file, a user) are returned and
 * logged; programmer errors (a null pointer, a freed handle) end in chalk_assert().
 *
 * The numbers are those of Linux on x86-64, spelled here so that the portable archive needs no libc.
 * A test compares them with both worlds' <errno.h>.
 */
#ifndef CHALK_ERROR_H
#define CHALK_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

#ifndef EPERM
#define EPERM        1
#define ENOENT       2
#define EINTR        4
#define EIO          5
#define ENXIO        6
#define E2BIG        7
#define EBADF        9
#define EAGAIN       11
#define ENOMEM       12
#define EACCES       13
#define EFAULT       14
#define EBUSY        16
#define EEXIST       17
#define EXDEV        18
#define ENODEV       19
#define EINVAL       22
#define ENFILE       23
#define EMFILE       24
#define ENOTTY       25
#define EFBIG        27
#define ENOSPC       28
#define ESPIPE       29
#define EROFS        30
#define ERANGE       34
#define ENAMETOOLONG 36
#define ENOSYS       38
#define EPROTO       71
#define EBADMSG      74
#define EOVERFLOW    75
#define EILSEQ       84
#define ERESTART     85
#define ENOTSUP      95
#define EADDRINUSE   98
#define ECONNABORTED 103
#define ECONNRESET   104
#define ETIMEDOUT    110
#define ECONNREFUSED 111
#define ECANCELED    125
#endif

/* What the negative errno `error` means, in a few words; never NULL. */
const char *chalk_error_name(int error);

/* Logs the place and ends the program: for the caller's mistakes only. */
__attribute__((noreturn)) void chalk_assert_failed(const char *expression, const char *file, int line);

/* Logs one message, which says what the caller did wrong and what to do instead, and ends the program like
 * chalk_assert(). For mistakes that an expression does not explain. */
__attribute__((noreturn, cold, format(printf, 1, 2))) void chalk_misuse(const char *format, ...);

#define chalk_assert(e) ((e) ? (void)0 : chalk_assert_failed(#e, __FILE__, __LINE__))

#ifdef __cplusplus
}
#endif
#endif

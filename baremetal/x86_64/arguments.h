/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The command line as a program knows it: arguments, and an environment. A function of the text alone, so
 * that it runs in tests as it runs in the image.
 */
#ifndef CHALK_BAREMETAL_ARGUMENTS_H
#define CHALK_BAREMETAL_ARGUMENTS_H

#define ARGUMENTS_MAX 128u /* words on the command line */

struct arguments {
    unsigned count, environment_count;
    char *words[ARGUMENTS_MAX], *environment[ARGUMENTS_MAX];
};

/*
 * Splits `line` in place, as a shell would: words at blanks, '...' as it is, "..." and \x. GRUB adds quotes
 * and backslashes of its own where it passes a blank or a quote on.
 *
 * Words CHALK_NAME=value before the first `--`, or anywhere if there is none, are the environment (NAME:
 * capital letters, digits, underscores); all others are arguments. A `--` that has only such words before it,
 * and at least one, is none: it has done its work. Any other `--` is the program's, as it is in a Linux
 * process.
 *
 * The words lie in `line`. Returns NULL, or what is wrong, and the cure.
 */
const char *arguments_split(char *line, struct arguments *found);

#endif

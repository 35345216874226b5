/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The main() of a program that is made of chalk_main(). It is alone in this file, and so in its archive
 * member: a program with a main() of its own never links it.
 */
#include <chalk/hosted.h>
#include <chalk/main.h>

int main(int argc, char *argv[])
{
    int status;

    if (chalk_start(&(struct chalk_start_options){.handle_signals = true, .pin = true}) != 0)
        return 1; /* chalk_start() has said why */
    status = chalk_main(argc, argv);
    chalk_stop();
    return status;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The main() of a program that is made of chalk_main(). It is alone in this file, and so in its archive
 * member: a program with a main() of its own never links it.
 *
 * Where it runs is for whoever runs it to say: CHALK_CORES="2-5" names the processors that become cores, and
 * CHALK_UNPINNED=1 leaves all others to Linux's scheduler. CHALK_BUS="vfio-user:/run/disk" names what is on
 * the bus instead of the machine's own devices, and CHALK_PATIENCE="60" how many seconds the process of a
 * device may take for an answer, CHALK_RECONNECT="60" how many to come back when it has ended. CHALK_LOG, of
 * which chalk_start() takes care, is the level of messages.
 */
#include <chalk/hosted.h>
#include <chalk/main.h>
#include <stdlib.h>

#include "output.h"

int main(int argc, char *argv[])
{
    int status;

    hosted_output_start();
    if (chalk_start(&(struct chalk_start_options){.handle_signals = true,
                                                  .handle_removal = true,
                                                  .pin = getenv("CHALK_UNPINNED") == NULL,
                                                  .cores = getenv("CHALK_CORES"),
                                                  .bus = getenv("CHALK_BUS"),
                                                  .patience = getenv("CHALK_PATIENCE"),
                                                  .reconnect = getenv("CHALK_RECONNECT")}) != 0)
        return 1; /* chalk_start() has said why */
    status = hosted_output_finish(chalk_main(argc, argv));
    chalk_stop();
    return status;
}

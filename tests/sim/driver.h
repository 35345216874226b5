/* SPDX-License-Identifier: BSD-2-Clause */
/* A driver under simulation: what it is made to do, and what has to hold. */
#ifndef TESTS_SIM_DRIVER_H
#define TESTS_SIM_DRIVER_H

#include "scenario.h"

/* The device's words for scripts. */
extern const struct script_names *const driver_names;

/* Runs the scenario. If something does not hold, the process ends (sim_fail()). */
void driver_run(const struct scenario *scenario);

#endif

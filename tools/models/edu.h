/* SPDX-License-Identifier: BSD-2-Clause */
/* QEMU's educational device, 1234:11e8, as its docs/specs/edu says. */
#ifndef MODEL_EDU_H
#define MODEL_EDU_H

#include "model.h"

#define EDU_BUFFER 4096

struct edu_model {
    struct model model;
    uint32_t liveness, factorial, status, interrupts;
    uint64_t source, target, count, command;
    uint8_t buffer[EDU_BUFFER];
    uint64_t factorial_due, copy_due; /* when what was begun is done; NEVER */

    const struct script_rule *spoiling; /* the data of what was begun */
    const uint64_t *late;               /* of these times, the one that the script has put off */
};

extern const struct script_names edu_names;
void edu_model_init(struct edu_model *edu, struct world *world);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* What all models share. */
#include "model.h"

void model_init(struct model *model, const struct model_class *class, struct world *world)
{
    model->class = class;
    model->world = world;
    model->due = NEVER;
    model->wake = -1;
    pci_init(&model->config, &class->identity, class->vectors);
    for (unsigned bar = 0; bar < MODEL_BARS; bar++)
        if (class->bars[bar].size != 0)
            pci_add_bar(&model->config, bar, class->bars[bar].size);
}

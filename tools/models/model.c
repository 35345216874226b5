/* SPDX-License-Identifier: BSD-2-Clause */
/* What all models share: a beginning, and the events that happen to any of them, where its script is asked.
 */
#include "model.h"

#include <string.h>

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

/* ---- the script ---- */

static bool has_vanished(const struct model *model)
{
    return model->script != NULL && model->script->vanished;
}

static void trespass(struct model *model)
{
    struct script *script = model->script;

    if (script->trespass && model->world->ops->trespass != NULL)
        script->trespassed |= model->world->ops->trespass(model->world);
    script->trespass = false;
}

const struct script_rule *model_ask_script(struct model *model, enum script_when when, uint64_t which)
{
    static const struct script_rule nothing = {.what = WHAT_IGNORE};
    struct script *script = model->script;
    const struct script_rule *rule = script->vanished ? NULL : script_event(script, when, which);

    trespass(model);
    return script->vanished && when != WHEN_MESSAGE ? &nothing : rule; /* its process still answers */
}

/* ---- registers ---- */

uint64_t model_read(struct model *model, unsigned bar, uint64_t offset, unsigned width)
{
    const struct script_rule *rule = model_event(model, WHEN_READ, offset);

    if (has_vanished(model))
        return UINT64_MAX;
    return rule != NULL ? rule->value : model->class->read(model, bar, offset, width);
}

void model_write(struct model *model, unsigned bar, uint64_t offset, unsigned width, uint64_t value)
{
    const struct script_rule *rule = model_event(model, WHEN_WRITE, offset);

    if (rule != NULL && rule->what == WHAT_IGNORE)
        return;
    model->class->write(model, bar, offset, width, rule != NULL ? rule->value : value);
}

void model_read_config(struct model *model, unsigned offset, void *bytes, unsigned size)
{
    if (has_vanished(model))
        memset(bytes, 0xff, size);
    else
        pci_read(&model->config, offset, bytes, size);
}

void model_write_config(struct model *model, unsigned offset, const void *bytes, unsigned size)
{
    if (!has_vanished(model))
        pci_write(&model->config, offset, bytes, size);
}

/* ---- interrupts ---- */

static bool is_mute(const struct model *model)
{
    return model->script != NULL && model->script->mute;
}

void model_interrupt(struct model *model, unsigned vector)
{
    const struct script_rule *rule = model_event(model, WHEN_INTERRUPT, vector);

    if (is_mute(model) || (rule != NULL && rule->what == WHAT_IGNORE))
        return;
    if (rule != NULL && rule->what == WHAT_VALUE)
        vector = (unsigned)rule->value;
    if (rule != NULL && rule->what == WHAT_TWICE)
        model->world->ops->interrupt(model->world, vector);
    model->world->ops->interrupt(model->world, vector);
}

void model_pin(struct model *model, bool high)
{
    const struct script_rule *rule = high ? model_event(model, WHEN_INTERRUPT, 0) : NULL;

    if (high && (is_mute(model) || (rule != NULL && rule->what == WHAT_IGNORE)))
        return;
    if (rule != NULL && rule->what == WHAT_TWICE) {
        model->world->ops->pin(model->world, true);
        model->world->ops->pin(model->world, false);
    }
    model->world->ops->pin(model->world, high);
}

/* ---- running ---- */

bool model_run_script(struct model *model)
{
    struct script *script = model->script;
    bool any;

    script_time(script, model_now(model));
    trespass(model);
    if (script->vanished)
        return false;
    any = model->class->run(model);
    if (script->storm == 0)
        return any;
    script->storm--;
    for (unsigned vector = 0; vector < model->class->vectors || vector == 0; vector++)
        model->world->ops->interrupt(model->world, vector);
    return true;
}

uint64_t model_due(const struct model *model)
{
    uint64_t due = model->script != NULL ? script_due(model->script) : NEVER;

    return has_vanished(model) ? NEVER : due < model->due ? due : model->due;
}

void model_reset(struct model *model)
{
    if (has_vanished(model))
        return;
    model->class->reset(model);
    pci_reset(&model->config);
}

void model_power_on(struct model *model)
{
    if (model->script != NULL)
        script_replug(model->script);
    model_reset(model);
}

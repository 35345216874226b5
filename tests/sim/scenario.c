/* SPDX-License-Identifier: BSD-2-Clause */
/* See scenario.h. */
#include "scenario.h"

#include <chalk/clock.h>
#include <chalk/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const ops[] = {"read",   "compare", "write", "zeroes", "discard", "flush",
                                  "cancel", "reset",   "drain", "pause",  "warm",    "idle"};
_Static_assert(sizeof ops / sizeof ops[0] == OP_COUNT, "each has a name");
static const char *const hearings[] = {"polls", "interrupts", "adapts"};
_Static_assert(sizeof hearings / sizeof hearings[0] == HEARINGS, "each has a name");

/* ---- drawing ---- */

static void draw_steps(struct scenario *scenario, uint64_t *random)
{
    static const uint8_t often[] = {OP_READ,    OP_READ,  OP_READ,  OP_READ,  OP_READ,   OP_COMPARE,
                                    OP_WRITE,   OP_WRITE, OP_WRITE, OP_WRITE, OP_WRITE,  OP_ZEROES,
                                    OP_DISCARD, OP_FLUSH, OP_DRAIN, OP_PAUSE, OP_CANCEL, OP_WARM};
    bool resets = chalk_random_below(random, 3) == 0;

    scenario->count = 2 + (unsigned)chalk_random_below(random, 24);
    for (unsigned i = 0; i < scenario->count; i++) {
        struct step *step = &scenario->steps[i];

        step->core = (unsigned)chalk_random_below(random, scenario->cores);
        step->op = often[chalk_random_below(random, sizeof often)];
        if (resets && chalk_random_below(random, 12) == 0)
            step->op = OP_RESET;
        if (chalk_random_below(random, 40) == 0)
            step->op = OP_IDLE;
        if (step->op == OP_WARM)
            step->core = 0;
        if (op_has_blocks(step->op)) {
            step->lba = (uint32_t)chalk_random_below(random, SCENARIO_BLOCKS);
            step->count = 1 + (uint32_t)chalk_random_below(random, SCENARIO_BLOCKS - step->lba);
        } else if (step->op == OP_PAUSE) {
            step->lba = (uint32_t)(1u << chalk_random_below(random, 24));
        }
    }
}

static void draw_rule(struct scenario *scenario, const char *words, uint64_t *random)
{
    char text[160], error[256];
    struct script parsed;
    size_t at = (size_t)snprintf(text, sizeof text, "for any\n");

    for (const char *c = words; *c != '\0'; c++) {
        if (*c != '%') {
            text[at++] = *c;
            text[at] = '\0';
            continue;
        }
        switch (*++c) {
        case '1':
            at += (size_t)snprintf(text + at, sizeof text - at, "%u",
                                   1 + (unsigned)chalk_random_below(random, 12));
            break;
        case '4': {
            unsigned first = 1 + (unsigned)chalk_random_below(random, 24);

            at += (size_t)snprintf(text + at, sizeof text - at, "%u-%u", first,
                                   first + (unsigned)chalk_random_below(random, 64));
            break;
        }
        case '2':
            at += (size_t)snprintf(text + at, sizeof text - at, "%uns", 1u << chalk_random_below(random, 28));
            break;
        default:
            at += (size_t)snprintf(text + at, sizeof text - at, "0x%x",
                                   (unsigned)chalk_random_next(random) &
                                       ((1u << chalk_random_below(random, 17)) - 1));
        }
    }
    if (script_parse(&parsed, driver.names, "a drawn rule", text, strlen(text), error, sizeof error) != 0) {
        fprintf(stderr, "%s\n%s\n", text, error);
        abort();
    }
    script_add(&scenario->script, &parsed.rules[0]);
}

static const char *pick(const char *const *words, uint64_t *random)
{
    unsigned count = 0;

    while (words[count] != NULL)
        count++;
    return words[chalk_random_below(random, count)];
}

static void draw_rules(struct scenario *scenario, uint64_t *random)
{
    const char *const *const kinds[][2] = {
        {driver.failures, driver.failures}, {driver.faults, driver.faults}, {driver.lies, driver.faults}};
    unsigned kind = (unsigned)chalk_random_below(random, 4); /* 3: it does nothing wrong */
    unsigned count = kind == 3 ? 0 : 1 + (unsigned)chalk_random_below(random, 3);
    bool mixed =
        chalk_random_below(random, 3) == 0; /* it fails commands besides, and so errors meet errors */

    for (unsigned i = 0; i < count && driver.faults[0] != NULL; i++) {
        const char *const *words = kinds[kind][chalk_random_below(random, 2)];

        if (mixed && chalk_random_below(random, 2) == 0)
            words = driver.failures;
        if (words[0] != NULL)
            draw_rule(scenario, pick(words, random), random);
    }
}

void scenario_draw(struct scenario *scenario, uint64_t number)
{
    static const unsigned paces[] = {4, 20, 60, 200, 1000};
    uint64_t random = number;

    memset(scenario, 0, sizeof *scenario);
    scenario->seed = chalk_random_next(&random);
    scenario->pace = paces[chalk_random_below(&random, sizeof paces / sizeof paces[0])];
    scenario->cores = 1 + (unsigned)chalk_random_below(&random, SIM_CORES);
    scenario->depth = 1 + (unsigned)chalk_random_below(&random, SCENARIO_DEPTH);
    scenario->hearing = (enum hearing)chalk_random_below(&random, HEARINGS);
    scenario->drains = chalk_random_below(&random, 4) != 0;
    scenario->shadow = chalk_random_below(&random, 2) == 0;
    scenario->mixed = chalk_random_below(&random, 3) == 0;
    scenario->tells = chalk_random_below(&random, 2) == 0;
    if (driver.steps)
        draw_steps(scenario, &random);
    draw_rules(scenario, &random);
}

bool scenario_honest(const struct scenario *scenario)
{
    for (unsigned i = 0; i < scenario->script.count; i++) {
        const struct script_rule *rule = &scenario->script.rules[i];

        switch (rule->what) {
        case WHAT_IGNORE:
        case WHAT_LATE:
        case WHAT_VANISH:
        case WHAT_MUTE:
        case WHAT_STORM:
            break;
        case WHAT_TWICE:
            if (rule->when != WHEN_INTERRUPT)
                return false;
            break;
        case WHAT_HABIT:
            break;
        case WHAT_STATUS:
            if (rule->when != WHEN_COMMAND)
                return false;
            break;
        case WHAT_VALUE:
            if (rule->when != WHEN_READ || rule->value != 3)
                return false;
            break;
        default:
            return false;
        }
    }
    return true;
}

/* ---- its text ---- */

void scenario_print(const struct scenario *scenario)
{
    char line[160];

    fprintf(stderr, "for %s\nrun 0x%llx pace %u cores %u depth %u %s %s%s%s%s\n", driver.names->device,
            (unsigned long long)scenario->seed, scenario->pace, scenario->cores, scenario->depth,
            hearings[scenario->hearing], scenario->drains ? "drains" : "leaves",
            scenario->shadow ? " shadow" : "", scenario->mixed ? " mixed" : "",
            scenario->tells ? " tells" : "");
    for (unsigned i = 0; i < scenario->count; i++) {
        const struct step *step = &scenario->steps[i];

        fprintf(stderr, "core %u: %s", step->core, ops[step->op]);
        if (op_has_blocks(step->op))
            fprintf(stderr, " %u %u", step->lba, step->count);
        else if (step->op == OP_PAUSE)
            fprintf(stderr, " %u", step->lba);
        fputc('\n', stderr);
    }
    for (unsigned i = 0; i < scenario->script.count; i++) {
        script_print(&scenario->script, driver.names, i, line, sizeof line);
        fprintf(stderr, "%s\n", line);
    }
}

static const struct scenario *running;

static void explain(void)
{
    scenario_print(running);
}

void scenario_run(const struct scenario *scenario, struct model *model, bool honest,
                  void (*entry)(unsigned core, void *argument))
{
    running = scenario;
    sim_run(&(struct sim_options){.seed = scenario->seed,
                                  .pace = scenario->pace,
                                  .limit_ns = 60 * CHALK_S,
                                  .model = model,
                                  .honest = honest,
                                  .tells = scenario->tells,
                                  .explain = explain},
            entry, NULL);
}

static _Noreturn void wrong(const char *path, const char *line)
{
    fprintf(stderr, "%s: '%.*s' is not understood\n", path, (int)strcspn(line, "\n"), line);
    exit(2);
}

/* One of the words that end the line of the run. */
static bool read_word(struct scenario *scenario, const char *word)
{
    const struct {
        const char *word;
        bool *flag, value;
    } flags[] = {{"drains", &scenario->drains, true},
                 {"leaves", &scenario->drains, false},
                 {"shadow", &scenario->shadow, true},
                 {"mixed", &scenario->mixed, true},
                 {"tells", &scenario->tells, true}};

    for (unsigned i = 0; i < HEARINGS; i++)
        if (strcmp(word, hearings[i]) == 0) {
            scenario->hearing = (enum hearing)i;
            return true;
        }
    for (unsigned i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if (strcmp(word, flags[i].word) == 0) {
            *flags[i].flag = flags[i].value;
            return true;
        }
    return false;
}

static bool read_run(struct scenario *scenario, const char *line)
{
    unsigned long long seed;
    char words[5][16];
    int at = 0, count;

    if (sscanf(line, "run %llx pace %u cores %u depth %u%n", &seed, &scenario->pace, &scenario->cores,
               &scenario->depth, &at) != 4)
        return false;
    scenario->seed = seed;
    count = sscanf(line + at, "%15s %15s %15s %15s %15s", words[0], words[1], words[2], words[3], words[4]);
    for (int i = 0; i < count; i++)
        if (!read_word(scenario, words[i]))
            return false;
    return scenario->pace >= 1 && scenario->pace <= SIM_PACE_MAX && scenario->cores >= 1 &&
           scenario->cores <= SIM_CORES && scenario->depth >= 1 && scenario->depth <= SCENARIO_DEPTH;
}

static bool read_step(struct scenario *scenario, const char *line)
{
    struct step *step = &scenario->steps[scenario->count];
    char op[16];
    int words;

    if (scenario->count == SCENARIO_STEPS)
        return false;
    words = sscanf(line, "core %u: %15s %u %u", &step->core, op, &step->lba, &step->count);
    for (step->op = 0; step->op < OP_COUNT && strcmp(op, ops[step->op]) != 0;)
        step->op++;
    scenario->count++;
    return words >= 2 && step->op < OP_COUNT && step->core < SIM_CORES &&
           (step->op != OP_WARM || step->core == 0) &&
           (op_has_blocks(step->op) ? words == 4 && step->count > 0 && step->lba < SCENARIO_BLOCKS &&
                                          step->count <= SCENARIO_BLOCKS - step->lba
                                    : words == (step->op == OP_PAUSE ? 3 : 2));
}

void scenario_read(struct scenario *scenario, const char *path)
{
    static char script[16384];
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    char line[256], error[256];
    unsigned rules = 0;

    if (file == NULL) {
        perror(path);
        exit(2);
    }
    memset(scenario, 0, sizeof *scenario);
    while (fgets(line, sizeof line, file) != NULL) {
        bool is_run = strncmp(line, "run ", 4) == 0, is_step = strncmp(line, "core ", 5) == 0;

        if ((is_run && !read_run(scenario, line)) || (is_step && !read_step(scenario, line)))
            wrong(path, line);
        if (is_run || is_step)
            continue;
        if (strlen(script) + strlen(line) >= sizeof script)
            wrong(path, line);
        rules += line[0] != '#' && line[0] != '\n' && strncmp(line, "for ", 4) != 0;
        strcat(script, line);
    }
    if (scenario->cores == 0)
        wrong(path, "no line begins with run");
    if (rules != 0 && script_parse(&scenario->script, driver.names, path, script, strlen(script), error,
                                   sizeof error) != 0) {
        fprintf(stderr, "%s\n", error);
        exit(2);
    }
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* See scenario.h. */
#include "scenario.h"

#include <chalk/clock.h>
#include <chalk/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const ops[] = {"read",  "compare", "write", "zeroes", "discard", "flush", "cancel",
                                  "reset", "drain",   "pause", "warm",   "idle",    "fill"};
_Static_assert(sizeof ops / sizeof ops[0] == OP_COUNT, "each has a name");
static const char *const hearings[] = {"polls", "interrupts", "adapts"};
_Static_assert(sizeof hearings / sizeof hearings[0] == HEARINGS, "each has a name");

/* ---- drawing ---- */

/* What a device does wrong: nothing; what is in one of the driver's lists; or, if errors are stacked,
 * failures and faults besides, and the program resets the device in the middle of them. */
struct nature {
    enum { FAILS, PASSES, FAULTY, LIES, CHANGES, FLAWLESS, NATURES = 7 /* two are flawless */ } kind;
    bool stacked;
};

/* Nothing in flight, or all that can be, or one less; and then something happens. */
static void draw_burst(struct scenario *scenario, unsigned resets, uint64_t *random)
{
    static const enum op then[] = {OP_PAUSE, OP_IDLE, OP_IDLE, OP_CANCEL, OP_RESET, OP_RESET, OP_RESET};
    struct step *step = &scenario->steps[scenario->count];
    unsigned core = (unsigned)chalk_random_below(random, scenario->cores);
    unsigned left = (unsigned)chalk_random_below(random, 3);

    step[0] = (struct step){.core = core, .op = left == 2 ? OP_DRAIN : OP_FILL, .lba = left % 2};
    step[1] = (struct step){.core = core, .op = then[chalk_random_below(random, resets != 0 ? 7 : 4)]};
    if (step[1].op == OP_PAUSE)
        step[1].lba = (uint32_t)(1u << chalk_random_below(random, 24));
    scenario->count += 2;
}

/* One in `resets` is a reset; 0: none is. */
static void draw_step(struct scenario *scenario, unsigned resets, uint64_t *random)
{
    static const uint8_t often[] = {OP_READ,    OP_READ,  OP_READ,  OP_READ,  OP_READ,   OP_COMPARE,
                                    OP_WRITE,   OP_WRITE, OP_WRITE, OP_WRITE, OP_WRITE,  OP_ZEROES,
                                    OP_DISCARD, OP_FLUSH, OP_DRAIN, OP_PAUSE, OP_CANCEL, OP_WARM};
    struct step *step = &scenario->steps[scenario->count++];

    step->core = (unsigned)chalk_random_below(random, scenario->cores);
    step->op = often[chalk_random_below(random, sizeof often)];
    if (resets != 0 && chalk_random_below(random, resets) == 0)
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

static void draw_steps(struct scenario *scenario, struct nature nature, uint64_t *random)
{
    unsigned wanted = 2 + (unsigned)chalk_random_below(random, 24);
    bool resets = nature.kind <= PASSES || nature.kind == CHANGES || nature.stacked ||
                  chalk_random_below(random, 3) == 0;
    unsigned each = resets ? 3 + (unsigned)chalk_random_below(random, 12) : 0;

    while (scenario->count < wanted)
        if (chalk_random_below(random, 12) == 0)
            draw_burst(scenario, each, random);
        else
            draw_step(scenario, each, random);
}

/* From 1 to 64, and as often below 2, 4, 8 ... as above. */
static unsigned draw_number(uint64_t *random)
{
    return 1 + (unsigned)chalk_random_below(random, 1u << chalk_random_below(random, 7));
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
            at += (size_t)snprintf(text + at, sizeof text - at, "%u", draw_number(random));
            break;
        case '4': {
            unsigned first = draw_number(random);

            at += (size_t)snprintf(text + at, sizeof text - at, "%u-%u", first,
                                   first + draw_number(random) - 1);
            break;
        }
        case '5': {
            unsigned first = chalk_random_below(random, 2) == 0
                                 ? draw_number(random)
                                 : 1 + (unsigned)chalk_random_below(random, 32);

            at += (size_t)snprintf(text + at, sizeof text - at, "%u-%u", first,
                                   first + (unsigned)chalk_random_below(random, 3));
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

static struct nature draw_nature(uint64_t *random)
{
    struct nature nature = {.kind = (unsigned)chalk_random_below(random, NATURES)};

    if (nature.kind > FLAWLESS)
        nature.kind = FLAWLESS;
    nature.stacked = nature.kind != FLAWLESS && nature.kind != PASSES && chalk_random_below(random, 3) == 0;
    return nature;
}

static void draw_rules(struct scenario *scenario, struct nature nature, uint64_t *random)
{
    const char *const *const kinds[][2] = {{driver.failures, driver.passing},
                                           {driver.passing, driver.passing},
                                           {driver.faults, driver.faults},
                                           {driver.lies, driver.faults},
                                           {driver.changes, driver.changes}};
    unsigned count =
        nature.kind == FLAWLESS ? 0 : 1 + nature.stacked + (unsigned)chalk_random_below(random, 3);

    for (unsigned i = 0; i < count; i++) {
        const char *const *words = kinds[nature.kind][chalk_random_below(random, 2)];

        if (nature.stacked && i != 0)
            words = chalk_random_below(random, 2) == 0 ? driver.failures : driver.faults;
        if (words[0] != NULL)
            draw_rule(scenario, pick(words, random), random);
    }
}

void scenario_draw(struct scenario *scenario, uint64_t number)
{
    static const unsigned paces[] = {4, 20, 60, 200, 1000};
    uint64_t random = number;
    struct nature nature;
    unsigned learns;

    memset(scenario, 0, sizeof *scenario);
    scenario->seed = chalk_random_next(&random);
    scenario->pace = paces[chalk_random_below(&random, sizeof paces / sizeof paces[0])];
    scenario->cores = 1 + (unsigned)chalk_random_below(&random, SIM_CORES);
    scenario->depth = 1 + (unsigned)chalk_random_below(&random, SCENARIO_DEPTH);
    scenario->hearing = (enum hearing)chalk_random_below(&random, HEARINGS);
    scenario->drains = chalk_random_below(&random, 4) != 0;
    scenario->shadow = chalk_random_below(&random, 2) == 0;
    scenario->mixed = chalk_random_below(&random, 3) == 0;
    learns = (unsigned)chalk_random_below(&random, 3);
    scenario->tells = learns == 0;
    scenario->deaf = learns == 1;
    scenario->patient = chalk_random_below(&random, 4) != 0;
    nature = draw_nature(&random);
    if (driver.steps)
        draw_steps(scenario, nature, &random);
    draw_rules(scenario, nature, &random);
}

bool rule_honest(const struct script_rule *rule)
{
    switch (rule->what) {
    case WHAT_IGNORE:
    case WHAT_LATE:
    case WHAT_VANISH:
    case WHAT_MUTE:
    case WHAT_STORM:
    case WHAT_DETACH:
    case WHAT_HABIT:
        return true;
    case WHAT_TWICE:
        return rule->when == WHEN_INTERRUPT;
    case WHAT_STATUS:
        return rule->when == WHEN_COMMAND;
    case WHAT_VALUE:
        return rule->when == WHEN_READ && rule->value == 3;
    default:
        return false;
    }
}

bool scenario_honest(const struct scenario *scenario)
{
    for (unsigned i = 0; i < scenario->script.count; i++)
        if (!rule_honest(&scenario->script.rules[i]))
            return false;
    return true;
}

/* ---- its text ---- */

void scenario_print(const struct scenario *scenario)
{
    char line[160];

    fprintf(stderr, "for %s\nrun 0x%llx pace %u cores %u depth %u %s %s%s%s%s%s%s\n", driver.names->device,
            (unsigned long long)scenario->seed, scenario->pace, scenario->cores, scenario->depth,
            hearings[scenario->hearing], scenario->drains ? "drains" : "leaves",
            scenario->shadow ? " shadow" : "", scenario->mixed ? " mixed" : "",
            scenario->tells ? " tells" : "", scenario->deaf ? " deaf" : "",
            scenario->patient ? " patient" : "");
    for (unsigned i = 0; i < scenario->count; i++) {
        const struct step *step = &scenario->steps[i];

        fprintf(stderr, "core %u: %s", step->core, ops[step->op]);
        if (op_has_blocks(step->op))
            fprintf(stderr, " %u %u", step->lba, step->count);
        else if (op_has_number(step->op))
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
                                  .deaf = scenario->deaf,
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
    } flags[] = {{"drains", &scenario->drains, true},  {"leaves", &scenario->drains, false},
                 {"shadow", &scenario->shadow, true},  {"mixed", &scenario->mixed, true},
                 {"tells", &scenario->tells, true},    {"deaf", &scenario->deaf, true},
                 {"patient", &scenario->patient, true}};

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
    char words[6][16];
    int at = 0, count;

    if (sscanf(line, "run %llx pace %u cores %u depth %u%n", &seed, &scenario->pace, &scenario->cores,
               &scenario->depth, &at) != 4)
        return false;
    scenario->seed = seed;
    count = sscanf(line + at, "%15s %15s %15s %15s %15s %15s", words[0], words[1], words[2], words[3],
                   words[4], words[5]);
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
                                    : words == (op_has_number(step->op) ? 3 : 2));
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

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Loops on several cores, with nothing but messages, timers and tasks between them. A token is on its way in
 * one of these at any time, from core to core; when all tokens have made their steps, the loops are stopped.
 * A wake-up that is lost leaves every core asleep for ever, which ends the run.
 */
#include "scenario.h"

#include "tools/models/edu.h"

#include <chalk/clock.h>
#include <chalk/core.h>
#include <chalk/error.h>
#include <chalk/loop.h>
#include <chalk/memory.h>
#include <stdatomic.h>
#include <string.h>

enum { TOKENS = 4 /* of each core */, STEPS = 12, LONGEST = 1 << 20 /* ns */ };

struct player {
    unsigned core;
    struct chalk_memory *memory;
    struct chalk_loop *loop;
    struct chalk_task *carrier;
    struct token *carried; /* by the task, in this order */
};

struct token {
    struct chalk_message message;
    struct chalk_timer timer;
    struct token *next;
    struct player *at;
    unsigned left;
};

static const struct scenario *scenario;
static struct edu_model model; /* on the bus; nobody opens it */
static struct player players[SIM_CORES];
static struct token tokens[SIM_CORES * TOKENS];
static atomic_uint under_way;

static void require(bool holds, const char *what)
{
    if (!holds)
        sim_fail("%s", what);
}

/* ---- a token's way ---- */

static void send(struct token *token)
{
    struct chalk_message *message = &token->message;

    token->at = &players[sim_below(scenario->cores)];
    require(chalk_loop_send(token->at->loop, &message, 1) == 1, "an inbox with room takes no message");
}

static void fired(struct chalk_timer *timer)
{
    struct token *token = (struct token *)(void *)((char *)timer - offsetof(struct token, timer));

    require(sim_now() >= timer->deadline, "a timer fires before its time");
    send(token);
}

static void finish(void)
{
    if (atomic_fetch_sub(&under_way, 1) != 1)
        return;
    for (unsigned core = 0; core < scenario->cores; core++)
        chalk_loop_stop(players[core].loop);
}

/* On the core where the token has arrived. */
static void arrived(struct chalk_message *message)
{
    struct token *token = (struct token *)(void *)message;
    struct player *player = token->at;

    if (token->left-- == 0) {
        finish();
        return;
    }
    switch (sim_below(3)) {
    case 0:
        send(token);
        break;
    case 1:
        chalk_timer_arm(chalk_loop_wheel(player->loop), &token->timer, chalk_deadline(sim_below(LONGEST)));
        break;
    default:
        token->next = player->carried;
        player->carried = token;
        chalk_task_wake(player->carrier);
    }
}

static void carry(struct chalk_task *self, void *argument)
{
    struct player *player = argument;

    for (;;) {
        struct token *token = player->carried;

        if (token == NULL) {
            chalk_task_wait(self, CHALK_FOREVER);
            continue;
        }
        player->carried = token->next;
        if (sim_below(2) == 0)
            chalk_task_sleep(self, chalk_deadline(sim_below(LONGEST)));
        send(token);
    }
}

/* ---- cores ---- */

static void play(unsigned core, void *argument)
{
    struct player *player = argument;

    require(chalk_task_start(player->loop, NULL, carry, player, &player->carrier) == 0, "no task is started");
    for (unsigned i = 0; i < TOKENS; i++)
        send(&tokens[core * TOKENS + i]);
    require(chalk_loop_run(player->loop) == 0, "a loop ends that was not stopped");
}

static void make(struct player *player, unsigned core)
{
    const struct chalk_memory_options sizes = {.private_size = 128 << 10, .shared_size = CHALK_PAGE};
    struct chalk_loop_options options = {.core = core, .idle = (enum chalk_idle)sim_below(3)};

    player->core = core;
    require(chalk_memory_create(&sizes, &player->memory) == 0, "no memory");
    options.memory = player->memory;
    require(chalk_loop_create(&options, &player->loop) == 0, "no loop is created");
    for (unsigned i = 0; i < TOKENS; i++)
        tokens[core * TOKENS + i] = (struct token){
            .message = {.handle = arrived}, .timer = {.fire = fired}, .left = (unsigned)sim_below(STEPS)};
}

static void end(struct player *player)
{
    struct chalk_memory_usage usage;

    chalk_loop_destroy(player->loop);
    chalk_memory_get_usage(player->memory, &usage);
    require(usage.private_used == 0, "a loop does not give its memory back");
    chalk_memory_destroy(player->memory);
}

static void run(unsigned self, void *argument)
{
    (void)argument;
    for (unsigned core = 0; core < scenario->cores; core++)
        make(&players[core], core);
    under_way = scenario->cores * TOKENS;
    for (unsigned core = 1; core < scenario->cores; core++)
        require(chalk_core_start(core, play, &players[core]) == 0, "no core is started");
    play(self, &players[self]);
    for (unsigned core = 1; core < scenario->cores; core++)
        require(chalk_core_join(self, core, CHALK_FOREVER) == 0, "a core does not end");
    for (unsigned core = 0; core < scenario->cores; core++)
        end(&players[core]);
}

static void run_scenario(const struct scenario *given)
{
    scenario = given;
    memset(players, 0, sizeof players);
    edu_model_init(&model, &sim_world);
    scenario_run(scenario, &model.model, true, run);
}

static const char *const nothing[] = {NULL};

const struct driver driver = {.names = &edu_names,
                              .failures = nothing,
                              .passing = nothing,
                              .faults = nothing,
                              .lies = nothing,
                              .changes = nothing,
                              .run = run_scenario};

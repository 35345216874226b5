/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * messages COUNT: that many between the loops of all cores, which sleep whenever they have nothing to do.
 * Each core sends numbers to the next one, in boxes that come back empty. None may be lost, come twice, or
 * overtake another; and if a wake-up were lost, it would never end.
 */
#include <chalk/clock.h>
#include <chalk/core.h>
#include <chalk/loop.h>
#include <chalk/main.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define CORES_MAX 64
#define BOXES     100 /* a core's: both ways together fit into what a loop holds */
#define BATCH     16

_Static_assert(2 * BOXES <= CHALK_LOOP_MESSAGES, "no box is refused");

struct station;

struct box {
    struct chalk_message message;
    struct station *home;
    uint64_t number;
};

static struct station {
    struct chalk_loop *loop;
    struct station *next;
    struct chalk_poller sender;
    struct box boxes[BOXES];
    struct chalk_message *empty[BOXES];
    unsigned empty_count;
    uint64_t sent, total;
    uint64_t received, wrong; /* of what the station before has sent */
} stations[CORES_MAX];

static unsigned core_count;
static _Atomic(unsigned) finished;

static void send_one(struct station *to, struct chalk_message *message)
{
    if (chalk_loop_send(to->loop, &message, 1) != 1)
        abort();
}

static void come_back(struct chalk_message *message)
{
    struct station *self = ((struct box *)message)->home;

    self->empty[self->empty_count++] = message;
    if (self->empty_count == BOXES && self->sent == self->total && ++finished == core_count)
        for (unsigned core = 0; core < core_count; core++)
            chalk_loop_stop(stations[core].loop);
}

static void arrive(struct chalk_message *message)
{
    struct box *box = (struct box *)message;
    struct station *self = box->home->next;

    self->wrong += box->number != self->received++;
    message->handle = come_back;
    send_one(box->home, message);
}

static unsigned send(struct chalk_poller *poller)
{
    struct station *self = (struct station *)(void *)((char *)poller - offsetof(struct station, sender));
    struct chalk_message *batch[BATCH];
    unsigned count = 0;

    while (count < BATCH && self->empty_count > 0 && self->sent < self->total) {
        struct box *box = (struct box *)self->empty[--self->empty_count];

        box->message.handle = arrive;
        box->number = self->sent++;
        batch[count++] = &box->message;
    }
    if (count != 0 && chalk_loop_send(self->next->loop, batch, count) != (int)count)
        abort();
    return count;
}

static void run(unsigned core, void *argument)
{
    (void)argument;
    chalk_loop_run(stations[core].loop);
}

static bool build(unsigned core, uint64_t total)
{
    struct station *self = &stations[core];
    struct chalk_loop_options options = {.core = core, .idle = CHALK_IDLE_WAIT};

    if (chalk_memory_create(NULL, &options.memory) != 0 || chalk_loop_create(&options, &self->loop) != 0)
        return false;
    self->next = &stations[(core + 1) % core_count];
    self->total = total;
    for (unsigned i = 0; i < BOXES; i++) {
        self->boxes[i].home = self;
        self->empty[self->empty_count++] = &self->boxes[i].message;
    }
    self->sender = (struct chalk_poller){.poll = send, .name = "sender"};
    chalk_loop_add(self->loop, &self->sender);
    return true;
}

int chalk_main(int argc, char *argv[])
{
    uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000, received = 0, wrong = 0;

    core_count = chalk_core_count();
    if (core_count < 2 || core_count > CORES_MAX || count < core_count) {
        printf("messages: needs 2 to %d cores, and a message for each\n", CORES_MAX);
        return 2;
    }
    for (unsigned core = 0; core < core_count; core++)
        if (!build(core, count / core_count))
            return 2;
    for (unsigned core = 1; core < core_count; core++)
        if (chalk_core_start(core, run, NULL) != 0)
            return 2;
    run(0, NULL);
    for (unsigned core = 1; core < core_count; core++)
        if (chalk_core_join(0, core, chalk_deadline(10 * CHALK_S)) != 0)
            return 2;
    for (unsigned core = 0; core < core_count; core++) {
        received += stations[core].received;
        wrong += stations[core].wrong;
    }
    printf("%llu messages between %u cores, %llu of them wrong\n", (unsigned long long)received, core_count,
           (unsigned long long)wrong);
    return wrong != 0 || received != count / core_count * core_count;
}

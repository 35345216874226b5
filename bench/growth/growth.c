/* SPDX-License-Identifier: BSD-2-Clause */
/* What there can be many of, on the platform of Linux: see measure.h. */
#include "measure.h"

#include <chalk/arena.h>
#include <chalk/clock.h>
#include <chalk/error.h>
#include <chalk/hosted.h>
#include <chalk/loop.h>
#include <chalk/pages.h>
#include <hosted/device.h>
#include <hosted/iova.h>
#include <hosted/state.h>
#include <hosted/vfio_user/book.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

/* ---- pages ---- */

static struct chalk_arena *arena;
static struct chalk_dma *pieces;

static void start_pages(void)
{
    const struct chalk_arena_options options = {.size = 2 * total * CHALK_PAGE, .name = "growth"};

    expect(chalk_arena_create(&options, &arena) == 0, "an arena");
    pieces = zeroed(2 * total, sizeof *pieces);
}

static void get_page(unsigned i)
{
    expect(chalk_arena_get(arena, CHALK_PAGE, CHALK_PAGE, &pieces[i]) == 0, "a page");
}

/* Each second page is free, so that two can only be had behind all others. */
static void start_holes(void)
{
    start_pages();
    for (unsigned i = 0; i < 2 * total; i++)
        get_page(i);
    for (unsigned i = 0; i < 2 * total; i++)
        if (i % 2 != 0 || i >= 2 * (total - ROUNDS))
            chalk_arena_put(arena, &pieces[i]);
}

static void get_behind_holes(unsigned i)
{
    if (i >= total - ROUNDS)
        expect(chalk_arena_get(arena, 2 * CHALK_PAGE, CHALK_PAGE, &pieces[i]) == 0, "pages behind holes");
}

static void start_back(void)
{
    start_pages();
    for (unsigned i = 0; i < total; i++)
        get_page(i);
}

static void put_page(unsigned i)
{
    if (i >= total - ROUNDS)
        chalk_arena_put(arena, &pieces[i - (total - ROUNDS)]);
}

/* In no order. */
static void put_any_page(unsigned i)
{
    if (i >= total - ROUNDS)
        chalk_arena_put(arena, &pieces[i * 7919ull % total]);
}

/* ---- claims ---- */

static struct chalk_claim *claims;

static void start_claims(void)
{
    struct chalk_span span;

    expect(chalk_span_grow(total * CHALK_PAGE, 0, 0, UINT64_MAX, &span) == 0, "a span");
    claims = zeroed(total, sizeof *claims);
}

static void claim(unsigned i)
{
    expect(chalk_claim_memory(CHALK_PAGE, 0, UINT64_MAX, "growth", &claims[i]) == 0, "a claim");
}

static void start_release(void)
{
    start_claims();
    for (unsigned i = 0; i < total; i++)
        claim(i);
}

static void release(unsigned i)
{
    if (i >= total - ROUNDS)
        chalk_claim_release(&claims[i - (total - ROUNDS)]);
}

/* A claim in a span of its own: the others are too small. */
static void start_spans(void)
{
    const struct rlimit limit = {total + 64, total + 64};

    expect(setrlimit(RLIMIT_NOFILE, &limit) == 0, "a file for each span");
    claims = zeroed(total, sizeof *claims);
}

/* ---- tasks ---- */

static struct chalk_memory *memory;
static struct chalk_loop *loop;

static void start_tasks(void)
{
    const struct chalk_memory_options sizes = {.private_size = total * 2 * CHALK_PAGE + ((size_t)1 << 20)};

    expect(chalk_memory_create(&sizes, &memory) == 0, "memory for tasks");
    expect(chalk_loop_create(&(struct chalk_loop_options){.memory = memory}, &loop) == 0, "a loop");
}

static void run_nothing(struct chalk_task *self, void *argument)
{
    (void)self, (void)argument;
}

static void start_task(unsigned i)
{
    static const struct chalk_task_options options = {.name = "growth", .stack_size = CHALK_PAGE};

    (void)i;
    expect(chalk_task_start(loop, &options, run_nothing, NULL, NULL) == 0, "a task");
}

/* ---- timers ---- */

static struct chalk_wheel wheel;
static struct chalk_timer *timers;

static void fire_nothing(struct chalk_timer *timer)
{
    (void)timer;
}

static void start_timers(void)
{
    chalk_wheel_start(&wheel, 0);
    timers = zeroed(total, sizeof *timers);
}

static void arm(unsigned i)
{
    timers[i].fire = fire_nothing;
    chalk_timer_arm(&wheel, &timers[i], 1000 + i * 2654435761ull % 0x100000000);
}

static void start_cancel(void)
{
    start_timers();
    for (unsigned i = 0; i < total; i++)
        arm(i);
}

static void cancel(unsigned i)
{
    if (i >= total - ROUNDS)
        chalk_timer_cancel(&wheel, &timers[i]);
}

/* ---- hosted: addresses, mappings, guard pages ---- */

static void take_addresses(unsigned i)
{
    uint64_t iova;

    (void)i;
    expect(hosted_iova_take(CHALK_PAGE, CHALK_PAGE, HOSTED_IOVA_EASY, &iova) == 0, "an address");
}

static void start_nothing(void)
{
}

static struct chalk_domain *domain;
static struct chalk_span mapped;

static int map_nothing(struct chalk_domain *in, const struct mapping *mapping)
{
    (void)in, (void)mapping;
    return 0;
}

static void end_nothing(struct chalk_domain *ended)
{
    (void)ended;
}

/* What the kernel or a device's process does is not measured, but what is done besides. */
static const struct transport no_device = {
    .map = map_nothing, .unmap = map_nothing, .end_domain = end_nothing};

static void start_mappings(void)
{
    static const struct range all = {0, UINT64_MAX};

    expect(chalk_span_grow(total * CHALK_PAGE, 0, 0, UINT64_MAX, &mapped) == 0, "memory to map");
    domain = hosted_domain_new("growth", &no_device);
    expect(domain != NULL && hosted_domain_set_ranges(domain, &all, 1) == 0, "a domain");
}

static void map(unsigned i)
{
    size_t at = i * CHALK_PAGE;

    expect(chalk_dma_map(domain, (char *)mapped.va + at, CHALK_PAGE, mapped.iova + at, CHALK_DEVICE_READS) ==
               0,
           "a mapping");
}

static void start_unmap(void)
{
    start_mappings();
    for (unsigned i = 0; i < total; i++)
        map(i);
}

static void unmap(unsigned i)
{
    if (i >= total - ROUNDS)
        expect(chalk_dma_unmap(domain, mapped.iova + (i - ROUNDS) * CHALK_PAGE, CHALK_PAGE) == 0,
               "unmapping");
}

static void start_guards(void)
{
    expect(chalk_span_grow(2 * total * CHALK_PAGE, 0, 0, UINT64_MAX, &mapped) == 0, "memory to guard");
}

static void guard(unsigned i)
{
    expect(chalk_page_guard((char *)mapped.va + 2 * i * CHALK_PAGE, "growth") == 0, "a guard page");
}

/* ---- hosted: what a device's process is told again ---- */

static struct book book;

static void record_map(unsigned i)
{
    const struct vfio_user_dma_map told = {.address = (uint64_t)i * CHALK_PAGE, .size = CHALK_PAGE};

    expect(book_add_map(&book, &told, -1) == 0, "a record of a mapping");
}

static void start_forget_map(void)
{
    for (unsigned i = 0; i < total; i++)
        record_map(i);
}

static void forget_map(unsigned i)
{
    if (i >= total - ROUNDS)
        book_remove_map(&book, (uint64_t)(i - ROUNDS) * CHALK_PAGE);
}

static void record_irq(unsigned i)
{
    const struct vfio_irq_set set = {.start = i, .count = 1};
    const int fd = 0;

    expect(book_set_irqs(&book, &set, &fd) == 0, "a record of an interrupt");
}

/* Sets again what was set. */
static void start_irq_again(void)
{
    for (unsigned i = 0; i < total; i++)
        record_irq(i);
}

static void record_irq_again(unsigned i)
{
    if (i >= total - ROUNDS)
        record_irq(i - ROUNDS);
}

/* ---- what does grow, so that a measurement that misses it is seen ---- */

static struct control {
    struct control *next;
} * first;

static void walk(unsigned i)
{
    struct control **link = &first;

    (void)i;
    while (*link != NULL)
        link = &(*link)->next;
    *link = zeroed(1, sizeof **link);
}

/* ---- messages: sent to a loop that holds ever more ---- */

static struct chalk_message *messages;

static void handle_nothing(struct chalk_message *message)
{
    (void)message;
}

static void start_messages(void)
{
    expect(total < CHALK_LOOP_MESSAGES, "so many messages");
    start_tasks();
    messages = zeroed(total, sizeof *messages);
}

static void send_message(unsigned i)
{
    struct chalk_message *message = &messages[i];

    message->handle = handle_nothing;
    expect(chalk_loop_send(loop, &message, 1) == 1, "a message");
}

static const struct operation operations[] = {
    {"page", start_pages, get_page},
    {"page-behind-holes", start_holes, get_behind_holes},
    {"page-back", start_back, put_page},
    {"any-page-back", start_back, put_any_page},
    {"claim", start_claims, claim},
    {"claim-back", start_release, release},
    {"span", start_spans, claim},
    {"task", start_tasks, start_task},
    {"message", start_messages, send_message},
    {"timer", start_timers, arm},
    {"timer-back", start_cancel, cancel},
    {"address", start_nothing, take_addresses},
    {"mapping", start_mappings, map},
    {"mapping-back", start_unmap, unmap},
    {"guard", start_guards, guard},
    {"record", start_nothing, record_map},
    {"record-back", start_forget_map, forget_map},
    {"irq", start_nothing, record_irq},
    {"irq-again", start_irq_again, record_irq_again},
    {"control", start_nothing, walk},
};

int main(int argc, char *argv[])
{
    if (chalk_start(&(struct chalk_start_options){.ordinary_pages = true}) != 0)
        return 1;
    return measure(argc, argv, operations, sizeof operations / sizeof operations[0]);
}

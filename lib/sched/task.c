/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tasks. A task that stops running switches straight to the next one that is ready, as long as the turn
 * lasts; only when there is none, or the turn is over, back to the loop. So a yield is one switch, not two.
 *
 *     low   | guard page | canary | stack ... <- | struct chalk_task |   high
 */
#include "fiber.h"
#include "sched.h"

#include <chalk/error.h>
#include <chalk/log.h>
#include <chalk/memory.h>
#include <string.h>

#define DEFAULT_STACK ((size_t)32 << 10)
#define LEAST_STACK   CHALK_PAGE
#define CANARY        0x6b6c6863u /* "chlk" */
#define STACK_OF      "stack of task "

/* What chalk_switch() takes off the stack of a task that runs for the first time. */
struct first_frame {
    uint32_t mxcsr;
    uint16_t x87, unused;
    uint64_t r15, r14, r13, r12, rbx, rbp;
    void (*rip)(void);
    uint64_t return_address[2]; /* of chalk_task_first(), which has none; twice, for alignment */
};

/* ---- switching ---- */

static uint32_t *canary_of(const struct chalk_task *task)
{
    return task->stack;
}

static void __attribute__((noinline, cold, noreturn)) overflowed(struct chalk_task *task)
{
    chalk_log(CHALK_ERROR, "the stack of %s has overflowed: give it more than %zu bytes", task->name,
              (size_t)((char *)task - (char *)task->stack));
    chalk_assert(*canary_of(task) == CANARY);
    __builtin_unreachable();
}

static inline void make_ready(struct chalk_task *task)
{
    struct chalk_loop *loop = task->loop;
    struct chalk_task *last = loop->last_ready;

    task->state = CHALK_TASK_READY;
    if (loop->queueing != NULL) {
        loop->queueing->put(loop->queueing, task);
        return;
    }
    task->next = last != NULL ? last->next : task;
    if (last != NULL)
        last->next = task;
    loop->last_ready = task;
}

/* The one that runs is not ready any more. A policy has let go of it already. */
static inline void forget(struct chalk_task *self)
{
    struct chalk_loop *loop = self->loop;

    if (loop->queueing != NULL)
        return;
    if (loop->last_ready == self)
        loop->last_ready = NULL;
    else
        loop->last_ready->next = self->next;
}

static inline bool turn_is_over(const struct chalk_loop *loop)
{
    return loop->switches == loop->last_switch;
}

/* NULL: there is none. */
static inline struct chalk_task *first_ready(struct chalk_loop *loop)
{
    if (loop->queueing != NULL)
        return loop->queueing->take(loop->queueing);
    return loop->last_ready != NULL ? loop->last_ready->next : NULL;
}

static inline void enter(struct chalk_loop *loop, struct chalk_task *task)
{
    atomic_store_explicit(&loop->running, task, memory_order_release);
}

static inline void check_stack(struct chalk_task *self)
{
    if (__builtin_expect(!self->guarded, 0) && __builtin_expect(*canary_of(self) != CANARY, 0))
        overflowed(self);
}

/*
 * From the task that runs to another one, or to the loop. These return when it is its turn again: the result
 * of its wait. Without sanitizers the switch is the last thing done, so that it returns to the caller of the
 * caller at once; and nothing that is called before returns, so that no register is saved twice.
 */
static inline int switch_to(struct chalk_task *self, struct chalk_task *next, bool for_good)
{
    struct chalk_loop *loop = self->loop;

    loop->switches++;
    if (next == self) /* its stack pointer is that of the last time */
        return self->result;
    enter(loop, next);
    return fiber_switch(&self->fiber, &next->fiber, for_good, &self->stack_pointer, next->stack_pointer,
                        next->result);
}

static inline int switch_to_loop(struct chalk_task *self, bool for_good)
{
    struct chalk_loop *loop = self->loop;

    enter(loop, NULL);
    return fiber_switch(&self->fiber, &loop->fiber, for_good, &self->stack_pointer, loop->stack_pointer, 0);
}

static void trace_run(struct chalk_trace *trace, const struct chalk_task *task)
{
    uint64_t name[2];

    memcpy(name, task->stack_name + sizeof STACK_OF - 1, sizeof name);
    chalk_trace_append(trace, CHALK_TRACE_RUN, task->number, name[0], name[1]);
}

static void __attribute__((noinline, cold))
trace_switch(const struct chalk_task *self, const struct chalk_task *next)
{
    struct chalk_trace *trace = self->loop->trace;

    chalk_trace_append(trace, CHALK_TRACE_PARK, self->number, self->state, 0);
    if (next != NULL)
        trace_run(trace, next);
}

static int __attribute__((noinline)) leave(struct chalk_task *self, bool for_good)
{
    struct chalk_loop *loop = self->loop;
    struct chalk_task *next = turn_is_over(loop) ? NULL : first_ready(loop);

    check_stack(self);
    if (__builtin_expect(loop->trace != NULL, 0))
        trace_switch(self, next);
    return next != NULL ? switch_to(self, next, for_good) : switch_to_loop(self, for_good);
}

void chalk_tasks_run(struct chalk_loop *loop)
{
    struct chalk_task *next = first_ready(loop);

    if (next == NULL)
        return;
    loop->last_switch = loop->switches + TURN_TASKS;
    if (loop->trace != NULL)
        trace_run(loop->trace, next);
    loop->switches++;
    enter(loop, next);
    fiber_switch(&loop->fiber, &next->fiber, false, &loop->stack_pointer, next->stack_pointer, next->result);
}

void chalk_task_main(struct chalk_task *task)
{
    struct chalk_loop *loop = task->loop;

    fiber_enter(&task->fiber);
    task->run(task, task->argument);
    chalk_assert(loop_running(loop) == task);
    forget(task);
    task->state = CHALK_TASK_ENDED;
    loop->counters.tasks--;
    task->next = loop->ended;
    loop->ended = task;
    leave(task, true);
    __builtin_unreachable();
}

/* ---- a task's life ---- */

static void copy_name(struct chalk_task *task, const char *name)
{
    memset(task->stack_name, 0, sizeof task->stack_name);
    chalk_format(task->stack_name, sizeof task->stack_name, STACK_OF "%.32s",
                 name != NULL ? name : "unnamed");
    task->name = task->stack_name + sizeof "stack of " - 1;
}

static struct chalk_task *task_at(char *memory, size_t size)
{
    return (struct chalk_task *)(void *)(memory + size - ((sizeof(struct chalk_task) + 63) & ~(size_t)63));
}

static char *memory_of(const struct chalk_task *task)
{
    return (char *)task->stack - CHALK_PAGE;
}

/*
 * Stacks that tasks have left are kept by their size. The first of each size has its place in the map, which
 * lies at the top of that stack, below the task; the others follow by `next`.
 */
static struct chalk_range *spare_pages(struct chalk_task *task)
{
    return (struct chalk_range *)(void *)task - 1;
}

static struct chalk_task *spare_task(struct chalk_range *pages)
{
    return (struct chalk_task *)(void *)(pages + 1);
}

static void spare_put(struct chalk_loop *loop, struct chalk_task *task)
{
    const uint64_t pages = task->size / CHALK_PAGE;
    struct chalk_range *range = chalk_range_find(&loop->spare, pages, pages);

    task->next = NULL;
    if (range != NULL) {
        struct chalk_task *first = spare_task(range);

        task->next = first->next;
        first->next = task;
        return;
    }
    range = spare_pages(task);
    range->first = range->last = pages;
    chalk_range_add(&loop->spare, range);
}

/* One of `pages` pages, or of any number if that is 0. */
static struct chalk_task *spare_get(struct chalk_loop *loop, uint64_t pages)
{
    struct chalk_range *range = chalk_range_find(&loop->spare, pages, pages != 0 ? pages : UINT64_MAX);
    struct chalk_task *first, *task;

    if (range == NULL)
        return NULL;
    first = spare_task(range);
    task = first->next;
    if (task != NULL) {
        first->next = task->next;
        return task;
    }
    chalk_range_remove(&loop->spare, range);
    return first;
}

/* A stack of that size, which a task has left or new. */
static struct chalk_task *stack_get(struct chalk_loop *loop, size_t size)
{
    struct chalk_task *task = spare_get(loop, size / CHALK_PAGE);
    char *memory;

    if (task != NULL)
        return task;
    memory = chalk_memory_get(loop->memory, size);
    if (memory == NULL)
        return NULL;
    task = task_at(memory, size);
    task->size = size;
    task->stack = memory + CHALK_PAGE;
    task->guarded = chalk_page_guard(memory, task->stack_name) == 0;
    return task;
}

static void stack_put(struct chalk_loop *loop, struct chalk_task *task)
{
    char *memory = memory_of(task);

    if (task->guarded)
        chalk_assert(chalk_page_guard(memory, NULL) == 0);
    chalk_memory_put(loop->memory, memory, task->size);
}

static void timer_fires(struct chalk_timer *timer)
{
    struct chalk_task *task =
        (struct chalk_task *)(void *)((char *)timer - offsetof(struct chalk_task, timer));

    task->result = -ETIMEDOUT;
    make_ready(task);
}

/* The frame that the first switch to the task takes. */
static void *first_frame(struct chalk_task *task)
{
    struct first_frame *frame = (struct first_frame *)(void *)((char *)task - sizeof *frame);

    _Static_assert(sizeof *frame % 16 == 0, "chalk_task_first() may call from an aligned stack");
    memset(frame, 0, sizeof *frame);
    frame->mxcsr = 0x1f80; /* psABI 3.2.1 and figure 3.4: all exceptions masked, round to nearest ... */
    frame->x87 = 0x37f;    /* ... and 64 bits of precision */
    frame->rbx = (uintptr_t)task;
    frame->rip = chalk_task_first;
    return frame;
}

int chalk_task_start(struct chalk_loop *loop, const struct chalk_task_options *options,
                     void (*run)(struct chalk_task *self, void *argument), void *argument,
                     struct chalk_task **handle)
{
    static const struct chalk_task_options defaults;
    struct chalk_task *task;
    size_t size;

    if (options == NULL)
        options = &defaults;
    size = options->stack_size != 0 ? options->stack_size : DEFAULT_STACK;
    if (size < LEAST_STACK)
        return -EINVAL;
    if (size > SIZE_MAX / 2)
        return -ENOMEM;
    size = ((size + CHALK_PAGE - 1) & ~(CHALK_PAGE - 1)) + CHALK_PAGE;
    task = stack_get(loop, size);
    if (task == NULL)
        return -ENOMEM;
    task->rank = options->rank;
    task->loop = loop;
    task->number = ++loop->task_number;
    task->run = run;
    task->argument = argument;
    memset(&task->timer, 0, sizeof task->timer);
    task->timer.fire = timer_fires;
    copy_name(task, options->name);
    *canary_of(task) = CANARY;
    task->stack_pointer = first_frame(task);
    fiber_start(&task->fiber, task->stack, (size_t)((char *)task - (char *)task->stack));
    task->next_task = loop->tasks;
    task->task_link = &loop->tasks;
    if (task->next_task != NULL)
        task->next_task->task_link = &task->next_task;
    loop->tasks = task;
    loop->counters.tasks++;
    make_ready(task);
    if (handle != NULL)
        *handle = task;
    return 0;
}

void chalk_tasks_bury(struct chalk_loop *loop)
{
    struct chalk_task *task;

    while ((task = loop->ended) != NULL) {
        loop->ended = task->next;
        *task->task_link = task->next_task;
        if (task->next_task != NULL)
            task->next_task->task_link = task->task_link;
        fiber_end(&task->fiber);
        spare_put(loop, task);
    }
}

void chalk_tasks_destroy(struct chalk_loop *loop)
{
    struct chalk_task *task;

    chalk_assert(loop_running(loop) == NULL);
    chalk_tasks_bury(loop);
    while ((task = loop->tasks) != NULL) {
        loop->tasks = task->next_task;
        fiber_end(&task->fiber);
        stack_put(loop, task);
    }
    while ((task = spare_get(loop, 0)) != NULL)
        stack_put(loop, task);
}

/* ---- waiting ---- */

static void __attribute__((noinline)) yield_watched(struct chalk_task *self)
{
    if (self->loop->queueing != NULL)
        make_ready(self);
    else
        self->loop->last_ready = self;
    leave(self, false);
}

void chalk_task_yield(struct chalk_task *self)
{
    struct chalk_loop *loop = self->loop;

    chalk_assert(loop_running(loop) == self);
    if (__builtin_expect(loop->watched, 0)) {
        yield_watched(self);
    } else {
        check_stack(self);
        loop->last_ready = self; /* the ring turns on by one */
        if (turn_is_over(loop))
            switch_to_loop(self, false);
        else
            switch_to(self, self->next, false);
    }
}

int chalk_task_wait(struct chalk_task *self, uint64_t deadline)
{
    chalk_assert(loop_running(self->loop) == self);
    forget(self);
    self->state = CHALK_TASK_WAITING;
    self->result = 0;
    if (deadline != CHALK_FOREVER)
        chalk_timer_arm(&self->loop->wheel, &self->timer, deadline);
    return leave(self, false);
}

bool chalk_task_wake(struct chalk_task *task)
{
    if (task->state != CHALK_TASK_WAITING)
        return false;
    chalk_timer_cancel(&task->loop->wheel, &task->timer);
    make_ready(task);
    return true;
}

void chalk_task_sleep(struct chalk_task *self, uint64_t deadline)
{
    while (chalk_task_wait(self, deadline) == 0)
        ;
}

int chalk_task_wait_counter(struct chalk_task *self, const _Atomic(uint32_t) *counter, uint32_t seen,
                            uint64_t deadline)
{
    struct chalk_loop *loop = self->loop;
    struct counter_wait wait = {loop->counter_waits, &loop->counter_waits, counter, seen, self};
    int error = 0;

    if (wait.next != NULL)
        wait.next->link = &wait.next;
    loop->counter_waits = &wait;
    while (atomic_load_explicit(counter, memory_order_acquire) == seen && error == 0)
        error = chalk_task_wait(self, deadline);
    *wait.link = wait.next;
    if (wait.next != NULL)
        wait.next->link = wait.link;
    return atomic_load_explicit(counter, memory_order_acquire) != seen ? 0 : error;
}

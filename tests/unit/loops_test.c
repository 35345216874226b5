/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Loops on threads of the hosted platform: loops_test MESSAGES [overflow]. Built twice: with ThreadSanitizer,
 * and as it ships for more messages and for a stack that overflows, in a process of its own.
 */
#include <chalk/clock.h>
#include <chalk/core.h>
#include <chalk/error.h>
#include <chalk/hosted.h>
#include <chalk/loop.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned tests, failures;

static void result(bool passed, const char *name, enum chalk_idle idle)
{
    static const char *const words[] = {"spinning", "adapting", "waiting"};

    printf("%s %u - %s, %s\n", passed ? "ok" : "not ok", ++tests, name, words[idle]);
    failures += !passed;
}

/* ---- messages ---- */

#define BATCH 16
#define BOXES (16 * BATCH)

/* Numbers go from core 0 to core 1, and the empty boxes come back. */
struct box {
    struct chalk_message message;
    uint64_t number;
};

static struct {
    struct chalk_loop *loops[2];
    struct chalk_poller sender;
    struct box boxes[BOXES];
    struct chalk_message *empty[BOXES];
    unsigned empty_count;
    uint64_t total, sent, received, wrong, sum; /* written by one core each: sent by 0, the rest by 1 */
    struct chalk_task *taker;
    _Atomic(bool) up;
} s;

static void come_back(struct chalk_message *message)
{
    s.empty[s.empty_count++] = message;
    if (s.empty_count == BOXES && s.sent == s.total) {
        chalk_loop_stop(s.loops[1]);
        chalk_loop_stop(s.loops[0]);
    }
}

static void arrive(struct chalk_message *message)
{
    struct box *box = (struct box *)message;

    s.wrong += box->number != s.received;
    s.received++;
    s.sum += box->number;
    chalk_task_wake(s.taker);
    message->handle = come_back;
    while (chalk_loop_send(s.loops[0], &message, 1) != 1)
        chalk_pause();
}

static unsigned send(struct chalk_poller *poller)
{
    struct chalk_message *batch[BATCH];
    unsigned count = 0;
    int taken;

    (void)poller;
    while (count < BATCH && count < s.empty_count && s.sent + count < s.total) {
        struct box *box = (struct box *)s.empty[s.empty_count - 1 - count];

        box->message.handle = arrive;
        box->number = s.sent + count;
        batch[count++] = &box->message;
    }
    taken = count > 0 ? chalk_loop_send(s.loops[1], batch, count) : 0;
    if (taken <= 0)
        return 0;
    s.empty_count -= (unsigned)taken;
    for (unsigned i = 0; i < count - (unsigned)taken; i++) /* not taken, so still ours */
        s.empty[s.empty_count - 1 - i] = batch[(unsigned)taken + i];
    s.sent += (unsigned)taken;
    return (unsigned)taken;
}

/* A task that is woken by messages, so that stacks are switched meanwhile. */
static void take(struct chalk_task *self, void *argument)
{
    (void)argument;
    s.taker = self;
    while (s.received < s.total)
        chalk_task_wait(self, chalk_deadline(CHALK_MS));
}

static struct chalk_loop *make_loop(struct chalk_memory *memory, unsigned core, enum chalk_idle idle)
{
    struct chalk_loop *loop = NULL;

    chalk_assert(chalk_loop_create(&(struct chalk_loop_options){.memory = memory, .core = core, .idle = idle},
                                   &loop) == 0);
    return loop;
}

static void run_receiver(unsigned core, void *argument)
{
    struct chalk_memory *memory;

    chalk_assert(chalk_memory_create(NULL, &memory) == 0);
    s.loops[1] = make_loop(memory, core, *(enum chalk_idle *)argument);
    chalk_assert(chalk_task_start(s.loops[1], NULL, take, NULL, &s.taker) == 0);
    s.up = true;
    chalk_loop_run(s.loops[1]);
    chalk_loop_destroy(s.loops[1]);
    chalk_memory_destroy(memory);
}

static void messages(enum chalk_idle idle, uint64_t total)
{
    struct chalk_memory *memory;

    memset(&s, 0, sizeof s);
    s.total = total;
    for (; s.empty_count < BOXES; s.empty_count++)
        s.empty[s.empty_count] = &s.boxes[s.empty_count].message;
    chalk_assert(chalk_memory_create(NULL, &memory) == 0);
    s.loops[0] = make_loop(memory, 0, idle);
    chalk_assert(chalk_core_start(1, run_receiver, &idle) == 0);
    while (!s.up)
        chalk_pause();
    s.sender = (struct chalk_poller){.poll = send, .name = "sender"};
    chalk_loop_add(s.loops[0], &s.sender);
    result(chalk_loop_run(s.loops[0]) == 0, "the loop ends", idle);
    result(chalk_core_join(0, 1, chalk_deadline(10 * CHALK_S)) == 0, "and so does the other", idle);
    result(s.received == total && s.sum == total * (total - 1) / 2, "no message is lost", idle);
    result(s.wrong == 0, "and all are in order", idle);
    chalk_loop_destroy(s.loops[0]);
    chalk_memory_destroy(memory);
}

/* ---- a message that ends its loop ---- */

static struct {
    _Atomic(struct chalk_loop *) loop; /* NULL: there is none */
    struct chalk_message last;
    enum chalk_idle idle;
    _Atomic(unsigned) rounds, ended;
} e;

static void end_loop(struct chalk_message *message)
{
    (void)message;
    chalk_loop_stop(atomic_load_explicit(&e.loop, memory_order_relaxed));
}

/* A loop for each message, at the same place: the memory of one is that of the next. */
static void run_one_after_the_other(unsigned core, void *argument)
{
    struct chalk_memory *memory;

    (void)argument;
    chalk_assert(chalk_memory_create(NULL, &memory) == 0);
    for (unsigned i = 0; i < e.rounds; i++) {
        struct chalk_loop *loop = make_loop(memory, core, e.idle);

        atomic_store_explicit(&e.loop, loop, memory_order_release);
        chalk_loop_run(loop);
        atomic_store_explicit(&e.loop, NULL, memory_order_relaxed);
        chalk_loop_destroy(loop);
        atomic_fetch_add_explicit(&e.ended, 1, memory_order_release);
    }
    chalk_memory_destroy(memory);
}

/* The sender is told nothing of the end but by the loop that is not there any more: it touched the last one
 * no more after its message could be seen, or ThreadSanitizer says so. */
static void endings(enum chalk_idle idle, unsigned rounds)
{
    struct chalk_message *message = &e.last;
    unsigned sent = 0;

    e.idle = idle;
    e.rounds = rounds;
    e.ended = 0;
    e.last.handle = end_loop;
    chalk_assert(chalk_core_start(1, run_one_after_the_other, NULL) == 0);
    while (sent < rounds) {
        bool over = atomic_load_explicit(&e.ended, memory_order_acquire) == sent; /* the one before is */
        struct chalk_loop *loop = over ? atomic_load_explicit(&e.loop, memory_order_acquire) : NULL;

        if (loop != NULL)
            sent += chalk_loop_send(loop, &message, 1) == 1;
        else
            chalk_pause();
    }
    result(chalk_core_join(0, 1, chalk_deadline(10 * CHALK_S)) == 0 && e.ended == rounds,
           "a loop ends with its message", idle);
}

/* ---- a stack that overflows ---- */

static __attribute__((noinline)) unsigned recurse(unsigned depth)
{
    volatile char frame[512];

    frame[depth % sizeof frame] = 1;
    return depth == ~0u ? 0 : recurse(depth + 1) + (unsigned)frame[0];
}

static void overflow(struct chalk_task *self, void *argument)
{
    (void)self, (void)argument;
    recurse(0);
}

static void overflow_in_a_child(void)
{
    const struct chalk_start_options options = {.handle_signals = true, .ordinary_pages = true};
    struct chalk_memory *memory;
    struct chalk_loop *loop;

    chalk_assert(chalk_start(&options) == 0 && chalk_memory_create(NULL, &memory) == 0);
    loop = make_loop(memory, 0, CHALK_IDLE_WAIT);
    chalk_assert(
        chalk_task_start(loop, &(struct chalk_task_options){.name = "digger"}, overflow, NULL, NULL) == 0);
    chalk_loop_run(loop);
}

static void guard_page(void)
{
    char text[1024] = "";
    int fds[2], status = 0;
    size_t size = 0;
    ssize_t got;
    pid_t child;

    if (pipe(fds) != 0 || (child = fork()) < 0)
        exit(2);
    if (child == 0) {
        dup2(fds[1], 2);
        overflow_in_a_child();
        _exit(0);
    }
    close(fds[1]);
    while (size < sizeof text - 1 && (got = read(fds[0], text + size, sizeof text - 1 - size)) > 0)
        size += (size_t)got;
    waitpid(child, &status, 0);
    result(WIFSIGNALED(status), "a stack that overflows ends the process", CHALK_IDLE_WAIT);
    result(strstr(text, "the guard page of the stack of task digger was touched") != NULL,
           "with a message that names the task", CHALK_IDLE_WAIT);
    if (failures > 0)
        printf("# %s\n", text);
}

int main(int argc, char *argv[])
{
    uint64_t total = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000;

    if (argc > 2)
        guard_page();
    chalk_assert(chalk_start(&(struct chalk_start_options){.ordinary_pages = true}) == 0);
    for (int idle = CHALK_IDLE_SPIN; idle <= CHALK_IDLE_WAIT; idle++)
        messages((enum chalk_idle)idle, total);
    for (int idle = CHALK_IDLE_SPIN; idle <= CHALK_IDLE_WAIT; idle++)
        endings((enum chalk_idle)idle, 1000);
    chalk_stop();
    printf("1..%u\n", tests);
    return failures != 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What scheduling costs: a task that yields to another one and is resumed, a timer that is armed and
 * cancelled, a timer that fires. Beside boost.context and swapcontext, and DPDK's rte_timer, where they are
 * installed. Everything is counted in ticks of the time stamp counter, an operation.
 */
#include <chalk/clock.h>
#include <chalk/hosted.h>
#include <chalk/loop.h>

#include <benchmark/benchmark.h>
#include <cstdlib>
#include <ucontext.h>
#include <vector>

#ifdef HAVE_BOOST_CONTEXT
#include <boost/context/detail/fcontext.hpp>
#endif
#ifdef HAVE_DPDK
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_timer.h>
#endif

static constexpr unsigned batch = 1000;

/* Counts the ticks of `operation`, which does `count` things at once. */
template <class Operation> static void measure(benchmark::State &state, unsigned count, Operation operation)
{
    uint64_t ticks = 0, done = 0;

    for (auto _ : state) {
        uint64_t start = chalk_ticks();

        operation();
        ticks += chalk_ticks() - start;
        done += count;
    }
    state.counters["ticks"] = (double)ticks / (double)done;
}

/* ---- switching: there and back ---- */

static bool ending;

static void yield_for_ever(struct chalk_task *self, void *)
{
    while (!ending)
        chalk_task_yield(self);
}

struct measured {
    benchmark::State *state;
    struct chalk_loop *loop;
};

static void yield_measured(struct chalk_task *self, void *argument)
{
    struct measured *measured = (struct measured *)argument;

    measure(*measured->state, batch, [self] {
        for (unsigned i = 0; i < batch; i++)
            chalk_task_yield(self);
    });
    ending = true;
    chalk_task_yield(self); /* the other one ends first */
    chalk_loop_stop(measured->loop);
}

static void task_yield_and_resume(benchmark::State &state)
{
    struct chalk_memory *memory;
    struct chalk_loop *loop;
    struct measured measured = {&state, nullptr};
    struct chalk_loop_options options = {};
    struct chalk_task_options stack = {};

    if (chalk_memory_create(nullptr, &memory) != 0)
        return;
    options.memory = memory;
    stack.stack_size = 128 << 10;
    ending = false;
    if (chalk_loop_create(&options, &loop) == 0) {
        measured.loop = loop;
        chalk_task_start(loop, &stack, yield_measured, &measured, nullptr);
        chalk_task_start(loop, &stack, yield_for_ever, nullptr, nullptr);
        chalk_loop_run(loop);
        chalk_loop_destroy(loop);
    }
    chalk_memory_destroy(memory);
}
BENCHMARK(task_yield_and_resume);

static ucontext_t here, there;

static void swap_for_ever()
{
    for (;;)
        swapcontext(&there, &here);
}

static void swapcontext_there_and_back(benchmark::State &state)
{
    static char stack[65536];

    getcontext(&there);
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = sizeof stack;
    there.uc_link = nullptr;
    makecontext(&there, swap_for_ever, 0);
    measure(state, batch, [] {
        for (unsigned i = 0; i < batch; i++)
            swapcontext(&here, &there);
    });
}
BENCHMARK(swapcontext_there_and_back);

#ifdef HAVE_BOOST_CONTEXT
static void jump_for_ever(boost::context::detail::transfer_t from)
{
    for (;;)
        from = boost::context::detail::jump_fcontext(from.fctx, nullptr);
}

static void boost_context_there_and_back(benchmark::State &state)
{
    static char stack[65536];
    boost::context::detail::fcontext_t other =
        boost::context::detail::make_fcontext(stack + sizeof stack, sizeof stack, jump_for_ever);

    measure(state, batch, [&other] {
        for (unsigned i = 0; i < batch; i++)
            other = boost::context::detail::jump_fcontext(other, nullptr).fctx;
    });
}
BENCHMARK(boost_context_there_and_back);
#endif

/* ---- timers: a thousand are armed meanwhile ---- */

static uint64_t fired;

/* Spread over a millisecond, in no order. */
static uint64_t distance(unsigned i)
{
    return 1000000 + (uint64_t)(i * 7919 % batch) * 3000;
}

struct wheel {
    struct chalk_wheel wheel;
    struct chalk_timer timers[batch];

    void arm(unsigned i, uint64_t deadline)
    {
        timers[i].fire = [](struct chalk_timer *) { fired++; };
        chalk_timer_arm(&wheel, &timers[i], deadline);
    }
    uint64_t arm_all()
    {
        uint64_t now = chalk_ticks();

        for (unsigned i = 0; i < batch; i++)
            arm(i, now + distance(i));
        return now + distance(0) + 3000 * batch;
    }
};

static void timer_arm_and_cancel(benchmark::State &state)
{
    static struct wheel w;
    struct chalk_timer timer = {};
    uint64_t now;

    chalk_wheel_start(&w.wheel, chalk_ticks());
    w.arm_all();
    now = chalk_ticks();
    measure(state, batch, [&] {
        for (unsigned i = 0; i < batch; i++) {
            chalk_timer_arm(&w.wheel, &timer, now + distance(i));
            chalk_timer_cancel(&w.wheel, &timer);
        }
    });
}
BENCHMARK(timer_arm_and_cancel);

/* One by one, as a loop that polls finds them: each turn is 3000 ticks after the one before. */
static void timer_fires(benchmark::State &state)
{
    static struct wheel w;
    uint64_t ticks = 0;

    chalk_wheel_start(&w.wheel, chalk_ticks());
    fired = 0;
    for (auto _ : state) {
        uint64_t end = w.arm_all();
        uint64_t start = chalk_ticks();

        chalk_wheel_turn(&w.wheel, end);
        ticks += chalk_ticks() - start;
        chalk_wheel_start(&w.wheel, chalk_ticks());
    }
    state.counters["ticks"] = (double)ticks / (double)fired;
}
BENCHMARK(timer_fires);

#ifdef HAVE_DPDK
static struct rte_timer rte_timers[batch + 1];

static void count_fired(struct rte_timer *, void *)
{
    fired++;
}

static void rte_arm_all()
{
    for (unsigned i = 0; i < batch; i++)
        rte_timer_reset(&rte_timers[i], distance(i), SINGLE, rte_lcore_id(), count_fired, nullptr);
}

static void rte_timer_arm_and_cancel(benchmark::State &state)
{
    for (unsigned i = 0; i <= batch; i++)
        rte_timer_init(&rte_timers[i]);
    for (unsigned i = 0; i < batch; i++) /* far off: rte_timer's own clock is the real one */
        rte_timer_reset(&rte_timers[i], rte_get_timer_hz() + distance(i), SINGLE, rte_lcore_id(), count_fired,
                        nullptr);
    measure(state, batch, [] {
        for (unsigned i = 0; i < batch; i++) {
            rte_timer_reset(&rte_timers[batch], rte_get_timer_hz() + distance(i), SINGLE, rte_lcore_id(),
                            count_fired, nullptr);
            rte_timer_stop(&rte_timers[batch]);
        }
    });
    for (unsigned i = 0; i < batch; i++)
        rte_timer_stop(&rte_timers[i]);
}
BENCHMARK(rte_timer_arm_and_cancel);

static void rte_timer_fires(benchmark::State &state)
{
    uint64_t ticks = 0;

    fired = 0;
    for (auto _ : state) {
        uint64_t end, start;

        rte_arm_all();
        end = chalk_ticks() + distance(0) + 3000 * batch;
        while (chalk_ticks() < end)
            chalk_pause();
        start = chalk_ticks();
        rte_timer_manage();
        ticks += chalk_ticks() - start;
    }
    state.counters["ticks"] = (double)ticks / (double)fired;
}
BENCHMARK(rte_timer_fires)->Iterations(100);
#endif

int main(int argc, char **argv)
{
    struct chalk_start_options options = {};

    benchmark::Initialize(&argc, argv);
#ifdef HAVE_DPDK
    const char *eal[] = {"sched", "--no-huge", "--no-pci", "--no-telemetry", "--no-shconf", "-m",
                         "64",    "-l",        "0",        "--log-level",    "*:error"};

    if (rte_eal_init((int)(sizeof eal / sizeof eal[0]), (char **)eal) < 0 || rte_timer_subsystem_init() != 0)
        return EXIT_FAILURE;
#endif
    options.pin = true;
    if (chalk_start(&options) != 0)
        return EXIT_FAILURE;
    benchmark::RunSpecifiedBenchmarks();
    chalk_stop();
    return EXIT_SUCCESS;
}

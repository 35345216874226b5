/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What scheduling costs: a task that yields to another one and is resumed, a timer that is armed and
 * cancelled, a timer that fires. Beside boost.context and swapcontext, and DPDK's rte_timer, where they are
 * installed, in the same loops. Everything is counted in ticks of the time stamp counter, an operation.
 * bench/peers.py makes the comparison of it.
 */
#include <chalk/clock.h>
#include <chalk/hosted.h>
#include <chalk/loop.h>

#include <benchmark/benchmark.h>
#include <cstdlib>
#include <string>
#include <ucontext.h>

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

/* ---- switching: there and back, between two ---- */

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

static void chalk_yields(benchmark::State &state)
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
BENCHMARK(chalk_yields)->Name("yield and resume/chalk");

static ucontext_t here, there;

static void swap_for_ever()
{
    for (;;)
        swapcontext(&there, &here);
}

static void swapcontext_swaps(benchmark::State &state)
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
BENCHMARK(swapcontext_swaps)->Name("yield and resume/swapcontext");

#ifdef HAVE_BOOST_CONTEXT
/* The switch alone: where to is known, and nothing is counted. */
static void jump_for_ever(boost::context::detail::transfer_t from)
{
    for (;;)
        from = boost::context::detail::jump_fcontext(from.fctx, nullptr);
}

static void boost_jumps(benchmark::State &state)
{
    static char stack[65536];
    boost::context::detail::fcontext_t other =
        boost::context::detail::make_fcontext(stack + sizeof stack, sizeof stack, jump_for_ever);

    measure(state, batch, [&other] {
        for (unsigned i = 0; i < batch; i++)
            other = boost::context::detail::jump_fcontext(other, nullptr).fctx;
    });
}
BENCHMARK(boost_jumps)->Name("yield and resume/boost.context, a bare jump");

/* The least that can be called tasks: whose turn it is says a list of those that are ready. */
struct fiber {
    boost::context::detail::fcontext_t context;
    struct fiber *next;
};

static struct fiber *first, **last, *running;

[[gnu::always_inline]] static inline void yield()
{
    struct fiber *self = running;
    boost::context::detail::transfer_t from;

    self->next = nullptr;
    *last = self;
    last = &self->next;
    running = first;
    first = running->next;
    if (first == nullptr)
        last = &first;
    from = boost::context::detail::jump_fcontext(running->context, self);
    ((struct fiber *)from.data)->context = from.fctx;
}

static void yield_with_boost(boost::context::detail::transfer_t from)
{
    ((struct fiber *)from.data)->context = from.fctx;
    for (;;)
        yield();
}

static void boost_yields(benchmark::State &state)
{
    static char stack[65536];
    struct fiber fibers[2] = {};

    fibers[1].context =
        boost::context::detail::make_fcontext(stack + sizeof stack, sizeof stack, yield_with_boost);
    running = &fibers[0];
    first = &fibers[1];
    last = &fibers[1].next;
    measure(state, batch, [] {
        for (unsigned i = 0; i < batch; i++)
            yield();
    });
}
BENCHMARK(boost_yields)->Name("yield and resume/boost.context, a ready list");
#endif

/* ---- timers: a thousand, due within three million ticks, in no order ---- */

static uint64_t fired;

static uint64_t distance(unsigned i)
{
    return 1000000 + (uint64_t)(i * 7919 % batch) * 3000;
}

struct chalk_timers {
    static struct chalk_wheel wheel;
    static struct chalk_timer timers[batch + 1];

    static void start()
    {
        chalk_wheel_start(&wheel, chalk_ticks());
    }
    static void arm(unsigned i, uint64_t ticks)
    {
        timers[i].fire = [](struct chalk_timer *) { fired++; };
        chalk_timer_arm(&wheel, &timers[i], chalk_ticks() + ticks);
    }
    static void cancel(unsigned i)
    {
        chalk_timer_cancel(&wheel, &timers[i]);
    }
    static void turn()
    {
        chalk_wheel_turn(&wheel, chalk_ticks());
    }
};
struct chalk_wheel chalk_timers::wheel;
struct chalk_timer chalk_timers::timers[batch + 1];

#ifdef HAVE_DPDK
struct dpdk_timers {
    static struct rte_timer timers[batch + 1];

    static void start()
    {
        for (struct rte_timer &timer : timers)
            rte_timer_init(&timer);
    }
    static void arm(unsigned i, uint64_t ticks)
    {
        rte_timer_reset(
            &timers[i], ticks, SINGLE, rte_lcore_id(), [](struct rte_timer *, void *) { fired++; }, nullptr);
    }
    static void cancel(unsigned i)
    {
        rte_timer_stop(&timers[i]);
    }
    static void turn()
    {
        rte_timer_manage();
    }
};
struct rte_timer dpdk_timers::timers[batch + 1];
#endif

/* Beside the thousand, which are far off. */
template <class Timers> static void arm_and_cancel(benchmark::State &state)
{
    static constexpr uint64_t far_off = 10ull << 30;

    Timers::start();
    for (unsigned i = 0; i < batch; i++)
        Timers::arm(i, far_off + distance(i));
    measure(state, batch, [] {
        for (unsigned i = 0; i < batch; i++) {
            Timers::arm(batch, far_off + distance(i));
            Timers::cancel(batch);
        }
    });
    for (unsigned i = 0; i < batch; i++)
        Timers::cancel(i);
}

/* All by one turn, which is late: the turn alone, or with the arming before it. */
template <class Timers, bool with_arming> static void fire_at_once(benchmark::State &state)
{
    uint64_t ticks = 0;

    Timers::start();
    fired = 0;
    for (auto _ : state) {
        uint64_t start = chalk_ticks(), end;

        for (unsigned i = 0; i < batch; i++)
            Timers::arm(i, distance(i));
        if (with_arming)
            ticks += chalk_ticks() - start;
        end = chalk_ticks() + distance(0) + 3000 * batch;
        while ((start = chalk_ticks()) < end)
            chalk_pause();
        Timers::turn();
        ticks += chalk_ticks() - start;
    }
    state.counters["ticks"] = (double)ticks / (double)fired;
}

/* As a loop that polls finds them; turns in which nothing is due are not counted. */
template <class Timers> static void fire_one_by_one(benchmark::State &state)
{
    uint64_t ticks = 0;

    Timers::start();
    fired = 0;
    for (auto _ : state) {
        uint64_t end = fired + batch;

        for (unsigned i = 0; i < batch; i++)
            Timers::arm(i, distance(i));
        while (fired < end) {
            uint64_t before = fired, start = chalk_ticks();

            Timers::turn();
            if (fired != before)
                ticks += chalk_ticks() - start;
        }
    }
    state.counters["ticks"] = (double)ticks / (double)fired;
}

template <class Timers> static void add_timers(const std::string &whose)
{
    benchmark::RegisterBenchmark(("timer, arm and cancel/" + whose).c_str(), arm_and_cancel<Timers>);
    benchmark::RegisterBenchmark(("timer fires, a thousand a turn/" + whose).c_str(),
                                 fire_at_once<Timers, false>)
        ->Iterations(20);
    benchmark::RegisterBenchmark(("timer, armed and fired/" + whose).c_str(), fire_at_once<Timers, true>)
        ->Iterations(20);
    benchmark::RegisterBenchmark(("timer fires, one a turn/" + whose).c_str(), fire_one_by_one<Timers>)
        ->Iterations(20);
}

int main(int argc, char **argv)
{
    struct chalk_start_options options = {};

    benchmark::Initialize(&argc, argv);
#ifdef HAVE_DPDK
    const char *eal[] = {"sched", "--no-huge", "--no-pci", "--no-telemetry", "--no-shconf", "-m",
                         "64",    "-l",        "0",        "--log-level",    "*:error"};

    if (rte_eal_init((int)(sizeof eal / sizeof eal[0]), (char **)eal) < 0 || rte_timer_subsystem_init() != 0)
        return EXIT_FAILURE;
    add_timers<dpdk_timers>("rte_timer");
#endif
    add_timers<chalk_timers>("chalk");
    options.pin = true;
    if (chalk_start(&options) != 0)
        return EXIT_FAILURE;
    benchmark::RunSpecifiedBenchmarks();
    chalk_stop();
    return EXIT_SUCCESS;
}

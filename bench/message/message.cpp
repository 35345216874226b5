/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a message to another core and back costs: between two of Chalk's loops that spin, between two threads
 * that wait on eventfds, and between two that poll DPDK's rings, where those are installed. Counted in ticks
 * of the time stamp counter, a round trip.
 */
#include <chalk/clock.h>
#include <chalk/core.h>
#include <chalk/hosted.h>
#include <chalk/loop.h>
#include <chalk/ring.h>

#include <atomic>
#include <benchmark/benchmark.h>
#include <cstdlib>
#include <string>
#include <sys/eventfd.h>
#include <unistd.h>

#ifdef HAVE_DPDK
#include <rte_ring.h>
#endif

/* In a run: few enough to often fit between two interruptions. */
static constexpr unsigned trips = 500;

/* ---- ways to another core: begin() on core 0, serve() on core 1 until end(), travel() on core 0 ---- */

/* Two messages, each of which stays its sender's: the question is sent there, the answer back. */
struct two_loops {
    struct question {
        struct chalk_message message;
        two_loops *way;
    };
    alignas(64) question there, back;
    struct chalk_memory *memories[2] = {};
    struct chalk_loop *loops[2] = {};
    alignas(CHALK_RING_LINE) unsigned left; /* written by core 0, while core 1 reads what is before */

    static void send(struct chalk_loop *loop, question &question)
    {
        struct chalk_message *message = &question.message;

        while (chalk_loop_send(loop, &message, 1) != 1)
            chalk_pause();
    }
    static void answer(struct chalk_message *message)
    {
        two_loops *way = ((question *)message)->way;

        send(way->loops[0], way->back);
    }
    static void ask_again(struct chalk_message *message)
    {
        two_loops *way = ((question *)message)->way;

        if (--way->left == 0)
            chalk_loop_stop(way->loops[0]);
        else
            send(way->loops[1], way->there);
    }
    bool begin()
    {
        there = {{answer}, this};
        back = {{ask_again}, this};
        for (unsigned core = 0; core < 2; core++) {
            struct chalk_loop_options options = {};

            if (chalk_memory_create(nullptr, &memories[core]) != 0)
                return false;
            options.memory = memories[core];
            options.core = core;
            options.idle = CHALK_IDLE_SPIN;
            if (chalk_loop_create(&options, &loops[core]) != 0)
                return false;
        }
        return true;
    }
    void serve()
    {
        chalk_loop_run(loops[1]);
    }
    void travel()
    {
        left = trips;
        send(loops[1], there);
        chalk_loop_run(loops[0]);
    }
    void end()
    {
        chalk_loop_stop(loops[1]);
    }
    ~two_loops()
    {
        for (unsigned core = 0; core < 2; core++) {
            if (loops[core])
                chalk_loop_destroy(loops[core]);
            if (memories[core])
                chalk_memory_destroy(memories[core]);
        }
    }
};

struct two_eventfds {
    int there = eventfd(0, EFD_CLOEXEC), back = eventfd(0, EFD_CLOEXEC);
    std::atomic<bool> ended{false};

    static bool give(int fd)
    {
        const uint64_t one = 1;

        return write(fd, &one, sizeof one) == (ssize_t)sizeof one;
    }
    static bool take(int fd)
    {
        uint64_t count;

        return read(fd, &count, sizeof count) == (ssize_t)sizeof count;
    }
    bool begin()
    {
        return there >= 0 && back >= 0;
    }
    void serve()
    {
        while (take(there) && !ended && give(back))
            ;
    }
    void travel()
    {
        for (unsigned i = 0; i < trips; i++)
            if (!give(there) || !take(back))
                abort();
    }
    void end()
    {
        ended = true;
        give(there);
    }
    ~two_eventfds()
    {
        close(there);
        close(back);
    }
};

#ifdef HAVE_DPDK
/* One producer, one consumer: the fastest that it has. Its environment is not needed for rings in memory of
 * one's own. */
struct two_rte_rings {
    static constexpr unsigned size = CHALK_LOOP_MESSAGES;
    struct ring {
        alignas(128) struct rte_ring ring;
        void *slots[size]; /* directly behind it: rte_ring_get_memsize() */
    } there, back;
    std::atomic<bool> ended{false};

    static bool start(ring &ring)
    {
        return rte_ring_get_memsize(size) <= (ssize_t)sizeof ring &&
               rte_ring_init(&ring.ring, "bench", size, RING_F_SP_ENQ | RING_F_SC_DEQ) == 0;
    }
    static void give(ring &ring, void *item)
    {
        while (rte_ring_sp_enqueue(&ring.ring, item) != 0)
            chalk_pause();
    }
    bool begin()
    {
        return start(there) && start(back);
    }
    void serve()
    {
        void *item;

        while (!ended.load(std::memory_order_relaxed)) {
            if (rte_ring_sc_dequeue(&there.ring, &item) == 0)
                give(back, item);
            else
                chalk_pause();
        }
    }
    void travel()
    {
        void *item = this;

        for (unsigned i = 0; i < trips; i++) {
            give(there, item);
            while (rte_ring_sc_dequeue(&back.ring, &item) != 0)
                chalk_pause();
        }
    }
    void end()
    {
        ended = true;
    }
};
#endif

/* ---- the measurement ---- */

template <class Way> static void serve(unsigned, void *way)
{
    ((Way *)way)->serve();
}

template <class Way> static void there_and_back(benchmark::State &state)
{
    Way way;
    uint64_t ticks = 0;

    if (!way.begin() || chalk_core_start(1, serve<Way>, &way) != 0) {
        state.SkipWithError("needs two processors, and memory");
        return;
    }
    way.travel(); /* the other core may only now come to run */
    for (auto _ : state) {
        const uint64_t start = chalk_ticks();

        way.travel();
        ticks += chalk_ticks() - start;
    }
    state.counters["ticks"] = (double)ticks / ((double)state.iterations() * trips);
    way.end();
    if (chalk_core_join(0, 1, chalk_deadline(10 * CHALK_S)) != 0)
        abort();
}

template <class Way> static void add(const std::string &whose)
{
    benchmark::RegisterBenchmark(("message, there and back/" + whose).c_str(), there_and_back<Way>)
        ->Iterations(1);
}

int main(int argc, char *argv[])
{
    chalk_start_options options = {};

    options.pin = true;
    options.ordinary_pages = true;
    if (chalk_start(&options) != 0)
        return EXIT_FAILURE;
    benchmark::AddCustomContext("ticks_per_second", std::to_string(chalk_clock_info()->hertz));
    add<two_loops>("chalk");
    add<two_eventfds>("eventfd");
#ifdef HAVE_DPDK
    add<two_rte_rings>("rte_ring");
#endif
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv))
        return EXIT_FAILURE;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    chalk_stop();
    return EXIT_SUCCESS;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Embedding, on Linux only: for programs with a main() of their own, plugins and language bindings.
 *
 * A program made of chalk_main() needs nothing of this: the main() in libchalk-hosted.a does it, with every
 * option on. Embedded, every option is off: no signal handler, no pinning, no thread.
 */
#ifndef CHALK_HOSTED_H
#define CHALK_HOSTED_H

#include <chalk/platform.h>
#include <chalk/version.h>

#ifdef __cplusplus
extern "C" {
#endif

struct chalk_start_options {
    bool
        handle_signals; /* SIGINT and SIGTERM request an exit (the second one ends at once); a crash (SIGSEGV,
                           SIGBUS, SIGILL, SIGFPE, SIGABRT) shows registers and callers before it ends the
                           process; earlier handlers are chained, and of a crash it is theirs to tell */
    bool handle_removal; /* a device that Linux wants back, or whose registers are gone (SIGBUS; earlier
                            handlers are chained), reads as all ones, as an unplugged one does, and does no
                            DMA: its driver ends, and Linux goes on when it is closed. A thread a device
                            listens. Else Linux waits until the program closes it for another reason */
    bool pin;            /* the calling thread is pinned to a processor, and so are started cores */
    bool ordinary_pages; /* never ask for hugepages */
    bool no_uring;       /* wait with ppoll */
    const char *cores; /* the processors that become cores, such as "2-5,8", ascending, which are then pinned;
                          NULL: all that Linux gives the process, which isolated ones (isolcpus=) are not part
                          of */
    unsigned threads;  /* that can be cores at once, if that is more than there are processors for: see
                          chalk_core_adopt(); at most 65536 */
    const char *bus; /* the devices that chalk_bus_next() shows, such as "vfio-user:/run/a,vfio-user:/run/b";
                        NULL: those of the machine. It stays valid until chalk_stop() */
    const char *patience;  /* seconds that the process of a device may take for an answer while its socket is
                              open, and those of single devices, such as "60,vfio-user:/run/slow=600";
                              NULL: 60. A reset has its caller's deadline. It stays valid until chalk_stop() */
    const char *reconnect; /* such a list: seconds that the process of a device which has ended may take to
                              come back, at the same path. Its device is then as after a reset, and its driver
                              recovers it. NULL: it is gone at once */
};

/*
 * Brings the platform up; the calling thread becomes core 0. `options` may be NULL. After chalk_stop() it may
 * be called again. The environment variable CHALK_LOG sets the level of messages (<chalk/log.h>). Errors:
 * -EBUSY (already up), -ENOMEM, -EINVAL (not a list of processors that it may use, or not one of seconds; too
 * many threads).
 */
int chalk_start(const struct chalk_start_options *options);

/*
 * Takes it down, on the thread that started it: every device was closed and every chalk_memory destroyed, and
 * memory goes back to Linux. Other cores have a second to end; while one still runs, the platform stays up
 * with all that it has, and says so.
 */
void chalk_stop(void);

/*
 * Makes a mapping of the program's own a span: `size` bytes at `va` of a memfd, hugetlbfs, or a file. Devices
 * can be let into it like into any other, at iovas at or below `max_address`; but only who names it gets it,
 * by chalk_claim_range() or as an arena there (<chalk/arena.h>), and what it holds is kept. `name` is copied,
 * and cut to 23 characters.
 *
 * The mapping stays the program's. It stays mapped until it is forgotten, is shared (else a child of fork()
 * takes pages away from under the device), and is readable and writable if a device is to write. Linux lets
 * no device write to a file of a disk's file system, only to memfds, tmpfs and hugetlbfs; chalk_dma_map()
 * says so then. Pages count as locked memory while they are mapped for devices.
 *
 * Errors, each with a message: -EINVAL (not whole pages of what it is mapped in, or not mapped), -EEXIST
 * (some of it is in a span), -ERANGE (no iova is free), -ENOMEM.
 */
int chalk_span_adopt(void *va, size_t size, uint64_t max_address, const char *name, struct chalk_span *span);

/* Ends that, of the span at `va`. Errors: -ENOENT (no such span), -EBUSY (it is claimed, or mapped for a
 * device; the message says by or for whom). */
int chalk_span_forget(void *va);

/*
 * Makes the calling thread a core, and returns its number; chalk_core_leave() from that thread ends it,
 * before the thread ends. There are as many cores as processors that the process may use (or that were named
 * in `cores`), and core 0 is one of them. A pool of more threads than that asks chalk_start() for them: cores
 * beyond the processors have none of their own, are never pinned, and chalk_core_get_info() knows nothing of
 * their place. Each core that runs has a descriptor or two. Errors: -ENOSPC (all cores run), -EBUSY
 * (the thread is a core already; logged), -EMFILE, -ENFILE, -ENOMEM.
 */
int chalk_core_adopt(void);
void chalk_core_leave(unsigned core);

#ifdef __cplusplus
}
#endif
#endif

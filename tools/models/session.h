/* SPDX-License-Identifier: BSD-2-Clause */
/* What a server's parts share: server.c has the socket and the time, commands.c the client's commands,
 * memory.c the memory that it has lent. */
#ifndef MODEL_SESSION_H
#define MODEL_SESSION_H

#include "server.h"

#include <signal.h>

#include "hosted/vfio_user/message.h"

#include <chalk/range.h>

#define SERVER_VECTORS 2048

struct lent {
    struct chalk_range range; /* of the client's addresses; first, so that one is found by the other */
    uint64_t address, size;
    uint32_t flags;
    char *va;     /* NULL: only by messages */
    char *mapped; /* what of its file is mapped: whole pages of it, which may be large */
    size_t mapped_size;
    int fd; /* its file, as long as a script may want to shrink it; -1 */
};

/* A command of the client's that came while an answer was awaited. */
struct waiting {
    struct waiting *next;
    struct vfio_user_header header;
    struct descriptors descriptors;
    char body[];
};

struct server {
    struct world world;
    struct server_options options;
    struct model *model;
    int listener;

    /* Of the client: */
    int client; /* -1: there is none */
    int twin;   /* our end; -1: our commands go the same way */
    bool agreed;
    uint64_t agree_deadline;
    int broken;                   /* why the connection was closed in the middle of a command; an error */
    volatile sig_atomic_t robbed; /* it has taken away memory that was in use */
    uint32_t client_data_max;
    uint16_t id; /* of our last command */
    struct waiting *waiting;
    size_t waiting_size; /* bytes, of all of them */
    struct chalk_ranges lent;
    unsigned lent_count;
    const struct lent *lent_last; /* that was reached; NULL: none since the last change */
    int vectors[SERVER_VECTORS];  /* eventfds of the message-signalled interrupts, or of the pin */
    bool pin_high, pin_masked;

    int visitor; /* another client, which is told that we are busy; -1 */
    uint64_t visitor_deadline;

    /* Of eventfds.c: */
    unsigned long signals; /* Linux's aio_context_t */
    unsigned signalled;
    int nothing; /* a file to read nothing from */

    int shared[MODEL_BARS]; /* files of shared registers; -1 */
};

/* The most that is behind a client's header. */
#define BODY_MAX (sizeof(struct vfio_user_access) + VFIO_USER_DATA_MAX)

/* commands.c */

/* Receives one command and serves it. An error ends the connection. */
int commands_serve(struct server *server);
/* Those that came while an answer was awaited. */
int commands_serve_waiting(struct server *server);
void commands_forget(struct server *server);
/* Sends the interrupt that the pin's level calls for. */
void commands_pin(struct server *server);

/* hostile.c: what a script has it do. */

/* Answers as the rule says. The body is that of the right answer. */
int hostile_answer(struct server *server, const struct script_rule *rule, struct vfio_user_header *header,
                   struct iovec body, const int *fd);
/* Does what is to be done besides. An error ends the connection. */
int hostile_deeds(struct server *server);

/* memory.c */

extern const struct world_ops server_world_ops;

/* Errors: an errno value for the client. Takes `fd`, which may be -1. */
int memory_lend(struct server *server, const struct vfio_user_dma_map *map, int fd);
/* Returns all that was lent inside of the range, if anything; *size becomes its bytes. EINVAL, and nothing is
 * returned, if something lies across an end of the range. */
int memory_return(struct server *server, uint64_t address, uint64_t *size);
void memory_return_all(struct server *server);
/* Takes all bytes from the files of what was lent. Whether some of them could be. */
bool memory_shrink(struct server *server);
/* The piece that is mapped at that address, or NULL. */
const struct lent *memory_at(const struct server *server, const void *address);

/* eventfds.c: interrupts. Nothing here waits, whatever the client does with its descriptors. */

/* Errors, logged: as io_setup(2). */
int eventfds_open(struct server *server);
void eventfds_close(struct server *server);
void eventfds_signal(struct server *server, int fd);
bool eventfds_is_one(int fd);

/* faults.c: from faults_open() on, memory that the client takes away reads as zeroes, and `robbed` says so.
 */
void faults_open(struct server *server);
void faults_close(void);

/* visitors.c */

/* Looks for another client, and tells it that we are busy. */
void visitors_look(struct server *server);
/* The next to be served, or -1. */
int visitors_next(struct server *server);

#endif

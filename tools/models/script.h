/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a hostile device does, and when: rules, each of which names an event by its number and says what
 * happens instead of the right thing. A model that has a script (model.h) asks it at each event; the rules
 * come from a text (docs/models.md has its form), or from a program that makes them one by one.
 *
 * Nothing here allocates, knows a clock or calls an operating system. The same script and the same events
 * give the same faults.
 */
#ifndef MODEL_SCRIPT_H
#define MODEL_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SCRIPT_RULES = 64 };

/* ---- when ---- */

enum script_when {
    WHEN_COMMAND,    /* it has taken a command */
    WHEN_COMPLETION, /* it is about to say that one is done */
    WHEN_READ,       /* of a register */
    WHEN_WRITE,
    WHEN_INTERRUPT, /* it is about to interrupt */
    WHEN_MESSAGE,   /* it is about to answer a message of vfio-user */
    WHEN_TIME,      /* so long after the first event */
    WHEN_ALWAYS,    /* no event: what the device is like */
    WHEN_COUNT,
};

/* ---- what ---- */

enum script_what {
    /* Instead of the event, where it happens: */
    WHAT_IGNORE,      /* it does not happen */
    WHAT_LATE,        /* nanoseconds later */
    WHAT_TWICE,       /* a second time, too */
    WHAT_VALUE,       /* with this value: of a register, a vector */
    WHAT_ID,          /* with this identifier */
    WHAT_STATUS,      /* with this status, or error */
    WHAT_QUEUE,       /* completion: of this submission queue */
    WHAT_HEAD,        /* completion: with this head of the submission queue */
    WHAT_STALE,       /* completion: with the phase of the round before */
    WHAT_GARBAGE,     /* command, message: random bytes for data */
    WHAT_FILL,        /* all its bytes this one */
    WHAT_PUT,         /* at this offset of the data, this number ... */
    WHAT_SHORT,       /* so many bytes of data only */
    WHAT_SIZE,        /* message: whose header says that it has so many bytes */
    WHAT_DESCRIPTORS, /* message: with so many descriptors that nobody asked for */
    /* Beside the event, whichever it is: */
    WHAT_VANISH,   /* it is gone: registers read as all ones, and nothing else happens */
    WHAT_MUTE,     /* it interrupts no more */
    WHAT_STORM,    /* so many interrupts of each vector */
    WHAT_TRESPASS, /* it reads and writes memory that it was not lent */
    WHAT_TRUNCATE, /* the file of its shared registers has no bytes any more */
    WHAT_SHRINK,   /* nor have those of the memory that it was lent */
    WHAT_CLOSE,    /* it ends the connection */
    WHAT_RESHAPE,  /* another controller gives the namespace of this number blocks of another size */
    WHAT_DETACH,   /* another controller detaches the namespace of this number from this one */
    /* Always: one of the habits that a device can have. */
    WHAT_HABIT,
    WHAT_COUNT,
};

struct script_rule {
    enum script_when when;
    enum script_what what;
    uint64_t which, mask; /* of those events: opcode, offset; mask 0: all. Of time: nanoseconds */
    uint64_t first, last; /* the how-manieth of those, from 1 */
    uint64_t value;       /* of `what` */
    uint64_t offset;      /* WHAT_PUT: of so many bytes */
    unsigned width;
    /* Its own: */
    uint64_t seen;
};

/* What a device calls its events, and what it can be made to do at its commands and completions. */
struct script_name {
    enum script_when when;
    const char *name;
    uint64_t which, mask;
};

struct script_names {
    const char *device;
    const struct script_name *names;
    size_t count;
    uint32_t commands, completions; /* of 1 << WHAT_... */
    /* Bits of `which` that are a command's opcode: NAME-N, such as admin-0x80, is that opcode of those that
     * NAME stands for, if NAME leaves these bits open. 0: commands have names only. */
    uint64_t opcodes;
    /* Ways of some real devices, by name; for them `value` of a rule is an index of this. NULL after the
     * last; NULL: there are none. */
    const char *const *habits;
    bool reshapes; /* it has namespaces */
};

struct script {
    struct script_rule rules[SCRIPT_RULES];
    unsigned count;
    /* What has come of it: */
    bool vanished, mute;
    bool trespass, trespassed;    /* it is to; it was let */
    bool close, truncate, shrink; /* for whoever runs the model to do */
    uint64_t storm;               /* interrupts of each vector that are left */
    uint64_t reshape, detach;     /* namespace, for the model to do; 0: none */
    uint64_t begun, random;
};

/*
 * Reads a script that is for the device. Errors: -EINVAL, and `error` has a line that names `file`, the line
 * and the cure.
 */
int script_parse(struct script *script, const struct script_names *names, const char *file, const char *text,
                 size_t size, char *error, size_t error_size);

/* Adds a rule. -ENOSPC: there are SCRIPT_RULES. */
int script_add(struct script *script, const struct script_rule *rule);

/* Writes rule `i` as a line of a script. */
void script_print(const struct script *script, const struct script_names *names, unsigned i, char *line,
                  size_t size);

/* Forgets what has happened, so that it plays again. */
void script_rewind(struct script *script);

/* Somebody has plugged the device in again. */
void script_replug(struct script *script);

/*
 * An event: counts it, and does with the device what the script says of it. Returns the rule that says what
 * happens in its place, NULL if nothing does.
 */
const struct script_rule *script_event(struct script *script, enum script_when when, uint64_t which);

/* Whether the device has the habit of this index. */
bool script_has(const struct script *script, unsigned habit);

/* Does what is due at this time. Whoever runs the model says it at every event, and at script_due(). */
void script_time(struct script *script, uint64_t now);
/* When the next is due; UINT64_MAX. */
uint64_t script_due(const struct script *script);

/* What the rule makes of `size` bytes of data: they are `size` or fewer. NULL makes nothing of them. */
size_t script_spoil(struct script *script, const struct script_rule *rule, void *bytes, size_t size);

#endif

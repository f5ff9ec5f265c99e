/* A crew: a few threads that look after guests, and how their owner and they tell each other things. Private.
 *
 * A guest (a tunnel, a handshake) lives on one thread from its start to its end, so nothing of it needs a lock but the
 * queue in which the owner calls it. The owner is told of its end when a turn of the thread is over and no event in
 * hand can mean it any more; the guest's memory is the owner's from then on.
 */
#ifndef WSRELAY_PUMP_CREW_H
#define WSRELAY_PUMP_CREW_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NANOSECONDS 1000000000

/* Bytes of a thread's scratch memory, for what is read and passed on in one step: four TLS records, what a default pipe
 * holds, what wsrelay's reactor pump reads. */
#define SCRATCH_BYTES (64 * 1024)

/* The first member of everything that lives on a crew's thread. */
struct guest {
    struct thread *thread;
    atomic_bool is_over;

    atomic_bool to_stop; /* the owner wants its end: `stop` was called or will be */

    /* For crew.c only. */
    bool called;    /* whether it is in the thread's queue; under the thread's lock */
    bool joined;    /* whether the thread has it */
    bool is_again;  /* whether it is in `thread.again` */
    struct guest *previous, *next;
    struct guest *next_called, *next_again, *next_over;
};

/* What a crew does with its guests, always on the guest's thread. NULL where it is nothing, but for `join`, `event` and
 * `stop`. */
struct trade {
    const char *name;                                   /* of its threads, as `top -H` shows them; at most 15 letters */
    void (*join)(struct guest *guest);                  /* it has arrived */
    void (*event)(void *watched, uint32_t events);      /* epoll's, for what was given to it as data.ptr */
    void (*go_on)(struct guest *guest);                 /* it has asked for it with crew_again in the turn before */
    void (*sweep)(struct guest *guest);                 /* time has passed */
    void (*stop)(struct guest *guest);                  /* the owner wants its end */
    void (*leave)(void *own);                           /* the thread ends: free what it had in `own` */
    size_t own_bytes;                                   /* what each thread has of its own; zeroed */
};

struct thread {
    struct crew *crew;
    int epoll;
    int64_t now;   /* nanoseconds, read once a turn */
    char *scratch; /* SCRATCH_BYTES */
    void *own;

    /* For crew.c only. */
    pthread_t id;
    int wake; /* an eventfd, watched edge-triggered: each write is an event, and nobody has to read it */
    int64_t swept_at;
    struct guest *living, *again, *over;
    bool more; /* whether the owner's calls were not all done in the last turn */
    atomic_int guests; /* how many live here, those on their way included */
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t caught_up;
    struct guest *called, **last_called;
    unsigned wanted, done; /* crew_catch_up: which was asked for, which is done */
    bool quit;
};

struct crew {
    const struct trade *trade;
    int64_t sweep;                 /* nanoseconds between two sweeps */
    atomic_int_fast64_t held_time; /* what crew_hold_time says, if it has been called */
    int told;                      /* an eventfd: readable while `over` is not empty */
    pthread_mutex_t lock;          /* of `over` and `last_over` */
    struct guest *over, **last_over;
    int count;
    struct thread *threads;
};

/* For guests, on their thread. */

/* Call `go_on` for this guest in the next turn, without an event. */
void crew_again(struct guest *guest);

/* It has ended, and nothing of it is in epoll any more. */
void crew_over(struct guest *guest);

/* For the owner. */

/* 0, or an errno: then nothing was started. The crew's memory is the caller's, and zeroed. */
int crew_open(struct crew *crew, const struct trade *trade, int threads, double sweep_seconds);

/* End every guest with `stop`, and every thread; guests not yet told of are given to `forget`. */
void crew_close(struct crew *crew, void (*forget)(struct guest *guest));

/* Give a new guest to the thread with the fewest. */
void crew_start(struct crew *crew, struct guest *guest);

/* Call `stop` for it, unless it is over. */
void crew_stop(struct guest *guest);

/* The next one that is over, or NULL. */
struct guest *crew_next_over(struct crew *crew);

int64_t crew_now(struct crew *crew);
void crew_hold_time(struct crew *crew, double seconds);
void crew_catch_up(struct crew *crew);

#endif

/* The threads of a crew, what their owner tells them, and what they tell their owner. Knows nothing of bytes. */
#define _GNU_SOURCE
#include "crew.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* Events taken from the kernel in one turn. */
#define EVENTS 256

/* What the owner has asked for is done so much at a time: a handshake costs half a millisecond, and those under way must
 * not wait for all that have just begun. */
#define CALLS 32

/* OpenSSL's deepest calls need some 20 KiB, Python's callbacks during a handshake more; the default of 8 MiB would only
 * be address space, but much of it. */
#define STACK_BYTES (1024 * 1024)

#define REAL_TIME INT64_MIN

static void *run(void *thread);

/* Coarse: a read of memory, exact to a few milliseconds, where the limits are seconds. */
int64_t crew_now(struct crew *crew)
{
    int64_t held = atomic_load_explicit(&crew->held_time, memory_order_relaxed);
    if (held != REAL_TIME)
        return held;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (int64_t)now.tv_sec * NANOSECONDS + now.tv_nsec;
}

static void ring(int eventfd)
{
    uint64_t one = 1;
    while (write(eventfd, &one, sizeof one) == -1 && errno == EINTR)
        ;
}

/* Starting and ending. */

static void free_thread(struct thread *thread)
{
    if (thread->own && thread->crew->trade->leave)
        thread->crew->trade->leave(thread->own);
    if (thread->wake != -1)
        close(thread->wake);
    if (thread->epoll != -1)
        close(thread->epoll);
    free(thread->own);
    free(thread->scratch);
    pthread_cond_destroy(&thread->caught_up);
    pthread_mutex_destroy(&thread->lock);
}

static int make_thread(struct crew *crew, struct thread *thread)
{
    thread->crew = crew;
    thread->last_called = &thread->called;
    thread->now = thread->swept_at = crew_now(crew);
    pthread_mutex_init(&thread->lock, NULL); /* neither can fail on Linux */
    pthread_cond_init(&thread->caught_up, NULL);
    thread->epoll = epoll_create1(EPOLL_CLOEXEC);
    thread->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    thread->scratch = malloc(SCRATCH_BYTES);
    thread->own = calloc(1, crew->trade->own_bytes + 1);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    if (thread->epoll == -1 || thread->wake == -1 || !thread->scratch || !thread->own ||
        epoll_ctl(thread->epoll, EPOLL_CTL_ADD, thread->wake, &event) == -1)
        return errno;

    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    /* Signals are the owner's, and what OpenSSL writes to a lost socket raises SIGPIPE. But for those that tell of a bug
     * in this very thread. */
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGILL);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGABRT);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread->id, &attributes, run, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (!error)
        pthread_setname_np(thread->id, crew->trade->name);
    return error;
}

int crew_open(struct crew *crew, const struct trade *trade, int threads, double sweep_seconds)
{
    crew->trade = trade;
    crew->sweep = (int64_t)(sweep_seconds * NANOSECONDS);
    crew->last_over = &crew->over;
    crew->held_time = REAL_TIME;
    pthread_mutex_init(&crew->lock, NULL);
    crew->threads = calloc((size_t)threads, sizeof *crew->threads);
    int error = crew->threads ? 0 : ENOMEM;
    crew->told = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (crew->told == -1)
        error = errno;
    while (!error && crew->count < threads) {
        error = make_thread(crew, &crew->threads[crew->count]);
        if (error)
            free_thread(&crew->threads[crew->count]);
        else
            crew->count++;
    }
    if (error)
        crew_close(crew, NULL);
    return error;
}

void crew_close(struct crew *crew, void (*forget)(struct guest *guest))
{
    for (int index = 0; index < crew->count; index++) {
        struct thread *thread = &crew->threads[index];
        pthread_mutex_lock(&thread->lock);
        thread->quit = true;
        pthread_mutex_unlock(&thread->lock);
        ring(thread->wake);
    }
    for (int index = 0; index < crew->count; index++) {
        pthread_join(crew->threads[index].id, NULL);
        free_thread(&crew->threads[index]);
    }
    for (struct guest *guest; (guest = crew_next_over(crew)) != NULL;)
        forget(guest);
    if (crew->told != -1)
        close(crew->told);
    free(crew->threads);
    pthread_mutex_destroy(&crew->lock);
}

/* What the owner says. */

/* Under the thread's lock. Whoever finds the queue empty wakes the thread, which goes on until it is. */
static bool call(struct guest *guest)
{
    struct thread *thread = guest->thread;
    bool first = !thread->called;
    if (guest->called)
        return false;
    guest->called = true;
    guest->next_called = NULL;
    *thread->last_called = guest;
    thread->last_called = &guest->next_called;
    return first;
}

static struct thread *least_busy(struct crew *crew)
{
    struct thread *least = &crew->threads[0];
    for (int index = 1; index < crew->count; index++)
        if (crew->threads[index].guests < least->guests)
            least = &crew->threads[index];
    return least;
}

void crew_start(struct crew *crew, struct guest *guest)
{
    struct thread *thread = guest->thread = least_busy(crew);
    thread->guests++;
    pthread_mutex_lock(&thread->lock);
    bool wake = call(guest);
    pthread_mutex_unlock(&thread->lock);
    if (wake)
        ring(thread->wake);
}

void crew_stop(struct guest *guest)
{
    struct thread *thread = guest->thread;
    pthread_mutex_lock(&thread->lock);
    guest->to_stop = true;
    bool wake = !guest->is_over && call(guest);
    pthread_mutex_unlock(&thread->lock);
    if (wake)
        ring(thread->wake);
}

struct guest *crew_next_over(struct crew *crew)
{
    uint64_t rings;
    pthread_mutex_lock(&crew->lock);
    struct guest *guest = crew->over;
    if (guest)
        crew->over = guest->next_over;
    if (guest && !crew->over) {
        crew->last_over = &crew->over;
        while (read(crew->told, &rings, sizeof rings) == -1 && errno == EINTR)
            ;
    }
    pthread_mutex_unlock(&crew->lock);
    return guest;
}

void crew_hold_time(struct crew *crew, double seconds)
{
    crew->held_time = (int64_t)(seconds * NANOSECONDS);
}

void crew_catch_up(struct crew *crew)
{
    for (int index = 0; index < crew->count; index++) {
        struct thread *thread = &crew->threads[index];
        pthread_mutex_lock(&thread->lock);
        unsigned wanted = ++thread->wanted;
        ring(thread->wake);
        while (thread->done != wanted)
            pthread_cond_wait(&thread->caught_up, &thread->lock);
        pthread_mutex_unlock(&thread->lock);
    }
}

/* What guests say. */

void crew_again(struct guest *guest)
{
    if (guest->is_again)
        return;
    guest->is_again = true;
    guest->next_again = guest->thread->again;
    guest->thread->again = guest;
}

void crew_over(struct guest *guest)
{
    guest->next_over = guest->thread->over;
    guest->thread->over = guest;
    atomic_store(&guest->is_over, true);
}

/* One thread's life. */

static void join(struct guest *guest)
{
    struct thread *thread = guest->thread;
    guest->joined = true;
    guest->next = thread->living;
    if (thread->living)
        thread->living->previous = guest;
    thread->living = guest;
    thread->crew->trade->join(guest);
}

static void part(struct guest *guest)
{
    if (guest->previous)
        guest->previous->next = guest->next;
    else
        guest->thread->living = guest->next;
    if (guest->next)
        guest->next->previous = guest->previous;
    guest->thread->guests--;
}

/* Under the thread's lock. */
static struct guest *next_called(struct thread *thread)
{
    struct guest *guest = thread->called;
    if (guest) {
        guest->called = false;
        thread->called = guest->next_called;
    }
    if (!thread->called)
        thread->last_called = &thread->called;
    return guest;
}

/* Do what the owner has asked for, or CALLS of it; whether that is to quit. */
static bool listen_to_owner(struct thread *thread, unsigned *wanted)
{
    struct guest *guest;
    pthread_mutex_lock(&thread->lock);
    *wanted = thread->wanted;
    bool quit = thread->quit;
    for (int count = 0; (count < CALLS || quit) && (guest = next_called(thread)) != NULL; count++) {
        bool stop = guest->to_stop;
        pthread_mutex_unlock(&thread->lock);
        if (!guest->joined)
            join(guest);
        if (stop && !guest->is_over)
            thread->crew->trade->stop(guest);
        pthread_mutex_lock(&thread->lock);
    }
    thread->more = thread->called != NULL;
    pthread_mutex_unlock(&thread->lock);
    return quit;
}

static void go_on(struct thread *thread)
{
    struct guest *guest = thread->again;
    thread->again = NULL;
    while (guest) {
        struct guest *next = guest->next_again;
        guest->is_again = false;
        if (!guest->is_over)
            thread->crew->trade->go_on(guest);
        guest = next;
    }
}

static void sweep(struct thread *thread)
{
    for (struct guest *guest = thread->living; guest && thread->crew->trade->sweep; guest = guest->next)
        if (!guest->is_over)
            thread->crew->trade->sweep(guest);
    thread->swept_at = thread->now;
}

static void stop_all(struct thread *thread)
{
    for (struct guest *guest = thread->living; guest; guest = guest->next)
        if (!guest->is_over)
            thread->crew->trade->stop(guest);
    go_on(thread); /* which forgets them */
}

/* Tell the owner of those that have ended in this turn. One that `again` still knows waits for the next turn, and so
 * does one that the owner has called meanwhile. */
static void tell_owner(struct thread *thread)
{
    struct crew *crew = thread->crew;
    struct guest *guest = thread->over;
    thread->over = NULL;
    while (guest) {
        struct guest *next = guest->next_over;
        pthread_mutex_lock(&thread->lock);
        bool known = guest->called || guest->is_again;
        pthread_mutex_unlock(&thread->lock);
        if (known) {
            guest->next_over = thread->over;
            thread->over = guest;
        } else {
            part(guest);
            guest->next_over = NULL;
            pthread_mutex_lock(&crew->lock);
            bool first = !crew->over;
            *crew->last_over = guest;
            crew->last_over = &guest->next_over;
            if (first)
                ring(crew->told);
            pthread_mutex_unlock(&crew->lock);
        }
        guest = next;
    }
}

static int milliseconds_to_wait(const struct thread *thread)
{
    if (thread->again || thread->over || thread->more)
        return 0;
    if (!thread->living || atomic_load(&thread->crew->held_time) != REAL_TIME)
        return -1;
    int64_t left = thread->swept_at + thread->crew->sweep - thread->now;
    return left > 0 ? (int)(left / (NANOSECONDS / 1000)) + 1 : 0;
}

static void *run(void *argument)
{
    struct thread *thread = argument;
    struct crew *crew = thread->crew;
    struct epoll_event events[EVENTS];
    for (;;) {
        int count = epoll_wait(thread->epoll, events, EVENTS, milliseconds_to_wait(thread));
        bool called = thread->more, quit = false;
        unsigned wanted = thread->done;
        thread->now = crew_now(crew);
        for (int index = 0; index < count; index++)
            if (events[index].data.ptr)
                crew->trade->event(events[index].data.ptr, events[index].events);
            else
                called = true;
        go_on(thread);
        if (called)
            quit = listen_to_owner(thread, &wanted);
        if (wanted != thread->done || thread->now - thread->swept_at >= crew->sweep)
            sweep(thread);
        if (quit)
            stop_all(thread);
        tell_owner(thread);
        if (quit)
            return NULL;
        if (wanted != thread->done) {
            pthread_mutex_lock(&thread->lock);
            thread->done = wanted;
            pthread_cond_signal(&thread->caught_up);
            pthread_mutex_unlock(&thread->lock);
        }
    }
}

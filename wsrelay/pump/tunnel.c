/* One tunnel: bytes from each leg to the other, ends and losses passed on, limits of time. Knows epoll, not threads.
 *
 * Level-triggered throughout: whatever is left unread is told again, so no step has to read until nothing comes, and a
 * small message costs three calls (epoll_wait, recv, send) however many tunnels there are. A leg with nothing to
 * wait for leaves epoll, which would tell of its loss again and again.
 */
#define _GNU_SOURCE
#include "tunnel.h"

#include <sys/epoll.h>

/* After so many full reads of one leg the others have their turn: 256 KiB copied, 1 MiB spliced. */
#define ROUNDS 4

/* What the kernel still has of a connection that takes no more bytes (an early 413, a close frame with its reason) is
 * read so many times, then the leg counts as lost. */
#define LAST_READS 4

/* What is stopped for so long gives its pipe back. */
#define PIPE_IDLE_NANOSECONDS 1000000000

static int side_of(const struct leg *leg)
{
    return leg == &leg->tunnel->legs[PUMP_UPSTREAM];
}

static struct leg *other(const struct leg *leg)
{
    return &leg->tunnel->legs[!side_of(leg)];
}

static int64_t now(const struct tunnel *tunnel)
{
    return tunnel->guest.thread->now;
}

static struct pipes *pipes_of(const struct leg *leg)
{
    return leg->tunnel->guest.thread->own;
}

/* What epoll looks for. */

static bool reads(const struct leg *leg)
{
    return leg->descriptor != -1 && !leg->ended && !leg->failed && leg->tunnel->lost == -1 && leg->paused_at == NOT_PAUSED;
}

static void ask(struct leg *leg, uint32_t events)
{
    if (events == leg->asked || leg->descriptor == -1)
        return;
    struct epoll_event event = {.events = events, .data.ptr = leg};
    int what = !leg->asked ? EPOLL_CTL_ADD : events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
    if (epoll_ctl(leg->tunnel->guest.thread->epoll, what, leg->descriptor, &event) == -1)
        leg->failed = true; /* no memory or no watches are left in the kernel; a leg that nobody looks at is lost */
    else
        leg->asked = events;
}

static void ask_for_what_is_needed(struct leg *leg)
{
    uint32_t events = 0;
    if (leg->write_wants_read || (reads(leg) && !leg->read_wants_write))
        events |= EPOLLIN;
    if (leg->read_wants_write || (leg_waiting(leg) && !leg->write_wants_read))
        events |= EPOLLOUT;
    ask(leg, events);
}

/* The end. */

static void close_leg(struct leg *leg)
{
    ask(leg, 0);
    pipe_give_back(pipes_of(leg), leg);
    leg_close(leg, leg->tunnel->tls);
}

static void end(struct tunnel *tunnel, int how, int side)
{
    if (tunnel->lost == -1) {
        tunnel->end = how;
        tunnel->side = side;
    }
    close_leg(&tunnel->legs[PUMP_CLIENT]);
    close_leg(&tunnel->legs[PUMP_UPSTREAM]);
    tunnel->over_at = now(tunnel);
    crew_over(&tunnel->guest);
}

static void on_end(struct leg *source)
{
    struct tunnel *tunnel = source->tunnel;
    source->ended = true;
    if (tunnel->first_end == -1) {
        tunnel->first_end = side_of(source);
        tunnel->since = now(tunnel);
    }
    leg_finish(other(source), tunnel->tls);
}

/* The other leg gets what was read for it, then RST, so that nothing looks complete. */
static void on_loss(struct leg *leg, int how)
{
    struct tunnel *tunnel = leg->tunnel;
    if (tunnel->lost == -1) {
        tunnel->lost = tunnel->side = side_of(leg);
        tunnel->end = how;
    }
    close_leg(leg);
}

/* Bytes. */

static void note_bytes(struct leg *source, size_t count)
{
    source->count += count;
    source->moved_at = now(source->tunnel);
}

static void pause_if_full(struct leg *source)
{
    if (leg_waiting(other(source)))
        source->paused_at = now(source->tunnel);
}

static long copy(struct leg *source, struct leg *sink)
{
    char *bytes = source->tunnel->guest.thread->scratch;
    const struct tls_calls *tls = source->tunnel->tls;
    long count = leg_read(source, bytes, tls);
    if (count <= 0)
        return count;
    note_bytes(source, (size_t)count);
    source->bulk = count == READ_BYTES;
    if (sink->failed)
        return count;
    size_t taken = leg_write(sink, bytes, (size_t)count, tls);
    if (taken < (size_t)count && !sink->failed) {
        if (!leg_hold(sink, bytes + taken, (size_t)count - taken))
            sink->failed = true;
        pause_if_full(source);
    }
    return count;
}

static long pass_pages(struct leg *source, struct leg *sink)
{
    long count = leg_splice(source, sink);
    if (count <= 0)
        return count;
    note_bytes(source, (size_t)count);
    source->bulk = count >= RECORD_BYTES;
    leg_flush(sink, source->tunnel->tls);
    pause_if_full(source);
    return count;
}

static void on_stop(struct leg *source, long why)
{
    switch (why) {
    case READ_NOTHING:
        return;
    case READ_ENDED:
        on_end(source);
        return;
    case READ_TRUNCATED:
        on_loss(source, PUMP_TRUNCATED);
        return;
    case READ_TLS_ERROR:
        on_loss(source, PUMP_TLS_ERROR);
        return;
    default:
        on_loss(source, PUMP_RESET);
    }
}

static bool can_splice(const struct leg *source, const struct leg *sink)
{
    return !source->ssl && !sink->ssl && !source->unspliceable;
}

/* Read from one leg and write to the other, as long as both go and others need not wait too long. */
static void pull(struct leg *source)
{
    struct tunnel *tunnel = source->tunnel;
    struct leg *sink = other(source);
    for (int round = 0; round < ROUNDS && reads(source) && !sink->failed; round++) {
        bool spliced = source->bulk && can_splice(source, sink) && pipe_take(pipes_of(sink), sink);
        long count = spliced ? pass_pages(source, sink) : copy(source, sink);
        /* splice(2) stops in front of an urgent byte for ever, and calls it nothing, or the end once there is a FIN. */
        if (spliced && (count == READ_ENDED || (count == READ_NOTHING && round == 0)))
            count = copy(source, sink);
        if (count <= 0) {
            on_stop(source, count);
            return;
        }
        if (!source->bulk && !leg_holds_more(source, tunnel->tls))
            return;
    }
    if (reads(source) && leg_holds_more(source, tunnel->tls))
        crew_again(&tunnel->guest);
}

static void flush(struct leg *sink)
{
    struct tunnel *tunnel = sink->tunnel;
    struct leg *source = other(sink);
    leg_flush(sink, tunnel->tls);
    if (leg_waiting(sink) || sink->failed)
        return;
    tunnel->since = now(tunnel);
    if (source->paused_at != NOT_PAUSED) {
        source->paused += now(tunnel) - source->paused_at;
        source->paused_at = NOT_PAUSED;
        pull(source);
    }
}

static void lose_after_last_words(struct leg *leg)
{
    for (int count = 0; count < LAST_READS && leg->descriptor != -1; count++) {
        if (leg->ended || leg->tunnel->lost != -1 || leg->paused_at != NOT_PAUSED || copy(leg, other(leg)) <= 0)
            break;
    }
    on_loss(leg, PUMP_RESET);
}

/* What follows from the state that a step has left behind. */
static void settle(struct tunnel *tunnel)
{
    struct leg *client = &tunnel->legs[PUMP_CLIENT], *upstream = &tunnel->legs[PUMP_UPSTREAM];
    for (;;) {
        for (int side = PUMP_CLIENT; side <= PUMP_UPSTREAM; side++)
            if (tunnel->legs[side].failed && tunnel->legs[side].descriptor != -1)
                lose_after_last_words(&tunnel->legs[side]);
        if (tunnel->lost != -1) {
            struct leg *left = &tunnel->legs[!tunnel->lost];
            if (!leg_waiting(left) && !leg_held_back(left)) {
                end(tunnel, tunnel->end, tunnel->side);
                return;
            }
        } else if (client->ended && client->shut && upstream->ended && upstream->shut) {
            end(tunnel, PUMP_CLOSED, tunnel->first_end);
            return;
        }
        for (int side = PUMP_CLIENT; side <= PUMP_UPSTREAM; side++) {
            struct leg *leg = &tunnel->legs[side];
            if (!leg->in_pipe)
                pipe_give_back(pipes_of(leg), leg);
            ask_for_what_is_needed(leg);
        }
        if (!(client->failed && client->descriptor != -1) && !(upstream->failed && upstream->descriptor != -1))
            return;
    }
}

void tunnel_join(struct tunnel *tunnel)
{
    for (int side = PUMP_CLIENT; side <= PUMP_UPSTREAM; side++) {
        struct leg *leg = &tunnel->legs[side];
        leg->moved_at = leg->seen_at = now(tunnel);
        tunnel->since = now(tunnel);
        if (leg->held)
            other(leg)->paused_at = now(tunnel);
    }
    for (int side = PUMP_CLIENT; side <= PUMP_UPSTREAM; side++)
        if (tunnel->legs[side].held)
            flush(&tunnel->legs[side]);
    for (int side = PUMP_CLIENT; side <= PUMP_UPSTREAM; side++)
        if (tunnel->legs[side].ended && tunnel->lost == -1)
            on_end(&tunnel->legs[side]);
    tunnel_go_on(tunnel);
}

void tunnel_go_on(struct tunnel *tunnel)
{
    for (int side = PUMP_CLIENT; side <= PUMP_UPSTREAM; side++)
        if (leg_holds_more(&tunnel->legs[side], tunnel->tls))
            pull(&tunnel->legs[side]);
    settle(tunnel);
}

void tunnel_event(struct leg *leg, uint32_t events)
{
    bool readable = events & (EPOLLIN | EPOLLHUP | EPOLLERR), writable = events & (EPOLLOUT | EPOLLHUP | EPOLLERR);
    bool read = readable, write = writable;
    if (leg->descriptor == -1 || leg->tunnel->guest.is_over)
        return; /* since an earlier event of this turn */
    if (writable && leg->read_wants_write) {
        leg->read_wants_write = false;
        read = true;
    }
    if (readable && leg->write_wants_read) {
        leg->write_wants_read = false;
        write = true;
    }
    if (write && leg_waiting(leg))
        flush(leg);
    if (read)
        pull(leg);
    settle(leg->tunnel);
}

/* Limits of time. */

/* How long bytes have waited for this leg without any leaving, as far as sweeps have seen. */
static int64_t stalled(struct leg *sink)
{
    int64_t time = now(sink->tunnel);
    size_t waiting = leg_waiting(sink);
    size_t back = waiting || other(sink)->descriptor == -1 ? leg_held_back(sink) : 0;
    uint64_t left = sink->moved - back;
    if ((!waiting && !back) || left != sink->seen) {
        sink->seen = left;
        sink->seen_at = time;
    }
    return time - sink->seen_at;
}

/* How long no byte has moved from this leg to the other: none came, and none left of those that wait. */
static int64_t silent(struct leg *source)
{
    struct leg *sink = other(source);
    int64_t last = source->moved_at;
    if (leg_waiting(sink) && sink->seen_at > last)
        last = sink->seen_at;
    return now(source->tunnel) - last;
}

static bool has_lingered(struct tunnel *tunnel)
{
    if (tunnel->first_end == -1 || tunnel->linger == 0)
        return false;
    struct leg *open = &tunnel->legs[!tunnel->first_end];
    if (leg_waiting(open) || leg_waiting(other(open)))
        return false; /* one of the two is slow to read, which is a matter of write_stall */
    int64_t last = tunnel->since > open->moved_at ? tunnel->since : open->moved_at;
    return now(tunnel) - last >= tunnel->linger;
}

static int64_t least(int64_t one, int64_t two)
{
    return one < two ? one : two;
}

void tunnel_sweep(struct tunnel *tunnel)
{
    struct leg *client = &tunnel->legs[PUMP_CLIENT], *upstream = &tunnel->legs[PUMP_UPSTREAM];
    for (int side = PUMP_UPSTREAM; side >= PUMP_CLIENT; side--) {
        struct leg *sink = &tunnel->legs[side];
        int64_t stands = stalled(sink);
        if (tunnel->write_stall && stands >= tunnel->write_stall) {
            end(tunnel, PUMP_STALLED, side);
            return;
        }
        if (sink->in_pipe && stands >= PIPE_IDLE_NANOSECONDS)
            leg_empty_pipe(sink);
    }
    if (tunnel->lost == -1 && has_lingered(tunnel)) {
        end(tunnel, PUMP_LINGERED, !tunnel->first_end);
        return;
    }
    int64_t quiet = least(least(silent(client), silent(upstream)), now(tunnel) - tunnel->since);
    if (tunnel->idle && quiet >= tunnel->idle)
        tunnel_stop(tunnel, PUMP_IDLE);
    else
        settle(tunnel);
}

void tunnel_stop(struct tunnel *tunnel, int how)
{
    if (tunnel->lost == -1) {
        leg_finish(&tunnel->legs[PUMP_CLIENT], tunnel->tls);
        leg_finish(&tunnel->legs[PUMP_UPSTREAM], tunnel->tls);
    }
    end(tunnel, how, 0);
}

/* The pump for its owner: a crew whose guests are tunnels. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "tunnel.h"

static void join(struct guest *guest)
{
    tunnel_join((struct tunnel *)guest);
}

static void event(void *leg, uint32_t events)
{
    tunnel_event(leg, events);
}

static void go_on(struct guest *guest)
{
    tunnel_go_on((struct tunnel *)guest);
}

static void sweep(struct guest *guest)
{
    tunnel_sweep((struct tunnel *)guest);
}

static void stop(struct guest *guest)
{
    tunnel_stop((struct tunnel *)guest, PUMP_STOPPED);
}

static const struct trade TRADE = {
    .name = "wsrelay-pump",
    .join = join,
    .event = event,
    .go_on = go_on,
    .sweep = sweep,
    .stop = stop,
    .own_bytes = sizeof(struct pipes),
    .leave = pipes_close,
};

int pump_new(struct pump **made, int threads, double sweep_seconds, const struct tls_calls *tls)
{
    struct pump *pump = calloc(1, sizeof *pump);
    if (!pump)
        return ENOMEM;
    pump->tls = *tls;
    int error = crew_open(&pump->crew, &TRADE, threads, sweep_seconds);
    if (error)
        free(pump);
    else
        *made = pump;
    return error;
}

static void forget(struct guest *guest)
{
    pump_forget((struct tunnel *)guest);
}

void pump_free(struct pump *pump)
{
    crew_close(&pump->crew, forget);
    free(pump);
}

int pump_descriptor(const struct pump *pump)
{
    return pump->crew.told;
}

static int64_t nanoseconds(double seconds)
{
    return (int64_t)(seconds * NANOSECONDS);
}

struct tunnel *pump_start(struct pump *pump, const struct pump_handoff *handoff)
{
    struct tunnel *tunnel = calloc(1, sizeof *tunnel);
    if (!tunnel) {
        for (int side = PUMP_CLIENT; side <= PUMP_UPSTREAM; side++) {
            if (handoff->legs[side].ssl)
                pump->tls.SSL_free(handoff->legs[side].ssl);
            close(handoff->legs[side].descriptor);
        }
        return NULL;
    }
    for (int side = PUMP_CLIENT; side <= PUMP_UPSTREAM; side++) {
        struct leg *leg = &tunnel->legs[side];
        size_t bytes = handoff->first_bytes[side];
        leg->tunnel = tunnel;
        leg->descriptor = handoff->legs[side].descriptor;
        leg->ssl = handoff->legs[side].ssl;
        leg->ended = handoff->legs[side].ended;
        leg->pipe = (struct pipe){-1, -1};
        leg->paused_at = NOT_PAUSED;
        leg->moved_at = crew_now(&pump->crew);
        tunnel->legs[!side].count = bytes - handoff->uncounted[side];
        if (bytes && !leg_hold(leg, handoff->first[side], bytes))
            leg->failed = true; /* no memory: the tunnel ends at once */
    }
    tunnel->tls = &pump->tls;
    tunnel->idle = nanoseconds(handoff->idle);
    tunnel->write_stall = nanoseconds(handoff->write_stall);
    tunnel->linger = nanoseconds(handoff->linger);
    tunnel->first_end = tunnel->lost = -1;
    crew_start(&pump->crew, &tunnel->guest);
    return tunnel;
}

void pump_stop(struct tunnel *tunnel)
{
    crew_stop(&tunnel->guest);
}

static double seconds(int64_t nanoseconds)
{
    return (double)nanoseconds / NANOSECONDS;
}

void pump_count(struct pump *pump, const struct tunnel *tunnel, struct pump_counts *counts)
{
    int64_t now = tunnel->guest.is_over ? tunnel->over_at : crew_now(&pump->crew);
    for (int side = PUMP_CLIENT; side <= PUMP_UPSTREAM; side++) {
        const struct leg *leg = &tunnel->legs[side];
        int64_t paused_at = leg->paused_at;
        counts->bytes[side] = leg->count;
        counts->silent[side] = seconds(now - leg->moved_at);
        counts->paused[side] = seconds(leg->paused + (paused_at == NOT_PAUSED ? 0 : now - paused_at));
    }
    counts->first_end = tunnel->first_end;
}

int pump_next_ended(struct pump *pump, struct pump_ended *ended)
{
    struct tunnel *tunnel = (struct tunnel *)crew_next_over(&pump->crew);
    if (!tunnel)
        return 0;
    *ended = (struct pump_ended){tunnel, tunnel->end, tunnel->side};
    return 1;
}

void pump_forget(struct tunnel *tunnel)
{
    free(tunnel);
}

void pump_hold_time(struct pump *pump, double seconds)
{
    crew_hold_time(&pump->crew, seconds);
}

void pump_catch_up(struct pump *pump)
{
    crew_catch_up(&pump->crew);
}

/* One tunnel: what its two legs' events mean for each other, and how it ends. Private to the pump. */
#ifndef WSRELAY_PUMP_TUNNEL_H
#define WSRELAY_PUMP_TUNNEL_H

#include "pipes.h"

struct pump {
    struct crew crew;
    struct tls_calls tls;
};

struct tunnel {
    struct guest guest; /* first: a crew knows tunnels by it */
    const struct tls_calls *tls;
    struct leg legs[2];
    int64_t idle, write_stall, linger; /* nanoseconds; 0: no limit */
    int64_t since;        /* when the silence of an open side began anew, not with a byte: at the other's end, or when
                             what waited was sent */
    int64_t over_at;      /* for counts; valid once `guest.is_over` */
    atomic_int first_end; /* -1, or a side */
    int lost;             /* -1, or the side whose connection was lost: the other gets what was read, then RST */
    int end, side;        /* the outcome, decided at `lost` or at the end */
};

/* Both legs join epoll, early bytes are written, an end seen before is passed on. */
void tunnel_join(struct tunnel *tunnel);

/* `events` of epoll for one leg. */
void tunnel_event(struct leg *leg, uint32_t events);

/* Read what no event tells of. */
void tunnel_go_on(struct tunnel *tunnel);

/* Look at the limits of time. */
void tunnel_sweep(struct tunnel *tunnel);

/* End it now, in order where nothing was lost before. */
void tunnel_stop(struct tunnel *tunnel, int end);

#endif

/* A pump under test, its tunnels with their far ends, and the faults that a test can order. */
#ifndef WSRELAY_TESTS_RIG_H
#define WSRELAY_TESTS_RIG_H

#include <stdatomic.h>

#include "../../wsrelay/pump/pump.h"
#include "far.h"

#define BOTH_SIDES(side) (int side = PUMP_CLIENT; side <= PUMP_UPSTREAM; side++)

/* Which legs are under TLS. */
struct kind {
    bool tls[2];
};

struct line {
    struct far far[2];
    int near[2]; /* our ends; the pump's own once it has started */
    SSL *ssl[2];
    struct tunnel *tunnel;
    bool is_over;
    int end, side; /* once it is over, */
    struct pump_counts last;
    struct line *next;
};

struct rig {
    struct pump *pump;
    struct line *lines; /* those that live */
    int started, told;
    double now;
};

/* Open with a clock that stands still, at second 1. */
void rig_open(struct rig *rig, int threads);

/* Every tunnel must have been told of, once. */
void rig_close(struct rig *rig);

void line_connect(struct line *line, struct kind kind, int buffers);
void line_connect_side(struct line *line, int side, bool under_tls, int buffers);

/* The handoff; `handoff` may say more than nothing, its legs are filled in. */
void line_start_with(struct rig *rig, struct line *line, struct pump_handoff handoff);
void line_open(struct rig *rig, struct line *line, struct kind kind, int buffers);

/* Take what the pump tells, without a wait. */
void rig_listen(struct rig *rig);

/* Wait until it is told of, while time passes; its end and side must be these. */
void line_ends(struct rig *rig, struct line *line, int end, int side);
void line_is_told(struct rig *rig, struct line *line);

/* Read to the end, while time passes. */
enum how line_rest(struct rig *rig, struct line *line, int side);

/* Nothing has ended it so far. */
void line_lives(struct rig *rig, struct line *line);

struct pump_counts line_counts(struct rig *rig, struct line *line);

/* Send from this side to a reader that has stopped, until the pump takes no more. */
void line_stuff(struct rig *rig, struct line *line, int side);

/* Start with so much from this side already there, so that the pump's first read takes as much as it can, and what
 * comes then is spliced where that can be. `sink_buffers` are the other side's. */
void line_open_with_bulk(struct rig *rig, struct line *line, struct kind kind, int side, size_t count,
                         int sink_buffers);

void line_close(struct line *line);

/* It is this second now, and all limits have been looked at. */
void rig_time(struct rig *rig, double now);

/* No thread of the pump may turn without a reason now. */
void rig_rests(struct rig *rig);

int open_descriptors(void);

/* OpenSSL, as the pump calls it. */
extern const struct tls_calls CALLS;

/* Faults. Each is 0 when nothing is to fail. */
extern atomic_int fail_allocations; /* of the pump's own code, whatever the thread */
extern atomic_int fail_watches;     /* EPOLL_CTL_ADD for a leg */
extern atomic_int fail_pipes;
/* Counters. */
extern atomic_int turns, splices;

#endif

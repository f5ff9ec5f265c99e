#define _GNU_SOURCE
#include "rig.h"

#include <dirent.h>
#include <errno.h>
#include <linux/sockios.h>
#include <openssl/err.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Rounds in which nothing moved, after which nothing will. */
#define SETTLED 10

/* Long enough to see a thread that spins, which turns some ten thousand times in it. */
#define REST_MILLISECONDS 20

/* OpenSSL's own functions, under the types that the pump calls them by. */

static int do_handshake(void *ssl) { return SSL_do_handshake(ssl); }
static int read_ssl(void *ssl, void *bytes, int count) { return SSL_read(ssl, bytes, count); }
static int write_ssl(void *ssl, const void *bytes, int count) { return SSL_write(ssl, bytes, count); }
static int get_error(const void *ssl, int returned) { return SSL_get_error(ssl, returned); }
static int pending(const void *ssl) { return SSL_pending(ssl); }
static int shut_down(void *ssl) { return SSL_shutdown(ssl); }
static void free_ssl(void *ssl) { SSL_free(ssl); }

const struct tls_calls CALLS = {
    .SSL_do_handshake = do_handshake,
    .SSL_read = read_ssl,
    .SSL_write = write_ssl,
    .SSL_get_error = get_error,
    .SSL_pending = pending,
    .SSL_shutdown = shut_down,
    .SSL_free = free_ssl,
    .ERR_peek_error = ERR_peek_error,
    .ERR_get_error = ERR_get_error,
    .ERR_clear_error = ERR_clear_error,
};

/* Faults and counters: the linker sends the pump's calls here (-Wl,--wrap). */

atomic_int fail_allocations, fail_watches, fail_pipes, turns, splices;

void *__real_malloc(size_t count);
void *__wrap_malloc(size_t count);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
int __real_epoll_ctl(int epoll, int what, int descriptor, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int what, int descriptor, struct epoll_event *event);
int __real_epoll_wait(int epoll, struct epoll_event *events, int most, int milliseconds);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int most, int milliseconds);
int __real_pipe2(int ends[2], int flags);
int __wrap_pipe2(int ends[2], int flags);
ssize_t __real_splice(int in, off64_t *in_at, int out, off64_t *out_at, size_t count, unsigned flags);
ssize_t __wrap_splice(int in, off64_t *in_at, int out, off64_t *out_at, size_t count, unsigned flags);

static int fails(int ordered, int error)
{
    if (ordered)
        errno = error;
    return ordered;
}

void *__wrap_malloc(size_t count)
{
    return fails(fail_allocations, ENOMEM) ? NULL : __real_malloc(count);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails(fail_allocations, ENOMEM) ? NULL : __real_calloc(count, size);
}

int __wrap_epoll_ctl(int epoll, int what, int descriptor, struct epoll_event *event)
{
    return fails(what == EPOLL_CTL_ADD && fail_watches, ENOSPC) ? -1 : __real_epoll_ctl(epoll, what, descriptor, event);
}

int __wrap_epoll_wait(int epoll, struct epoll_event *events, int most, int milliseconds)
{
    turns++;
    return __real_epoll_wait(epoll, events, most, milliseconds);
}

int __wrap_pipe2(int ends[2], int flags)
{
    return fails(fail_pipes, EMFILE) ? -1 : __real_pipe2(ends, flags);
}

ssize_t __wrap_splice(int in, off64_t *in_at, int out, off64_t *out_at, size_t count, unsigned flags)
{
    splices++;
    return __real_splice(in, in_at, out, out_at, count, flags);
}

/* The pump. */

void rig_open(struct rig *rig, int threads)
{
    *rig = (struct rig){0};
    CHECK(pump_new(&rig->pump, threads, 1, &CALLS) == 0);
    rig_time(rig, 1);
}

void rig_close(struct rig *rig)
{
    rig_listen(rig);
    CHECK(rig->told == rig->started && !rig->lines);
    pump_free(rig->pump);
}

void rig_time(struct rig *rig, double now)
{
    rig->now = now;
    pump_hold_time(rig->pump, now);
    pump_catch_up(rig->pump);
}

void rig_rests(struct rig *rig)
{
    pump_catch_up(rig->pump);
    pump_catch_up(rig->pump);
    int before = turns;
    poll(NULL, 0, REST_MILLISECONDS);
    CHECK(turns - before < 20);
}

void rig_listen(struct rig *rig)
{
    struct pump_ended ended;
    while (pump_next_ended(rig->pump, &ended)) {
        struct line **link = &rig->lines;
        while (*link && (*link)->tunnel != ended.tunnel)
            link = &(*link)->next;
        struct line *line = *link;
        CHECK(line && !line->is_over);
        *link = line->next;
        line->is_over = true;
        line->end = ended.end;
        line->side = ended.side;
        pump_count(rig->pump, ended.tunnel, &line->last);
        pump_forget(ended.tunnel);
        rig->told++;
    }
}

int open_descriptors(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    CHECK(folder);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

/* Tunnels. */

void line_connect_side(struct line *line, int side, bool under_tls, int buffers)
{
    far_connect(&line->far[side], under_tls, buffers, &line->near[side], &line->ssl[side]);
    line->far[side].seed = (unsigned)side + 1;
    line->far[side].from = (unsigned)!side + 1;
}

void line_connect(struct line *line, struct kind kind, int buffers)
{
    memset(line, 0, sizeof *line);
    for BOTH_SIDES (side)
        line_connect_side(line, side, kind.tls[side], buffers);
}

void line_start_with(struct rig *rig, struct line *line, struct pump_handoff handoff)
{
    for BOTH_SIDES (side)
        handoff.legs[side] = (struct pump_leg){line->near[side], line->ssl[side], handoff.legs[side].ended};
    line->tunnel = pump_start(rig->pump, &handoff);
    if (line->tunnel) {
        line->next = rig->lines;
        rig->lines = line;
        rig->started++;
    }
}

void line_open(struct rig *rig, struct line *line, struct kind kind, int buffers)
{
    line_connect(line, kind, buffers);
    line_start_with(rig, line, (struct pump_handoff){0});
    CHECK(line->tunnel);
}

/* Wait for this, or let half a second pass. */
static void wait_or_pass_time(struct rig *rig, int descriptor)
{
    struct pollfd one = {descriptor, POLLIN, 0};
    CHECK(rig->now < 100000);
    if (poll(&one, 1, 5) == 0)
        rig_time(rig, rig->now + 0.5);
}

void line_is_told(struct rig *rig, struct line *line)
{
    for (rig_listen(rig); !line->is_over; rig_listen(rig))
        wait_or_pass_time(rig, pump_descriptor(rig->pump));
}

enum how line_rest(struct rig *rig, struct line *line, int side)
{
    enum how how = ORDERLY;
    for (long taken; (taken = far_try_read(&line->far[side], &how)) >= 0;)
        if (!taken)
            wait_or_pass_time(rig, line->far[side].descriptor);
    return how;
}

void line_ends(struct rig *rig, struct line *line, int end, int side)
{
    line_is_told(rig, line);
    if (line->end != end || line->side != side)
        fprintf(stderr, "end %d of side %d, and not %d of side %d\n", line->end, line->side, end, side);
    CHECK(line->end == end && line->side == side);
}

void line_lives(struct rig *rig, struct line *line)
{
    pump_catch_up(rig->pump);
    pump_catch_up(rig->pump);
    rig_listen(rig);
    CHECK(!line->is_over);
}

struct pump_counts line_counts(struct rig *rig, struct line *line)
{
    if (!line->is_over) {
        pump_catch_up(rig->pump);
        pump_count(rig->pump, line->tunnel, &line->last);
    }
    return line->last;
}

/* What the kernel has sent and the far end has not acknowledged: it makes room when it does. */
static int on_the_way(int descriptor)
{
    int taken = 0, unsent = 0;
    ioctl(descriptor, SIOCOUTQ, &taken);
    ioctl(descriptor, SIOCOUTQNSD, &unsent);
    return taken - unsent;
}

void line_stuff(struct rig *rig, struct line *line, int side)
{
    struct far *far = &line->far[side];
    for (int settled = 0; settled < SETTLED;) {
        struct pollfd room = {far->descriptor, POLLOUT, 0};
        CHECK(far->sent < 64 * 1024 * 1024);
        long taken = poll(&room, 1, 0) == 1 ? far_try_send(far, 4096) : 0;
        CHECK(taken >= 0);
        if (taken) {
            settled = 0;
        } else {
            double before = line_counts(rig, line).paused[side];
            rig_time(rig, rig->now + 0.001);
            bool is_paused = line_counts(rig, line).paused[side] > before;
            settled = is_paused && !on_the_way(line->near[!side]) ? settled + 1 : 0;
            poll(NULL, 0, 1);
        }
    }
}

void line_open_with_bulk(struct rig *rig, struct line *line, struct kind kind, int side, size_t count,
                         int sink_buffers)
{
    memset(line, 0, sizeof *line);
    line_connect_side(line, side, kind.tls[side], 1 << 20);
    line_connect_side(line, !side, kind.tls[!side], sink_buffers);
    far_send(&line->far[side], count);
    for (int there = 0, tries = 0; (size_t)there < count; tries++) {
        CHECK(tries < 10000 && ioctl(line->near[side], FIONREAD, &there) == 0);
        poll(NULL, 0, (size_t)there < count);
    }
    line_start_with(rig, line, (struct pump_handoff){0});
}

void line_close(struct line *line)
{
    for BOTH_SIDES (side)
        far_close(&line->far[side]);
}

/* What is missing, memory, descriptors, watches, ends one tunnel at most; and bytes that come out of line. */
#define _GNU_SOURCE
#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests.h"

static void still_moves(struct rig *rig, struct line *bystander)
{
    far_both_ways(&bystander->far[PUMP_CLIENT], 20000, &bystander->far[PUMP_UPSTREAM], 30000);
    pump_stop(bystander->tunnel);
    line_ends(rig, bystander, PUMP_STOPPED, 0);
    line_close(bystander);
}

void without_memory_only_that_tunnel_ends(struct kind kind)
{
    struct rig rig;
    struct line line, bystander;
    for BOTH_SIDES (side) {
        rig_open(&rig, 1);
        line_open(&rig, &bystander, kind, 0);
        line_open(&rig, &line, kind, SMALL);
        fail_allocations = 1;
        for (int sent = 0; !line.is_over && sent < 10000; sent++) {
            struct pollfd room = {line.far[side].descriptor, POLLOUT, 0};
            if (poll(&room, 1, 1) == 1)
                far_try_send(&line.far[side], 4096);
            pump_catch_up(rig.pump);
            if (sent % 100 == 99) /* what waits in a pipe is copied after a second */
                rig_time(&rig, 1 + sent / 50.0);
            rig_listen(&rig);
        }
        fail_allocations = 0;
        line_ends(&rig, &line, PUMP_RESET, !side);
        CHECK(far_rest(&line.far[!side]) == BY_RESET);
        line_close(&line);
        still_moves(&rig, &bystander);
        rig_close(&rig);
    }
}

void without_memory_for_a_record_both_legs_are_closed(struct kind kind)
{
    struct rig rig;
    struct line line;
    rig_open(&rig, 1);
    line_connect(&line, kind, 0);
    fail_allocations = 1;
    line_start_with(&rig, &line, (struct pump_handoff){0});
    fail_allocations = 0;
    CHECK(!line.tunnel);
    for BOTH_SIDES (side)
        far_rest(&line.far[side]);
    line_close(&line);
    rig_close(&rig);
}

void without_watches_only_that_tunnel_ends(struct kind kind)
{
    struct rig rig;
    struct line line, bystander;
    rig_open(&rig, 1);
    line_open(&rig, &bystander, kind, 0);
    line_lives(&rig, &bystander);
    fail_watches = 1;
    line_open(&rig, &line, kind, 0);
    line_is_told(&rig, &line);
    fail_watches = 0;
    CHECK(line.end == PUMP_RESET);
    for BOTH_SIDES (side)
        CHECK(far_rest(&line.far[side]) == BY_RESET);
    line_close(&line);
    still_moves(&rig, &bystander);
    rig_close(&rig);
}

void without_pipes_bulk_is_copied(struct kind kind)
{
    struct rig rig;
    struct line line;
    rig_open(&rig, 1);
    line_open(&rig, &line, kind, 0);
    fail_pipes = 1;
    splices = 0;
    far_both_ways(&line.far[PUMP_CLIENT], 4 << 20, &line.far[PUMP_UPSTREAM], 1 << 20);
    fail_pipes = 0;
    CHECK(splices == 0);
    still_moves(&rig, &line);
    rig_close(&rig);
}

void without_descriptors_no_pump_begins(void)
{
    struct rlimit before, few;
    struct pump *pump = NULL;
    static const struct tls_calls none;
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    int next = dup(0);
    close(next);
    /* One more each time, until there are enough: whatever the last one was, nothing is left behind. */
    for (int more = 0;; more++) {
        CHECK(more < 50);
        int at_first = open_descriptors();
        few = (struct rlimit){(rlim_t)(next + more), before.rlim_max};
        setrlimit(RLIMIT_NOFILE, &few);
        int error = pump_new(&pump, 2, 1, &none);
        setrlimit(RLIMIT_NOFILE, &before);
        if (!error)
            break;
        CHECK(error == EMFILE && open_descriptors() == at_first);
    }
    pump_free(pump);
}

/* As a forked child would have one: closing the pump's own does not take the socket out of epoll then. */
void a_copy_of_a_descriptor_wakes_nobody(void)
{
    struct rig rig;
    struct line line;
    rig_open(&rig, 1);
    line_connect(&line, (struct kind){{false, false}}, 0);
    int copy = dup(line.near[PUMP_CLIENT]);
    line_start_with(&rig, &line, (struct pump_handoff){0});
    pump_stop(line.tunnel);
    line_ends(&rig, &line, PUMP_STOPPED, 0);
    CHECK(far_rest(&line.far[PUMP_CLIENT]) == ORDERLY);
    far_send(&line.far[PUMP_CLIENT], 1000);
    rig_rests(&rig);
    close(copy);
    line_close(&line);
    rig_close(&rig);
}

/* splice(2) stops in front of an urgent byte and says that nothing is there, though epoll says that there is. */
void an_urgent_byte_is_no_end_and_makes_nothing_spin(void)
{
    struct rig rig;
    struct line line;
    for (int ended = 0; ended < 2; ended++) {
        rig_open(&rig, 1);
        line_open_with_bulk(&rig, &line, (struct kind){{false, false}}, PUMP_CLIENT, 64 * 1024, 0);
        far_read(&line.far[PUMP_UPSTREAM], 64 * 1024);
        char more[20000];
        pattern(line.far[PUMP_CLIENT].seed, line.far[PUMP_CLIENT].sent, more, sizeof more);
        CHECK(send(line.far[PUMP_CLIENT].descriptor, "!", 1, MSG_OOB | MSG_NOSIGNAL) == 1);
        CHECK(send(line.far[PUMP_CLIENT].descriptor, more, sizeof more, MSG_NOSIGNAL) == sizeof more);
        line.far[PUMP_CLIENT].sent += sizeof more;
        if (ended)
            far_finish(&line.far[PUMP_CLIENT]);
        rig_rests(&rig);
        far_read(&line.far[PUMP_UPSTREAM], line.far[PUMP_CLIENT].sent);
        pump_stop(line.tunnel);
        line_ends(&rig, &line, PUMP_STOPPED, 0);
        line_close(&line);
        rig_close(&rig);
    }
}

/* What the pump does with bytes: all of them, in order, counted, and few of them held. */
#include <sys/socket.h>

#include "tests.h"

#define MOST_HELD (256 * 1024)

void small_messages_arrive(struct kind kind)
{
    struct rig rig;
    struct line line;
    rig_open(&rig, 1);
    line_open(&rig, &line, kind, 0);
    for (size_t number = 1; number <= 50; number++)
        for BOTH_SIDES (side) {
            far_send(&line.far[side], number * number);
            far_read(&line.far[!side], line.far[side].sent);
        }
    struct pump_counts counts = line_counts(&rig, &line);
    CHECK(counts.bytes[PUMP_CLIENT] == line.far[PUMP_CLIENT].sent);
    CHECK(counts.bytes[PUMP_UPSTREAM] == line.far[PUMP_UPSTREAM].sent);
    CHECK(counts.first_end == -1);
    rig_rests(&rig);
    pump_stop(line.tunnel);
    line_ends(&rig, &line, PUMP_STOPPED, 0);
    line_close(&line);
    rig_close(&rig);
}

void megabytes_arrive_both_ways(struct kind kind)
{
    struct rig rig;
    struct line line;
    size_t forth = (size_t)effort * 512 * 1024 + 77, back = (size_t)effort * 300 * 1024 + 5;
    for (int buffers = 0; buffers <= SMALL; buffers += SMALL) {
        rig_open(&rig, 1);
        line_open(&rig, &line, kind, buffers);
        far_both_ways(&line.far[PUMP_CLIENT], forth, &line.far[PUMP_UPSTREAM], back);
        struct pump_counts counts = line_counts(&rig, &line);
        CHECK(counts.bytes[PUMP_CLIENT] == forth && counts.bytes[PUMP_UPSTREAM] == back);
        far_finish(&line.far[PUMP_CLIENT]);
        CHECK(far_rest(&line.far[PUMP_UPSTREAM]) == ORDERLY);
        far_finish(&line.far[PUMP_UPSTREAM]);
        CHECK(far_rest(&line.far[PUMP_CLIENT]) == ORDERLY);
        line_ends(&rig, &line, PUMP_CLOSED, PUMP_CLIENT);
        line_close(&line);
        rig_close(&rig);
    }
}

void early_bytes_come_first_and_are_counted(struct kind kind)
{
    static char early[2][200 * 1024];
    struct rig rig;
    struct line line;
    struct pump_handoff handoff = {0};
    rig_open(&rig, 1);
    line_connect(&line, kind, SMALL);
    for BOTH_SIDES (side) {
        /* Of what goes to this side, so much was sent by the other before; 100 of it count for nobody. */
        line.far[!side].sent = handoff.first_bytes[side] = sizeof early[side];
        pattern((unsigned)!side + 1, 0, early[side], sizeof early[side]);
        handoff.first[side] = early[side];
        handoff.uncounted[side] = 100;
        far_send(&line.far[!side], 1000);
    }
    line_start_with(&rig, &line, handoff);
    for BOTH_SIDES (side)
        far_read(&line.far[side], sizeof early[side] + 1000);
    for BOTH_SIDES (side)
        CHECK(line_counts(&rig, &line).bytes[side] == sizeof early[side] + 1000 - 100);
    pump_stop(line.tunnel);
    line_ends(&rig, &line, PUMP_STOPPED, 0);
    line_close(&line);
    rig_close(&rig);
}

static size_t capacity(const struct line *line, int side)
{
    size_t count = 0;
    for (int index = 0; index < 2; index++) {
        int bytes = 0;
        socklen_t length = sizeof bytes;
        getsockopt(line->far[side].descriptor, SOL_SOCKET, index ? SO_SNDBUF : SO_RCVBUF, &bytes, &length);
        count += (size_t)bytes;
    }
    return count;
}

static void a_stopped_reader(struct kind kind, int sender)
{
    struct rig rig;
    struct line line;
    rig_open(&rig, 1);
    line_open(&rig, &line, kind, SMALL);
    line_stuff(&rig, &line, sender);
    struct pump_counts before = line_counts(&rig, &line);
    rig_time(&rig, 3);
    rig_rests(&rig);
    rig_time(&rig, 5);
    struct pump_counts after = line_counts(&rig, &line);
    CHECK(after.bytes[sender] <= MOST_HELD + capacity(&line, PUMP_CLIENT) + capacity(&line, PUMP_UPSTREAM));
    CHECK(after.paused[sender] - before.paused[sender] > 3.9 && after.paused[!sender] < 0.001);
    far_send(&line.far[!sender], 5000);
    far_read(&line.far[sender], 5000);
    size_t sent = line.far[sender].sent;
    far_read(&line.far[!sender], sent);
    far_both_ways(&line.far[sender], 300 * 1024, &line.far[!sender], 1000);
    rig_rests(&rig);
    double paused = line_counts(&rig, &line).paused[sender];
    rig_time(&rig, 20);
    CHECK(line_counts(&rig, &line).paused[sender] - paused < 0.001);
    far_finish(&line.far[sender]);
    CHECK(far_rest(&line.far[!sender]) == ORDERLY);
    pump_stop(line.tunnel);
    line_ends(&rig, &line, PUMP_STOPPED, 0);
    line_close(&line);
    rig_close(&rig);
}

void a_stopped_reader_pauses_the_sender(struct kind kind)
{
    for BOTH_SIDES (sender)
        a_stopped_reader(kind, sender);
}

void bulk_is_spliced_where_both_are_plain(struct kind kind)
{
    struct rig rig;
    struct line line;
    bool plain = !kind.tls[PUMP_CLIENT] && !kind.tls[PUMP_UPSTREAM];
    rig_open(&rig, 1);
    splices = 0;
    line_open_with_bulk(&rig, &line, kind, PUMP_CLIENT, 100 * 1024, 0);
    far_read(&line.far[PUMP_UPSTREAM], 100 * 1024);
    CHECK(plain ? splices > 0 : splices == 0);
    far_send(&line.far[PUMP_CLIENT], 1000);
    far_read(&line.far[PUMP_UPSTREAM], line.far[PUMP_CLIENT].sent);
    pump_catch_up(rig.pump);
    splices = 0;
    for (int number = 0; number < 20; number++) {
        far_send(&line.far[PUMP_CLIENT], 1000);
        far_read(&line.far[PUMP_UPSTREAM], line.far[PUMP_CLIENT].sent);
    }
    CHECK(splices == 0);
    pump_stop(line.tunnel);
    line_ends(&rig, &line, PUMP_STOPPED, 0);
    line_close(&line);
    rig_close(&rig);
}

void bytes_that_openssl_holds_raise_no_event_and_arrive(struct kind kind)
{
    for BOTH_SIDES (side) {
        struct rig rig;
        struct line line;
        char first[6];
        rig_open(&rig, 1);
        line_connect(&line, kind, 1 << 20);
        if (kind.tls[side]) { /* what comes behind them is in OpenSSL's memory, and the socket is empty */
            far_send(&line.far[side], 1000);
            while (SSL_read(line.ssl[side], first, sizeof first) != sizeof first)
                ;
            line.far[!side].got = sizeof first;
        }
        line_start_with(&rig, &line, (struct pump_handoff){0});
        if (kind.tls[side])
            far_read(&line.far[!side], 1000);
        /* Of the last of these records a part is left after as many full reads as there are in one turn. */
        for (int number = 0; number < 17; number++)
            far_send(&line.far[side], 16000);
        far_read(&line.far[!side], line.far[side].sent);
        pump_stop(line.tunnel);
        line_ends(&rig, &line, PUMP_STOPPED, 0);
        line_close(&line);
        rig_close(&rig);

        rig_open(&rig, 1);
        line_connect(&line, kind, 1 << 20);
        for (int number = 0; number < 17; number++)
            far_send(&line.far[side], 16000);
        line_start_with(&rig, &line, (struct pump_handoff){0});
        far_read(&line.far[!side], line.far[side].sent);
        pump_stop(line.tunnel);
        line_ends(&rig, &line, PUMP_STOPPED, 0);
        line_close(&line);
        rig_close(&rig);
    }
}

/* Open one with bytes that wait in its pipe. */
static void fill_a_pipe(struct rig *rig, struct line *line)
{
    const size_t count = 150 * 1024;
    enum how how;
    line_open_with_bulk(rig, line, (struct kind){{false, false}}, PUMP_CLIENT, count, SMALL);
    /* The first 64 KiB are copied; once they are gone, the rest goes into the pipe at once. */
    while (line_counts(rig, line).bytes[PUMP_CLIENT] < count)
        CHECK(far_try_read(&line->far[PUMP_UPSTREAM], &how) >= 0);
    CHECK(splices > 0 && line->far[PUMP_UPSTREAM].got < count - 4 * SMALL);
}

/* Whether a tunnel that has much to move gets a pipe now. */
static bool gets_a_pipe(struct rig *rig)
{
    struct line line;
    splices = 0;
    line_open_with_bulk(rig, &line, (struct kind){{false, false}}, PUMP_UPSTREAM, 100 * 1024, 0);
    far_read(&line.far[PUMP_CLIENT], 100 * 1024);
    pump_stop(line.tunnel);
    line_ends(rig, &line, PUMP_STOPPED, 0);
    line_close(&line);
    return splices > 0;
}

void pipes_come_back_empty_and_not_too_late(void)
{
    for (int stopped = 0; stopped < 2; stopped++) {
        struct rig rig;
        struct line line;
        rig_open(&rig, 1);
        splices = 0;
        fill_a_pipe(&rig, &line);
        fail_pipes = !stopped; /* so that there is this one only */
        if (!stopped) {
            CHECK(!gets_a_pipe(&rig));
            rig_time(&rig, rig.now + 2);
            rig_time(&rig, rig.now + 2);
            CHECK(gets_a_pipe(&rig));
            far_read(&line.far[PUMP_UPSTREAM], line.far[PUMP_CLIENT].sent);
        }
        pump_stop(line.tunnel);
        line_ends(&rig, &line, PUMP_STOPPED, 0);
        CHECK(gets_a_pipe(&rig)); /* and reads no bytes of another in it */
        fail_pipes = 0;
        line_close(&line);
        rig_close(&rig);
    }
}

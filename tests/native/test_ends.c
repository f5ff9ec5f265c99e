/* How a tunnel ends: in order, by a reset, a truncation, a garbage record, a stop, a limit of time. One outcome. */
#include "tests.h"

static void end_by_stop(struct rig *rig, struct line *line)
{
    pump_stop(line->tunnel);
    line_ends(rig, line, PUMP_STOPPED, 0);
    line_close(line);
    rig_close(rig);
}

static void half_close(struct kind kind, int first)
{
    struct rig rig;
    struct line line;
    rig_open(&rig, 1);
    line_open(&rig, &line, kind, 0);
    struct far *one = &line.far[first], *other = &line.far[!first];
    far_send(one, 12);
    far_finish(one);
    CHECK(far_rest(other) == ORDERLY && other->got == 12);
    line_lives(&rig, &line);
    CHECK(line_counts(&rig, &line).first_end == first);
    rig_rests(&rig);
    far_both_ways(other, 700 * 1024, one, 0);
    far_finish(other);
    CHECK(far_rest(one) == ORDERLY);
    line_ends(&rig, &line, PUMP_CLOSED, first);
    CHECK(line.last.bytes[!first] == 700 * 1024 && line.last.first_end == first);
    line_close(&line);
    rig_close(&rig);
}

void an_end_is_passed_on_and_the_other_way_goes_on(struct kind kind)
{
    for BOTH_SIDES (first)
        half_close(kind, first);
}

void an_end_comes_after_bytes_that_wait(struct kind kind)
{
    struct rig rig;
    struct line line;
    rig_open(&rig, 1);
    line_open(&rig, &line, kind, SMALL);
    line_stuff(&rig, &line, PUMP_UPSTREAM);
    far_finish(&line.far[PUMP_UPSTREAM]);
    rig_rests(&rig);
    CHECK(far_rest(&line.far[PUMP_CLIENT]) == ORDERLY);
    CHECK(line.far[PUMP_CLIENT].got == line.far[PUMP_UPSTREAM].sent);
    far_finish(&line.far[PUMP_CLIENT]);
    CHECK(far_rest(&line.far[PUMP_UPSTREAM]) == ORDERLY);
    line_ends(&rig, &line, PUMP_CLOSED, PUMP_UPSTREAM);
    line_close(&line);
    rig_close(&rig);
}

void ends_seen_before_the_handoff_are_passed_on(struct kind kind)
{
    for BOTH_SIDES (first) {
        struct rig rig;
        struct line line;
        struct pump_handoff handoff = {0};
        rig_open(&rig, 1);
        line_connect(&line, kind, 0);
        handoff.legs[first].ended = 1;
        line_start_with(&rig, &line, handoff);
        CHECK(far_rest(&line.far[!first]) == ORDERLY);
        far_send(&line.far[!first], 10);
        far_finish(&line.far[!first]);
        CHECK(far_rest(&line.far[first]) == ORDERLY && line.far[first].got == 10);
        line_ends(&rig, &line, PUMP_CLOSED, first);
        line_close(&line);
        rig_close(&rig);
    }
}

/* What the tunnel is at when a side is lost, or when it is stopped. */
enum state { FRESH, IDLE, STUFFED_BY, STUFFED_TO, AFTER_ITS_END, AFTER_THE_OTHERS_END, NOT_YET_STARTED, STATES };

static void bring_to(struct rig *rig, struct line *line, struct kind kind, enum state state, int side)
{
    line_connect(line, kind, state == STUFFED_BY || state == STUFFED_TO ? SMALL : 0);
    if (state == NOT_YET_STARTED)
        return;
    line_start_with(rig, line, (struct pump_handoff){0});
    if (state == IDLE) {
        far_send(&line->far[side], 10);
        far_read(&line->far[!side], 10);
    }
    if (state == STUFFED_BY || state == STUFFED_TO)
        line_stuff(rig, line, state == STUFFED_BY ? side : !side);
    if (state == AFTER_ITS_END || state == AFTER_THE_OTHERS_END) {
        int first = state == AFTER_ITS_END ? side : !side;
        far_finish(&line->far[first]);
        CHECK(far_rest(&line->far[!first]) == ORDERLY);
    }
}

static void reset_in(struct kind kind, enum state state, int side)
{
    struct rig rig;
    struct line line;
    rig_open(&rig, 1);
    bring_to(&rig, &line, kind, state, side);
    far_reset(&line.far[side]);
    if (state == NOT_YET_STARTED)
        line_start_with(&rig, &line, (struct pump_handoff){0});
    struct far *other = &line.far[!side];
    /* A side that has ended is not read, nor one whose bytes nobody takes: what it gets, or its reader, shows it. */
    if (state == AFTER_ITS_END)
        for (enum how how; far_try_send(other, 1000) >= 0 && far_try_read(other, &how) >= 0; rig_listen(&rig))
            ;
    if (state == STUFFED_BY)
        CHECK(line_rest(&rig, &line, !side) == BY_RESET && other->got <= line_counts(&rig, &line).bytes[side]);
    line_ends(&rig, &line, PUMP_RESET, side);
    if (state != STUFFED_BY && state != AFTER_ITS_END)
        CHECK(far_rest(other) == BY_RESET);
    line_close(&line);
    rig_close(&rig);
}

void a_reset_is_passed_on_in_every_state(struct kind kind)
{
    for BOTH_SIDES (side)
        for (enum state state = FRESH; state < STATES; state++)
            reset_in(kind, state, side);
}

void what_is_cut_off_is_a_truncation(struct kind kind)
{
    for BOTH_SIDES (side)
        for (int stuffed = 0; kind.tls[side] && stuffed < 2; stuffed++) {
            struct rig rig;
            struct line line;
            rig_open(&rig, 1);
            line_open(&rig, &line, kind, SMALL);
            if (stuffed)
                line_stuff(&rig, &line, side);
            else
                far_send(&line.far[side], 11);
            far_truncate(&line.far[side]);
            struct far *other = &line.far[!side];
            CHECK(line_rest(&rig, &line, !side) == BY_RESET && other->got == line.far[side].sent);
            line_ends(&rig, &line, PUMP_TRUNCATED, side);
            line_close(&line);
            rig_close(&rig);
        }
}

void a_garbage_record_is_a_tls_error(struct kind kind)
{
    for BOTH_SIDES (side) {
        struct rig rig;
        struct line line, bystander;
        if (!kind.tls[side])
            continue;
        rig_open(&rig, 1);
        line_open(&rig, &line, kind, 0);
        line_open(&rig, &bystander, kind, 0);
        far_send(&line.far[side], 4);
        far_send_garbage(&line.far[side]);
        CHECK(far_rest(&line.far[!side]) == BY_RESET && line.far[!side].got == 4);
        line_ends(&rig, &line, PUMP_TLS_ERROR, side);
        /* OpenSSL's errors are the thread's, so it is the neighbour that would be taken for the culprit. */
        far_both_ways(&bystander.far[PUMP_CLIENT], 30000, &bystander.far[PUMP_UPSTREAM], 30000);
        line_close(&line);
        end_by_stop(&rig, &bystander);
    }
}

static void stop_in(struct kind kind, enum state state, int side)
{
    struct rig rig;
    struct line line;
    rig_open(&rig, 1);
    bring_to(&rig, &line, kind, state, side);
    if (state == NOT_YET_STARTED)
        line_start_with(&rig, &line, (struct pump_handoff){0});
    else
        rig_rests(&rig);
    pump_stop(line.tunnel);
    pump_stop(line.tunnel);
    line_ends(&rig, &line, PUMP_STOPPED, 0);
    enum how how[2] = {far_rest(&line.far[PUMP_CLIENT]), far_rest(&line.far[PUMP_UPSTREAM])};
    CHECK(how[!side] == (state == STUFFED_BY ? BY_RESET : ORDERLY));
    CHECK(state == STUFFED_BY || how[side] == (state == STUFFED_TO ? BY_RESET : ORDERLY));
    line_close(&line);
    rig_close(&rig);
}

void a_stop_ends_every_state(struct kind kind)
{
    for BOTH_SIDES (side)
        for (enum state state = FRESH; state < STATES; state++)
            stop_in(kind, state, side);
}

/* The end comes in this second, and not before. */
static void ends_at(struct rig *rig, struct line *line, double second, int end, int side)
{
    rig_time(rig, second - 1);
    line_lives(rig, line);
    rig_time(rig, second + 1);
    line_ends(rig, line, end, side);
    line_close(line);
    rig_close(rig);
}

void limits_of_time_are_kept(struct kind kind)
{
    struct rig rig;
    struct line line;
    rig_open(&rig, 1);
    line_connect(&line, kind, 0);
    line_start_with(&rig, &line, (struct pump_handoff){.idle = 60});
    rig_time(&rig, 51);
    far_send(&line.far[PUMP_CLIENT], 1);
    far_read(&line.far[PUMP_UPSTREAM], 1);
    ends_at(&rig, &line, 51 + 60, PUMP_IDLE, 0);
    for BOTH_SIDES (side) {
        rig_open(&rig, 1);
        line_connect(&line, kind, 0);
        line_start_with(&rig, &line, (struct pump_handoff){.linger = 30});
        far_finish(&line.far[!side]);
        CHECK(far_rest(&line.far[side]) == ORDERLY);
        rig_time(&rig, 21);
        far_send(&line.far[side], 1);
        far_read(&line.far[!side], 1);
        ends_at(&rig, &line, 21 + 30, PUMP_LINGERED, side);

        rig_open(&rig, 1);
        line_connect(&line, kind, SMALL);
        line_start_with(&rig, &line, (struct pump_handoff){.write_stall = 60});
        line_stuff(&rig, &line, !side);
        ends_at(&rig, &line, 1 + 60, PUMP_STALLED, side);
    }
}

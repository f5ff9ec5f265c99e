/* Many tunnels at once and one after the other, ended at any moment; descriptors that are used again at once. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests.h"

#define AT_ONCE 40

static unsigned numbers = 12345;

/* Always the same numbers: what fails once fails again, as far as threads allow. */
static int any_below(int most)
{
    numbers = numbers * 1103515245u + 12345u;
    return (int)(numbers >> 16) % most;
}

static struct kind any_kind(void)
{
    return (struct kind){{any_below(3) == 0, any_below(3) == 0}};
}

void a_pump_is_freed_with_living_tunnels(void)
{
    static struct line lines[AT_ONCE];
    for (int round = 0; round < effort; round++) {
        struct rig rig;
        rig_open(&rig, 3);
        for (int index = 0; index < AT_ONCE; index++) {
            struct line *line = &lines[index];
            line_open(&rig, line, any_kind(), SMALL);
            if (index % 4 == 0)
                line_stuff(&rig, line, any_below(2));
            else if (index % 4 == 1)
                far_reset(&line->far[any_below(2)]);
            else if (index % 4 == 2)
                far_finish(&line->far[any_below(2)]);
        }
        pump_free(rig.pump);
        for (int index = 0; index < AT_ONCE; index++) {
            for BOTH_SIDES (side)
                if (lines[index].far[side].descriptor != -1)
                    far_rest(&lines[index].far[side]);
            line_close(&lines[index]);
        }
    }
}

void ends_not_yet_told_are_freed_with_the_pump(void)
{
    struct rig rig;
    struct line one, two;
    rig_open(&rig, 2);
    line_open(&rig, &one, (struct kind){{false, true}}, 0);
    line_open(&rig, &two, (struct kind){{true, false}}, 0);
    far_reset(&one.far[PUMP_CLIENT]);
    pump_stop(two.tunnel);
    CHECK(far_rest(&one.far[PUMP_UPSTREAM]) == BY_RESET && far_rest(&two.far[PUMP_CLIENT]) == ORDERLY);
    pump_catch_up(rig.pump);
    pump_free(rig.pump);
    line_close(&one);
    line_close(&two);
}

/* Takes whatever number is free, at once and again and again, and sees whether anybody else uses it. */
static atomic_bool enough;

static void *take_numbers(void *nothing)
{
    while (!enough) {
        int pair[2];
        char byte;
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
        CHECK(send(pair[0], "x", 1, MSG_NOSIGNAL) == 1);
        CHECK(recv(pair[1], &byte, 1, 0) == 1 && byte == 'x');
        CHECK(recv(pair[0], &byte, 1, 0) == -1 && recv(pair[1], &byte, 1, 0) == -1);
        CHECK(close(pair[0]) == 0 && close(pair[1]) == 0);
    }
    return nothing;
}

static void end_somehow(struct line *line)
{
    int side = any_below(2);
    struct far *one = &line->far[side];
    switch (any_below(7)) {
    case 0:
        far_reset(one);
        break;
    case 1:
        far_finish(one);
        far_finish(&line->far[!side]);
        break;
    case 2:
        pump_stop(line->tunnel);
        break;
    case 3: /* bytes wait on their way when it comes */
        for (int count = 0; count < 20 && far_try_send(one, 16384) > 0; count++)
            ;
        far_reset(&line->far[any_below(2)]);
        break;
    case 4:
        if (one->ssl)
            far_truncate(one);
        else
            far_reset(one);
        break;
    case 5:
        far_finish(one);
        far_reset(&line->far[!side]);
        break;
    default:
        far_send(one, 100);
        far_reset(one);
        pump_stop(line->tunnel);
    }
}

/* So many tunnels, most of them ended while others begin. */
static void churn(int count, int threads)
{
    static struct line lines[AT_ONCE];
    struct rig rig;
    rig_open(&rig, threads);
    for (int number = 0; number < count; number++) {
        struct line *line = &lines[number % AT_ONCE];
        if (number >= AT_ONCE) {
            line_is_told(&rig, line);
            line_close(line);
        }
        line_connect(line, any_kind(), any_below(2) ? SMALL : 0);
        line_start_with(&rig, line, (struct pump_handoff){.idle = 3, .write_stall = 3, .linger = 3});
        if (any_below(3))
            far_send(&line->far[any_below(2)], (size_t)any_below(3000) + 1);
        if (number % 5 == 0)
            rig_time(&rig, rig.now + 1);
        end_somehow(line);
        if (number % 3 == 0)
            rig_listen(&rig);
    }
    for (int index = 0; index < AT_ONCE && index < count; index++) {
        line_is_told(&rig, &lines[index]);
        line_close(&lines[index]);
    }
    rig_close(&rig);
}

void reused_descriptors_meet_nobody(void)
{
    pthread_t taker;
    enough = false;
    CHECK(pthread_create(&taker, NULL, take_numbers, NULL) == 0);
    churn(60 * effort, 2);
    enough = true;
    pthread_join(taker, NULL);
}

void tunnels_come_and_go(void)
{
    churn(250 * effort, 3);
}

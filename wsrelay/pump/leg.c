/* One leg: reading, writing and ending, plain and under TLS. Knows nothing of tunnels, epoll or threads. */
#define _GNU_SOURCE
#include "leg.h"

#include "tls.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SIOCOUTQNSD
#define SIOCOUTQNSD 0x894B /* linux/sockios.h, which not every C library brings */
#endif

size_t leg_waiting(const struct leg *leg)
{
    if (leg->failed || leg->descriptor == -1)
        return 0;
    if (leg->to > leg->from || leg->in_pipe)
        return leg->to - leg->from + leg->in_pipe;
    return leg->finishing && !leg->shut;
}

size_t leg_held_back(const struct leg *leg)
{
    struct pollfd gone = {.fd = leg->descriptor};
    int unsent = 0;
    if (leg->descriptor == -1 || poll(&gone, 1, 0) > 0)
        return 0;
    if (ioctl(leg->descriptor, SIOCOUTQNSD, &unsent) == -1) /* a UNIX socket, whose bytes are at the other end at once */
        return 0;
    return (size_t)unsent;
}

/* Reading. */

static long read_plain(struct leg *leg, char *bytes)
{
    for (;;) {
        ssize_t count = recv(leg->descriptor, bytes, READ_BYTES, 0);
        if (count > 0)
            return count;
        if (count == 0)
            return READ_ENDED;
        if (errno == EAGAIN)
            return READ_NOTHING;
        if (errno != EINTR)
            return READ_RESET;
    }
}

/* What a failed SSL_read means. Leaves the thread's queue of errors empty, for every connection uses the same. */
static int why_no_read(struct leg *leg, int returned, const struct tls_calls *tls)
{
    int system_error = errno;
    int why = READ_TLS_ERROR;
    switch (tls->SSL_get_error(leg->ssl, returned)) {
    case SSL_ERROR_WANT_READ:
        return READ_NOTHING;
    case SSL_ERROR_WANT_WRITE:
        leg->read_wants_write = true;
        return READ_NOTHING;
    case SSL_ERROR_ZERO_RETURN:
        return READ_ENDED;
    case SSL_ERROR_SYSCALL:
        why = system_error ? READ_RESET : READ_TRUNCATED;
        break;
    default:
        if (IS_UNEXPECTED_EOF(tls->ERR_peek_error()))
            why = READ_TRUNCATED;
    }
    tls->ERR_clear_error();
    /* We have said our end, and browsers answer that with a plain FIN. What is cut off there is nothing. */
    return why == READ_TRUNCATED && leg->shut ? READ_ENDED : why;
}

/* Record by record. A small message costs one call, and no further one to hear that there is no more: the socket still
 * reports what it has, since epoll watches it level-triggered, and OpenSSL reads no further than the record. */
static long read_tls(struct leg *leg, char *bytes, const struct tls_calls *tls)
{
    size_t have = 0;
    int stop = leg->read_stop;
    leg->read_stop = READ_NOTHING;
    if (stop != READ_NOTHING)
        return stop;
    for (;;) {
        errno = 0;
        int count = tls->SSL_read(leg->ssl, bytes + have, (int)(READ_BYTES - have));
        if (count <= 0) {
            stop = why_no_read(leg, count, tls);
            break;
        }
        have += (size_t)count;
        if (have == READ_BYTES || (count < RECORD_BYTES && !tls->SSL_pending(leg->ssl)))
            break;
    }
    if (have == 0)
        return stop;
    leg->read_stop = stop;
    return (long)have;
}

long leg_read(struct leg *leg, char *bytes, const struct tls_calls *tls)
{
    return leg->ssl ? read_tls(leg, bytes, tls) : read_plain(leg, bytes);
}

bool leg_holds_more(const struct leg *leg, const struct tls_calls *tls)
{
    return leg->ssl && (leg->read_stop != READ_NOTHING || tls->SSL_pending(leg->ssl));
}

long leg_splice(struct leg *leg, struct leg *sink)
{
    for (;;) {
        ssize_t count =
            splice(leg->descriptor, NULL, sink->pipe.in, NULL, PIPE_BYTES, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (count > 0) {
            sink->in_pipe = (size_t)count;
            return count;
        }
        if (count == 0)
            return READ_ENDED;
        if (errno == EAGAIN)
            return READ_NOTHING;
        if (errno == EINVAL || errno == EPERM || errno == ENOSYS) { /* a sandbox, or a socket that cannot */
            leg->unspliceable = true;
            return READ_NOTHING;
        }
        if (errno != EINTR)
            return READ_RESET;
    }
}

void leg_empty_pipe(struct leg *leg)
{
    char *held = malloc(leg->in_pipe);
    if (!held)
        return;
    leg->held = held;
    leg->from = leg->to = 0;
    while (leg->in_pipe) {
        ssize_t count = read(leg->pipe.out, leg->held + leg->to, leg->in_pipe);
        if (count <= 0) { /* cannot be: the pipe has as much as it was given */
            leg->failed = true;
            return;
        }
        leg->to += (size_t)count;
        leg->in_pipe -= (size_t)count;
    }
}

/* Writing. */

static size_t write_plain(struct leg *leg, const char *bytes, size_t count)
{
    for (;;) {
        ssize_t taken = send(leg->descriptor, bytes, count, MSG_NOSIGNAL);
        if (taken >= 0)
            return (size_t)taken;
        if (errno == EAGAIN)
            return 0;
        if (errno != EINTR) {
            leg->failed = true;
            return 0;
        }
    }
}

/* What a failed SSL_write means: wait, or `failed`. */
static void why_no_write(struct leg *leg, int returned, const struct tls_calls *tls)
{
    switch (tls->SSL_get_error(leg->ssl, returned)) {
    case SSL_ERROR_WANT_WRITE:
        return;
    case SSL_ERROR_WANT_READ:
        leg->write_wants_read = true;
        return;
    default:
        tls->ERR_clear_error();
        leg->failed = true;
    }
}

/* After a wait OpenSSL wants the same bytes again, and gets them: they are at the front of what waits. */
static size_t write_tls(struct leg *leg, const char *bytes, size_t count, const struct tls_calls *tls)
{
    size_t taken = 0;
    while (taken < count) {
        size_t piece = count - taken < RECORD_BYTES ? count - taken : RECORD_BYTES;
        int written = tls->SSL_write(leg->ssl, bytes + taken, (int)piece);
        if (written <= 0) {
            why_no_write(leg, written, tls);
            break;
        }
        taken += (size_t)written;
    }
    return taken;
}

size_t leg_write(struct leg *leg, const char *bytes, size_t count, const struct tls_calls *tls)
{
    size_t taken = leg->ssl ? write_tls(leg, bytes, count, tls) : write_plain(leg, bytes, count);
    leg->moved += taken;
    return taken;
}

bool leg_hold(struct leg *leg, const char *bytes, size_t count)
{
    leg->held = malloc(count);
    if (!leg->held)
        return false;
    memcpy(leg->held, bytes, count);
    leg->from = 0;
    leg->to = count;
    return true;
}

static void let_go(struct leg *leg)
{
    free(leg->held);
    leg->held = NULL;
    leg->from = leg->to = 0;
}

static void flush_pipe(struct leg *leg)
{
    while (leg->in_pipe) {
        ssize_t taken =
            splice(leg->pipe.out, NULL, leg->descriptor, NULL, leg->in_pipe, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (taken > 0) {
            leg->in_pipe -= (size_t)taken;
            leg->moved += (size_t)taken;
        } else if (taken == -1 && errno == EAGAIN) {
            return;
        } else if (taken == 0 || errno != EINTR) {
            leg->failed = true;
            return;
        }
    }
}

static void send_end(struct leg *leg, const struct tls_calls *tls)
{
    if (!leg->ssl) {
        /* Fails if the connection was reset since: what we wrote may not have arrived, so this is no end. */
        leg->failed = shutdown(leg->descriptor, SHUT_WR) == -1;
        leg->shut = !leg->failed;
        return;
    }
    int returned = tls->SSL_shutdown(leg->ssl);
    if (returned >= 0) {
        leg->shut = true;
        return;
    }
    switch (tls->SSL_get_error(leg->ssl, returned)) {
    case SSL_ERROR_WANT_WRITE:
        return;
    case SSL_ERROR_WANT_READ: /* close_notify is out; what it waits for is the other's */
        leg->shut = true;
        return;
    default:
        tls->ERR_clear_error();
        /* Who has said its end and is gone needs none from us (RFC 8446 6.1). */
        leg->shut = leg->ended;
        leg->failed = !leg->ended;
    }
}

void leg_flush(struct leg *leg, const struct tls_calls *tls)
{
    if (leg->failed || leg->descriptor == -1)
        return;
    if (leg->held) {
        leg->from += leg_write(leg, leg->held + leg->from, leg->to - leg->from, tls);
        if (leg->from == leg->to || leg->failed)
            let_go(leg);
    }
    if (leg->in_pipe && !leg->failed)
        flush_pipe(leg);
    if (!leg->failed && !leg->held && !leg->in_pipe && leg->finishing && !leg->shut)
        send_end(leg, tls);
}

void leg_finish(struct leg *leg, const struct tls_calls *tls)
{
    leg->finishing = true;
    if (!leg->held && !leg->in_pipe && !leg->shut)
        leg_flush(leg, tls);
}

void leg_close(struct leg *leg, const struct tls_calls *tls)
{
    if (leg->descriptor == -1)
        return;
    if (!leg->shut) { /* has no effect on a UNIX socket, which knows no RST */
        struct linger reset = {.l_onoff = 1, .l_linger = 0};
        setsockopt(leg->descriptor, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    if (leg->ssl)
        tls->SSL_free(leg->ssl);
    close(leg->descriptor);
    leg->ssl = NULL;
    leg->descriptor = -1;
    let_go(leg);
}

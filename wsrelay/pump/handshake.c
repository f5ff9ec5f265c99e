/* TLS handshakes: a crew whose guests are handshakes. Nothing of it is about tunnels. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "crew.h"
#include "pump.h"
#include "tls.h"

/* The owner has the deadlines, so nothing here looks at the time. */
#define SWEEP_SECONDS 3600

struct handshakes {
    struct crew crew;
    struct tls_calls tls;
};

struct handshake {
    struct guest guest; /* first: a crew knows handshakes by it */
    const struct tls_calls *tls;
    int descriptor;
    void *ssl;
    uint32_t asked; /* which events epoll looks for; 0 means that it is not in its set */
    bool heard;
    struct handshake_end end;
};

static bool ask(struct handshake *handshake, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = handshake};
    int what = !handshake->asked ? EPOLL_CTL_ADD : events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
    if (events == handshake->asked)
        return true;
    if (epoll_ctl(handshake->guest.thread->epoll, what, handshake->descriptor, &event) == -1)
        return false;
    handshake->asked = events;
    return true;
}

static void end(struct handshake *handshake, int how, int system_error, unsigned long error)
{
    ask(handshake, 0);
    handshake->end.handshake = handshake;
    handshake->end.how = how;
    handshake->end.heard = handshake->heard;
    handshake->end.system_error = system_error;
    handshake->end.error = error;
    crew_over(&handshake->guest);
}

/* A client sends its request right behind its last message, so it is most often here already; and what has been taken
 * off the socket raises no event any more, so an end or an error must be told of now. But for a FIN or RST without an
 * end of TLS, which the next read finds again. */
static void read_first(struct handshake *handshake)
{
    char *scratch = handshake->guest.thread->scratch;
    handshake->tls->ERR_clear_error();
    int count = handshake->tls->SSL_read(handshake->ssl, scratch, SCRATCH_BYTES);
    if (count <= 0) {
        int why = handshake->tls->SSL_get_error(handshake->ssl, count);
        unsigned long error = handshake->tls->ERR_peek_error();
        handshake->tls->ERR_clear_error();
        handshake->end.ended = why == SSL_ERROR_ZERO_RETURN;
        if (error && !IS_UNEXPECTED_EOF(error))
            end(handshake, HANDSHAKE_REFUSED, 0, error);
        return;
    }
    char *first = malloc((size_t)count);
    if (!first) {
        end(handshake, HANDSHAKE_LOST, ENOMEM, 0); /* what was read is lost, so the connection is */
        return;
    }
    handshake->end.first = memcpy(first, scratch, (size_t)count);
    handshake->end.first_bytes = (size_t)count;
}

static void wait_for(struct handshake *handshake, uint32_t events)
{
    if (!ask(handshake, events))
        end(handshake, HANDSHAKE_LOST, errno, 0);
}

/* Of several errors, the one that names the step that failed; those before it say what the step met on its way. */
static unsigned long last_error(const struct tls_calls *tls)
{
    unsigned long error = 0, next;
    while ((next = tls->ERR_get_error()))
        error = next;
    return error;
}

static void fail(struct handshake *handshake, int system_error, unsigned long error)
{
    if (error && !IS_UNEXPECTED_EOF(error))
        end(handshake, HANDSHAKE_REFUSED, 0, error);
    else if (!error && system_error)
        end(handshake, HANDSHAKE_LOST, system_error, 0);
    else
        end(handshake, HANDSHAKE_ENDED, 0, 0);
}

/* A server has nothing to say before the first byte. */
static void look_for_first_byte(struct handshake *handshake)
{
    char byte;
    ssize_t seen = recv(handshake->descriptor, &byte, 1, MSG_PEEK);
    handshake->heard = seen > 0;
    if (seen > 0 && byte >= 'A' && byte <= 'Z') /* most likely a method; a record of TLS begins with a control character */
        end(handshake, HANDSHAKE_PLAIN, 0, 0);
    if (seen > 0)
        return;
    if (seen == 0)
        end(handshake, HANDSHAKE_ENDED, 0, 0);
    else if (errno == EAGAIN || errno == EINTR)
        wait_for(handshake, EPOLLIN);
    else /* this look has taken the error off the socket */
        end(handshake, HANDSHAKE_LOST, errno, 0);
}

static void step(struct handshake *handshake)
{
    if (!handshake->heard)
        look_for_first_byte(handshake);
    if (!handshake->heard || handshake->guest.is_over)
        return;
    errno = 0;
    int returned = handshake->tls->SSL_do_handshake(handshake->ssl);
    int system_error = errno;
    if (returned == 1) {
        read_first(handshake);
        if (!handshake->guest.is_over)
            end(handshake, HANDSHAKE_DONE, 0, 0);
        return;
    }
    switch (handshake->tls->SSL_get_error(handshake->ssl, returned)) {
    case SSL_ERROR_WANT_READ:
        wait_for(handshake, EPOLLIN);
        return;
    case SSL_ERROR_WANT_WRITE: /* and not for both: bytes that wait to be read would make it spin */
        wait_for(handshake, EPOLLOUT);
        return;
    default:
        fail(handshake, system_error, last_error(handshake->tls));
    }
}

static int choose_http(void *ssl, const unsigned char **chosen, unsigned char *chosen_bytes,
                       const unsigned char *offered, unsigned int offered_bytes, void *unused)
{
    static const char HTTP[] = "http/1.1";
    (void)ssl;
    (void)unused;
    for (unsigned int at = 0; at < offered_bytes && offered_bytes - at > offered[at]; at += 1U + offered[at]) {
        if (offered[at] == sizeof HTTP - 1 && memcmp(&offered[at + 1], HTTP, sizeof HTTP - 1) == 0) {
            *chosen = &offered[at + 1];
            *chosen_bytes = offered[at];
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int take_any_name(void *ssl, int *alert, void *unused)
{
    (void)ssl;
    (void)alert;
    (void)unused;
    return SSL_TLSEXT_ERR_OK;
}

void *pump_take_any_name(void)
{
    return (void *)take_any_name;
}

void *pump_choose_http(void)
{
    return (void *)choose_http;
}

static void join(struct guest *guest)
{
    if (!guest->to_stop) /* its client has gone while it stood in the queue; `stop` comes next */
        step((struct handshake *)guest);
}

static void event(void *watched, uint32_t events)
{
    struct handshake *handshake = watched;
    (void)events; /* whatever it is, the next step finds it */
    if (!handshake->guest.is_over)
        step(handshake);
}

static void stop(struct guest *guest)
{
    end((struct handshake *)guest, HANDSHAKE_STOPPED, 0, 0);
}

static const struct trade TRADE = {.name = "wsrelay-tls", .join = join, .event = event, .stop = stop};

int handshakes_new(struct handshakes **made, int threads, const struct tls_calls *tls)
{
    struct handshakes *handshakes = calloc(1, sizeof *handshakes);
    if (!handshakes)
        return ENOMEM;
    handshakes->tls = *tls;
    int error = crew_open(&handshakes->crew, &TRADE, threads, SWEEP_SECONDS);
    if (error)
        free(handshakes);
    else
        *made = handshakes;
    return error;
}

static void forget(struct guest *guest)
{
    handshake_forget((struct handshake *)guest);
}

void handshakes_free(struct handshakes *handshakes)
{
    crew_close(&handshakes->crew, forget);
    free(handshakes);
}

int handshakes_descriptor(const struct handshakes *handshakes)
{
    return handshakes->crew.told;
}

struct handshake *handshake_start(struct handshakes *handshakes, int descriptor, void *ssl, int speaks_first)
{
    struct handshake *handshake = calloc(1, sizeof *handshake);
    if (!handshake)
        return NULL;
    handshake->tls = &handshakes->tls;
    handshake->descriptor = descriptor;
    handshake->ssl = ssl;
    handshake->heard = speaks_first; /* whatever comes then is an answer */
    crew_start(&handshakes->crew, &handshake->guest);
    return handshake;
}

void handshake_stop(struct handshake *handshake)
{
    crew_stop(&handshake->guest);
}

int handshakes_next_end(struct handshakes *handshakes, struct handshake_end *ended)
{
    struct handshake *handshake = (struct handshake *)crew_next_over(&handshakes->crew);
    if (!handshake)
        return 0;
    *ended = handshake->end;
    return 1;
}

void handshake_forget(struct handshake *handshake)
{
    free((char *)handshake->end.first);
    free(handshake);
}

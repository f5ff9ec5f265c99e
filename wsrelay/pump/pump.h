/* The native data plane: moves the bytes of many tunnels, and does TLS handshakes, on a few threads. Linux, C11, no
 * Python.
 *
 * A tunnel has two legs, client and upstream, each a connected non-blocking stream socket, plain or under TLS.
 * From pump_start on both belong to the pump, which closes them. Every function here is called by one thread, the
 * owner's (wsrelay: the reactor's); none of them blocks but those that start or end threads, and pump_catch_up.
 *
 * cffi reads this file too: declarations and whole lines that begin with '#', nothing cleverer.
 */
#ifndef WSRELAY_PUMP_H
#define WSRELAY_PUMP_H

#include <stddef.h>
#include <stdint.h>

/* Sides, and the index of a leg. */
enum { PUMP_CLIENT, PUMP_UPSTREAM };

/* How a tunnel ended. Which side is meant stands beside it; the last two have none. */
enum {
    PUMP_CLOSED,    /* both ends in order, this side's first */
    PUMP_RESET,     /* this side's connection was reset or given up by the kernel */
    PUMP_TRUNCATED, /* TLS: this side's FIN without close_notify */
    PUMP_TLS_ERROR, /* TLS: a record that does not decrypt, a fatal alert */
    PUMP_STALLED,   /* bytes waited for this side and none moved for write_stall */
    PUMP_LINGERED,  /* this side was silent for linger after the other's end */
    PUMP_IDLE,      /* no byte moved for idle */
    PUMP_STOPPED    /* pump_stop */
};

/* The functions of the TLS library, as in OpenSSL's manual under the same names. Called on the pump's threads. */
struct tls_calls {
    int (*SSL_do_handshake)(void *ssl);
    int (*SSL_read)(void *ssl, void *bytes, int count);
    int (*SSL_write)(void *ssl, const void *bytes, int count);
    int (*SSL_get_error)(const void *ssl, int returned);
    int (*SSL_pending)(const void *ssl);
    int (*SSL_shutdown)(void *ssl);
    void (*SSL_free)(void *ssl);
    unsigned long (*ERR_peek_error)(void);
    unsigned long (*ERR_get_error)(void);
    void (*ERR_clear_error)(void);
};

struct pump_leg {
    int descriptor; /* non-blocking; TCP_NODELAY is set by whoever made it */
    void *ssl;      /* NULL without TLS; otherwise an SSL after its handshake, on this descriptor, owned. It must have
                       SSL_MODE_ENABLE_PARTIAL_WRITE and SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER */
    int ended;      /* its end (FIN, close_notify) was already seen */
};

struct pump_handoff {
    struct pump_leg legs[2];
    const char *first[2];    /* what each leg gets before anything else; copied */
    size_t first_bytes[2];
    size_t uncounted[2];     /* how many of those were not read from the other leg, and so do not count */
    double idle;             /* seconds; 0 means no limit, as in the next two */
    double write_stall;
    double linger;
};

/* One tunnel in numbers. The index is the side whose bytes are meant: [PUMP_CLIENT] from client to upstream. */
struct pump_counts {
    uint64_t bytes[2];
    double silent[2];  /* seconds since this side's last byte */
    double paused[2];  /* seconds in which this side was not read, since the other did not take its bytes */
    int first_end;     /* the side that ended first, -1 if none has */
};

struct pump;
struct tunnel;

struct pump_ended {
    struct tunnel *tunnel;
    int end;
    int side;
};

/* Start the threads. 0, or an errno: then nothing was started. `sweep` is how often, in seconds, each tunnel's limits
 * of time are looked at. `tls` is copied. */
int pump_new(struct pump **pump, int threads, double sweep, const struct tls_calls *tls);

/* Readable while pump_next_ended has something to say. */
int pump_descriptor(const struct pump *pump);

/* Own both legs and move bytes until the tunnel's end. NULL if there is no memory: then both legs are closed. */
struct tunnel *pump_start(struct pump *pump, const struct pump_handoff *handoff);

/* End it now, with FIN or close_notify to both. Nothing happens if it has ended. */
void pump_stop(struct tunnel *tunnel);

/* The numbers now; the last ones once it has ended. */
void pump_count(struct pump *pump, const struct tunnel *tunnel, struct pump_counts *counts);

/* The next tunnel that has ended, with both its sockets closed; 0 if there is none. */
int pump_next_ended(struct pump *pump, struct pump_ended *ended);

/* Free a tunnel that pump_next_ended has told of. */
void pump_forget(struct tunnel *tunnel);

/* End what still lives as pump_stop does, end the threads, free all, tunnels not yet told of included. */
void pump_free(struct pump *pump);

/* For tests: from now on it is `seconds`, until this is called again. */
void pump_hold_time(struct pump *pump, double seconds);

/* For tests: return when every thread has done what was there to do, and has looked at all limits of time. */
void pump_catch_up(struct pump *pump);

/* TLS handshakes: their own threads, since one costs what a hundred messages do. */

enum {
    HANDSHAKE_DONE,      /* secured */
    HANDSHAKE_ENDED,     /* FIN before it was done */
    HANDSHAKE_PLAIN,     /* a client's capital letter, as HTTP without TLS begins; nothing of it has been taken */
    HANDSHAKE_LOST,      /* the system's error stands beside it */
    HANDSHAKE_REFUSED,   /* the TLS library's error stands beside it */
    HANDSHAKE_STOPPED    /* handshake_stop */
};

struct handshakes;
struct handshake;

struct handshake_end {
    struct handshake *handshake;
    int how;
    int heard;           /* whether any byte has come; without one the other end was only looking whether the port is open */
    int system_error;    /* an errno */
    unsigned long error; /* the TLS library's */
    int ended;           /* close_notify has come behind it */
    const char *first;   /* what has come behind it; freed by handshake_forget */
    size_t first_bytes;
};

/* As pump_new. */
int handshakes_new(struct handshakes **handshakes, int threads, const struct tls_calls *tls);

/* Readable while handshakes_next_end has something to say. */
int handshakes_descriptor(const struct handshakes *handshakes);

/* Do a handshake on a non-blocking socket, as what `ssl` was made: a client, which speaks first, or a server. The socket
 * and `ssl` are lent: they must live until handshakes_next_end has told of its end, and nobody else may use them. NULL if
 * there is no memory. */
struct handshake *handshake_start(struct handshakes *handshakes, int descriptor, void *ssl, int speaks_first);

/* Give it up; its end will be told of all the same. */
void handshake_stop(struct handshake *handshake);

/* The next handshake that has ended; 0 if there is none. */
int handshakes_next_end(struct handshakes *handshakes, struct handshake_end *end);

/* Free a handshake that handshakes_next_end has told of. */
void handshake_forget(struct handshake *handshake);

/* The address of a function for SSL_CTX_set_tlsext_servername_callback that takes every name (RFC 6066 3). */
void *pump_take_any_name(void);

/* The address of a function for SSL_CTX_set_alpn_select_cb that takes http/1.1 and nothing else (RFC 7301 3.2). */
void *pump_choose_http(void);

/* Give up what is still under way, end the threads, free all. */
void handshakes_free(struct handshakes *handshakes);

#endif

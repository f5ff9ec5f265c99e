/* The load of the bench: opens tunnels through a proxy, sends messages or streams through them, and times the echo.
 *
 *     load PORT http|tls|tcp [GROUPS]
 *
 * http: an HTTP/1.1 upgrade first; tls: the same inside TLS 1.3 (GROUPS is the key share, X25519 unless given); tcp:
 * bytes from the start. Commands are lines on standard input, and each is answered by one line of JSON:
 *
 *     open N                       open tunnels until N are; each has passed one message, so it reaches the upstream
 *     echo SECONDS ACTIVE RATE     messages through the first ACTIVE tunnels. RATE 0: one in flight in each of them
 *                                  all the time; otherwise so many a second, whether the earlier ones are back or not
 *     stream SECONDS ACTIVE        as many bytes as the tunnels take, all of them echoed
 *     connect COUNT SLOTS RATE full|resumed     so often: connect, upgrade, one message, close; RATE 0: SLOTS of
 *                                  them at any time
 *     close                        close every tunnel
 *
 * What it measures must not be itself: one thread, edge-triggered epoll without changes to the set, one system call
 * to send a message and one to get it, no allocation for a message. Every message that comes back is compared with what
 * was sent; of a stream it is one read in sixteen, and of the others the kernel throws the bytes away uncopied, where
 * there is no TLS. Anything unexpected ends the program with a sentence on standard error.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "histogram.h"

enum { MESSAGE = 128, CHUNK = 64 * 1024, PATTERN = 1 << 20, BATCH = 256, OPENING_AT_ONCE = 64 };
static const uint64_t SECOND = 1000000000, PATIENCE = 20 * SECOND;

/* What a browser sends; the key and its answer are fixed. */
static const char REQUEST[] =
    "GET /wss HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 "
    "Safari/537.36\r\nUpgrade: websocket\r\nOrigin: https://localhost\r\nSec-WebSocket-Version: 13\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-GB,en;q=0.9\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
static const char ACCEPT[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

enum state { CLOSED, CONNECTING, HANDSHAKE, UPGRADE, OPEN };

struct tunnel {
    int fd;
    enum state state;
    SSL *tls;
    bool waiting;            /* a message, or part of a stream, is on its way */
    bool unfinished;         /* stream: OpenSSL holds part of a record, so the same write must be repeated */
    bool again;              /* stream: had more to do when its turn was over */
    uint64_t since;          /* when its message was sent, or its connect began */
    uint64_t sequence;       /* number of its message */
    uint64_t sent, received; /* stream: positions */
    uint64_t reads;          /* stream */
    size_t got;              /* bytes of the message, or of the head, that are here */
    unsigned char incoming[MESSAGE];
};

/* The command being carried out. */
static struct {
    enum { OPENING, ECHOING, STREAMING, CONNECTS } what;
    size_t active, in_flight;  /* tunnels that take part; those that wait for something */
    size_t next;               /* where the search for a free tunnel begins */
    uint64_t start, stop, left; /* no new unit from `stop` on, nor after `left` more */
    uint64_t due;              /* when the next one begins, if there is a rate */
    uint64_t interval;         /* between two units; 0: the next as soon as one is back */
    bool late;                 /* the unit that is due found no free tunnel */
    uint64_t units, resumed;
    struct histogram latency;
} run;

static struct tunnel *tunnels;
static size_t table_size, opened;
static in_port_t port;
static bool upgrades;
static SSL_CTX *context; /* NULL without TLS */
static SSL_SESSION *tickets[256]; /* of earlier connections; each is used once, as browsers do */
static size_t ticket_count;
static bool resuming;
static int poll_set;
static uint64_t sequence, connects;
static unsigned char message[MESSAGE], scratch[CHUNK], pattern[PATTERN + CHUNK];

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "load: ");
    vfprintf(stderr, format, arguments);
    unsigned long code = ERR_get_error();
    fprintf(stderr, " (%s%s%s)\n", strerror(errno), code ? ", " : "", code ? ERR_error_string(code, NULL) : "");
    exit(1);
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

/* Bytes moved, or 0 when the socket has none or takes none now. The other side's end is an error here. */
static size_t moved(struct tunnel *tunnel, ssize_t result, const char *doing)
{
    static const char *const states[] = {"closed", "connecting", "in its handshake", "in its upgrade", "open"};
    if (result > 0)
        return (size_t)result;
    if (tunnel->tls != NULL) {
        int error = SSL_get_error(tunnel->tls, (int)result);
        if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
            return 0;
    } else if (result < 0 && errno == EAGAIN) {
        return 0;
    }
    if (result == 0)
        errno = 0;
    die("%s: a tunnel that was %s ended early, after %lu units", doing, states[tunnel->state], run.units);
}

static size_t take(struct tunnel *tunnel, void *to, size_t length)
{
    ssize_t got = tunnel->tls ? SSL_read(tunnel->tls, to, (int)length) : recv(tunnel->fd, to, length, 0);
    return moved(tunnel, got, "reading");
}

static size_t give(struct tunnel *tunnel, const void *from, size_t length)
{
    ssize_t sent = tunnel->tls ? SSL_write(tunnel->tls, from, (int)length) : send(tunnel->fd, from, length, MSG_NOSIGNAL);
    return moved(tunnel, sent, "writing");
}

static bool may_begin(uint64_t time)
{
    return time < run.stop && run.left > 0;
}

static void start_connect(struct tunnel *tunnel, uint64_t since)
{
    const int on = 1;
    *tunnel = (struct tunnel){.state = CONNECTING, .waiting = true, .since = since};
    tunnel->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (tunnel->fd < 0)
        die("socket");
    setsockopt(tunnel->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    /* Sixteen source addresses in turn, so that ports of closed connections are not missed for a minute. */
    setsockopt(tunnel->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + (uint32_t)(connects++ % 16));
    if (bind(tunnel->fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("bind");
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    if (connect(tunnel->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
        die("connect");
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = tunnel};
    if (epoll_ctl(poll_set, EPOLL_CTL_ADD, tunnel->fd, &event) < 0)
        die("epoll_ctl");
    run.in_flight++;
    run.left--;
}

static void end(struct tunnel *tunnel)
{
    if (tunnel->tls != NULL) {
        SSL_shutdown(tunnel->tls); /* close_notify; without it OpenSSL would forget the ticket */
        SSL_free(tunnel->tls);
        tunnel->tls = NULL;
    }
    close(tunnel->fd);
    tunnel->state = CLOSED;
}

static void send_message(struct tunnel *tunnel, uint64_t since)
{
    tunnel->since = since;
    tunnel->sequence = ++sequence;
    tunnel->waiting = true;
    tunnel->got = 0;
    memcpy(message + 8, &tunnel->sequence, sizeof tunnel->sequence);
    if (give(tunnel, message, MESSAGE) != MESSAGE)
        die("a socket with nothing in flight does not take a message");
}

/* The whole of one unit is back: count it, and begin the next if there is no rate. */
static void finish_unit(struct tunnel *tunnel)
{
    uint64_t time = now();
    tunnel->waiting = false;
    run.in_flight--;
    if (run.what == OPENING) {
        opened++;
        return;
    }
    run.units++;
    histogram_add(&run.latency, time - tunnel->since);
    bool next = run.interval == 0 && may_begin(time);
    if (run.what == CONNECTS) {
        run.resumed += tunnel->tls != NULL && SSL_session_reused(tunnel->tls);
        end(tunnel);
        if (next)
            start_connect(tunnel, now());
    } else if (next) {
        run.in_flight++;
        run.left--;
        send_message(tunnel, time);
    }
}

static void receive_message(struct tunnel *tunnel)
{
    while (tunnel->waiting) {
        size_t got = take(tunnel, tunnel->incoming + tunnel->got, MESSAGE - tunnel->got);
        if (got == 0)
            return;
        tunnel->got += got;
        if (tunnel->got < MESSAGE)
            continue;
        memcpy(message + 8, &tunnel->sequence, sizeof tunnel->sequence);
        if (memcmp(message, tunnel->incoming, MESSAGE) != 0)
            die("a message came back changed");
        finish_unit(tunnel);
        return; /* the next one raises its own event */
    }
    if (tunnel->state == OPEN && take(tunnel, scratch, CHUNK) > 0)
        die("bytes that nobody asked for");
}

/* Read what has come back of a stream. */
static size_t take_stream(struct tunnel *tunnel)
{
    if (tunnel->reads++ % 16 != 0)
        return tunnel->tls ? take(tunnel, scratch, CHUNK)
                           : moved(tunnel, recv(tunnel->fd, NULL, CHUNK, MSG_TRUNC), "reading");
    size_t got = take(tunnel, scratch, CHUNK);
    if (memcmp(scratch, pattern + tunnel->received % PATTERN, got) != 0)
        die("a stream came back changed near byte %lu", tunnel->received);
    return got;
}

/* Move what goes in both directions; what is left when the turn is over stays marked. */
static void stream(struct tunnel *tunnel)
{
    for (int turn = 0; turn < 8; turn++) {
        size_t got = take_stream(tunnel);
        tunnel->received += got;
        run.units += got;
        size_t sent = 0;
        if (tunnel->unfinished || now() < run.stop) {
            sent = give(tunnel, pattern + tunnel->sent % PATTERN, CHUNK);
            tunnel->sent += sent;
            tunnel->unfinished = sent == 0 && tunnel->tls != NULL;
        }
        if (got == 0 && sent == 0) {
            tunnel->again = false;
            if (tunnel->waiting && now() >= run.stop && !tunnel->unfinished && tunnel->sent == tunnel->received) {
                tunnel->waiting = false;
                run.in_flight--;
            }
            return;
        }
    }
    tunnel->again = true;
}

/* One step towards OPEN, or the work of the tunnel once it is. */
static void proceed(struct tunnel *tunnel)
{
    if (tunnel->state == CONNECTING) {
        int error = 0;
        socklen_t length = sizeof error;
        getsockopt(tunnel->fd, SOL_SOCKET, SO_ERROR, &error, &length);
        errno = error;
        if (error != 0)
            die("connecting");
        tunnel->state = HANDSHAKE;
        if (context != NULL) {
            tunnel->tls = SSL_new(context);
            if (tunnel->tls == NULL || SSL_set_fd(tunnel->tls, tunnel->fd) != 1)
                die("SSL_new");
            SSL_set_tlsext_host_name(tunnel->tls, "localhost");
            SSL_set_connect_state(tunnel->tls);
            if (resuming && ticket_count > 0) {
                SSL_set_session(tunnel->tls, tickets[--ticket_count]);
                SSL_SESSION_free(tickets[ticket_count]); /* the connection has a reference of its own */
            }
        }
    }
    if (tunnel->state == HANDSHAKE) {
        if (tunnel->tls != NULL && moved(tunnel, SSL_do_handshake(tunnel->tls), "handshake") == 0)
            return;
        if (!upgrades) {
            tunnel->state = OPEN;
            send_message(tunnel, tunnel->since);
            return;
        }
        tunnel->state = UPGRADE;
        if (give(tunnel, REQUEST, sizeof REQUEST - 1) != sizeof REQUEST - 1)
            die("a fresh socket does not take a request");
        return;
    }
    if (tunnel->state == UPGRADE) {
        /* Every proxy here sends the answer's head as one piece; a head in two would show as an error. */
        size_t got = take(tunnel, scratch, CHUNK);
        if (got == 0)
            return;
        if (got < 12 || memcmp(scratch, "HTTP/1.1 101", 12) != 0 || memcmp(scratch + got - 4, "\r\n\r\n", 4) != 0 ||
            memmem(scratch, got, ACCEPT, sizeof ACCEPT - 1) == NULL)
            die("the upgrade was answered by %.*s", (int)got, (char *)scratch);
        tunnel->state = OPEN;
        send_message(tunnel, tunnel->since);
        return;
    }
    if (tunnel->state != OPEN)
        return;
    if (run.what == STREAMING && tunnel->waiting)
        stream(tunnel);
    else
        receive_message(tunnel);
}

/* Begin the units that are due. One that finds no free tunnel is counted from when it was due. */
static void keep_pace(uint64_t time)
{
    while (time >= run.due && may_begin(run.due)) {
        size_t tried = 0;
        while (tried < run.active && tunnels[run.next].waiting) {
            run.next = (run.next + 1) % run.active;
            tried++;
        }
        if (tried == run.active) {
            run.late = true;
            return;
        }
        uint64_t since = run.late ? run.due : now();
        run.late = false;
        struct tunnel *tunnel = &tunnels[run.next];
        run.next = (run.next + 1) % run.active;
        if (run.what == CONNECTS) {
            start_connect(tunnel, since);
        } else {
            run.in_flight++;
            run.left--;
            send_message(tunnel, since);
        }
        run.due += run.interval;
    }
}

/* Wait for events, at most until `until`, and act on them. */
static void step(uint64_t until)
{
    struct epoll_event events[BATCH];
    uint64_t time = now();
    uint64_t wait = until > time ? until - time : 0;
    struct timespec timeout = {.tv_sec = (time_t)(wait / SECOND), .tv_nsec = (long)(wait % SECOND)};
    int count = epoll_pwait2(poll_set, events, BATCH, &timeout, NULL);
    if (count < 0 && errno != EINTR)
        die("epoll_pwait2");
    for (int i = 0; i < count; i++)
        proceed(events[i].data.ptr);
}

/* Carry out a command until no unit may begin and none is in flight. `seconds` is 0 for as long as it takes. */
static void work(double seconds)
{
    run.start = run.due = now();
    run.stop = seconds > 0 ? run.start + (uint64_t)(seconds * (double)SECOND) : UINT64_MAX;
    run.units = run.resumed = 0;
    run.late = false;
    memset(&run.latency, 0, sizeof run.latency);
    run.next = 0;
    for (size_t i = 0; run.interval == 0 && run.left > 0 && i < run.active; i++) {
        if (run.what == CONNECTS) {
            start_connect(&tunnels[i], now());
            continue;
        }
        run.in_flight++;
        if (run.what == ECHOING) {
            send_message(&tunnels[i], now());
        } else {
            tunnels[i].waiting = tunnels[i].again = true;
            tunnels[i].sent = tunnels[i].received = 0;
        }
    }
    uint64_t time, moving = run.start, units = 0;
    while (may_begin(time = now()) || run.in_flight > 0) {
        if (units != run.units || run.in_flight == 0) {
            units = run.units;
            moving = time;
        } else if (time > moving + PATIENCE) {
            die("%zu units never came back", run.in_flight);
        }
        bool again = false;
        for (size_t i = 0; run.what == STREAMING && i < run.active; i++) {
            if (tunnels[i].again)
                stream(&tunnels[i]);
            again = again || tunnels[i].again;
        }
        if (run.interval != 0)
            keep_pace(time);
        uint64_t until = time + SECOND / 10;
        if (time < run.stop && run.stop < until)
            until = run.stop;
        if (run.interval != 0 && !run.late && may_begin(time) && run.due < until)
            until = run.due;
        step(again ? 0 : until);
    }
    printf("{\"units\": %lu, \"seconds\": %.6f, \"p50_us\": %.3f, \"p99_us\": %.3f, \"resumed\": %lu}\n", run.units,
           (double)(now() - run.start) / 1e9, histogram_at(&run.latency, 0.5) / 1e3,
           histogram_at(&run.latency, 0.99) / 1e3, run.resumed);
}

static void open_tunnels(size_t wanted)
{
    size_t started = opened;
    uint64_t start = now(), moving = start;
    if (wanted > table_size)
        die("%zu tunnels are more than the limit of descriptors allows", wanted);
    run.what = OPENING;
    run.left = UINT64_MAX;
    while (opened < wanted) {
        while (started < wanted && run.in_flight < OPENING_AT_ONCE)
            start_connect(&tunnels[started++], now());
        size_t before = opened;
        step(now() + SECOND / 10);
        if (opened > before)
            moving = now();
        if (now() > moving + PATIENCE)
            die("%zu of %zu tunnels never opened", wanted - opened, wanted);
    }
    printf("{\"units\": %zu, \"seconds\": %.6f}\n", opened, (double)(now() - start) / 1e9);
}

static int keep_ticket(SSL *tls, SSL_SESSION *session)
{
    (void)tls;
    if (ticket_count == sizeof tickets / sizeof *tickets)
        return 0;
    tickets[ticket_count++] = session;
    return 1; /* ours now */
}

static void set_up_tls(const char *groups)
{
    context = SSL_CTX_new(TLS_client_method());
    /* One version, one suite and one key share, so that every proxy does the same arithmetic. */
    if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") != 1 ||
        SSL_CTX_set1_groups_list(context, groups) != 1)
        die("this OpenSSL (%s) cannot do TLS 1.3 with %s", OpenSSL_version(OPENSSL_VERSION), groups);
    SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(context, 1); /* a record in one system call instead of two */
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(context, keep_ticket);
}

static void set_up(void)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_TIMERSLACK, 1); /* else a paced message may leave 50 µs late */
    table_size = (files.rlim_cur < 65536 ? files.rlim_cur : 65536) - 16;
    tunnels = calloc(table_size, sizeof *tunnels);
    poll_set = epoll_create1(EPOLL_CLOEXEC);
    if (tunnels == NULL || poll_set < 0)
        die("start");
    /* A message looks like a frame from a browser: binary, masked, 122 bytes of payload. */
    memcpy(message, "\x82\xfa\x11\x22\x33\x44", 6);
    uint64_t random = 88172645463325252u; /* xorshift; any bytes do, as long as they do not repeat soon */
    for (size_t i = 0; i < PATTERN; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        pattern[i] = (unsigned char)random;
    }
    memcpy(pattern + PATTERN, pattern, CHUNK);
}

static void obey(const char *line)
{
    double seconds, rate = 0;
    char how[16] = "";
    size_t count, times;
    run.interval = 0;
    run.left = UINT64_MAX;
    if (sscanf(line, "open %zu", &count) == 1) {
        open_tunnels(count);
    } else if (sscanf(line, "echo %lf %zu %lf", &seconds, &count, &rate) == 3 && count > 0 && count <= opened) {
        run.what = ECHOING;
        run.active = count;
        run.interval = rate > 0 ? (uint64_t)((double)SECOND / rate) : 0;
        work(seconds);
    } else if (sscanf(line, "stream %lf %zu", &seconds, &count) == 2 && count > 0 && count <= opened) {
        run.what = STREAMING;
        run.active = count;
        work(seconds);
    } else if (sscanf(line, "connect %zu %zu %lf %15s", &times, &count, &rate, how) == 4 && count > 0 &&
               count < table_size && opened == 0) {
        run.what = CONNECTS;
        run.active = count;
        run.interval = rate > 0 ? (uint64_t)((double)SECOND / rate) : 0;
        run.left = times;
        resuming = strcmp(how, "resumed") == 0;
        work(0);
    } else if (strcmp(line, "close\n") == 0) {
        for (size_t i = 0; i < opened; i++)
            end(&tunnels[i]);
        printf("{\"units\": %zu, \"seconds\": 0}\n", opened);
        opened = 0;
    } else {
        die("what is this: %s", line);
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: load PORT http|tls|tcp [GROUPS]\n");
        return 2;
    }
    port = (in_port_t)atoi(argv[1]);
    upgrades = strcmp(argv[2], "tcp") != 0;
    set_up();
    if (strcmp(argv[2], "tls") == 0)
        set_up_tls(argc > 3 ? argv[3] : "X25519");
    char line[256];
    while (fgets(line, sizeof line, stdin) != NULL)
        obey(line);
    return 0;
}

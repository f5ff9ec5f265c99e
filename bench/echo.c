/* The upstream of the bench: answers an upgrade with its 101, and from then on sends back what it gets.
 *
 *     echo
 *
 * Listens on two ports of 127.0.0.1 that the kernel chooses and prints them as one line of JSON. On "http" every
 * connection begins with an HTTP/1.1 upgrade (RFC 6455 4.2.2); "tcp" sends back from the first byte. Ends when its
 * standard input does, which is how it never outlives the program that started it.
 *
 * One thread, one epoll set, one buffer for everybody. A connection owns memory only while its head is incomplete or
 * while its client takes less than it sends; then it is not read until the rest has gone.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 64 * 1024, HEAD_LIMIT = 16 * 1024, BATCH = 256 };

/* What is known of one descriptor; the table is indexed by descriptor. */
struct connection {
    bool head_expected;
    unsigned char *kept; /* an incomplete head, or bytes that the client has not taken yet */
    size_t kept_length, kept_offset;
};

static struct connection *connections;
static size_t table_size;
static int poll_set;
static unsigned char buffer[CHUNK];

static void die(const char *what)
{
    fprintf(stderr, "echo: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void watch(int operation, int fd, unsigned events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(poll_set, operation, fd, &event) < 0)
        die("epoll_ctl");
}

static void end(int fd)
{
    free(connections[fd].kept);
    connections[fd] = (struct connection){0};
    close(fd); /* leaves the epoll set with it */
}

static void keep(struct connection *connection, const unsigned char *bytes, size_t length)
{
    unsigned char *kept = malloc(length);
    if (kept == NULL)
        die("malloc");
    memcpy(kept, bytes, length);
    free(connection->kept);
    connection->kept = kept;
    connection->kept_length = length;
    connection->kept_offset = 0;
}

/* Send now what goes, keep the rest. False when the client is gone. */
static bool send_back(int fd, const unsigned char *bytes, size_t length)
{
    ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        return false;
    size_t gone = sent < 0 ? 0 : (size_t)sent;
    if (gone < length) {
        keep(&connections[fd], bytes + gone, length - gone);
        watch(EPOLL_CTL_MOD, fd, EPOLLOUT);
    }
    return true;
}

/* The value that proves the upgrade was understood: base64(SHA-1(key + GUID)). `to` has room for 29 bytes. */
static void accept_value(const char *key, size_t length, char *to)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    unsigned char joined[128], digest[SHA_DIGEST_LENGTH];
    memcpy(joined, key, length);
    memcpy(joined + length, guid, sizeof guid - 1);
    SHA1(joined, length + sizeof guid - 1, digest);
    EVP_EncodeBlock((unsigned char *)to, digest, SHA_DIGEST_LENGTH);
}

/* Answer the head in `buffer`, which is `length` bytes and perhaps not whole yet. False when the connection must end. */
static bool answer_head(int fd, size_t length)
{
    unsigned char *blank = memmem(buffer, length, "\r\n\r\n", 4);
    if (blank == NULL) {
        if (length > HEAD_LIMIT)
            return false;
        keep(&connections[fd], buffer, length);
        return true;
    }
    *blank = '\0';
    const char *key = strcasestr((char *)buffer, "\r\nsec-websocket-key:");
    if (key == NULL)
        return false;
    key += strlen("\r\nsec-websocket-key:");
    key += strspn(key, " \t");
    size_t key_length = strcspn(key, " \t\r");
    if (key_length != 24)
        return false;
    char value[32], answer[256];
    accept_value(key, key_length, value);
    int answer_length = snprintf(answer, sizeof answer,
                                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: %s\r\n\r\n",
                                 value);
    connections[fd].head_expected = false;
    if (send(fd, answer, (size_t)answer_length, MSG_NOSIGNAL) != answer_length)
        return false; /* a fresh connection takes 129 bytes, or it is gone */
    size_t head_length = (size_t)(blank + 4 - buffer);
    return head_length == length || send_back(fd, buffer + head_length, length - head_length);
}

static void on_readable(int fd)
{
    struct connection *connection = &connections[fd];
    size_t before = 0;
    if (connection->kept != NULL) { /* the beginning of a head */
        before = connection->kept_length;
        memcpy(buffer, connection->kept, before);
        free(connection->kept);
        connection->kept = NULL;
    }
    ssize_t got = recv(fd, buffer + before, sizeof buffer - before, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        end(fd);
        return;
    }
    size_t length = before + (size_t)got;
    if (!(connection->head_expected ? answer_head(fd, length) : send_back(fd, buffer, length)))
        end(fd);
}

static void on_writable(int fd)
{
    struct connection *connection = &connections[fd];
    ssize_t sent = send(fd, connection->kept + connection->kept_offset,
                        connection->kept_length - connection->kept_offset, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN)
            end(fd);
        return;
    }
    connection->kept_offset += (size_t)sent;
    if (connection->kept_offset < connection->kept_length)
        return;
    free(connection->kept);
    connection->kept = NULL;
    watch(EPOLL_CTL_MOD, fd, EPOLLIN);
}

static void on_connection(int listening, bool head_expected)
{
    const int on = 1;
    for (int i = 0; i < BATCH; i++) {
        int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EAGAIN || errno == ECONNABORTED))
            return;
        if (fd < 0 || (size_t)fd >= table_size)
            die("accept");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        connections[fd] = (struct connection){.head_expected = head_expected};
        watch(EPOLL_CTL_ADD, fd, EPOLLIN);
    }
}

static int listen_somewhere(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 4096) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        die("listen");
    *port = ntohs(address.sin_port);
    watch(EPOLL_CTL_ADD, fd, EPOLLIN);
    return fd;
}

int main(void)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    table_size = files.rlim_cur < 1 << 20 ? files.rlim_cur : 1 << 20;
    connections = calloc(table_size, sizeof *connections);
    poll_set = epoll_create1(EPOLL_CLOEXEC);
    if (connections == NULL || poll_set < 0)
        die("start");
    int http_port, tcp_port;
    int http = listen_somewhere(&http_port), tcp = listen_somewhere(&tcp_port);
    watch(EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN);
    printf("{\"http\": %d, \"tcp\": %d}\n", http_port, tcp_port);
    fflush(stdout);
    for (;;) {
        struct epoll_event events[BATCH];
        int count = epoll_wait(poll_set, events, BATCH, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == STDIN_FILENO)
                return 0;
            if (fd == http || fd == tcp)
                on_connection(fd, fd == http);
            else if (events[i].events & EPOLLOUT)
                on_writable(fd);
            else
                on_readable(fd);
        }
    }
}

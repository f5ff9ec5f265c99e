/* The pipes of one thread, through which the kernel passes pages from socket to socket. */
#define _GNU_SOURCE
#include "pipes.h"

#include <fcntl.h>
#include <unistd.h>

static void close_both(struct pipe pipe)
{
    close(pipe.out);
    close(pipe.in);
}

bool pipe_take(struct pipes *pipes, struct leg *sink)
{
    int ends[2];
    if (sink->pipe.out != -1)
        return true;
    if (pipes->spares) {
        sink->pipe = pipes->spare[--pipes->spares];
        return true;
    }
    if (pipes->made == MOST_PIPES || pipe2(ends, O_NONBLOCK | O_CLOEXEC) == -1)
        return false;
    fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES); /* may be refused to a user with many; the default serves too */
    pipes->made++;
    sink->pipe = (struct pipe){ends[0], ends[1]};
    return true;
}

void pipe_give_back(struct pipes *pipes, struct leg *sink)
{
    if (sink->pipe.out == -1)
        return;
    if (sink->in_pipe) { /* of a tunnel that has ended: these bytes must not reach another */
        close_both(sink->pipe);
        pipes->made--;
        sink->in_pipe = 0;
    } else {
        pipes->spare[pipes->spares++] = sink->pipe;
    }
    sink->pipe = (struct pipe){-1, -1};
}

void pipes_close(void *own)
{
    struct pipes *pipes = own;
    while (pipes->spares)
        close_both(pipes->spare[--pipes->spares]);
}

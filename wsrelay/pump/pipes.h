/* The pipes of one thread. Private to the pump. */
#ifndef WSRELAY_PUMP_PIPES_H
#define WSRELAY_PUMP_PIPES_H

#include "leg.h"

/* A direction that has much in hand owns one pipe; so many a thread have their bytes spliced at the same time, the others
 * have them copied. Two descriptors each. */
#define MOST_PIPES 32

struct pipes {
    struct pipe spare[MOST_PIPES]; /* empty ones */
    int spares, made;              /* how many are spare, and how many there are */
};

/* Give this leg a pipe for what will wait for it, unless it has one; false if there is none to be had. */
bool pipe_take(struct pipes *pipes, struct leg *sink);

/* Take it back; with bytes in it, it is closed. */
void pipe_give_back(struct pipes *pipes, struct leg *sink);

/* Close the spare ones. */
void pipes_close(void *own);

#endif

/* io_uring(7): requests to the kernel, and buffers in which it puts what it has received. */

#ifndef PEERS_URING_H
#define PEERS_URING_H

#include <liburing.h>
#include <stdbool.h>
#include <stddef.h>

/* The kernel's name for the buffers below. */
enum { BUFFER_GROUP = 0 };

/* Some bytes, in a buffer of the ring or in memory of their own. */
struct piece {
    struct piece *next;
    char *bytes;
    size_t length;
    bool is_buffer;
};

/*
 * Creates the ring and its buffers: one of each, for all connections. Where that is not possible
 * the process ends, with a line that says whether io_uring is not permitted or not there.
 */
struct io_uring *create_ring(void);

/* A request to be filled in. Earlier requests are submitted if there is no room. */
struct io_uring_sqe *next_request(struct io_uring *ring);

/* Received bytes, in a buffer that is ours until it is released; NULL if there are none. */
struct piece *received(const struct io_uring_cqe *completion);

/* Received bytes in memory of their own, where they may stay; the buffer is released. */
struct piece *moved_out(struct piece *piece);

/* Gives a buffer back to the kernel, or memory to malloc(3). */
void release(struct piece *piece);

/* How many buffers the kernel has, as far as we have heard. */
unsigned free_buffers(void);

#endif

/*
 * An echo server on io_uring(7), with liburing: the kernel is not asked, it is told what to do.
 *
 * Two requests stand for good: one accepts every client, and one on each connection receives all
 * its bytes, into buffers that all connections share. Bytes are sent from where they were received.
 * One system call submits all requests of a turn, and waits for completions.
 *
 * A send is not to wait, so it is complete, and its buffer free, within that call. Bytes that the
 * kernel refuses move to memory of their own, where a second send waits with them, and nothing more
 * is received until they are gone. So a client that does not read takes no buffer from the others.
 */

#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common.h"
#include "uring.h"

/* Before 2.4, the library does not know its own: the build asks pkg-config(1). */
#ifndef LIBRARY_VERSION
#define LIBRARY_VERSION "2.x"
#endif

/* The kind of a completion: the lowest bits of its data, which are 0 in the pointer above. */
enum purpose { ACCEPT, RECEIVE, SEND, FORGET };

#define PURPOSE_BITS UINT64_C(3)

struct connection {
    int fd;
    /* Requests that the kernel has. */
    bool receiving;
    bool sending;
    /* In the queue for a buffer. */
    bool starving;
    /* The client does not read as fast as it writes. */
    bool stalled;
    /* Nothing more will come. */
    bool ended;
    /* Nothing can be sent any more. */
    bool broken;
    /* To be sent, in this order; the first is what is being sent. */
    struct piece *first;
    struct piece *last;
    struct connection *next_starving;
};

static struct io_uring *ring;

/* Connections that wait until there are buffers again, in order. */
static struct connection *first_starving, *last_starving;

static void label(struct io_uring_sqe *request, struct connection *connection,
                  enum purpose purpose)
{
    io_uring_sqe_set_data64(request, (uintptr_t)connection | purpose);
}

static void accept_clients(int listener)
{
    struct io_uring_sqe *request = next_request(ring);
    io_uring_prep_multishot_accept(request, listener, NULL, NULL, SOCK_CLOEXEC);
    label(request, NULL, ACCEPT);
}

static void receive(struct connection *connection)
{
    struct io_uring_sqe *request = next_request(ring);
    io_uring_prep_recv_multishot(request, connection->fd, NULL, 0, 0);
    request->flags |= IOSQE_BUFFER_SELECT;
    request->buf_group = BUFFER_GROUP;
    label(request, connection, RECEIVE);
    connection->receiving = true;
}

/* Some more may come before that is done, and then a completion that says so. */
static void stop_receiving(struct connection *connection)
{
    if (!connection->receiving)
        return;
    struct io_uring_sqe *request = next_request(ring);
    io_uring_prep_cancel64(request, (uintptr_t)connection | RECEIVE, 0);
    request->flags |= IOSQE_CQE_SKIP_SUCCESS;
    label(request, NULL, FORGET);
}

static void send_first(struct connection *connection)
{
    const struct piece *piece = connection->first;
    /* Either all that is possible now, or all. */
    int flags = connection->stalled ? MSG_WAITALL : MSG_DONTWAIT;
    struct io_uring_sqe *request = next_request(ring);
    io_uring_prep_send(request, connection->fd, piece->bytes, piece->length, flags);
    label(request, connection, SEND);
    connection->sending = true;
}

/* Nothing of it is under way. To close it in the ring takes no system call of its own. */
static void end(struct connection *connection)
{
    struct io_uring_sqe *request = next_request(ring);
    io_uring_prep_close(request, connection->fd);
    request->flags |= IOSQE_CQE_SKIP_SUCCESS;
    label(request, NULL, FORGET);
    free(connection);
}

static void append(struct connection *connection, struct piece *piece)
{
    if (connection->first == NULL)
        connection->first = piece;
    else
        connection->last->next = piece;
    connection->last = piece;
}

static void release_first(struct connection *connection)
{
    struct piece *piece = connection->first;
    connection->first = piece->next;
    release(piece);
}

/* The kernel has refused bytes: no buffer is held until it takes them, and no more is received. */
static void stall(struct connection *connection)
{
    connection->stalled = true;
    struct piece *piece = connection->first;
    connection->first = NULL;
    while (piece != NULL) {
        struct piece *next = piece->next;
        append(connection, moved_out(piece));
        piece = next;
    }
    stop_receiving(connection);
}

static void break_off(struct connection *connection)
{
    connection->ended = true;
    connection->broken = true;
    stop_receiving(connection);
}

/* The next step of a connection, from its state and not from its last event. */
static void proceed(struct connection *connection)
{
    if (connection->sending)
        return;
    while (connection->broken && connection->first != NULL)
        release_first(connection);
    if (connection->first != NULL) {
        send_first(connection);
        return;
    }
    connection->stalled = false;
    if (connection->receiving || connection->starving)
        return;
    if (connection->ended)
        end(connection);
    else
        receive(connection);
}

static void starve(struct connection *connection)
{
    connection->starving = true;
    connection->next_starving = NULL;
    if (first_starving == NULL)
        first_starving = connection;
    else
        last_starving->next_starving = connection;
    last_starving = connection;
}

/* As many as there are buffers. The others would be told again that there are none. */
static void feed_the_starving(void)
{
    for (unsigned left = free_buffers(); left > 0 && first_starving != NULL; left--) {
        struct connection *connection = first_starving;
        first_starving = connection->next_starving;
        connection->starving = false;
        proceed(connection);
    }
}

static void on_piece(struct connection *connection, struct piece *piece)
{
    if (connection->stalled) {
        piece = moved_out(piece);
        /* Perhaps it was too busy to be stopped. */
        stop_receiving(connection);
    }
    append(connection, piece);
}

static void on_received(struct connection *connection, const struct io_uring_cqe *completion)
{
    int result = completion->res;
    connection->receiving = completion->flags & IORING_CQE_F_MORE;
    struct piece *piece = received(completion);
    if (piece != NULL)
        on_piece(connection, piece);
    else if (result == 0)
        connection->ended = true;
    else if (result == -ENOBUFS)
        starve(connection);
    else if (result != -ECANCELED)
        break_off(connection);
    proceed(connection);
}

static void on_sent(struct connection *connection, int sent)
{
    connection->sending = false;
    if (sent < 0 && sent != -EAGAIN) {
        break_off(connection);
    } else {
        struct piece *piece = connection->first;
        size_t length = sent < 0 ? 0 : (size_t)sent;
        piece->bytes += length;
        piece->length -= length;
        if (piece->length == 0)
            release_first(connection);
        else if (!connection->stalled)
            stall(connection);
    }
    proceed(connection);
}

static void on_client(int listener, const struct io_uring_cqe *completion)
{
    if (completion->res >= 0) {
        struct connection *connection = allocate(sizeof *connection);
        *connection = (struct connection){.fd = completion->res};
        proceed(connection);
    } else if (completion->res != -ECONNABORTED && completion->res != -EINTR) {
        errx(1, "accept: %s", strerror(-completion->res));
    }
    if (!(completion->flags & IORING_CQE_F_MORE))
        accept_clients(listener);
}

static void on_completion(int listener, const struct io_uring_cqe *completion)
{
    uint64_t data = io_uring_cqe_get_data64(completion);
    struct connection *connection = (struct connection *)(uintptr_t)(data & ~PURPOSE_BITS);
    switch ((enum purpose)(data & PURPOSE_BITS)) {
    case ACCEPT:
        on_client(listener, completion);
        break;
    case RECEIVE:
        on_received(connection, completion);
        break;
    case SEND:
        on_sent(connection, completion->res);
        break;
    case FORGET:
        break;
    }
}

/* Submits the requests, and returns when there is a completion. */
static void submit_and_wait(void)
{
    int result = io_uring_submit_and_wait(ring, 1);
    /* A signal; or there are completions to be taken first. */
    if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY)
        errx(1, "io_uring_enter: %s", strerror(-result));
}

int main(int argc, char *argv[])
{
    int listener = start_listening(argc, argv, "liburing " LIBRARY_VERSION);
    ring = create_ring();
    announce_listener(listener);
    accept_clients(listener);
    for (;;) {
        submit_and_wait();
        unsigned head, count = 0;
        struct io_uring_cqe *completion;
        io_uring_for_each_cqe(ring, head, completion) {
            on_completion(listener, completion);
            count++;
        }
        io_uring_cq_advance(ring, count);
        feed_the_starving();
    }
}

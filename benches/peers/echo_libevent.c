/*
 * An echo server on libevent, with bufferevents.
 *
 * Bufferevents are the reason to take libevent: buffers, backpressure and the end of a stream are
 * the library's affair. An expert in a hurry could use its bare events instead, and would have the
 * loop of echo_libev.c, system call for system call; the cost of bufferevents is what this peer
 * measures. They ask how much has arrived (FIONREAD), read as much, and send when the kernel says
 * that it has room, for which they register and unregister with each message.
 *
 * The expert's part is here: bytes are moved from the input to the output, not copied; a read takes
 * as much as it does elsewhere; and input is paused while a client does not take its answers.
 */

#include <err.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdio.h>

#include "common.h"

static void on_event(struct bufferevent *connection, short events, void *nothing);

static size_t waiting(struct bufferevent *connection)
{
    return evbuffer_get_length(bufferevent_get_output(connection));
}

static void on_read(struct bufferevent *connection, void *nothing)
{
    (void)nothing;
    struct evbuffer *input = bufferevent_get_input(connection);
    if (evbuffer_add_buffer(bufferevent_get_output(connection), input) < 0)
        bufferevent_free(connection);
    else if (waiting(connection) > BUFFER_BYTES)
        bufferevent_disable(connection, EV_READ);
}

/* The output is empty. */
static void on_sent(struct bufferevent *connection, void *nothing)
{
    (void)nothing;
    if (!(bufferevent_get_enabled(connection) & EV_READ))
        bufferevent_enable(connection, EV_READ);
}

/* The output is empty, and nothing more will come. */
static void on_last_sent(struct bufferevent *connection, void *nothing)
{
    (void)nothing;
    bufferevent_free(connection);
}

static void on_event(struct bufferevent *connection, short events, void *nothing)
{
    (void)nothing;
    if (events & BEV_EVENT_EOF && waiting(connection) > 0)
        bufferevent_setcb(connection, NULL, on_last_sent, on_event, NULL);
    else
        bufferevent_free(connection);
}

static void on_client(struct evconnlistener *listener, evutil_socket_t fd,
                      struct sockaddr *address, int length, void *nothing)
{
    (void)address;
    (void)length;
    (void)nothing;
    struct event_base *base = evconnlistener_get_base(listener);
    struct bufferevent *connection = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (connection == NULL)
        errx(1, "bufferevent_socket_new");
    bufferevent_set_max_single_read(connection, BUFFER_BYTES);
    bufferevent_set_max_single_write(connection, BUFFER_BYTES);
    bufferevent_setcb(connection, on_read, on_sent, on_event, NULL);
    if (bufferevent_enable(connection, EV_READ | EV_WRITE) < 0)
        errx(1, "bufferevent_enable");
}

static void on_error(struct evconnlistener *listener, void *nothing)
{
    (void)listener;
    (void)nothing;
    err(1, "accept");
}

int main(int argc, char *argv[])
{
    char version[64];
    snprintf(version, sizeof version, "libevent %s", event_get_version());
    int socket = start(argc, argv, version);
    struct event_base *base = event_base_new();
    if (base == NULL)
        errx(1, "event_base_new");
    /* A backlog of 0 says that the socket listens already. */
    struct evconnlistener *listener =
        evconnlistener_new(base, on_client, NULL, LEV_OPT_CLOSE_ON_EXEC, 0, socket);
    if (listener == NULL)
        errx(1, "evconnlistener_new");
    evconnlistener_set_error_cb(listener, on_error);
    if (event_base_dispatch(base) < 0)
        errx(1, "event_base_dispatch");
}

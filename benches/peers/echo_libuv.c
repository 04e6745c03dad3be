/*
 * An echo server on libuv.
 *
 * uv_try_write sends at once, where uv_write alone would need a request for each message. Only the
 * bytes that the kernel refuses have one, with a copy of them, and reading stops until it is done.
 * So there is never more than one read to keep, and nothing at the end of the stream.
 */

#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "common.h"

/* A request to send bytes that were refused, and these bytes. */
struct rest {
    uv_write_t request;
    char bytes[];
};

/* One for all connections: each is done with it before the next one has its turn. */
static char buffer[BUFFER_BYTES];

static void check(int error, const char *what)
{
    if (error < 0)
        errx(1, "%s: %s", what, uv_strerror(error));
}

static void on_close(uv_handle_t *handle)
{
    free(handle);
}

static void end(uv_stream_t *stream)
{
    uv_close((uv_handle_t *)stream, on_close);
}

static void lend_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *lent)
{
    (void)handle;
    (void)suggested;
    *lent = uv_buf_init(buffer, sizeof buffer);
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *read);

static void on_sent(uv_write_t *request, int error)
{
    uv_stream_t *stream = request->handle;
    free((struct rest *)request);
    if (error < 0 || uv_read_start(stream, lend_buffer, on_read) < 0)
        end(stream);
}

static void send_later(uv_stream_t *stream, const char *bytes, size_t length)
{
    struct rest *rest = allocate(sizeof *rest + length);
    memcpy(rest->bytes, bytes, length);
    uv_buf_t kept = uv_buf_init(rest->bytes, (unsigned)length);
    uv_read_stop(stream);
    if (uv_write(&rest->request, stream, &kept, 1, on_sent) < 0) {
        free(rest);
        end(stream);
    }
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *read)
{
    /* A negative length is the end of the stream, or an error. */
    if (length < 0) {
        end(stream);
        return;
    }
    /* There was nothing after all. */
    if (length == 0)
        return;
    uv_buf_t bytes = uv_buf_init(read->base, (unsigned)length);
    int sent = uv_try_write(stream, &bytes, 1);
    if (sent == UV_EAGAIN)
        sent = 0;
    if (sent < 0)
        end(stream);
    else if (sent < length)
        send_later(stream, read->base + sent, (size_t)(length - sent));
}

static void on_connection(uv_stream_t *listener, int error)
{
    check(error, "accept");
    uv_tcp_t *connection = allocate(sizeof *connection);
    check(uv_tcp_init(listener->loop, connection), "uv_tcp_init");
    uv_stream_t *stream = (uv_stream_t *)connection;
    check(uv_accept(listener, stream), "uv_accept");
    check(uv_read_start(stream, lend_buffer, on_read), "uv_read_start");
}

int main(int argc, char *argv[])
{
    char version[64];
    snprintf(version, sizeof version, "libuv %s", uv_version_string());
    int socket = start(argc, argv, version);
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;
    check(uv_tcp_init(loop, &listener), "uv_tcp_init");
    check(uv_tcp_open(&listener, socket), "uv_tcp_open");
    check(uv_listen((uv_stream_t *)&listener, BACKLOG, on_connection), "uv_listen");
    return uv_run(loop, UV_RUN_DEFAULT);
}

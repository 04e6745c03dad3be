/*
 * A chat on epoll(7), without a library, made for speed.
 *
 * A member's text is appended to a buffer of each other member, all lines of one read at once. At
 * the end of the turn, when every member with an event has been heard, each buffer is sent: all
 * lines for a member take one system call.
 *
 * The protocol is the least that a load generator needs. The first line is a name, which is neither
 * checked nor compared with others. Lines end in a newline; bytes after the last one are lost.
 * Buffers have no limit: a member who does not read makes them grow.
 */

#include <errno.h>
#include <gnu/libc-version.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"
#include "edges.h"

#define WELCOME "Welcome! What is your name?\n"

/* Bytes. Its memory is kept when it is emptied. */
struct buffer {
    char *bytes;
    size_t length;
    size_t capacity;
};

struct member {
    int fd;
    /* Whether there was one of END_EDGES. */
    bool read_closed;
    /* It has a name, and with it a place in the room. */
    bool has_joined;
    /* Nothing more will come. The connection is closed when the output is sent. */
    bool leaves;
    /* In the list of output to be sent at the end of this turn. */
    bool has_turn;
    size_t place;
    struct buffer name;
    /* A line whose end is yet to come. */
    struct buffer input;
    struct buffer output;
};

struct list {
    struct member **members;
    size_t count;
    size_t capacity;
};

/* Members that have joined, and have not left. */
static struct list room;
/* Members whose output is sent at the end of this turn. */
static struct list turn;
/* Room to put the text for the others together. */
static struct buffer page;
/* The bytes of one read. */
static char incoming[BUFFER_BYTES];

static void append(struct buffer *buffer, const char *bytes, size_t length)
{
    if (length == 0)
        return;
    if (buffer->capacity - buffer->length < length) {
        buffer->capacity = 2 * (buffer->length + length);
        buffer->bytes = reallocate(buffer->bytes, buffer->capacity);
    }
    memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
}

static void append_text(struct buffer *buffer, const char *text)
{
    append(buffer, text, strlen(text));
}

static void append_buffer(struct buffer *buffer, const struct buffer *more)
{
    append(buffer, more->bytes, more->length);
}

static void push(struct list *list, struct member *member)
{
    if (list->count == list->capacity) {
        list->capacity = 2 * (list->capacity + 1);
        list->members = reallocate(list->members, list->capacity * sizeof *list->members);
    }
    list->members[list->count++] = member;
}

static void give_turn(struct member *member)
{
    if (!member->has_turn) {
        member->has_turn = true;
        push(&turn, member);
    }
}

/* Moves the page into the output of every member in the room but one. */
static void tell_others(const struct member *author)
{
    for (size_t i = 0; page.length > 0 && i < room.count; i++) {
        struct member *member = room.members[i];
        if (member != author) {
            append_buffer(&member->output, &page);
            give_turn(member);
        }
    }
    page.length = 0;
}

static void announce(const struct member *member, const char *what)
{
    append_text(&page, "* ");
    append_buffer(&page, &member->name);
    append_text(&page, what);
    tell_others(member);
}

static void enter(struct member *member, const char *name, size_t length)
{
    append(&member->name, name, length);
    announce(member, " has entered the room\n");
    append_text(&member->output, "* The room contains: ");
    for (size_t i = 0; i < room.count; i++) {
        if (i > 0)
            append_text(&member->output, ", ");
        append_buffer(&member->output, &room.members[i]->name);
    }
    append_text(&member->output, "\n");
    give_turn(member);
    member->has_joined = true;
    member->place = room.count;
    push(&room, member);
}

static void leave(struct member *member)
{
    member->leaves = true;
    give_turn(member);
    if (!member->has_joined)
        return;
    struct member *last = room.members[--room.count];
    room.members[member->place] = last;
    last->place = member->place;
    announce(member, " has left the room\n");
}

static void take_line(struct member *member, const char *line, size_t length)
{
    if (!member->has_joined) {
        enter(member, line, length);
        return;
    }
    append_text(&page, "[");
    append_buffer(&page, &member->name);
    append_text(&page, "] ");
    append(&page, line, length);
    append_text(&page, "\n");
}

static void take_in(struct member *member, const char *bytes, size_t length)
{
    const char *newline;
    while ((newline = memchr(bytes, '\n', length)) != NULL) {
        size_t line = (size_t)(newline - bytes);
        if (member->input.length == 0) {
            take_line(member, bytes, line);
        } else {
            append(&member->input, bytes, line);
            take_line(member, member->input.bytes, member->input.length);
            member->input.length = 0;
        }
        bytes = newline + 1;
        length -= line + 1;
    }
    append(&member->input, bytes, length);
    tell_others(member);
}

static void hear(struct member *member)
{
    for (;;) {
        ssize_t length = recv(member->fd, incoming, sizeof incoming, 0);
        if (length < 0 && errno == EAGAIN)
            return;
        if (length <= 0) {
            leave(member);
            return;
        }
        take_in(member, incoming, (size_t)length);
        /* A short read has taken all there was, but for the end of the stream. */
        if ((size_t)length < sizeof incoming && !member->read_closed)
            return;
    }
}

static void act(struct member *member, uint32_t events)
{
    if (events & END_EDGES)
        member->read_closed = true;
    /* There may be room for the bytes that the kernel has refused. */
    if (member->output.length > 0)
        give_turn(member);
    if (!member->leaves)
        hear(member);
}

/* Sends as much as the kernel takes. A broken connection has an event of its own. */
static void flush(struct member *member)
{
    struct buffer *output = &member->output;
    size_t sent = 0;
    while (sent < output->length) {
        ssize_t count = send(member->fd, output->bytes + sent, output->length - sent, 0);
        if (count < 0 && errno == EAGAIN)
            break;
        sent = count < 0 ? output->length : sent + (size_t)count;
    }
    output->length -= sent;
    if (output->length > 0)
        memmove(output->bytes, output->bytes + sent, output->length);
}

static void end(struct member *member)
{
    close(member->fd);
    free(member->name.bytes);
    free(member->input.bytes);
    free(member->output.bytes);
    free(member);
}

/* Members are closed here and nowhere else: no event of the turn is for a closed connection. */
static void end_turn(void)
{
    for (size_t i = 0; i < turn.count; i++) {
        struct member *member = turn.members[i];
        member->has_turn = false;
        flush(member);
        if (member->leaves && member->output.length == 0)
            end(member);
    }
    turn.count = 0;
}

static void accept_all(int epoll, int listener)
{
    int fd;
    while ((fd = accept_client(listener)) >= 0) {
        struct member *member = allocate(sizeof *member);
        *member = (struct member){.fd = fd};
        append_text(&member->output, WELCOME);
        give_turn(member);
        watch(epoll, fd, EDGES, member);
    }
}

int main(int argc, char *argv[])
{
    char version[64];
    snprintf(version, sizeof version, "glibc %s", gnu_get_libc_version());
    int listener = start(argc, argv, version);
    int epoll = create_epoll();
    /* The only event without a member. */
    watch(epoll, listener, EPOLLIN, NULL);

    struct epoll_event events[EVENTS];
    for (;;) {
        int count = wait_for_events(epoll, events);
        for (int i = 0; i < count; i++) {
            struct member *member = events[i].data.ptr;
            if (member == NULL)
                accept_all(epoll, listener);
            else
                act(member, events[i].events);
        }
        end_turn();
    }
}

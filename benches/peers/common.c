#define _GNU_SOURCE /* accept4 */

#include "common.h"

#include <err.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { HOST_MAX = 256 };

static void put_signals_in_order(void)
{
    sigset_t none;
    sigemptyset(&none);
    if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        err(1, "sigprocmask");
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        err(1, "signal");
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        err(1, "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        err(1, "setrlimit");
}

/* The list for freeaddrinfo(3). */
static struct addrinfo *parse(const char *address)
{
    const char *colon = strrchr(address, ':');
    const char *host = address;
    size_t length = colon == NULL ? 0 : (size_t)(colon - address);
    if (length >= 2 && host[0] == '[' && host[length - 1] == ']') {
        host += 1;
        length -= 2;
    }
    if (length == 0 || length >= HOST_MAX)
        errx(2, "%s is not HOST:PORT", address);
    char copy[HOST_MAX];
    memcpy(copy, host, length);
    copy[length] = '\0';

    struct addrinfo hints = {
        .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
        .ai_socktype = SOCK_STREAM,
    };
    struct addrinfo *parsed;
    int error = getaddrinfo(copy, colon + 1, &hints, &parsed);
    if (error != 0)
        errx(2, "%s: %s", address, gai_strerror(error));
    return parsed;
}

static void switch_on(int listener, int level, int option)
{
    int on = 1;
    if (setsockopt(listener, level, option, &on, sizeof on) < 0)
        err(1, "setsockopt");
}

static int listen_at(const char *address)
{
    struct addrinfo *parsed = parse(address);
    int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    int listener = socket(parsed->ai_family, type, 0);
    if (listener < 0)
        err(1, "socket");
    switch_on(listener, SOL_SOCKET, SO_REUSEADDR);
    switch_on(listener, IPPROTO_TCP, TCP_NODELAY);
    if (bind(listener, parsed->ai_addr, parsed->ai_addrlen) < 0 || listen(listener, BACKLOG) < 0)
        err(1, "cannot listen on %s", address);
    freeaddrinfo(parsed);
    return listener;
}

void announce_listener(int listener)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    if (getsockname(listener, (struct sockaddr *)&address, &length) < 0)
        err(1, "getsockname");
    char host[HOST_MAX], port[sizeof "65535"];
    int error = getnameinfo((struct sockaddr *)&address, length, host, sizeof host, port,
                            sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    if (error != 0)
        errx(1, "getnameinfo: %s", gai_strerror(error));
    bool brackets = address.ss_family == AF_INET6;
    fprintf(stderr, "listening on tcp://%s%s%s:%s\n", brackets ? "[" : "", host,
            brackets ? "]" : "", port);
}

int start_listening(int argc, char *argv[], const char *version)
{
    if (argc != 2)
        errx(2, "usage: HOST:PORT or --version");
    if (strcmp(argv[1], "--version") == 0) {
        puts(version);
        exit(0);
    }
    put_signals_in_order();
    raise_descriptor_limit();
    return listen_at(argv[1]);
}

int start(int argc, char *argv[], const char *version)
{
    int listener = start_listening(argc, argv, version);
    announce_listener(listener);
    return listener;
}

int accept_client(int listener)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            return fd;
        if (errno == EAGAIN)
            return -1;
        /* One client gave up while it waited; the clients behind it have not. */
        if (errno != ECONNABORTED && errno != EINTR)
            err(1, "accept");
    }
}

void *allocate(size_t bytes)
{
    return reallocate(NULL, bytes);
}

void *reallocate(void *old, size_t bytes)
{
    void *memory = realloc(old, bytes);
    if (memory == NULL)
        err(1, "malloc");
    return memory;
}

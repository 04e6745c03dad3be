#include "uring.h"

#include <err.h>
#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

enum {
    SUBMISSIONS = 1024,
    /* Many more: all connections may have something to say at once. */
    COMPLETIONS = 16 * 1024,
    /* A power of two: enough for a turn under load, and few, so that they stay in the cache. */
    BUFFERS = 128,
    PAGE_BYTES = 4096,
    CACHE_LINE_BYTES = 64,
};

/*
 * A line apart, or else the first bytes of all buffers, which are the only ones of small messages,
 * would compete for the same few places in the cache.
 */
struct buffer {
    alignas(CACHE_LINE_BYTES) char bytes[BUFFER_BYTES];
    char apart[CACHE_LINE_BYTES];
};

static struct buffer buffers[BUFFERS];
/* One for each buffer, in the same order. */
static struct piece pieces[BUFFERS];
/* The buffers that the kernel may use, a queue between it and us. */
static struct io_uring_buf_ring *offered;
static unsigned offered_count;

/*
 * With the first flags, completions are worked on when we wait for them and at no other time; with
 * the second, at least we are not interrupted for them. EINVAL: the kernel is older.
 */
static int set_up(struct io_uring *ring)
{
    static const unsigned FLAGS[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, /* Linux 6.1 */
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN,  /* Linux 6.0 */
    };
    int error = -EINVAL;
    for (size_t i = 0; i < sizeof FLAGS / sizeof *FLAGS && error == -EINVAL; i++) {
        struct io_uring_params params = {
            .flags = FLAGS[i] | IORING_SETUP_CQSIZE,
            .cq_entries = COMPLETIONS,
        };
        error = io_uring_queue_init_params(SUBMISSIONS, ring, &params);
    }
    return error;
}

static void refuse(int error)
{
    switch (error) {
    case -EPERM:
    case -EACCES:
        errx(1, "io_uring is not permitted here (kernel.io_uring_disabled, or a filter of calls)");
    case -ENOSYS:
        errx(1, "io_uring is not part of this kernel");
    case -EINVAL:
        errx(1, "io_uring of this kernel is too old: Linux 6.0 is needed");
    default:
        errx(1, "io_uring_setup: %s", strerror(-error));
    }
}

static void offer(unsigned short number)
{
    struct piece *piece = &pieces[number];
    piece->is_buffer = true;
    piece->bytes = buffers[number].bytes;
    io_uring_buf_ring_add(offered, piece->bytes, BUFFER_BYTES, number,
                          io_uring_buf_ring_mask(BUFFERS), 0);
    io_uring_buf_ring_advance(offered, 1);
    offered_count += 1;
}

static void offer_all(struct io_uring *ring)
{
    static alignas(PAGE_BYTES) struct io_uring_buf queue[BUFFERS];
    offered = (struct io_uring_buf_ring *)queue;
    /* Their pages are there from the beginning, and not when the first message needs them. */
    memset(buffers, 0, sizeof buffers);
    io_uring_buf_ring_init(offered);
    struct io_uring_buf_reg registration = {
        .ring_addr = (uintptr_t)offered,
        .ring_entries = BUFFERS,
        .bgid = BUFFER_GROUP,
    };
    int error = io_uring_register_buf_ring(ring, &registration, 0);
    if (error < 0)
        errx(1, "io_uring_register: %s", strerror(-error));
    for (unsigned short number = 0; number < BUFFERS; number++)
        offer(number);
}

struct io_uring *create_ring(void)
{
    static struct io_uring ring;
    int error = set_up(&ring);
    if (error < 0)
        refuse(error);
    offer_all(&ring);
    return &ring;
}

struct io_uring_sqe *next_request(struct io_uring *ring)
{
    for (;;) {
        struct io_uring_sqe *request = io_uring_get_sqe(ring);
        if (request != NULL)
            return request;
        int submitted = io_uring_submit(ring);
        if (submitted < 0 && submitted != -EINTR && submitted != -EAGAIN)
            errx(1, "io_uring_submit: %s", strerror(-submitted));
    }
}

struct piece *received(const struct io_uring_cqe *completion)
{
    if (!(completion->flags & IORING_CQE_F_BUFFER))
        return NULL;
    unsigned short number = completion->flags >> IORING_CQE_BUFFER_SHIFT;
    struct piece *piece = &pieces[number];
    offered_count -= 1;
    if (completion->res <= 0) {
        offer(number);
        return NULL;
    }
    piece->next = NULL;
    piece->length = (size_t)completion->res;
    return piece;
}

struct piece *moved_out(struct piece *piece)
{
    if (!piece->is_buffer)
        return piece;
    struct piece *moved = allocate(sizeof *moved + piece->length);
    *moved = (struct piece){.bytes = (char *)(moved + 1), .length = piece->length};
    memcpy(moved->bytes, piece->bytes, piece->length);
    release(piece);
    return moved;
}

void release(struct piece *piece)
{
    if (piece->is_buffer)
        offer((unsigned short)(piece - pieces));
    else
        free(piece);
}

unsigned free_buffers(void)
{
    return offered_count;
}

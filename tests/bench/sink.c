/* An SMSC that accepts everything, to measure clients against: each submit_sm gets its response and, when asked for, a receipt
 * (SMPP 3.4: 4.4, 4.6, appendix B). One client at a time, so that the clock of a run is the sink's own:
 *
 *     sink COUNT [DELAY_MS]      listens on a free loopback port and prints it; serves clients one after another
 *
 * Message ids are spread over 64 bits, as those of real carriers are over theirs, and written in hexadecimal. Receipts leave DELAY_MS
 * after their responses (0). For each client it prints "began" at the first submit_sm and, once COUNT receipts were acknowledged or the
 * client left:
 *
 *     submits receipts acknowledged nanoseconds
 *
 * where the time runs from the arrival of the first submit_sm to the arrival of the last deliver_sm_resp.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 16, MOST_PDU = 65536, READ = 1 << 18 };
enum { BIND_RX = 1, BIND_TX = 2, SUBMIT = 4, DELIVER = 5, UNBIND = 6, BIND_TRX = 9, ENQUIRE = 0x15 };
static const uint32_t RESPONSE = 0x80000000u;

struct bytes {
    uint8_t *at;
    size_t from, to, room;
};

static struct bytes out, held;
static uint8_t in[READ + MOST_PDU];
static size_t in_used;
static uint32_t next_sequence;
static uint64_t next_id = 0x10000000;
static int64_t delay_ns;
static long wanted, submits, receipts, acknowledged;
static int64_t began, ended;
static int reported;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint32_t read_u32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint8_t *write_u32(uint8_t *p, uint32_t value) {
    p[0] = (uint8_t)(value >> 24), p[1] = (uint8_t)(value >> 16), p[2] = (uint8_t)(value >> 8), p[3] = (uint8_t)value;
    return p + 4;
}

/* Make room for so many more octets and return where they go. */
static uint8_t *append(struct bytes *b, size_t length) {
    if (b->to + length > b->room) {
        memmove(b->at, b->at + b->from, b->to - b->from);
        b->to -= b->from, b->from = 0;
        if (b->to + length > b->room / 2) {
            b->room = 2 * (b->to + length);
            b->at = realloc(b->at, b->room);
            if (!b->at) exit(3);
        }
    }
    uint8_t *p = b->at + b->to;
    b->to += length;
    return p;
}

static uint8_t *pdu(struct bytes *to, size_t length, uint32_t command, uint32_t sequence) {
    uint8_t *p = append(to, length);
    p = write_u32(p, (uint32_t)length);
    p = write_u32(p, command);
    p = write_u32(p, 0);
    return write_u32(p, sequence);
}

/* A different number for each number (the finaliser of splitmix64): ids that come in no order. */
static uint64_t scatter(uint64_t n) {
    n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9u;
    n = (n ^ n >> 27) * 0x94d049bb133111ebu;
    return n ^ n >> 31;
}

/* Move the receipts whose time has come behind what is to be written; return the milliseconds until the next one, -1 without any. */
static int release(void) {
    while (held.from < held.to) {
        int64_t due;
        memcpy(&due, held.at + held.from, sizeof due);
        int64_t left = due - now_ns();
        if (left > 0) return (int)(left / 1000000) + 1;
        const uint8_t *p = held.at + held.from + sizeof due;
        size_t length = read_u32(p);
        memcpy(append(&out, length), p, length);
        held.from += sizeof due + length;
    }
    return -1;
}

/* Walk over one C-octet string; null when it does not end within the PDU. */
static const uint8_t *after_string(const uint8_t *p, const uint8_t *end) {
    const uint8_t *nul = p && p < end ? memchr(p, 0, (size_t)(end - p)) : NULL;
    return nul ? nul + 1 : NULL;
}

/* Answer one submit_sm, and send its receipt when registered_delivery asks for one. */
static int answer(const uint8_t *body, const uint8_t *end, uint32_t sequence) {
    char id[24];
    size_t id_size = (size_t)snprintf(id, sizeof id, "%llx", (unsigned long long)scatter(next_id++)) + 1;
    memcpy(pdu(&out, HEADER + id_size, SUBMIT | RESPONSE, sequence), id, id_size);

    const uint8_t *source = after_string(body, end);
    const uint8_t *destination = source ? after_string(source + 2, end) : NULL;
    const uint8_t *flags = destination ? after_string(destination + 2, end) : NULL;
    if (!flags) return -1;
    const uint8_t *registered = after_string(after_string(flags + 3, end), end);
    if (!registered || registered >= end) return -1;
    if (!(*registered & 1)) return 0;

    char text[160];
    size_t text_size = (size_t)snprintf(text, sizeof text,
        "id:%s sub:001 dlvrd:001 submit date:2607250900 done date:2607250901 stat:DELIVRD err:000 text:", id);
    size_t source_size = (size_t)(destination - source), destination_size = (size_t)(flags - destination);
    size_t length = HEADER + 1 + source_size + destination_size + 3 + 2 + 5 + text_size;
    if (delay_ns) {
        int64_t due = now_ns() + delay_ns;
        memcpy(append(&held, sizeof due), &due, sizeof due);
    }
    uint8_t *p = pdu(delay_ns ? &held : &out, length, DELIVER, ++next_sequence);
    *p++ = 0;
    memcpy(p, destination, destination_size), p += destination_size;
    memcpy(p, source, source_size), p += source_size;
    memcpy(p, "\4\0\0\0\0\0\0\0\0", 9), p += 9;
    *p++ = (uint8_t)text_size;
    memcpy(p, text, text_size);
    receipts++;
    return 0;
}

static void report(void) {
    if (reported || !submits) return;
    reported = 1;
    printf("%ld %ld %ld %lld\n", submits, receipts, acknowledged, (long long)(ended - began));
    fflush(stdout);
}

/* Serve one PDU; -1 when the client is not to be served further. */
static int serve(const uint8_t *p, uint32_t length) {
    uint32_t command = read_u32(p + 4), sequence = read_u32(p + 12);
    switch (command) {
    case SUBMIT:
        if (!submits++) {
            began = now_ns();
            puts("began");
            fflush(stdout);
        }
        return answer(p + HEADER, p + length, sequence);
    case DELIVER | RESPONSE:
        if (++acknowledged == wanted) {
            ended = now_ns();
            report();
        }
        return 0;
    case BIND_RX: case BIND_TX: case BIND_TRX:
        memcpy(pdu(&out, HEADER + 5, command | RESPONSE, sequence), "sink", 5);
        return 0;
    case ENQUIRE: case UNBIND:
        pdu(&out, HEADER, command | RESPONSE, sequence);
        return 0;
    default:
        return command & RESPONSE ? 0 : -1;
    }
}

/* Read what came and serve it; -1 at the end of the connection. */
static int take(int fd) {
    ssize_t got = recv(fd, in + in_used, READ, 0);
    if (got <= 0) return got < 0 && errno == EAGAIN ? 0 : -1;
    in_used += (size_t)got;
    size_t at = 0;
    while (in_used - at >= HEADER) {
        uint32_t length = read_u32(in + at);
        if (length < HEADER || length > MOST_PDU) return -1;
        if (in_used - at < length) break;
        if (serve(in + at, length) < 0) return -1;
        at += length;
    }
    memmove(in, in + at, in_used - at);
    in_used -= at;
    return 0;
}

static int give(int fd) {
    while (out.from < out.to) {
        ssize_t sent = send(fd, out.at + out.from, out.to - out.from, MSG_NOSIGNAL);
        if (sent < 0) return errno == EAGAIN ? 0 : -1;
        out.from += (size_t)sent;
    }
    out.from = out.to = 0;
    return 0;
}

static void live(int fd) {
    in_used = out.from = out.to = held.from = held.to = 0;
    next_sequence = 0;
    submits = receipts = acknowledged = 0;
    began = ended = 0;
    reported = 0;
    for (;;) {
        int wait_ms = release();
        struct pollfd on = {.fd = fd, .events = (short)(POLLIN | (out.from < out.to ? POLLOUT : 0))};
        if (poll(&on, 1, wait_ms) < 0 && errno != EINTR) break;
        if (on.revents & (POLLIN | POLLHUP | POLLERR) && take(fd) < 0) break;
        if (give(fd) < 0) break;
    }
    if (!ended) ended = now_ns();
    report();
    close(fd);
}

int main(int argc, char **argv) {
    if (argc < 2 || argc > 3 || (wanted = atol(argv[1])) < 1) {
        fprintf(stderr, "usage: sink COUNT [DELAY_MS]\n");
        return 2;
    }
    delay_ns = argc == 3 ? atol(argv[2]) * 1000000 : 0;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    if (bind(listener, (struct sockaddr *)&at, size) || listen(listener, 4) || getsockname(listener, (struct sockaddr *)&at, &size)) {
        perror("sink");
        return 1;
    }
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd < 0) return 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        live(fd);
    }
}

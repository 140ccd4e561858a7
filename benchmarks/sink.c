/* Thousands of WebSocket listeners in one thread, so cheap that the server is what is measured.
 *
 *   cc -O2 -o sink sink.c
 *   ./sink 127.0.0.1 8084 /ws 10000 [first message] [mark]
 *
 * Connects (256 at a time), reads all that comes, answers pings, and tells on standard output, a line of JSON each,
 *
 *   {"connected":10000,"seconds":3.1}     when all are connected (or have failed: then `failed` is not 0)
 *   {"messages":...,"bytes":...,"lost":...,"cpu_s":...,"last_at":...}  for each line that it is sent; the time is of
 *                                          CLOCK_REALTIME, in seconds; the counts are since the beginning
 *   {"told":[[id, first, last], ...]}      for a line "times": when the first and the last listener had the event
 *
 * and ends when standard input ends. `first message` is sent as a text frame (binary, if it begins with "b:") by each
 * listener once it is connected. With `mark`, messages are counted by that character in the payloads, and not by
 * frames: for servers that put several into one.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define AT_ONCE 256
#define BUFFER (256 * 1024)
#define EVENTS_MAX (1 << 20)
#define HEAD_MAX 14 /* the longest header of a frame */

struct listener {
    int fd;
    int state;          /* 0 connecting, 1 waits for the answer, 2 listens, 3 gone */
    int matched;        /* how much of the end of the head has come */
    uint64_t skip;      /* what is still to come of the frame under way */
    int opcode;
    int held;           /* bytes of an incomplete header, or of a control frame */
    unsigned char hold[160];
};

static struct listener *listeners;
static int wanted, begun, connected, failed, lost, epoll;
static uint64_t messages, bytes;
static double last_at;
static struct sockaddr_in address;
static const char *host, *path, *first;
static int port, mark = -1;
static unsigned char buffer[BUFFER];
static uint32_t event_count[EVENTS_MAX];
static double event_first[EVENTS_MAX], event_last[EVENTS_MAX];

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what) {
    fprintf(stderr, "sink: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void end(struct listener *l, int *counter) {
    close(l->fd);
    l->state = 3;
    ++*counter;
}

static void send_frame(struct listener *l, int opcode, const void *data, size_t size) {
    unsigned char frame[2048];
    size_t n = 0;
    frame[n++] = 0x80 | opcode;
    if (size < 126) {
        frame[n++] = 0x80 | size;
    } else {
        frame[n++] = 0x80 | 126;
        frame[n++] = size >> 8;
        frame[n++] = size;
    }
    memset(frame + n, 0, 4); /* a mask of zeros is one, too */
    n += 4;
    memcpy(frame + n, data, size);
    if (write(l->fd, frame, n + size) < 0 && errno != EAGAIN) end(l, &lost);
}

static void begin(void) {
    struct listener *l = &listeners[begun++];
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (l->fd < 0) die("socket");
    /* More listeners than a port range holds: every loopback address has one of its own. */
    struct sockaddr_in from = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + begun / 20000);
    int on = 1;
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if ((begun / 20000) && bind(l->fd, (struct sockaddr *)&from, sizeof from) < 0) die("bind");
    if (connect(l->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) die("connect");
    struct epoll_event e = {.events = EPOLLOUT | EPOLLIN, .data.ptr = l};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, l->fd, &e) < 0) die("epoll_ctl");
}

static void ask(struct listener *l) {
    char head[2048];
    int n = snprintf(head, sizeof head,
                     "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                     path, host, port);
    if (write(l->fd, head, n) != n) {
        end(l, &failed);
        return;
    }
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = l};
    epoll_ctl(epoll, EPOLL_CTL_MOD, l->fd, &e);
    l->state = 1;
}

/* The event's id, as our own service writes it near the beginning of each event; 0 for what is none. */
static uint32_t id_of(const unsigned char *payload, size_t size) {
    size_t end = size < 64 ? size : 64;
    const unsigned char *at = memmem(payload, end, "\"id\":", 5);
    return at ? strtoul((const char *)at + 5, NULL, 10) : 0;
}

static void heard(const unsigned char *payload, size_t size) {
    if (mark < 0) {
        messages++;
        uint32_t id = id_of(payload, size);
        if (id && id < EVENTS_MAX) {
            if (!event_count[id]++) event_first[id] = last_at;
            event_last[id] = last_at;
        }
        return;
    }
    const unsigned char *stop = payload + size;
    while ((payload = memchr(payload, mark, stop - payload))) {
        messages++;
        payload++;
    }
}

static void control(struct listener *l, int opcode, const unsigned char *payload, size_t size) {
    if (opcode == 9) send_frame(l, 10, payload, size);
    if (opcode == 8) end(l, &lost);
}

/* Take apart what has come. Returns early when the listener is gone. */
static void take(struct listener *l, unsigned char *data, size_t size) {
    while (size && l->state == 2) {
        if (l->skip) {
            size_t n = l->skip < size ? l->skip : size;
            if (l->opcode >= 8) {
                memcpy(l->hold + l->held, data, n);
                l->held += n;
            } else if (mark >= 0) {
                heard(data, n);
            }
            data += n, size -= n, l->skip -= n;
            if (!l->skip && l->opcode >= 8) {
                int held = l->held;
                l->held = 0;
                control(l, l->opcode, l->hold, held);
            }
            continue;
        }
        /* A header, and in the usual case the payload with it. */
        unsigned char *head = data;
        size_t have = size;
        if (l->held) {
            while (l->held < HEAD_MAX && size && (l->held < 2 || l->held < 2 + (l->hold[1] == 126 ? 2 : l->hold[1] == 127 ? 8 : 0)))
                l->hold[l->held++] = *data++, size--;
            head = l->hold, have = l->held;
        }
        size_t need = have < 2 ? 2 : 2 + (head[1] == 126 ? 2 : head[1] == 127 ? 8 : 0);
        if (have < need) {
            if (!l->held) memcpy(l->hold, data, size), l->held = size;
            return;
        }
        uint64_t length = head[1];
        if (length >= 126) {
            length = 0;
            for (size_t i = 2; i < need; i++) length = length << 8 | head[i];
        }
        l->opcode = head[0] & 15;
        if (l->held) {
            l->held = 0;
        } else {
            data += need, size -= need;
        }
        if (length <= size) {
            if (l->opcode >= 8) control(l, l->opcode, data, length);
            else heard(data, length);
            data += length, size -= length;
        } else {
            if (l->opcode < 8 && mark < 0) heard(data, size);
            l->skip = length;
        }
    }
}

static void ready(struct listener *l) {
    if (l->state == 3) return;
    if (l->state == 0) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) end(l, &failed);
        else ask(l);
        return;
    }
    ssize_t n = read(l->fd, buffer, BUFFER);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        end(l, l->state == 1 ? &failed : &lost);
        return;
    }
    unsigned char *data = buffer;
    if (l->state == 1) {
        static const char tail[] = "\r\n\r\n";
        if (!l->matched && n >= 12 && memcmp(data + 9, "101", 3)) {
            if (!failed) fprintf(stderr, "sink: refused: %.*s\n", (int)(n < 300 ? n : 300), data);
            end(l, &failed);
            return;
        }
        while (n && l->matched < 4) {
            l->matched = *data == (unsigned char)tail[l->matched] ? l->matched + 1 : *data == '\r';
            data++, n--;
        }
        if (l->matched < 4) return;
        l->state = 2;
        connected++;
        if (first) {
            int binary = !strncmp(first, "b:", 2);
            const char *text = binary ? first + 2 : first;
            send_frame(l, binary ? 2 : 1, text, strlen(text));
        }
    }
    bytes += n;
    last_at = now(CLOCK_REALTIME);
    take(l, data, n);
}

static void command(void) {
    char line[64] = "";
    if (!fgets(line, sizeof line, stdin)) exit(0);
    if (!strcmp(line, "times\n")) {
        printf("{\"told\":[");
        const char *comma = "";
        for (uint32_t id = 1; id < EVENTS_MAX; id++)
            if (event_count[id]) {
                printf("%s[%u,%u,%.6f,%.6f]", comma, id, event_count[id], event_first[id], event_last[id]);
                comma = ",";
            }
        printf("]}\n");
    } else {
        printf("{\"messages\":%lu,\"bytes\":%lu,\"lost\":%d,\"cpu_s\":%.3f,\"last_at\":%.6f}\n", messages, bytes, lost,
               now(CLOCK_PROCESS_CPUTIME_ID), last_at);
    }
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc < 5) {
        fprintf(stderr, "usage: sink ADDRESS PORT PATH LISTENERS [FIRST MESSAGE] [MARK]\n");
        return 2;
    }
    host = argv[1], port = atoi(argv[2]), path = argv[3], wanted = atoi(argv[4]);
    first = argc > 5 && *argv[5] ? argv[5] : NULL;
    if (argc > 6) mark = (unsigned char)*argv[6];
    struct rlimit files = {wanted + 100, wanted + 100};
    if (setrlimit(RLIMIT_NOFILE, &files) < 0) die("more open files than allowed (ulimit -n)");
    setvbuf(stdin, NULL, _IONBF, 0);
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    inet_pton(AF_INET, host, &address.sin_addr);
    listeners = calloc(wanted, sizeof *listeners);
    epoll = epoll_create1(0);
    struct epoll_event in = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &in) < 0) die("standard input");
    double began = now(CLOCK_MONOTONIC);
    int told = 0;
    struct epoll_event events[1024];
    for (;;) {
        while (begun < wanted && begun - connected - failed < AT_ONCE) begin();
        if (!told && connected + failed == wanted) {
            told = 1;
            printf("{\"connected\":%d,\"failed\":%d,\"seconds\":%.6f}\n", connected, failed, now(CLOCK_MONOTONIC) - began);
            fflush(stdout);
        }
        int n = epoll_wait(epoll, events, 1024, -1);
        for (int i = 0; i < n; i++)
            if (events[i].data.ptr) ready(events[i].data.ptr);
            else command();
    }
}

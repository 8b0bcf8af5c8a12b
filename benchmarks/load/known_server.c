/* A server of known timings, to hold clients against: it spins on a core of its own and notes when it really wrote.
 *
 *     known_server FIRST_NS TOKEN_NS TOKENS
 *
 * The first token is due FIRST_NS after the request reached this machine, by the kernel's stamp, and one more every TOKEN_NS, on an
 * absolute schedule. Prints its port; at the end of its standard input it prints JSON: for each request its arrival, first write
 * and last write, monotonic ns, and the most by which any of its writes was late. In C, since Python cannot write 40,000 chunks a
 * second and keep to a schedule.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST_CONNECTIONS 65536
#define MOST_REQUEST (1 << 20)
#define EVENT_BYTES 1024
#define HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
#define END "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
#define MODELS "{\"object\": \"list\", \"data\": [{\"id\": \"known\", \"object\": \"model\", \"max_model_len\": 8192}]}"

struct connection {
    char *received;
    size_t length;
    int64_t arrived_ns, first_ns;
    int sent;
    bool open, chat;
    unsigned serial; /* of the answer under way: what is due of an earlier one is void */
};
struct due { int64_t at_ns; int number; unsigned serial; };
struct note { int64_t arrived_ns, first_ns, last_ns; };

static struct connection connections[MOST_CONNECTIONS];
static struct due *heap;
static size_t waiting, heap_room;
static struct note *notes;
static size_t noted, note_room;
static int64_t first_ns, token_ns, late_ns;
static int tokens, poll_fd;
static char (*events[2])[EVENT_BYTES]; /* by whether it is a chat: each chunk, framed; the first with the head, the last with the end */

static void stop(const char *what) { perror(what); exit(1); }

static int64_t now_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void *grown(void *array, size_t used, size_t *room, size_t each) {
    if (used < *room) return array;
    *room = *room ? 2 * *room : 1024;
    array = realloc(array, *room * each);
    if (!array) stop("memory");
    return array;
}

static void push(struct due new) {
    heap = grown(heap, waiting, &heap_room, sizeof *heap);
    size_t at = waiting++;
    for (; at && heap[(at - 1) / 2].at_ns > new.at_ns; at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = new;
}

static struct due pop(void) {
    struct due least = heap[0], last = heap[--waiting];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < waiting; at = child) {
        if (child + 1 < waiting && heap[child + 1].at_ns < heap[child].at_ns) child++;
        if (heap[child].at_ns >= last.at_ns) break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    return least;
}

static void make_events(bool chat) {
    events[chat] = calloc(tokens, sizeof *events[chat]);
    for (int n = 1; n <= tokens; n++) {
        char data[512];
        int length = snprintf(data, sizeof data,
            "data: {\"id\": \"cmpl-0\", \"object\": \"%s\", \"created\": 0, \"model\": \"known\", \"choices\": [{\"index\": 0, %s, "
            "\"finish_reason\": %s}], \"usage\": {\"prompt_tokens\": 64, \"total_tokens\": %d, \"completion_tokens\": %d}}\n\n",
            chat ? "chat.completion.chunk" : "text_completion",
            chat ? "\"delta\": {\"content\": \" word\"}" : "\"text\": \" word\", \"logprobs\": null",
            n == tokens ? "\"length\"" : "null", 64 + n, n);
        snprintf(events[chat][n - 1], EVENT_BYTES, "%s%x\r\n%s\r\n%s", n == 1 ? HEAD : "", length, data, n == tokens ? END : "");
    }
}

/* The monotonic moment of a receive stamp, which is wall time; now where there is none. */
static int64_t arrival(struct msghdr *message) {
    int64_t now = now_ns(CLOCK_MONOTONIC);
    for (struct cmsghdr *each = CMSG_FIRSTHDR(message); each; each = CMSG_NXTHDR(message, each)) {
        if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SO_TIMESTAMPING) continue;
        struct timespec *stamp = (struct timespec *)CMSG_DATA(each);
        int64_t tightest = INT64_MAX, offset = 0;
        for (int n = 0; n < 3; n++) { /* any reading may be interrupted */
            int64_t before = now_ns(CLOCK_MONOTONIC), wall = now_ns(CLOCK_REALTIME), after = now_ns(CLOCK_MONOTONIC);
            if (after - before < tightest) { tightest = after - before; offset = wall - (before + after) / 2; }
        }
        int64_t at = stamp->tv_sec * 1000000000LL + stamp->tv_nsec - offset;
        return at < now ? at : now;
    }
    return now;
}

static void drop(int number) {
    connections[number].open = false;
    connections[number].serial++;
    close(number);
}

static void accept_all(int listening) {
    int number, on = 1, stamps = (1 << 3) | (1 << 4); /* SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE */
    while ((number = accept4(listening, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (number >= MOST_CONNECTIONS) { close(number); continue; }
        setsockopt(number, SOL_SOCKET, SO_TIMESTAMPING, &stamps, sizeof stamps);
        setsockopt(number, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *new = &connections[number];
        if (!new->received && !(new->received = malloc(MOST_REQUEST + 1))) stop("memory");
        new->open = true;
        new->length = 0;
        struct epoll_event event = {.events = EPOLLIN, .data.fd = number};
        if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, number, &event)) stop("epoll_ctl");
    }
}

/* Whether all of a request's body is there, of stated length or in chunks. */
static bool whole(const char *head, const char *body, size_t length) {
    const char *stated = strcasestr(head, "content-length:");
    if (stated && stated < body) return length == strtoul(stated + 15, NULL, 10);
    return length >= 5 && !memcmp(body + length - 5, "0\r\n\r\n", 5);
}

static void take_request(int number) {
    struct connection *from = &connections[number];
    char *end = strstr(from->received, "\r\n\r\n");
    if (!end) return;
    char *body = end + 4;
    if (strncmp(from->received, "POST ", 5)) {
        bool found = !strncmp(from->received, "GET /v1/models", 14) || !strncmp(from->received, "GET /health", 11);
        char page[512];
        int length = snprintf(page, sizeof page, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
            found ? "200 OK" : "404 Not Found", strlen(MODELS), MODELS);
        from->length = 0;
        if (send(number, page, length, MSG_NOSIGNAL) < 0) drop(number);
    } else if (whole(from->received, body, from->length - (body - from->received))) {
        from->chat = strstr(from->received, "/chat/") && strstr(from->received, "/chat/") < end;
        from->length = 0;
        from->sent = 0;
        push((struct due){from->arrived_ns + first_ns, number, ++from->serial});
    }
}

static void read_from(int number) {
    struct connection *from = &connections[number];
    char control[256];
    struct iovec into = {from->received + from->length, MOST_REQUEST - from->length};
    struct msghdr message = {.msg_iov = &into, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t length = recvmsg(number, &message, 0);
    if (length < 0 && errno == EAGAIN) return;
    if (length <= 0) { drop(number); return; }
    from->arrived_ns = arrival(&message);
    from->length += length;
    from->received[from->length] = 0;
    take_request(number);
}

static void write_due(struct due due) {
    struct connection *to = &connections[due.number];
    if (!to->open || to->serial != due.serial) return;
    int64_t now = now_ns(CLOCK_MONOTONIC);
    if (now - due.at_ns > late_ns) late_ns = now - due.at_ns;
    if (!to->sent++) to->first_ns = now;
    bool last = to->sent == tokens;
    if (last) {
        notes = grown(notes, noted, &note_room, sizeof *notes);
        notes[noted++] = (struct note){to->arrived_ns, to->first_ns, now};
    } else push((struct due){due.at_ns + token_ns, due.number, due.serial});
    const char *event = events[to->chat][to->sent - 1];
    ssize_t length = strlen(event);
    if (send(due.number, event, length, MSG_NOSIGNAL) != length) drop(due.number); /* gone, or too slow to be measured */
}

/* Spin: whoever sleeps wakes late. */
static void serve(int listening) {
    struct epoll_event ready[256];
    for (;;) {
        int count = epoll_wait(poll_fd, ready, 256, 0);
        for (int n = 0; n < count; n++) {
            if (ready[n].data.fd == STDIN_FILENO) return;
            if (ready[n].data.fd == listening) accept_all(listening);
            else read_from(ready[n].data.fd);
        }
        int64_t now = now_ns(CLOCK_MONOTONIC);
        while (waiting && heap[0].at_ns <= now) write_due(pop());
    }
}

int main(int count, char **words) {
    if (count != 4) { fprintf(stderr, "known_server FIRST_NS TOKEN_NS TOKENS\n"); return 2; }
    first_ns = atoll(words[1]), token_ns = atoll(words[2]), tokens = atoi(words[3]);
    make_events(false);
    make_events(true);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listening, (struct sockaddr *)&address, size) || listen(listening, 4096)) stop("listen");
    getsockname(listening, (struct sockaddr *)&address, &size);
    poll_fd = epoll_create1(0);
    int watched[] = {STDIN_FILENO, listening};
    for (int n = 0; n < 2; n++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = watched[n]};
        if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, watched[n], &event)) stop("epoll_ctl");
    }
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    serve(listening);
    printf("{\"late_ns\": %lld, \"notes\": [", (long long)late_ns);
    for (size_t n = 0; n < noted; n++)
        printf("%s[%lld, %lld, %lld]", n ? ", " : "", (long long)notes[n].arrived_ns, (long long)notes[n].first_ns, (long long)notes[n].last_ns);
    printf("]}\n");
    return 0;
}

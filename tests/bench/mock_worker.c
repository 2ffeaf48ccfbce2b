/* A vLLM-shaped worker that costs next to nothing, so that a gateway in front of it is what gets measured.
 *
 * usage: mock_worker PORT CHUNKS INTERVAL_MS MODEL          (port 0 takes a free one; the port is printed)
 *
 * POST /v1/chat/completions answers with a fixed reply of realistic size, or, when the body asks for a stream, with a
 * role frame, CHUNKS text frames one INTERVAL_MS apart, a finish frame, a usage frame if asked for, and [DONE].
 * Everything else a gateway may probe (/health, /v1/models, /metrics, /version) has a small fixed answer.
 * One thread, epoll, keep-alive. A request it does not understand gets 400 and a closed connection.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_EVENTS = 512, MAX_REQUEST = 1 << 20, MAX_FRAME = 1024 };

struct buffer {
    char *data;
    size_t len, cap;
};

struct connection {
    int fd;
    struct buffer in, out;
    size_t sent;
    int watches_output, closing;
    int streaming, chunks_left, wants_usage;
    long long due_us;
    struct connection *previous, *next; /* in the list of open streams */
};

static int epoll_fd, chunk_count, interval_ms;
static struct connection *streams;
static struct buffer unary_reply, models_reply, stream_head, role_frame, text_frame, finish_frame, usage_frame, done_frame;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static long long now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static void append(struct buffer *b, const char *data, size_t len) {
    if (b->len + len > b->cap) {
        b->cap = (b->len + len) * 2;
        b->data = realloc(b->data, b->cap);
        if (!b->data) die("realloc");
    }
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

static void append_text(struct buffer *b, const char *text) { append(b, text, strlen(text)); }

static void append_buffer(struct buffer *b, const struct buffer *more) { append(b, more->data, more->len); }

/* One server-sent event as one chunk of the transfer coding. */
static void make_frame(struct buffer *b, const char *data) {
    char head[32];
    snprintf(head, sizeof head, "%zx\r\n", strlen(data) + 8);
    append_text(b, head);
    append_text(b, "data: ");
    append_text(b, data);
    append_text(b, "\n\n\r\n");
}

static void make_sized(struct buffer *b, const char *status, const char *type, const char *body) {
    char head[256];
    snprintf(head, sizeof head,
             "HTTP/1.1 %s\r\ndate: Tue, 24 Nov 2026 05:00:12 GMT\r\nserver: uvicorn\r\ncontent-length: %zu\r\n"
             "content-type: %s\r\n\r\n",
             status, strlen(body), type);
    append_text(b, head);
    append_text(b, body);
}

static void make_chunk(struct buffer *b, const char *model, const char *rest) {
    char json[MAX_FRAME];
    snprintf(json, sizeof json,
             "{\"id\":\"chatcmpl-990d355faf86a0a7990d355faf86a0a7\",\"object\":\"chat.completion.chunk\","
             "\"created\":1795496413,\"model\":\"%s\",%s}",
             model, rest);
    make_frame(b, json);
}

static void make_replies(const char *model) {
    char json[2048];
    snprintf(json, sizeof json,
             "{\"id\":\"chatcmpl-990d355faf86a0a7990d355faf86a0a7\",\"object\":\"chat.completion\",\"created\":1795496413,"
             "\"model\":\"%s\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Copenhagen is the "
             "capital of Denmark.\",\"refusal\":null,\"annotations\":null,\"audio\":null,\"function_call\":null,"
             "\"reasoning\":null},\"logprobs\":null,\"finish_reason\":\"stop\",\"stop_reason\":null,\"token_ids\":null,"
             "\"routed_experts\":null}],\"service_tier\":null,\"system_fingerprint\":\"vllm-0.32.0-721c23e5\",\"usage\":"
             "{\"prompt_tokens\":21,\"total_tokens\":29,\"completion_tokens\":8,\"prompt_tokens_details\":null,"
             "\"completion_tokens_details\":null},\"prompt_logprobs\":null,\"prompt_token_ids\":null,\"prompt_text\":null,"
             "\"kv_transfer_params\":null,\"ec_transfer_params\":null,\"metrics\":null}",
             model);
    make_sized(&unary_reply, "200 OK", "application/json", json);
    snprintf(json, sizeof json,
             "{\"object\":\"list\",\"data\":[{\"id\":\"%s\",\"object\":\"model\",\"created\":1795496413,\"owned_by\":\"vllm\","
             "\"root\":\"%s\",\"parent\":null,\"max_model_len\":8192,\"permission\":[]}]}",
             model, model);
    make_sized(&models_reply, "200 OK", "application/json", json);
    append_text(&stream_head,
                "HTTP/1.1 200 OK\r\ndate: Tue, 24 Nov 2026 05:00:12 GMT\r\nserver: uvicorn\r\n"
                "content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n");
    make_chunk(&role_frame, model,
               "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,"
               "\"finish_reason\":null}],\"prompt_token_ids\":null,\"prompt_text\":null");
    make_chunk(&text_frame, model,
               "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" token\"},\"logprobs\":null,\"finish_reason\":null,"
               "\"token_ids\":null}]");
    make_chunk(&finish_frame, model,
               "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"logprobs\":null,\"finish_reason\":\"stop\","
               "\"stop_reason\":null,\"token_ids\":null}]");
    snprintf(json, sizeof json,
             "\"choices\":[],\"usage\":{\"prompt_tokens\":21,\"total_tokens\":%d,\"completion_tokens\":%d},"
             "\"system_fingerprint\":\"vllm-0.32.0-721c23e5\"",
             chunk_count + 22, chunk_count + 1);
    make_chunk(&usage_frame, model, json);
    make_frame(&done_frame, "[DONE]");
    append_text(&done_frame, "0\r\n\r\n");
}

static void unlink_stream(struct connection *c) {
    if (!c->streaming) return;
    if (c->previous) c->previous->next = c->next;
    else streams = c->next;
    if (c->next) c->next->previous = c->previous;
    c->streaming = 0;
}

static void destroy(struct connection *c) {
    unlink_stream(c);
    close(c->fd);
    free(c->in.data);
    free(c->out.data);
    free(c);
}

/* Sends what is pending; 0 when the connection is gone and freed. */
static int flush(struct connection *c) {
    while (c->sent < c->out.len) {
        ssize_t n = send(c->fd, c->out.data + c->sent, c->out.len - c->sent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EINTR) continue;
            if (errno == EAGAIN) break;
            destroy(c);
            return 0;
        }
        c->sent += (size_t)n;
    }
    int pending = c->sent < c->out.len;
    if (!pending) {
        c->out.len = c->sent = 0;
        if (c->closing) {
            destroy(c);
            return 0;
        }
    }
    if (pending != c->watches_output) {
        struct epoll_event event = {.events = EPOLLIN | (pending ? EPOLLOUT : 0), .data.ptr = c};
        epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
        c->watches_output = pending;
    }
    return 1;
}

static int has(const char *text, size_t len, const char *wanted) { return memmem(text, len, wanted, strlen(wanted)) != NULL; }

/* True for "name":true with or without a space, which is how JSON writers put it. */
static int has_true(const char *body, size_t len, const char *name) {
    char spaced[64], dense[64];
    snprintf(dense, sizeof dense, "\"%s\":true", name);
    snprintf(spaced, sizeof spaced, "\"%s\": true", name);
    return has(body, len, dense) || has(body, len, spaced);
}

static void start_stream(struct connection *c, const char *body, size_t len) {
    append_buffer(&c->out, &stream_head);
    append_buffer(&c->out, &role_frame);
    c->wants_usage = has_true(body, len, "include_usage");
    c->chunks_left = chunk_count;
    c->due_us = now_us() + interval_ms * 1000LL;
    c->streaming = 1;
    c->previous = NULL;
    c->next = streams;
    if (streams) streams->previous = c;
    streams = c;
}

static void answer(struct connection *c, const char *head, size_t head_len, const char *body, size_t body_len) {
    (void)head_len;
    if (!strncmp(head, "POST /v1/chat/completions ", 26)) {
        if (has_true(body, body_len, "stream")) start_stream(c, body, body_len);
        else append_buffer(&c->out, &unary_reply);
    } else if (!strncmp(head, "GET /v1/models ", 15)) {
        append_buffer(&c->out, &models_reply);
    } else if (!strncmp(head, "GET /version ", 13)) {
        make_sized(&c->out, "200 OK", "application/json", "{\"version\":\"0.32.0\"}");
    } else if (!strncmp(head, "GET /health ", 12)) {
        make_sized(&c->out, "200 OK", "text/plain", "");
    } else if (!strncmp(head, "GET /metrics ", 13)) {
        make_sized(&c->out, "200 OK", "text/plain; version=0.0.4",
                   "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine=\"0\"} 0.0\n"
                   "# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{engine=\"0\"} 0.0\n");
    } else {
        make_sized(&c->out, "404 Not Found", "application/json", "{\"detail\":\"Not Found\"}");
    }
}

/* Answers all complete requests; a stream holds back those behind it. */
static void take_requests(struct connection *c) {
    size_t start = 0;
    while (!c->streaming && !c->closing && start < c->in.len) {
        char *head = c->in.data + start;
        char *end = memmem(head, c->in.len - start, "\r\n\r\n", 4);
        if (!end) break;
        *end = 0;
        size_t head_len = (size_t)(end - head) + 4;
        char *length = strcasestr(head, "\r\ncontent-length:");
        size_t body_len = length ? strtoul(length + 17, NULL, 10) : 0;
        if (strcasestr(head, "\r\ntransfer-encoding:") || body_len > MAX_REQUEST) {
            make_sized(&c->out, "400 Bad Request", "text/plain", "unsupported request\n");
            c->closing = 1;
            break;
        }
        if (c->in.len - start < head_len + body_len) {
            *end = '\r';
            break;
        }
        answer(c, head, head_len, head + head_len, body_len);
        if (strcasestr(head, "\r\nconnection: close")) c->closing = !c->streaming;
        start += head_len + body_len;
    }
    memmove(c->in.data, c->in.data + start, c->in.len - start);
    c->in.len -= start;
}

static void read_from(struct connection *c) {
    char block[65536];
    for (;;) {
        ssize_t n = recv(c->fd, block, sizeof block, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) break;
        if (n <= 0 || c->in.len + (size_t)n > MAX_REQUEST) {
            destroy(c);
            return;
        }
        append(&c->in, block, (size_t)n);
        if ((size_t)n < sizeof block) break;
    }
    take_requests(c);
    flush(c);
}

static void accept_all(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd < 0) return;
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *c = calloc(1, sizeof *c);
        if (!c) die("calloc");
        c->fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
    }
}

/* Sends every frame that is due; returns the milliseconds until the next one, -1 when no stream is open. */
static int pace_streams(void) {
    long long now = now_us(), next = -1;
    for (struct connection *c = streams, *following; c; c = following) {
        following = c->next;
        if (c->due_us <= now) {
            if (c->chunks_left > 0) {
                c->chunks_left--;
                append_buffer(&c->out, &text_frame);
                c->due_us += interval_ms * 1000LL;
            } else {
                append_buffer(&c->out, &finish_frame);
                if (c->wants_usage) append_buffer(&c->out, &usage_frame);
                append_buffer(&c->out, &done_frame);
                unlink_stream(c);
                take_requests(c);
            }
            if (!flush(c) || !c->streaming) continue;
        }
        if (next < 0 || c->due_us < next) next = c->due_us;
    }
    if (next < 0) return -1;
    return next <= now ? 0 : (int)((next - now + 999) / 1000);
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&address, size) < 0 || listen(fd, 8192) < 0) die("listen");
    getsockname(fd, (struct sockaddr *)&address, &size);
    printf("mock worker ready on http://127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: %s PORT CHUNKS INTERVAL_MS MODEL\n", argv[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    chunk_count = atoi(argv[2]);
    interval_ms = atoi(argv[3]);
    make_replies(argv[4]);
    epoll_fd = epoll_create1(0);
    int listener = listen_on(atoi(argv[1]));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[MAX_EVENTS];
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event) < 0) die("epoll_ctl");
    for (int wait_ms = -1;; wait_ms = pace_streams()) {
        int count = epoll_wait(epoll_fd, events, MAX_EVENTS, wait_ms);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c) accept_all(listener);
            else if (events[i].events & EPOLLIN) read_from(c);
            else if (events[i].events & EPOLLOUT) flush(c);
            else destroy(c);
        }
    }
}

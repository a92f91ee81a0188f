/* What the C programs of this folder share. */
#ifndef GEVLITE_BENCHMARK_H
#define GEVLITE_BENCHMARK_H
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

static inline void die(const char *what) {
    perror(what);
    exit(1);
}

static inline int64_t clock_ns(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t) < 0)
        die("clock_gettime");
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

struct address {
    socklen_t length;
    union {
        struct sockaddr any;
        struct sockaddr_in ip;
        struct sockaddr_un unix_;
    };
};

/* An IPv4 address and a port, or the path of a UNIX socket. */
static inline struct address parse_address(const char *text, int port) {
    struct address a = {.length = sizeof a.ip};
    if (text[0] == '/') {
        a.length = sizeof a.unix_;
        a.unix_.sun_family = AF_UNIX;
        if (strlen(text) >= sizeof a.unix_.sun_path) {
            fprintf(stderr, "%s is too long for the path of a UNIX socket\n", text);
            exit(2);
        }
        strcpy(a.unix_.sun_path, text);
        return a;
    }
    a.ip.sin_family = AF_INET;
    a.ip.sin_port = htons(port);
    if (inet_pton(AF_INET, text, &a.ip.sin_addr) != 1) {
        fprintf(stderr, "%s is no IPv4 address\n", text);
        exit(2);
    }
    return a;
}

/* Give a socket that will connect the local address 127.1.0.1 + number: each has some 28,000 ports. */
static inline void come_from(int fd, uint32_t number) {
    struct sockaddr_in from = {.sin_family = AF_INET};
    int one = 1;
    from.sin_addr.s_addr = htonl((127u << 24 | 1u << 16) + 1 + number);
    /* The port is chosen by connect(), which may give one to several destinations (ip(7)). */
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0)
        die("bind");
}

/* The time after a warm-up in which a load counts, and what it sees then. */
struct window {
    int64_t began, warmup, length, started;
    int64_t cpu, server_cpu; /* of this process and of the server, in the window */
    clockid_t server_clock;
    int64_t done;
    size_t count;
    uint32_t *samples; /* latencies in nanoseconds */
};

#define MAX_SAMPLES (1 << 23)

/* From the arguments WARMUP SECONDS SERVER_PID. The CPU clock of a process counts nanoseconds (clock_getcpuclockid(3)),
 * where /proc/PID/stat counts hundredths of a second. */
static inline struct window open_window(char **argv) {
    struct window w = {.warmup = atof(argv[0]) * 1e9, .length = atof(argv[1]) * 1e9};
    if ((errno = clock_getcpuclockid(atoi(argv[2]), &w.server_clock)) != 0)
        die("clock_getcpuclockid");
    w.samples = calloc(MAX_SAMPLES, sizeof *w.samples);
    w.began = clock_ns(CLOCK_MONOTONIC);
    return w;
}

/* To be called again and again; true when it is over. */
static inline bool window_over(struct window *w) {
    int64_t now = clock_ns(CLOCK_MONOTONIC);
    if (!w->started) {
        if (now - w->began < w->warmup)
            return false;
        w->cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
        w->server_cpu = clock_ns(w->server_clock);
        w->started = now;
        return false;
    }
    if (now - w->started < w->length)
        return false;
    w->cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - w->cpu;
    w->server_cpu = clock_ns(w->server_clock) - w->server_cpu;
    w->length = now - w->started;
    return true;
}

/* One more is done, which was begun at that time. */
static inline void count_one(struct window *w, int64_t since) {
    if (!w->started)
        return;
    w->done++;
    if (w->count < MAX_SAMPLES) {
        int64_t took = clock_ns(CLOCK_MONOTONIC) - since;
        w->samples[w->count++] = took < UINT32_MAX ? took : UINT32_MAX;
    }
}

static inline int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static inline double percentile(const struct window *w, double part) {
    return w->count ? w->samples[(size_t)((w->count - 1) * part)] / 1e9 : 0;
}

static inline void print_window(struct window *w) {
    qsort(w->samples, w->count, sizeof *w->samples, by_size);
    printf("{\"done\": %lld, \"seconds\": %.9f, \"client_cpu\": %.9f, \"server_cpu\": %.9f, "
           "\"p50\": %.9f, \"p99\": %.9f, \"p999\": %.9f, \"max\": %.9f}\n",
           (long long)w->done, w->length / 1e9, w->cpu / 1e9, w->server_cpu / 1e9, percentile(w, 0.5),
           percentile(w, 0.99), percentile(w, 0.999), percentile(w, 1));
}

#endif

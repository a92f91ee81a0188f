/* The load that only reads: one connection, everything that comes is thrown away.
 *
 *   stream_client ADDRESS PORT CONNECTIONS BYTES WARMUP SECONDS SERVER_PID
 *
 * CONNECTIONS must be 1; BYTES is not used. Prints JSON as echo_client.c does; `done` is in bytes. It reads with MSG_TRUNC,
 * which has TCP throw the data away without copying it (tcp(7)): the server is to be the one that is busy.
 */
#define _GNU_SOURCE
#include "benchmark.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static char room[1 << 20];

int main(int argc, char **argv) {
    if (argc != 8 || atoi(argv[3]) != 1) {
        fprintf(stderr, "usage: stream_client ADDRESS PORT 1 BYTES WARMUP SECONDS SERVER_PID\n");
        return 2;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    int64_t warmup = atof(argv[5]) * 1e9, window = atof(argv[6]) * 1e9;
    clockid_t server_clock;
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1)
        die("ADDRESS");
    if ((errno = clock_getcpuclockid(atoi(argv[7]), &server_clock)) != 0)
        die("clock_getcpuclockid");
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("connect");

    int64_t began = clock_ns(CLOCK_MONOTONIC), start = 0, cpu = 0, server_cpu = 0, done = 0, now;
    for (;;) {
        ssize_t got = recv(fd, room, sizeof room, MSG_TRUNC);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            die("recv");
        if (got == 0) {
            fprintf(stderr, "stream_client: the server hung up\n");
            return 1;
        }
        now = clock_ns(CLOCK_MONOTONIC);
        if (start) {
            done += got;
            if (now - start >= window)
                break;
        } else if (now - began >= warmup) {
            cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
            server_cpu = clock_ns(server_clock);
            start = now;
        }
    }
    cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    server_cpu = clock_ns(server_clock) - server_cpu;
    printf("{\"done\": %lld, \"seconds\": %.9f, \"client_cpu\": %.9f, \"server_cpu\": %.9f}\n", (long long)done,
           (now - start) / 1e9, cpu / 1e9, server_cpu / 1e9);
    return 0;
}

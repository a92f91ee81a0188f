/* The load that only reads: one connection, everything that comes is thrown away.
 *
 *   stream_client ADDRESS PORT CONNECTIONS BYTES WARMUP SECONDS SERVER_PID
 *
 * CONNECTIONS must be 1; BYTES is not used. Prints JSON as echo_client.c does; `done` is in bytes. It reads with MSG_TRUNC,
 * which has TCP throw the data away without copying it (tcp(7)): the server is to be the one that is busy.
 */
#define _GNU_SOURCE
#include "benchmark.h"
#include <unistd.h>

static char room[1 << 20];

int main(int argc, char **argv) {
    if (argc != 8 || atoi(argv[3]) != 1) {
        fprintf(stderr, "usage: stream_client ADDRESS PORT 1 BYTES WARMUP SECONDS SERVER_PID\n");
        return 2;
    }
    struct address address = parse_address(argv[1], atoi(argv[2]));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, &address.any, address.length) < 0)
        die("connect");

    struct window window = open_window(argv + 5);
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
        if (window.started)
            window.done += got;
        if (window_over(&window))
            break;
    }
    print_window(&window);
    return 0;
}

/* The load that does nothing: many connections that are opened and stay open.
 *
 *   idle_client ADDRESS PORT CONNECTIONS
 *
 * Prints a line when all are there. For each line on its standard input it sends a byte through every hundredth connection,
 * waits for the answers and prints another line; it ends with its input. ADDRESS is 127.x.y.z: one address to come from
 * has some 28,000 ports, so the connections come from 127.1.0.1, 127.1.0.2, ..., 20,000 from each.
 */
#define _GNU_SOURCE
#include "benchmark.h"
#include <unistd.h>

#define FROM_ONE_ADDRESS 20000

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: idle_client ADDRESS PORT CONNECTIONS\n");
        return 2;
    }
    struct address address = parse_address(argv[1], atoi(argv[2]));
    int connections = atoi(argv[3]);
    int *fds = calloc(connections, sizeof *fds);
    if (connections < 1 || address.any.sa_family != AF_INET) {
        fprintf(stderr, "idle_client: bad argument\n");
        return 2;
    }
    for (int i = 0; i < connections; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (fds[i] < 0)
            die("socket");
        come_from(fds[i], i / FROM_ONE_ADDRESS);
        if (connect(fds[i], &address.any, address.length) < 0)
            die("connect");
    }
    char line[16];
    do {
        for (int i = 0; i < connections; i += 100)
            if (send(fds[i], "x", 1, MSG_NOSIGNAL) != 1)
                die("send");
        for (int i = 0; i < connections; i += 100)
            if (recv(fds[i], line, 1, 0) != 1)
                die("recv");
        printf("alive\n");
        fflush(stdout);
    } while (fgets(line, sizeof line, stdin));
    return 0;
}

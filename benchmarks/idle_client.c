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
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#define FROM_ONE_ADDRESS 20000

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: idle_client ADDRESS PORT CONNECTIONS\n");
        return 2;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    int connections = atoi(argv[3]), one = 1;
    int *fds = calloc(connections, sizeof *fds);
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1 || connections < 1)
        die("bad argument");
    for (int i = 0; i < connections; i++) {
        struct sockaddr_in from = {.sin_family = AF_INET};
        from.sin_addr.s_addr = htonl((127u << 24 | 1u << 16) + 1 + i / FROM_ONE_ADDRESS);
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (fds[i] < 0)
            die("socket");
        /* The port is chosen by connect(), which may give one to several destinations (ip(7)). */
        setsockopt(fds[i], IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(fds[i], (struct sockaddr *)&from, sizeof from) < 0)
            die("bind");
        if (connect(fds[i], (struct sockaddr *)&address, sizeof address) < 0)
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

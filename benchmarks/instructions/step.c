/*
 * Counts the instructions that a program executes by stepping through them one by one, for virtual machines
 * whose counters are not to be had and instruction sets that QEMU lacks:
 *   ./step PROGRAM ARGUMENTS...
 * prints the count to standard error at the end.
 */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    unsigned long long n_instructions = 0;
    int status;
    if (argc < 2) return 2;
    const pid_t child = fork();
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        execv(argv[1], argv + 1);
        _exit(127);
    }
    while (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
        n_instructions++;
        if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL)) return 1;
    }
    fprintf(stderr, "%llu\n", n_instructions);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

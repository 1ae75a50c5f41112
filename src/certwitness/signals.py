# SPDX-License-Identifier: MIT
"""Names of signals, without the `signal` module, which costs 3 ms."""

# fmt: off
# Linux on x86, ARM, POWER and Z (signal(7)); 32 and 33 are the C library's own.
SIGNALS = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
    9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM",
    16: "SIGSTKFLT", 17: "SIGCHLD", 18: "SIGCONT", 19: "SIGSTOP", 20: "SIGTSTP", 21: "SIGTTIN", 22: "SIGTTOU",
    23: "SIGURG", 24: "SIGXCPU", 25: "SIGXFSZ", 26: "SIGVTALRM", 27: "SIGPROF", 28: "SIGWINCH", 29: "SIGIO",
    30: "SIGPWR", 31: "SIGSYS",
}
# fmt: on


def signal_name(number: int) -> str:
    """SIGKILL for 9, SIGRTMIN+1 for 35, "signal 200" for what Linux does not have."""
    if 34 <= number <= 64:
        return "SIGRTMIN" if number == 34 else f"SIGRTMIN+{number - 34}"
    return SIGNALS.get(number, f"signal {number}")

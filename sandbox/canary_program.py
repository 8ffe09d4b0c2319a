"""A program of 235 bytes that tries to take more than a container may have: no image, libc or shell is needed.

Written by hand for Linux on x86-64, so that the machine code below can be read against its comments:

    1.  fork() 64 children, each of which waits for ever; where that succeeds, exit(3): no limit of processes
    2.  use 80 ms of CPU time: how long that takes tells whether the CPUs are limited
    3.  mmap() 128 MiB of memory, filled at once; where the process lives on, exit(4): no limit of memory
"""

from __future__ import annotations

import struct

CPU_SECONDS = 0.08
MANY_PROCESSES, MUCH_MEMORY = 3, 4
"""Exit codes: what it got although it should not have."""
ARCHITECTURE = "x86_64"
"""As `uname -m` has it."""

_CODE = bytes.fromhex(
    "bb 40 00 00 00"  #             mov  ebx, 64
    "b8 39 00 00 00 0f 05"  # fork: mov  eax, SYS_fork; syscall
    "85 c0 74 0d"  #                test eax, eax; jz wait       the child
    "78 14"  #                      js   spin                    refused: there is a limit
    "ff cb 75 ef"  #                dec  ebx; jnz fork
    "bf 03 00 00 00 eb 4f"  #       mov  edi, 3; jmp exit
    "b8 22 00 00 00 0f 05"  # wait: mov  eax, SYS_pause; syscall
    "eb f7"  #                      jmp  wait
    "48 83 ec 10"  #          spin: sub  rsp, 16                 room for a timespec
    "b8 e4 00 00 00"  #       burn: mov  eax, SYS_clock_gettime
    "bf 02 00 00 00"  #             mov  edi, CLOCK_PROCESS_CPUTIME_ID
    "48 89 e6 0f 05"  #             mov  rsi, rsp; syscall
    "48 81 7c 24 08 00 b4 c4 04"  # cmp  qword [rsp + 8], 80000000
    "72 e6"  #                      jb   burn
    "b8 09 00 00 00 31 ff"  #       mov  eax, SYS_mmap; xor edi, edi
    "be 00 00 00 08"  #             mov  esi, 128 MiB
    "ba 03 00 00 00"  #             mov  edx, PROT_READ | PROT_WRITE
    "41 ba 22 80 00 00"  #          mov  r10d, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE
    "49 c7 c0 ff ff ff ff"  #       mov  r8, -1
    "45 31 c9 0f 05"  #             xor  r9d, r9d; syscall
    "bf 04 00 00 00"  #             mov  edi, 4
    "b8 e7 00 00 00 0f 05"  # exit: mov  eax, SYS_exit_group; syscall
)
_BASE = 0x400000
_HEADERS = 64 + 56
_SYSV, _EXECUTABLE, _X86_64, _LOAD, _READ_AND_EXECUTE, _PAGE = 1, 2, 62, 1, 5, 4096


def canary_program() -> bytes:
    """The executable: an ELF header, one segment, the code."""
    size = _HEADERS + len(_CODE)
    ident = b"\x7fELF" + bytes((2, 1, _SYSV)) + bytes(9)  # 64 bits, little-endian
    header = struct.pack("<HHIQQQIHHHHHH", _EXECUTABLE, _X86_64, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", _LOAD, _READ_AND_EXECUTE, 0, _BASE, _BASE, size, size, _PAGE)
    return ident + header + segment + _CODE

"""
Runs a program on a terminal of its own, closes the terminal once the program
has said a word, and prints how the program ended: "exit 0", "signal 11".

    on-terminal.py streams word program [argument...]

`streams`: "all" on the terminal, or "input" alone, with the output in a pipe.
"""

import os
import pty
import select
import sys
import time

streams, word, *command = sys.argv[1:]
reader, writer = os.pipe()
pid, terminal = pty.fork()
if pid == 0:
    if streams == "input":
        os.dup2(writer, 1)
        os.dup2(writer, 2)
    os.close(reader)
    os.close(writer)
    os.execvp(command[0], command)

os.close(writer)
source = reader if streams == "input" else terminal
heard = b""
deadline = time.monotonic() + 60
while word.encode() not in heard and time.monotonic() < deadline:
    if select.select([source], [], [], 1)[0]:
        heard += os.read(source, 65536)
os.close(terminal)
while time.monotonic() < deadline:
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended == pid:
        break
    time.sleep(0.05)
else:
    os.kill(pid, 9)
    status = os.waitpid(pid, 0)[1]
if os.WIFSIGNALED(status):
    print("signal", os.WTERMSIG(status))
else:
    print("exit", os.WEXITSTATUS(status))
